package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fastpaca/shard/history"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// narrow makes a context whose window, which stays in memory, is short.
func narrow(dst []byte) []byte {
	return EncodePut(dst, &Put{ID: []byte("x"), HasBudget: true, TokenBudget: 100, HasPolicy: true, Policy: Policy{Strategy: LastN, Limit: 5}})
}

// histories lists the history files of a node's disk.
func histories(t *testing.T, disk *walfs.Mem) (paths []string) {
	t.Helper()
	names, err := disk.List("/data/history")
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, ".hist") {
			paths = append(paths, filepath.Join("/data/history", name))
		}
	}
	return paths
}

// flip turns one bit of a file around.
func flip(t *testing.T, disk *walfs.Mem, path string, at int64) {
	t.Helper()
	if at < 0 {
		f, err := disk.Open(path)
		require.NoError(t, err)
		defer f.Close()
		size, err := f.Size()
		require.NoError(t, err)
		at += size
	}
	require.NoError(t, disk.Flip(path, at, 4))
}

// oldMessages reads everything of "x" that left the memory of n, by small pages. An error is one of damage; what is read is right.
func oldMessages(t *testing.T, n *Node, written []string) error {
	t.Helper()
	c, code := n.Replica([]byte("x"))
	require.Equal(t, CodeOK, code)
	var v View
	c.View(&v)
	for seq := uint64(1); seq < v.First; {
		page, next, err := n.AppendHistory(nil, []byte("x"), seq, v.First-1, 8000)
		if err != nil {
			return err
		}
		require.Greater(t, next, seq, "what is missing is an error, and not the end")
		for ; seq < next; seq++ {
			require.Contains(t, string(page), written[seq-1])
		}
	}
	return nil
}

// TestDamagedHistoryIsFetched: history files of one replica lose a bit, their end, or are lost altogether, while the node
// runs or while it is down. It answers rightly or not at all, and is whole again soon: it reads everything, merges, and
// sends its history to others.
func TestDamagedHistoryIsFetched(t *testing.T) {
	var c *testCluster
	c = newTestCluster(t, 3, func(id uint64, o *Options) {
		o.TailKeep, o.SpillBytes, o.SnapshotBytes, o.ParkAfter = 10, 1, 2<<10, 4*tickInterval
		o.FetchMessages = func(key []byte, from, to uint64, most int) ([]byte, uint64, error) {
			return c.others(id)(key, from, to, most)
		}
	})
	require.Eventually(t, func() bool { _, code := c.do("x", narrow); return code == CodeOK }, time.Minute, time.Millisecond)
	group := Of([]byte("x"))
	var written []string
	write := func(n int) {
		for range n {
			text := fmt.Sprintf("message %d %s", len(written), strings.Repeat("h", 300))
			written = append(written, text)
			c.mustAppend("x", text)
		}
	}
	write(250)
	rng := rand.New(rand.NewPCG(8, 8))
	whole := func(id uint64) {
		t.Helper()
		require.Eventually(t, func() bool {
			n := c.node(id)
			if oldMessages(t, n, written) != nil || n.history.Damage(group) != nil {
				return false
			}
			tr, err := n.history.Transfer(group)
			if err != nil {
				return false
			}
			return tr.Close() == nil
		}, time.Minute, 10*time.Millisecond)
	}
	healed := func(id uint64) uint64 {
		var st Stats
		c.node(id).Stats(&st)
		return st.HistoryHealed
	}
	for id := uint64(1); id <= 3; id++ {
		whole(id)
	}

	for round, at := range []int64{70, 90, 400, -70, -1} { // blocks; and what was read into memory at the open
		id := uint64(1 + round%3)
		require.Eventually(t, func() bool { return len(histories(t, c.disks[id])) > 0 }, time.Minute, 10*time.Millisecond)
		files := histories(t, c.disks[id])
		flip(t, c.disks[id], files[rng.IntN(len(files))], at)
		write(10) // spills and merges go on
		whole(id)
	}

	for round, damage := range []func(disk *walfs.Mem, files []string){
		func(disk *walfs.Mem, files []string) { flip(t, disk, files[0], 3) },
		func(disk *walfs.Mem, files []string) { flip(t, disk, files[len(files)-1], -5) },
		func(disk *walfs.Mem, files []string) { require.NoError(t, disk.Remove(files[0])) },
		func(disk *walfs.Mem, files []string) { require.NoError(t, disk.Remove(files[len(files)-1])) },
		func(disk *walfs.Mem, files []string) {
			for _, f := range files {
				require.NoError(t, disk.Remove(f))
			}
		},
	} {
		id := uint64(1 + round%3)
		if round%2 == 0 {
			c.stop(id)
		} else {
			c.kill(id, rng, 50)
		}
		files := histories(t, c.disks[id])
		require.NotEmpty(t, files)
		damage(c.disks[id], files)
		c.start(id)
		before := healed(id)
		require.Eventually(t, func() bool { return c.node(id).Applied(group) > 0 }, time.Minute, time.Millisecond)
		whole(id)
		if round == 0 {
			require.Eventually(t, func() bool { return healed(id) > before || before > 0 }, time.Minute, time.Millisecond)
		}
		write(10)
	}
	for id := uint64(1); id <= 3; id++ {
		whole(id)
	}
	c.stop(1)
	c.start(1)
	require.NoError(t, c.node(1).history.Damage(group), "nothing of it is left on disk")
	require.Eventually(t, func() bool { return c.node(1).Applied(group) > 0 }, time.Minute, time.Millisecond)
	whole(1)
}

// TestDamagedHistoryAlone: a node without others names the file, whether it runs or starts.
func TestDamagedHistoryAlone(t *testing.T) {
	disk := walfs.NewMem()
	o := testOptions(disk)
	o.TailKeep, o.SpillBytes = 10, 1
	o.FetchMessages = func([]byte, uint64, uint64, int) ([]byte, uint64, error) {
		return nil, 0, errors.New("nobody is there")
	}
	n := openNode(t, o)
	r := AcquireRequest()
	r.Cmd = narrow(r.Cmd)
	n.Do(Of([]byte("x")), r)
	require.Equal(t, CodeOK, r.Result.Code)
	ReleaseRequest(r)
	var written []string
	for i := range 300 {
		written = append(written, fmt.Sprintf("message %d %s", i, strings.Repeat("h", 300)))
		_, code := appendText(n, "x", written[i])
		require.Equal(t, CodeOK, code)
	}
	require.Eventually(t, func() bool { // it has left memory, and no merge is about to take the file away
		c, code := n.Replica([]byte("x"))
		require.Equal(t, CodeOK, code)
		var v View
		c.View(&v)
		n.spills.mu.Lock()
		defer n.spills.mu.Unlock()
		return v.First > 1 && n.spills.job == nil && len(histories(t, disk)) > 0
	}, time.Minute, time.Millisecond)
	require.NoError(t, oldMessages(t, n, written))
	path := histories(t, disk)[0]
	flip(t, disk, path, 100)
	for range 3 {
		var damaged *history.DamagedError
		require.ErrorAs(t, oldMessages(t, n, written), &damaged)
		require.Equal(t, path, damaged.Path)
	}
	require.NoError(t, n.Close())
	flip(t, disk, path, -5)
	_, err := Open(o)
	require.ErrorContains(t, err, path)
}
