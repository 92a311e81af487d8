package main

import (
	"os"
	"runtime"
	"strings"

	"fastpaca/bench/report"
)

// describe fills in the machine and the revision. What cannot be found stays empty: it is a description, not a check.
func describe(m *report.Meta, dir string) {
	m.Go = runtime.Version()
	m.Cores = runtime.NumCPU()
	m.CPU = field("/proc/cpuinfo", "model name")
	m.Kernel = output("uname", "-sr")
	m.FileSystem = fileSystem(dir)
	m.Revision = output("git", "rev-parse", "HEAD")
	m.Dirty = output("git", "status", "--porcelain", "--untracked-files=no") != ""
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.LoadBefore = strings.TrimSpace(string(b))
	}
}

// field is the value of the first "name : value" line of a file.
func field(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// fileSystem is "type device" of the file system that dir lies on.
func fileSystem(dir string) string {
	lines := strings.Split(output("df", "--output=fstype,source", dir), "\n")
	if len(lines) < 2 {
		return ""
	}
	return strings.Join(strings.Fields(lines[1]), " ")
}
