package wal

import (
	"runtime"
	"time"
)

// letOthersRun yields before the writer takes what waits, so that who is about to submit adds to this sync, in place of the next
// one. With nobody to run, it costs a microsecond or two.
func (w *WAL) letOthersRun() {
	if runtime.GOMAXPROCS(0) == 1 && w.arrivals.open() {
		w.letArrive()
		return
	}
	for w.gather.begin(); w.gather.more(w.waiting()); {
		runtime.Gosched()
	}
}

// letArrive is letOthersRun where this is the only processor. To yield, by itself, brings little there: Go's scheduler asks the
// system which sockets have something when there is nothing else to run, and a writer that yields is. So three syncs in ten were for a
// block or less, while the requests that had come in since the last one waited for it in their sockets (PERF.md, "Three nodes").
//
// A round lets in what has come, and whoever it is for submit it. The first yield is for those who read it, and wake the loop of
// their shard; that lets others go first, too (shard/loop.go), so the second is for its pass. Rounds end when one has brought nothing.
func (w *WAL) letArrive() {
	runtime.Gosched()
	r := rounds{began: w.o.Now()}
	for r.more(w.waiting(), w.o.Now()) {
		w.arrivals.wait()
		runtime.Gosched()
		runtime.Gosched()
	}
}

// waiting is the most that the next sync may have to write, in bytes.
func (w *WAL) waiting() int { return w.job.rest + w.q.size() }

// rounds says how often letArrive goes round.
type rounds struct {
	began time.Time
	n     int // rounds
	had   int // bytes that waited before the last one
}

// The bounds of letArrive, for what waits while others bring more. The best of 1, 2, 4, 8 and 16 rounds are 8, which end by themselves
// as a rule, with 64 connections and with 256.
const (
	arriveRounds = 8
	// arriveBytes is what a sync is worth by itself: to write more takes longer, and there is nothing to share any more.
	arriveBytes = 64 << 10
	// arriveTime is longer than what a node has to do at once. Past it, something that computes has the processor, for up to 10 ms
	// at a time.
	arriveTime = 5 * time.Millisecond
)

// more says whether to go round once more, when n bytes wait.
func (r *rounds) more(n int, now time.Time) bool {
	if r.n > 0 && n == r.had || r.n == arriveRounds || n >= arriveBytes || now.Sub(r.began) > arriveTime {
		return false
	}
	r.n++
	r.had = n
	return true
}

// gather says how often the writer yields where there are other processors. Once brings up to 15% at 64 connections, and loses
// nothing at one (DESIGN, measured).
//
// A busy log yields more often, while it has less than a block. The first to come back after a big sync would otherwise be
// synced alone: at 64 connections that was four of ten syncs, each a block for one message. If nobody is runnable,
// gatherYields cost a microsecond or two, and there is no waiting.
type gather struct {
	usual  int // bytes that waited after the first yield, of late
	yields int // in this round
}

// gatherYields bounds it. 32 and 64 gathered no more.
const gatherYields = 8

func (g *gather) begin() { g.yields = 0 }

// more says whether to yield once more, when n bytes wait.
func (g *gather) more(n int) bool {
	if g.yields == 1 {
		g.usual += (n - g.usual) / 8
	}
	g.yields++
	return g.yields == 1 || g.yields <= gatherYields && g.usual >= blockBytes/2 && n < blockBytes-blockSlack
}
