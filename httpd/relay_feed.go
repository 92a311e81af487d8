package httpd

import (
	"bufio"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"fastpaca/shard"
)

const (
	// relayPingInterval is how often a replica says that it is alive, relaySilence how long a relaying node takes its
	// silence for life. A process that died is noticed at once, by its connection; this is for machines and networks.
	relayPingInterval = 3 * time.Second
	relaySilence      = 10 * time.Second
	// relayChunk is how many bytes of frames are handed over at once. A relayed stream holds at most three chunks,
	// each larger by one event at most: one being filled, one waiting, one being sent.
	relayChunk = 32 << 10
	// relayReadBuffer is what a connection is read through: a frame of a usual message.
	relayReadBuffer = 4 << 10
)

// relayFeed reads from another node.
//
//	connection ── read ── chunk ──> chunks (1 slot) ──> next ── events ──> client
//
// A client that takes nothing fills the slot, read stops reading, and TCP stops the replica: nothing piles up.
type relayFeed struct {
	conn net.Conn
	r    *bufio.Reader
	bufs *sync.Pool // of *[]byte
	wake chan struct{}

	chunks  chan *[]byte
	quit    chan struct{}
	once    sync.Once
	done    chan struct{} // closed when read has ended; nil before start
	current *[]byte
	left    []byte // of current
}

// newRelayFeed takes over conn and reads the first frame of it. version is where the stream begins.
func newRelayFeed(conn net.Conn, bufs *sync.Pool) (f *relayFeed, version uint64, code shard.Code) {
	f = &relayFeed{conn: conn, r: bufio.NewReaderSize(conn, relayReadBuffer), bufs: bufs, chunks: make(chan *[]byte, 1), quit: make(chan struct{})}
	conn.SetReadDeadline(time.Now().Add(relaySilence))
	code, version, err := readRelayHello(f.r)
	if err != nil {
		code = shard.CodeUnavailable
	}
	if code != shard.CodeOK {
		f.close()
		return nil, 0, code
	}
	return f, version, shard.CodeOK
}

func (f *relayFeed) start(wake chan struct{}) {
	f.wake, f.done = wake, make(chan struct{})
	go f.read()
}

// signal wakes the stream, or leaves it awake.
func (f *relayFeed) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// read hands over what comes in until the connection ends or close is called.
func (f *relayFeed) read() {
	defer close(f.done)
	defer f.signal() // after close(f.chunks): whoever wakes sees the end
	defer close(f.chunks)
	for {
		chunk := f.bufs.Get().(*[]byte)
		err := f.fill(chunk)
		if len(*chunk) > 0 {
			select {
			case f.chunks <- chunk:
				f.signal()
			case <-f.quit:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// fill appends whole frames to chunk: one event, and as many more as have arrived already.
func (f *relayFeed) fill(chunk *[]byte) error {
	for len(*chunk) < relayChunk {
		if len(*chunk) > 0 && f.r.Buffered() < relayFrameHead {
			return nil
		}
		f.patience(relayFrameHead)
		head, err := f.r.Peek(relayFrameHead)
		if err != nil {
			return err
		}
		frame, err := parseRelayFrame(head)
		if err != nil {
			return err
		}
		size := relayFrameHead + frame.length
		if len(*chunk) > 0 && f.r.Buffered() < size {
			return nil // what is whole need not wait for it
		}
		if frame.kind != relayEvent {
			f.r.Discard(size)
			continue
		}
		f.patience(size)
		at := len(*chunk)
		*chunk = slices.Grow(*chunk, size)[:at+size]
		if _, err := io.ReadFull(f.r, (*chunk)[at:]); err != nil {
			*chunk = (*chunk)[:at]
			return err
		}
	}
	return nil
}

// patience moves the deadline before a read of n bytes that may have to wait.
func (f *relayFeed) patience(n int) {
	if f.r.Buffered() < n {
		f.conn.SetReadDeadline(time.Now().Add(relaySilence))
	}
}

func (f *relayFeed) look() bool {
	if len(f.left) > 0 {
		return true
	}
	f.recycle()
	select {
	case chunk, ok := <-f.chunks:
		if !ok {
			// One wake may have stood for the last chunk and for the end, and next, which does not tell them apart, may be who
			// asks: the stream must not sleep before it has looked again.
			f.signal()
			return false
		}
		f.current, f.left = chunk, *chunk
	default:
	}
	return true
}

func (f *relayFeed) next(dst []byte) (out []byte, e eventInfo, ok bool) {
	if len(f.left) == 0 && (!f.look() || len(f.left) == 0) {
		return dst, e, false
	}
	frame, _ := parseRelayFrame(f.left) // read has looked at it
	event := f.left[relayFrameHead : relayFrameHead+frame.length]
	f.left = f.left[relayFrameHead+frame.length:]
	return append(dst, event...), eventInfo{kind: eventOf(event), version: frame.version, last: frame.flags&relayLast != 0}, true
}

// rest gives back an empty chunk; a stream that is blocked keeps the one that it is in the middle of.
func (f *relayFeed) rest() {
	if len(f.left) == 0 {
		f.recycle()
	}
}

func (f *relayFeed) recycle() {
	if f.current == nil {
		return
	}
	if cap(*f.current) <= streamBufferRetain {
		*f.current = (*f.current)[:0]
		f.bufs.Put(f.current)
	}
	f.current, f.left = nil, nil
}

func (f *relayFeed) head() uint64 { return 0 }

func (f *relayFeed) close() {
	f.once.Do(func() {
		close(f.quit)
		f.conn.Close()
	})
	if f.done != nil {
		<-f.done
	}
}
