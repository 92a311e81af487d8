//go:build !linux

package main

// recoverIntoHugePages does nothing where heaps do not ask for huge pages.
func recoverIntoHugePages(string) (done func()) { return func() {} }
