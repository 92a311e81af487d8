package s3

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// inlineMax is how many extents may stand in a manifest before they are folded: about 60 KiB compressed, which every
	// commit writes and a reader without a cache reads.
	inlineMax = 2048
	// segmentExtents bounds a segment: about 200 KiB compressed, which one lookup reads.
	segmentExtents = 8192
	// levelRatio is how much longer each level may be than the one above. An extent is rewritten at most that often in each
	// level, and five levels hold two thousand million extents of a partition.
	levelRatio = 16
	// foldTimeout bounds one fold; the longest rewrite a level of thousands of segments, once in millions of commits.
	foldTimeout = 10 * time.Minute
)

// fold merges the inline table of a partition with as many levels as it takes to find room, into one new level.
func (s *Store) fold(ctx context.Context, p *partition) error {
	ctx, cancel := context.WithTimeout(ctx, foldTimeout)
	defer cancel()
	m := p.manifest.Load()
	depth := foldDepth(m)
	runs := []*run{{rest: m.inline}}
	for i := range min(depth+1, len(m.levels)) {
		runs = append(runs, &run{refs: m.levels[i]})
	}
	merged, err := s.writeLevel(ctx, p, runs)
	if err != nil {
		s.discard(ctx, p, merged, nil)
		return ignoreStale(err)
	}
	attempt := newID()
	for {
		begun := time.Now()
		next := &manifest{generation: m.generation + 1, commit: attempt, inline: minus(m.inline, runs[0].taken)}
		next.levels = make([][]ref, max(depth+1, len(m.levels)))
		copy(next.levels, m.levels)
		for i := range depth {
			next.levels[i] = nil
		}
		next.levels[depth] = merged
		next.etag, err = s.client.put(ctx, p.dir+"manifest", s.codec.encodeManifest(next), m.etag)
		if err == nil {
			p.publish(next)
			if p.tipsAt == m {
				p.tipsAt = next // nothing was added
			}
			break
		}
		if !errors.Is(err, errLostRace) || pause(ctx, time.Since(begun)) != nil {
			return err // unknown outcome: the new segments may be in use
		}
		now, err := s.load(ctx, p, true)
		if err != nil {
			return err
		}
		if now.commit == attempt {
			break // it was us, and the answer was lost
		}
		if !sameLevels(now.levels, m.levels) {
			// Somebody else has folded; or it was us, and somebody has committed after us. The old manifest never comes
			// back, so what is not in use now will never be.
			s.discard(ctx, p, merged, now)
			return nil
		}
		m = now
	}
	for i := range min(depth+1, len(m.levels)) {
		s.discard(ctx, p, m.levels[i], p.manifest.Load())
	}
	return nil
}

// foldDepth returns the first level that has room for all above it.
func foldDepth(m *manifest) int {
	extents, room := len(m.inline), inlineMax
	for depth := 0; ; depth++ {
		room *= levelRatio
		if depth < len(m.levels) {
			for i := range m.levels[depth] {
				extents += m.levels[depth][i].extents
			}
		}
		if extents <= room {
			return depth
		}
	}
}

// minus returns the extents of t that are not in taken, a subset of an earlier version of t.
func minus(t, taken table) table {
	var out table
	for _, e := range t {
		if _, found := slices.BinarySearchFunc(taken, e, compareExtents); !found {
			out = append(out, e)
		}
	}
	return out
}

// run is a sorted sequence of extents that is read one segment at a time.
type run struct {
	rest  table
	refs  []ref
	taken table // what was read from the first rest, for the inline table
}

// head returns the next extent, nil at the end.
func (s *Store) head(ctx context.Context, p *partition, r *run) (*extent, error) {
	for len(r.rest) == 0 {
		if len(r.refs) == 0 {
			return nil, nil
		}
		t, err := s.segment(ctx, p, r.refs[0].id)
		if err != nil {
			return nil, err
		}
		r.rest, r.refs = t, r.refs[1:]
	}
	return &r.rest[0], nil
}

// writeLevel merges runs into new segments. After an error it returns those that it has written.
func (s *Store) writeLevel(ctx context.Context, p *partition, runs []*run) (level []ref, err error) {
	runs[0].taken = runs[0].rest
	var out table
	flush := func() error {
		if len(out) == 0 {
			return nil
		}
		x := newID()
		if _, err := s.client.put(ctx, p.segmentKey(x), s.codec.encodeSegment(out), ""); err != nil {
			return err
		}
		level = append(level, ref{id: x, extents: len(out), first: out[0].context, last: out[len(out)-1].context})
		out = nil
		return nil
	}
	for {
		var least *extent
		var from *run
		for _, r := range runs {
			e, err := s.head(ctx, p, r)
			if err != nil {
				return level, err
			}
			if e != nil && (least == nil || compareExtents(*e, *least) < 0) {
				least, from = e, r
			}
		}
		if least == nil {
			return level, flush()
		}
		out = append(out, *least)
		from.rest = from.rest[1:]
		if len(out) == segmentExtents {
			if err := flush(); err != nil {
				return level, err
			}
		}
	}
}

// discard deletes segments that m does not name. A nil m names none.
func (s *Store) discard(ctx context.Context, p *partition, refs []ref, m *manifest) {
	inUse := map[id]bool{}
	if m != nil {
		for _, level := range m.levels {
			for i := range level {
				inUse[level[i].id] = true
			}
		}
	}
	_ = each(ctx, len(refs), func(i int) error {
		if !inUse[refs[i].id] {
			s.client.remove(ctx, p.segmentKey(refs[i].id))
		}
		return nil
	})
}
