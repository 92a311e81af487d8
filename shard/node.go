package shard

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/shard/history"
	"fastpaca/shard/pulse"
	"fastpaca/wal"
)

// Node runs this process's part in all groups, the 256 shards and the placement group: their loops, their common log,
// their snapshots. It is a value built from Options; several can live in one process as long as each has a directory of
// its own.
type Node struct {
	opt          Options
	wal          *wal.WAL
	loops        []*loop
	groups       [groupCount]*group // the last is nil where there is no Placement
	snaps        *snapshotter
	history      *history.Store
	spills       *spiller
	parks        *parker
	heals        *healer
	fetcher      fetcher
	receiving    chan struct{} // one token for each snapshot that may be received at a time
	hub          *hub
	leaders      leaders
	stats        stats
	mapRefused   atomic.Uint64 // index of the placement group's snapshot that was unreadable last
	stalled      atomic.Bool   // the disk hangs; looked at once per tick
	inflight     atomic.Int64  // bytes of commands between Do and apply
	wakes        atomic.Int64  // goroutines of SubmitAll
	timeoutTicks int64
	stop         chan struct{}
	ticker       sync.WaitGroup
	recovered    atomic.Bool // groups is complete
	closing      atomic.Bool
	fatalOnce    sync.Once
	replay       ReplayStats
}

// Open recovers the node's state from its directory (newest snapshot of each shard, then the log) and
// starts its loops. It returns when every shard has been asked to elect itself; Ready says when they serve.
// Errors name the file, and the offset where there is one: a node never guesses about damaged data.
func Open(opt Options) (*Node, error) {
	opt.setDefaults()
	n := &Node{
		opt: opt, stop: make(chan struct{}), timeoutTicks: ticksOf(opt.RequestTimeout),
		receiving: make(chan struct{}, receivesMax),
	}
	n.fetcher.init(n)
	n.heals = newHealer(n) // before: history may be found damaged while it is opened
	n.hub = newHub()
	for range opt.Loops {
		n.loops = append(n.loops, newLoop(n))
	}
	if err := n.recover(); err != nil {
		if n.history != nil {
			n.history.Close()
		}
		return nil, err
	}
	n.snaps = newSnapshotter(n)
	n.spills = newSpiller(n)
	n.parks = newParker(n)
	n.start()
	return n, nil
}

func (n *Node) start() {
	for _, l := range n.loops {
		// Here and not in begin: a message that is there at the first pass comes before it, and brings entries.
		l.cutLogs()
		l.box.do(l.begin)
	}
	if n.opt.Manual {
		return
	}
	go n.hub.run()
	go n.snaps.run()
	go n.spills.run()
	go n.parks.run()
	go n.heals.run()
	go n.fetcher.run()
	for _, l := range n.loops {
		go l.run(n.stop)
	}
	n.ticker.Add(1)
	go n.ticks()
}

// begin is a loop's first work. A group of one elects itself; in any other, three nodes that start together and all
// campaign at once would only take votes away from one another.
func (l *loop) begin() {
	for _, g := range l.groups {
		if g.raft.SoleVoter() {
			g.raft.Campaign()
		}
		l.touch(g)
	}
}

// cutLogs tells the WAL of snapshots that it has not heard of. They go with the loop's first batch, before everything else.
func (l *loop) cutLogs() {
	for _, g := range l.groups {
		if g.snap.index > g.snap.covered {
			g.cutLog()
		}
	}
}

func (n *Node) ticks() {
	defer n.ticker.Done()
	t := pulse.NewTicker(tickInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			t.Next()
			n.tick()
		case <-n.stop:
			return
		}
	}
}

// tick looks at the disk and gives every loop a tick.
func (n *Node) tick() {
	n.stalled.Store(n.wal.Stalled() > diskStall)
	for _, l := range n.loops {
		l.box.tick()
	}
	n.wal.ScaleSoftLimit(n.stats.stateBytes.Load())
}

// fatal reports an error after which this process must not go on, once.
func (n *Node) fatal(err error) { n.fatalOnce.Do(func() { n.opt.Fatal(err) }) }

// Do takes the command in r through the log of the group and blocks until its outcome is known or its
// time is up; r.Result then holds the answer. It waits at most RequestTimeout plus one tick.
//
// With CodeTimeout the command may still be applied later; with every other failure nothing was written.
// CodeNotLeader: another node leads the group.
func (n *Node) Do(group uint32, r *Request) {
	r.then = nil
	if n.enter(group, r) {
		<-r.done
	}
}

