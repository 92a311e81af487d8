package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/raft"
	"fastpaca/wal"
)

// Node runs the 256 shards of one process: their loops, their common log, their snapshots. It is a value
// built from Options; several can live in one process as long as each has a directory of its own.
type Node struct {
	opt          Options
	wal          *wal.WAL
	loops        []*loop
	groups       [Shards]*group
	snaps        *snapshotter
	hub          *hub
	stats        stats
	inflight     atomic.Int64 // bytes of commands between Do and apply
	timeoutTicks int64
	stop         chan struct{}
	ticker       sync.WaitGroup
	recovered    atomic.Bool // groups is complete
	closing      atomic.Bool
	fatalOnce    sync.Once
	replay       ReplayStats
}

// tickInterval is the grain of elections, heartbeats and request deadlines.
const tickInterval = 50 * time.Millisecond

const (
	electionTicks  = 20 // 1 s without a leader before a campaign
	heartbeatTicks = 2  // 100 ms
)

// Options configure a Node. The zero value of a field means its default.
type Options struct {
	Dir string // data directory; required
	FS  wal.FS // default: the operating system's

	ID        uint64                       // raft id of this node, never 0; default 1
	Genesis   func(group uint32) raft.Conf // the membership that group was founded with, empty where this node joined later; default: ID alone
	Transport Transport                    // default: none, this node has no peers
	Placement Placement                    // state machine of PlacementGroup; default: none, the group is not driven

	ElectionTicks  int // least time without a leader before a campaign, in ticks of 50 ms; default 12
	HeartbeatTicks int // default 2

	// Manual: no goroutine runs after Open; the owner calls StepLoops, StepWAL, StepSnapshots and TickAll, all from
	// one goroutine, and uses Submit. Equal inputs in equal order then give equal outputs.
	Manual bool

	Loops          int           // default GOMAXPROCS/2, at least 1
	RequestTimeout time.Duration // how long a write may wait for its quorum; default 5 s
	InflightBytes  int64         // commands between arrival and apply, all shards; default 32 MiB; past it: overloaded
	MemoryBytes    int64         // message bytes held in memory; past it appends answer storage_full; default: no limit

	MaxCommandBytes int // largest command; default 9 MiB, room for a body of 8 MiB; at most InflightBytes and about SegmentBytes/2

	SegmentBytes  int64 // of the WAL; default 64 MiB
	WALSoftBytes  int64 // live log that asks for snapshots; default 1 GiB
	WALHardBytes  int64 // live log past which appends answer storage_full; default 16 GiB
	SnapshotBytes int64 // least log of a shard before a snapshot of it is due; default 4 MiB

	NowMs func() int64 // wall clock in milliseconds since 1970; default the system's
	Rand  func() uint64
	Fatal func(error)                        // the node cannot go on; must not return in the product; default panic
	Logf  func(event string, keyvals ...any) // lifecycle log; default silent
}

func (o *Options) setDefaults() {
	setDefault(&o.FS, wal.OS())
	// Half of the processors: the other half parses, counts and answers. With two loops on two processors the
	// same load cost 7% more processor time (PERF.md): twice the wake-ups, batches half as large.
	setDefault(&o.Loops, max(1, runtime.GOMAXPROCS(0)/2))
	setDefault(&o.RequestTimeout, 5*time.Second)
	setDefault(&o.InflightBytes, 32<<20)
	setDefault(&o.MaxCommandBytes, 9<<20)
	setDefault(&o.SegmentBytes, 64<<20)
	setDefault(&o.WALSoftBytes, 1<<30)
	setDefault(&o.WALHardBytes, 16<<30)
	setDefault(&o.SnapshotBytes, 4<<20)
	if o.NowMs == nil {
		o.NowMs = func() int64 { return time.Now().UnixMilli() }
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	// What is in flight must fit into the room that the WAL keeps back when the disk is full.
	o.InflightBytes = min(o.InflightBytes, o.SegmentBytes/2)
	// What could never be taken is too large, and not an overload; and the WAL holds no record of more than half a segment.
	o.MaxCommandBytes = int(min(int64(o.MaxCommandBytes), o.InflightBytes, o.SegmentBytes/2-walEntryOverhead))
}

// walEntryOverhead is no less than what the WAL's record adds to an entry's data (wal.MaxEntryBytes).
const walEntryOverhead = 64

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Open recovers the node's state from its directory (newest snapshot of each shard, then the log) and
// starts its loops. It returns when every shard has been asked to elect itself; Ready says when they serve.
// Errors name the file, and the offset where there is one: a node never guesses about damaged data.
func Open(opt Options) (*Node, error) {
	opt.setDefaults()
	n := &Node{opt: opt, stop: make(chan struct{}), timeoutTicks: int64((opt.RequestTimeout + tickInterval - 1) / tickInterval)}
	n.hub = newHub()
	for range opt.Loops {
		n.loops = append(n.loops, newLoop(n))
	}
	if err := n.recover(); err != nil {
		return nil, err
	}
	n.snaps = newSnapshotter(n)
	n.start()
	return n, nil
}

func (n *Node) start() {
	go n.hub.run()
	go n.snaps.run()
	for _, l := range n.loops {
		go l.run(n.stop)
		l.box.do(func() {
			for _, g := range l.groups {
				if g.snap.index > g.snap.covered {
					g.cutLog()
				}
				g.raft.Campaign()
				l.touch(g)
			}
		})
	}
	n.ticker.Add(1)
	go n.tick()
}

func (n *Node) tick() {
	defer n.ticker.Done()
	t := time.NewTicker(tickInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			for _, l := range n.loops {
				l.box.tick()
			}
			n.wal.ScaleSoftLimit(n.stats.stateBytes.Load())
		case <-n.stop:
			return
		}
	}
}

