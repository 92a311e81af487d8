package wal

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// Orderings that the crash test meets too rarely to be relied on for.

// TestReclaimWaitsForTheTruncation: a segment goes only when the record that makes it superfluous is
// durable. Were it gone before, and the record lost with a crash, live entries would be missing.
func TestReclaimWaitsForTheTruncation(t *testing.T) {
	mem := walfs.NewMem()
	var sw switchable
	o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	next := uint64(1)
	for w.activeID.Load() < 3 {
		next = grow(w, next, 1, 500)
	}
	settle(t, w)
	hang, hung := make(chan struct{}), make(chan struct{}, 10)
	sw.set(func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpSync {
			hung <- struct{}{}
			return walfs.Fault{Hang: hang}
		}
		return walfs.Fault{}
	})
	done := make(chan struct{})
	b := NewBatch(func(*Batch) { close(done) })
	b.Snapshot(0, next-1, 1, nil)
	w.Submit(b)
	<-hung
	for range 3 { // at least one whole round of maintenance begins after the record was written
		w.kickMaintenance()
		waitFor(t, "maintenance", func() bool { return len(w.kick) == 0 })
	}
	names, err := mem.List(testDir)
	require.NoError(t, err)
	require.Contains(t, names, "0000000000000001.wal")
	crashed := mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{})
	close(hang)
	<-done
	waitFor(t, "the segments to go", func() bool {
		names, err := mem.List(testDir)
		return err == nil && names[0] == "0000000000000003.wal"
	})
	require.NoError(t, w.Close())
	w, got := recoverState(t, testOptions(crashed, 1))
	require.Equal(t, next-1, got[0].last())
	require.Len(t, got[0].entries, int(next-1))
	require.NoError(t, w.Close())
}

// TestMarkIsSyncedBeforeItIsPromised: a mark is written without a sync. When a segment ends right behind
// one, the next header says that it is there.
func TestMarkIsSyncedBeforeItIsPromised(t *testing.T) {
	mem := walfs.NewMem()
	w, err := Open(testOptions(mem, 1), nil)
	require.NoError(t, err)
	next := grow(w, 1, 3, 100)
	before := w.count.records.Load()
	w.q.ask(func(q *queue) { q.mark = true })
	waitFor(t, "mark", func() bool { return w.count.records.Load() > before })
	w.q.ask(func(q *queue) { q.rotate = true })
	waitFor(t, "rotation", func() bool { return w.activeID.Load() == 2 })
	crashed := mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{})
	require.NoError(t, w.Close())
	w, got := recoverState(t, testOptions(crashed, 1))
	require.Equal(t, next-1, got[0].last())
	require.NoError(t, w.Close())
}

// TestStatesFollowTheEntriesOfTheirBatch, whatever the order of the calls: a hard state's commit may count
// on entries of its batch, and torn from them would bless an older suffix.
func TestStatesFollowTheEntriesOfTheirBatch(t *testing.T) {
	mem := walfs.NewMem()
	w, err := Open(testOptions(mem, 1), nil)
	require.NoError(t, err)
	commit(w, func(b *Batch) { b.Entry(0, 0, entry(1, 1, "first")); b.Entry(0, 0, entry(2, 1, "older")) })
	commit(w, func(b *Batch) {
		b.State(0, HardState{Term: 2, Commit: 2})
		b.Entry(0, 0, entry(2, 2, "newer"))
	})
	require.NoError(t, w.Close())
	var order []string
	w, err = Open(testOptions(mem, 1), orderHandler{&order})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, []string{"entry first", "entry older", "entry newer", "state"}, order)
}

type orderHandler struct{ order *[]string }

func (orderHandler) Snapshot(uint32, uint64, uint64, []byte) {}
func (h orderHandler) State(uint32, HardState)               { *h.order = append(*h.order, "state") }
func (h orderHandler) Entry(_ uint32, _ uint64, e Entry) {
	*h.order = append(*h.order, "entry "+string(e.Data))
}

// TestNamesAreDurableOneByOne: after a segment's name is changed or removed, the directory is synced before
// the file is touched under its new name and before the next name goes. Otherwise a crash could bring a
// file back under its old name with new contents, or leave a hole in the log.
func TestNamesAreDurableOneByOne(t *testing.T) {
	for _, free := range []int{0, -1} {
		mem := walfs.NewMem()
		var mu sync.Mutex
		var loose string // the path of a segment whose change of name is not durable
		var bad []string
		changes := 0
		o := testOptions(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
			mu.Lock()
			defer mu.Unlock()
			old := strings.HasSuffix(c.Path, segmentSuffix)
			switch {
			case c.Op == walfs.OpSyncDir:
				loose = ""
			case (c.Op == walfs.OpRename || c.Op == walfs.OpRemove) && old:
				if loose != "" {
					bad = append(bad, c.Op.String()+" of "+c.Path+" right after "+loose)
				}
				loose = c.Path
				changes++
			case c.Op == walfs.OpOpen && !old && loose != "":
				bad = append(bad, "open of "+c.Path+" right after "+loose)
			}
			return walfs.Fault{}
		}), 1)
		o.FreeSegments = free
		w, err := Open(o, nil)
		require.NoError(t, err)
		next := uint64(1)
		for range 5 {
			next = grow(w, next, 60, 500)
			commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
		}
		waitFor(t, "segments to go", func() bool {
			var s Stats
			w.Stats(&s)
			return s.SegmentsLive == 1
		})
		require.NoError(t, w.Close())
		require.Empty(t, bad)
		require.Greater(t, changes, 10)
	}
}

// TestOpenSyncsNamesBeforeItWrites: a process that died between giving a segment a spare's name and the
// sync of the directory leaves a spare that may still turn back into that segment. The next start makes the
// names durable before it writes over any file.
func TestOpenSyncsNamesBeforeItWrites(t *testing.T) {
	mem, next := threeSegments(t)
	var mu sync.Mutex
	var ops []walfs.Op
	o := testOptions(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Op.Changes() && c.Op != walfs.OpMkdir {
			ops = append(ops, c.Op)
		}
		return walfs.Fault{}
	}), 1)
	w, got := recoverState(t, o)
	require.Equal(t, next-1, got[0].last())
	require.NoError(t, w.Close())
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, walfs.OpSyncDir, ops[0])
}
