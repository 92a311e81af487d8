package shard

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// parked waits until want contexts of n are on disk only.
func parked(t *testing.T, n *Node, want int) {
	t.Helper()
	var st Stats
	require.Eventually(t, func() bool { n.Stats(&st); return st.Parked == int64(want) }, time.Minute, 5*time.Millisecond,
		"%d contexts should be on disk only", want)
}

// TestNodeParks: contexts leave memory when nobody touches them, and come back for reads, writes, lists and streams, before
// and after a restart; one with a stream stays.
func TestNodeParks(t *testing.T) {
	const contexts = 60
	disk := walfs.NewMem()
	o := testOptions(disk)
	o.ParkAfter = 2 * tickInterval
	o.SnapshotBytes = 1 << 30
	n := openNode(t, o)
	id := func(i int) string { return fmt.Sprintf("ctx-%d", i) }
	for i := range contexts {
		require.Equal(t, CodeOK, put(n, id(i)))
		_, code := appendText(n, id(i), "hello "+id(i))
		require.Equal(t, CodeOK, code)
	}
	parked(t, n, contexts)
	var st Stats
	n.Stats(&st)
	require.EqualValues(t, contexts, st.Contexts)
	require.Eventually(t, func() bool { n.Stats(&st); return st.StateBytes < contexts*100 }, time.Minute, time.Millisecond)
	require.Greater(t, st.ParkedBytes, int64(contexts*100))

	check := func(version uint64) {
		t.Helper()
		for i := range contexts {
			var v View
			require.Equal(t, CodeOK, n.Read([]byte(id(i)), &v))
			require.Equal(t, version, v.Version)
			require.Contains(t, string(v.AppendWindow(nil, 0)), "hello "+id(i))
		}
	}
	check(1)
	parked(t, n, contexts) // without being written again
	n.Stats(&st)
	require.EqualValues(t, contexts, st.Parks)

	for i := range contexts {
		_, code := appendText(n, id(i), "again")
		require.Equal(t, CodeOK, code)
	}
	parked(t, n, contexts)
	listed := 0
	for g := range uint32(Shards) {
		page, more, code := n.List(g, 0, ListMax, nil)
		require.Equal(t, CodeOK, code)
		require.False(t, more)
		for _, c := range page {
			var v View
			c.View(&v)
			require.EqualValues(t, 2, v.Version)
			listed++
		}
	}
	require.Equal(t, contexts, listed)
	parked(t, n, contexts)

	c, code := n.Context([]byte(id(3)))
	require.Equal(t, CodeOK, code)
	wake := make(chan struct{}, 1)
	c.Subscribe(wake)
	check(2)
	parked(t, n, contexts-1)
	_, code = appendText(n, id(3), "for the stream")
	require.Equal(t, CodeOK, code)
	<-wake
	require.False(t, c.Replaced())
	c.Unsubscribe(wake)
	parked(t, n, contexts)
	require.True(t, c.Replaced())

	// A snapshot takes the parked contexts over, and the parking files go.
	for g := range uint32(Shards) {
		n.requestSnapshots([]uint32{g})
	}
	require.Eventually(t, func() bool {
		names, err := disk.List(parkDir(o.Dir))
		require.NoError(t, err)
		return len(names) == 0
	}, time.Minute, 5*time.Millisecond)
	want := stateBytes(t, n)
	require.NoError(t, n.Close())

	o.ParkAfter = 0
	n = openNode(t, o)
	require.Equal(t, want, stateBytes(t, n))
	n.Stats(&st)
	require.EqualValues(t, contexts, st.Parked, "a start builds no context that the log does not touch")
	_, code = appendText(n, id(3), "after the restart")
	require.Equal(t, CodeOK, code)
	var v View
	require.Equal(t, CodeOK, n.Read([]byte(id(3)), &v))
	require.EqualValues(t, 4, v.Version)
	n.Stats(&st)
	require.EqualValues(t, contexts-1, st.Parked)
	require.NoError(t, n.Close())
}

// TestPressureParksSooner: where memory is short, contexts leave it long before their time, so that writes are taken that would
// be refused.
func TestPressureParksSooner(t *testing.T) {
	o := testOptions(walfs.NewMem())
	o.ParkAfter = time.Hour
	o.MemoryBytes = 200 << 10
	n := openNode(t, o)
	for i := range 300 { // three times what the limit allows
		id := fmt.Sprint("c", i)
		require.Eventually(t, func() bool { return put(n, id) == CodeOK }, time.Minute, 10*time.Millisecond)
		require.Eventually(t, func() bool { _, code := appendText(n, id, "hello"); return code == CodeOK }, time.Minute, 10*time.Millisecond)
	}
	// All that may have been taken between two looks at the memory, and be refused from the next one on.
	var st Stats
	require.Eventually(t, func() bool { n.Stats(&st); return st.Parked > 0 }, time.Minute, 5*time.Millisecond)
	require.Eventually(t, func() bool { return put(n, "another") == CodeOK }, time.Minute, 10*time.Millisecond)
	require.NoError(t, n.Close())
}