// Submit is Do without waiting: r.Done(r) is called when the outcome is known, by the loop, or before Submit returns
// if the request is refused at once. It must not block.
func (n *Node) Submit(group uint32, r *Request) {
	r.then = r.Done
	if !n.enter(group, r) {
		r.Done(r)
	}
}

// enter leaves r with its loop. False: it is refused and r.Result says why.
func (n *Node) enter(group uint32, r *Request) bool {
	g := n.group(group)
	if g == nil {
		r.Result.Code = CodeUnavailable
		return false
	}
	if code := g.preload(r.Cmd); code != CodeOK {
		r.Result.Code = code
		return false
	}
	code, alone := n.admit(len(r.Cmd), group == PlacementGroup || frees(r.Cmd))
	if code != CodeOK {
		r.Result.Code = code
		return false
	}
	r.group = g
	code, first := g.loop.box.request(r)
	if code != CodeOK {
		n.inflight.Add(-int64(len(r.Cmd)))
		r.Result.Code = code
		return false
	}
	if first {
		g.loop.wake(alone)
	}
	return true
}

// admit takes size bytes out of the node's budget, or says why there is no room. alone: nothing else is under way.
//
// What is needed to make room passes when there is none: what is archived can leave memory, and a cluster that cannot
// change its placement could not be given more nodes. The log keeps half a segment for it when it is full.
func (n *Node) admit(size int, needed bool) (code Code, alone bool) {
	switch {
	case n.closing.Load():
		return CodeShuttingDown, false
	case size > n.opt.MaxCommandBytes:
		return CodeTooLarge, false
	case needed:
	case n.wal.Full():
		return CodeStorageFull, false
	case n.opt.MemoryBytes > 0 && n.stats.memoryBytes.Load() > n.opt.MemoryBytes:
		return CodeStorageFull, false
	}
	now := n.inflight.Add(int64(size))
	if now > n.opt.InflightBytes {
		n.inflight.Add(-int64(size))
		return CodeOverloaded, false
	}
	return CodeOK, now == int64(size)
}

// diskStall is how long the disk may leave a write unanswered before the node says that it is not ready and gives its
// leaderships away. A healthy disk under load answers within a tenth of it; clients wait 2.5 s for a leader.
const diskStall = 2 * time.Second

// Ready says whether every group that this node is a member of has a leader, so that this node can serve requests for
// it or say who does, and if not, why.
func (n *Node) Ready() (bool, string) { return n.ReadyFor(func(uint32) bool { return true }) }

// ReadyFor is Ready for the groups that matter only. A node that was removed from a group does not hear of that from the
// group itself, which goes on without it: it only misses the leader.
func (n *Node) ReadyFor(matters func(group uint32) bool) (bool, string) {
	if n.closing.Load() {
		return false, "shutting_down"
	}
	if n.wal.Stalled() > diskStall {
		return false, "disk_stalled" // before raft_sync, which can follow from it
	}
	for _, g := range n.groups {
		if g == nil || !g.member.Load() || g.serving.Load() {
			continue
		}
		if (g.leaderNow.Load() == 0 || n.opt.Transport == nil) && matters(g.id) {
			return false, "raft_sync"
		}
	}
	return true, ""
}

// Close refuses new writes, waits until those under way are answered, and closes the log. Every
// acknowledged write is on disk.
func (n *Node) Close() error {
	if !n.closing.CompareAndSwap(false, true) {
		return errors.New("shard: the node is closed already")
	}
	for _, l := range n.loops {
		l.box.close()
	}
	if n.opt.Manual {
		n.finish()
	} else {
		n.shutdown()
	}
	for _, g := range n.groups {
		if g != nil && g.machine != nil {
			g.machine.drop()
		}
	}
	n.history.Close()
	if err := n.wal.Close(); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}

// shutdown ends the goroutines.
func (n *Node) shutdown() {
	// Every request is answered within its timeout: by its outcome, or by the tick.
	for deadline := time.Now().Add(n.opt.RequestTimeout + 2*tickInterval); n.inflight.Load() > 0; {
		if time.Now().After(deadline) {
			n.opt.Logf("shutdown_incomplete", "inflight_bytes", n.inflight.Load())
			break
		}
		time.Sleep(time.Millisecond)
	}
	n.snaps.close()
	n.spills.close()
	n.parks.close()
	n.heals.close()
	close(n.stop)
	n.ticker.Wait()
	for _, l := range n.loops {
		<-l.done
	}
	<-n.fetcher.done
	n.hub.close()
}
