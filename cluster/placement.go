package cluster

import (
	"sync/atomic"

	"fastpaca/cluster/place"
	"fastpaca/shard"
)

// machine is the state machine of the placement group: the map, and a picture of it for everybody else. Apply and Load
// are called by one goroutine at a time (shard.Placement); picture by any.
type machine struct {
	m       *place.Map
	shown   atomic.Pointer[place.Map] // immutable
	changed func()                    // called after shown changed; must not block
}

var _ shard.Placement = (*machine)(nil)

// newMachine starts from the map of the genesis, on every node alike: the group's log begins there.
func newMachine(g *place.Genesis, changed func()) *machine {
	p := &machine{m: g.Map(), changed: changed}
	p.show()
	return p
}

func (p *machine) picture() *place.Map { return p.shown.Load() }

func (p *machine) show() {
	p.shown.Store(p.m.Clone())
	p.changed()
}

// Apply executes a command. CodeConflict stands for refused, too: place.Map.Apply on a clone says which it was.
func (p *machine) Apply(_ uint64, cmd []byte) (shard.Code, error) {
	before := p.m.Version
	out, err := p.m.Apply(cmd)
	if err != nil {
		return shard.CodeConflict, err
	}
	if p.m.Version != before {
		p.show()
	}
	if out.Result != place.Applied {
		return shard.CodeConflict, nil
	}
	return shard.CodeOK, nil
}

// AppendSnapshot is shard.Placement's.
func (p *machine) AppendSnapshot(dst []byte) []byte { return p.m.AppendSnapshot(dst) }

// Check is shard.Placement's: another version's map is refused before anything is given up for it.
func (p *machine) Check(snapshot []byte) error {
	_, err := place.LoadMap(snapshot)
	return err
}

// Load is shard.Placement's.
func (p *machine) Load(snapshot []byte) error {
	m, err := place.LoadMap(snapshot)
	if err != nil {
		return err
	}
	p.m = m
	p.show()
	return nil
}
