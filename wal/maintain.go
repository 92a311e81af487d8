package wal

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"fastpaca/wal/walfs"
)

// Maintenance is one goroutine that does what the writer must not wait for: it makes the next segment one
// ahead, gives old segments another life, and works down the ladder of policy.go.

func (w *WAL) kickMaintenance() {
	select {
	case w.kick <- struct{}{}:
	default: // one round is due already, and will see what we changed
	}
}

// settlePoll is how often settle looks.
const settlePoll = 10 * time.Millisecond

// settle waits for Options.StartPause, unless a segment is wanted sooner: the active one is half full, or it stops the writer.
func (w *WAL) settle() {
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for waited := time.Duration(0); waited < w.o.StartPause; waited += settlePoll {
		if w.pool.urgent() || w.count.room.Load() < w.o.SegmentBytes/2 {
			return
		}
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
	}
}

func (w *WAL) maintain() {
	defer close(w.maintainDone)
	w.settle()
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	for {
		tick := false
		select {
		case <-w.stop:
			return
		case <-w.kick:
		case <-retry.C:
			tick = true
		}
		if w.maintainOnce(tick) {
			retry.Reset(w.o.RetryEvery)
		}
	}
}

// maintainOnce is one round. It says whether another should follow without a kick, after a pause.
func (w *WAL) maintainOnce(tick bool) (again bool) {
	if w.failed.Load() {
		return false
	}
	w.reclaim()
	w.prepare()
	w.relieve(tick)
	w.updateFull()
	return w.pressed()
}

func (w *WAL) stopping() bool {
	select {
	case <-w.stop:
		return true
	default:
		return w.failed.Load()
	}
}

// pressed says whether something is to be retried without being kicked.
func (w *WAL) pressed() bool {
	w.pool.mu.Lock()
	noNext := len(w.pool.free) == 0
	w.pool.mu.Unlock()
	return noNext || w.overHard()
}

// overHard says whether another segment would take the log over the hard limit.
func (w *WAL) overHard() bool { return w.count.live.Load()+w.o.SegmentBytes > w.o.HardLimitBytes }

// updateFull recomputes Full: there will be no next segment for client entries, and the active one has no
// more room than what may be in flight already (half a segment, by the contract with the caller, plus an
// eighth of that for padding) and the hard states, votes and no-ops that must go on.
func (w *WAL) updateFull() {
	reserve := w.o.SegmentBytes/2 + w.o.SegmentBytes/16
	w.pool.mu.Lock()
	noSpace := len(w.pool.free) == 0 && w.pool.noSpace
	full := (noSpace || w.overHard()) && w.count.room.Load() <= reserve
	changed := w.full.Swap(full) != full // under the lock: two may compute this at once
	w.pool.mu.Unlock()
	if changed {
		event := "wal_full"
		if !full {
			event = "wal_has_room"
		}
		w.o.Logf(event, "no_space", noSpace, "live_bytes", w.count.live.Load(), "room_bytes", w.count.room.Load())
	}
}

// prepare makes a spare if there is none.
func (w *WAL) prepare() {
	if w.pool.len() > 0 {
		return
	}
	sp, err := w.makeSpare(w.o.SegmentBytes, true)
	switch {
	case err == nil:
		w.pool.put(sp)
	case errors.Is(err, errStopped):
	case isNoSpace(err):
		if w.pool.setNoSpace(true) {
			w.o.Logf("wal_no_space", "error", err.Error())
		}
	default:
		w.fail(err)
	}
}

var errStopped = errors.New("wal: stopping")

// isNoSpace says whether a segment could not be made for want of something that may come back. A segment larger than
// files may be is such a want, too: the limit is the process's.
func isNoSpace(err error) bool { return walfs.UsedUp(err) || errors.Is(err, syscall.EFBIG) }

// zeroPauseMax bounds the pause between two syncs of what is pre-written.
const zeroPauseMax = 20 * time.Millisecond

