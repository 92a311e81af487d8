package place

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The snapshot of a Map, and the encoding of a Genesis:
//
//	map      | version u8 = 1 | Version u64 | NextID u64 | cluster id str | nodes u8 | node ... | set of group 0 | ... | set of group 256 |
//	node     | id u64 | state u8 | name str | incarnation str | address str (empty: removed) |
//	genesis  | version u8 = 1 | cluster id str | nodes u8 | name str, incarnation str, address str ... |
//
// MaxNodes members and MaxRemoved tombstones with the longest strings and the largest sets make less than 60 KiB:
// 64*459 + 64*204 + 257*41 + 83 bytes.
//
// Why not JSON: the snapshot is compared byte for byte between replicas, and one value must have one encoding.
const (
	snapshotVersion = 1
	genesisVersion  = 1

	// maxID bounds ids and versions that come from outside, so that adding one never wraps.
	maxID = 1 << 62
)

// AppendSnapshot appends the encoding of m to dst. Equal maps have equal encodings.
func (m *Map) AppendSnapshot(dst []byte) []byte {
	dst = append(dst, snapshotVersion)
	dst = binary.LittleEndian.AppendUint64(dst, m.Version)
	dst = binary.LittleEndian.AppendUint64(dst, m.NextID)
	dst = appendString(dst, m.ClusterID)
	dst = append(dst, byte(len(m.Nodes)))
	for i := range m.Nodes {
		n := &m.Nodes[i]
		dst = binary.LittleEndian.AppendUint64(dst, n.ID)
		dst = append(dst, byte(n.State))
		dst = appendString(dst, n.Name)
		dst = appendString(dst, n.Incarnation)
		dst = appendString(dst, n.Addr)
	}
	for _, set := range &m.Replicas {
		dst = appendSet(dst, set)
	}
	return appendSet(dst, m.Voters)
}

// LoadMap is the inverse of AppendSnapshot. It keeps nothing of b and accepts only what AppendSnapshot makes of a
// valid map.
func LoadMap(b []byte) (*Map, error) {
	r := &reader{b: b}
	if v := r.u8(); r.err == nil && v != snapshotVersion {
		return nil, fmt.Errorf("place: the map's snapshot has format %d, this version reads %d: upgrade this node", v, snapshotVersion)
	}
	m := &Map{Version: r.u64(), NextID: r.u64(), ClusterID: r.string()}
	count := int(r.u8())
	if count > MaxNodes+MaxRemoved {
		r.fail(errors.New("too many nodes"))
		count = 0
	}
	for range count {
		m.Nodes = append(m.Nodes, Node{
			ID: r.u64(), State: State(r.u8()), Name: r.string(), Incarnation: r.string(), Addr: r.string(),
		})
	}
	for i := range m.Replicas {
		m.Replicas[i] = r.set()
	}
	m.Voters = r.set()
	if err := r.end("the map's snapshot"); err != nil {
		return nil, err
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("place: the map's snapshot: %w", err)
	}
	return m, nil
}

// validate checks the invariants of Map.
func (m *Map) validate() error {
	if m.ClusterID == "" || len(m.ClusterID) > MaxClusterID {
		return fmt.Errorf("cluster id of %d bytes", len(m.ClusterID))
	}
	if m.Version == 0 || m.Version > maxID || m.NextID > maxID {
		return fmt.Errorf("version %d, next id %d", m.Version, m.NextID)
	}
	members, removed, last := 0, 0, uint64(0)
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.ID <= last || n.ID >= m.NextID {
			return fmt.Errorf("node %d is out of order", n.ID)
		}
		last = n.ID
		addr := n.Addr
		switch n.State {
		case Active, Draining:
			members++
		case Removed:
			removed++
			if addr != "" {
				return fmt.Errorf("node %d is removed and has an address", n.ID)
			}
			addr = "none" // only so that the check below passes
		default:
			return fmt.Errorf("node %d has %v", n.ID, n.State)
		}
		if err := checkStrings(n.Name, n.Incarnation, addr); err != nil {
			return err
		}
		for j := range m.Nodes[:i] {
			o := &m.Nodes[j]
			if o.Incarnation == n.Incarnation || o.Member() && n.Member() && o.Name == n.Name {
				return fmt.Errorf("nodes %d and %d are the same", o.ID, n.ID)
			}
		}
	}
	if members > MaxNodes || removed > MaxRemoved {
		return fmt.Errorf("%d members and %d removed nodes", members, removed)
	}
	for g := range uint32(Group + 1) {
		set := m.Set(g)
		if len(set) == 0 {
			return fmt.Errorf("group %d has no replicas", g)
		}
		for _, id := range set {
			if n := m.Node(id); n == nil || !n.Member() {
				return fmt.Errorf("group %d wants node %d, which is no member", g, id)
			}
		}
	}
	return nil
}

// AppendGenesis appends the encoding of g, which must be valid, to dst.
func AppendGenesis(dst []byte, g *Genesis) []byte {
	dst = append(dst, genesisVersion)
	dst = appendString(dst, g.ClusterID)
	dst = append(dst, byte(len(g.Nodes)))
	for i := range g.Nodes {
		n := &g.Nodes[i]
		dst = appendString(appendString(appendString(dst, n.Name), n.Incarnation), n.Addr)
	}
	return dst
}

// DecodeGenesis is the inverse of AppendGenesis. It keeps nothing of b and accepts only what AppendGenesis makes
// of a valid genesis.
func DecodeGenesis(b []byte) (*Genesis, error) {
	r := &reader{b: b}
	if v := r.u8(); r.err == nil && v != genesisVersion {
		return nil, fmt.Errorf("place: the genesis has format %d, this version reads %d: found the cluster with one version", v, genesisVersion)
	}
	g := &Genesis{ClusterID: r.string()}
	for i := range int(r.u8()) {
		if r.err != nil {
			break
		}
		g.Nodes = append(g.Nodes, Node{ID: uint64(i) + 1, State: Active, Name: r.string(), Incarnation: r.string(), Addr: r.string()})
	}
	if err := r.end("genesis"); err != nil {
		return nil, err
	}
	return g, g.Validate()
}

// Equal compares two genesis values.
func (g *Genesis) Equal(o *Genesis) bool {
	return g.ClusterID == o.ClusterID && slices.Equal(g.Nodes, o.Nodes)
}
