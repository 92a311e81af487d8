package shard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"fastpaca/raft"
	"fastpaca/wal"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// lagging is a stepped cluster in which node 3 has missed so much of one group that it needs a snapshot: file is what
// the leader would send, m the message with it.
type lagging struct {
	*stepped
	client *steppedClient
	group  uint32
	m      raft.Message
	file   []byte
}

func newLagging(t *testing.T, seed uint64, fs func(mem *walfs.Mem) wal.FS) *lagging {
	l := &lagging{stepped: newStepped(t, seed, 3)}
	l.keep = 50
	for _, id := range l.ids {
		l.start(id)
	}
	l.client = &steppedClient{s: l.stepped, id: manualID(0), acked: map[uint64]string{}}
	l.group = Of([]byte(l.client.id))
	write := func(goal int) {
		l.run(func() bool { l.client.next(); return len(l.client.acked) >= goal })
	}
	write(5)
	l.crash(3)
	l.forgetBusy([]*steppedClient{l.client})
	write(60)
	var lead uint64
	l.run(func() bool { // until node 3's next entry is gone from memory and covered by a snapshot
		l.client.next()
		for _, id := range l.ids[:2] {
			g := l.nodes[id].groups[l.group]
			if st := g.raft.Status(); g.leads.Load() && st.SnapshotIndex > 40 && st.First > 40 {
				lead = id
				return true
			}
		}
		return false
	})
	if fs != nil {
		l.tune = func(o *Options) { o.FS = fs(l.disks[3]) }
	}
	l.start(3)
	l.tune = nil
	meta, size, r, err := l.nodes[lead].OpenSnapshot(l.group, 0, math.MaxUint64)
	require.NoError(t, err)
	l.file, err = io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Len(t, l.file, int(size))
	_, _, _, err = l.nodes[lead].OpenSnapshot(l.group, 0, meta.Term-1)
	require.Error(t, err, "a leadership that ended before what the snapshot has")
	l.m = raft.Message{
		Type: raft.MsgSnapshot, Group: l.group, From: lead, To: 3, Term: l.nodes[lead].groups[l.group].raft.Term(), Snapshot: &meta,
	}
	return l
}

// leftovers are the snapshot files of a group that a node should not have.
func (l *lagging) leftovers(id uint64) (out []string) {
	names, err := l.disks[id].List(snapDir("/data"))
	require.NoError(l.t, err)
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) || name == snapName(l.group, l.m.Snapshot.Index) {
			out = append(out, name)
		}
	}
	return out
}

// TestReceiveSnapshot: what is whole is installed, and covers itself in the log; what is not leaves nothing behind.
func TestReceiveSnapshot(t *testing.T) {
	l := newLagging(t, 1, nil)
	n := l.nodes[3]
	n.StepLoops()
	before := n.Applied(l.group)
	require.Less(t, before, l.m.Snapshot.Index)
	refuse := func(what string, m raft.Message, file []byte) {
		t.Helper()
		require.Error(t, n.ReceiveSnapshot(m, bytes.NewReader(file)), what)
		require.Equal(t, before, n.Applied(l.group), what)
		require.Empty(t, l.leftovers(3), what)
		require.False(t, n.groups[l.group].snap.busy, what)
	}
	rng := rand.New(rand.NewPCG(8, 8))
	refuse("nothing", l.m, nil)
	for range 20 {
		cut := rng.IntN(len(l.file))
		refuse(fmt.Sprint("cut at ", cut), l.m, l.file[:cut])
	}
	for range 20 {
		at := rng.IntN(snapshotPart(l.file)) + 8
		file := bytes.Clone(l.file)
		file[at] ^= 1 << rng.IntN(8)
		refuse(fmt.Sprint("flipped at ", at), l.m, file)
	}
	other := l.m
	other.Snapshot = &raft.SnapshotMeta{Index: l.m.Snapshot.Index + 1, Term: l.m.Snapshot.Term, Conf: l.m.Snapshot.Conf}
	refuse("another index", other, l.file)
	other.Snapshot = &raft.SnapshotMeta{Index: l.m.Snapshot.Index, Term: l.m.Snapshot.Term, Conf: raft.Conf{Voters: []uint64{3}}}
	refuse("another membership", other, l.file)
	other = l.m
	other.Group += 64
	refuse("another group", other, l.file)

	require.NoError(t, n.ReceiveSnapshot(l.m, bytes.NewReader(l.file)))
	require.Equal(t, l.m.Snapshot.Index, n.Applied(l.group))
	require.NoError(t, n.ReceiveSnapshot(l.m, strings.NewReader("")), "it is here already: nothing is read")
	l.settle()
	l.client.check(n)
}

