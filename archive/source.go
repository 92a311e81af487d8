package archive

import (
	"context"
	"fmt"
	"math"
	"slices"

	"fastpaca/shard"
	"fastpaca/shard/jsonscan"
)

// Node is what ShardSource needs of a shard.Node.
type Node interface {
	Leads(group uint32) bool
	Applied(group uint32) uint64
	EachContext(group uint32, f func(place int, c *shard.Context))
	Replica(id []byte) (*shard.Context, shard.Code)
	AppendHistory(dst []byte, id []byte, from, to uint64, maxBytes int) (_ []byte, next uint64, err error)
	Do(group uint32, r *shard.Request)
}

// ShardSource is the shards of a node as a Source.
//
// A scan looks at every context of the shards that this node leads, some 50 ns each, but skips shards in which nothing
// has been applied since a scan that found nothing there. An idle node costs nothing; one with a million contexts of which
// a few are active in every shard spends 50 ms on each scan.
type ShardSource struct {
	node Node
	keep uint64
	logf func(event string, keyvals ...any)
	seen [shard.Shards]seen
	view shard.View
}

// seen is what the last scan found in a shard.
type seen struct {
	applied uint64 // index up to which it had been applied
	clean   bool   // nothing waited
	led     bool
}

// NewShardSource returns the shards of node as a Source. tailKeep is how many archived messages of each context stay in
// memory (FASTPACA_TAIL_KEEP); 0: all of them.
func NewShardSource(node Node, tailKeep int, logf func(event string, keyvals ...any)) *ShardSource {
	s := &ShardSource{node: node, keep: uint64(tailKeep), logf: logf}
	if tailKeep <= 0 {
		s.keep = math.MaxUint64
	}
	return s
}

// Waiting implements Source: entries applied since the last scan, most of which are appends.
func (s *ShardSource) Waiting() int {
	n := uint64(0)
	for g := range s.seen {
		if s.node.Leads(uint32(g)) {
			n += s.node.Applied(uint32(g)) - s.seen[g].applied // huge after Forget: that asks for a scan, which is right
		}
	}
	return int(min(n, math.MaxInt32))
}

// Scan implements Source.
func (s *ShardSource) Scan(all bool, f func(b *Backlog)) {
	v := &s.view
	defer v.Reset()
	for g := range s.seen {
		group, last := uint32(g), &s.seen[g]
		applied := s.node.Applied(group) // before the contexts: what is applied meanwhile counts as not seen
		if !s.node.Leads(group) {
			*last = seen{applied: applied}
			continue
		}
		if !all && last.led && last.clean && last.applied == applied {
			continue
		}
		*last = seen{applied: applied, clean: true, led: true}
		s.node.EachContext(group, func(place int, c *shard.Context) {
			c.View(v)
			if v.Last > v.Archived {
				last.clean = false
			} else if !all {
				return
			}
			f(&Backlog{
				Context: c.ID(), Order: uint64(group)<<32 | uint64(place) + 1,
				Archived: v.Archived, Last: v.Last, Tail: v.Last + 1 - v.First, Tokens: v.Used,
			})
		})
	}
}

// Read implements Source: out of memory, or, where the store has not answered for so long that messages had to leave it,
// out of the history files.
func (s *ShardSource) Read(id string, from uint64, page Page, dst []Row) []Row {
	c, code := s.node.Replica([]byte(id))
	if code != shard.CodeOK {
		return dst
	}
	v := &s.view
	c.View(v)
	defer v.Reset()
	if from > v.Last {
		return dst
	}
	if from < v.First {
		return s.readHistory(id, from, v.First-1, page, dst)
	}
	at := len(dst)
	dst = slices.Grow(dst, int(min(uint64(page.Rows), v.Last-from+1)))
	for size := 0; from <= v.Last && len(dst)-at < page.Rows; from++ {
		json, _, _ := v.Message(from)
		if size += len(json); size > page.Bytes && len(dst) > at {
			break
		}
		row, ok := s.row(id, from, json)
		if !ok {
			break
		}
		dst = append(dst, row)
	}
	return dst
}

// readHistory is Read for messages that have left memory. One call reads no more than a page of them; what follows
// comes with the next batch.
func (s *ShardSource) readHistory(id string, from, to uint64, page Page, dst []Row) []Row {
	buf, next, err := s.node.AppendHistory(nil, []byte(id), from, to, page.Bytes)
	if err != nil || next == from {
		s.logf("archive_unreadable", "context_id", id, "seq", from, "error", fmt.Sprint(err))
		return dst
	}
	at := len(dst)
	for i := 0; from < next && len(dst)-at < page.Rows; from++ {
		end, err := jsonscan.Value(buf, i)
		if err != nil {
			s.logf("archive_unreadable", "context_id", id, "seq", from, "error", err.Error())
			break
		}
		row, ok := s.row(id, from, buf[i:end])
		if !ok {
			break
		}
		dst = append(dst, row)
		i = end + 1 // the comma
	}
	return dst
}

func (s *ShardSource) row(id string, seq uint64, json []byte) (Row, bool) {
	tokens, ms, ok := shard.StoredFacts(json)
	if !ok {
		s.logf("archive_unreadable", "context_id", id, "seq", seq, "error", "a stored message of an unknown form")
		return Row{}, false
	}
	return Row{Context: id, Seq: seq, Tokens: tokens, InsertedMs: ms, Message: json}, true
}

// Ack implements Source.
func (s *ShardSource) Ack(ctx context.Context, id string, seq uint64) (trimmed uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	key := []byte(id)
	first := s.first(key)
	r := shard.AcquireRequest()
	defer shard.ReleaseRequest(r)
	r.Cmd = shard.EncodeAckArchived(r.Cmd[:0], key, seq, s.keep)
	s.node.Do(shard.Of(key), r)
	if code := r.Result.Code; code != shard.CodeOK {
		return 0, fmt.Errorf("acknowledging %q through seq %d: %v", id, seq, code)
	}
	if now := s.first(key); now > first {
		trimmed = now - first
	}
	return trimmed, nil
}

// first is the oldest seq of a context in memory.
func (s *ShardSource) first(id []byte) uint64 {
	c, code := s.node.Replica(id)
	if code != shard.CodeOK {
		return math.MaxUint64
	}
	var v shard.View
	c.View(&v)
	return v.First
}
