package raft

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// What the interaction tests and the randomized tests share: a node around a Group, with a disk that
// can lose what was not synced and a state machine, and printing.

// machine is a state machine: the list of what it applied, and nothing else.
type machine struct {
	index, term uint64
	cmds        []string
	hash        uint64 // over all (index, term, data) so far
}

func (s *machine) apply(e Entry) {
	if e.Index != s.index+1 {
		panic(fmt.Sprintf("applied %d after %d", e.Index, s.index))
	}
	s.index, s.term = e.Index, e.Term
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %d %d %s", s.hash, e.Index, e.Term, e.Kind, e.Data)
	s.hash = h.Sum64()
	if e.Kind == KindNormal {
		s.cmds = append(s.cmds, string(e.Data))
	}
}

// image is a snapshot file.
type image struct {
	meta  SnapshotMeta
	state machine
}

// submission is a batch on its way to the disk.
type submission struct {
	mark    Mark
	state   *HardState
	install *image
	entries []Entry
	commit  uint64
}

// disk is what survives a crash.
type disk struct {
	state   HardState
	snap    image
	entries []Entry // after snap.meta.Index, except for stale ones that an installed snapshot left behind
	commit  uint64  // the highest commit index that went along
}

func (d *disk) write(s submission) {
	if s.state != nil {
		d.state = *s.state
	}
	if s.install != nil {
		d.snap = *s.install
		// As the contract of the WAL has it: only the front goes.
		for len(d.entries) > 0 && d.entries[0].Index <= d.snap.meta.Index {
			d.entries = d.entries[1:]
		}
	}
	for _, e := range s.entries {
		for n := len(d.entries); n > 0 && d.entries[n-1].Index >= e.Index; n-- {
			d.entries = d.entries[:n-1]
		}
		d.entries = append(slices.Clip(d.entries), e)
	}
	d.commit = max(d.commit, s.commit)
}

type packet struct {
	Message
	image *image // of a MsgSnapshot
}

type node struct {
	cfg     Config
	rand    uint64
	g       *Group
	rd      Ready
	disk    disk
	queue   []submission
	sm      machine
	need    []NeedEntries
	reads   []ReadState // all outcomes
	auto    bool        // persist at once
	down    bool
	written uint64 // last entry handed to the disk
	image   *image // arrived, for the MsgSnapshot being stepped
}

func newNode(cfg Config, conf Conf) *node {
	n := &node{cfg: cfg}
	if cfg.Rand == nil {
		n.cfg.Rand = func() uint64 { return n.rand }
	}
	n.disk.snap.meta.Conf = conf
	n.boot(false, 0)
	return n
}

// boot starts the node from its disk.
func (n *node) boot(damaged bool, damagedTo uint64) {
	st := Restored{HardState: n.disk.state, Snapshot: n.disk.snap.meta, Entries: n.disk.entries, Damaged: damaged, DamagedTo: damagedTo}
	g, err := New(n.cfg, st)
	if err != nil {
		panic(err)
	}
	n.g, n.sm, n.queue, n.need, n.down = g, n.disk.snap.state, nil, nil, false
	n.sm.cmds = slices.Clone(n.sm.cmds)
}

// bootReplayed starts the node as the product does: what is known to be committed is applied while the
// log is read, and only the rest is given to the group.
func (n *node) bootReplayed(replay bool) {
	if !replay {
		n.boot(false, 0)
		return
	}
	st := Restored{HardState: n.disk.state, Snapshot: n.disk.snap.meta}
	n.sm = n.disk.snap.state
	n.sm.cmds = slices.Clone(n.sm.cmds)
	for _, e := range n.disk.entries {
		if e.Term < st.Snapshot.Term {
			break // left over from before an installed snapshot
		}
		if e.Index > n.disk.commit {
			st.Entries = append(st.Entries, e)
			continue
		}
		n.sm.apply(e)
		if e.Kind == KindConf {
			c, err := DecodeConf(e.Data)
			if err != nil {
				panic(err)
			}
			st.Confs = append(st.Confs, ConfRecord{e.Index, c})
		}
	}
	st.Applied, st.AppliedTerm = n.sm.index, n.sm.term
	g, err := New(n.cfg, st)
	if err != nil {
		panic(err)
	}
	n.g, n.queue, n.need, n.down = g, nil, nil, false
}

