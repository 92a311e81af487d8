package archive

import "time"

// batch is what one Flush stores.
type batch struct {
	rows []Row
	runs []run
	sent []Row // given to the Store, which may sort it
	full bool  // there was more than fits
}

// run is the rows of one context in a batch: all from its archived_seq on through last.
type run struct {
	id   string
	last uint64
	rows int
	// whole: when the context was looked at, it had no more.
	whole bool
}

// drop takes a context out of the batch, and says whether it was in it.
func (b *batch) drop(id string) bool {
	at := 0
	for i, r := range b.runs {
		if r.id == id {
			b.rows = append(b.rows[:at], b.rows[at+r.rows:]...)
			b.runs = append(b.runs[:i], b.runs[i+1:]...)
			return true
		}
		at += r.rows
	}
	return false
}

// halve leaves the second half of the runs out.
func (b *batch) halve() {
	b.runs, b.full = b.runs[:len(b.runs)/2], true
	n := 0
	for _, r := range b.runs {
		n += r.rows
	}
	b.rows = b.rows[:n]
}

// candidate is a context that may get into the batch.
type candidate struct {
	id       string
	order    uint64
	archived uint64
	last     uint64
}

// scanBatches is for how many batches one scan finds candidates at most. A scan looks at every context of the shards that have
// changed, whether it has something to store or not; behind a backlog its cost is shared by as many batches. With the default
// batch, 80,000 candidates are 5 MB.
const scanBatches = 16

// scanShare bounds what scans cost: the next one comes no sooner than this many times as long as the last one took, so that a node
// with a million busy contexts spends a twentieth of a core on them, and flushes somewhat more rows at a time.
const scanShare = 20

// scanDue says whether it is time for another scan because rows have come; after Config.Interval it always is.
func (a *Archiver) scanDue(now time.Time) bool { return now.Sub(a.scannedAt) >= scanShare*a.scanTook }

// candidates are the rest of the last scan, while it is fresh, or those of a new one.
func (a *Archiver) candidates(now time.Time) []candidate {
	if len(a.todo) == 0 || now.Sub(a.scannedAt) > a.cfg.Interval {
		a.todo, a.left = a.scan(now)
		a.scannedAt = a.cfg.Now()
		a.scanTook = a.scannedAt.Sub(now)
	}
	return a.todo
}

// scan asks the Source what there is to do: the contexts with something to store, in their order, beginning behind the
// last one of the batch before, no more than scanBatches batches can have rows from.
// cut: there are more.
func (a *Archiver) scan(now time.Time) (found []candidate, cut bool) {
	var (
		behind, before []candidate // the cursor
		rows, contexts uint64
	)
	for id, until := range a.stuck {
		if now.After(until) {
			delete(a.stuck, id)
		}
	}
	all := now.Sub(a.fullScan) >= fullScanEvery
	if all {
		a.fullScan = now
	}
	tops := newTops(all)
	a.cfg.Source.Scan(all, func(b *Backlog) {
		tops.add(b)
		if b.Last <= b.Archived {
			return
		}
		rows += b.Last - b.Archived
		contexts++
		if len(a.stuck) > 0 {
			if _, stuck := a.stuck[b.Context]; stuck {
				return
			}
		}
		list := &before
		if b.Order > a.cursor {
			list = &behind
		}
		if len(*list) < scanBatches*a.cfg.BatchRows {
			*list = append(*list, candidate{id: b.Context, order: b.Order, archived: b.Archived, last: b.Last})
		} else {
			cut = true
		}
	})
	a.stats.scanned(rows, contexts, len(a.stuck), tops)
	return append(behind, before...), cut
}

// gather fills a batch: of each candidate all that it has, as far as there is room. So every context gets its turn, a
// batch has as many rows of one context as there are, which is what the store and the acknowledgements are cheapest
// with, and one that never ends does not keep the others waiting for more than its batch.
func (a *Archiver) gather(now time.Time) *batch {
	out := &batch{}
	size, used := 0, 0
	todo := a.candidates(now)
	var again []candidate // had no room for all of their rows
	for _, c := range todo {
		room := Page{Rows: a.cfg.BatchRows - len(out.rows), Bytes: a.cfg.BatchBytes - size}
		if room.Rows <= 0 || room.Bytes <= 0 {
			break
		}
		used++
		at := len(out.rows)
		out.rows = a.cfg.Source.Read(c.id, c.archived+1, room, out.rows)
		got := out.rows[at:]
		if len(got) == 0 {
			continue
		}
		taken := 0
		for i := range got {
			// A gap would be skipped for ever by the acknowledgement behind it.
			if got[i].Seq != c.archived+1+uint64(i) || got[i].Context != c.id {
				panic("archive: the source gave rows that do not follow archived_seq; this is a bug, please report it")
			}
			size += len(got[i].Message)
			if i == 0 && at > 0 && size > a.cfg.BatchBytes {
				break // long, and not alone: in the next batch
			}
			taken++
		}
		if taken == 0 {
			used--
			out.rows = out.rows[:at]
			break
		}
		last := c.archived + uint64(taken)
		if last < c.last {
			c.archived = last
			again = append(again, c)
		}
		out.rows = out.rows[:at+taken]
		out.runs = append(out.runs, run{id: c.id, last: last, rows: taken, whole: last >= c.last})
		a.cursor = c.order
	}
	a.todo = append(todo[used:], again...)
	out.full = len(a.todo) > 0 || a.left
	return out
}
