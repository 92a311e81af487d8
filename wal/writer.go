package wal

import (
	"errors"
	"fmt"
	"time"

	"fastpaca/jepsen/planted"
	"fastpaca/wal/walfs"
)

// active is the segment being written, and what is about to be written to it. It belongs to the writer.
type active struct {
	file     File
	direct   walfs.BlockWriter // the same, or nil
	path     string
	id, salt uint64
	size     int64
	enc      encoder // enc.start is where the next write goes
	unsynced bool    // something was written since the last sync
	cut      bool    // a truncation was encoded since the last sync: segments may come free with it
	unmarked bool    // something was synced that no record has yet promised
}

// writeChunk bounds the encode buffer and with it a single pwrite: 1 MiB takes 0.27 ms on a pre-written
// file, so that larger ones gain nothing. A record longer than that is written in one piece.
const writeChunk = 1 << 20

// keepBuffer is how much of an encode buffer outlives a long record.
const keepBuffer = 4 << 20

// run is the one writer. There is no commit timer: a batch of batches is whatever was submitted while the
// last sync ran, and what comes while others run (letOthersRun).
func (w *WAL) run() {
	defer close(w.writerDone)
	defer w.arrivals.close()
	for closing := false; !closing; {
		if !w.job.left() {
			w.q.wait()
		}
		w.letOthersRun()
		closing = w.round()
	}
}

// round takes what waits and serves it, or most of it (endsHere). It says whether it was the last.
//
// With Options.Manual, it may end halfway for want of a spare (errNoSpare); the next call then goes on.
func (w *WAL) round() (closing bool) {
	j := &w.job
	if !j.begun {
		j.begin(w.q.take(j.batches))
	}
	if !w.gaveUp && !w.failed.Load() {
		switch err := w.serve(j); {
		case err == nil:
		case errors.Is(err, errNoSpare):
			return false
		case errors.Is(err, ErrNoSpace):
			w.closeErr = err
			w.gaveUp = true
		default:
			w.fail(err)
		}
	}
	j.begun = false
	if w.gaveUp || w.failed.Load() {
		j.done = len(j.batches) // nothing of it will be
	}
	j.batches = w.q.finish(j.batches, j.done)
	j.at.batch, j.done, j.whole = j.at.batch-j.done, 0, 0
	return j.closing
}

