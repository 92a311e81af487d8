package walfs

import (
	"errors"
	"syscall"
)

// UsedUp says whether err means that a resource is used up, and may come back: disk blocks, quota, inodes, file
// descriptors. Anything else a disk says is believed to be its end.
func UsedUp(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
