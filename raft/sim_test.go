package raft

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "play only this seed of TestSimulation")
	simSeeds = flag.Uint64("sim.seeds", 200, "play seeds 1..n in TestSimulation")
	simTrace = flag.Bool("sim.trace", false, "print what happens in TestSimulation")
)

// TestSimulation drives a few groups' nodes through random schedules: messages lost, late, twice, out
// of order and long after their time, links cut one way or both, crashes that lose what was not
// synced, rotten logs, snapshots, membership changes, transfers, reads. After every action it checks
// what must always hold (paper figure 3); at the end everything heals and the group must agree.
//
// A failure names its seed: go test ./raft -run Simulation -sim.seed=N -sim.trace
func TestSimulation(t *testing.T) {
	first, last := uint64(1), *simSeeds
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	if testing.Short() {
		last = min(last, 20)
	}
	var total simStats
	for seed := first; seed <= last; seed++ {
		s := newSim(seed, *simTrace)
		if err := s.play(12000); err != nil {
			t.Fatalf("seed %d: %v\nreplay: go test ./raft -run TestSimulation -sim.seed=%d -sim.trace -v", seed, err, seed)
		}
		total.add(&s.stats)
	}
	t.Logf("%+v", total)
	if first == last {
		return
	}
	// A generator that never gets somewhere proves nothing about it.
	if total.Elections == 0 || total.Commits == 0 || total.Crashes == 0 || total.Snapshots == 0 || total.Confs == 0 || total.Joint == 0 ||
		total.Transfers == 0 || total.Reads == 0 || total.Healed == 0 || total.Supplied == 0 || total.Truncated == 0 {
		t.Fatalf("part of the schedule never happened: %+v", total)
	}
}

func TestSimulationIsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := newSim(seed, false), newSim(seed, false)
		if errA, errB := a.play(1000), b.play(1000); errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.trace.Sum64() != b.trace.Sum64() {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

type simStats struct {
	Elections, Commits, Applied, Reads, Lost, Crashes, Rot, Healed, Snapshots, Confs, Joint, Transfers, Supplied, Truncated, Messages int
}

func (a *simStats) add(b *simStats) {
	a.Elections += b.Elections
	a.Commits += b.Commits
	a.Applied += b.Applied
	a.Reads += b.Reads
	a.Lost += b.Lost
	a.Crashes += b.Crashes
	a.Rot += b.Rot
	a.Healed += b.Healed
	a.Snapshots += b.Snapshots
	a.Confs += b.Confs
	a.Joint += b.Joint
	a.Transfers += b.Transfers
	a.Supplied += b.Supplied
	a.Truncated += b.Truncated
	a.Messages += b.Messages
}

// decided is what the whole world knows of a committed entry.
type decided struct {
	entry Entry
	by    uint64 // term of the leader that committed it
	hash  uint64 // of the state machine after it
}

type simRead struct {
	node   uint64
	round  uint64
	commit uint64 // the highest commit index anywhere when the read arrived
}

type sim struct {
	rng     *rand.Rand
	nodes   []*node
	boots   []int // per node
	net     []packet
	old     []packet // seen before, to be replayed
	cut     []bool   // [from*n+to]
	loss    int      // percent
	leaders []uint64 // by term: who led it
	log     []decided
	reads   []simRead
	rotten  int // index of the node that is damaged, -1 none
	rotTo   uint64
	cmds    int
	weights weights
	trace   interface {
		Write([]byte) (int, error)
		Sum64() uint64
	}
	print bool
	stats simStats
}

func newSim(seed uint64, print bool) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), trace: fnv.New64a(), print: print, rotten: -1}
	members := []int{1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 5}[s.rng.IntN(11)]
	total := members + s.rng.IntN(3)
	var conf Conf
	for i := range members {
		conf.Voters = append(conf.Voters, uint64(i+1))
	}
	for i := range total {
		c := Config{
			ID: uint64(i + 1), Group: 7, ElectionTicks: 5 + s.rng.IntN(5), HeartbeatTicks: 1 + s.rng.IntN(2), Rand: s.rng.Uint64,
			MaxInflightMsgs: 1 + s.rng.IntN(8), MaxInflightBytes: 200 + s.rng.IntN(2000), MaxMessageBytes: 1 + s.rng.IntN(300),
			MaxUncommittedBytes: 2000, RetainBytes: s.rng.IntN(500), LazyCommit: s.rng.IntN(2) == 0,
		}
		nodeConf := conf
		if i >= members {
			nodeConf = Conf{}
		}
		s.nodes = append(s.nodes, newNode(c, nodeConf))
	}
	s.drawWeights()
	s.boots = make([]int, total)
	s.cut = make([]bool, total*total)
	return s
}

