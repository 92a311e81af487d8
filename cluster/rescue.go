package cluster

import (
	"errors"
	"fmt"
	"path/filepath"

	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"
	"fastpaca/wal"
)

// Rescue is for a cluster that lost a majority of its nodes for good: no quorum will ever answer again, and what one node
// has is all there is. It makes a stopped node's directory a cluster of one that goes on from there. Nothing that a quorum
// acknowledged is in doubt while a majority lives; then this must not be used, since it throws away what the others have.
//
// What it does, in this order:
//
//  1. node.json gets a new cluster id, so that the other nodes' disks, which may still hold a majority of the old
//     cluster, can never speak with this one again: they are refused as strangers until they are wiped;
//  2. one batch in the log gives every group, in a new term, an entry "the only voter is this node". The newest
//     membership in a log is in force, and an entry that is durable on the only voter is committed, so that the next start
//     has every group's log applied to its end, the part included that was never acknowledged;
//  3. what keeps this node from voting in groups that it had left (shard.Node.Forget) goes: they would never have a leader.
//
// A crash in between leaves a node that is alone with its old memberships: it serves nothing, and Rescue may be run again.
//
// The map still names the lost nodes. Those that start with an empty directory under their old name take their old
// place (place.Join); the others are drained.
func Rescue(dir *Directory, opt shard.Options) (*Survey, error) {
	s, err := Look(dir, opt)
	if err != nil {
		return nil, err
	}
	next := dir.Identity
	g := *next.Genesis
	g.ClusterID = NewUUID()
	next.ClusterID, next.Genesis = g.ClusterID, &g
	if err := dir.store(next); err != nil {
		return nil, err
	}
	s.ClusterID = next.ClusterID
	return s, s.seize(dir, &opt)
}

// Survey is what Look and Rescue find in a directory.
type Survey struct {
	ClusterID string
	Name      string
	Others    []string // names of the other members of the cluster
	Entries   uint64   // sum of the logs' ends: of two nodes' directories the one with more has more
	Missing   []uint32 // groups of which the directory has no replica: they will be empty
	Partial   []uint32 // groups of which it has a learner's replica, which may end early

	groups []shard.MemberStatus
}

// Look reads a directory that no process uses, as Rescue would, and changes nothing in the state: the log gets a new
// segment, as with every start.
func Look(dir *Directory, opt shard.Options) (*Survey, error) {
	id := dir.Identity
	if id.Version != identityVersion || id.ClusterID == "" {
		return nil, fmt.Errorf("data directory %s is not one of a cluster of several nodes: there is nothing to rescue", dir.Path)
	}
	m := newMachine(id.Genesis, func() {})
	opt.Dir, opt.ID, opt.Placement, opt.Genesis = dir.Path, id.RaftID, m, firstConf(&id)
	opt.Transport, opt.Manual = silence{}, true // nobody campaigns, nothing leaves
	store, err := shard.Open(opt)
	if err != nil {
		return nil, err
	}
	s := &Survey{ClusterID: id.ClusterID, Name: id.Name}
	store.Members(func(st *shard.MemberStatus) {
		s.groups = append(s.groups, shard.MemberStatus{Group: st.Group, Term: st.Term, Last: st.Last, Commit: st.Commit})
		s.Entries += st.Last
		switch {
		case !st.Conf.Member(id.RaftID):
			s.Missing = append(s.Missing, st.Group)
		case !st.Conf.Voter(id.RaftID):
			s.Partial = append(s.Partial, st.Group)
		}
	})
	pm := m.picture()
	for i := range pm.Nodes {
		if n := &pm.Nodes[i]; n.Member() && n.ID != id.RaftID {
			s.Others = append(s.Others, n.Name)
		}
	}
	err = store.Close()
	switch {
	case err != nil:
		return nil, err
	case len(s.groups) != place.Group+1:
		return nil, fmt.Errorf("data directory %s: %d groups were found, not %d", dir.Path, len(s.groups), place.Group+1)
	}
	return s, nil
}

// seize writes the batch.
func (s *Survey) seize(dir *Directory, opt *shard.Options) error {
	var failed error
	w, err := wal.Open(wal.Options{
		FS: opt.FS, Dir: filepath.Join(dir.Path, "wal"), Groups: len(s.groups), SegmentBytes: opt.SegmentBytes, Manual: true,
		Fatal: func(err error) { failed = err },
	}, nil)
	if err != nil {
		return err
	}
	self := raft.Conf{Voters: []uint64{dir.Identity.RaftID}}
	done := false
	b := wal.NewBatch(func(*wal.Batch) { done = true })
	for i := range s.groups {
		g := &s.groups[i]
		term := g.Term + 1
		b.State(g.Group, wal.HardState{Term: term, Vote: dir.Identity.RaftID, Commit: g.Commit})
		b.Entry(g.Group, g.Commit, wal.Entry{Index: g.Last + 1, Term: term, Kind: uint8(raft.KindConf), Data: raft.AppendConf(nil, &self)})
	}
	w.Submit(b)
	for w.Step() && failed == nil && !done {
	}
	err = errors.Join(failed, w.Close())
	if err == nil && !done {
		err = errors.New("the log did not take the batch")
	}
	if err == nil {
		err = shard.DropMarks(opt.FS, dir.Path)
	}
	return err
}

// silence is a transport to nobody.
type silence struct{}

func (silence) Send([]raft.Message)       {}
func (silence) SendSnapshot(raft.Message) {}
