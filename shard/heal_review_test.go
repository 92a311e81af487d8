package shard

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/raft"
	"fastpaca/shard/history"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// fetchFunc is Options.FetchMessages.
type fetchFunc func(id []byte, from, to uint64, most int) ([]byte, uint64, error)

// hurtCluster is three nodes whose histories heal, with what is in the way of that.
type hurtCluster struct {
	*testCluster
	answer  atomic.Pointer[fetchFunc] // nil: the others say what they have
	written []string
}

// others asks the other replicas in turn.
func (c *testCluster) others(id uint64) fetchFunc {
	return func(key []byte, from, to uint64, most int) ([]byte, uint64, error) {
		for other := uint64(1); other <= 3; other++ {
			c.mu.Lock()
			n := c.nodes[other]
			c.mu.Unlock()
			if other != id && n != nil {
				if page, next, err := n.Messages(nil, key, from, to, min(most, 2000)); err == nil && next > from {
					return page, next, nil
				}
			}
		}
		return nil, from, errors.New("nobody has it")
	}
}

func newHurtCluster(t *testing.T) *hurtCluster {
	c := &hurtCluster{}
	c.testCluster = newTestCluster(t, 3, func(id uint64, o *Options) {
		o.TailKeep, o.SpillBytes, o.SnapshotBytes = 10, 1, 1<<30
		o.FetchMessages = func(key []byte, from, to uint64, most int) ([]byte, uint64, error) {
			if f := c.answer.Load(); f != nil {
				return (*f)(key, from, to, most)
			}
			return c.others(id)(key, from, to, most)
		}
	})
	c.answers(func(key []byte, from, to uint64, most int) ([]byte, uint64, error) {
		return nil, from, errors.New("not yet")
	})
	t.Cleanup(func() { c.answer.Store(nil) })
	c.mustDo("x", narrow)
	return c
}

func (c *hurtCluster) answers(f fetchFunc) { c.answer.Store(&f) }

// mustDo has a command carried out that can be tried again. Its first seq may be taken: by a try that timed out.
func (c *hurtCluster) mustDo(id string, encode func(dst []byte) []byte) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		_, code := c.do(id, encode)
		return code == CodeOK || code == CodeSeqConflict
	}, time.Minute, time.Millisecond)
}

// write appends n messages in one command.
func (c *hurtCluster) write(n int) {
	c.t.Helper()
	first, texts := uint64(len(c.written)+1), make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("message %d %s", len(c.written)+i, strings.Repeat("h", 300))
	}
	c.mustDo("x", func(dst []byte) []byte {
		return encodeTexts(dst, AppendHeader{ID: []byte("x"), HasFirstSeq: true, FirstSeq: first}, texts...)
	})
	c.written = append(c.written, texts...)
}

// spilled writes until a node has files files of history, or more, and waits until it moves nothing.
func (c *hurtCluster) spilled(id uint64, files int) {
	c.t.Helper()
	for len(histories(c.t, c.disks[id])) < files {
		c.write(25)
	}
	n := c.node(id)
	g := n.groups[Of([]byte("x"))]
	require.Eventually(c.t, func() bool {
		idle := false
		require.NoError(c.t, g.loop.call(func() {
			idle = !g.spilling && !n.spills.holds(g) && g.applied == g.raft.Status().Last && g.machine.SpillBytes() == 0
		}))
		return idle
	}, time.Minute, time.Millisecond)
}

func (c *hurtCluster) whole(id uint64) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		n := c.node(id)
		return oldMessages(c.t, n, c.written) == nil && n.history.Damage(Of([]byte("x"))) == nil
	}, time.Minute, 10*time.Millisecond)
}

