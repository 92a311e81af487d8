package shard

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/jepsen/planted"
	"fastpaca/raft"
	"fastpaca/wal"
)

// recovered is what one shard's snapshot and log add up to while the log is being read.
type recovered struct {
	id      uint32
	self    uint64    // this node
	machine *Machine  // nil for the placement group
	place   Placement // nil for shards
	state   wal.HardState

	snapConf raft.Conf         // membership at the snapshot, or that of the founding
	confs    []raft.ConfRecord // of entries between it and applied
	conf     raft.Conf         // the newest in the log so far, committed or not

	snapIndex, snapTerm  uint64
	foreign              bool // the log has not got the snapshot's last entry, but another history
	applied, appliedTerm uint64
	cut                  uint64 // the log's own word of where it was cut

	// solo: this node is the only voter of conf. Then whatever stands in its log is committed: nobody else can
	// overwrite it, and the election that follows would commit all of it anyway. An entry that brings another voter in
	// ends that with itself, since it needs their votes; one that makes this node the only voter begins it with itself:
	// being durable here it has its quorum.
	solo bool

	left   bool   // there is such a mark
	leftTo uint64 // this node forgot the group once, with a log that ended here (Forget); 0: it never did

	// tail holds the entries that are not known to be committed, tail[head:] being live. An entry's
	// record carries the commit index of its time, so that the tail stays about one batch long however
	// long the log is.
	tail  []raft.Entry
	head  int
	owned int // tail[:owned] does not refer to the log's read buffers

	snapBytes int64 // Machine.Bytes of the snapshot
	logBytes  int64 // of the log behind it
	res       Result
	err       error

	told func(group uint32, e *raft.Entry) // Options.Applied, in manual mode
}

// entry takes the next record of the group's log. Called in log order.
func (r *recovered) entry(commit uint64, e wal.Entry) {
	if r.err != nil {
		return
	}
	if e.Index <= r.snapIndex {
		r.underSnapshot(&e)
		return
	}
	if e.Index <= r.applied {
		return // a copy-forward of what has been applied
	}
	if r.foreign || e.Term < r.appliedTerm {
		return // left over from a log that a snapshot replaced, and the crash came before the WAL heard of it (raft.Restored)
	}
	if live := r.tail[r.head:]; len(live) > 0 && e.Index <= live[len(live)-1].Index {
		// A new leader overwrote the end of the log. Only what was not committed can be overwritten.
		if e.Index < live[0].Index {
			r.err = fmt.Errorf("%s: the log goes back to index %d, below entry %d that waits for its commit", groupName(r.id), e.Index, live[0].Index)
			return
		}
		r.tail = r.tail[:r.head+int(e.Index-live[0].Index)]
		r.owned = min(r.owned, len(r.tail))
		r.newestConf()
	}
	if want := r.applied + uint64(len(r.tail)-r.head) + 1; e.Index != want {
		r.err = fmt.Errorf("%s: the log continues at index %d, but %d comes next: part of the log or the newest snapshot "+
			"(index %d) is missing; restore the data directory from a backup or a replica", groupName(r.id), e.Index, want, r.snapIndex)
		return
	}
	r.logBytes += int64(len(e.Data)) + entryOverhead
	r.tail = append(r.tail, raft.Entry{Index: e.Index, Term: e.Term, Kind: raft.EntryKind(e.Kind), Data: e.Data})
	if raft.EntryKind(e.Kind) == raft.KindConf {
		r.newestConf()
	}
	if r.solo && e.Index > r.leftTo { // of what was forgotten, an old membership says nothing
		commit = e.Index
	}
	r.applyTo(commit)
}

// underSnapshot takes an entry that the snapshot covers. What the log goes on with belongs to the snapshot's history only if
// the log has the snapshot's own last entry; terms alone do not tell: behind another one, there may be any that are newer.
// The log makes the same of it when it is told of the snapshot (wal.Batch.Snapshot), and both must agree on what is left.
func (r *recovered) underSnapshot(e *wal.Entry) {
	r.foreign = e.Index < r.snapIndex || e.Term != r.snapTerm
	if r.head < len(r.tail) && r.applied == r.snapIndex { // written over, and what followed went with it
		r.tail, r.head, r.owned = r.tail[:0], 0, 0
		r.newestConf()
	}
}

