package cluster

import (
	"encoding/json"
	"slices"
	"strconv"

	"fastpaca/cluster/place"
)

// AppendStatus is httpd.Router: it appends the JSON of GET /v1/cluster to dst, as this node sees the cluster and the
// leaders report on their groups. It asks them, so it takes a round trip, or callWait where one does not answer.
// httpd.Router says what each member means.
func (n *Node) AppendStatus(dst []byte) []byte {
	ready, reason := n.Ready()
	dst = appendName(append(dst, `{"node":`...), n.self.Name)
	dst = appendName(append(dst, `,"version":`...), n.opt.Version)
	dst = strconv.AppendBool(append(dst, `,"ready":`...), ready)
	if !ready {
		dst = appendName(append(dst, `,"reason":`...), reason)
	}
	m := n.member.Load()
	if m == nil {
		return n.appendAlone(dst)
	}
	pm := m.machine.picture()
	s := newSummary(pm, n.collect(m, callWait))
	live := n.live(m)
	dst = appendName(append(dst, `,"cluster_id":`...), m.clusterID)
	dst = append(dst, `,"coordinator":`...)
	dst = appendNode(dst, pm, place.Coordinator(pm, live))
	dst = appendInt(dst, `,"map_version":`, pm.Version)
	dst = append(dst, `,"nodes":[`...)
	for i := range pm.Nodes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.appendNode(dst, &pm.Nodes[i], pm.Nodes[i].ID == m.id, live(pm.Nodes[i].ID))
	}
	return s.appendShards(append(dst, ']'))
}

// appendAlone is the rest of the status of a node that has no cluster yet.
func (n *Node) appendAlone(dst []byte) []byte {
	dst = append(dst, `,"cluster_id":"","coordinator":null,"map_version":0,"nodes":[{"name":`...)
	dst = appendName(dst, n.self.Name)
	dst = appendName(append(dst, `,"id":0,"address":`...), n.self.Address)
	dst = append(dst, `,"self":true,"state":"active","alive":true,"incarnation":`...)
	dst = appendName(dst, n.self.Incarnation)
	dst = append(dst, `,"replicas":0,"leading":0,"lag":0}],"shards":{"count":`...)
	dst = strconv.AppendInt(dst, place.Shards, 10)
	return append(dst, `,"with_leader":0,"moving":0,"max_lag":0},"moves":[],"leaders":[]}`...)
}

// summary is what the reports come to.
type summary struct {
	pm       *place.Map
	all      *reports
	replicas map[uint64]int // shards that have the node as voter; where nobody reports, that want it
	leading  map[uint64]int
	lag      map[uint64]uint64
	moving   []uint32
	withLead int
	maxLag   uint64
}

func newSummary(pm *place.Map, all *reports) *summary {
	s := &summary{pm: pm, all: all, replicas: map[uint64]int{}, leading: map[uint64]int{}, lag: map[uint64]uint64{}}
	for g := range uint32(place.Shards) {
		r := &all[g]
		for _, id := range s.voters(g) {
			s.replicas[id]++
		}
		if r.leader == 0 {
			continue
		}
		s.withLead++
		s.leading[r.leader]++
		if !r.settled {
			s.moving = append(s.moving, g)
		}
		for _, x := range r.members {
			s.lag[x.id] += r.commit - min(x.match, r.commit)
		}
		s.maxLag = max(s.maxLag, r.lag())
	}
	return s
}

// voters of a shard: as its leader says, or else as the map wants them.
func (s *summary) voters(g uint32) []uint64 {
	if s.all[g].leader != 0 {
		return s.all[g].voters()
	}
	return s.pm.Set(g)
}

// lag is how many entries the slowest member is behind.
func (r *groupReport) lag() (most uint64) {
	for _, x := range r.members {
		most = max(most, r.commit-min(x.match, r.commit))
	}
	return most
}

func (s *summary) appendNode(dst []byte, x *place.Node, self, alive bool) []byte {
	dst = appendName(append(dst, `{"name":`...), x.Name)
	dst = appendInt(dst, `,"id":`, x.ID)
	dst = appendName(append(dst, `,"address":`...), x.Addr)
	dst = strconv.AppendBool(append(dst, `,"self":`...), self)
	dst = appendName(append(dst, `,"state":`...), x.State.String())
	dst = strconv.AppendBool(append(dst, `,"alive":`...), alive && x.Member())
	dst = appendName(append(dst, `,"incarnation":`...), x.Incarnation)
	dst = appendInt(dst, `,"replicas":`, uint64(s.replicas[x.ID]))
	dst = appendInt(dst, `,"leading":`, uint64(s.leading[x.ID]))
	return append(appendInt(dst, `,"lag":`, s.lag[x.ID]), '}')
}

func (s *summary) appendShards(dst []byte) []byte {
	dst = appendInt(dst, `,"shards":{"count":`, place.Shards)
	dst = appendInt(dst, `,"with_leader":`, uint64(s.withLead))
	dst = appendInt(dst, `,"moving":`, uint64(len(s.moving)))
	dst = appendInt(dst, `,"max_lag":`, s.maxLag)
	dst = append(dst, `},"moves":[`...)
	for i, g := range s.moving {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendInt(dst, `{"shard":`, uint64(g))
		dst = s.appendNames(append(dst, `,"from":`...), s.voters(g))
		dst = append(s.appendNames(append(dst, `,"to":`...), s.pm.Set(g)), '}')
	}
	dst = append(dst, `],"leaders":[`...)
	for g := range uint32(place.Shards) {
		r := &s.all[g]
		if g > 0 {
			dst = append(dst, ',')
		}
		dst = appendInt(dst, `{"shard":`, uint64(g))
		dst = appendNode(append(dst, `,"leader":`...), s.pm, r.leader)
		dst = s.appendNames(append(dst, `,"replicas":`...), s.voters(g))
		dst = appendInt(dst, `,"term":`, r.term)
		dst = appendInt(dst, `,"applied":`, r.applied)
		dst = append(appendInt(dst, `,"lag":`, r.lag()), '}')
	}
	return append(dst, `]}`...)
}

func (s *summary) appendNames(dst []byte, ids []uint64) []byte {
	dst = append(dst, '[')
	for i, id := range slices.Sorted(slices.Values(ids)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendNode(dst, s.pm, id)
	}
	return append(dst, ']')
}

// appendNode appends the name of a node; null for nobody, its number for one that the map has forgotten.
func appendNode(dst []byte, pm *place.Map, id uint64) []byte {
	if id == 0 {
		return append(dst, `null`...)
	}
	if x := pm.Node(id); x != nil {
		return appendName(dst, x.Name)
	}
	return appendName(dst, "#"+strconv.FormatUint(id, 10))
}

func appendName(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return append(dst, b...)
}

func appendInt(dst []byte, name string, v uint64) []byte {
	return strconv.AppendUint(append(dst, name...), v, 10)
}
