package shard

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fastpaca/raft"
	"fastpaca/wal"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// session1 is a data directory of version 1.0, which knew no memberships: three contexts with 20 messages each in
// snapshots, and one more behind them in the log. Made by that version's own code; it cannot be made again by this one.
func session1(t *testing.T) *walfs.Mem {
	t.Helper()
	f, err := os.Open("testdata/session1.tar.gz")
	require.NoError(t, err)
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	require.NoError(t, err)
	mem := walfs.NewMem()
	for in := tar.NewReader(unzip); ; {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			return mem
		}
		require.NoError(t, err)
		name := filepath.Join("/data", head.Name)
		if head.Typeflag == tar.TypeDir {
			require.NoError(t, mem.MkdirAll(name))
			continue
		}
		b, err := io.ReadAll(in)
		require.NoError(t, err)
		w, err := mem.Create(name)
		require.NoError(t, err)
		_, err = w.WriteAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, w.Sync())
		require.NoError(t, mem.SyncDir(filepath.Dir(name)))
	}
}

func checkSession1(t *testing.T, have []string) {
	t.Helper()
	require.GreaterOrEqual(t, len(have), 21)
	for i := range 20 {
		require.Equal(t, fmt.Sprint("message ", i, " ", strings.Repeat("v", 300)), have[i])
	}
	require.Equal(t, "behind the snapshot", have[20])
}

// TestDirectoryOfVersion1: it is a cluster of one with id 1. It serves at once, and can take in others, although its
// snapshots do not say who its members are.
func TestDirectoryOfVersion1(t *testing.T) {
	o := testOptions(session1(t))
	n := openNode(t, o)
	for i := range 3 {
		checkSession1(t, texts(t, n, fmt.Sprint("context-", i)))
	}
	_, code := appendText(n, "context-0", "by this version")
	require.Equal(t, CodeOK, code)
	require.NoError(t, n.Close())
	n = openNode(t, o)
	checkSession1(t, texts(t, n, "context-0"))
	require.NoError(t, n.Close())

	c := newTestCluster(t, 1, nil)
	c.stop(1)
	c.disks[1] = session1(t)
	c.start(1)
	group := Of([]byte("context-1"))
	require.Equal(t, uint64(1), c.leader(group))
	c.join(2)
	require.NoError(t, c.node(1).ProposeConf(group, raft.ConfChange{Changes: []raft.Change{{Kind: raft.AddVoter, ID: 2}}}))
	c.mustAppend("context-1", "by two")
	c.converge(group)
	var st Stats
	c.node(2).Stats(&st)
	require.Positive(t, st.SnapshotsReceived, "the entries before its snapshot are gone")
	require.NoError(t, c.node(1).Transfer(group, 2))
	require.Equal(t, uint64(2), c.leader(group, 1))
	checkSession1(t, texts(t, c.node(2), "context-1"))
}

// replayed feeds a group's log to recovery.
type replayed struct {
	t *testing.T
	r *recovered
}

func replayOf(t *testing.T, self uint64, conf raft.Conf) *replayed {
	return &replayed{t, &recovered{id: 0, self: self, machine: NewMachine(0), conf: conf, snapConf: conf, solo: soleVoter(&conf, self)}}
}

func (p *replayed) entry(index, term, commit uint64, kind raft.EntryKind, data []byte) *replayed {
	p.t.Helper()
	p.r.entry(commit, wal.Entry{Index: index, Term: term, Kind: uint8(kind), Data: data})
	require.NoError(p.t, p.r.err)
	return p
}

func (p *replayed) noop(index, term, commit uint64) *replayed {
	p.t.Helper()
	return p.entry(index, term, commit, raft.KindNoop, nil)
}

func (p *replayed) conf(index, term, commit uint64, c raft.Conf) *replayed {
	p.t.Helper()
	return p.entry(index, term, commit, raft.KindConf, raft.AppendConf(nil, &c))
}

func (p *replayed) is(applied, last uint64, solo bool) *replayed {
	p.t.Helper()
	require.Equal(p.t, applied, p.r.applied, "applied")
	require.Equal(p.t, last, p.r.last(), "last")
	require.Equal(p.t, solo, p.r.solo, "solo")
	return p
}

// TestSoloEndsWithItsLog: what stands in the log is committed as long as this node is the only voter, and no further.
func TestSoloEndsWithItsLog(t *testing.T) {
	one, two := raft.Conf{Voters: []uint64{1}}, raft.Conf{Voters: []uint64{1, 2}}
	joint := raft.Conf{Voters: []uint64{1}, Outgoing: []uint64{1, 2}}

	p := replayOf(t, 1, one).noop(1, 1, 0).is(1, 1, true)
	p.conf(2, 1, 1, two).is(1, 2, false) // needs the vote of 2
	p.noop(3, 1, 1).is(1, 3, false).noop(4, 1, 3).is(3, 4, false)
	p.conf(5, 1, 3, joint).is(3, 5, false)
	p.conf(6, 1, 5, one).is(6, 6, true).noop(7, 1, 5).is(7, 7, true)
	require.Len(t, p.r.confs, 3)
	require.Equal(t, []uint64{2, 5, 6}, []uint64{p.r.confs[0].Index, p.r.confs[1].Index, p.r.confs[2].Index})

	// A membership that another leader replaced is not in force any more.
	p = replayOf(t, 1, two).noop(1, 1, 1).conf(2, 1, 1, raft.Conf{Voters: []uint64{1, 2, 3}}).is(1, 2, false)
	p.noop(2, 2, 1).is(1, 2, false)
	require.True(t, p.r.conf.Equal(&two))

	replayOf(t, 2, one).noop(1, 1, 0).is(0, 1, false) // somebody else's
	replayOf(t, 1, raft.Conf{}).noop(1, 1, 0).is(0, 1, false)
}

