//go:build !linux

package main

// memoryTotal is unknown here: set FASTPACA_MEMORY_LIMIT_BYTES.
func memoryTotal() int64 { return 0 }
