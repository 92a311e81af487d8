package place

import "slices"

// Result is what became of a command.
type Result uint8

const (
	// Applied: the map is as the command wants it.
	Applied Result = iota
	// Conflict: the map has moved on since the command was made. Look again, then decide again.
	Conflict
	// Refused: the command asks for what must not be; Reason says why.
	Refused
)

func (r Result) String() string { return [...]string{"applied", "conflict", "refused"}[r] }

// Reason says why a command was refused.
type Reason uint8

// The reasons, with what an operator reads.
const (
	NoReason Reason = iota
	NoSuchNode
	NodeRemoved
	IncarnationInUse
	TooManyNodes
	LastActive
	NotDraining
	HoldsReplicas
	BadSet
)

func (r Reason) String() string {
	return [...]string{
		"", "there is no such node", "the node was removed from the cluster: wipe its data directory to let it join again",
		"another node has the same incarnation: one data directory is a copy of the other", "the cluster has as many nodes as it may have",
		"it is the last active node", "drain the node first", "the node still holds replicas", "the set names a node that cannot take a replica",
	}[r]
}

// Outcome is the answer to a command.
type Outcome struct {
	Result Result
	Reason Reason // of Refused
	ID     uint64 // Join: the node's id, if Applied
}

// Apply executes one encoded command, deterministically. An error means that the command is not one of this
// version: the node must stop, with the map as it was. Whether anything changed shows in Version.
func (m *Map) Apply(cmd []byte) (Outcome, error) {
	c, err := Decode(cmd)
	if err != nil {
		return Outcome{}, err
	}
	return c.apply(m), nil
}

func refused(r Reason) Outcome { return Outcome{Result: Refused, Reason: r} }

func (c *Join) apply(m *Map) Outcome {
	members := 0
	var old *Node // who has the name now
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.Member() {
			members++
		}
		switch {
		case n.Incarnation == c.Incarnation && n.State == Removed:
			return refused(NodeRemoved)
		case n.Incarnation == c.Incarnation && n.Name == c.Name:
			return Outcome{ID: n.ID}
		case n.Incarnation == c.Incarnation:
			return refused(IncarnationInUse)
		case n.Member() && n.Name == c.Name:
			old = n
		}
	}
	switch {
	case old == nil && c.Replaces != 0, old != nil && c.Replaces != old.ID:
		return Outcome{Result: Conflict}
	case old == nil && members >= MaxNodes:
		return refused(TooManyNodes)
	}
	id := m.NextID
	m.NextID++
	m.Version++
	if old != nil {
		m.swap(old.ID, id)
		m.bury(old.ID)
	}
	m.Nodes = append(slices.Clip(m.Nodes), Node{ID: id, Name: c.Name, Incarnation: c.Incarnation, Addr: c.Addr, State: Active})
	return Outcome{ID: id}
}

// swap puts id in the place of old in every set.
func (m *Map) swap(old, id uint64) {
	for s, set := range &m.Replicas {
		if has(set, old) {
			m.Replicas[s] = with(set, old, id)
		}
	}
	if has(m.Voters, old) {
		m.Voters = with(m.Voters, old, id)
	}
}

// bury marks a node as removed and forgets the oldest of too many that are.
func (m *Map) bury(id uint64) {
	m.Nodes = slices.Clone(m.Nodes)
	n := m.Node(id)
	n.State, n.Addr = Removed, ""
	removed, oldest := 0, -1
	for i := range m.Nodes {
		if m.Nodes[i].State == Removed {
			if removed++; oldest < 0 {
				oldest = i
			}
		}
	}
	if removed > MaxRemoved {
		m.Nodes = slices.Delete(m.Nodes, oldest, oldest+1)
	}
}

func (c *SetAddress) apply(m *Map) Outcome {
	n := m.Node(c.ID)
	switch {
	case n == nil:
		return refused(NoSuchNode)
	case n.State == Removed:
		return refused(NodeRemoved)
	case n.Addr == c.To:
		return Outcome{}
	case n.Addr != c.From:
		return Outcome{Result: Conflict}
	}
	m.edit(c.ID).Addr = c.To
	return Outcome{}
}

// edit returns the node for a change, in a copy of the list.
func (m *Map) edit(id uint64) *Node {
	m.Version++
	m.Nodes = slices.Clone(m.Nodes)
	return m.Node(id)
}

func (c *Drain) apply(m *Map) Outcome {
	n := m.Node(c.ID)
	switch {
	case n == nil:
		return refused(NoSuchNode)
	case n.State == Removed:
		return refused(NodeRemoved)
	case n.State == Draining:
		return Outcome{}
	}
	others := slices.ContainsFunc(m.Nodes, func(o Node) bool { return o.State == Active && o.ID != c.ID })
	if !others {
		return refused(LastActive)
	}
	m.edit(c.ID).State = Draining
	return Outcome{}
}

func (c *Undrain) apply(m *Map) Outcome {
	n := m.Node(c.ID)
	switch {
	case n == nil:
		return refused(NoSuchNode)
	case n.State == Removed:
		return refused(NodeRemoved)
	case n.State == Draining:
		m.edit(c.ID).State = Active
	}
	return Outcome{}
}

func (c *Remove) apply(m *Map) Outcome {
	n := m.Node(c.ID)
	switch {
	case n == nil:
		return refused(NoSuchNode)
	case n.State == Removed:
		return Outcome{}
	case n.State != Draining:
		return refused(NotDraining)
	}
	for g := range uint32(Group + 1) {
		if has(m.Set(g), c.ID) {
			return refused(HoldsReplicas)
		}
	}
	m.Version++
	m.bury(c.ID)
	return Outcome{}
}

func (c *SetReplicas) apply(m *Map) Outcome {
	now := m.Set(c.Group)
	switch {
	case slices.Equal(now, c.To):
		return Outcome{}
	case !slices.Equal(now, c.From):
		return Outcome{Result: Conflict}
	}
	for _, id := range c.To {
		// Who is in the set already may be draining.
		if !has(now, id) && !m.Active(id) {
			return refused(BadSet)
		}
	}
	m.Version++
	to := slices.Clone(c.To)
	if c.Group == Group {
		m.Voters = to
	} else {
		m.Replicas[c.Group] = to
	}
	return Outcome{}
}
