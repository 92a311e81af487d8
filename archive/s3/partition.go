package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	mrand "math/rand/v2"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"fastpaca/archive"
)

// partition is what a Store knows of one partition's index.
type partition struct {
	dir      string
	manifest atomic.Pointer[manifest] // the newest that we have seen; nil before the first

	// tips tells for some contexts the last seq in the index as of tipsAt, so that a batch that goes on from there needs no
	// lookup. Only Put, one at a time, uses it.
	tips   map[string]uint64
	tipsAt *manifest
}

// tipsMax bounds partition.tips; about 2 MB for each partition.
const tipsMax = 1 << 14

// pauseMax bounds the wait after a lost race, whatever the attempt took: a server that took that long for one request
// will not be hurried by another.
const pauseMax = 2 * time.Second

// partitionOf is FNV-1a of the id, folded. It is part of the format.
func partitionOf(context string) int {
	h := uint64(14695981039346656037)
	for i := range len(context) {
		h = (h ^ uint64(context[i])) * 1099511628211
	}
	return int((h ^ h>>32 ^ h>>16) % partitions)
}

func newID() (x id) {
	_, _ = rand.Read(x[:]) // never fails
	return x
}

func (x id) String() string { return hex.EncodeToString(x[:]) }

func (x id) dataKey() string { return "data/" + x.String()[:2] + "/" + x.String() + ".ndjson.zst" }

func (p *partition) segmentKey(x id) string { return p.dir + x.String() + ".seg" }

// has says whether seq is in one of the extents, which are of one context.
func (t table) has(seq uint64) bool {
	i := sort.Search(len(t), func(i int) bool { return t[i].to >= seq })
	return i < len(t) && t[i].from <= seq
}

// between returns the extents of one context that overlap [from, to].
func (t table) between(from, to uint64) table {
	lo := sort.Search(len(t), func(i int) bool { return t[i].to >= from })
	hi := sort.Search(len(t), func(i int) bool { return t[i].from > to })
	return t[lo:max(lo, hi)]
}

// covers says whether the extents, of one context, hold all of [from, to].
func (t table) covers(from, to uint64) bool {
	for _, e := range t.between(from, to) {
		if e.from > from {
			return false
		}
		if e.to >= to {
			return true
		}
		from = e.to + 1
	}
	return false
}

// without returns the parts of e that are not in t, extents of the same context.
func (t table) without(e extent) table {
	var out table
	for _, k := range t.between(e.from, e.to) {
		if k.from > e.from {
			part := e
			part.to = k.from - 1
			out = append(out, part)
		}
		if k.to == math.MaxUint64 {
			return out
		}
		e.from = k.to + 1
	}
	if e.from <= e.to {
		out = append(out, e)
	}
	return out
}

// load returns the cached manifest, or the newest one where there is none or fresh is true.
func (s *Store) load(ctx context.Context, p *partition, fresh bool) (*manifest, error) {
	m := p.manifest.Load()
	if m != nil && !fresh {
		return m, nil
	}
	etag := ""
	if m != nil {
		etag = m.etag
	}
	key := p.dir + "manifest"
	b, etag, err := s.client.get(ctx, key, 0, 0, etag)
	switch {
	case errors.Is(err, errSame):
		return m, nil
	case errors.Is(err, errMissing):
		return nil, fmt.Errorf("%w: s3: there is no %s: start one node with MIGRATE_ON_BOOT=true; if it was there before, restore it",
			archive.ErrNotReady, s.name(key))
	case err != nil:
		return nil, err
	}
	next, err := s.codec.decodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("%w: s3: %s: %w", archive.ErrDamaged, s.name(key), err)
	}
	next.etag = etag
	return p.publish(next), nil
}

// publish caches m unless a newer one is cached already, and returns what is cached then.
//
// Of the same manifest under two etags the one that was read last counts. There are servers that look the etag up first and
// open the object then (versitygw does), so that a reader who comes between two versions gets the new one under the
// etag of the old. Nothing can be overwritten with that, since the old etag never comes back; but whoever kept it
// would lose every race from then on.
func (p *partition) publish(m *manifest) *manifest {
	for {
		old := p.manifest.Load()
		if old != nil && (old.generation > m.generation ||
			old.generation == m.generation && old.commit == m.commit && old.etag == m.etag) {
			return old
		}
		if p.manifest.CompareAndSwap(old, m) {
			return m
		}
	}
}

