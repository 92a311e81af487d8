package sim

import (
	"fastpaca/cluster/place"
	"fastpaca/shard"
)

// placement is the placement group's state machine of one process: the product's map, and a check that everybody's map
// at an index is the same.
type placement struct {
	w *World
	m *place.Map
}

func newPlacement(w *World) *placement { return &placement{w: w, m: w.founders.Map()} }

// Apply implements shard.Placement.
func (p *placement) Apply(index uint64, cmd []byte) (shard.Code, error) {
	out, err := p.m.Apply(cmd)
	if err != nil {
		return shard.CodeOK, err
	}
	p.check(index)
	if out.Result != place.Applied {
		return shard.CodeConflict, nil
	}
	return shard.CodeOK, nil
}

func (p *placement) check(index uint64) {
	p.w.scratch = p.m.AppendSnapshot(p.w.scratch[:0])
	h := digest(0).add(p.w.scratch)
	if old, ok := p.w.maps[index]; !ok {
		p.w.maps[index] = h
	} else if old != h {
		p.w.violate("the placement map after entry %d differs between two nodes", index)
	}
	if p.w.newest == nil || p.m.Version > p.w.newest.Version {
		p.w.newest = p.m.Clone()
	}
}

// AppendSnapshot implements shard.Placement.
func (p *placement) AppendSnapshot(dst []byte) []byte { return p.m.AppendSnapshot(dst) }

// Check implements shard.Placement.
func (p *placement) Check(b []byte) error {
	_, err := place.LoadMap(b)
	return err
}

// Load implements shard.Placement.
func (p *placement) Load(b []byte) error {
	m, err := place.LoadMap(b)
	if err == nil {
		p.m = m
	}
	return err
}