// makeSpare pre-writes a file with zeros. Written blocks are what makes a later fdatasync free of
// metadata; fallocate does not do (ANCHORS D.2). It syncs after one or two chunks, so that a commit in between
// never queues behind a flush of a whole segment, and when it is not urgent pauses as long as it worked.
func (w *WAL) makeSpare(size int64, gently bool) (_ spare, err error) {
	w.spareSeq++
	path := sparePath(w.o.Dir, w.spareSeq)
	f, err := w.o.FS.Create(path)
	if err != nil {
		return spare{}, fmt.Errorf("wal: create %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()           // the first error is the one to tell, and
			_ = w.o.FS.Remove(path) // what is left here is removed by the next start
		}
	}()
	// A full disk shows here and at once, while there is still much room in the active segment. One block too
	// many: the file has the size of a spare only when all of it is written, so that the next start does not
	// take one for ready whose making was cut short.
	if err := f.Allocate(size + blockBytes); err != nil {
		return spare{}, fmt.Errorf("wal: reserving %d bytes for %s: %w", size, path, err)
	}
	began := w.o.Now()
	for z := newZeros(f, size); z.done < size; {
		before := z.done
		durable, err := z.next()
		if err != nil {
			return spare{}, fmt.Errorf("wal: pre-writing %s at %d: %w", path, before, err)
		}
		w.count.zeroed.Add(uint64(z.done - before))
		if !durable {
			continue
		}
		if w.stopping() {
			return spare{}, errStopped
		}
		if gently && z.done < size && !w.o.Manual && !w.pool.urgent() {
			time.Sleep(min(w.o.Now().Sub(began), zeroPauseMax))
			began = w.o.Now()
		}
	}
	if err := f.Truncate(size); err != nil {
		return spare{}, fmt.Errorf("wal: finishing %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return spare{}, fmt.Errorf("wal: sync of %s: %w", path, err)
	}
	return spare{file: f, path: path, size: size}, nil
}

// reclaim gives up segments that hold nothing live, oldest first and one at a time. The directory is
// synced after each: were a later one gone and an earlier one still there after a crash, the log would
// have a hole; and were a recycled file to come back under its old name with new contents, it would look
// like rot.
func (w *WAL) reclaim() {
	for !w.stopping() {
		w.tab.mu.Lock()
		var s segment
		if len(w.tab.segs) > 0 {
			s = w.tab.segs[0]
		}
		w.tab.mu.Unlock()
		if s.id == 0 || s.id >= w.needed.Load() {
			return
		}
		if err := w.release(segmentPath(w.o.Dir, s.id), s.size); err != nil {
			if errors.Is(err, errNotBegun) {
				w.o.Logf("wal_reclaim_failed", "segment", s.id, "error", err.Error())
				return // tried again at the next kick
			}
			w.fail(err)
			return
		}
		w.tab.mu.Lock()
		w.tab.dropOldestLocked()
		w.count.live.Store(w.tab.bytes)
		w.tab.mu.Unlock()
	}
}

// errNotBegun marks a failure that changed nothing and may pass: what failed can be tried again as a whole.
var errNotBegun = errors.New("nothing was changed")

func notBegun(err error) error {
	if isNoSpace(err) {
		return errors.Join(errNotBegun, err)
	}
	return err
}

// syncDir makes names durable. It needs a descriptor for the directory; while the process has none left,
// nothing was tried and nothing is lost, and it waits: after a change of a name there is no way back, and
// an end of the process for want of a descriptor would be an outage made from a shortage. Batches that
// wait for it show in Stalled. Any other error is the disk's.
func (w *WAL) syncDir() error {
	for {
		err := w.o.FS.SyncDir(w.o.Dir)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) || w.closing() || w.o.Manual {
			return fmt.Errorf("wal: sync of %s: %w", w.o.Dir, err)
		}
		w.o.Logf("wal_no_descriptors", "error", err.Error())
		time.Sleep(w.o.RetryEvery)
	}
}

// closing says whether nothing should be waited for any more.
func (w *WAL) closing() bool {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	return w.pool.closing
}

