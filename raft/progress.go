package raft

// progressState says how a leader feeds one follower.
type progressState uint8

const (
	// stateProbe: it is not known where the logs agree. One append at a time; the next one after an
	// answer, or after a heartbeat's answer in case it was lost.
	stateProbe progressState = iota
	// stateReplicate: they agree. Appends are pipelined: next runs ahead of match, within the window.
	stateReplicate
	// stateSnapshot: what the follower needs is gone; a snapshot is on its way and nothing else is sent.
	stateSnapshot
)

func (s progressState) String() string {
	return [...]string{"probe", "replicate", "snapshot"}[s]
}

// progress is what a leader knows of one member, itself included.
//
// Invariants: match < next. inflight is empty unless in stateReplicate, and then holds appends with
// last indexes in (match, next), ascending. match never falls while the follower has its disk (see
// the damaged answer in replication.go for the one exception).
type progress struct {
	id    uint64
	match uint64 // the logs are equal up to here, durably. For the leader itself: its stable index
	next  uint64 // first index to send

	state    progressState
	waiting  bool // stateProbe: an append is on its way
	fetching bool // the shell is asked for entries that left memory
	due      bool // something must be sent, even if it is an append without entries
	damaged  bool // it neither votes nor campaigns, or has not shown yet that it does (Group.suspect)
	recheck  bool // the next sign of life may show that what is on its way was lost
	vote     int8 // in the current election: 1 yes, -1 no, 0 nothing yet

	heard           uint64 // Group.ticks when it was heard of last, plus 1; 0: not yet in this leadership
	fetchLo         uint64 // fetching: first index asked for
	tail, tailTerm  uint64 // the last entry sent, which may have left memory since; 0 none
	pendingSnapshot uint64 // stateSnapshot: its index
	sentCommit      uint64 // highest commit index sent
	round           uint64 // highest read round confirmed
	proof           uint64 // damaged: the read round whose echo, or a later one's, shows that it is over; else 0

	inflight queue[inflight]
	bytes    int // of inflight
}

// inflight is one append on its way: its last index and its bytes.
type inflight struct {
	last  uint64
	bytes int
}

// restart forgets everything: nothing is known of the member but that its log may reach last.
func (p *progress) restart(last uint64) {
	p.become(stateProbe)
	p.match, p.next = 0, last+1
	p.due, p.heard, p.damaged, p.recheck, p.vote = false, 0, false, false, 0
	p.sentCommit, p.round, p.proof = 0, 0, 0
	p.tail, p.tailTerm = 0, 0
}

func (p *progress) become(s progressState) {
	p.state = s
	p.waiting, p.fetching = false, false
	p.pendingSnapshot = 0
	p.inflight.keep(0)
	p.bytes = 0
}

// probeFrom goes back to finding out where the logs agree, next being the first guess.
func (p *progress) probeFrom(next uint64) {
	p.become(stateProbe)
	p.next = max(next, p.match+1)
	p.sentCommit = min(p.sentCommit, p.next-1)
	p.due = true
}

func (p *progress) replicate() {
	p.become(stateReplicate)
	p.next = p.match + 1
}

// full: the window has no room for another append with entries.
func (p *progress) full(c *Config) bool {
	return p.inflight.len() >= c.MaxInflightMsgs || p.bytes >= c.MaxInflightBytes
}

// sent notes an append of entries up to last.
func (p *progress) sent(last uint64, bytes int) {
	p.next = last + 1
	p.inflight.push(inflight{last, bytes})
	p.bytes += bytes
}

// acknowledged moves match up and frees the window; false if that is no news.
func (p *progress) acknowledged(index uint64) bool {
	if index <= p.match {
		return false
	}
	p.match = index
	p.next = max(p.next, index+1)
	n := 0
	for n < p.inflight.len() && p.inflight.at(n).last <= index {
		p.bytes -= p.inflight.at(n).bytes
		n++
	}
	p.inflight.pop(n)
	return true
}

// rejected handles "I have no such entry" for an append after index prev; hint is where the logs may
// agree. It returns false for answers that are out of date.
func (p *progress) rejected(prev, hint uint64) bool {
	switch p.state {
	case stateReplicate:
		if prev <= p.match {
			return false
		}
		p.probeFrom(p.match + 1)
		return true
	case stateProbe:
		if prev != p.next-1 {
			return false
		}
		p.probeFrom(min(prev, hint+1))
		return true
	}
	return false
}
