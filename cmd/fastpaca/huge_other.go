//go:build !linux

package main

import (
	"context"

	"fastpaca/httpd"
)

// growIntoHugePages does nothing where heaps do not ask for huge pages.
func growIntoHugePages(context.Context, string, httpd.LogFunc) (stop func()) { return func() {} }
