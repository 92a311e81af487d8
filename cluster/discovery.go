package cluster

import (
	"fmt"
	"slices"
	"strings"

	"fastpaca/cluster/place"
)

// discovery brings a node without a cluster to one. It is a step machine: the shell asks whom it names, hands it what they
// answered, and ends the round; it answers what others ask. It does no I/O but through ids, which is durable when it
// returns. It is not safe for concurrent use.
//
// # Founding
//
// A genesis is decided by one node alone, its founder, in two phases:
//
//	founder                              every other node of the genesis
//	writes it: promised(G)
//	offer G  --------------------------> has no cluster and no promise? writes promised(G)
//	         <-------------------------- accepted
//	all of them? writes member(G)
//	asked about G: go -----------------> writes member(G), starts its groups
//
// or, where one of them refuses or does not answer in time, the founder writes "no cluster", answers `none` about G from
// then on, and whoever had promised is free again. Cluster ids are drawn anew for each attempt, so that a late offer of a G
// given up is one whose founder answers `none`.
//
// Why there can be only one cluster. (1) A node is in one promise or cluster at a time, and its word is on disk before it is
// said. (2) A promise ends by its founder's word only: `go`, or `none`, and the founder never says `go` after `none`,
// since it writes its decision first and ids are not used twice; `none` is believed only in an answer to a question that
// was asked under the promise, so it cannot be older than the offer. Hence a founded G has the promise of each of its
// nodes kept: two founded geneses share no node. (3) A genesis contains nodes behind a majority of the seed addresses.
// Two majorities of the same addresses share one, and behind it is one directory (unless it was wiped, which is why a
// founder also needs Size nodes, none of which sees a cluster). So there is no second one.
//
// A founder that is lost for ever between the phases leaves the others waiting. Nothing was ever written in such a
// cluster, so the way out is to remove their directories; the node says so in its log (promise_stuck).
type discovery struct {
	self Seen
	size int
	ids  identities

	newID func() string
	rand  func() uint64
	logf  func(event string, kv ...any)

	round   uint64
	seen    map[string]*sighting // by incarnation; whoever answered lately
	hearsay map[string]uint64    // addresses that others named, and the round in which
	seeds   map[string]string    // seed address -> incarnation that answered there in this round, or ""
	missing int                  // seed hosts that did not resolve in this round

	accepted map[string]bool // founder: who has promised ids' Pending
	since    uint64          // the round in which the promise began
	backoff  uint64          // no founding before this round
	joining  bool            // a join is under way: no promises
	joinTurn uint64
	warned   map[string]bool
	sayAt    uint64 // the round in which this node says next whom it waits for
}

// identities is what a node knows for good. Every write is durable when it returns nil.
type identities interface {
	identity() Identity
	promise(g *place.Genesis) error
	abandon() error
	enter(raftID uint64, joined bool, g *place.Genesis) error
}

// sighting is the last answer of a node.
type sighting struct {
	node      Seen
	at        string // the address that it answered at
	round     uint64
	clusterID string
	raftID    uint64
	promised  string
	elsewhere bool
	standing  standing
	view      []Seen
}

const (
	// freshRounds is how long an answer counts: a node may miss one round, no more, and still be seen.
	freshRounds = 2
	// hearsayRounds is how long an address that others named is tried.
	hearsayRounds = 20
	// offerRounds is how long a founder waits for all promises. A node that is slow to write takes part; one that died since it
	// was seen must not hold up the others.
	offerRounds = 20
	// stuckRounds is when a node that waits for a founder says so.
	stuckRounds = 60
	// aloneRounds is when a node without a cluster or a promise says whom it waits for, some ten seconds after its start; then it says
	// it after twice as many rounds each time.
	aloneRounds = 50
	// backoffRounds bounds the random pause after an attempt that was given up, so that two founders do not meet again
	// and again.
	backoffRounds = 8
	warnedMax     = 256
)

func newDiscovery(
	self Seen, size int, ids identities, newID func() string, rand func() uint64, logf func(string, ...any),
) *discovery {
	return &discovery{
		self: self, size: size, ids: ids, newID: newID, rand: rand, logf: logf,
		seen: map[string]*sighting{}, hearsay: map[string]uint64{}, seeds: map[string]string{},
		accepted: map[string]bool{}, warned: map[string]bool{}, sayAt: aloneRounds,
	}
}

