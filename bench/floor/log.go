package floor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// LogOptions are the choices of the durable floor; the benchmark tries them and keeps the fastest.
type LogOptions struct {
	Size    int64 // bytes written ahead; the log wraps round at the end. At least 1 MiB.
	Gosched bool  // yield once before draining the queue, so that whoever is about to append still gets in
}

// Log is an append-only file with natural group commit: whatever arrives while one fdatasync runs shares the next.
// No timer, one pwrite and one fdatasync per batch, into blocks that were written before (so that the fdatasync has
// no metadata to commit).
type Log struct {
	file *os.File
	opts LogOptions

	mu      sync.Mutex
	buf     []byte    // bytes of the batch that gathers
	waiters []*waiter // who waits for it
	closed  bool
	wake    chan struct{} // 1-buffered; sent to by whoever finds the batch empty

	done    chan struct{}
	waiter  sync.Pool
	off     int64
	Batches uint64 // fdatasyncs done; read after Close
}

type waiter struct{ done chan error }

// OpenLog creates the file at path with opts.Size bytes of zeros, durable, and starts the committer.
func OpenLog(path string, opts LogOptions) (*Log, error) {
	f, err := CreateZeroed(path, opts.Size)
	if err != nil {
		return nil, err
	}
	l := &Log{
		file: f,
		opts: opts,
		wake: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
	l.waiter.New = func() any { return &waiter{done: make(chan error, 1)} }
	go l.commitLoop()
	return l, nil
}

// CreateZeroed creates a file of size zeros and fsyncs it.
func CreateZeroed(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("durable floor: %w", err)
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return nil, errors.Join(fmt.Errorf("durable floor: write ahead: %w", err), f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("durable floor: fsync: %w", err), f.Close())
	}
	return f, nil
}

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("durable floor: log is closed")

// Append copies data into the batch that gathers and returns once an fdatasync has covered it.
func (l *Log) Append(data []byte) error {
	w := l.waiter.Get().(*waiter)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	first := len(l.waiters) == 0
	l.buf = append(l.buf, data...)
	l.waiters = append(l.waiters, w)
	l.mu.Unlock()
	if first {
		l.wake <- struct{}{} // never blocks: the committer took the last token before it took the last batch
	}
	err := <-w.done
	l.waiter.Put(w)
	return err
}

// Close commits what waits and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	first := len(l.waiters) == 0
	l.mu.Unlock()
	if first { // the same protocol as Append: whoever finds the batch empty sends the token
		l.wake <- struct{}{}
	}
	<-l.done
	return l.file.Close()
}

func (l *Log) commitLoop() {
	defer close(l.done)
	var buf []byte
	var waiters []*waiter
	for {
		<-l.wake
		if l.opts.Gosched {
			runtime.Gosched()
		}
		l.mu.Lock()
		buf, l.buf = l.buf, buf[:0]
		waiters, l.waiters = l.waiters, waiters[:0]
		closed := l.closed
		l.mu.Unlock()
		if len(waiters) > 0 {
			err := l.commit(buf)
			for _, w := range waiters {
				w.done <- err
			}
		}
		if closed {
			return
		}
	}
}

// commit makes one batch durable.
func (l *Log) commit(batch []byte) error {
	if l.off+int64(len(batch)) > l.opts.Size {
		l.off = 0
	}
	if _, err := l.file.WriteAt(batch, l.off); err != nil {
		return fmt.Errorf("durable floor: write: %w", err)
	}
	if err := syscall.Fdatasync(int(l.file.Fd())); err != nil {
		return fmt.Errorf("durable floor: fdatasync: %w", err)
	}
	l.off += int64(len(batch))
	l.Batches++
	return nil
}
