package wal

import (
	"fmt"

	"fastpaca/wal/walfs"
)

// rotate ends the active segment and begins the next. The order is the whole point (raft-engine #219,
// ANCHORS D.2), each step durable before the next begins:
//
//  1. the old segment is synced: its end is about to be promised;
//  2. header, carried entries and checkpoint are written to a spare and synced: whatever has a segment's
//     name has a whole preamble, so a bad one is rot, never a torn one;
//  3. the spare gets its name, and the directory is synced: were the name lost, so would be every batch
//     in the file;
//  4. only now may records follow.
//
// A crash before 3 is durable leaves the old segment as the newest, and the spare a spare. Ids are not
// reused for different contents that could be confused: nothing but preambles was ever written under an
// id whose name was not durable, the kinds of a preamble are not valid in a body, and the salt differs.
func (w *WAL) rotate() error {
	began := w.o.Now()
	if w.act.unsynced {
		if err := w.sync(); err != nil {
			return err
		}
	}
	sp, err := w.pool.take()
	if err != nil {
		if failed := w.failErr.Load(); failed != nil {
			return *failed
		}
		return err
	}
	old := w.act
	h := header{
		version: formatVersion, groups: uint32(len(w.tab.groups)), id: old.id + 1, salt: w.o.Rand(), prevSalt: old.salt, prevEnd: old.enc.start,
		segmentBytes: sp.size,
	}
	if h.id > 1<<32-1 {
		panic("wal: 2^32 segments have been written; move the data to a new directory through a snapshot")
	}
	carry := w.finishUnits(w.takeUnits(), sp.size/2)
	enc := encoder{life: h.life(), durable: makePosition(h.id, 0), blocks: blocks{mem: old.enc.blocks.mem}}
	enc.buf = enc.blocks.mem[:0]
	w.encodePreamble(&enc, &h, carry)

	path := segmentPath(w.o.Dir, h.id)
	if _, err := sp.file.WriteAt(enc.buf, 0); err != nil {
		return fmt.Errorf("wal: write of the preamble of %s: %w", path, err)
	}
	if err := sp.file.Sync(); err != nil {
		return fmt.Errorf("wal: sync of the preamble of %s: %w", path, err)
	}
	if err := w.o.FS.Rename(sp.path, path); err != nil {
		return fmt.Errorf("wal: naming of %s: %w", path, err)
	}
	if err := w.syncDir(); err != nil {
		return err
	}

	w.act = active{file: sp.file, path: path, id: h.id, salt: h.salt, size: sp.size, enc: enc}
	a := &w.act
	a.direct, _ = sp.file.(walfs.BlockWriter)
	a.enc.start = int64(len(enc.buf))
	a.enc.durable = makePosition(a.id, a.enc.start)
	w.count.bytes.Add(uint64(len(enc.buf)))
	w.count.blocks.Add(uint64(len(enc.buf))) // whole blocks
	w.count.room.Store(a.size - a.enc.start)
	a.enc.buf = a.enc.blocks.wrote(enc.buf, keepBuffer)

	w.tab.mu.Lock()
	w.tab.addSegmentLocked(segment{id: a.id, life: h.life(), size: a.size})
	w.count.live.Store(w.tab.bytes)
	w.tab.mu.Unlock()
	w.durable.Store(uint64(a.enc.durable))
	w.publishNeeded()
	w.activeID.Store(a.id)
	w.updateFull()
	w.count.rotations.Add(1)
	w.stopwatch(began, w.count.rotationNanos.Add)
	w.kickMaintenance()
	if old.file != nil {
		if err := old.file.Close(); err != nil {
			w.o.Logf("wal_close_failed", "path", old.path, "error", err.Error()) // it is synced: nothing is lost
		}
	}
	return nil
}

// encodePreamble fills enc with the new segment's preamble and moves the carried groups' entries to it.
func (w *WAL) encodePreamble(enc *encoder, h *header, carry []*unit) {
	w.tab.mu.Lock()
	defer w.tab.mu.Unlock()
	if len(w.tab.segs) >= maxLiveSegments {
		panic(fmt.Sprintf("wal: %d live segments: groups do not snapshot; raise SegmentBytes", len(w.tab.segs)))
	}
	if cap(enc.buf) < headerBytes {
		enc.grow(int(min(writeChunk, h.segmentBytes)))
	}
	enc.buf = enc.buf[:headerBytes]
	for _, u := range carry {
		w.encodeUnit(enc, h.id, u)
	}
	h.checkpointOff = enc.offset()
	start := makePosition(h.id, 0)
	for i := range w.tab.groups {
		g := &w.tab.groups[i]
		c := g.snap
		c.floor = w.tab.floorLocked(g, start)
		enc.checkpoint(uint32(i), g.durableState(), c, g.last())
	}
	enc.padTo(blockBytes, h.segmentBytes)
	h.preambleEnd = enc.offset()
	w.count.records.Add(uint64(len(w.tab.groups)))
	h.encode(enc.buf)
}

// encodeUnit writes a group's live log again and points the table at the copy. REQUIRES: tab.mu.
func (w *WAL) encodeUnit(enc *encoder, id uint64, u *unit) {
	g := &w.tab.groups[u.group]
	commit := g.durableState().Commit
	g.locs.truncate(0)
	g.bytes = 0
	before := enc.offset()
	for i := range u.entries {
		e := &u.entries[i]
		off := enc.offset()
		enc.entry(kindCarry, u.group, commit, e)
		l := makeLocation(makePosition(id, off), int(enc.offset()-off))
		g.locs.push(l)
		n, _ := l.size()
		g.bytes += int64(n)
	}
	w.count.carriedBytes.Add(uint64(enc.offset() - before))
	w.count.carriedGroups.Add(1)
	w.count.records.Add(uint64(len(u.entries)))
}
