package sim

import (
	"math/rand/v2"
	"time"

	"fastpaca/shard"
	"fastpaca/wal"
)

// swarm is what a seed draws before anything happens: the size of the world, and which faults there are and how often.
// Calm worlds and stormy ones, slow disks and lossy networks find different bugs, and one with everything at once finds
// few: it never gets anywhere.
type swarm struct {
	nodes, spares, replicas           int
	shards, contexts, clients         int
	loops, electionTicks              int
	quiet, stormy                     int64
	net                               networkOptions
	loopDelay, diskDelay              int64 // at most
	messageBytes, retainBytes         int
	snapshotBytes, walSoft, walHard   int64
	snapshotTime                      int64 // how long a snapshot travels, at most
	snapshotCut, snapshotRot          int   // 1/1000
	think                             int64 // of a client between two operations, on average
	big                               int   // 1/1000 of messages that are large
	patience                          int64 // of clients
	crash, powerCut, pause, partition int64 // mean times between faults of a kind; 0: none in this world
	clock, diskSlow, diskHang         int64
	diskFull, diskError, wipe         int64
	transfer, conf, rumour, campaign  int64
	forget                            int64
	aimed                             int // 1/1000 of votes, first words of leaders and other delicate moments: a crash follows
	longPauses                        bool
	orchestrated                      bool          // memberships follow the map; else they change at random
	allDown                           bool          // crashes may take a majority down
	tailKeep                          int           // messages that a context keeps in memory, and in its window; 0: all
	parkAfter                         time.Duration // contexts that nobody touches for so long are on disk only; 0: none ever
}

// segmentBytes is the least that the log takes for all the groups that a node has room for.
var segmentBytes = wal.MinSegmentBytes(shard.Shards + 1)

// inflightBytes bounds the commands under way on a node; checked.
const inflightBytes = 512 << 10

func drawSwarm(rng *rand.Rand, nodes int) swarm {
	pick := func(list ...int64) int64 { return list[rng.IntN(len(list))] }
	rare := func(list ...int64) int64 { // half of the worlds do not have it
		if rng.IntN(2) == 0 {
			return 0
		}
		return pick(list...)
	}
	s := swarm{
		nodes: nodes, shards: 1 + rng.IntN(3), clients: 3 + rng.IntN(4), loops: 1 + rng.IntN(2), electionTicks: 8 + rng.IntN(5),
		quiet: 3 * second, stormy: pick(10, 15, 25) * second,
		net: networkOptions{
			delay: pick(200, 1000, 10*millisecond), tail: int(rare(5, 20, 100)), tailDelay: pick(50, 300, 2000) * millisecond,
			loss: int(rare(2, 10, 50, 200)), twice: int(rare(5, 50)), replay: int(rare(5, 20, 50)),
		},
		loopDelay: pick(100, 1000, 10*millisecond), diskDelay: pick(300, 2*millisecond, 20*millisecond),
		messageBytes: int(pick(1, 1, 500, 64<<10)), retainBytes: int(pick(1, 2000, 128<<10)),
		snapshotBytes: pick(4<<10, 32<<10, 1<<20), walSoft: pick(1, 3, 8) * segmentBytes, walHard: pick(10, 30) * segmentBytes,
		snapshotTime: pick(10, 100, 1000) * millisecond, snapshotCut: int(rare(50, 300, 700)), snapshotRot: int(rare(100, 300)),
		think: pick(2, 10, 50) * millisecond, big: int(rare(20, 100)), patience: pick(100, 500, 3000) * millisecond,
		crash: rare(1, 3, 8) * second, powerCut: rare(4, 10) * second, pause: rare(1, 3, 8) * second, partition: rare(1, 3, 8) * second,
		clock: rare(1, 5) * second, diskSlow: rare(1, 5) * second, diskHang: rare(2, 8) * second,
		diskFull: rare(5, 10) * second, diskError: rare(4, 10) * second, wipe: rare(5, 10) * second,
		transfer: rare(200, 1000, 5000) * millisecond, conf: rare(200, 1000, 5000) * millisecond, rumour: rare(100, 1000) * millisecond,
		campaign: rare(500, 3000) * millisecond, forget: rare(1, 5) * second,
		aimed: int(rare(20, 100, 300)), longPauses: rng.IntN(2) == 0, orchestrated: rng.IntN(2) == 0, allDown: rng.IntN(3) == 0,
	}
	if s.nodes == 0 {
		s.nodes = []int{3, 3, 3, 3, 4, 5, 5}[rng.IntN(7)]
	}
	s.spares = rng.IntN(3)
	s.replicas = min(s.nodes, 3)
	if s.nodes > 3 && rng.IntN(3) == 0 {
		s.replicas = s.nodes
	}
	s.contexts = s.shards * (1 + rng.IntN(3))
	switch rng.IntN(6) {
	case 0:
		s.elections()
	case 1:
		s.sleepers(pick)
	}
	return s
}

// drawTail says how many messages stay in memory. It draws from numbers of its own: worlds in which all of them do are what
// they were before there was anything else.
func drawTail(seed uint64) int {
	return []int{0, 0, 10, 40}[rand.New(rand.NewPCG(seed, 0x7a11)).IntN(4)]
}

// drawPark says how soon contexts leave memory: between the looks that are taken at all of them every 100 ms, or never.
func drawPark(seed uint64) time.Duration {
	return []time.Duration{0, 0, 50 * time.Millisecond, 100 * time.Millisecond}[rand.New(rand.NewPCG(seed, 0x9a7c)).IntN(4)]
}

// elections makes a world of leaders that die as soon as they lead, with one entry in a message: what is left of several
// terms at the same index (paper, figure 8), memberships of leaders that have committed nothing yet.
func (s *swarm) elections() {
	s.aimed, s.messageBytes, s.electionTicks, s.allDown = 500, 1, 8, true
	s.net = networkOptions{delay: 10 * millisecond, replay: s.net.replay}
	s.loopDelay, s.diskDelay, s.think, s.stormy = millisecond, 2*millisecond, 10*millisecond, 25*second
	s.pause, s.partition, s.diskFull, s.diskHang, s.wipe, s.powerCut = 0, 0, 0, 0, 0, 0
}

// sleepers makes a world of leaders that stop again and again for longer than an election takes, while answers to them are
// on their way and clients go on asking them: nothing that they hear afterwards may be taken for newer than it is.
func (s *swarm) sleepers(pick func(...int64) int64) {
	s.pause, s.longPauses, s.think, s.stormy = 800*millisecond, true, 2*millisecond, 25*second
	s.net.delay, s.net.tail, s.net.tailDelay = pick(10, 30)*millisecond, 100, 100*millisecond
	s.crash, s.powerCut, s.partition, s.diskHang, s.diskFull, s.wipe = 0, 0, 0, 0, 0, 0
}
