package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// running is a file in the directory of a run, locked by its harness as long as that lives. The kernel lets go of the lock however a
// process ends, and knows no process ids that are another one's by now, or in another namespace.
const running = "running"

// claim makes dir this run's, and removes what runs that were killed have left below out: disks and sockets, not their logs. The
// function that it returns ends the claim.
func claim(out, dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(out, "*", running))
	if err != nil {
		return nil, err
	}
	for _, path := range left {
		if err := sweep(path); err != nil {
			return nil, fmt.Errorf("what is left of an earlier run: %w", err)
		}
	}
	path := filepath.Join(dir, running)
	f, err := os.Create(path)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX) // at most for as long as somebody looks whether this run lives
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = errors.Join(os.Remove(path), f.Close()) }, nil
}

// sweep removes the disks and sockets of the run whose claim lies at path, unless it goes on.
func sweep(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has just ended
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // it lives
	}
	dir := filepath.Dir(path)
	for _, pattern := range []string{"n*/data*", "n*/ballast", "n*.sock"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, name := range found {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return os.Remove(path)
}