// lookup returns all extents of a context, ascending. errMissing: m is not the newest manifest.
func (s *Store) lookup(ctx context.Context, p *partition, m *manifest, context string) (table, error) {
	var wanted []id
	for _, level := range m.levels {
		i := sort.Search(len(level), func(i int) bool { return level[i].last >= context })
		for ; i < len(level) && level[i].first <= context; i++ {
			wanted = append(wanted, level[i].id)
		}
	}
	found := make([]table, len(wanted))
	err := each(ctx, len(wanted), func(i int) error {
		seg, err := s.segment(ctx, p, wanted[i])
		found[i] = seg.of(context)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := m.inline.of(context)
	if len(wanted) > 0 {
		out = slices.Clone(out)
		for _, t := range found {
			out = append(out, t...)
		}
		slices.SortFunc(out, compareExtents)
	}
	return out, nil
}

// segment returns a segment, from the cache if it is there.
func (s *Store) segment(ctx context.Context, p *partition, x id) (table, error) {
	if t, ok := s.cache.get(x); ok {
		return t.(table), nil
	}
	key := p.segmentKey(x)
	b, _, err := s.client.get(ctx, key, 0, 0, "")
	if err != nil {
		return nil, err
	}
	t, err := s.codec.decodeSegment(b)
	if err != nil {
		return nil, fmt.Errorf("%w: s3: %s: %w", archive.ErrDamaged, s.name(key), err)
	}
	s.cache.add(x, t, len(t)*extentMemory)
	return t, nil
}

// extentMemory is about what an extent takes in memory, with its share of the context's string.
const extentMemory = 96

// commit adds extents to the index and returns how many rows that were not there. m is where they were found to be
// missing. Where others are faster it begins anew until ctx is done, which Put bounds by Config.Timeout: each race that
// somebody loses somebody else has won, so that the nodes together always get on, and each of them has one commit
// of this partition in a flush.
func (s *Store) commit(ctx context.Context, p *partition, m *manifest, add table) (inserted int, err error) {
	attempt := newID()
	begun := time.Now()
	for try := 1; ; try++ {
		if len(add) == 0 {
			return 0, nil
		}
		next := &manifest{generation: m.generation + 1, commit: attempt, levels: m.levels, inline: mergeTables(m.inline, add)}
		next.etag, err = s.client.put(ctx, p.dir+"manifest", s.codec.encodeManifest(next), m.etag)
		if err == nil {
			p.publish(next)
			m = next
			break
		}
		if !errors.Is(err, errLostRace) {
			return 0, err
		}
		if err := pause(ctx, time.Since(begun)); err != nil {
			return 0, s.client.failed(fmt.Sprintf("lost %d races, writing", try), p.dir+"manifest", ctx, err)
		}
		begun = time.Now()
		if m, err = s.load(ctx, p, true); err != nil {
			return 0, err
		}
		if m.commit == attempt {
			break // it was us, and the answer was lost
		}
		if add, err = s.subtract(ctx, p, m, add); err != nil {
			return 0, ignoreStale(err)
		}
	}
	// The tips are those of m, which is what was committed. The newest manifest may be somebody else's by now, who has gone on with
	// the same contexts: it is followed after that, or its extents would be taken for missing and be added a second time.
	p.follow(m)
	for i := range add {
		inserted += add[i].rows()
		p.tip(add[i].context, add[i].to)
	}
	p.follow(p.manifest.Load())
	if len(p.manifest.Load().inline) > inlineMax {
		// What could not be folded now is folded after another commit. Until then the manifest is longer.
		_ = s.fold(s.life, p)
	}
	return inserted, nil
}

// subtract drops from add what m has.
func (s *Store) subtract(ctx context.Context, p *partition, m *manifest, add table) (table, error) {
	var out table
	for _, e := range add {
		known, err := s.lookup(ctx, p, m, e.context)
		if err != nil {
			return nil, err
		}
		out = append(out, known.without(e)...)
	}
	return out, nil
}

// ignoreStale turns errMissing, a segment that went while we were at it, into something that is worth another try.
func ignoreStale(err error) error {
	if errors.Is(err, errMissing) {
		return fmt.Errorf("%w: s3: the index changes all the time", archive.ErrUnavailable)
	}
	return err
}

// pause waits after a lost race: anything up to twice as long as the attempt took, which is how far the nodes must be apart
// to pass one after the other. It does not grow from try to try: whoever has lost often would wait longest, and those who
// have just come would overtake it.
func pause(ctx context.Context, attempt time.Duration) error {
	t := time.NewTimer(mrand.N(2*min(attempt, pauseMax/2) + time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow brings the tips up to m. Commits of others show in the inline table, as long as it was not folded.
func (p *partition) follow(m *manifest) {
	if p.tipsAt == m {
		return
	}
	if p.tips == nil || p.tipsAt == nil || !sameLevels(p.tipsAt.levels, m.levels) {
		p.tips = map[string]uint64{}
	}
	p.tipsAt = m
	for i := range m.inline {
		e := &m.inline[i]
		if tip, ok := p.tips[e.context]; ok && e.to > tip {
			p.tips[e.context] = e.to
		}
	}
}

// tip notes that the index holds nothing of context beyond seq.
func (p *partition) tip(context string, seq uint64) {
	old, ok := p.tips[context]
	if !ok && len(p.tips) >= tipsMax {
		clear(p.tips)
	}
	p.tips[context] = max(old, seq)
}

func sameLevels(a, b [][]ref) bool {
	return slices.EqualFunc(a, b, func(a, b []ref) bool { return slices.Equal(a, b) })
}

func mergeTables(a, b table) table {
	out := make(table, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compareExtents(a[0], b[0]) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}
