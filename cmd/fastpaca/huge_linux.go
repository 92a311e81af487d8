package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"

	"fastpaca/httpd"
	"fastpaca/shard/pulse"

	"golang.org/x/sys/unix"
)

const (
	hugePage = 2 << 20
	// hugeStep is reserved beyond the state at the start, and again whenever less than a quarter of it is left. The runtime's
	// tables take a thousandth of it, used or not; and from 1 GB on it takes the heap for a large one, with larger tables.
	hugeStep = 512 << 20
	// hugeShare of the memory is all that is reserved in one go.
	hugeShare = 0.5
	hugeEvery = time.Second
	// hugeDear is the processor time for one huge page from which on the heap grows into ordinary ones. A page takes 0.1 to 0.5 ms where
	// the machine has the memory, and 4 to 6 ms in a virtual machine whose host takes back what is free and gives it in small pages.
	// Who needs the page waits, and with GOMAXPROCS=1 the whole node, and whoever waits for it.
	hugeDear = 2 * time.Millisecond
)

// growIntoHugePages has the heap grow into huge pages, from before the state in dir is rebuilt until stop. The page faults of
// a growing state are a third of the processor time of a restart otherwise, and they and the misses of the address cache some
// percent of an append's (PERF.md, "Memory"). Go does not ask for huge pages, and most systems give them to those who ask only.
//
// Where a huge page is dear (hugeDear), the heap is left to ordinary pages from then on, which take as much in all, but 12 us at a time.
//
// It is a matter of speed only; whatever fails leaves ordinary pages.
func growIntoHugePages(ctx context.Context, dir string, say httpd.LogFunc) (stop func()) {
	if operatorPaces() || !hugeForTheAsking() {
		return func() {}
	}
	most := int64(hugeStep)
	if total := memoryTotal(); total > 0 {
		most = int64(float64(total) * hugeShare)
	}
	heap := hugeHeap{make: makePage, dear: func(took time.Duration) {
		say(httpd.LevelInfo, "huge_pages_dear", "huge pages take long to make on this machine: the heap grows into ordinary ones", "took", took)
	}}
	heap.reserve(int(min(hugeStep+stateBytes(dir), most)))
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := pulse.NewTicker(hugeEvery)
		defer tick.Stop()
		for len(heap.spans) > 0 {
			select {
			case <-tick.C:
				tick.Next()
				heap.follow(int(min(hugeStep, most)))
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// hugeForTheAsking says whether there are huge pages, of the usual size, for those who ask, and only for them; and whether
// asking for addresses takes nothing from others: a system that does not overcommit sets memory aside for them.
func hugeForTheAsking() bool {
	for file, want := range map[string]string{
		"/sys/kernel/mm/transparent_hugepage/enabled":        "[madvise]",
		"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size": "2097152",
	} {
		if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), want) {
			return false
		}
	}
	if b, err := os.ReadFile("/proc/sys/vm/overcommit_memory"); err != nil || strings.TrimSpace(string(b)) == "2" {
		return false
	}
	// Addresses count against these limits before they are used, and past one the runtime ends the process.
	for _, of := range [...]int{unix.RLIMIT_AS, unix.RLIMIT_DATA} {
		var limit unix.Rlimit
		if unix.Getrlimit(of, &limit) != nil || limit.Cur != unix.RLIM_INFINITY {
			return false
		}
	}
	return true
}

// hugeHeap is where the heap grows next: these addresses are its own, marked for huge pages, and not in use yet. Once there are none,
// there will be none, and it grows into ordinary pages.
type hugeHeap struct {
	spans    []hugeSpan
	resident []byte

	make func(hugeSpan) time.Duration // makes a page, and returns the processor time that it took
	made uintptr                      // bytes made since follow looked
	dear func(took time.Duration)     // is told, once
}

type hugeSpan struct{ from, end uintptr }

// reserve has the heap map size bytes in one go, by an object that is dropped untouched, and marks them: the heap hands out the
// lowest addresses that it has, so they are next. Marking what the heap maps by itself comes too late: it maps 4 MB when it
// needs the first of them, and a huge page must be marked before any part of it is touched.
func (h *hugeHeap) reserve(size int) {
	at := addresses(size)
	next := hugeSpan{(at + hugePage - 1) &^ (hugePage - 1), (at + uintptr(size)) &^ (hugePage - 1)}
	h.spans = slices.DeleteFunc(h.spans, func(s hugeSpan) bool { return next.from <= s.from && s.end <= next.end })
	next.from = h.used(next).end // where it has room that was in use before, it grows there first, in the pages that it has
	madvise(next, unix.MADV_HUGEPAGE)
	h.spans = append(h.spans, next)
	runtime.GC()
	h.weigh()
}

// weigh makes the page that the heap comes to next, to see what it takes.
func (h *hugeHeap) weigh() {
	next := h.spans[0]
	if next.from == next.end {
		return // all of it was in use before
	}
	took := h.make(hugeSpan{next.from, next.from + hugePage})
	h.made += hugePage
	if took < hugeDear {
		return
	}
	for _, s := range h.spans {
		madvise(s, unix.MADV_NOHUGEPAGE)
	}
	h.spans = nil
	h.dear(took)
}

// makePage has the system put memory there, as the first write would; what is there already stays. It takes next to
// nothing where there is no such call (Linux before 5.14).
func makePage(page hugeSpan) time.Duration {
	runtime.LockOSThread() // its time is measured: that of others who run meanwhile is none of it
	defer runtime.UnlockOSThread()
	var before, after unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before) // there is always one
	madvise(page, unix.MADV_POPULATE_WRITE)
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after)
	return time.Duration(after.Nano() - before.Nano())
}

