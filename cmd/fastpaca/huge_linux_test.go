package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sparse makes a file of that size without blocks.
func sparse(t *testing.T, path string, size int64) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
}

func TestStateIsEstimatedFromItsFiles(t *testing.T) {
	dir := t.TempDir()
	require.Zero(t, stateBytes(filepath.Join(dir, "none")))
	sparse(t, filepath.Join(dir, "wal", "1.wal"), 64<<20)
	sparse(t, filepath.Join(dir, "wal", "2.spare"), 64<<20)
	sparse(t, filepath.Join(dir, "snap", "7.snap"), 10<<20)
	require.EqualValues(t, 100<<20, stateBytes(dir))
}

// TestRecoveryIntoHugePages: what is allocated after it lies in huge pages, where the system gives them to those who ask.
func TestRecoveryIntoHugePages(t *testing.T) {
	mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || strings.Contains(string(mode), "[never]") {
		t.Skip("no transparent huge pages here")
	}
	dir := t.TempDir()
	sparse(t, filepath.Join(dir, "1.wal"), 96<<20)
	before := hugeKB(t)
	done := recoverIntoHugePages(dir)
	state := make([][]byte, 1000)
	for i := range state {
		state[i] = make([]byte, 64<<10)
		for j := 0; j < len(state[i]); j += 4096 {
			state[i][j] = 1
		}
	}
	after := hugeKB(t)
	done()
	runtime.KeepAlive(state)
	if after-before < 32<<10 {
		t.Skipf("the system had no huge pages to give: %d KB before, %d KB after", before, after)
	}
	recoverIntoHugePages(t.TempDir())() // nothing to recover
}

// hugeKB is how much of this process lies in huge pages.
func hugeKB(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "AnonHugePages:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			require.NoError(t, err)
			return n
		}
	}
	return 0
}
