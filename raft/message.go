package raft

import "fmt"

// MessageType is on the wire: never reuse a number.
type MessageType uint8

const (
	// MsgPreVote asks "would you vote for me in Term?" without changing anybody's term. Term is the
	// asker's next one; Index, LogTerm are its last entry.
	MsgPreVote MessageType = 1
	// MsgPreVoteResp: granted it carries the asked Term, with Reject the voter's own.
	MsgPreVoteResp MessageType = 2
	// MsgVote asks for a vote in Term. Index, LogTerm: last entry. Force: a leader asked for this
	// election (transfer), so that a fresh leader is no reason to ignore it.
	MsgVote MessageType = 3
	// MsgVoteResp answers it. Waits for the disk.
	MsgVoteResp MessageType = 4
	// MsgAppend: Entries follow the entry (Index, LogTerm). Commit is the leader's.
	MsgAppend MessageType = 5
	// MsgAppendResp: the log up to Index equals the leader's and is durable. With Reject: there is no
	// (Index, LogTerm of the append) here; Hint and LogTerm are the place to go on (see rejectAppend),
	// Commit is the follower's. Damaged: it neither votes nor campaigns; with Reject, too: forget what I acknowledged
	// before. An answer to a message of an old term has nothing but the newer Term and Reject.
	MsgAppendResp MessageType = 6
	// MsgHeartbeat: Commit is at most what the follower has acknowledged. Round: the newest read
	// round the leader wants confirmed, 0 none.
	MsgHeartbeat MessageType = 7
	// MsgHeartbeatResp echoes Round.
	MsgHeartbeatResp MessageType = 8
	// MsgSnapshot stands for the snapshot in Snapshot. The shell of the leader streams the file; the
	// shell of the follower calls Step with it when the file has arrived, whole and verified.
	MsgSnapshot MessageType = 9
	// MsgTimeoutNow tells a follower to campaign at once (leadership transfer).
	MsgTimeoutNow MessageType = 10
	msgLimit      MessageType = 11
)

var messageNames = [msgLimit]string{"", "PreVote", "PreVoteResp", "Vote", "VoteResp", "Append", "AppendResp",
	"Heartbeat", "HeartbeatResp", "Snapshot", "TimeoutNow"}

func (t MessageType) String() string {
	if t == 0 || t >= msgLimit {
		return fmt.Sprintf("Message(%d)", uint8(t))
	}
	return messageNames[t]
}

// Message is everything two nodes ever say to one another. Which fields matter is said at the type.
//
// Messages out of a Ready belong to that Ready, Entries included (the entries' data is immutable and
// may be kept). Step does not keep the message or its Entries slice, but keeps the entries' data.
type Message struct {
	Type     MessageType
	Reject   bool
	Force    bool
	Damaged  bool
	Group    uint32
	From, To uint64
	Term     uint64
	Index    uint64
	LogTerm  uint64
	Commit   uint64
	Hint     uint64
	Round    uint64
	Entries  []Entry
	Snapshot *SnapshotMeta
}

// validate refuses what no correct peer says, before any of it can reach the state. What passes can
// still be a lie, but not one that makes the group panic.
func (g *Group) validate(m *Message) error {
	bad := func(what string) error {
		return fmt.Errorf("%w: group %d: %s from %d to %d: %s", ErrInvalidMessage, g.cfg.Group, m.Type, m.From, m.To, what)
	}
	switch {
	case m.Type == 0 || m.Type >= msgLimit:
		return bad("unknown type")
	case m.Group != g.cfg.Group:
		return bad("other group")
	case m.To != g.cfg.ID:
		return bad("not for this node")
	case m.From == 0 || m.From == g.cfg.ID:
		return bad("sender is nobody, or this node")
	case m.Term == 0 || m.Term > maxValue:
		return bad("term out of range")
	case m.Index > maxValue || m.Hint > maxValue || m.Commit > maxValue || m.Round > maxValue || m.LogTerm > maxValue:
		return bad("value out of range")
	case len(m.Entries) > 0 && m.Type != MsgAppend:
		return bad("entries in the wrong type")
	case (m.Snapshot != nil) != (m.Type == MsgSnapshot):
		return bad("snapshot missing or in the wrong type")
	}
	switch m.Type {
	case MsgAppend:
		return g.validateEntries(m, bad)
	case MsgSnapshot:
		s := m.Snapshot
		if s.Index == 0 || s.Index > maxValue || s.Term == 0 || s.Term > m.Term {
			return bad("snapshot index or term out of range")
		}
		if err := s.Conf.Validate(); err != nil {
			return bad(err.Error())
		}
	case MsgVote, MsgPreVote:
		if m.LogTerm >= m.Term {
			return bad("last entry not older than the campaign")
		}
	}
	return nil
}

func (g *Group) validateEntries(m *Message, bad func(string) error) error {
	if m.LogTerm > m.Term {
		return bad("entry newer than its leader")
	}
	if (m.Index == 0) != (m.LogTerm == 0) {
		return bad("index 0 has term 0, and nothing else has")
	}
	index, term := m.Index, m.LogTerm
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Index != index+1 || e.Term < term || e.Term == 0 || e.Term > m.Term || e.Kind >= kindLimit {
			return bad("entries out of order")
		}
		if e.Kind == KindConf {
			if _, err := DecodeConf(e.Data); err != nil {
				return bad(err.Error())
			}
		}
		index, term = e.Index, e.Term
	}
	return nil
}