// TestReceivedSnapshotTakesParkingFileAway: what the state that is replaced has in its parking file is nobody's any more.
func TestReceivedSnapshotTakesParkingFileAway(t *testing.T) {
	l := newLagging(t, 2, nil)
	n := l.nodes[3]
	g := n.groups[l.group]
	steps := func() {
		for n.StepLoops() || n.StepWAL() || n.StepSnapshots() {
			continue
		}
	}
	steps()
	for range 2 {
		g.machine.Sweep(g.machine.Len())
	}
	g.parking = true
	n.parks.queue.push(g)
	steps()
	parked, _ := g.machine.Parked()
	require.Positive(t, parked)
	names, err := l.disks[3].List(parkDir("/data"))
	require.NoError(t, err)
	require.Len(t, names, 1)

	require.NoError(t, n.ReceiveSnapshot(l.m, bytes.NewReader(l.file)))
	steps()
	names, err = l.disks[3].List(parkDir("/data"))
	require.NoError(t, err)
	require.Empty(t, names)
	l.settle()
	l.client.check(n)
}

// snapshotPart is how many bytes of what travels are the snapshot; history files follow it.
func snapshotPart(file []byte) int {
	length := 0
	for i := 7; i >= 0; i-- {
		length = length<<8 | int(file[i])
	}
	return min(length, len(file)-8)
}

// powerLoss is what a disk says when the power goes at a given call.
var errPowerLoss = errors.New("the power is gone")

// TestReceiveSnapshotCrash loses power at every single call to the disk while a snapshot is received, installed and recorded
// in the log, starts the node on what is left, and has it catch up: it always starts, has what it had acknowledged, and
// leaves no temporary file.
func TestReceiveSnapshotCrash(t *testing.T) {
	for at := 0; ; at++ {
		var armed, hit bool
		calls := 0
		var left *walfs.Mem
		rng := rand.New(rand.NewPCG(uint64(at), 6))
		l := newLagging(t, 2, func(mem *walfs.Mem) wal.FS {
			return walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
				if !armed || !c.Op.Changes() {
					return walfs.Fault{}
				}
				if hit {
					return walfs.Fault{Err: errPowerLoss}
				}
				if calls++; calls <= at {
					return walfs.Fault{}
				}
				hit = true
				left = mem.Crash(rng, walfs.CrashOptions{Keep: rng.IntN(101), Tear: 50})
				return walfs.Fault{Err: errPowerLoss}
			})
		})
		n := l.nodes[3]
		n.opt.Fatal = func(error) {} // the power is gone; nobody is left to hear of it
		n.StepLoops()
		applied := n.Applied(l.group)
		armed = true
		err := n.ReceiveSnapshot(l.m, bytes.NewReader(l.file))
		for i := 0; i < 100 && (n.StepLoops() || n.StepWAL() || n.StepSnapshots()); i++ {
			continue
		}
		if !hit {
			require.NoError(t, err)
			require.Greater(t, calls, 5)
			require.Equal(t, at, calls)
			return
		}
		l.crash(3)
		l.disks[3] = left
		l.start(3)
		n = l.nodes[3]
		require.GreaterOrEqual(t, n.groups[l.group].applied, applied, "at call %d", at)
		l.settle()
		l.client.check(n)
		for _, name := range l.leftovers(3) {
			require.False(t, strings.HasSuffix(name, tmpSuffix), "at call %d: %s is left", at, name)
		}
	}
}
