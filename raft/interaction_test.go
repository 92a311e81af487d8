package raft

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts in testdata/*.txt really print")

// TestInteraction plays the transcripts in testdata/*.txt. A transcript is a list of steps separated
// by empty lines:
//
//	# comment
//	verb arguments
//	----
//	what it prints
//
// The verbs are the methods of env whose names start with "do"; see the table in run.
// go test ./raft -run Interaction -rewrite writes the outputs anew: read the diff.
func TestInteraction(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	out, diff := play(&env{t: t}, string(raw), *rewrite)
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(out), 0o644))
		return
	}
	require.Empty(t, diff, file)
}

// play plays a transcript. Out is the transcript as it should read; diff is the first block that printed something else,
// where it stops unless whole.
func play(e *env, transcript string, whole bool) (text, diff string) {
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(transcript), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		script, want, _ := strings.Cut(strings.Trim(block, "\n")+"\n", "----\n")
		out.WriteString(script)
		got, ran := "", false
		for _, line := range strings.Split(script, "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				got += e.run(line)
				ran = true
			}
		}
		if !ran {
			continue // only comments
		}
		if got == "" {
			got = "ok\n"
		}
		out.WriteString("----\n" + got)
		if got != want && !whole {
			return out.String(), fmt.Sprintf("at:\n%swanted:\n%sgot:\n%s", script, want, got)
		}
	}
	return out.String(), ""
}

// env is a cluster whose every step is asked for.
type env struct {
	t     testing.TB
	nodes []*node // by id-1
	net   []packet
}

// args are the words after a verb: plain ones, and key=value.
type args struct {
	t     testing.TB
	plain []string
	named []string
}

func (a *args) str(key, def string) string {
	for _, n := range a.named {
		if k, v, _ := strings.Cut(n, "="); k == key {
			return v
		}
	}
	return def
}

func (a *args) num(key string, def int) int {
	if s := a.str(key, ""); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(a.t, err, key)
		return n
	}
	return def
}

func (a *args) flag(name string) bool {
	for _, p := range a.plain {
		if p == name {
			return true
		}
	}
	return false
}

// list is key=1,2,3.
func (a *args) list(key string) (out []uint64) {
	for _, s := range strings.Split(a.str(key, ""), ",") {
		if s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			require.NoError(a.t, err, key)
			out = append(out, n)
		}
	}
	return out
}

// id is the i-th plain word as a number.
func (a *args) id(i int) uint64 {
	require.Greater(a.t, len(a.plain), i, "number missing")
	n, err := strconv.ParseUint(a.plain[i], 10, 64)
	require.NoError(a.t, err)
	return n
}

// ids are all plain words that are numbers.
func (a *args) ids() (out []uint64) {
	for _, p := range a.plain {
		if n, err := strconv.ParseUint(p, 10, 64); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func (e *env) node(id uint64) *node {
	require.True(e.t, id > 0 && int(id) <= len(e.nodes), "no node %d", id)
	return e.nodes[id-1]
}

func (e *env) run(line string) string {
	words := strings.Fields(line)
	a := &args{t: e.t}
	quiet := false
	for _, w := range words[1:] {
		switch {
		case w == "quiet":
			quiet = true
		case strings.Contains(w, "="):
			a.named = append(a.named, w)
		default:
			a.plain = append(a.plain, w)
		}
	}
	do, ok := map[string]func(*args) string{
		"add-nodes":          e.doAddNodes,       // n voters=1,2 learners=3 [auto] [any limit of Config] [terms=1,1,2 term= commit=: a log]
		"campaign":           e.doCampaign,       // id
		"propose":            e.doPropose,        // id data... [size=n] [count=n]
		"ready":              e.doReady,          // id: one Ready, printed
		"persist":            e.doPersist,        // id [n=k]: the oldest k submissions are durable, all by default
		"deliver":            e.doDeliver,        // to... [from=1,2] [type=Append,...] [n=k]: from the network
		"drop":               e.doDrop,           // the same selection, lost
		"dup":                e.doDup,            // the same selection, once more at the end of the network
		"network":            e.doNetwork,        // what is on its way
		"stabilize":          e.doStabilize,      // [ids]: everything among them until nothing happens
		"tick":               e.doTick,           // id n
		"rand":               e.doRand,           // id n: the next random numbers
		"read-index":         e.doReadIndex,      // id
		"transfer":           e.doTransfer,       // from to
		"conf-change":        e.doConfChange,     // id [v3 l4 r5 ...] [joint] [stay]; no changes: leave
		"compact":            e.doCompact,        // id: snapshot of what is applied
		"report-unreachable": e.doReportUnreach,  // id peer
		"report-snapshot":    e.doReportSnapshot, // id peer ok|failed
		"supply":             e.doSupply,         // id [n=k]: answer the oldest question for entries
		"forget-leader":      e.doForgetLeader,   // id
		"step-down":          e.doStepDown,       // id
		"share-commit":       e.doShareCommit,    // id
		"release":            e.doRelease,        // id index
		"crash":              e.doCrash,          // id
		"restart":            e.doRestart,        // id [damaged] [damaged-to=n] [rot=n]: rot drops the durable log from n on
		"wipe":               e.doWipe,           // id: the disk is empty, under the same identity
		"step":               e.doStep,           // a forged message: type= from= to= term= ...
		"persisted":          e.doPersisted,      // id seq: the mark again
		"status":             e.doStatus,         // id...
		"peers":              e.doPeers,          // id
		"log":                e.doLog,            // id: in memory
		"state":              e.doState,          // id...: what the state machine applied
		"conf":               e.doConf,           // id...
		"uncommitted":        e.doUncommitted,    // id
		"commit-of":          e.doCommitOf,       // id...
		"set-auto":           e.doSetAuto,        // id on|off
		"quorum":             e.doQuorum,         // voters=1,2 outgoing=.. 1=5 2=7: joint commit index
		"in-memory":          e.doInMemory,       // id
		"held":               e.doHeld,           // id: messages that wait for the disk
		"applied-conf":       e.doAppliedConf,    // id index
	}[words[0]]
	require.True(e.t, ok, "unknown verb %s", words[0])
	out := do(a)
	for _, n := range e.nodes {
		if !n.down {
			require.NoError(e.t, n.g.Check(), "after: %s", line)
		}
	}
	if quiet {
		return ""
	}
	return out
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return "error: " + err.Error() + "\n"
}

func (e *env) doAddNodes(a *args) string {
	conf := Conf{Voters: a.list("voters"), Learners: a.list("learners")}
	for range a.id(0) {
		cfg := Config{
			ID: uint64(len(e.nodes) + 1), ElectionTicks: a.num("election-ticks", 3), HeartbeatTicks: a.num("heartbeat-ticks", 1),
			MaxEntryBytes: a.num("max-entry", 0), MaxUncommittedBytes: a.num("max-uncommitted", 0),
			MaxInflightMsgs: a.num("max-inflight", 0), MaxInflightBytes: a.num("max-inflight-bytes", 0),
			MaxMessageBytes: a.num("max-message", 0), RetainBytes: a.num("retain", 1<<20), LazyCommit: a.flag("lazy-commit"),
		}
		n := newNode(cfg, conf)
		if terms := a.list("terms"); len(terms) > 0 {
			for i, t := range terms {
				n.disk.entries = append(n.disk.entries, Entry{Index: uint64(i + 1), Term: t, Data: fmt.Appendf(nil, "%d.%d", i+1, t)})
			}
			n.disk.state = HardState{Term: uint64(a.num("term", int(terms[len(terms)-1]))), Commit: uint64(a.num("commit", 0))}
			n.boot(false, 0)
		}
		n.auto = a.flag("auto")
		e.nodes = append(e.nodes, n)
	}
	return ""
}

func (e *env) doCampaign(a *args) string { e.node(a.id(0)).g.Campaign(); return "" }

func (e *env) doPropose(a *args) string {
	n := e.node(a.id(0))
	var out strings.Builder
	propose := func(data string) {
		index, term, err := n.g.Propose(KindNormal, []byte(data))
		if err != nil {
			out.WriteString(errText(err))
			return
		}
		fmt.Fprintf(&out, "%d/%d\n", index, term)
	}
	for _, d := range a.plain[1:] {
		propose(d)
	}
	for i := range a.num("count", 0) {
		propose(fmt.Sprintf("%0*d", a.num("size", 1), i))
	}
	return out.String()
}

func (e *env) doReady(a *args) string {
	n := e.node(a.id(0))
	if !n.g.HasReady() {
		return "nothing\n"
	}
	e.net = append(e.net, n.ready()...)
	return fmtReady(&n.rd)
}

func (e *env) doPersist(a *args) string {
	n := e.node(a.id(0))
	n.persist(min(a.num("n", len(n.queue)), len(n.queue)))
	return ""
}

func (e *env) doPersisted(a *args) string {
	e.node(a.id(0)).g.Persisted(Mark{Seq: a.id(1)})
	return ""
}

// pick removes from the network what the arguments select.
func (e *env) pick(a *args) (picked []packet) {
	to, from, types := a.ids(), a.list("from"), a.str("type", "")
	left := a.num("n", len(e.net))
	var rest []packet
	for _, p := range e.net {
		if left == 0 || len(to) > 0 && !contains(to, p.To) || len(from) > 0 && !contains(from, p.From) ||
			types != "" && !strings.Contains(","+types+",", ","+p.Type.String()+",") {
			rest = append(rest, p)
			continue
		}
		left--
		picked = append(picked, p)
	}
	e.net = rest
	return picked
}

func contains(list []uint64, id uint64) bool {
	for _, x := range list {
		if x == id {
			return true
		}
	}
	return false
}

func (e *env) doDeliver(a *args) string {
	var out strings.Builder
	for _, p := range e.pick(a) {
		out.WriteString(fmtMessage(&p.Message) + "\n")
		if n := e.node(p.To); n.down {
			out.WriteString("  node is down\n")
		} else if err := n.step(p); err != nil {
			out.WriteString("  " + errText(err))
		}
	}
	return out.String()
}

func (e *env) doDrop(a *args) string {
	var out strings.Builder
	for _, p := range e.pick(a) {
		out.WriteString("dropped " + fmtMessage(&p.Message) + "\n")
	}
	return out.String()
}

func (e *env) doDup(a *args) string {
	before := e.net
	picked := e.pick(a)
	e.net = append(append([]packet(nil), before...), picked...)
	return fmt.Sprintf("%d repeated\n", len(picked))
}

func (e *env) doNetwork(*args) string {
	var out strings.Builder
	for _, p := range e.net {
		out.WriteString(fmtMessage(&p.Message) + "\n")
	}
	if len(e.net) == 0 {
		return "empty\n"
	}
	return out.String()
}

// doStabilize runs all the given nodes until none has anything to do and the network has nothing for
// them from one another.
func (e *env) doStabilize(a *args) string {
	ids := a.ids()
	if len(ids) == 0 {
		for i := range e.nodes {
			ids = append(ids, uint64(i+1))
		}
	}
	var out strings.Builder
	print := func(id uint64, text string) {
		for _, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if l != "" {
				fmt.Fprintf(&out, "%d: %s\n", id, l)
			}
		}
	}
	for round := 0; ; round++ {
		require.Less(e.t, round, 1000, "no end in sight:\n%s", out.String())
		busy := false
		for _, id := range ids {
			n := e.node(id)
			if n.down {
				continue
			}
			for n.g.HasReady() {
				busy = true
				e.net = append(e.net, n.ready()...)
				print(id, fmtReady(&n.rd))
			}
			if len(n.queue) > 0 {
				busy = true
				n.persist(len(n.queue))
			}
			for len(n.need) > 0 {
				busy = true
				q := n.supply(4)
				print(id, fmt.Sprintf("supply [%d, %d) for %d", q.Lo, q.Hi, q.To))
			}
		}
		for _, id := range ids {
			sel := &args{t: e.t, plain: []string{strconv.FormatUint(id, 10)}, named: []string{"from=" + strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")}}
			for _, p := range e.pick(sel) {
				busy = true
				n := e.node(id)
				if n.down {
					continue
				}
				if err := n.step(p); err != nil {
					print(id, errText(err))
				}
				if p.Type == MsgSnapshot {
					e.node(p.From).g.ReportSnapshot(p.To, true)
				}
			}
		}
		if !busy {
			return out.String()
		}
	}
}

func (e *env) doTick(a *args) string {
	for range a.id(1) {
		e.node(a.id(0)).g.Tick()
	}
	return ""
}

func (e *env) doRand(a *args) string { e.node(a.id(0)).rand = a.id(1); return "" }

func (e *env) doReadIndex(a *args) string {
	round, ready, err := e.node(a.id(0)).g.ReadIndex()
	switch {
	case err != nil:
		return errText(err)
	case ready:
		return fmt.Sprintf("at once, at %d\n", e.node(a.id(0)).g.Commit())
	}
	return fmt.Sprintf("round %d\n", round)
}

func (e *env) doTransfer(a *args) string { return errText(e.node(a.id(0)).g.Transfer(a.id(1))) }

func (e *env) doConfChange(a *args) string {
	cc := ConfChange{Joint: a.flag("joint"), Stay: a.flag("stay")}
	for _, w := range a.plain[1:] {
		kind, ok := map[byte]ChangeKind{'v': AddVoter, 'l': AddLearner, 'r': RemoveNode}[w[0]]
		if id, err := strconv.ParseUint(w[1:], 10, 64); ok && err == nil {
			cc.Changes = append(cc.Changes, Change{kind, id})
		}
	}
	index, term, err := e.node(a.id(0)).g.ProposeConf(cc)
	if err != nil {
		return errText(err)
	}
	c := e.node(a.id(0)).g.Conf()
	return fmt.Sprintf("%d/%d %s\n", index, term, c.String())
}

func (e *env) doCompact(a *args) string {
	n := e.node(a.id(0))
	n.compact()
	return fmt.Sprintf("snapshot %d/%d %s\n", n.disk.snap.meta.Index, n.disk.snap.meta.Term, n.disk.snap.meta.Conf.String())
}

func (e *env) doShareCommit(a *args) string { e.node(a.id(0)).g.ShareCommit(); return "" }

func (e *env) doRelease(a *args) string { e.node(a.id(0)).g.Release(a.id(1)); return "" }

func (e *env) doReportUnreach(a *args) string {
	e.node(a.id(0)).g.ReportUnreachable(a.id(1))
	return ""
}

func (e *env) doReportSnapshot(a *args) string {
	e.node(a.id(0)).g.ReportSnapshot(a.id(1), a.flag("ok"))
	return ""
}

func (e *env) doSupply(a *args) string {
	q := e.node(a.id(0)).supply(a.num("n", 1000))
	return fmt.Sprintf("[%d, %d) for %d\n", q.Lo, q.Hi, q.To)
}

func (e *env) doForgetLeader(a *args) string { e.node(a.id(0)).g.ForgetLeader(); return "" }
func (e *env) doStepDown(a *args) string     { e.node(a.id(0)).g.StepDown(); return "" }
func (e *env) doCrash(a *args) string        { e.node(a.id(0)).crash(); return "" }

func (e *env) doRestart(a *args) string {
	n := e.node(a.id(0))
	if rot := a.num("rot", 0); rot > 0 {
		for k := len(n.disk.entries); k > 0 && n.disk.entries[k-1].Index >= uint64(rot); k-- {
			n.disk.entries = n.disk.entries[:k-1]
		}
	}
	n.boot(a.flag("damaged") || a.num("damaged-to", 0) > 0, uint64(a.num("damaged-to", 0)))
	return ""
}

func (e *env) doWipe(a *args) string {
	n := e.node(a.id(0))
	n.disk = disk{}
	n.boot(false, 0)
	return ""
}

func (e *env) doStep(a *args) string {
	m := Message{
		From: uint64(a.num("from", 0)), To: uint64(a.num("to", 0)), Term: uint64(a.num("term", 0)),
		Index: uint64(a.num("index", 0)), LogTerm: uint64(a.num("log-term", 0)), Commit: uint64(a.num("commit", 0)),
		Hint: uint64(a.num("hint", 0)), Round: uint64(a.num("round", 0)),
		Reject: a.flag("reject"), Force: a.flag("force"), Damaged: a.flag("damaged"),
	}
	for t, name := range messageNames {
		if name == a.str("type", "?") {
			m.Type = MessageType(t)
		}
	}
	for i, term := range a.list("terms") {
		m.Entries = append(m.Entries, Entry{Index: m.Index + 1 + uint64(i), Term: term, Data: []byte("forged")})
	}
	return errText(e.node(m.To).g.Step(&m))
}

func (e *env) each(a *args, f func(id uint64, n *node) string) string {
	var out strings.Builder
	list := a.ids()
	if len(list) == 0 {
		for i := range e.nodes {
			list = append(list, uint64(i+1))
		}
	}
	for _, id := range list {
		out.WriteString(f(id, e.node(id)))
	}
	return out.String()
}

func (e *env) doStatus(a *args) string {
	return e.each(a, func(id uint64, n *node) string {
		if n.down {
			return fmt.Sprintf("%d: down\n", id)
		}
		s := n.g.Status()
		out := fmt.Sprintf("%d: %s term=%d vote=%d leader=%d commit=%d applied=%d last=%d/%d stable=%d", id, s.Role, s.Term, s.Vote, s.Leader, s.Commit, s.Applied, s.Last, s.LastTerm, s.Stable)
		if s.Damaged {
			out += " damaged"
		}
		if s.Transferee != 0 {
			out += fmt.Sprintf(" transferee=%d", s.Transferee)
		}
		return out + "\n"
	})
}

func (e *env) doPeers(a *args) string {
	var out strings.Builder
	for _, p := range e.node(a.id(0)).g.Peers(nil) {
		fmt.Fprintf(&out, "%d: %s match=%d next=%d", p.ID, p.State, p.Match, p.Next)
		if p.Inflight > 0 {
			fmt.Fprintf(&out, " inflight=%d/%dB", p.Inflight, p.InflightBytes)
		}
		if p.Snapshot > 0 {
			fmt.Fprintf(&out, " snapshot=%d", p.Snapshot)
		}
		if p.Learner {
			out.WriteString(" learner")
		}
		if !p.Active {
			out.WriteString(" inactive")
		}
		out.WriteString("\n")
	}
	return out.String()
}

func (e *env) doLog(a *args) string {
	return e.each(a, func(id uint64, n *node) string {
		return fmt.Sprintf("%d: %s\n", id, fmtEntries(n.g.log.entries.all()))
	})
}

func (e *env) doInMemory(a *args) string {
	return e.each(a, func(id uint64, n *node) string {
		s := n.g.Status()
		return fmt.Sprintf("%d: snapshot=%d memory=[%d, %d]\n", id, s.SnapshotIndex, s.First, s.Last)
	})
}

func (e *env) doState(a *args) string {
	return e.each(a, func(id uint64, n *node) string {
		return fmt.Sprintf("%d: applied=%d %v\n", id, n.sm.index, n.sm.cmds)
	})
}

func (e *env) doConf(a *args) string {
	return e.each(a, func(id uint64, n *node) string {
		c := n.g.Conf()
		s := n.g.Status()
		return fmt.Sprintf("%d: %s index=%d committed=%v\n", id, c.String(), s.ConfIndex, s.ConfCommitted)
	})
}

func (e *env) doAppliedConf(a *args) string {
	r := e.node(a.id(0)).g.ConfAt(a.id(1))
	return fmt.Sprintf("%s index=%d\n", r.Conf.String(), r.Index)
}

func (e *env) doUncommitted(a *args) string {
	return fmt.Sprintf("%d bytes\n", e.node(a.id(0)).g.Status().UncommittedBytes)
}

func (e *env) doCommitOf(a *args) string {
	return e.each(a, func(id uint64, n *node) string { return fmt.Sprintf("%d: commit=%d\n", id, n.g.Commit()) })
}

func (e *env) doSetAuto(a *args) string { e.node(a.id(0)).auto = a.flag("on"); return "" }

func (e *env) doHeld(a *args) string {
	var out strings.Builder
	for _, h := range e.node(a.id(0)).g.durable.held.all() {
		fmt.Fprintf(&out, "#%d %s\n", h.seq, fmtMessage(&h.m))
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

func (e *env) doQuorum(a *args) string {
	c := Conf{Voters: a.list("voters"), Outgoing: a.list("outgoing")}
	index := c.quorumIndex(func(id uint64) uint64 { return uint64(a.num(strconv.FormatUint(id, 10), 0)) })
	vote := c.quorumVote(func(id uint64) int8 { return int8(a.num(strconv.FormatUint(id, 10), 0)) })
	return fmt.Sprintf("index %d, vote %d\n", index, vote)
}
