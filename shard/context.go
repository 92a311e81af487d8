package shard

import (
	"sync/atomic"

	"fastpaca/ring"
)

// Context is one conversation. Apply, on the shard's loop, is its only writer; any goroutine may call
// View, Subscribe, Unsubscribe and WakeSubscribers.
type Context struct {
	id        string // immutable, like all before log
	hash      uint64
	createdMs int64
	ordinal   uint32 // place in the shard's order of creation

	changes  uint32 // writer only: how often it was changed since it was made or loaded
	home     place  // writer only, and while it is on disk: where its present state lies on disk as well; nowhere after a change
	idle     bool   // writer only: in parking.idle
	overTail bool   // writer only: in Machine.tails.over

	touched atomic.Bool // since the sweep came by

	log  ring.Log[Ext]
	subs subscribers
	// watched is its machine's. nil: of no machine yet.
	watched *atomic.Int32

	replaced atomic.Bool // see Replaced

	keys  *keyRing  // writer only; nil until the first keyed append
	clean cleanMark // writer only; see policy_skip.go
}

// ID returns the context's id. The string is immutable.
func (c *Context) ID() string { return c.id }

// archived is Header.Archived. Writer only.
func (c *Context) archived() uint64 {
	var v ring.View[Ext]
	c.log.Pending(&v)
	return v.Archived
}

// Ext is everything of a context that is not a message or a watermark. A value is immutable once
// published: changing anything means publishing another one. Contexts that were created alike share one.
type Ext struct {
	Config     *Config
	Metadata   []byte // JSON object; nil is {}
	Tombstoned bool

	// Head is what precedes the live messages in the window: a compaction's replacement, messages that
	// skip_parts rewrote. nil while the window is a run of the log.
	Head *ring.Head

	// summaryBytes is what the summary in Head took when the compaction put it there, or when it was loaded. Only memory is
	// reckoned by it: of one that has been cut since, all of it stays there.
	summaryBytes int64

	// Compactions are the last compactionsKept compactions, oldest first, so that streams can replay
	// versions that left no message. CompactionCount counts all there ever were.
	Compactions     []Compaction
	CompactionCount uint64
}

// compactionsKept bounds Ext.Compactions. A stream that resumes from before them gets a reset.
const compactionsKept = 64

// Compaction is the trace that a compaction leaves for streams.
type Compaction struct {
	Version  uint64 // that it made
	From, To uint64 // seqs whose place it took; 0, 0 if there were none
	Used     uint64 // window tokens after it
}

func (e *Ext) compaction(version uint64) *Compaction {
	for i := len(e.Compactions) - 1; i >= 0; i-- {
		if e.Compactions[i].Version == version {
			return &e.Compactions[i]
		}
	}
	return nil
}

// withCompaction returns the list with c added and the oldest dropped beyond compactionsKept.
func withCompaction(list []Compaction, c Compaction) []Compaction {
	if len(list) >= compactionsKept {
		list = list[len(list)-compactionsKept+1:]
	}
	out := make([]Compaction, 0, len(list)+1)
	return append(append(out, list...), c)
}

// View is a consistent, immutable picture of a context. The zero value is empty; View fills it and
// reuses its memory. While a View is held, the pages it refers to stay in memory.
type View struct {
	ring.View[Ext]
	ctx *Context
}

// View fills v with the state after some command, never with a part of one. Any goroutine, no locks.
func (c *Context) View(v *View) {
	c.log.View(&v.View)
	v.ctx = c
}

// Reset empties v, so that it keeps no pages in memory.
func (v *View) Reset() { *v = View{} }

// ID returns the id of the context that v shows.
func (v *View) ID() string { return v.ctx.id }

// CreatedMs returns when the context was made, in Unix ms.
func (v *View) CreatedMs() int64 { return v.ctx.createdMs }
