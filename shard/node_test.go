package shard

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/wal"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// testOptions make everything that happens rarely happen often: small segments, early snapshots.
func testOptions(fs wal.FS) Options {
	return Options{
		Dir: "/data", FS: fs, Loops: 2, SegmentBytes: 4 << 20, WALSoftBytes: 8 << 20, WALHardBytes: 64 << 20,
		SnapshotBytes: 4 << 10, MaxCommandBytes: 1 << 20,
	}
}

func openNode(t *testing.T, o Options) *Node {
	t.Helper()
	n, err := Open(o)
	require.NoError(t, err)
	awaitReady(t, n)
	return n
}

func awaitReady(t *testing.T, n *Node) {
	t.Helper()
	require.Eventually(t, func() bool { ok, _ := n.Ready(); return ok }, 40*time.Second, time.Millisecond)
}

// put and appendText are one command each; they return the outcome.
func put(n *Node, id string) Code {
	r := AcquireRequest()
	defer ReleaseRequest(r)
	r.Cmd = EncodePut(r.Cmd, &Put{ID: []byte(id)})
	n.Do(Of([]byte(id)), r)
	return r.Result.Code
}

func encodeText(dst []byte, id, text string) []byte {
	return encodeTexts(dst, AppendHeader{ID: []byte(id)}, text)
}

func encodeTexts(dst []byte, h AppendHeader, texts ...string) []byte {
	h.Count = len(texts)
	dst = BeginAppend(dst, h)
	for _, text := range texts {
		fields := fmt.Sprintf(`"role":"user","parts":[{"type":"text","text":%q}]`, text)
		dst = AppendMessage(dst, &Message{Fields: []byte(fields), Tokens: uint32(len(text)), Flags: FlagNoMetadata})
	}
	return dst
}

func appendText(n *Node, id, text string) (seq uint64, code Code) {
	r := AcquireRequest()
	defer ReleaseRequest(r)
	r.Cmd = encodeText(r.Cmd, id, text)
	n.Do(Of([]byte(id)), r)
	return r.Result.FirstSeq, r.Result.Code
}

// texts reads the whole history of a context and checks that its seqs have no gap.
func texts(t *testing.T, n *Node, id string) []string {
	t.Helper()
	var v View
	require.Equal(t, CodeOK, n.Read([]byte(id), &v))
	return historyTexts(t, n, id, &v)
}

// historyTexts is the text of every message in v.
func historyTexts(t *testing.T, n *Node, id string, v *View) []string {
	t.Helper()
	var page struct {
		Messages []struct {
			Seq   uint64
			Parts []struct{ Text string }
		}
	}
	b := []byte(`{"messages":[`)
	if v.First > 1 {
		var next uint64
		var err error
		b, next, err = n.AppendHistory(b, []byte(id), 1, v.First-1, 1<<30)
		require.NoError(t, err)
		require.Equal(t, v.First, next, "what is not in memory is in the history files")
		b = append(b, ',')
	}
	if v.Last > 0 {
		b = v.AppendMessages(b, v.First, v.Last)
	}
	require.NoError(t, json.Unmarshal(append(b, "]}"...), &page))
	out := make([]string, len(page.Messages))
	for i, m := range page.Messages {
		require.Equal(t, uint64(i+1), m.Seq)
		out[i] = m.Parts[0].Text
	}
	return out
}

// journal is what one client knows: what it sent, and what was acknowledged where.
type journal struct {
	mu    sync.Mutex
	id    string
	sent  map[string]bool
	acked []string // by seq-1; gaps cannot be: the client is the only writer of its context
}

func (j *journal) snapshot() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.acked...)
}

