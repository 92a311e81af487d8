//go:build !linux

package walfs

import "os"

// fdatasync is a full fsync where the system has nothing cheaper (os.File.Sync is F_FULLFSYNC on macOS).
func fdatasync(f *os.File) error { return f.Sync() }

func fallocate(*os.File, int64) error { return nil }

// direct is for Linux.
type direct struct{}

func (direct) close() error { return nil }
