package walfs

import (
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A node with one processor (GOMAXPROCS=1: several nodes share a machine) holds on to it while a short sync runs, or a write that is a
// sync, too (direct_linux.go), which goes for one in all that follows.
//
// Go takes the processor from a goroutine that is in a system call for more than some 20 us, and gives it to another thread: a
// monitor thread that looks every 20 us, a thread to wake, and one to put to sleep when the sync ends, 50 us later. That is
// as much work as the sync saves, for three nodes on two cores a fifth of all processor time (PERF.md, "Three nodes"). While
// it is held, the operating system runs somebody else there: another node, or the client; and what arrives
// meanwhile is worked off together.
//
// A plain fdatasync cannot be held safely: on a disk that hangs, nothing of the process would run any more, the watchdog
// included. So the sync is started by Linux AIO, which returns at once, and waited for with a limit of holdMax. Past it, the rest
// is an ordinary system call. Where AIO is not to be had, all of it is.
//
// With more processors it would be a loss (7% measured with two): others of this process could use this one.
type held struct {
	mu     sync.Mutex // of the one sync under way; others do theirs as ever
	ctx    uintptr    // the kernel's, 0: not asked for yet
	broken bool       // there is no AIO here, or not for these files
	rest   int        // so many syncs are not held, since one was long
	next   int        // and so many after the next one, should it be long as well
	limit  time.Duration

	cb    iocb
	cbs   [1]*iocb
	buf   []byte // of a write under way
	event ioEvent

	done, long int // counts for tests
}

const (
	// holdMax bounds how long nothing else of this process runs. A disk worth holding for takes 40 to 100 us, and as much again
	// until a thread of the kernel that ends the sync gets hold of a busy processor.
	holdMax = 500 * time.Microsecond
	// holdRest bounds how many syncs are not held after some that took longer: a slow disk costs holdMax once in so many. One
	// alone is nothing to go by: even a fast disk has two to five in a hundred, most of which waited for a processor. So after the
	// first it is one, and twice as many after each that follows it.
	holdRest = 16
	// holdBytes is the longest write that is held. A longer one takes longer than holdMax on most disks.
	holdBytes = 256 << 10
)

var theHeld = held{limit: holdMax}

// sync is fdatasync(fd). tried is false where it was not to be held, or cannot be: nothing has been done then.
func (h *held) sync(f *os.File) (tried bool, err error) {
	if !h.begin() {
		return false, nil
	}
	defer h.mu.Unlock()
	defer runtime.KeepAlive(f) // its descriptor stays open
	h.cb = iocb{opcode: iocbFdsync, fd: uint32(f.Fd())}
	h.cbs[0] = &h.cb
	if n, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, h.ctx, 1, uintptr(unsafe.Pointer(&h.cbs))); errno != 0 || n != 1 {
		h.broken = true
		return false, nil
	}
	h.await()
	if h.event.res < 0 {
		return true, unix.Errno(-h.event.res)
	}
	return true, nil
}

// write is pwrite(fd, p, off) of a file that was opened with O_DIRECT and O_DSYNC: a sync with its write. tried is false where it
// was not to be held, or AIO does not take it: nothing has been done then.
//
// Unlike a sync's, its start is work, and may wait: for a block of the file's map that has to be read, say. So the scheduler hears of it.
// It takes less of the processors than a sync by AIO, at whose start, in the middle, and at whose end a thread of the kernel is woken.
func (h *held) write(f *os.File, p []byte, off int64) (tried bool, n int, err error) {
	if len(p) > holdBytes || !h.begin() {
		return false, 0, nil
	}
	defer h.mu.Unlock()
	defer runtime.KeepAlive(f)
	h.buf = p // the kernel reads it meanwhile: it must not lie in a stack, which moves when it grows
	defer func() { h.buf = nil }()
	h.cb = iocb{opcode: iocbWrite, fd: uint32(f.Fd()), buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))), bytes: uint64(len(p)), off: off}
	h.cbs[0] = &h.cb
	if n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, h.ctx, 1, uintptr(unsafe.Pointer(&h.cbs))); errno != 0 || n != 1 {
		return false, 0, nil // an ordinary write follows, and says what is wrong
	}
	h.await()
	if h.event.res < 0 {
		err := unix.Errno(-h.event.res)
		return err != unix.EINTR && err != unix.EAGAIN, 0, err // as those an ordinary write would try again
	}
	return true, int(h.event.res), nil
}

// begin says whether an operation may be held now. If so, it has the lock.
func (h *held) begin() bool {
	if runtime.GOMAXPROCS(0) != 1 || !h.mu.TryLock() {
		return false
	}
	switch {
	case h.broken:
	case h.rest > 0:
		h.rest--
	case h.ctx == 0 && !h.setup():
		h.broken = true
	default:
		return true
	}
	h.mu.Unlock()
	return false
}

// await waits for the operation that was started.
func (h *held) await() {
	limit := unix.NsecToTimespec(int64(h.limit))
	n, _, _ := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, h.ctx, 1, 1, uintptr(unsafe.Pointer(&h.event)), uintptr(unsafe.Pointer(&limit)), 0)
	inTime := n == 1 // or time is up, or a signal came
	h.pace(inTime)
	if !inTime {
		h.long++
		h.wait()
	}
	h.done++
}

// pace says how many are not held after one that was, by whether that was done in time (holdRest).
func (h *held) pace(inTime bool) {
	if inTime {
		h.next = 0
		return
	}
	h.rest = max(1, h.next)
	h.next = min(2*h.rest, holdRest)
}

// setup gets a context of AIO. Where that is to be had, but its events are forbidden, a sync could be started and not waited for: so they are
// asked for while there are none.
func (h *held) setup() bool {
	if _, _, errno := unix.RawSyscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&h.ctx)), 0); errno != 0 {
		return false
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, h.ctx, 0, 1, uintptr(unsafe.Pointer(&h.event)), uintptr(unsafe.Pointer(&unix.Timespec{})), 0)
	return errno == 0 || errno == unix.EINTR
}

// wait waits for the sync that was started, as long as it takes.
func (h *held) wait() {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, h.ctx, 1, 1, uintptr(unsafe.Pointer(&h.event)), 0, 0)
		switch {
		case n == 1:
			return
		case errno != 0 && errno != unix.EINTR:
			h.broken = true // whoever goes on in spite of this must not take this sync's end for another one's
			panic("walfs: io_getevents: " + errno.Error() + ": a sync was started and its end cannot be learnt; restart the node, and report this")
		}
	}
}

// iocb and ioEvent are the kernel's (linux/aio_abi.h); what has no name is 0, or not looked at.
type iocb struct {
	_      [2]uint64 // data, key, flags
	opcode uint16
	_      uint16
	fd     uint32
	buf    uint64
	bytes  uint64
	off    int64
	_      [2]uint64 // flags
}

type ioEvent struct {
	_   [2]uint64 // data, iocb
	res int64     // bytes written, or 0 of a sync; or a negative error number
	_   int64
}

const (
	iocbWrite  = 1
	iocbFdsync = 3
)