// TestLeftoversOfAReplacedLog: a snapshot replaced the log, and the power went before the log was told. What the log still
// has behind the snapshot's index is of another history.
func TestLeftoversOfAReplacedLog(t *testing.T) {
	three := raft.Conf{Voters: []uint64{1, 2, 3}}
	p := replayOf(t, 1, three)
	p.r.snapIndex, p.r.snapTerm, p.r.applied, p.r.appliedTerm = 10, 5, 10, 5
	p.noop(9, 3, 8).noop(10, 3, 8).noop(11, 3, 8).noop(12, 4, 8).is(10, 10, false)
	// The leader's entries over it, the snapshot's last one among them: without that one the log would have heard of the
	// snapshot before, and would hand out nothing of what was there.
	p.noop(10, 5, 9).noop(11, 5, 10).noop(12, 6, 11).is(11, 12, false)
}

// TestPlacementGroup: its commands go through the log like any other, its snapshots are files of their own, and all of it
// survives: a restart, power loss, and being sent to a node that lags.
func TestPlacementGroup(t *testing.T) {
	lists := map[uint64]*listPlacement{}
	var newer error
	c := newTestCluster(t, 3, func(id uint64, o *Options) {
		lists[id] = &listPlacement{unreadable: newer}
		o.Placement = lists[id]
		o.SnapshotBytes = 512
	})
	decide := func(word string) Code {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			for _, id := range c.ids {
				if n := c.node(id); n != nil && n.groups[PlacementGroup].leads.Load() {
					r := AcquireRequest()
					r.Cmd = append(r.Cmd, word...)
					n.Do(PlacementGroup, r)
					code := r.Result.Code
					ReleaseRequest(r)
					if code != CodeNotLeader {
						return code
					}
				}
			}
			require.True(t, time.Now().Before(deadline))
		}
	}
	require.Equal(t, CodeOK, decide("first"))
	require.Equal(t, CodeConflict, decide("first"))
	c.converge(PlacementGroup)
	lead := c.leader(PlacementGroup)
	away := lead%3 + 1
	c.stop(away)
	var st MemberStatus
	for i := 0; ; i++ {
		require.Equal(t, CodeOK, decide(fmt.Sprint("word ", i)))
		n := c.node(c.leader(PlacementGroup))
		n.Member(PlacementGroup, &st)
		first := uint64(0)
		require.NoError(t, n.groups[PlacementGroup].loop.call(func() { first = n.groups[PlacementGroup].raft.Status().First }))
		if st.Snapshot > 10 && first > 10 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// A map that the node cannot read is refused, and everything else goes on; the next version of it reads the map.
	newer = errors.New("a map of a newer version")
	c.start(away)
	var stats Stats
	require.Eventually(t, func() bool {
		c.node(away).Stats(&stats)
		return stats.ReceiveErrors > 3
	}, time.Minute, time.Millisecond)
	require.Zero(t, stats.SnapshotsReceived)
	c.converge(7)
	require.Less(t, c.node(away).groups[PlacementGroup].appliedNow.Load(), st.Snapshot)
	c.stop(away)
	newer = nil
	c.start(away)
	c.converge(PlacementGroup)
	c.node(away).Stats(&stats)
	require.Positive(t, stats.SnapshotsReceived)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, id := range c.ids {
		c.kill(id, rng, 0)
		c.start(id)
	}
	require.Equal(t, CodeConflict, decide("first"))
	require.Equal(t, CodeOK, decide("last"))
	c.converge(PlacementGroup)
}

// listPlacement is a set of words.
type listPlacement struct {
	words      []string
	unreadable error // of every snapshot
}

func (p *listPlacement) Check([]byte) error { return p.unreadable }

func (p *listPlacement) Apply(_ uint64, cmd []byte) (Code, error) {
	for _, w := range p.words {
		if w == string(cmd) {
			return CodeConflict, nil
		}
	}
	p.words = append(p.words, string(cmd))
	return CodeOK, nil
}

func (p *listPlacement) AppendSnapshot(dst []byte) []byte {
	return append(dst, strings.Join(p.words, "\n")...)
}

func (p *listPlacement) Load(snapshot []byte) error {
	p.words = nil
	if len(snapshot) > 0 {
		p.words = strings.Split(string(snapshot), "\n")
	}
	return nil
}

// TestNodeWithoutPlacement: the placement group is not driven, and says so.
func TestNodeWithoutPlacement(t *testing.T) {
	o := testOptions(walfs.NewMem())
	n := openNode(t, o)
	r := AcquireRequest()
	r.Cmd = append(r.Cmd, "word"...)
	n.Do(PlacementGroup, r)
	require.Equal(t, CodeUnavailable, r.Result.Code)
	ReleaseRequest(r)
	var st MemberStatus
	n.Member(PlacementGroup, &st)
	require.Equal(t, uint32(PlacementGroup), st.Group)
	_, code := n.Barrier(PlacementGroup)
	require.Equal(t, CodeUnavailable, code)
	require.NoError(t, n.Close())
}