// begin starts a round: seeds are the addresses that the seed list resolves to now, missing the hosts that did not
// resolve. It returns whom to ask, in a fixed order.
func (d *discovery) begin(seeds []string, missing int) []string {
	d.round++
	clear(d.seeds)
	for _, a := range seeds {
		d.seeds[a] = ""
	}
	d.missing = missing
	targets := map[string]bool{}
	for a := range d.seeds {
		targets[a] = true
	}
	for a, round := range d.hearsay {
		if d.round-round > hearsayRounds {
			delete(d.hearsay, a)
			continue
		}
		targets[a] = true
	}
	for inc, s := range d.seen {
		if d.round-s.round > hearsayRounds {
			delete(d.seen, inc)
			continue
		}
		targets[s.at] = true
	}
	if g := d.ids.identity().Pending; g != nil {
		for i := range g.Nodes {
			targets[g.Nodes[i].Addr] = true
		}
	}
	delete(targets, d.self.Address)
	if _, own := d.seeds[d.self.Address]; own {
		d.seeds[d.self.Address] = d.self.Incarnation
	}
	out := make([]string, 0, len(targets))
	for a := range targets {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// question is what to ask everybody in this round.
func (d *discovery) question() ask {
	id := d.ids.identity()
	a := ask{Version: exchangeVersion, From: d.self, ClusterID: id.ClusterID, RaftID: id.RaftID, View: d.view()}
	if g := id.Pending; g != nil {
		a.Promised = g.ClusterID
		if founderOf(g).Incarnation == d.self.Incarnation {
			a.Offer = g // whom it does not name refuses it, which the founder does not count
		}
	}
	return a
}

// view is this node and those without a cluster that answered it lately, in name order.
func (d *discovery) view() []Seen {
	list := []Seen{d.self}
	for _, s := range d.fresh() {
		if s.clusterID == "" && len(list) < viewMax {
			list = append(list, s.node)
		}
	}
	slices.SortFunc(list, compareSeen)
	return list
}

func compareSeen(a, b Seen) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.Incarnation, b.Incarnation)
}

func (d *discovery) isFresh(s *sighting) bool { return d.round-s.round < freshRounds }

// fresh returns the other nodes that answered lately, in name order.
func (d *discovery) fresh() []*sighting {
	var list []*sighting
	for _, s := range d.seen {
		if d.isFresh(s) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *sighting) int { return compareSeen(a.node, b.node) })
	return list
}

// self behind an address is found out by asking (peer.ErrSelf).
func (d *discovery) heardSelf(addr string) {
	if _, ok := d.seeds[addr]; ok {
		d.seeds[addr] = d.self.Incarnation
	}
	delete(d.hearsay, addr)
}

// heard takes the answer r to the question a, which this node had put to addr, in this round or an earlier one.
func (d *discovery) heard(addr string, a *ask, r *reply) error {
	if r.From.Incarnation == d.self.Incarnation {
		d.heardSelf(addr)
		return nil
	}
	if _, ok := d.seeds[addr]; ok {
		d.seeds[addr] = r.From.Incarnation
	}
	if len(d.seen) < seenMax || d.seen[r.From.Incarnation] != nil {
		d.seen[r.From.Incarnation] = &sighting{
			node: r.From, at: addr, round: d.round, clusterID: r.ClusterID, raftID: r.RaftID, promised: r.Promised,
			elsewhere: r.Elsewhere, standing: r.Standing, view: r.View,
		}
	}
	d.listen(r.View)
	if own := d.ids.identity().ClusterID; own != "" && r.ClusterID != "" && own != r.ClusterID {
		d.warn("other_cluster", r.ClusterID+" "+addr, "at", addr, "name", r.From.Name, "cluster", r.ClusterID, "own_cluster", own,
			"advice", "the seeds lead to a node of another cluster; it is left alone")
	}

	g := d.ids.identity().Pending
	if g == nil || a.Promised != g.ClusterID {
		return nil
	}
	if founderOf(g).Incarnation == d.self.Incarnation {
		return d.counted(g, r)
	}
	switch {
	case r.Verdict == verdictGo:
		return d.enter(g)
	case r.Verdict == verdictNone && r.From.Incarnation == founderOf(g).Incarnation:
		return d.release(g, "its founder gave it up")
	}
	return nil
}

// counted is the founder's half of heard.
func (d *discovery) counted(g *place.Genesis, r *reply) error {
	if m := among(g, r.From.Incarnation); m != nil {
		if !r.Accepted {
			return d.release(g, fmt.Sprintf("%s refused", m.Name))
		}
		d.accepted[m.Incarnation] = true
	}
	return d.decide(g)
}

// decide founds g when everybody has promised it.
func (d *discovery) decide(g *place.Genesis) error {
	for i := range g.Nodes {
		if inc := g.Nodes[i].Incarnation; inc != d.self.Incarnation && !d.accepted[inc] {
			return nil
		}
	}
	return d.enter(g)
}

func (d *discovery) enter(g *place.Genesis) error {
	if err := d.ids.enter(among(g, d.self.Incarnation).ID, false, g); err != nil {
		return err
	}
	d.logf("cluster_founded", "cluster", g.ClusterID, "nodes", len(g.Nodes), "founder", founderOf(g).Name)
	return nil
}

// release ends a promise that its founder did not keep.
func (d *discovery) release(g *place.Genesis, why string) error {
	if err := d.ids.abandon(); err != nil {
		return err
	}
	clear(d.accepted)
	d.backoff = d.round + 1 + d.rand()%backoffRounds
	d.logf("founding_given_up", "cluster", g.ClusterID, "why", why)
	return nil
}

// listen remembers addresses that others name.
func (d *discovery) listen(nodes []Seen) {
	for _, n := range nodes {
		own := n.Incarnation == d.self.Incarnation || n.Address == d.self.Address
		if !own && (len(d.hearsay) < seenMax || d.hearsay[n.Address] != 0) {
			d.hearsay[n.Address] = d.round
		}
	}
}

// warn logs once per event and key.
func (d *discovery) warn(event, key string, kv ...any) {
	if k := event + " " + key; !d.warned[k] && len(d.warned) < warnedMax {
		d.warned[k] = true
		d.logf(event, kv...)
	}
}
