package raft

const (
	// maxVoters bounds each half of a Conf, so that counting needs no allocation.
	maxVoters = 16
	// maxLearners is more: every node of a cluster learns the placement group's log. The encoding's limit is 255.
	maxLearners = 64
)

// voteResult of an election so far.
type voteResult uint8

const (
	votePending voteResult = iota
	voteWon
	voteLost
)

// majorityIndex returns the largest value that a majority of the voters has reached; value gives one
// voter's. No voters: the largest possible, so that an empty half of a joint membership never limits
// the other half.
func majorityIndex(voters []uint64, value func(id uint64) uint64) uint64 {
	if len(voters) == 0 {
		return ^uint64(0)
	}
	var sorted [maxVoters]uint64
	for n, id := range voters { // insertion sort, ascending
		v, i := value(id), n
		for ; i > 0 && sorted[i-1] > v; i-- {
			sorted[i] = sorted[i-1]
		}
		sorted[i] = v
	}
	return sorted[(len(voters)-1)/2]
}

// quorumIndex is majorityIndex for a membership that may be joint: both halves must agree (thesis 4.3).
func (c *Conf) quorumIndex(value func(id uint64) uint64) uint64 {
	return min(majorityIndex(c.Voters, value), majorityIndex(c.Outgoing, value))
}

// majorityVote counts votes; vote returns 1 for yes, -1 for no, 0 for none yet. No voters: won.
func majorityVote(voters []uint64, vote func(id uint64) int8) voteResult {
	yes, no := 0, 0
	for _, id := range voters {
		switch vote(id) {
		case 1:
			yes++
		case -1:
			no++
		}
	}
	need := len(voters)/2 + 1
	switch {
	case len(voters) == 0 || yes >= need:
		return voteWon
	case len(voters)-no < need:
		return voteLost
	}
	return votePending
}

// quorumVote is majorityVote for a membership that may be joint.
func (c *Conf) quorumVote(vote func(id uint64) int8) voteResult {
	a, b := majorityVote(c.Voters, vote), majorityVote(c.Outgoing, vote)
	switch {
	case a == voteLost || b == voteLost:
		return voteLost
	case a == voteWon && b == voteWon:
		return voteWon
	}
	return votePending
}