// fatal reports an error after which this process must not go on, once.
func (n *Node) fatal(err error) { n.fatalOnce.Do(func() { n.opt.Fatal(err) }) }

// Do takes the command in r through the log of the shard and blocks until its outcome is known or its
// time is up; r.Result then holds the answer. It waits at most RequestTimeout plus one tick.
//
// With CodeTimeout the command may still be applied later; with every other failure nothing was written.
func (n *Node) Do(shard uint32, r *Request) {
	g := n.groups[shard]
	code, alone := n.admit(len(r.Cmd))
	if code != CodeOK {
		r.Result.Code = code
		return
	}
	r.group = g
	code, first := g.loop.box.request(r)
	if code != CodeOK {
		n.inflight.Add(-int64(len(r.Cmd)))
		r.Result.Code = code
		return
	}
	if first {
		g.loop.wake(alone)
	}
	<-r.done
}

// admit takes size bytes out of the node's budget, or says why there is no room. alone: nothing else is under way.
func (n *Node) admit(size int) (code Code, alone bool) {
	switch {
	case n.closing.Load():
		return CodeShuttingDown, false
	case size > n.opt.MaxCommandBytes:
		return CodeTooLarge, false
	case n.wal.Full():
		return CodeStorageFull, false
	case n.opt.MemoryBytes > 0 && n.stats.stateBytes.Load() > n.opt.MemoryBytes:
		return CodeStorageFull, false
	}
	now := n.inflight.Add(int64(size))
	if now > n.opt.InflightBytes {
		n.inflight.Add(-int64(size))
		return CodeOverloaded, false
	}
	return CodeOK, now == int64(size)
}

// Read fills v with the state of a context, linearizably: what it shows is no older than any write
// acknowledged before the call.
//
// A group of one voter that leads and has committed in its term needs no round to know that: nobody else
// can have committed anything, and a write is applied before it is acknowledged.
func (n *Node) Read(id []byte, v *View) Code {
	c, code := n.Context(id)
	if code == CodeOK {
		c.View(v)
	}
	return code
}

// Context returns the live context for streaming from it. The same guarantee as Read.
func (n *Node) Context(id []byte) (*Context, Code) {
	g := n.groups[Of(id)]
	if !g.serving.Load() {
		return nil, CodeUnavailable
	}
	c := g.machine.Lookup(id)
	if c == nil {
		return nil, CodeNotFound
	}
	return c, CodeOK
}

// stallReady is how long the disk may leave a write unanswered before the node says that it is not ready.
const stallReady = 2 * time.Second

// Ready says whether every shard serves, and if not, why.
func (n *Node) Ready() (bool, string) {
	if n.closing.Load() {
		return false, "shutting_down"
	}
	for _, g := range n.groups {
		if !g.serving.Load() {
			return false, "raft_sync"
		}
	}
	if n.wal.Stalled() > stallReady {
		return false, "disk_stalled"
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
	// Every request is answered within its timeout: by its outcome, or by the tick.
	for deadline := time.Now().Add(n.opt.RequestTimeout + 2*tickInterval); n.inflight.Load() > 0; {
		if time.Now().After(deadline) {
			n.opt.Logf("shutdown_incomplete", "inflight_bytes", n.inflight.Load())
			break
		}
		time.Sleep(time.Millisecond)
	}
	n.snaps.close()
	close(n.stop)
	n.ticker.Wait()
	for _, l := range n.loops {
		<-l.done
	}
	n.hub.close()
	if err := n.wal.Close(); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}
