package walfs

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// direct is a second way to a file: past the page cache, and what it writes is durable when it is done.
//
// What a log writes is not read again but by a node that catches up, so that its pages are memory that others could use. And
// they are dear where memory that is new to a virtual machine is: 3 ms of processor time a megabyte where this was measured, 13% of
// what three nodes spent while segments were pre-written (PERF.md, "Three nodes").
type direct struct {
	f    *os.File
	none bool // the file system has no such thing
}

// WriteBlocks implements BlockWriter.
func (o *osFile) WriteBlocks(p []byte, off int64) (done bool, err error) {
	d := &o.direct
	if d.none || d.f == nil && !d.open(o.f) {
		return false, nil
	}
	n, err := d.write(p, off)
	switch {
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP):
		d.none = true // it wants other blocks, or has none
		return false, nil
	case err != nil:
		return false, &os.PathError{Op: "write and sync", Path: o.f.Name(), Err: err}
	}
	return n == len(p), nil
}

func (d *direct) write(p []byte, off int64) (n int, err error) {
	if tried, n, err := theHeld.write(d.f, p, off); tried {
		return n, err
	}
	return d.f.WriteAt(p, off)
}

// open opens the file that f is by its descriptor: it may have another name by now.
func (d *direct) open(f *os.File) bool {
	second, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.O_WRONLY|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		d.none = !UsedUp(err) // else there may be descriptors again next time
		return false
	}
	d.f = second
	return true
}

func (d *direct) close() error {
	if d.f == nil {
		return nil
	}
	return d.f.Close()
}