// TestNodeParksUnderLoad: writers, readers, snapshots, spills and the sweep at once, then a restart; nothing is lost.
func TestNodeParksUnderLoad(t *testing.T) {
	const contexts, workers, rounds = 16, 4, 60
	disk := walfs.NewMem()
	o := testOptions(disk)
	o.ParkAfter = tickInterval
	o.TailKeep, o.SpillBytes = 5, 1
	n := openNode(t, o)
	for i := range contexts {
		require.Equal(t, CodeOK, put(n, fmt.Sprint("c", i)))
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for r := range rounds {
				id := fmt.Sprint("c", (w+workers*r)%contexts)
				before := uint64(0)
				var v View
				if n.Read([]byte(id), &v) == CodeOK {
					before = v.Last
				}
				if seq, code := appendText(n, id, "hello"); code != CodeOK || seq <= before {
					panic(fmt.Sprint(id, seq, code, before))
				}
				time.Sleep(time.Duration(rng.IntN(8)) * time.Millisecond)
			}
		}()
	}
	wg.Wait()
	parked(t, n, contexts)
	check := func() {
		total := uint64(0)
		for i := range contexts {
			var v View
			require.Equal(t, CodeOK, n.Read(fmt.Append(nil, "c", i), &v))
			total += v.Last
			out, next, err := n.AppendHistory(nil, fmt.Append(nil, "c", i), 1, v.Last, 1<<20)
			require.NoError(t, err)
			require.GreaterOrEqual(t, next, v.First, "%s", out)
		}
		require.EqualValues(t, workers*rounds, total)
	}
	check()
	require.NoError(t, n.Close())
	n = openNode(t, o)
	check()
	require.NoError(t, n.Close())
}

// TestIdleContextsCostLittle: a hundred thousand contexts that nobody touches are at most 300 bytes each in memory,
// parked, and found again by a restart.
func TestIdleContextsCostLittle(t *testing.T) {
	const limit = 300
	contexts, batch := 100_000, 10_000
	if raceEnabled {
		contexts, batch = contexts/20, batch/20 // the detector makes it slow, and finds as much in a few
	}
	memory := func() int64 {
		runtime.GC()
		runtime.GC() // what pools let go of with the first
		var st runtime.MemStats
		runtime.ReadMemStats(&st)
		return int64(st.HeapAlloc)
	}
	l := newLot(t, 1, dirFS{walfs.OS(), t.TempDir()})
	before := memory()
	var res Result
	for i := range contexts {
		id := fmt.Sprintf("customer-%08d-conversation", i)
		require.NoError(t, l.m.Apply(l.m.index+1, EncodePut(nil, &Put{ID: []byte(id)}), &res))
		require.NoError(t, l.m.Apply(l.m.index+1, encodeText(nil, id, "a message of an ordinary length, as people write them in chats"), &res))
		if (i+1)%batch == 0 {
			for n := int64(-1); n != l.m.parking.count.Load(); {
				n = l.m.parking.count.Load()
				l.park(true, func() {})
			}
		}
	}
	res = Result{}
	n, _ := l.m.Parked()
	require.EqualValues(t, contexts, n)
	each := (memory() - before) / int64(contexts)
	t.Logf("%d bytes each", each)
	require.LessOrEqual(t, each, int64(limit))
	if !raceEnabled {
		require.InDelta(t, each, l.m.Bytes()/int64(contexts), 30, "what the node counts is what there is")
	}

	l.restart()
	each = (memory() - before) / int64(contexts)
	t.Logf("%d bytes each after a restart", each)
	require.LessOrEqual(t, each, int64(limit))
	for i := 0; i < contexts; i += 997 {
		id := fmt.Appendf(nil, "customer-%08d-conversation", i)
		c, err := l.m.find(id, hash64(id))
		require.NoError(t, err)
		require.NotNil(t, c)
	}
	l.m.drop()
}

// dirFS has a directory of the operating system's for its root.
type dirFS struct {
	walfs.FS
	root string
}

func (d dirFS) MkdirAll(dir string) error { return os.MkdirAll(filepath.Join(d.root, dir), 0o750) }

func (d dirFS) Create(name string) (walfs.File, error) {
	return d.FS.Create(filepath.Join(d.root, name))
}

// TestNoParkingBesideSnapshot: a group was queued for parking when a snapshot of it began. Nothing is added to a parking file that the
// snapshot makes superfluous; the contexts leave memory by the snapshot.
func TestNoParkingBesideSnapshot(t *testing.T) {
	disk := walfs.NewMem()
	passed := int64(0) // ms
	o := testOptions(disk)
	o.Manual, o.Loops, o.SnapshotBytes, o.ParkAfter = true, 1, 1<<40, time.Hour
	o.Nanos = func() int64 { return passed * 1e6 }
	o.NowMs = func() int64 { return 1_700_000_000_000 + passed }
	n, err := Open(o)
	require.NoError(t, err)
	work := func() {
		for n.StepLoops() || n.StepWAL() || n.StepSnapshots() {
			continue
		}
	}
	g := n.groups[Of([]byte("x"))]
	for !g.leads.Load() {
		passed += 50
		n.TickAll()
		work()
	}
	r := AcquireRequest()
	r.Cmd = EncodePut(r.Cmd, &Put{ID: []byte("x")})
	code := CodeTimeout
	r.Done = func(r *Request) { code = r.Result.Code }
	n.Submit(g.id, r)
	work()
	require.Equal(t, CodeOK, code)
	for range 2 {
		g.machine.Sweep(g.machine.Len())
	}
	g.parking, g.snap.busy = true, true
	n.parks.queue.push(g)
	n.snaps.queue.push(g)
	work()
	require.False(t, g.parking)
	require.False(t, g.snap.busy)
	names, err := disk.List(parkDir(o.Dir))
	require.NoError(t, err)
	require.Empty(t, names)
	g.machine.Sweep(g.machine.Len())
	g.machine.BeginPark() // lets go of what the sweep had found before
	g.machine.Sweep(g.machine.Len())
	parked, _ := g.machine.Parked()
	require.EqualValues(t, 1, parked)
	require.NoError(t, n.Close())
}
