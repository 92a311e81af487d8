package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"

	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"
)

// Config says what to run.
type Config struct {
	Seed    uint64
	Nodes   int       // 0: the seed says
	Log     io.Writer // what happens, in words; nil: nobody reads it
	Verbose bool      // every frame and step, too
}

// Counts say how much happened: a run in which nothing did proves nothing.
type Counts struct {
	Boots, Crashes, CrashesInSync, Pauses, Partitions, PowerCuts, Wiped, DiskErrors, FullDisks                                 int
	Messages, Lost, Cut, Replayed                                                                                              int
	SnapshotsSent, SnapshotsReceived                                                                                           int
	Committed, Confs, Transfers, Elections                                                                                     int
	Writes, Acked, Refused, Unknown, Conflicts, Repeats, Reads, ReadsFailed, Events, Histories, Forgotten, Closed, Gaps, Older int
}

// Add sums up runs.
func (a *Counts) Add(b *Counts) {
	for _, p := range [...]struct{ a, b *int }{
		{&a.Boots, &b.Boots}, {&a.Crashes, &b.Crashes}, {&a.CrashesInSync, &b.CrashesInSync}, {&a.Pauses, &b.Pauses},
		{&a.Partitions, &b.Partitions}, {&a.PowerCuts, &b.PowerCuts}, {&a.Wiped, &b.Wiped}, {&a.DiskErrors, &b.DiskErrors},
		{&a.FullDisks, &b.FullDisks}, {&a.Messages, &b.Messages}, {&a.Lost, &b.Lost}, {&a.Cut, &b.Cut}, {&a.Replayed, &b.Replayed},
		{&a.SnapshotsSent, &b.SnapshotsSent}, {&a.SnapshotsReceived, &b.SnapshotsReceived}, {&a.Committed, &b.Committed},
		{&a.Confs, &b.Confs}, {&a.Transfers, &b.Transfers}, {&a.Elections, &b.Elections}, {&a.Writes, &b.Writes},
		{&a.Acked, &b.Acked}, {&a.Refused, &b.Refused}, {&a.Unknown, &b.Unknown}, {&a.Conflicts, &b.Conflicts},
		{&a.Repeats, &b.Repeats}, {&a.Reads, &b.Reads}, {&a.ReadsFailed, &b.ReadsFailed}, {&a.Events, &b.Events}, {&a.Histories, &b.Histories}, {&a.Forgotten, &b.Forgotten}, {&a.Closed, &b.Closed}, {&a.Gaps, &b.Gaps}, {&a.Older, &b.Older},
	} {
		*p.a += *p.b
	}
}

// World is one run.
type World struct {
	clock
	cfg         Config
	rng         *rand.Rand
	swarm       swarm
	machines    []*machine
	net         *network
	model       model
	groups      []*truth
	ops         map[uint64]*op // by identity; looked up only
	clients     []*client
	streams     []*stream
	count       Counts
	hash        digest
	scratch     []byte
	failed      error
	calm        bool // the second phase: no faults any more
	clientsStop bool

	founders *place.Genesis
	maps     map[uint64]digest // placement group: index -> hash of the map after it; looked up only
	newest   *place.Map
	drained  int64 // when a command to drain was given last

	firstControl uint32 // groups from here on are not shards
	nextOp       uint64
}

// New draws a world from a seed.
func New(cfg Config) *World {
	w := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x5eed)), ops: map[uint64]*op{}, firstControl: shard.PlacementGroup,
	}
	w.swarm = drawSwarm(w.rng, cfg.Nodes)
	w.swarm.tailKeep = drawTail(cfg.Seed)
	w.swarm.parkAfter = drawPark(cfg.Seed)
	w.found()
	w.drawContexts()
	for i := range w.swarm.nodes + w.swarm.spares {
		w.machines = append(w.machines, &machine{
			w: w, index: i, name: fmt.Sprintf("n%d", i+1), id: uint64(i + 1), disk: newDisk(i),
			rng: rand.New(rand.NewPCG(cfg.Seed, uint64(i+1))), heard: map[uint64]int64{},
			diskDelay: w.swarm.diskDelay, tickEvery: w.between(45*millisecond, 55*millisecond),
		})
		if m := w.machines[i]; w.swarm.orchestrated && i >= w.swarm.nodes {
			m.id = 0 // joins some time
		}
	}
	w.net = newNetwork(w, w.swarm.net)
	for i := range w.swarm.clients {
		w.clients = append(w.clients, &client{w: w, index: i})
	}
	for i := range w.model.contexts {
		w.streams = append(w.streams, &stream{w: w, ctx: w.model.contexts[i]})
	}
	return w
}