// newestConf finds the membership in force at the end of the log.
func (r *recovered) newestConf() {
	r.conf = r.snapConf
	if n := len(r.confs); n > 0 {
		r.conf = r.confs[n-1].Conf
	}
	for i := len(r.tail) - 1; i >= r.head; i-- {
		if e := &r.tail[i]; e.Kind == raft.KindConf {
			if r.conf, r.err = raft.DecodeConf(e.Data); r.err != nil {
				r.err = fmt.Errorf("%s: the log entry at index %d: %w", groupName(r.id), e.Index, r.err)
			}
			break
		}
	}
	r.solo = soleVoter(&r.conf, r.self)
}

func soleVoter(c *raft.Conf, id uint64) bool {
	return len(c.Voters) == 1 && c.Voters[0] == id && len(c.Outgoing) == 0
}

// applyTo runs the entries up to commit through the state machine.
func (r *recovered) applyTo(commit uint64) {
	for r.head < len(r.tail) && r.tail[r.head].Index <= commit {
		e := &r.tail[r.head]
		if r.told != nil {
			r.told(r.id, e)
		}
		if planted.On(planted.ApplyTwice) && e.Index%16 == 0 {
			_ = r.applyEntry(e)
		}
		if err := r.applyEntry(e); err != nil {
			r.err = fatalApply(r.id, e.Index, err)
			return
		}
		r.applied, r.appliedTerm = e.Index, e.Term
		e.Data = nil
		r.head++
	}
	if r.head == len(r.tail) {
		r.tail, r.head, r.owned = r.tail[:0], 0, 0
	} else if r.head > 4096 {
		r.tail, r.owned, r.head = append(r.tail[:0], r.tail[r.head:]...), max(r.owned-r.head, 0), 0
	}
}

func (r *recovered) applyEntry(e *raft.Entry) error {
	switch {
	case e.Kind == raft.KindConf:
		c, err := raft.DecodeConf(e.Data)
		r.confs = append(r.confs, raft.ConfRecord{Index: e.Index, Conf: c})
		return err
	case e.Kind != raft.KindNormal:
		return nil
	case r.place != nil:
		_, err := r.place.Apply(e.Index, e.Data)
		return err
	default:
		return r.machine.Apply(e.Index, e.Data, &r.res)
	}
}

// last is the end of the group's log.
func (r *recovered) last() uint64 { return r.applied + uint64(len(r.tail)-r.head) }

// own copies what waits in the tail out of the log's read buffers, which are about to be used again.
func (r *recovered) own() {
	for i := max(r.head, r.owned); i < len(r.tail); i++ {
		r.tail[i].Data = append([]byte(nil), r.tail[i].Data...)
	}
	r.owned = len(r.tail)
}

// replayItem is one thing that the log says, on its way to the worker of its group.
type replayItem struct {
	group  *recovered
	commit uint64
	entry  wal.Entry
	state  bool // commit alone
	buffer *replayBuffer
}

// replayBuffer is a read buffer whose entries are all on their way; the last worker to get there gives it back.
type replayBuffer struct {
	workers atomic.Int32
	done    func()
}

// replayChunk and replayBytes are how many items, and bytes of entries, travel to a worker at once, replayDepth how
// many such chunks may wait: together they bound what the reader may be ahead of the slowest worker.
const (
	replayChunk = 512
	replayBytes = 256 << 10
	replayDepth = 8
)

// recoveryWorkers is how many goroutines rebuild the state: nobody else wants the processors yet.
func recoveryWorkers() int { return runtime.GOMAXPROCS(0) }

// replayer feeds the log, read by one goroutine, to recoveryWorkers appliers. Without workers it applies itself.
type replayer struct {
	groups  []*recovered
	err     error
	filling [][]replayItem
	bytes   []int // of entries in filling
	queues  []chan []replayItem
	spare   chan []replayItem
	workers sync.WaitGroup
	stats   *ReplayStats
}

