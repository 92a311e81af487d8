package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// touch writes to every page, so that the system must give it.
func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

// grown is a state of that size, in pieces.
func grown(size int) (state [][]byte) {
	for range size / (64 << 10) {
		state = append(state, make([]byte, 64<<10))
		touch(state[len(state)-1])
	}
	return state
}

// kilobytes is a line of this process' totals.
func kilobytes(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			require.NoError(t, err)
			return n
		}
	}
	return 0
}

// needHugePages skips where the system has none to give to one who maps and asks by himself.
func needHugePages(t *testing.T, size int) {
	t.Helper()
	if !hugeForTheAsking() {
		t.Skip("transparent_hugepage/enabled is not madvise here, or the pages are not of 2 MB, or memory is not overcommitted")
	}
	probe, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(probe)) }()
	require.NoError(t, unix.Madvise(probe, unix.MADV_HUGEPAGE))
	before := kilobytes(t, "AnonHugePages")
	touch(probe)
	if got := kilobytes(t, "AnonHugePages") - before; got < size>>10*3/4 {
		t.Skipf("the system had %d KB of huge pages for a mapping of %d KB", got, size>>10)
	}
}

// TestHeapGrowsIntoHugePages: into what is reserved first, and into what is reserved when that runs out. It is a process of its
// own, since addresses that other tests have used do not get huge pages any more.
func TestHeapGrowsIntoHugePages(t *testing.T) {
	const step = 96 << 20
	if os.Getenv(freshHeap) == "" {
		needHugePages(t, 2*step)
		inFreshProcess(t)
		return
	}
	debug.SetGCPercent(-1)
	heap := cheapHeap()
	resident := kilobytes(t, "Rss")
	heap.reserve(step)
	require.Less(t, kilobytes(t, "Rss")-resident, 16<<10, "what is reserved is not touched")

	var state [][]byte
	for range 2 {
		first := heap.spans[0].from
		require.Contains(t, marks(t, first), " hg", "what is next is marked")
		before := kilobytes(t, "AnonHugePages")
		state = append(state, grown(step*7/8)...)
		require.Greater(t, kilobytes(t, "AnonHugePages")-before, step>>10*3/4)
		heap.follow(step)
		require.Contains(t, marks(t, first), " nh", "what came into use is not any more")
		require.Greater(t, heap.spans[len(heap.spans)-1].end-heap.spans[0].from, uintptr(step)/4)
	}
	runtime.KeepAlive(state)

	heap.spans = nil
	heap.follow(step)
	require.Empty(t, heap.spans, "a heap that does not grow reserves nothing")
}

// cheapHeap is one whose pages take nothing to make, whatever machine this is.
func cheapHeap() *hugeHeap {
	return &hugeHeap{make: func(page hugeSpan) time.Duration { makePage(page); return 0 }}
}

// TestHeapLeavesDearPages: when a page has taken long to make, the heap grows into ordinary ones from then on; and a heap that
// does not grow makes none to find that out.
func TestHeapLeavesDearPages(t *testing.T) {
	const step = 64 << 20
	if os.Getenv(freshHeap) == "" {
		needHugePages(t, step)
		inFreshProcess(t)
		return
	}
	debug.SetGCPercent(-1)
	heap, made, told := cheapHeap(), 0, 0
	var takes time.Duration
	heap.make = func(page hugeSpan) time.Duration {
		made++
		makePage(page)
		return takes
	}
	heap.dear = func(took time.Duration) {
		told++
		require.Equal(t, takes, took)
	}
	before := kilobytes(t, "AnonHugePages")
	heap.reserve(step)
	require.Equal(t, 1, made)
	require.Equal(t, hugePage>>10, kilobytes(t, "AnonHugePages")-before, "one page was made")
	for range 3 {
		heap.follow(step)
	}
	require.Equal(t, 1, made, "the heap has not grown but by the page that was made")

	state := grown(8 << 20)
	takes = hugeDear
	heap.follow(step)
	require.Equal(t, 2, made)
	require.Equal(t, 1, told)
	runtime.KeepAlive(state)

	before = kilobytes(t, "AnonHugePages")
	state = append(state, grown(step/2)...)
	require.Equal(t, before, kilobytes(t, "AnonHugePages"), "ordinary pages")
	for range 3 {
		heap.follow(step)
	}
	require.Empty(t, heap.spans)
	require.Equal(t, 2, made)
	require.Equal(t, 1, told)
	runtime.KeepAlive(state)
}

// freshHeap is set for a test in a process of its own.
const freshHeap = "FASTPACA_TEST_FRESH_HEAP"

// inFreshProcess runs the test alone in a process of its own.
func inFreshProcess(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), freshHeap+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
}

// TestNothingIsReservedUnderALimit: where addresses are limited, what is reserved would be missing elsewhere.
func TestNothingIsReservedUnderALimit(t *testing.T) {
	if !hugeForTheAsking() {
		t.Skip("no huge pages are asked for here in any case")
	}
	for name, of := range map[string]int{"ulimit -v": unix.RLIMIT_AS, "ulimit -d": unix.RLIMIT_DATA} {
		var before unix.Rlimit
		require.NoError(t, unix.Getrlimit(of, &before))
		require.NoError(t, unix.Setrlimit(of, &unix.Rlimit{Cur: min(1<<40, before.Max), Max: before.Max}))
		asked := hugeForTheAsking()
		require.NoError(t, unix.Setrlimit(of, &before))
		require.False(t, asked, name)
	}
}

// marks is what the system notes of the mapping with that address.
func marks(t *testing.T, at uintptr) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	inside := false
	for line := range strings.Lines(string(b)) {
		if from, rest, ok := strings.Cut(line, "-"); ok {
			end, _, _ := strings.Cut(rest, " ")
			low, err1 := strconv.ParseUint(from, 16, 64)
			high, err2 := strconv.ParseUint(end, 16, 64)
			if err1 == nil && err2 == nil {
				inside = uint64(at) >= low && uint64(at) < high
			}
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return flags
		}
	}
	require.Fail(t, "no such mapping", "%x", at)
	return ""
}