// TestPowerLoss crashes a node under load at arbitrary moments, on a file system that loses and tears what was
// not synced, and starts a node on what is left: everything acknowledged before the moment is there at its
// place, nothing is there that was not sent, and the recovered node works and survives the next crash.
func TestPowerLoss(t *testing.T) {
	t.Run("all in memory", func(t *testing.T) { powerLoss(t, testOptions) })
	t.Run("with history files", func(t *testing.T) {
		powerLoss(t, func(fs wal.FS) Options {
			o := testOptions(fs)
			o.TailKeep, o.SpillBytes = 20, 1
			return o
		})
	})
}

func powerLoss(t *testing.T, options func(wal.FS) Options) {
	crashes := 15
	if testing.Short() || raceEnabled {
		crashes = 5
	}
	rng := rand.New(rand.NewPCG(1, 2))
	disk, spilled := walfs.NewMem(), uint64(0)
	journals := make([]*journal, 8)
	for i := range journals {
		journals[i] = &journal{id: fmt.Sprintf("context-%d", i), sent: map[string]bool{}}
	}
	for round := range crashes {
		n := openNode(t, options(disk))
		for _, j := range journals {
			if round == 0 {
				require.Equal(t, CodeOK, put(n, j.id))
			}
			got := texts(t, n, j.id)
			require.GreaterOrEqual(t, len(got), len(j.acked), "round %d: acknowledged messages of %s are missing", round, j.id)
			require.Equal(t, j.acked, append([]string(nil), got[:len(j.acked)]...), "round %d: %s", round, j.id)
			for _, text := range got[len(j.acked):] {
				require.True(t, j.sent[text], "round %d: %s holds %q, which was never sent", round, j.id, text)
			}
			j.acked = got
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, j := range journals {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					text := fmt.Sprintf("%s round %d message %d %s", j.id, round, i, strings.Repeat("x", i%700))
					j.mu.Lock()
					j.sent[text] = true
					j.mu.Unlock()
					seq, code := appendText(n, j.id, text)
					if code != CodeOK {
						t.Errorf("append: %s", code)
						return
					}
					j.mu.Lock()
					if seq != uint64(len(j.acked)+1) {
						t.Errorf("%s: seq %d acknowledged after %d", j.id, seq, len(j.acked))
					}
					j.acked = append(j.acked, text)
					j.mu.Unlock()
				}
			}()
		}
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		if round == crashes-1 && n.opt.TailKeep > 0 && spilled == 0 { // a slow machine has not come so far yet
			require.Eventually(t, func() bool {
				var st Stats
				n.Stats(&st)
				return st.History.WrittenBytes > 0
			}, 30*time.Second, time.Millisecond)
		}
		known := make([][]string, len(journals))
		for i, j := range journals {
			known[i] = j.snapshot()
		}
		lost := disk.Crash(rng, walfs.CrashOptions{Keep: rng.IntN(101), Tear: rng.IntN(101)})
		close(stop)
		wg.Wait()
		var st Stats
		n.Stats(&st)
		spilled += st.History.WrittenBytes
		require.NoError(t, n.Close())
		for i, j := range journals {
			j.acked = known[i]
		}
		disk = lost
		if t.Failed() {
			return
		}
	}
	require.Equal(t, options(disk).TailKeep > 0, spilled > 0, "%d bytes spilled", spilled)
}

// TestRecoveredStateIsEqual: snapshot and log replayed give the same bytes as the commands applied live.
func TestRecoveredStateIsEqual(t *testing.T) {
	disk := walfs.NewMem()
	n := openNode(t, testOptions(disk))
	for i := range 20 {
		require.Equal(t, CodeOK, put(n, fmt.Sprint("c", i)))
	}
	for i := range 3000 {
		_, code := appendText(n, fmt.Sprint("c", i%20), fmt.Sprint("message ", i, strings.Repeat("y", i%100)))
		require.Equal(t, CodeOK, code)
	}
	var st Stats
	require.Eventually(t, func() bool { n.Stats(&st); return st.Snapshots > 0 }, 40*time.Second, time.Millisecond)
	want := stateBytes(t, n)
	require.NoError(t, n.Close())

	n = openNode(t, testOptions(disk))
	n.Stats(&st)
	require.Positive(t, st.Replay.Snapshots, "the restart should have begun with snapshots")
	require.Equal(t, want, stateBytes(t, n))
	require.NoError(t, n.Close())
}