func newReplayer(groups []*recovered, workers int, stats *ReplayStats) *replayer {
	p := &replayer{groups: groups, stats: stats, spare: make(chan []replayItem, workers*(replayDepth+2))}
	p.bytes = make([]int, workers)
	for w := range workers {
		q := make(chan []replayItem, replayDepth)
		p.queues = append(p.queues, q)
		p.filling = append(p.filling, make([]replayItem, 0, replayChunk))
		p.workers.Add(1)
		go func() {
			defer p.workers.Done()
			for items := range q {
				for i := range items {
					if it := &items[i]; it.buffer != nil {
						p.leave(w, it.buffer)
					} else {
						it.run()
					}
				}
				clear(items)
				select {
				case p.spare <- items[:0]:
				default:
				}
			}
		}()
	}
	return p
}

func (it *replayItem) run() {
	if it.state {
		it.group.applyTo(it.commit)
	} else {
		it.group.entry(it.commit, it.entry)
	}
}

// Release implements wal.Releaser: a note behind the buffer's entries in every worker's queue.
func (p *replayer) Release(done func()) {
	if len(p.queues) == 0 {
		for _, r := range p.groups {
			r.own()
		}
		done()
		return
	}
	b := &replayBuffer{done: done}
	b.workers.Store(int32(len(p.queues)))
	for w := range p.queues {
		p.push(w, replayItem{buffer: b})
	}
}

// leave is worker w's word that it is behind the entries of b. What of them still waits for its commit is copied.
func (p *replayer) leave(w int, b *replayBuffer) {
	for id := w; id < len(p.groups); id += len(p.queues) {
		p.groups[id].own()
	}
	if b.workers.Add(-1) == 0 {
		b.done()
	}
}

func (p *replayer) add(it replayItem) {
	if len(p.queues) == 0 {
		it.run()
		return
	}
	p.push(int(it.group.id)%len(p.queues), it)
}

func (p *replayer) push(w int, it replayItem) {
	p.filling[w] = append(p.filling[w], it)
	p.bytes[w] += len(it.entry.Data)
	if len(p.filling[w]) == replayChunk || p.bytes[w] >= replayBytes {
		p.flush(w)
	}
}

func (p *replayer) flush(w int) {
	p.queues[w] <- p.filling[w]
	p.bytes[w] = 0
	select {
	case p.filling[w] = <-p.spare:
	default:
		p.filling[w] = make([]replayItem, 0, replayChunk)
	}
}

