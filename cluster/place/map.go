package place

import "slices"

// Map is the state of the placement group. Every node applies the same commands to it in the same order.
//
// A Map is changed by Apply only. Slices are replaced, never written into, so that a Clone is cheap and may be
// read by others while the original goes on.
//
// Invariants: Nodes ascends by id, all ids are below NextID; names and incarnations of members are unique; every
// id in a set is a member; sets ascend and are not empty.
type Map struct {
	Version   uint64 // +1 per command that changed something; 1 after the genesis
	ClusterID string
	NextID    uint64 // the id of the next node that joins
	Nodes     []Node // members, and up to MaxRemoved that left
	// Replicas are the desired voters of each shard, ids.
	Replicas [Shards][]uint64
	// Voters are the desired voters of the placement group; all other members are its learners.
	Voters []uint64
}

// Node finds a node by id; nil if it is not in the map. The result is read-only and valid until the next Apply.
func (m *Map) Node(id uint64) *Node {
	i, ok := slices.BinarySearchFunc(m.Nodes, id, func(n Node, id uint64) int {
		switch {
		case n.ID < id:
			return -1
		case n.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &m.Nodes[i]
}

// ByName finds the member of that name; nil if there is none.
func (m *Map) ByName(name string) *Node {
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Name == name && n.Member() {
			return n
		}
	}
	return nil
}

// Departed reports whether id was once given to a node that has left since.
func (m *Map) Departed(id uint64) bool {
	n := m.Node(id)
	return id != 0 && id < m.NextID && (n == nil || n.State == Removed)
}

// Active reports whether id is an active member.
func (m *Map) Active(id uint64) bool {
	n := m.Node(id)
	return n != nil && n.State == Active
}

// Set returns the desired voters of a group; nil for a group that does not exist. Read-only.
func (m *Map) Set(group uint32) []uint64 {
	switch {
	case group < Shards:
		return m.Replicas[group]
	case group == Group:
		return m.Voters
	}
	return nil
}

// Load counts the shards that want id as a replica.
func (m *Map) Load(id uint64) int {
	n := 0
	for _, set := range &m.Replicas {
		if has(set, id) {
			n++
		}
	}
	return n
}

// Clone returns a copy that later Applies do not change.
func (m *Map) Clone() *Map {
	c := *m
	c.Nodes = slices.Clone(m.Nodes)
	return &c
}

// Coordinator is the id of the live member with the lowest name, 0 if no member is live. Every node asks this of
// its own view; that two may answer differently for a while does no harm (see the package comment).
func Coordinator(m *Map, live func(id uint64) bool) uint64 {
	var best *Node
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Member() && live(n.ID) && (best == nil || n.Name < best.Name) {
			best = n
		}
	}
	if best == nil {
		return 0
	}
	return best.ID
}

// PlacementMembers returns who is in the placement group: its desired voters, and all other members of the
// cluster as learners, so that every node has the map. Both ascend.
func PlacementMembers(m *Map) (voters, learners []uint64) {
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Member() && !has(m.Voters, n.ID) {
			learners = append(learners, n.ID)
		}
	}
	return slices.Clone(m.Voters), learners
}

// placementVoters is how many voters the placement group has among n nodes. Every change of the map waits for a
// majority of them: more than five would cost more than they add.
func placementVoters(n int) int {
	if n >= MaxReplicas {
		return MaxReplicas
	}
	return min(n, Replicas)
}

// has reports whether sorted contains id.
func has(sorted []uint64, id uint64) bool {
	_, ok := slices.BinarySearch(sorted, id)
	return ok
}

// with returns a new set: sorted without out (0: nobody) and with in (0: nobody).
func with(sorted []uint64, out, in uint64) []uint64 {
	set := make([]uint64, 0, len(sorted)+1)
	for _, id := range sorted {
		if id != out {
			set = append(set, id)
		}
	}
	if in != 0 && !slices.Contains(set, in) {
		set = append(set, in)
		slices.Sort(set)
	}
	return set
}