// stateBytes is every shard's snapshot at the same nominal index: recovery itself adds a no-op per shard.
func stateBytes(t *testing.T, n *Node) [][]byte {
	t.Helper()
	out := make([][]byte, 0, Shards)
	for g := range uint32(Shards) {
		out = append(out, groupBytes(t, n, g))
	}
	return out
}

// TestDamagedSnapshotIsRefused: a flipped bit, a missing file and a renamed one are each named, and nothing
// starts.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	prepare := func() (*walfs.Mem, string) {
		disk := walfs.NewMem()
		n := openNode(t, testOptions(disk))
		require.Equal(t, CodeOK, put(n, "x"))
		for range 200 {
			_, code := appendText(n, "x", strings.Repeat("z", 200))
			require.Equal(t, CodeOK, code)
		}
		var st Stats
		require.Eventually(t, func() bool { n.Stats(&st); return st.Snapshots > 0 }, 40*time.Second, time.Millisecond)
		require.NoError(t, n.Close())
		names, err := disk.List(snapDir("/data"))
		require.NoError(t, err)
		require.NotEmpty(t, names)
		return disk, filepath.Join(snapDir("/data"), names[len(names)-1])
	}
	disk, file := prepare()
	require.NoError(t, disk.Flip(file, 60, 3))
	id, index, ok := parseSnapName(filepath.Base(file))
	require.True(t, ok)
	older := snapName(id, index-1) // which a crash left
	f, err := disk.Create(filepath.Join(snapDir("/data"), older))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = Open(testOptions(disk))
	require.ErrorContains(t, err, file)
	require.ErrorContains(t, err, "damaged")
	names, err := disk.List(snapDir("/data"))
	require.NoError(t, err)
	require.Contains(t, names, older, "there is nothing else to go back to")

	disk, file = prepare()
	require.NoError(t, disk.Remove(file))
	_, err = Open(testOptions(disk))
	require.ErrorContains(t, err, "missing")

	disk, file = prepare()
	require.NoError(t, disk.Rename(file, filepath.Join(snapDir("/data"), snapName(255, 77))))
	_, err = Open(testOptions(disk))
	require.ErrorContains(t, err, "renamed")
}

// TestHangingDisk: writes are answered raft_timeout while a sync hangs, hold their share of the budget so that
// no more than that is ever queued, are there afterwards, and everything works again by itself.
func TestHangingDisk(t *testing.T) {
	disk := walfs.NewMem()
	var mu sync.Mutex
	var hang chan struct{}
	faulty := walfs.NewFaulty(disk, func(c walfs.Call) walfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if hang != nil && c.Op == walfs.OpSync && strings.Contains(c.Path, "/wal/") {
			return walfs.Fault{Hang: hang}
		}
		return walfs.Fault{}
	})
	o := testOptions(faulty)
	o.SnapshotBytes = 1 << 30
	o.RequestTimeout = 200 * time.Millisecond
	o.InflightBytes = 3200
	n := openNode(t, o)
	require.Equal(t, CodeOK, put(n, "x"))

	mu.Lock()
	hang = make(chan struct{})
	mu.Unlock()
	outcomes := map[Code]int{}
	for range 10 {
		_, code := appendText(n, "x", strings.Repeat("a", 900))
		outcomes[code]++
	}
	require.Equal(t, map[Code]int{CodeTimeout: 3, CodeOverloaded: 7}, outcomes)
	require.Empty(t, texts(t, n, "x"), "what is not durable is not shown")

	mu.Lock()
	close(hang)
	hang = nil
	mu.Unlock()
	require.Eventually(t, func() bool { return n.inflight.Load() == 0 }, 40*time.Second, time.Millisecond)
	require.Len(t, texts(t, n, "x"), 3, "a timeout is an unknown outcome: these were written")
	seq, code := appendText(n, "x", "again")
	require.Equal(t, CodeOK, code)
	require.Equal(t, uint64(4), seq)
	require.NoError(t, n.Close())
}

