//go:build !linux

package main

import "context"

// growIntoHugePages does nothing where heaps do not ask for huge pages.
func growIntoHugePages(context.Context, string) (stop func()) { return func() {} }
