package main

import (
	"os"
	"strconv"
	"strings"
)

// machineProcessors is how many processors the machine has, whatever part of them this process may use; 0 means unknown.
func machineProcessors() int {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return 0
	}
	return countProcessors(strings.TrimSpace(string(text)))
}

// countProcessors counts what a list of the kernel's names, as 0-3,8 (Documentation/admin-guide/cputopology.rst);
// 0 where it is none.
func countProcessors(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || b < a {
			return 0
		}
		n += int(b-a) + 1
	}
	return n
}