// drawContexts chooses ids that fall into the shards that this run uses. The others have no members and cost nothing.
func (w *World) drawContexts() {
	for s := range w.swarm.shards {
		conf := w.initialConf(uint32(s))
		w.groups = append(w.groups, newTruth(uint32(s), conf))
	}
	w.groups = append(w.groups, newTruth(shard.PlacementGroup, w.initialConf(shard.PlacementGroup)))
	for i := 0; len(w.model.contexts) < w.swarm.contexts; i++ {
		id := fmt.Appendf(nil, "ctx-%d", i)
		if s := shard.Of(id); int(s) == len(w.model.contexts)%w.swarm.shards {
			w.model.contexts = append(w.model.contexts, newModelContext(id, len(w.model.contexts), w.swarm.tailKeep))
		}
	}
}

// found makes the genesis of the cluster.
func (w *World) found() {
	var nodes []place.Node
	for i := range w.swarm.nodes {
		name := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, place.Node{Name: name, Incarnation: name + ".0", Addr: name + ":4000"})
	}
	g, err := place.NewGenesis("sim", nodes)
	if err != nil {
		panic(fmt.Sprintf("sim: no genesis: %v", err))
	}
	w.founders, w.maps = g, map[uint64]digest{}
}

// initialConf is the membership that a group is founded with: the product's, or in worlds without a coordinator any.
func (w *World) initialConf(group uint32) raft.Conf {
	if w.swarm.orchestrated {
		return w.founders.Conf(group)
	}
	n := w.swarm.nodes
	var c raft.Conf
	for i := range n {
		if w.swarm.replicas >= n || (i+int(group))%n < w.swarm.replicas {
			c.Voters = append(c.Voters, uint64(i+1))
		}
	}
	return c
}

func (w *World) genesis(id uint64) func(group uint32) raft.Conf {
	founder := id <= uint64(w.swarm.nodes)
	return func(group uint32) raft.Conf {
		if !founder || w.group(group) == nil {
			return raft.Conf{}
		}
		return w.initialConf(group)
	}
}

// group returns what is known of a group; nil for those that this run does not use.
func (w *World) group(id uint32) *truth {
	if int(id) < w.swarm.shards {
		return w.groups[id]
	}
	if id == shard.PlacementGroup {
		return w.groups[len(w.groups)-1]
	}
	return nil
}

// machineOf returns the machine on whose disk the incarnation with this raft id lives, nil if it is no more.
func (w *World) machineOf(id uint64) *machine {
	for _, m := range w.machines {
		if m.id == id && id != 0 {
			return m
		}
	}
	return nil
}

func (w *World) between(lo, hi int64) int64 { return lo + w.rng.Int64N(hi-lo+1) }

// often draws the time to the next of events that come every mean on average.
func (w *World) often(mean int64) int64 { return int64(w.rng.ExpFloat64() * float64(mean)) }

// trace notes what happens. The hash of all of it is what two runs of a seed must share.
func (w *World) trace(format string, args ...any) {
	if w.cfg.Log != nil {
		fmt.Fprintf(w.cfg.Log, "%9.3f ", float64(w.now)/float64(millisecond))
		fmt.Fprintf(w.cfg.Log, format+"\n", args...)
	}
	w.scratch = fmt.Appendf(binary.LittleEndian.AppendUint64(w.scratch[:0], uint64(w.now)), format, args...)
	w.hash = w.hash.add(w.scratch)
}

// mark is trace for what happens all the time: a kind, two numbers, bytes.
func (w *World) mark(kind byte, a, b uint64, bytes []byte) {
	s := binary.LittleEndian.AppendUint64(append(w.scratch[:0], kind), uint64(w.now))
	s = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(s, a), b)
	w.scratch = append(s, bytes...)
	w.hash = w.hash.add(w.scratch)
	if w.cfg.Log != nil && w.cfg.Verbose {
		fmt.Fprintf(w.cfg.Log, "%9.3f %c %d %d %x\n", float64(w.now)/float64(millisecond), kind, a, b, bytes)
	}
}

// violate records that something that must hold does not. The first one ends the run.
func (w *World) violate(format string, args ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf("at %.3f ms: "+format, append([]any{float64(w.now) / float64(millisecond)}, args...)...)
		w.trace("VIOLATION %v", w.failed)
	}
}

// run lets time pass until t or a violation.
func (w *World) run(t int64) {
	for w.failed == nil && w.next(t) {
	}
}

// Result is what came of a run.
type Result struct {
	Err    error
	Trace  uint64
	Counts Counts
	Swarm  string
}

// Run plays the seed to its end.
func (w *World) Run() Result {
	for _, m := range w.machines {
		if m.id != 0 {
			w.after(w.between(0, 20*millisecond), m.boot)
		}
	}
	for _, c := range w.clients {
		w.after(w.between(0, second), c.next)
	}
	for _, s := range w.streams {
		w.after(w.between(0, second), s.poll)
	}
	w.startChecks()
	w.run(w.swarm.quiet) // the cluster finds itself first
	w.startNemesis()
	w.run(w.swarm.quiet + w.swarm.stormy)
	if w.failed == nil {
		w.liveness()
	}
	for _, ctx := range w.model.contexts {
		w.count.Older += ctx.older
	}
	return Result{Err: w.failed, Trace: uint64(w.hash), Counts: w.count, Swarm: fmt.Sprintf("%+v", w.swarm)}
}