// TestTwoDamagedFilesOfAShard: the second is met while the first is healed, in the index that every lookup reads.
func TestTwoDamagedFilesOfAShard(t *testing.T) {
	c := newHurtCluster(t)
	c.answer.Store(nil)
	c.spilled(1, 2)
	files := histories(t, c.disks[1])
	flip(t, c.disks[1], files[0], 80)
	// The index page of the last file: the one place behind the blocks whose damage is said to be of such a page.
	for at := int64(-65); ; at-- {
		flip(t, c.disks[1], files[len(files)-1], at)
		probe, err := history.Open(history.Options{
			FS: c.disks[1].Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{Keep: 100}), Dir: "/data/history", Shards: Shards,
		})
		if err == nil {
			_, err = probe.Has(Of([]byte("x")), "x", 1<<40)
			probe.Close()
		}
		if err != nil && strings.Contains(err.Error(), "index page") {
			break
		}
		flip(t, c.disks[1], files[len(files)-1], at) // as it was
	}
	c.whole(1)
}

// TestLyingReplica: what is not the messages that were asked for, one behind the other, does not become history.
func TestLyingReplica(t *testing.T) {
	n := openNode(t, testOptions(walfs.NewMem()))
	defer n.Close()
	require.Equal(t, CodeOK, put(n, "x"))
	for i := range 6 {
		_, code := appendText(n, "x", fmt.Sprint("message ", i))
		require.Equal(t, CodeOK, code)
	}
	const to = 5
	good, next, err := n.Messages(nil, []byte("x"), 1, to, 1<<20)
	require.NoError(t, err)
	require.EqualValues(t, to+1, next)
	some, next, err := n.Messages(nil, []byte("x"), 1, to, 300)
	require.NoError(t, err)
	require.Less(t, next, uint64(to))
	more, _, err := n.Messages(nil, []byte("x"), 1, 6, 1<<20)
	require.NoError(t, err)
	for i, c := range []struct {
		ok   bool
		page []byte
		next uint64
	}{
		{true, good, to + 1},
		{true, some, next},
		{false, more, to + 2},
		{false, good, to + 2},
		{false, good, math.MaxUint64},
		{false, some, to + 1},
		{false, good, next},
		{false, nil, 2},
		{false, []byte("{}"), 2},
		{false, some[:len(some)-1], next},
		{false, append(bytes.Clone(some), ",{}"...), next},
		{false, append(bytes.Clone(some), ','), next},
		{false, append([]byte{' '}, some...), next},
		{false, bytes.Replace(some, []byte(`},{"seq"`), []byte(`};{"seq"`), 1), next},
		{false, bytes.Replace(some, []byte(`},{"seq"`), []byte(`}{"seq"`), 1), next},
		{false, bytes.Replace(some, []byte(`{"seq":`), []byte(`{"seq":9`), 1), next},
		{false, bytes.Replace(some, []byte(`"inserted_at"`), []byte(`"inserted_by"`), 1), next},
	} {
		w, err := n.history.Writer(7)
		require.NoError(t, err)
		err = writePage(w, []byte("x"), 1, c.next, to, c.page)
		w.Abort()
		require.Equal(t, c.ok, err == nil, "case %d: %v", i, err)
	}
}

// TestHangingReplicaHoldsNobodyUp: while a replica does not answer, other shards' messages leave memory, the shard itself is written
// to and read, and who would have to wait for its files is refused: a snapshot, and Forget.
func TestHangingReplicaHoldsNobodyUp(t *testing.T) {
	c := newHurtCluster(t)
	c.spilled(1, 1)
	asked, answer := make(chan struct{}), make(chan struct{})
	first, late := sync.OnceFunc(func() { close(asked) }), sync.OnceFunc(func() { close(answer) })
	t.Cleanup(late) // a test that fails must not hang
	c.answers(func(key []byte, from, to uint64, most int) ([]byte, uint64, error) {
		first()
		<-answer
		return nil, from, errors.New("too late")
	})
	n := c.node(1)
	group := Of([]byte("x"))
	flip(t, c.disks[1], histories(t, c.disks[1])[0], 80)
	require.Error(t, oldMessages(t, n, c.written))
	<-asked
	before := len(histories(t, c.disks[1]))
	c.write(60) // there is more to be moved than may stay, if only somebody could
	other := "y"
	for Of([]byte(other)) == group {
		other += "y"
	}
	c.mustDo(other, func(dst []byte) []byte {
		return EncodePut(dst, &Put{ID: []byte(other), HasBudget: true, TokenBudget: 100, HasPolicy: true, Policy: Policy{Strategy: LastN, Limit: 5}})
	})
	texts := slices.Repeat([]string{strings.Repeat("h", 300)}, 25)
	for last := uint64(0); last < 2000 && len(histories(t, c.disks[1])) == before; last += 25 {
		c.mustDo(other, func(dst []byte) []byte {
			return encodeTexts(dst, AppendHeader{ID: []byte(other), HasFirstSeq: true, FirstSeq: last + 1}, texts...)
		})
	}
	require.Eventually(t, func() bool { return len(histories(t, c.disks[1])) > before }, time.Minute, time.Millisecond,
		"nothing of another shard leaves memory")
	m := raft.Message{Type: raft.MsgSnapshot, Group: group, To: 1, From: 2, Term: math.MaxUint32}
	m.Snapshot = &raft.SnapshotMeta{Index: math.MaxUint32, Term: 1, Conf: raft.Conf{Voters: []uint64{1, 2, 3}}}
	require.ErrorIs(t, n.ReceiveSnapshot(m, strings.NewReader("")), ErrRefused)
	require.ErrorIs(t, n.Forget(group), ErrBusy)
	late()
	c.answer.Store(nil)
	c.whole(1)
	c.spilled(1, before+1) // and what has waited is moved
}