// crash loses everything that is not on the disk.
func (n *node) crash() { n.queue, n.need, n.down = nil, nil, true }

// ready takes one Ready: messages are returned, the disk's part is queued, the rest is applied.
func (n *node) ready() []packet {
	n.g.Ready(&n.rd)
	rd := &n.rd
	var out []packet
	for _, m := range rd.Messages {
		m.Entries = slices.Clone(m.Entries)
		p := packet{Message: m}
		if m.Type == MsgSnapshot {
			if m.Snapshot.Index != n.disk.snap.meta.Index {
				panic(fmt.Sprintf("asked for snapshot %d, have %d", m.Snapshot.Index, n.disk.snap.meta.Index))
			}
			im := n.disk.snap
			p.image = &im
		}
		out = append(out, p)
	}
	if rd.MustSync {
		s := submission{mark: rd.Mark, entries: slices.Clone(rd.Entries), commit: rd.HardState.Commit}
		if rd.StateChanged {
			hs := rd.HardState
			s.state = &hs
		}
		if rd.Snapshot != nil {
			im := n.image
			if im == nil || im.meta.Index != rd.Snapshot.Index {
				panic("asked to install a snapshot that never came")
			}
			s.install = im
			n.sm = im.state
			n.sm.cmds = slices.Clone(n.sm.cmds)
		}
		n.queue = append(n.queue, s)
	}
	if rd.Snapshot != nil {
		n.g.Applied(rd.Snapshot.Index)
	}
	for _, e := range rd.Committed {
		n.sm.apply(e)
	}
	n.g.Applied(n.sm.index)
	n.need = append(n.need, rd.Need...)
	n.reads = append(n.reads, rd.Reads...)
	if n.auto {
		n.persist(len(n.queue))
	}
	return out
}

// persist completes the oldest k submissions.
func (n *node) persist(k int) {
	if k == 0 {
		return
	}
	for _, s := range n.queue[:k] {
		n.disk.write(s)
	}
	mark := n.queue[k-1].mark
	n.queue = n.queue[k:]
	n.g.Persisted(mark)
}

// step delivers a packet.
func (n *node) step(p packet) error {
	if p.Type == MsgSnapshot {
		n.image = p.image
	}
	return n.g.Step(&p.Message)
}

// supply answers the oldest question for entries from the disk, with at most max of them.
func (n *node) supply(max int) NeedEntries {
	q := n.need[0]
	n.need = n.need[1:]
	var list []Entry
	for _, e := range n.disk.entries {
		if e.Index == q.Lo+uint64(len(list)) && e.Index < q.Hi && len(list) < max {
			list = append(list, e)
		}
	}
	n.g.Supply(q.To, list)
	return q
}

// compact takes a snapshot of the state machine, makes it durable and drops the log before it.
// Submissions on their way are completed first, as the WAL's order has it.
func (n *node) compact() {
	n.persist(len(n.queue))
	rec := n.g.ConfAt(n.sm.index)
	im := image{meta: SnapshotMeta{Index: n.sm.index, Term: n.sm.term, Conf: rec.Conf}, state: n.sm}
	im.state.cmds = slices.Clone(im.state.cmds)
	n.disk.snap = im
	n.disk.commit = max(n.disk.commit, im.meta.Index)
	for len(n.disk.entries) > 0 && n.disk.entries[0].Index <= im.meta.Index {
		n.disk.entries = n.disk.entries[1:]
	}
	n.g.Compact(im.meta.Index, im.meta.Term)
}

