package cluster

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"
)

// A report says how the groups are doing that a node leads: only leaders know who has how much of the log. Little endian:
//
//	report  | version u8 = 1 | map version u64 | groups u16 | group ... |
//	group   | id u16 | flags u8 (1: as the map wants it) | term u64 | commit u64 | applied u64 | members u8 | member ... |
//	member  | id u64 | match u64 | flags u8 (1: learner, 2: heard of lately) |
//
// With 257 groups of 3 members that is 20 KB; it is asked for by the coordinator while something moves, and by people.
const reportVersion = 1

const (
	reportSettled = 1
	reportLearner = 1
	reportActive  = 2

	reportMemberSize = 8 + 8 + 1
)

// groupReport is what a leader says of a group.
type groupReport struct {
	leader                uint64 // 0: nobody reported the group
	mapVersion            uint64 // that the leader compared with
	settled               bool
	term, commit, applied uint64
	members               []memberReport
}

type memberReport struct {
	id, match       uint64
	learner, active bool
}

// reports are those of all groups, by number.
type reports [place.Group + 1]groupReport

// settled: the group is as this version of the map, or a later one, wants it.
func (r *groupReport) settledAt(version uint64) bool {
	return r.leader != 0 && r.settled && r.mapVersion >= version
}

// holds: id is a member of any kind.
func (r *groupReport) holds(id uint64) bool {
	for _, x := range r.members {
		if x.id == id {
			return true
		}
	}
	return false
}

// voters are the ids of those that vote, ascending.
func (r *groupReport) voters() []uint64 {
	var ids []uint64
	for _, x := range r.members {
		if !x.learner {
			ids = append(ids, x.id)
		}
	}
	return ids
}

// reportWriter encodes a report.
type reportWriter struct {
	dst   []byte
	at    int // of the number of groups
	count int
}

func (w *reportWriter) begin(dst []byte, mapVersion uint64) {
	w.dst = binary.LittleEndian.AppendUint64(append(dst, reportVersion), mapVersion)
	w.at, w.count = len(w.dst), 0
	w.dst = append(w.dst, 0, 0)
}

// group adds one; leader and mapVersion are the whole report's.
func (w *reportWriter) group(g uint32, r *groupReport) {
	w.count++
	dst := append(binary.LittleEndian.AppendUint16(w.dst, uint16(g)), bit(r.settled, reportSettled))
	for _, v := range [...]uint64{r.term, r.commit, r.applied} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = append(dst, byte(len(r.members)))
	for _, x := range r.members {
		dst = binary.LittleEndian.AppendUint64(dst, x.id)
		dst = binary.LittleEndian.AppendUint64(dst, x.match)
		dst = append(dst, bit(x.learner, reportLearner)|bit(x.active, reportActive))
	}
	w.dst = dst
}

func (w *reportWriter) end() []byte {
	binary.LittleEndian.PutUint16(w.dst[w.at:], uint16(w.count))
	return w.dst
}

func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

// appendReport appends this node's report to dst.
func (n *Node) appendReport(dst []byte) []byte {
	m := n.member.Load()
	if m == nil {
		return dst
	}
	pm := m.machine.picture()
	var w reportWriter
	var r groupReport
	w.begin(dst, pm.Version)
	m.store.Members(func(st *shard.MemberStatus) {
		if st.Role != raft.Leader {
			return
		}
		r = groupReport{
			settled: st.ConfCommitted && place.Settled(st.Group, pm, &st.Conf),
			term:    st.Term, commit: st.Commit, applied: st.Applied, members: r.members[:0],
		}
		for i := range st.Peers {
			p := &st.Peers[i]
			r.members = append(r.members, memberReport{p.ID, p.Match, p.Learner, p.Active || p.ID == m.id})
		}
		w.group(st.Group, &r)
	})
	return w.end()
}

// add merges the report of node from: of two that say they lead a group, the one with the later term does.
func (r *reports) add(from uint64, b []byte) error {
	bad := func() error { return fmt.Errorf("cluster: node %d sent a report that cannot be read", from) }
	if len(b) < 11 || b[0] != reportVersion {
		return bad()
	}
	version := binary.LittleEndian.Uint64(b[1:])
	count := int(binary.LittleEndian.Uint16(b[9:]))
	b = b[11:]
	for range count {
		if len(b) < 28 || len(b) < 28+int(b[27])*reportMemberSize {
			return bad()
		}
		group := binary.LittleEndian.Uint16(b)
		if group > place.Group {
			return bad()
		}
		g := groupReport{
			leader: from, mapVersion: version, settled: b[2]&reportSettled != 0,
			term: binary.LittleEndian.Uint64(b[3:]), commit: binary.LittleEndian.Uint64(b[11:]),
			applied: binary.LittleEndian.Uint64(b[19:]),
		}
		for i := range int(b[27]) {
			x := b[28+i*reportMemberSize:]
			g.members = append(g.members, memberReport{
				id: binary.LittleEndian.Uint64(x), match: binary.LittleEndian.Uint64(x[8:]),
				learner: x[16]&reportLearner != 0, active: x[16]&reportActive != 0,
			})
		}
		b = b[28+int(b[27])*reportMemberSize:]
		if r[group].leader == 0 || r[group].term < g.term {
			r[group] = g
		}
	}
	if len(b) != 0 {
		return bad()
	}
	return nil
}

// collect asks all nodes that are alive for their reports, for wait at most.
func (n *Node) collect(m *member, wait time.Duration) *reports {
	all := new(reports)
	if err := all.add(m.id, n.appendReport(nil)); err != nil {
		panic(err) // its own encoding: mend appendReport
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	pm := m.machine.picture()
	for i := range pm.Nodes {
		id := pm.Nodes[i].ID
		if id == m.id || !pm.Nodes[i].Member() || !n.transport.Alive(id) {
			continue
		}
		asked.Go(func() {
			b, err := n.transport.Call(id, KindReport, nil, nil, wait)
			if err != nil {
				return // its groups have no report
			}
			mu.Lock()
			defer mu.Unlock()
			if err := all.add(id, b); err != nil {
				n.opt.Logf("report_failed", "node", id, "error", err.Error())
			}
		})
	}
	asked.Wait()
	return all
}
