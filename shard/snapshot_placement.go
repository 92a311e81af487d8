package shard

import (
	"io"
)

// placementCapture is the state of the placement group at one index. Its file has the format of a shard's (see
// snapshot_chunk.go), with PlacementGroup for the shard, 0 contexts, and for raw bytes what Placement.AppendSnapshot
// wrote, whose encoding is versioned by itself.
type placementCapture struct {
	info SnapshotInfo
	raw  []byte
}

func capturePlacement(g *group, meta []byte) *placementCapture {
	return &placementCapture{
		info: SnapshotInfo{Shard: g.id, Index: g.applied, Term: g.appliedTerm, Meta: meta},
		raw:  g.place.AppendSnapshot(nil),
	}
}

// Info implements capture.
func (c *placementCapture) Info() SnapshotInfo { return c.info }

// WriteTo implements capture.
func (c *placementCapture) WriteTo(w io.Writer) (int64, error) {
	out := newChunkWriter(w, &c.info)
	out.write(c.raw)
	return out.finish(0)
}

// placementMax bounds the state of the placement group that is read from a file: a map of 256 shards and at most some
// hundred nodes takes a few tens of KiB.
const placementMax = 16 << 20

// loadPlacement reads a file that placementCapture wrote and verifies all of it.
func loadPlacement(r io.Reader) (raw []byte, info SnapshotInfo, err error) {
	c, err := newChunkReader(r)
	if err != nil {
		return nil, SnapshotInfo{}, err
	}
	for {
		end, err := c.atEnd()
		switch {
		case err != nil:
			return nil, SnapshotInfo{}, err
		case end:
			return raw, c.info, nil
		case len(raw)+len(c.raw) > placementMax:
			return nil, SnapshotInfo{}, c.fail("the state of the placement group is larger than it can be")
		}
		raw = append(raw, c.raw...)
		c.raw = nil
	}
}
