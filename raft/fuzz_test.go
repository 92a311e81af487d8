package raft

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// source turns a fuzzer's bytes into choices; zeros when they run out.
type source struct{ b []byte }

func (s *source) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

// small is a number near those that matter, or rarely a very large one.
func (s *source) small(around uint64) uint64 {
	switch c := s.byte(); {
	case c < 120:
		return around
	case c < 220:
		return max(around+uint64(c%8), 5) - 5
	case c < 255:
		return uint64(c % 16)
	}
	return ^uint64(0) >> (s.byte() % 4)
}

// elect gives g the votes of everybody.
func (s *source) elect(g *Group, persist func()) {
	g.Campaign()
	for _, typ := range []MessageType{MsgPreVoteResp, MsgVoteResp} {
		term := g.term
		if typ == MsgPreVoteResp {
			term++
		}
		for id := uint64(2); id < 6; id++ {
			_ = g.Step(&Message{Type: typ, From: id, To: 1, Term: term})
		}
		persist()
	}
	for id := uint64(2); id < 6; id++ {
		_ = g.Step(&Message{Type: MsgVoteResp, From: id, To: 1, Term: g.term})
	}
}

// forged is any message at all, with a bias to what passes validation.
func (s *source) forged(g *Group) Message {
	m := Message{
		Type: MessageType(s.byte() % uint8(msgLimit+1)), From: uint64(s.byte() % 6), To: 1, Group: g.cfg.Group,
		Term: s.small(g.term), Index: s.small(g.log.last()), Commit: s.small(g.log.commit), Hint: s.small(g.log.last()), Round: s.small(g.reads.sent),
	}
	flags := s.byte()
	m.Reject, m.Force, m.Damaged = flags&1 != 0, flags&2 != 0, flags&4 != 0
	if flags&8 != 0 {
		m.LogTerm = s.small(g.term)
	} else {
		m.LogTerm, _ = g.log.term(m.Index)
	}
	if flags&16 != 0 {
		m.To = uint64(s.byte())
	}
	if m.Type == MsgSnapshot || flags&32 != 0 && flags&64 != 0 {
		m.Snapshot = &SnapshotMeta{Index: s.small(g.log.last()), Term: s.small(g.term), Conf: s.conf()}
	}
	if m.Type == MsgAppend || flags&128 != 0 && flags&64 != 0 {
		term := max(m.LogTerm, 1)
		for i := range s.byte() % 4 {
			e := Entry{Index: m.Index + 1 + uint64(i), Term: term, Kind: EntryKind(s.byte() % 4)}
			if s.byte() < 40 {
				e.Term, e.Index = s.small(term), s.small(e.Index)
			}
			term = e.Term
			if e.Kind == KindConf {
				c := s.conf()
				e.Data = AppendConf(nil, &c)
				if s.byte() < 20 {
					e.Data = s.b[:min(len(s.b), 9)]
				}
			}
			m.Entries = append(m.Entries, e)
		}
	}
	return m
}

func (s *source) conf() Conf {
	var c Conf
	set := s.byte()
	for id := uint64(1); id < 5; id++ {
		switch set & 3 {
		case 0:
			c.Voters = append(c.Voters, id)
		case 1:
			c.Learners = append(c.Learners, id)
		case 2:
			c.Outgoing = append(c.Outgoing, id)
		}
		set >>= 2
	}
	c.AutoLeave = c.Joint() && s.byte()&1 == 0
	return c
}

// play drives one group with whatever the bytes say. Nothing that a peer can send may make it panic or
// break an invariant that is about this node alone.
func (s *source) play(t *testing.T) {
	rng := rand.New(rand.NewPCG(uint64(s.byte()), 0))
	st := Restored{HardState: HardState{Term: 2}}
	for id := range s.byte()%4 + 1 {
		st.Snapshot.Conf.Voters = append(st.Snapshot.Conf.Voters, uint64(id+1))
	}
	st.Entries = entries(1, 1, 2)
	st.Damaged, st.DamagedTo = s.byte()&7 == 0, uint64(s.byte()%8)
	cfg := fill(Config{Rand: rng.Uint64, MaxInflightMsgs: 2, MaxMessageBytes: 40, MaxUncommittedBytes: 300, RetainBytes: int(s.byte())})
	g, err := New(cfg, st)
	if err != nil {
		t.Fatal(err)
	}
	var rd Ready
	var marks []Mark
	disk := entries(1, 1, 2)
	applied := uint64(0)
	ready := func() {
		g.Ready(&rd)
		if rd.MustSync {
			marks = append(marks, rd.Mark)
		}
		if rd.Snapshot != nil {
			applied = rd.Snapshot.Index
		}
		if n := len(rd.Committed); n > 0 {
			if rd.Committed[0].Index != applied+1 {
				t.Fatalf("committed %d after %d", rd.Committed[0].Index, applied)
			}
			applied = rd.Committed[n-1].Index
		}
		for _, e := range rd.Entries {
			for n := len(disk); n > 0 && disk[n-1].Index >= e.Index; n-- {
				disk = disk[:n-1]
			}
			disk = append(disk, e)
		}
		g.Applied(applied)
		for _, q := range rd.Need {
			var list []Entry
			for _, e := range disk {
				if s.byte()&7 != 0 && e.Index == q.Lo+uint64(len(list)) && e.Index < q.Hi {
					list = append(list, e)
				}
			}
			g.Supply(q.To, list)
		}
	}
	persist := func() {
		for g.HasReady() {
			ready()
		}
		if n := len(marks); n > 0 {
			g.Persisted(marks[n-1])
			marks = marks[:0]
		}
	}
	for len(s.b) > 0 {
		switch c := s.byte() % 20; c {
		default:
			m := s.forged(g)
			if err := g.Step(&m); err != nil && !errors.Is(err, ErrInvalidMessage) && !errors.Is(err, ErrDiverged) {
				t.Fatal(err)
			}
		case 7:
			s.elect(g, persist)
		case 8:
			g.Tick()
		case 9:
			_, _, _ = g.Propose(EntryKind(s.byte()%3), make([]byte, s.byte()))
		case 10, 11:
			ready()
		case 12:
			if len(marks) > 0 {
				g.Persisted(marks[0])
				marks = marks[1:]
			}
		case 13:
			if s.byte()&15 == 0 {
				g.StepDown()
				g.ForgetLeader()
			}
			_, _, _ = g.ReadIndex()
			g.ReportUnreachable(uint64(s.byte() % 6))
			g.ReportSnapshot(uint64(s.byte()%6), s.byte()&1 == 0)
			g.ShareCommit()
			g.Release(uint64(s.byte() % 16))
		case 14:
			_, _, _ = g.ProposeConf(ConfChange{Changes: []Change{{ChangeKind(s.byte() % 4), uint64(s.byte() % 6)}}, Joint: s.byte()&1 == 0, Stay: s.byte()&2 == 0})
			_ = g.Transfer(uint64(s.byte() % 6))
		case 15:
			g.Campaign()
			if l := &g.log; s.byte()&1 == 0 && l.applied > l.snapIndex && !g.installing {
				if term, ok := l.term(l.applied); ok {
					g.Compact(l.applied, term)
				}
			}
		}
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzStep(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { (&source{b}).play(t) })
}

// TestForgedMessages is FuzzStep on random bytes, for every run of the tests.
func TestForgedMessages(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		b := make([]byte, 1500)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Fatalf("seed %d: %v", seed, r)
				}
			}()
			(&source{b}).play(t)
		}()
	}
}
