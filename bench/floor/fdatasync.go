package floor

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"fastpaca/bench/hist"
)

// BareFdatasync measures the device: one thread, pwrite of bytes at a time into a file written ahead, fdatasync after
// each, for d. It records the time of write and sync together.
func BareFdatasync(path string, bytes int, d time.Duration, h *hist.H) (err error) {
	const size = 16 << 20
	f, err := CreateZeroed(path, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data := make([]byte, bytes)
	fd := int(f.Fd())
	for start, off := time.Now(), int64(0); time.Since(start) < d; off += int64(bytes) {
		if off+int64(bytes) > size {
			off = 0
		}
		t := time.Now()
		if _, err := syscall.Pwrite(fd, data, off); err != nil {
			return fmt.Errorf("bare fdatasync: write: %w", err)
		}
		if err := syscall.Fdatasync(fd); err != nil {
			return fmt.Errorf("bare fdatasync: %w", err)
		}
		h.Record(time.Since(t))
	}
	return nil
}