// finish waits until everything is applied and returns the first error.
func (p *replayer) finish() error {
	for w := range p.queues {
		p.flush(w)
		close(p.queues[w])
	}
	p.workers.Wait()
	if p.err != nil {
		return p.err
	}
	for _, r := range p.groups {
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

func (p *replayer) known(group uint32) *recovered {
	if int(group) < len(p.groups) && (group != PlacementGroup || p.groups[group].place != nil) {
		return p.groups[group]
	}
	return nil // the placement group, which a node without a cluster does not have
}

// Snapshot implements wal.Handler.
func (p *replayer) Snapshot(group uint32, index, term uint64, meta []byte) {
	r := p.known(group)
	if r == nil {
		return
	}
	r.cut = index
	if index > r.snapIndex && p.err == nil {
		p.err = fmt.Errorf("%s: the log was cut at index %d because a snapshot covered it, but the newest snapshot file "+
			"covers only index %d: the file is missing from the data directory; restore it from a backup or a replica", groupName(group), index, r.snapIndex)
	}
}

// State implements wal.Handler.
func (p *replayer) State(group uint32, hs wal.HardState) {
	if r := p.known(group); r != nil {
		r.state = hs
		p.add(replayItem{group: r, commit: hs.Commit, state: true})
	}
}

// Entry implements wal.Handler.
func (p *replayer) Entry(group uint32, commit uint64, e wal.Entry) {
	if r := p.known(group); r != nil {
		p.stats.Entries++
		p.stats.LogBytes += int64(len(e.Data))
		p.add(replayItem{group: r, commit: commit, entry: e})
	}
}

// recover rebuilds every shard from its newest snapshot and the log behind it, and opens the log for
// writing.
func (n *Node) recover() error {
	began := time.Now()
	if err := n.openHistory(); err != nil {
		return err
	}
	if err := n.clearParking(); err != nil {
		return fmt.Errorf("parking files: %w", err)
	}
	groups, err := n.loadSnapshots()
	if err != nil {
		return err
	}
	workers := recoveryWorkers()
	if n.opt.Manual {
		workers = 0 // a crash of the simulated machine, a panic out of its disk, must leave nothing behind
		for _, r := range groups {
			r.told = n.opt.Applied
		}
	}
	replay := newReplayer(groups, workers, &n.replay)
	o := wal.Options{
		FS: n.opt.FS, Dir: walDir(n.opt.Dir), Groups: groupCount,
		SegmentBytes: n.opt.SegmentBytes, SoftLimitBytes: n.opt.WALSoftBytes, HardLimitBytes: n.opt.WALHardBytes,
		RequestSnapshot: n.requestSnapshots,
		Fatal:           func(err error) { n.fatal(fmt.Errorf("the log cannot be written any more: %w", err)) },
		Logf:            n.opt.Logf,
	}
	if n.opt.Manual {
		o.Manual, o.Rand = true, n.opt.Rand
		o.Now = func() time.Time { return time.Unix(0, n.opt.Nanos()) }
	}
	log, err := wal.Open(o, replay)
	if ferr := replay.finish(); err == nil && ferr != nil {
		_ = log.Close() // nothing was written; the recovery error is the one to tell
		return ferr
	}
	if err != nil {
		return err
	}
	n.wal = log
	for _, r := range groups {
		if r.machine == nil && r.place == nil {
			continue // the placement group of a node without a cluster
		}
		if err := n.addGroup(r); err != nil {
			_ = log.Close()
			return err
		}
	}
	n.recovered.Store(true)
	n.replay.Took = time.Since(began)
	return nil
}

// addGroup puts a recovered group onto its loop.
func (n *Node) addGroup(r *recovered) error {
	l := n.loops[int(r.id)%len(n.loops)]
	rg, err := raft.New(n.raftConfig(r.id), raft.Restored{
		// The commit index can be that of entries which the crash tore off: they were never acknowledged by this node.
		HardState: raft.HardState{Term: r.state.Term, Vote: r.state.Vote, Commit: min(r.state.Commit, r.last())},
		Snapshot:  raft.SnapshotMeta{Index: r.snapIndex, Term: r.snapTerm, Conf: r.snapConf},
		Applied:   r.applied, AppliedTerm: r.appliedTerm,
		Confs:   r.confs,
		Entries: r.tail[r.head:],
		Damaged: r.last() < r.leftTo, DamagedTo: r.leftTo,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", groupName(r.id), err)
	}
	g := &group{
		id: r.id, loop: l, raft: rg, place: r.place, leftTo: r.leftTo,
		applied: r.applied, appliedTerm: r.appliedTerm, logBytes: r.logBytes, oldApplied: r.applied,
	}
	g.marked.Store(g.leftTo > 0)
	g.snap.state = r.snapBytes
	g.snap.index, g.snap.term, g.snap.covered = r.snapIndex, r.snapTerm, r.cut
	if r.machine != nil {
		if err := n.dropLeftovers(r); err != nil {
			return err
		}
		if err := n.checkHistory(r); err != nil {
			return err
		}
		g.setMachine(r.machine)
	}
	n.groups[r.id] = g
	l.groups = append(l.groups, g)
	g.publishRole()
	return nil
}

func (n *Node) raftConfig(group uint32) raft.Config {
	return raft.Config{
		ID: n.opt.ID, Group: group, ElectionTicks: n.opt.ElectionTicks, HeartbeatTicks: n.opt.HeartbeatTicks,
		MaxEntryBytes: n.opt.MaxCommandBytes, MaxUncommittedBytes: int(n.opt.InflightBytes),
		MaxInflightMsgs: windowMessages, MaxInflightBytes: windowBytes, MaxMessageBytes: n.opt.MessageBytes,
		RetainBytes: n.opt.RetainBytes, LazyCommit: true,
		Rand: n.opt.Rand,
	}
}