func fmtEntry(e Entry) string {
	switch {
	case e.Kind == KindConf:
		c, err := DecodeConf(e.Data)
		if err != nil {
			return fmt.Sprintf("%d/%d conf(%v)", e.Index, e.Term, err)
		}
		return fmt.Sprintf("%d/%d conf(%s)", e.Index, e.Term, c.String())
	case e.Kind == KindNoop:
		return fmt.Sprintf("%d/%d noop", e.Index, e.Term)
	case len(e.Data) > 20:
		return fmt.Sprintf("%d/%d %dB", e.Index, e.Term, len(e.Data))
	}
	return fmt.Sprintf("%d/%d %q", e.Index, e.Term, e.Data)
}

func fmtEntries(list []Entry) string {
	var s []string
	for _, e := range list {
		s = append(s, fmtEntry(e))
	}
	if len(s) > 6 {
		s = append(append(s[:2:2], fmt.Sprintf("... %d more ...", len(s)-4)), s[len(s)-2:]...)
	}
	return "[" + strings.Join(s, ", ") + "]"
}

func fmtMessage(m *Message) string {
	s := fmt.Sprintf("%d->%d %s term=%d", m.From, m.To, m.Type, m.Term)
	add := func(format string, args ...any) { s += " " + fmt.Sprintf(format, args...) }
	switch m.Type {
	case MsgPreVote, MsgVote:
		add("last=%d/%d", m.Index, m.LogTerm)
	case MsgAppend:
		add("prev=%d/%d commit=%d", m.Index, m.LogTerm, m.Commit)
		if len(m.Entries) > 0 {
			add("%s", fmtEntries(m.Entries))
		}
	case MsgAppendResp:
		add("index=%d", m.Index)
		if m.Reject {
			add("hint=%d/%d", m.Hint, m.LogTerm)
		}
	case MsgHeartbeat:
		add("commit=%d", m.Commit)
	case MsgSnapshot:
		add("snapshot=%d/%d %s", m.Snapshot.Index, m.Snapshot.Term, m.Snapshot.Conf.String())
	}
	if m.Round != 0 {
		add("round=%d", m.Round)
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{m.Reject, "reject"}, {m.Force, "force"}, {m.Damaged, "damaged"}} {
		if f.on {
			add("%s", f.name)
		}
	}
	return s
}

func fmtReady(rd *Ready) string {
	var b strings.Builder
	if rd.RoleChanged {
		fmt.Fprintf(&b, "%s term=%d leader=%d\n", rd.Role, rd.Term, rd.Leader)
	}
	if rd.Snapshot != nil {
		fmt.Fprintf(&b, "install snapshot %d/%d %s\n", rd.Snapshot.Index, rd.Snapshot.Term, rd.Snapshot.Conf.String())
	}
	if rd.MustSync {
		fmt.Fprintf(&b, "persist #%d", rd.Mark.Seq)
		if rd.StateChanged {
			fmt.Fprintf(&b, " term=%d vote=%d", rd.HardState.Term, rd.HardState.Vote)
		}
		if len(rd.Entries) > 0 {
			fmt.Fprintf(&b, " %s", fmtEntries(rd.Entries))
		}
		b.WriteString("\n")
	}
	if len(rd.Committed) > 0 {
		fmt.Fprintf(&b, "apply %s\n", fmtEntries(rd.Committed))
	}
	for i := range rd.Messages {
		fmt.Fprintf(&b, "send %s\n", fmtMessage(&rd.Messages[i]))
	}
	for _, q := range rd.Need {
		fmt.Fprintf(&b, "need [%d, %d) for %d\n", q.Lo, q.Hi, q.To)
	}
	for _, r := range rd.Reads {
		if r.Lost {
			fmt.Fprintf(&b, "reads up to round %d lost\n", r.Round)
		} else {
			fmt.Fprintf(&b, "read round %d at %d\n", r.Round, r.Index)
		}
	}
	return b.String()
}
