//go:build !linux

package wal

// arrivals are not known here (arrivals_linux.go).
type arrivals struct{}

func (*arrivals) open() bool { return false }
func (*arrivals) wait()      {}
func (*arrivals) close()     {}
