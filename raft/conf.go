package raft

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Conf is a membership. All lists are sorted and without repeats.
//
// A joint membership (Outgoing not empty) is the step between two: everything needs a majority of
// Voters and one of Outgoing (thesis 4.3). Invariants (Validate): a learner is no voter of either
// half; LearnersNext is part of Outgoing and not of Voters; Outgoing empty means LearnersNext empty and not AutoLeave.
type Conf struct {
	Voters       []uint64
	Outgoing     []uint64 // voters of the membership being left; empty unless joint
	Learners     []uint64 // get the log, do not vote
	LearnersNext []uint64 // voters of Outgoing that become learners when the joint membership is left
	AutoLeave    bool     // the leader leaves the joint membership by itself
}

// ConfRecord is the membership that the entry at Index (or the snapshot that ends there) put in force.
type ConfRecord struct {
	Index uint64
	Conf  Conf
}

// Joint: between two memberships.
func (c *Conf) Joint() bool { return len(c.Outgoing) > 0 }

// Voter reports whether id's vote counts, in either half.
func (c *Conf) Voter(id uint64) bool { return has(c.Voters, id) || has(c.Outgoing, id) }

// Member reports whether id gets the log at all.
func (c *Conf) Member(id uint64) bool { return c.Voter(id) || has(c.Learners, id) }

// alone: id is the only member there is.
func (c *Conf) alone(id uint64) bool {
	return c.soleVoter(id) && len(c.Learners) == 0
}

// soleVoter: id by itself is a quorum.
func (c *Conf) soleVoter(id uint64) bool {
	return len(c.Voters) == 1 && c.Voters[0] == id && (len(c.Outgoing) == 0 || len(c.Outgoing) == 1 && c.Outgoing[0] == id)
}

// Clone returns a copy that shares nothing.
func (c *Conf) Clone() Conf {
	return Conf{slices.Clone(c.Voters), slices.Clone(c.Outgoing), slices.Clone(c.Learners), slices.Clone(c.LearnersNext), c.AutoLeave}
}

// Equal compares by value; nil and empty lists are equal.
func (c *Conf) Equal(o *Conf) bool {
	return slices.Equal(c.Voters, o.Voters) && slices.Equal(c.Outgoing, o.Outgoing) && slices.Equal(c.Learners, o.Learners) &&
		slices.Equal(c.LearnersNext, o.LearnersNext) && c.AutoLeave == o.AutoLeave
}

// String is for people and tests: "voters=(1 2 3)&&(1 2) learners=(4) next=(5) autoleave".
func (c *Conf) String() string {
	s := fmt.Sprintf("voters=%s", ids(c.Voters))
	if c.Joint() {
		s += "&&" + ids(c.Outgoing)
	}
	if len(c.Learners) > 0 {
		s += " learners=" + ids(c.Learners)
	}
	if len(c.LearnersNext) > 0 {
		s += " next=" + ids(c.LearnersNext)
	}
	if c.AutoLeave {
		s += " autoleave"
	}
	return s
}

func ids(list []uint64) string {
	s := fmt.Sprint(list)
	return "(" + s[1:len(s)-1] + ")"
}

// Validate checks the invariants. The membership without any node is valid: a node has it before it
// is added to a group.
func (c *Conf) Validate() error {
	for i, list := range [...][]uint64{c.Voters, c.Outgoing, c.Learners, c.LearnersNext} {
		limit := maxVoters
		if i == 2 {
			limit = maxLearners
		}
		if len(list) > limit {
			return fmt.Errorf("%w: %d nodes in one list, at most %d", ErrInvalidConf, len(list), limit)
		}
		for i, id := range list {
			if id == 0 || i > 0 && list[i-1] >= id {
				return fmt.Errorf("%w: list %v not sorted, or with a 0", ErrInvalidConf, list)
			}
		}
	}
	if len(c.Voters) == 0 && (c.Joint() || len(c.Learners) > 0) {
		return fmt.Errorf("%w: no voters", ErrInvalidConf)
	}
	if !c.Joint() && (len(c.LearnersNext) > 0 || c.AutoLeave) {
		return fmt.Errorf("%w: not joint, but with what only a joint one has", ErrInvalidConf)
	}
	for _, id := range c.Learners {
		if c.Voter(id) {
			return fmt.Errorf("%w: %d is voter and learner", ErrInvalidConf, id)
		}
	}
	for _, id := range c.LearnersNext {
		if !has(c.Outgoing, id) || has(c.Voters, id) {
			return fmt.Errorf("%w: %d cannot become a learner", ErrInvalidConf, id)
		}
	}
	return nil
}

func has(sorted []uint64, id uint64) bool {
	_, ok := slices.BinarySearch(sorted, id)
	return ok
}

func insert(sorted []uint64, id uint64) []uint64 {
	i, ok := slices.BinarySearch(sorted, id)
	if ok {
		return sorted
	}
	return slices.Insert(sorted, i, id)
}

func remove(sorted []uint64, id uint64) []uint64 {
	i, ok := slices.BinarySearch(sorted, id)
	if !ok {
		return sorted
	}
	return slices.Delete(sorted, i, i+1)
}

// The encoding of a Conf (entries of KindConf, the WAL's snapshot records, snapshot files):
//
//	| version u8 = 1 | flags u8 (1 = AutoLeave) | nVoters u8 | nOutgoing u8 | nLearners u8 | nLearnersNext u8 |
//	| id u64 LE ... in that order |
const confVersion = 1

// AppendConf appends the encoding of c to dst.
func AppendConf(dst []byte, c *Conf) []byte {
	flags := byte(0)
	if c.AutoLeave {
		flags = 1
	}
	dst = append(dst, confVersion, flags, byte(len(c.Voters)), byte(len(c.Outgoing)), byte(len(c.Learners)), byte(len(c.LearnersNext)))
	for _, list := range [...][]uint64{c.Voters, c.Outgoing, c.Learners, c.LearnersNext} {
		for _, id := range list {
			dst = binary.LittleEndian.AppendUint64(dst, id)
		}
	}
	return dst
}

// DecodeConf is the inverse of AppendConf. It accepts only what AppendConf makes of a valid Conf.
func DecodeConf(b []byte) (Conf, error) {
	if len(b) < 6 || b[0] != confVersion || b[1] > 1 {
		return Conf{}, fmt.Errorf("%w: unknown encoding", ErrInvalidConf)
	}
	c := Conf{AutoLeave: b[1] == 1}
	counts, rest := b[2:6], b[6:]
	if len(rest) != 8*(int(counts[0])+int(counts[1])+int(counts[2])+int(counts[3])) {
		return Conf{}, fmt.Errorf("%w: wrong length", ErrInvalidConf)
	}
	for i, list := range [...]*[]uint64{&c.Voters, &c.Outgoing, &c.Learners, &c.LearnersNext} {
		for range counts[i] {
			*list = append(*list, binary.LittleEndian.Uint64(rest))
			rest = rest[8:]
		}
	}
	return c, c.Validate()
}
