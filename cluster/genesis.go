package cluster

import (
	"fmt"
	"net"
	"slices"

	"fastpaca/cluster/place"
)

// Seen is a node as others see it before it has a place in any map.
type Seen struct {
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
	Address     string `json:"address"`
}

// check says what is wrong with a node that came from elsewhere.
func (s Seen) check() error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	if s.Incarnation == "" || len(s.Incarnation) > place.MaxIncarnation {
		return fmt.Errorf("node %q has no incarnation, or one that is too long", s.Name)
	}
	return checkAddress(s.Address)
}

// checkAddress says whether others can reach a node at addr.
func checkAddress(addr string) error {
	if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" || len(addr) > place.MaxAddr {
		return fmt.Errorf("address %q: use host:port, at most %d bytes", addr, place.MaxAddr)
	}
	return nil
}

// newGenesis makes the genesis of a new cluster. Its first node, the one with the lowest name, is its founder: the one that
// proposes it and alone decides about it.
func newGenesis(clusterID string, nodes []Seen) (*place.Genesis, error) {
	list := make([]place.Node, len(nodes))
	for i, n := range nodes {
		list[i] = place.Node{Name: n.Name, Incarnation: n.Incarnation, Addr: n.Address}
	}
	return place.NewGenesis(clusterID, list)
}

func founderOf(g *place.Genesis) *place.Node { return &g.Nodes[0] }

// among returns the node of g that has the incarnation, or nil.
func among(g *place.Genesis, incarnation string) *place.Node {
	for i := range g.Nodes {
		if g.Nodes[i].Incarnation == incarnation {
			return &g.Nodes[i]
		}
	}
	return nil
}

func equalGenesis(a, b *place.Genesis) bool {
	return a.ClusterID == b.ClusterID && slices.Equal(a.Nodes, b.Nodes)
}