// addresses is where an object of that size was made. It must not be cleared: half of the memory would be touched. So it is the
// room of a strings.Builder, and here alone, so that nothing of the caller's leads to it.
//
//go:noinline
func addresses(size int) uintptr {
	var b strings.Builder
	b.Grow(size)
	b.WriteByte(0)
	return uintptr(unsafe.Pointer(unsafe.StringData(b.String())))
}

// follow takes the mark off what has come into use, and reserves step when little is left. What is in huge pages stays there,
// but where the collector returns a part of one to the system, the system must not fill it up again behind its back. A heap that
// does not grow is left alone, whatever is left: to reserve takes a collection.
func (h *hugeHeap) follow(step int) {
	var left, grown uintptr
	for i := range h.spans {
		used := h.used(h.spans[i])
		madvise(used, unix.MADV_NOHUGEPAGE)
		h.spans[i].from = used.end
		left += h.spans[i].end - used.end
		grown += used.end - used.from
	}
	h.spans = slices.DeleteFunc(h.spans, func(s hugeSpan) bool { return s.from == s.end })
	made := h.made
	h.made = 0
	switch {
	case grown <= made:
	case left < uintptr(step)/4:
		h.reserve(step)
	default:
		h.weigh() // again and again: some of what is free may be at hand, and the rest not
	}
}

// used is the part of s before the first 64 MB of which the system has nothing in memory.
func (h *hugeHeap) used(s hugeSpan) hugeSpan {
	const window = 64 << 20
	page := uintptr(os.Getpagesize())
	if h.resident == nil {
		h.resident = make([]byte, window/page)
	}
	used := hugeSpan{s.from, s.from}
	for used.end < s.end {
		n := min(window, s.end-used.end)
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, used.end, n, uintptr(unsafe.Pointer(unsafe.SliceData(h.resident))))
		last := bytes.LastIndexByte(h.resident[:n/page], 1)
		if errno != 0 || last < 0 {
			break
		}
		used.end += (uintptr(last)*page)&^(hugePage-1) + hugePage
	}
	return used
}

func madvise(s hugeSpan, advice uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.from, s.end-s.from, advice)
}

// stateBytes is about what the state will take that the files of dir lead to: the log holds it with a little more around
// each message than memory does, snapshots hold it in half the space.
func stateBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		switch filepath.Ext(path) {
		case ".wal":
			n += info.Size() + info.Size()/4
		case ".snap":
			n += 2 * info.Size()
		}
		return nil
	})
	return n
}
