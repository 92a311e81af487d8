package cluster

import (
	"slices"
	"strings"

	"fastpaca/cluster/place"
)

// step is what the end of a round asks the shell to do.
type step struct {
	join    string // ask the node at this address for a place in its cluster
	entered bool   // this node is a member
}

// end decides after the answers of a round.
func (d *discovery) end() (step, error) {
	id := d.ids.identity()
	if id.ClusterID == "" {
		var err error
		if id.Pending != nil {
			err = d.waitFor(id.Pending)
		} else if join, ok := d.clusterToJoin(); ok {
			return step{join: join}, nil
		} else {
			d.sayAlone()
			err = d.found()
		}
		if err != nil {
			return step{}, err
		}
	}
	return step{entered: d.ids.identity().ClusterID != ""}, nil
}

// waitFor bounds a founder's wait, and makes any other's known.
func (d *discovery) waitFor(g *place.Genesis) error {
	if d.since == 0 {
		d.since = d.round // it was promised before the node started
	}
	waited := d.round - d.since
	switch {
	case founderOf(g).Incarnation == d.self.Incarnation && waited > offerRounds:
		return d.release(g, "not all nodes answered")
	case waited == stuckRounds:
		d.logf("promise_stuck", "cluster", g.ClusterID, "waits_for", founderOf(g).Name, "at", founderOf(g).Addr,
			"advice", "start that node; if its disk is gone for good, stop these nodes and remove their data directories: nothing was ever written in this cluster")
	}
	return nil
}

// sayAlone tells the operator of a node that stays without a cluster which addresses nobody answers at.
func (d *discovery) sayAlone() {
	if d.round < d.sayAt {
		return
	}
	d.sayAt = 2 * d.round
	var silent []string
	for addr, incarnation := range d.seeds {
		if incarnation == "" {
			silent = append(silent, addr)
		}
	}
	slices.Sort(silent)
	d.logf("waiting_for_nodes", "found", 1+len(d.fresh()), "needed", d.size, "no_answer", strings.Join(silent, " "), "unresolved_hosts", d.missing)
}

// clusterToJoin returns an address of the cluster that this node sees, another one each time. ok is true, with no
// address, where it sees several: then it must not found one either.
func (d *discovery) clusterToJoin() (addr string, ok bool) {
	var members []*sighting
	for _, s := range d.fresh() {
		if s.clusterID == "" {
			continue
		}
		if len(members) > 0 && members[0].clusterID != s.clusterID {
			d.warn("two_clusters", s.clusterID, "here", members[0].clusterID, "at", members[0].at, "there", s.clusterID, "and_at", s.at,
				"advice", "the seeds lead to two clusters; name the nodes of one only")
			return "", true
		}
		members = append(members, s)
	}
	if len(members) == 0 {
		return "", false
	}
	d.joinTurn++
	return members[int(d.joinTurn%uint64(len(members)))].at, true
}

// join begins a join: until joined, this node makes no promises. false: it has a promise or a cluster.
func (d *discovery) join() (ask, bool) {
	id := d.ids.identity()
	if id.ClusterID != "" || id.Pending != nil {
		return ask{}, false
	}
	d.joining = true
	a := d.question()
	a.Join = true
	return a, true
}

// joined ends a join; w is nil if it failed.
func (d *discovery) joined(w *welcome) error {
	d.joining = false
	if w == nil {
		return nil
	}
	if err := d.ids.enter(w.RaftID, true, w.Genesis); err != nil {
		return err
	}
	d.logf("cluster_joined", "cluster", w.ClusterID, "raft_id", w.RaftID)
	return nil
}