// TestCloseDuringReception: a heal does not wait for history that arrives from another node, for which nobody can say how long it
// takes, and so the node can be closed.
func TestCloseDuringReception(t *testing.T) {
	c := newHurtCluster(t)
	c.spilled(1, 1)
	n := c.node(1)
	g := n.groups[Of([]byte("x"))]
	require.NoError(t, g.loop.call(func() { g.receiving = true }))
	w, err := n.history.Writer(g.id) // as history.Receive does
	require.NoError(t, err)
	defer w.Abort()
	flip(t, c.disks[1], histories(t, c.disks[1])[0], 80)
	require.Error(t, oldMessages(t, n, c.written))
	require.Eventually(t, func() bool { // the healer has it in its hands, or had
		n.heals.jobs.mu.Lock()
		defer n.heals.jobs.mu.Unlock()
		return len(n.heals.jobs.jobs) == 0
	}, time.Minute, time.Millisecond)
	closed := make(chan struct{})
	go func() { c.stop(1); close(closed) }()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("the node cannot be closed")
	}
}

// TestMessagesBeforeDamage: a replica gives what it has before its own damage, and then an error. Together, two that are damaged in
// different places have all of it.
func TestMessagesBeforeDamage(t *testing.T) {
	disk := walfs.NewMem()
	o := testOptions(disk)
	o.TailKeep, o.SpillBytes = 10, 1
	n := openNode(t, o)
	defer n.Close()
	require.Equal(t, CodeOK, put(n, "x"))
	var written []string
	for len(histories(t, disk)) < 2 {
		written = append(written, fmt.Sprintf("message %d %s", len(written), strings.Repeat("h", 300)))
		_, code := appendText(n, "x", written[len(written)-1])
		require.Equal(t, CodeOK, code)
	}
	var v View
	g := n.groups[Of([]byte("x"))]
	require.Eventually(t, func() (quiet bool) { // all that is to go has gone, and nothing more will be written
		require.NoError(t, g.loop.call(func() { quiet = !g.spilling && g.machine.SpillBytes() < n.opt.SpillBytes }))
		return quiet
	}, time.Minute, time.Millisecond)
	c, code := n.Replica([]byte("x"))
	require.Equal(t, CodeOK, code)
	c.View(&v)
	files := histories(t, disk)
	flip(t, disk, files[len(files)-1], 80)
	next := uint64(1)
	for {
		page, to, err := n.Messages(nil, []byte("x"), next, v.First-1, 1<<20)
		if err != nil {
			require.Equal(t, next, to)
			break
		}
		require.Greater(t, to, next)
		require.Less(t, to, v.First, "past the damage")
		for ; next < to; next++ {
			require.Contains(t, string(page), written[next-1])
		}
	}
	require.Greater(t, next, uint64(1), "what is before the damage")
}