// serve does one round of work.
func (w *WAL) serve(job *job) error {
	if err := w.commit(job); err != nil {
		return err
	}
	if job.rotate && !job.left() && w.q.idle() {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	switch {
	case job.closing:
		// A clean end leaves nothing that later rot could be mistaken for a torn tail of.
		if err := w.writeMark(); err != nil {
			return err
		}
		if w.act.unsynced {
			return w.sync()
		}
	case job.mark || w.o.IdleMark < 0:
		if !job.left() && w.q.idle() {
			return w.writeMark()
		}
	default:
		w.armMark()
	}
	return nil
}

// job is work and how far it has got.
type job struct {
	work
	begun bool
	at    progress
	done  int // batches reported done
	rest  int // bytes: the most that the records which are not encoded take
	whole int // so many batches at the front are not left to the next round
}

// begin takes on work, at whose front is what the round before left over.
func (j *job) begin(todo work) {
	for i, b := range todo.batches {
		if i >= len(j.batches) {
			j.rest += b.bytes
		}
		if b.whole {
			j.whole = i + 1
		}
	}
	j.work, j.begun = todo, true
}

// left says whether batches are left to the next round.
func (j *job) left() bool { return j.done < len(j.batches) }

// progress is how far a commit has got: the next op of the next batch. Hard states count on after ops.
type progress struct{ batch, op int }

// why fill stopped.
type why uint8

const (
	allEncoded why = iota
	bufferFull
	segmentFull
	blockFull // the rest is for the next round
)

// commit makes batches durable and reports them done, in order.
//
// A segment that fills up in the middle is synced before the next one is begun, so that a batch which
// straddles the two is reported only when both parts are durable (dragonboat's tan may not: ANCHORS E.3).
// Batches that ended before the boundary are reported at once: the wait for a new segment on a full disk
// is not theirs.
//
// Where it waits for a segment, everything encoded is written, synced and reported: called again from
// there, it finds nothing to write and goes on with the rotation.
func (w *WAL) commit(job *job) error {
	if len(job.batches) == 0 {
		return nil
	}
	for {
		stop := w.fill(job)
		if stop == bufferFull {
			if err := w.write(); err != nil {
				return err
			}
			continue
		}
		w.padBatch()
		if err := w.flush(); err != nil {
			return err
		}
		for ; job.done < job.at.batch; job.done++ {
			w.count.batches.Add(1)
			b := job.batches[job.done]
			b.done(b)
		}
		if stop == blockFull {
			w.count.leftOver.Add(uint64(len(job.batches) - job.done))
		}
		if stop == allEncoded || stop == blockFull {
			return nil
		}
		if err := w.rotate(); err != nil {
			return err
		}
	}
}

// padBatch ends what is about to be synced at the end of a block, if it should.
//
// A disk is written in blocks. A batch that ends inside of one makes the next begin with writing it again; one that
// ends with it does not. The rest of a block, d bytes, is skipped when d*d <= padShare * what is synced. Where in a
// block batches of n bytes end is anybody's guess, so that they skip d/4096 * d/2 bytes on average, d being the most
// that is skipped: n/32 at padShare 256, 3% of the log (and a batch of a few hundred bytes skips only what the next
// one would have run over). In exchange, at n = 4 KiB a quarter of the batches write a block less.
func (w *WAL) padBatch() {
	a := &w.act
	gap := alignUp(a.enc.offset(), blockBytes) - a.enc.offset()
	if w.o.PadBatches || gap >= recordHead && gap*gap <= padShare*(a.enc.offset()-a.enc.durable.offset()) {
		a.enc.padTo(blockBytes, a.size)
	}
}

const padShare = 256

// blockSlack is how much of a block may stay unused for the sake of ending a sync with it: an eighth.
const blockSlack = blockBytes / 8

// endsHere says whether what is to be synced should end where the encoder stands, although records wait, the next of which takes
// at most next bytes and all at most rest: near the end of a block in which the next has no room, when this sync has
// filled at least half of one and the rest would not fill another.
//
// Otherwise a sync of 5 KB writes two blocks, and the next one the second of them again: at 64 connections, 16
// messages a sync, nearly every second byte that went to the disk was of a block's rest or of a block that had been there before.
// What waits is served by the round that follows at once, together with what comes until then. Its requests take one sync longer,
// the others none, and all in all there are as many syncs. That is why a sync leaves something over only if it completes a batch
// (fill): one that answers nobody brings nobody back either, and a batch that was alone would take two syncs in place of
// one, with as many blocks.
//
// Nothing is left over twice. What is left takes at most blockBytes-blockSlack, in front of what comes later, and begins
// with a block, since a sync that ends here is padded (padBatch: what it pads is at most blockSlack, and it has at least half
// a block to show for it). So the next round does not come within blockSlack of that block's end before it has encoded
// it all.
func (w *WAL) endsHere(next, rest int) bool {
	a := &w.act
	at := a.enc.offset()
	gap := alignUp(at, blockBytes) - at
	return gap <= blockSlack && gap < int64(next) && (gap == 0 || gap >= recordHead) && rest <= blockBytes-blockSlack &&
		at-a.enc.durable.offset() >= blockBytes/2
}

// fill encodes ops until they or the room for them run out, or the sync has the right size, and takes each into the table in
// the same step: the table is at all times what a replay of the encoded records gives.
func (w *WAL) fill(job *job) why {
	w.tab.mu.Lock()
	defer w.tab.mu.Unlock()
	enc, at := &w.act.enc, &job.at
	for ; at.batch < len(job.batches); at.batch, at.op = at.batch+1, 0 {
		b := job.batches[at.batch]
		for ; at.op < len(b.ops)+len(b.states); at.op++ {
			var o *op
			if at.op < len(b.ops) {
				o = &b.ops[at.op]
			} else {
				o = &b.states[at.op-len(b.ops)]
			}
			size := o.recordBound()
			if enc.offset()+int64(size) > w.act.size {
				w.checkFits(o, size)
				return segmentFull
			}
			if at.batch >= max(job.whole, job.done+1) && !job.closing && w.endsHere(size, job.rest) {
				return blockFull
			}
			if len(enc.buf) > 0 && len(enc.buf)+size > writeChunk {
				return bufferFull
			}
			w.encode(b, o)
			job.rest -= size
		}
	}
	return allEncoded
}

func (o *op) recordBound() int {
	if o.kind == kindSnapshot {
		return recordBound(o.kind, int(o.n))
	}
	return recordBound(o.kind, len(o.data))
}

// MaxEntryBytes is the longest Entry.Data that the log takes: half a segment, since the preamble of a
// segment may take the other half.
func (w *WAL) MaxEntryBytes() int {
	return int(w.o.SegmentBytes/2) - recordBound(kindEntry, 0)
}

func (w *WAL) checkFits(o *op, size int) {
	if int64(size) > w.o.SegmentBytes/2 {
		panic(fmt.Sprintf("wal: an entry of group %d takes %d bytes, more than half a segment (%d): refuse such entries "+
			"before they get here (WAL.MaxEntryBytes), or raise SegmentBytes", o.group, size, w.o.SegmentBytes/2))
	}
}

// encode appends one record and applies it to the table. REQUIRES: tab.mu.
func (w *WAL) encode(b *Batch, o *op) {
	if int(o.group) >= len(w.tab.groups) {
		panic(fmt.Sprintf("wal: batch names group %d, the log was opened for groups 0 to %d", o.group, len(w.tab.groups)-1))
	}
	enc, g := &w.act.enc, &w.tab.groups[o.group]
	here := makePosition(w.act.id, enc.offset())
	switch o.kind {
	case kindEntry:
		if why := g.checkEntry(o.a, o.b); why != "" {
			panic(fmt.Sprintf("wal: group %d: %s: the raft log in memory and the log on disk disagree; this is a bug, "+
				"restart the node to recover from disk and report it", o.group, why))
		}
		enc.entry(kindEntry, o.group, o.c, &Entry{Index: o.a, Term: o.b, Kind: o.ekind, Data: o.data})
		g.add(o.a, o.b, o.c, makeLocation(here, int(enc.offset()-here.offset())))
		w.count.payload.Add(uint64(len(o.data)))
	case kindState:
		hs := HardState{Term: o.a, Vote: o.b, Commit: o.c}
		g.setState(hs)
		enc.state(o.group, hs)
	case kindSnapshot:
		meta := b.meta[o.c : o.c+uint64(o.n)]
		if !g.truncate(o.a, o.b, meta) {
			return
		}
		w.act.cut = true
		enc.snapshot(o.group, cut{index: o.a, term: o.b, floor: w.tab.floorLocked(g, here), meta: meta})
	case kindForget:
		g.forget()
		w.act.cut = true
		enc.forget(o.group)
	}
	w.count.records.Add(1)
}

// flush makes all that is encoded durable: in one operation of the file where it has one, and nothing written before waits for
// a sync.
func (w *WAL) flush() error {
	a := &w.act
	if a.direct != nil && !a.unsynced && len(a.enc.buf) > 0 && !planted.On(planted.AckBeforeSync) {
		began := w.o.Now()
		done, err := a.direct.WriteBlocks(a.enc.blocks.whole(a.enc.buf), a.enc.start-int64(a.enc.blocks.front))
		if err != nil {
			return fmt.Errorf("wal: write and sync of %d bytes at %d of %s: %w", len(a.enc.buf), a.enc.start, a.path, err)
		}
		if done {
			w.wrote()
			w.synced(began)
			return nil
		}
	}
	if err := w.write(); err != nil {
		return err
	}
	if a.unsynced && !planted.On(planted.AckBeforeSync) {
		return w.sync()
	}
	return nil
}

// write hands the encoded records to the file.
func (w *WAL) write() error {
	a := &w.act
	n := len(a.enc.buf)
	if n == 0 {
		return nil
	}
	b, at := a.enc.blocks.padded(a.enc.buf), a.enc.start
	if a.direct != nil { // the cache has nothing of the block that was written past it
		b, at = a.enc.blocks.whole(a.enc.buf), a.enc.start-int64(a.enc.blocks.front)
	}
	if _, err := a.file.WriteAt(b, at); err != nil {
		return fmt.Errorf("wal: write of %d bytes at %d of %s: %w", n, a.enc.start, a.path, err)
	}
	w.wrote()
	return nil
}

// wrote goes on behind what is encoded, which the file has.
func (w *WAL) wrote() {
	a := &w.act
	n := len(a.enc.buf)
	a.enc.start += int64(n)
	a.enc.buf = a.enc.blocks.wrote(a.enc.buf, keepBuffer)
	a.unsynced = true
	w.count.bytes.Add(uint64(n))
	w.count.room.Store(a.size - a.enc.start)
	w.updateFull()
}

func (w *WAL) sync() error {
	began := w.o.Now()
	if err := w.act.file.Sync(); err != nil {
		return fmt.Errorf("wal: sync of %s: %w", w.act.path, err)
	}
	w.synced(began)
	return nil
}

// synced lets the rest of the log know that everything written is durable: records written from now on
// promise it, readers may read it, and segments that only held what it truncates may go.
//
// Not before: a truncation that is encoded but not durable may be lost, and the entries that it covers
// would then be missing.
func (w *WAL) synced(began time.Time) {
	a := &w.act
	w.count.synced(w.o.Now().Sub(began))
	w.count.blocks.Add(uint64(alignUp(a.enc.start, blockBytes) - a.enc.durable.offset()&^(blockBytes-1)))
	a.unsynced = false
	a.unmarked = true
	a.enc.durable = makePosition(a.id, a.enc.start)
	w.durable.Store(uint64(a.enc.durable))
	if a.cut {
		a.cut = false
		w.publishNeeded()
	}
}

// publishNeeded tells maintenance what is not needed any more. Call when all that is encoded is durable.
func (w *WAL) publishNeeded() {
	w.tab.mu.Lock()
	need := w.tab.neededLocked()
	w.tab.mu.Unlock()
	if w.needed.Swap(need) != need {
		w.kickMaintenance()
	}
}

// writeMark writes a record for the sake of its watermark alone, without a sync: the last batch before a
// quiet time is then promised by a later record, so that rot in it is not taken for a torn tail. It costs
// nobody a flush; a crash that loses it loses only that help.
func (w *WAL) writeMark() error {
	a := &w.act
	if !a.unmarked || a.enc.start+recordHead > a.size {
		return nil
	}
	a.enc.mark()
	if w.o.PadBatches {
		a.enc.padTo(blockBytes, a.size)
	}
	w.count.records.Add(1)
	a.unmarked = false
	return w.write()
}

// armMark asks for a mark after a quiet time. At most one timer is pending, which a busy log only looks at: what is synced
// promises what was before.
func (w *WAL) armMark() {
	if !w.act.unmarked || w.markArmed.Swap(true) {
		return
	}
	w.awaitMark()
}

func (w *WAL) awaitMark() {
	w.markSyncs = w.count.syncs.Load()
	if w.o.Manual {
		w.manual.markAt = w.o.Now().Add(w.o.IdleMark)
		return
	}
	w.markTimer.Reset(w.o.IdleMark)
}

// markDue asks for the mark, if nothing was synced since it was asked for. A mark on a busy log would promise nothing that the next
// batch does not, and make that a write through the page cache with a sync behind it, in place of one operation.
func (w *WAL) markDue() {
	if w.markSyncs != w.count.syncs.Load() {
		w.awaitMark()
		return
	}
	w.markArmed.Store(false)
	w.q.ask(func(q *queue) { q.mark = true })
}

// fail tells the owner, once, that the disk cannot be believed any more.
func (w *WAL) fail(err error) {
	if w.failed.Swap(true) {
		return
	}
	w.failErr.Store(&err)
	w.pool.abort() // a writer that waits for a segment shall end
	w.o.Fatal(err)
}

// stopwatch adds the time since began to total.
func (w *WAL) stopwatch(began time.Time, add func(uint64) uint64) {
	add(uint64(max(w.o.Now().Sub(began), 0)))
}
