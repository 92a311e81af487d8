package place

import (
	"fmt"
	"slices"
	"strings"

	"fastpaca/raft"
)

// Genesis is who founded the cluster. It is written once and never changes: all founders derive the first
// membership of every group from it alone, so that a cluster of three has three voters everywhere from index 0.
type Genesis struct {
	ClusterID string `json:"cluster_id"`
	Nodes     []Node `json:"nodes"` // in name order, ids 1, 2, 3 ..., all active
}

// NewGenesis makes the genesis of the given founders, of which only Name, Incarnation and Addr count.
func NewGenesis(clusterID string, founders []Node) (*Genesis, error) {
	g := &Genesis{ClusterID: clusterID, Nodes: slices.Clone(founders)}
	slices.SortFunc(g.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	for i := range g.Nodes {
		g.Nodes[i].ID, g.Nodes[i].State = uint64(i)+1, Active
	}
	return g, g.Validate()
}

// Validate checks what came from a file or another node.
func (g *Genesis) Validate() error {
	if err := checkString("cluster id", g.ClusterID, MaxClusterID); err != nil {
		return err
	}
	if len(g.Nodes) == 0 || len(g.Nodes) > MaxNodes {
		return fmt.Errorf("place: genesis of %d nodes: use 1 to %d", len(g.Nodes), MaxNodes)
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if err := checkStrings(n.Name, n.Incarnation, n.Addr); err != nil {
			return err
		}
		if n.ID != uint64(i)+1 || n.State != Active || i > 0 && g.Nodes[i-1].Name >= n.Name {
			return fmt.Errorf("place: genesis: founders are not numbered 1 to %d in the order of different names", len(g.Nodes))
		}
		for _, o := range g.Nodes[:i] {
			if o.Incarnation == n.Incarnation {
				return fmt.Errorf("place: genesis: nodes %q and %q have the same incarnation: one directory is a copy of the other", o.Name, n.Name)
			}
		}
	}
	return nil
}

// Map is the map at index 0 of the placement group.
func (g *Genesis) Map() *Map {
	m := &Map{Version: 1, ClusterID: g.ClusterID, NextID: uint64(len(g.Nodes)) + 1, Nodes: slices.Clone(g.Nodes)}
	ids := make([]uint64, len(g.Nodes))
	for i := range g.Nodes {
		ids[i] = g.Nodes[i].ID
	}
	m.Replicas = Initial(ids)
	m.Voters = slices.Clone(ids[:placementVoters(len(ids))])
	return m
}

// Conf is the membership that group was founded with.
func (g *Genesis) Conf(group uint32) raft.Conf {
	m := g.Map()
	if group == Group {
		voters, learners := PlacementMembers(m)
		return raft.Conf{Voters: voters, Learners: learners}
	}
	return raft.Conf{Voters: slices.Clone(m.Set(group))}
}