// TestFailedSyncIsFatal: the node reports it once, and acknowledges nothing from then on.
func TestFailedSyncIsFatal(t *testing.T) {
	var mu sync.Mutex
	fail := false
	faulty := walfs.NewFaulty(walfs.NewMem(), func(c walfs.Call) walfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if fail && c.Op == walfs.OpSync {
			return walfs.Fault{Err: errors.New("input/output error")}
		}
		return walfs.Fault{}
	})
	o := testOptions(faulty)
	o.RequestTimeout = 200 * time.Millisecond
	fatal := make(chan error, 8)
	o.Fatal = func(err error) { fatal <- err }
	n := openNode(t, o)
	require.Equal(t, CodeOK, put(n, "x"))
	mu.Lock()
	fail = true
	mu.Unlock()
	for range 3 {
		_, code := appendText(n, "x", "lost")
		require.Equal(t, CodeTimeout, code)
	}
	require.ErrorContains(t, <-fatal, "input/output error")
	require.Empty(t, fatal, "once")
	// The product has exited by now. The test has to end its goroutines.
	n.inflight.Store(0)
	_ = n.Close()
}

// TestMemoryLimit: past it, appends are refused and nothing is written; reads go on.
func TestMemoryLimit(t *testing.T) {
	o := testOptions(walfs.NewMem())
	o.MemoryBytes = 200 << 10
	n := openNode(t, o)
	require.Equal(t, CodeOK, put(n, "x"))
	acked := 0
	require.Eventually(t, func() bool {
		_, code := appendText(n, "x", strings.Repeat("m", 2000))
		if code == CodeOK {
			acked++
		}
		return code == CodeStorageFull
	}, 40*time.Second, time.Microsecond)
	require.Len(t, texts(t, n, "x"), acked)
	r := AcquireRequest()
	r.Cmd = EncodeAckArchived(r.Cmd, []byte("x"), 1, math.MaxUint64)
	n.Do(Of([]byte("x")), r)
	require.Equal(t, CodeOK, r.Result.Code, "what frees memory passes")
	ReleaseRequest(r)
	require.NoError(t, n.Close())
}

// TestClosedNodeRefuses: a closing node says so and loses nothing that it acknowledged.
func TestClosedNodeRefuses(t *testing.T) {
	disk := walfs.NewMem()
	n := openNode(t, testOptions(disk))
	require.Equal(t, CodeOK, put(n, "x"))
	_, code := appendText(n, "x", "kept")
	require.Equal(t, CodeOK, code)
	require.NoError(t, n.Close())
	_, code = appendText(n, "x", "late")
	require.Equal(t, CodeShuttingDown, code)
	require.Error(t, n.Close())

	n = openNode(t, testOptions(disk.Crash(rand.New(rand.NewPCG(7, 7)), walfs.CrashOptions{})))
	require.Equal(t, []string{"kept"}, texts(t, n, "x"))
	require.NoError(t, n.Close())
}

// TestHubWakesSubscribers: a subscriber hears of every change, however they bunch up.
func TestHubWakesSubscribers(t *testing.T) {
	n := openNode(t, testOptions(walfs.NewMem()))
	require.Equal(t, CodeOK, put(n, "x"))
	c, code := n.Context([]byte("x"))
	require.Equal(t, CodeOK, code)
	wake := make(chan struct{}, 1)
	c.Subscribe(wake)
	const total = 500
	go func() {
		for range total {
			appendText(n, "x", "m")
		}
	}()
	var v View
	for v.Last < total {
		<-wake
		c.View(&v)
	}
	c.Unsubscribe(wake)
	require.NoError(t, n.Close())
}
