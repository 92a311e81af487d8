package place

import (
	"slices"

	"fastpaca/raft"
)

// CatchUpEntries is how many entries a learner may be behind what is committed and still be made a voter. With it
// a quorum that comes to need the new voter waits for one more round trip or two, not for a snapshot. It is measured
// against the commit index and not the end of the log: under load the end is always a flush ahead of everybody.
const CatchUpEntries = 128

// MemberView is what the leader of a group knows of it.
type MemberView struct {
	Self          uint64 // this node, which leads
	Conf          raft.Conf
	ConfCommitted bool // Conf is permanent (raft.Status.ConfCommitted)
	Commit        uint64
	Transferee    uint64            // leadership is being handed to; 0 nobody
	Peers         []raft.PeerStatus // all members, as raft.Group.Peers gives them
}

// Step is what a leader does next: a change of the membership, or handing over its leadership.
type Step struct {
	Change   raft.ConfChange // unless Transfer is not 0. Without Changes: leave the joint membership
	Transfer uint64
	Why      string // for the log: "learners", "swap", "leave", "hand over"
}

// NextConf returns what the leader of group does next to bring the group's membership to what the map wants;
// false: nothing now, because it is done, or something has to happen first. One step at a time:
//
//  1. wait while a change is not committed or leadership is being handed over; leave a joint membership that does
//     not end by itself;
//  2. add who is missing as learner, and remove learners that nobody wants (one change; no quorum moves);
//  3. when everybody who is to vote votes or has caught up, and a majority of them is alive: swap. One joint
//     change makes voters of the new ones and removes (or makes learners of) the old ones, so that a majority of
//     the old and one of the new agree to everything in between. No live voter goes before its successor has the log;
//  4. a leader that is to go hands over to a voter that stays, first. If none is there to take over, the new ones
//     join beside it, and then it hands over.
//
// The map may change in the middle: every call starts from the membership there is. A learner that died blocks only
// the swap that waits for it, until the coordinator wants another; a dead learner of the placement group blocks nothing.
func NextConf(group uint32, m *Map, v *MemberView) (Step, bool) {
	voters, learners := m.Set(group), []uint64(nil)
	if group == Group {
		voters, learners = PlacementMembers(m)
	}
	switch {
	case len(voters) == 0 || !v.ConfCommitted || v.Transferee != 0 || v.Conf.Joint() && v.Conf.AutoLeave:
		return Step{}, false
	case v.Conf.Joint():
		return Step{Why: "leave"}, true
	}
	if changes := v.learnerChanges(voters, learners); len(changes) > 0 {
		return Step{Change: raft.ConfChange{Changes: changes}, Why: "learners"}, true
	}
	if slices.Equal(v.Conf.Voters, voters) || !v.ready(voters) {
		return Step{}, false
	}
	if !has(voters, v.Self) {
		if to := v.successor(voters); to != 0 {
			return Step{Transfer: to, Why: "hand over"}, true
		}
		voters = with(voters, 0, v.Self)
		if slices.Equal(v.Conf.Voters, voters) || !v.ready(voters) {
			return Step{}, false
		}
	}
	return Step{Change: raft.ConfChange{Changes: v.swap(voters, learners)}, Why: "swap"}, true
}

// learnerChanges adds and removes learners.
func (v *MemberView) learnerChanges(voters, learners []uint64) (changes []raft.Change) {
	for _, list := range [...][]uint64{voters, learners} {
		for _, id := range list {
			if !v.Conf.Member(id) {
				changes = append(changes, raft.Change{Kind: raft.AddLearner, ID: id})
			}
		}
	}
	for _, id := range v.Conf.Learners {
		if !has(voters, id) && !has(learners, id) {
			changes = append(changes, raft.Change{Kind: raft.RemoveNode, ID: id})
		}
	}
	return changes
}

// ready: everybody in voters votes or has caught up, and a majority of them is alive.
func (v *MemberView) ready(voters []uint64) bool {
	alive := 0
	for _, id := range voters {
		p := v.peer(id)
		if id == v.Self || p != nil && p.Active {
			alive++
		}
		if !v.Conf.Voter(id) && (p == nil || !v.caughtUp(p)) {
			return false
		}
	}
	return alive > len(voters)/2
}

// caughtUp: Match 0 is a learner of which nothing is known yet, also where the log is short. One that is damaged, because
// it has forgotten the group since it was a member before, does not vote yet, however close it is: were it one of two, the
// other one could never lead without it, nor bring it the rest.
func (v *MemberView) caughtUp(p *raft.PeerStatus) bool {
	return p.Active && !p.Damaged && p.Match > 0 && p.Match+CatchUpEntries >= v.Commit
}

// successor is the voter in voters that has most of the log, 0 if none is alive and close.
func (v *MemberView) successor(voters []uint64) uint64 {
	best := uint64(0)
	match := uint64(0)
	for _, id := range voters {
		p := v.peer(id)
		if v.Conf.Voter(id) && p != nil && v.caughtUp(p) && (best == 0 || p.Match > match) {
			best, match = id, p.Match
		}
	}
	return best
}

// swap makes voters the voters, in one change.
func (v *MemberView) swap(voters, learners []uint64) (changes []raft.Change) {
	for _, id := range voters {
		if !v.Conf.Voter(id) {
			changes = append(changes, raft.Change{Kind: raft.AddVoter, ID: id})
		}
	}
	for _, id := range v.Conf.Voters {
		switch {
		case has(voters, id):
		case has(learners, id):
			changes = append(changes, raft.Change{Kind: raft.AddLearner, ID: id})
		default:
			changes = append(changes, raft.Change{Kind: raft.RemoveNode, ID: id})
		}
	}
	return changes
}

func (v *MemberView) peer(id uint64) *raft.PeerStatus {
	for i := range v.Peers {
		if v.Peers[i].ID == id {
			return &v.Peers[i]
		}
	}
	return nil
}

// Settled reports whether a group's membership is what the map wants.
func Settled(group uint32, m *Map, conf *raft.Conf) bool {
	voters, learners := m.Set(group), []uint64(nil)
	if group == Group {
		voters, learners = PlacementMembers(m)
	}
	return !conf.Joint() && slices.Equal(conf.Voters, voters) && slices.Equal(conf.Learners, learners)
}
