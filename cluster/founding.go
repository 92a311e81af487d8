package cluster

import (
	"slices"

	"fastpaca/cluster/place"
)

// found proposes a genesis if it is this node's turn to.
func (d *discovery) found() error {
	if d.round < d.backoff {
		return nil
	}
	nodes, ok := d.circle()
	if !ok || len(nodes) < d.size || !d.majority(nodes) {
		return nil
	}
	g, err := newGenesis(d.newID(), nodes)
	if err != nil {
		return err
	}
	if err := d.ids.promise(g); err != nil {
		return err
	}
	d.since = d.round
	clear(d.accepted)
	return d.decide(g) // a cluster of one is founded here and now
}

// circle returns this node and those who all see one another, have neither cluster nor promise, and agree that this node's
// name is the lowest. false: it is somebody else's turn, or two nodes have one name.
func (d *discovery) circle() ([]Seen, bool) {
	nodes := []Seen{d.self}
	var in []*sighting
	for _, s := range d.fresh() {
		switch {
		case s.node.Name == d.self.Name:
			d.warn("name_taken", s.node.Incarnation, "name", s.node.Name, "at", s.at,
				"advice", "two nodes have the same FASTPACA_NODE_NAME; rename one and remove its empty data directory")
			return nil, false
		case s.elsewhere:
			return nil, false
		case s.clusterID != "" || s.promised != "":
			continue
		case s.node.Name < d.self.Name:
			return nil, false
		}
		if len(nodes) < place.MaxNodes && d.agrees(s, in) {
			nodes, in = append(nodes, s.node), append(in, s)
		}
	}
	return nodes, true
}

// agrees: s sees this node and all of in, they see s, and s knows no lower name than this node's.
func (d *discovery) agrees(s *sighting, in []*sighting) bool {
	if !sees(s.view, d.self) || len(s.view) > 0 && s.view[0].Name < d.self.Name {
		return false
	}
	for _, o := range in {
		if o.node.Name == s.node.Name || !sees(s.view, o.node) || !sees(o.view, s.node) {
			return false
		}
	}
	return true
}

func sees(view []Seen, n Seen) bool {
	return slices.ContainsFunc(view, func(v Seen) bool { return v.Incarnation == n.Incarnation })
}

// majority: more than half of the seed addresses lead to nodes. A host that did not resolve is one address that does not;
// this node is one that does, listed or not.
func (d *discovery) majority(nodes []Seen) bool {
	total, reached, own := len(d.seeds)+d.missing, 0, false
	for _, inc := range d.seeds {
		own = own || inc == d.self.Incarnation
		if slices.ContainsFunc(nodes, func(n Seen) bool { return n.Incarnation == inc }) {
			reached++
		}
	}
	if !own {
		total, reached = total+1, reached+1
	}
	return 2*reached > total
}

// foundAlone makes this node a cluster of one: it was given no seeds.
func (d *discovery) foundAlone() error {
	if id := d.ids.identity(); id.ClusterID != "" || id.Pending != nil {
		return nil // a promise outlives the seeds that it came by
	}
	g, err := newGenesis(d.newID(), []Seen{d.self})
	if err != nil {
		return err
	}
	return d.enter(g)
}
