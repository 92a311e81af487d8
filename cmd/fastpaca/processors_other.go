//go:build !linux

package main

import "runtime"

// machineProcessors is how many processors the machine has.
func machineProcessors() int { return runtime.NumCPU() }