// release recycles a file, or removes it if enough are free or it has another size.
func (w *WAL) release(path string, size int64) error {
	if w.pool.len() >= w.o.FreeSegments || size != w.o.SegmentBytes {
		if err := w.o.FS.Remove(path); err != nil {
			return notBegun(fmt.Errorf("wal: remove %s: %w", path, err))
		}
		if err := w.syncDir(); err != nil {
			return err
		}
		w.count.removed.Add(1)
		return nil
	}
	w.spareSeq++
	to := sparePath(w.o.Dir, w.spareSeq)
	if err := w.o.FS.Rename(path, to); err != nil {
		return notBegun(fmt.Errorf("wal: rename %s: %w", path, err))
	}
	if err := w.syncDir(); err != nil {
		return err
	}
	f, err := w.o.FS.Open(to)
	if err != nil {
		// No descriptor, most likely. Do without it, and do not leave it lying about.
		w.o.Logf("wal_recycle_failed", "path", to, "error", err.Error())
		if err := w.o.FS.Remove(to); err != nil {
			w.o.Logf("wal_remove_failed", "path", to, "error", err.Error()) // the next start does it
		}
		return nil
	}
	w.count.recycled.Add(1)
	w.pool.put(spare{file: f, path: to, size: size})
	return nil
}

// relieve does what the policy says, once per active segment and per tick.
func (w *WAL) relieve(tick bool) {
	active := w.activeID.Load()
	if active == w.evaluated && !tick {
		return
	}
	w.evaluated = active
	p, pressed := w.pressure(active)
	if !pressed {
		clear(w.asked)
		return
	}
	pl := p.plan()
	asked := w.asked
	w.asked = make(map[uint32]int, len(pl.ask)+len(pl.carry))
	for _, g := range pl.ask {
		w.asked[g] = asked[g] + 1
	}
	for _, g := range pl.carry {
		w.asked[g] = asked[g] // it may not come to it, if the group changes too much
	}
	var units []*unit
	for _, g := range pl.carry {
		u, err := w.readUnit(g)
		if err != nil {
			if err != ErrCompacted && err != ErrUnavailable {
				w.o.Logf("wal_carry_failed", "group", g, "error", err.Error())
			}
			continue
		}
		units = append(units, u)
	}
	w.setUnits(units)
	if w.overHard() && len(units) > 0 && pl.frees >= 2 {
		// Client entries are refused, so no rotation may come by itself. Freeing two pays for the new one.
		w.q.ask(func(q *queue) { q.rotate = true })
	}
	if len(pl.ask) > 0 {
		w.count.asks.Add(uint64(len(pl.ask)))
		w.o.RequestSnapshot(pl.ask)
	}
}

// softSegments is how many live segments are pressure, whatever their sizes: restarts leave short ones, and
// each is a file to open at the next start.
const softSegments = 64

// pressure collects the policy's input. pressed is false while there is no reason to act.
func (w *WAL) pressure(active uint64) (p pressure, pressed bool) {
	w.pool.mu.Lock()
	noSpace := w.pool.noSpace && len(w.pool.free) == 0
	w.pool.mu.Unlock()
	w.tab.mu.Lock()
	defer w.tab.mu.Unlock()
	soft := w.softLimit()
	many := max(softSegments, 4*int(soft/w.o.SegmentBytes))
	if !noSpace && w.tab.bytes <= soft && !w.overHard() && len(w.tab.segs) <= many {
		return p, false
	}
	p = pressure{oldest: w.tab.oldestLocked(), active: active, segmentBytes: w.o.SegmentBytes, preamble: headerBytes + blockBytes}
	for i := range w.tab.groups {
		g := &w.tab.groups[i]
		p.preamble += int64(recordBound(kindCheckpoint, len(g.snap.meta)))
		if g.locs.len() > 0 {
			p.pins = append(p.pins, pin{group: uint32(i), floor: w.tab.floorLocked(g, 0).segment(), bytes: g.bytes, asked: w.asked[uint32(i)]})
		}
	}
	return p, true
}
