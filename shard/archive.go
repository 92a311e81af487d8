package shard

import (
	"bytes"
	"time"
)

// What the archiver needs to see of the shards. All of it is for any goroutine, takes no lock and waits for no loop.

// Leads says whether this node leads the group, as it knows.
func (n *Node) Leads(group uint32) bool { return n.groups[group].leads.Load() }

// EachContext calls f for every context of a shard on this node, whatever its role, in the order of its place, which is
// its for ever. A context that is made meanwhile may be missed. Of those that are on disk only, it shows those with messages
// that are in no archive, and reads them for that; c must not be kept.
func (n *Node) EachContext(group uint32, f func(place int, c *Context)) {
	m := n.groups[group].live.Load()
	if m == nil {
		return
	}
	r := acquireRecords()
	defer releaseRecords(r)
	m.contexts.each(func(i uint32, c *Context) bool {
		if c == nil {
			var err error
			if !m.behind(i) {
				return true
			}
			if c, err = m.fetchBy(r, i, false); err != nil {
				return n.unread(n.groups[group], err) != CodeUnavailable
			}
		}
		f(int(i), c)
		return true
	})
}

// behind says whether the record of a context on disk has messages that are in no archive.
func (m *Machine) behind(ordinal uint32) bool {
	m.parking.mu.Lock()
	defer m.parking.mu.Unlock()
	return m.contexts.seat(ordinal).behind()
}

// TailKeep is how many messages a context keeps in memory at least.
func (n *Node) TailKeep() int { return n.opt.TailKeep }

// StoredFacts reads off a message, as it is kept and served, what the server has put into it: token_count and
// inserted_at in Unix ms. ok is false where json is no such message.
func StoredFacts(json []byte) (tokens uint32, ms int64, ok bool) {
	end := len(json) - len(storedEnd)
	at := end - timeLen
	head := at - len(storedInserted)
	if head < 0 || string(json[end:]) != storedEnd || string(json[head:at]) != storedInserted {
		return 0, 0, false
	}
	when, err := time.Parse(time.RFC3339, string(json[at:end]))
	if err != nil {
		return 0, 0, false
	}
	rest := bytes.TrimSuffix(json[:head], []byte(storedMetadata))
	digit := len(rest)
	n, unit := uint64(0), uint64(1)
	for ; digit > 0 && rest[digit-1] >= '0' && rest[digit-1] <= '9' && unit <= 1e9; digit-- {
		n += uint64(rest[digit-1]-'0') * unit
		unit *= 10
	}
	if digit == len(rest) || n > 1<<32-1 || !bytes.HasSuffix(rest[:digit], []byte(storedTokens)) {
		return 0, 0, false
	}
	return uint32(n), when.UnixMilli(), true
}