func (s *sim) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	_, _ = s.trace.Write([]byte(line))
	if s.print {
		fmt.Println(line)
	}
}

func (s *sim) play(steps int) error {
	for i := range steps {
		if i%500 == 0 {
			s.loss = []int{0, 5, 30}[s.rng.IntN(3)]
		}
		if err := s.action(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if i%100 == 0 {
			if err := s.checkLogMatching(); err != nil {
				return fmt.Errorf("step %d: %w", i, err)
			}
		}
	}
	return s.heal()
}

// pick returns a node that is up, nil if the one chosen is down.
func (s *sim) pick() *node {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	if n.down {
		return nil
	}
	return n
}

func (s *sim) pickLeader() *node {
	start := s.rng.IntN(len(s.nodes))
	for i := range s.nodes {
		if n := s.nodes[(start+i)%len(s.nodes)]; !n.down && n.g.IsLeader() {
			return n
		}
	}
	return nil
}

// weights are how often things happen, relative to one another, drawn per seed: calm worlds and stormy
// ones find different bugs.
type weights struct {
	crash, restart, compact, conf, transfer, cut, heal, unreachable, odd int // rare things
	deliver, ready, persist, tick, supply, read, propose                 int // what a cluster does all day
}

func (s *sim) drawWeights() {
	rare := func(max int) int {
		if s.rng.IntN(4) == 0 {
			return 0
		}
		return 1 + s.rng.IntN(max)
	}
	common := func(list ...int) int { return list[s.rng.IntN(len(list))] }
	s.weights = weights{
		crash: rare(60), restart: common(30, 100, 300), compact: rare(60), conf: rare(150), transfer: rare(60),
		cut: rare(100), heal: common(3, 10, 30), unreachable: rare(30), odd: rare(100),
		deliver: common(2000, 4000), ready: common(2000, 3000), persist: common(300, 1000, 2000),
		tick: common(500, 1500, 3000), supply: 300, read: common(50, 300, 600), propose: common(50, 300, 600),
	}
}

func (s *sim) action() error {
	w := &s.weights
	r := s.rng.IntN(w.crash + w.restart + w.compact + w.conf + w.transfer + w.cut + w.heal + w.unreachable + w.odd +
		w.deliver + w.ready + w.persist + w.tick + w.supply + w.read + w.propose)
	happens := func(weight int) bool {
		r -= weight
		return r < 0
	}
	n := s.pick()
	switch {
	case happens(w.crash):
		return s.crashOrRestart()
	case happens(w.restart):
		for i, n := range s.nodes {
			if n.down {
				return s.restart(i)
			}
		}
		return nil
	case happens(w.cut):
		from, to := s.rng.IntN(len(s.nodes)), s.rng.IntN(len(s.nodes))
		switch s.rng.IntN(3) {
		case 0: // one node alone, the leader if there is one
			if l := s.pickLeader(); l != nil {
				from = int(l.cfg.ID) - 1
			}
			fallthrough
		case 1: // some on one side, the others on the other
			side := s.rng.IntN(1 << len(s.nodes))
			for i := range s.nodes {
				for k := range s.nodes {
					s.cut[i*len(s.nodes)+k] = side>>i&1 != side>>k&1 || i == from != (k == from) && side&1 == 0
				}
			}
		default: // one way
			s.cut[from*len(s.nodes)+to] = true
		}
		return nil
	case happens(w.heal):
		clear(s.cut)
		return nil
	}
	if n == nil {
		return nil
	}
	leader := s.pickLeader()
	switch {
	case happens(w.deliver):
		for range 1 + s.rng.IntN(6) {
			if err := s.deliver(); err != nil {
				return err
			}
		}
		return nil
	case happens(w.ready):
		for _, n := range s.nodes {
			if s.rng.IntN(2) == 0 && !n.down {
				if err := s.ready(n); err != nil {
					return err
				}
			}
		}
		return nil
	case happens(w.persist):
		if len(n.queue) > 0 {
			n.persist(1 + s.rng.IntN(len(n.queue)))
		}
	case happens(w.tick):
		if s.rng.IntN(4) == 0 {
			n.g.Beat()
		}
		if s.rng.IntN(8) == 0 {
			n.g.Late(s.rng.IntN(4))
		}
		n.g.Tick()
		if s.rng.IntN(10) == 0 {
			n.g.Release(n.g.log.applied - min(n.g.log.applied, uint64(s.rng.IntN(5))))
			n.g.ShareCommit()
		}
	case happens(w.supply):
		if len(n.need) > 0 {
			s.stats.Supplied++
			n.supply(2 + s.rng.IntN(5))
		}
	case happens(w.compact):
		if n.sm.index > n.disk.snap.meta.Index && n.g.log.stable >= n.sm.index {
			s.note("%d compacts to %d", n.cfg.ID, n.sm.index)
			n.compact()
		}
	case happens(w.unreachable):
		n.g.ReportUnreachable(uint64(1 + s.rng.IntN(len(s.nodes))))
	case happens(w.odd):
		switch s.rng.IntN(3) {
		case 0:
			n.g.Campaign()
		case 1:
			n.g.ForgetLeader()
		case 2:
			n.g.StepDown()
		}
	case leader == nil:
	case happens(w.conf):
		return s.changeConf(leader)
	case happens(w.transfer):
		return s.transfer(leader)
	case happens(w.read):
		return s.read(leader)
	case happens(w.propose):
		return s.propose(leader)
	}
	return s.check(n)
}

func (s *sim) propose(n *node) error {
	s.cmds++
	_, _, err := n.g.Propose(KindNormal, fmt.Appendf(nil, "%d-%s", s.cmds, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[:s.rng.IntN(40)]))
	if err != nil && !errors.Is(err, ErrUncommittedFull) && !errors.Is(err, ErrTransferring) {
		return err
	}
	return s.check(n)
}

func (s *sim) transfer(n *node) error {
	to := uint64(1 + s.rng.IntN(len(s.nodes)))
	if n.g.Transfer(to) == nil && to != n.cfg.ID {
		s.stats.Transfers++
		s.note("%d transfers to %d", n.cfg.ID, to)
	}
	return s.check(n)
}

func (s *sim) ready(n *node) error {
	if !n.g.HasReady() {
		// Who relies on that looks at the group no more until its next step.
		var rd Ready
		n.g.Ready(&rd)
		if rd.MustSync || rd.Snapshot != nil || rd.RoleChanged || len(rd.Committed)+len(rd.Messages)+len(rd.Need)+len(rd.Reads) > 0 {
			return fmt.Errorf("node %d had something to do, and HasReady said that it had not:\n%s", n.cfg.ID, fmtReady(&rd))
		}
		return nil
	}
	out := n.ready()
	if k := len(n.rd.Entries); k > 0 {
		if n.rd.Entries[0].Index <= n.written {
			s.stats.Truncated++
		}
		n.written = n.rd.Entries[k-1].Index
	}
	if n.rd.Snapshot != nil {
		s.stats.Snapshots++
	}
	s.stats.Messages += len(out)
	if s.print {
		s.note("%d ready:\n%s", n.cfg.ID, fmtReady(&n.rd))
	} else {
		fmt.Fprintf(s.trace, "%d %v %d %d %d", n.cfg.ID, n.rd.Mark, len(n.rd.Entries), len(n.rd.Committed), len(out))
	}
	for _, p := range out {
		if p.Type == MsgSnapshot && s.rng.IntN(3) == 0 { // lost on the way, and the shell knows
			n.g.ReportSnapshot(p.To, false)
			continue
		}
		s.net = append(s.net, p)
	}
	for _, e := range n.rd.Committed {
		if err := s.applied(n, e); err != nil {
			return err
		}
	}
	if err := s.readsDone(n); err != nil {
		return err
	}
	return s.check(n)
}

func (s *sim) deliver() error {
	if len(s.net) == 0 {
		return nil
	}
	if len(s.net) > 300 {
		for _, p := range s.net[:100] {
			if p.Type == MsgSnapshot { // the shell knows how each of these ended
				s.nodes[p.From-1].g.ReportSnapshot(p.To, false)
			}
		}
		s.net = s.net[100:]
	}
	if len(s.old) > 0 && s.rng.IntN(30) == 0 { // long after its time
		return s.deliverPacket(s.old[s.rng.IntN(len(s.old))])
	}
	i := 0
	if s.rng.IntN(3) == 0 {
		i = s.rng.IntN(len(s.net))
	}
	p := s.net[i]
	if s.rng.IntN(20) != 0 { // else it comes twice
		s.net = slices.Delete(s.net, i, i+1)
	}
	if s.old = append(s.old, p); len(s.old) > 200 {
		s.old = slices.Delete(s.old, 0, 50)
	}
	return s.deliverPacket(p)
}

func (s *sim) deliverPacket(p packet) error {
	n := s.nodes[p.To-1]
	lost := n.down || s.cut[int(p.From-1)*len(s.nodes)+int(p.To-1)] || s.rng.IntN(100) < s.loss
	if p.Type == MsgSnapshot {
		if from := s.nodes[p.From-1]; !from.down {
			from.g.ReportSnapshot(p.To, !lost)
			if err := s.check(from); err != nil {
				return err
			}
		}
		if !lost && (n.g.toInstall == nil || n.g.toInstall.Index < p.Snapshot.Index) {
			n.image = p.image
		}
	}
	if lost {
		return nil
	}
	s.note("deliver %s", fmtMessage(&p.Message))
	if err := n.g.Step(&p.Message); err != nil {
		return fmt.Errorf("step of %s: %w", fmtMessage(&p.Message), err)
	}
	return s.check(n)
}

func (s *sim) crashOrRestart() error {
	i := s.rng.IntN(len(s.nodes))
	n := s.nodes[i]
	if !n.down {
		s.note("%d crashes with %d submissions on their way", n.cfg.ID, len(n.queue))
		// Some of what was on its way may have reached the disk.
		k := 0
		if len(n.queue) > 0 {
			k = s.rng.IntN(len(n.queue) + 1)
		}
		for _, q := range n.queue[:k] {
			n.disk.write(q)
		}
		n.crash()
		s.stats.Crashes++
		s.failReads(n.cfg.ID)
		return nil
	}
	return s.restart(i)
}

func (s *sim) restart(i int) error {
	n := s.nodes[i]
	s.boots[i]++
	switch {
	case s.rotten == i:
		// Still damaged: the shell keeps that until it is healed.
		n.boot(true, s.rotTo)
	case s.rotten < 0 && len(n.disk.entries) > 0 && !s.hopelessWithout(i) && s.rng.IntN(4) == 0:
		// One rotten log at a time. The hard state is intact.
		keep := s.rng.IntN(len(n.disk.entries))
		s.rotTo = n.disk.entries[len(n.disk.entries)-1].Index
		if s.rng.IntN(2) == 0 {
			s.rotTo = 0
		}
		n.disk.entries = slices.Clone(n.disk.entries[:keep])
		n.boot(true, s.rotTo)
		if n.g.damaged {
			s.rotten = i
			s.stats.Rot++
		}
	default:
		n.bootReplayed(s.rng.IntN(2) == 0)
	}
	s.note("%d restarts: %+v", n.cfg.ID, n.g.Status())
	return s.check(n)
}

func (s *sim) changeConf(n *node) error {
	cc := ConfChange{Joint: s.rng.IntN(3) == 0, Stay: s.rng.IntN(4) == 0}
	c := n.g.Conf()
	if !c.Joint() || s.rng.IntN(4) == 0 {
		for range 1 + s.rng.IntN(3) {
			cc.Changes = append(cc.Changes, Change{ChangeKind(s.rng.IntN(3)), uint64(1 + s.rng.IntN(len(s.nodes)))})
		}
	}
	_, _, err := n.g.ProposeConf(cc)
	if err != nil {
		if !errors.Is(err, ErrConfPending) && !errors.Is(err, ErrInvalidConf) && !errors.Is(err, ErrTransferring) {
			return err
		}
		return nil
	}
	s.stats.Confs++
	if c = n.g.Conf(); c.Joint() {
		s.stats.Joint++
	}
	s.note("%d changes the membership to %s", n.cfg.ID, c.String())
	return s.check(n)
}

func (s *sim) read(n *node) error {
	commit := uint64(len(s.log))
	round, ready, err := n.g.ReadIndex()
	switch {
	case err != nil:
		return err
	case ready:
		if n.g.Commit() < commit {
			return fmt.Errorf("node %d reads at %d, but %d is committed", n.cfg.ID, n.g.Commit(), commit)
		}
		s.stats.Reads++
	default:
		s.reads = append(s.reads, simRead{n.cfg.ID, round, commit})
	}
	return s.check(n)
}

// readsDone checks linearizability: an answered read sees everything committed before it arrived.
func (s *sim) readsDone(n *node) error {
	for _, r := range n.rd.Reads {
		var rest []simRead
		for _, q := range s.reads {
			switch {
			case q.node != n.cfg.ID || q.round > r.Round || !r.Lost && q.round < r.Round:
				rest = append(rest, q)
			case r.Lost:
				s.stats.Lost++
			default:
				if r.Index < q.commit {
					return fmt.Errorf("stale read: node %d answers round %d at %d, but %d was committed when it arrived", n.cfg.ID, r.Round, r.Index, q.commit)
				}
				s.stats.Reads++
			}
		}
		s.reads = rest
	}
	return nil
}

func (s *sim) failReads(id uint64) {
	s.reads = slices.DeleteFunc(s.reads, func(q simRead) bool { return q.node == id })
}

// applied checks state-machine safety.
func (s *sim) applied(n *node, e Entry) error {
	s.stats.Applied++
	if e.Index > uint64(len(s.log)) {
		return fmt.Errorf("node %d applies entry %d, but only %d were ever committed", n.cfg.ID, e.Index, len(s.log))
	}
	d := &s.log[e.Index-1]
	if d.entry.Term != e.Term || string(d.entry.Data) != string(e.Data) || d.entry.Kind != e.Kind {
		return fmt.Errorf("state machine safety: node %d applies %s, committed is %s", n.cfg.ID, fmtEntry(e), fmtEntry(d.entry))
	}
	if e.Index == n.sm.index {
		if d.hash == 0 {
			d.hash = n.sm.hash
		}
		if d.hash != n.sm.hash {
			return fmt.Errorf("node %d has another state at %d", n.cfg.ID, e.Index)
		}
	}
	return nil
}

// check is called after everything that happened to n.
func (s *sim) check(n *node) error {
	g := n.g
	if err := g.Check(); err != nil {
		return err
	}
	if s.rotten >= 0 && s.nodes[s.rotten] == n && !g.damaged {
		s.rotten = -1
		s.stats.Healed++
		s.note("%d is healed", n.cfg.ID)
	}
	for uint64(len(s.leaders)) <= g.term {
		s.leaders = append(s.leaders, 0)
	}
	if g.IsLeader() && s.leaders[g.term] != n.cfg.ID {
		if other := s.leaders[g.term]; other != 0 {
			return fmt.Errorf("election safety: %d and %d lead term %d", other, n.cfg.ID, g.term)
		}
		s.leaders[g.term] = n.cfg.ID
		s.stats.Elections++
		s.note("%d leads term %d", n.cfg.ID, g.term)
		if err := s.checkCompleteness(n); err != nil {
			return err
		}
	}
	if hs := n.disk.state; g.IsLeader() && (hs.Term < g.term || hs.Term == g.term && hs.Vote != n.cfg.ID) {
		return fmt.Errorf("node %d leads term %d, its disk says %+v", n.cfg.ID, g.term, hs)
	}
	if g.Commit() > uint64(len(s.log)) && s.leaders[g.term] != n.cfg.ID {
		return fmt.Errorf("node %d follows with commit %d, but only %d are committed", n.cfg.ID, g.Commit(), len(s.log))
	}
	// It may have stepped down in the moment in which it committed its own removal.
	for i := uint64(len(s.log)) + 1; i <= g.Commit(); i++ {
		s.stats.Commits++
		e := *g.log.entry(i)
		s.note("committed %s by term %d", fmtEntry(e), g.term)
		s.log = append(s.log, decided{entry: e, by: g.term})
	}
	return nil
}

// checkCompleteness: a new leader has all that leaders of earlier terms committed.
func (s *sim) checkCompleteness(n *node) error {
	for i, d := range s.log {
		index := uint64(i + 1)
		if d.by >= n.g.term || index < n.g.log.first {
			continue
		}
		if t, ok := n.g.log.term(index); !ok || t != d.entry.Term {
			return fmt.Errorf("leader completeness: %d leads term %d without entry %s committed in term %d", n.cfg.ID, n.g.term, fmtEntry(d.entry), d.by)
		}
	}
	return nil
}

// checkLogMatching compares all pairs of logs: equal terms at an index mean equal logs up to there.
func (s *sim) checkLogMatching() error {
	for a, x := range s.nodes {
		for _, y := range s.nodes[a+1:] {
			if x.down || y.down {
				continue
			}
			lx, ly := &x.g.log, &y.g.log
			equal := false
			for i := min(lx.last(), ly.last()); i > 0 && i >= lx.first && i >= ly.first; i-- {
				ex, ey := lx.entry(i), ly.entry(i)
				same := ex.Term == ey.Term
				if equal && !same || same && (string(ex.Data) != string(ey.Data) || ex.Kind != ey.Kind) {
					return fmt.Errorf("log matching: nodes %d and %d at %d: %s and %s", x.cfg.ID, y.cfg.ID, i, fmtEntry(*ex), fmtEntry(*ey))
				}
				equal = equal || same
			}
		}
	}
	return nil
}

// heal lets everything work again: the group must elect a leader, take a proposal, and all its
// members must agree.
func (s *sim) heal() error {
	s.note("healing")
	clear(s.cut)
	s.loss = 0
	for i, n := range s.nodes {
		if n.down {
			if err := s.restart(i); err != nil {
				return err
			}
		}
	}
	for _, n := range s.nodes {
		n.g.Late(0)
	}
	proposed := uint64(0)
	for round := range 400 {
		if leader := s.pickLeader(); leader != nil && s.rotten >= 0 && round%100 == 99 {
			leader.g.StepDown() // where the end of the lost log is not known, only a new term heals
		}
		for _, n := range s.nodes {
			n.g.Tick()
			if err := s.check(n); err != nil {
				return err
			}
		}
		for range 30 {
			for _, n := range s.nodes {
				for k := 0; n.g.HasReady(); k++ {
					if k > 100 {
						return fmt.Errorf("node %d is never done", n.cfg.ID)
					}
					if err := s.ready(n); err != nil {
						return err
					}
				}
				n.persist(len(n.queue))
				if err := s.check(n); err != nil {
					return err
				}
				for len(n.need) > 0 {
					n.supply(5)
				}
			}
			net := s.net
			s.net = nil
			for _, p := range net {
				if err := s.deliverPacket(p); err != nil {
					return err
				}
			}
		}
		done := proposed > 0 && uint64(len(s.log)) >= proposed
		leader := s.pickLeader()
		if leader == nil || leader.g.Status().Damaged {
			continue
		}
		if index, _, err := leader.g.Propose(KindNormal, []byte("last")); err == nil && proposed == 0 {
			proposed = index
		}
		c := leader.g.Conf()
		for _, n := range s.nodes {
			if c.Member(n.cfg.ID) && (n.sm.index+5 < leader.sm.index || n.g.damaged) {
				done = false
			}
		}
		if done && !c.Joint() || done && !c.AutoLeave {
			return nil
		}
	}
	if s.hopeless() {
		return nil
	}
	state := ""
	for _, n := range s.nodes {
		state += fmt.Sprintf("\n%+v %v", n.g.Status(), n.g.Peers(nil))
	}
	return fmt.Errorf("no agreement after healing:%s", state)
}

// hopeless: without the damaged node there is no quorum, so nobody can be elected to heal it.
func (s *sim) hopeless() bool { return s.rotten >= 0 && s.hopelessWithout(s.rotten) }

func (s *sim) hopelessWithout(i int) bool {
	for _, n := range s.nodes {
		c := n.g.Conf()
		if len(c.Voters) > 0 && c.quorumVote(func(id uint64) int8 {
			if id == uint64(i+1) {
				return -1
			}
			return 1
		}) != voteWon {
			return true
		}
	}
	return false
}
