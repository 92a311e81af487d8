package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fastpaca/cluster/place"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// Two of three disks are lost. The third is made a cluster of one that has everything, the others join it with empty
// disks, and one of the lost that turns up after all is a stranger.
func TestRescue(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.write("before", 100, "a", "b", "c")
	a, b, c := r.nodes["a"], r.nodes["b"], r.nodes["c"]
	b.stop()
	c.stop()
	old := a.ClusterID()
	a.stop()

	opt := shard.Options{SegmentBytes: 4 << 20, Loops: 1}
	dir, err := OpenDirectory(a.path, "")
	require.NoError(t, err)
	s, err := Look(dir, opt)
	require.NoError(t, err)
	require.Equal(t, []string{"b", "c"}, s.Others)
	require.Empty(t, s.Missing)
	require.Empty(t, s.Partial)
	require.Equal(t, old, dir.Identity.ClusterID, "looking changes nothing")
	before := s.Entries
	s, err = Rescue(dir, opt)
	require.NoError(t, err)
	require.Equal(t, before, s.Entries)
	require.NotEqual(t, old, s.ClusterID)
	require.NoError(t, dir.Close())

	a.start(nil)
	r.waitReady("a")
	require.Equal(t, s.ClusterID, a.ClusterID())
	r.holds("before", 100, "a")
	r.write("alone", 50, "a")

	// c is not so lost: its disk belongs to the old cluster, whose quorum it could be part of.
	c.start(r.seeds)
	require.Equal(t, old, c.ClusterID())
	require.Equal(t, shard.CodeUnavailable, c.get("before-0"))
	c.wipe()
	b.wipe()
	b.start(r.seeds)
	c.start(r.seeds)
	r.waitReady("a", "b", "c")
	r.settled("a", place.Replicas)
	a.stop() // the two that were empty have it all now
	r.write("after", 50, "b", "c")
	r.holds("before", 100, "b", "c")
	r.holds("alone", 50, "b")
}

// Rescue may be run again after a crash in its middle, or by somebody who is not sure.
func TestRescueTwice(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.write("before", 30, "a")
	for _, n := range r.nodes {
		n.stop()
	}
	a := r.nodes["a"]
	opt := shard.Options{SegmentBytes: 4 << 20, Loops: 1}
	dir, err := OpenDirectory(a.path, "")
	require.NoError(t, err)
	first, err := Rescue(dir, opt)
	require.NoError(t, err)
	again, err := Rescue(dir, opt)
	require.NoError(t, err)
	require.NotEqual(t, first.ClusterID, again.ClusterID)
	require.NoError(t, dir.Close())
	a.start(nil)
	r.waitReady("a")
	r.holds("before", 30, "a")
}

func TestRescueOfNoCluster(t *testing.T) {
	dir, err := OpenDirectory(t.TempDir(), "a")
	require.NoError(t, err)
	_, err = Rescue(dir, shard.Options{})
	require.ErrorContains(t, err, "nothing to rescue")
	require.NoError(t, dir.Close())
}

// The node that is left had left a group once (shard.Node.Forget): as long as the old cluster lived, it must not vote in that group
// before it has as much of its log again. Now nobody has it: the group is empty, but the node serves it.
func TestRescueOfGroupsThatWereLeft(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.write("before", 20, "a")
	a := r.nodes["a"]
	r.nodes["b"].stop()
	r.nodes["c"].stop()
	a.stop()
	const group = 7
	for _, last := range []uint64{3, 1 << 20} {
		mark := filepath.Join(a.path, "snap", fmt.Sprintf("%03d-%016x.left", group, last))
		require.NoError(t, os.WriteFile(mark, nil, 0o600))
	}
	dir, err := OpenDirectory(a.path, "")
	require.NoError(t, err)
	_, err = Rescue(dir, shard.Options{SegmentBytes: 4 << 20, Loops: 1})
	require.NoError(t, err)
	require.NoError(t, dir.Close())
	a.start(nil)
	r.waitReady("a")
	r.holds("before", 20, "a")
	a.stop()
	a.start(nil)
	r.waitReady("a")
}
