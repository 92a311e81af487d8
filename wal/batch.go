package wal

import "fmt"

// HardState is what raft must never forget of a group, its log apart (Raft, figure 2). Commit is a hint
// that lets recovery apply early; the log keeps the highest it has heard of.
type HardState struct{ Term, Vote, Commit uint64 }

// Entry is one entry of a group's raft log. Data is never changed by anyone. Kind is raft's, opaque here.
type Entry struct {
	Index, Term uint64
	Kind        uint8
	Data        []byte
}

// Batch collects what one shard loop wants durable in one go. One goroutine builds it; from Submit until
// done is called it belongs to the WAL. Data given to it is referenced, not copied, for that time.
//
// Records keep the order of the calls, with one exception: hard states are written after the entries and
// snapshots of the same batch. A hard state's Commit may count on entries of its batch; written before
// them, and torn from them by a crash, it would declare committed what an older suffix still holds at
// those indexes.
//
// A batch is not atomic: a crash may keep a front part of its records, in order. A done batch is kept
// whole.
type Batch struct {
	// Tag is the caller's; the WAL never looks at it.
	Tag any

	done   func(*Batch)
	ops    []op
	states []op
	meta   []byte // copies of snapshot metadata, referenced by offset
	bytes  int    // most that the records take
	whole  bool
}

// op is one record to be. The words mean, by kind:
//
//	entry     a index   b term   c commit
//	state     a term    b vote   c commit
//	snapshot  a index   b term   c offset of the metadata in Batch.meta, data nil, n its length
//	forget
type op struct {
	data    []byte
	a, b, c uint64
	n       int32
	group   uint32
	kind    recordKind
	ekind   uint8
}

// NewBatch returns an empty batch. done runs on the writer's goroutine when everything in the batch is
// durable, in the order of the submits; it must not block. After it the batch may be Reset and reused.
func NewBatch(done func(*Batch)) *Batch {
	if done == nil {
		panic("wal: NewBatch without a done function: nobody would hear that the batch is durable")
	}
	return &Batch{done: done}
}

// Entry adds one log entry of group: the next index, or one at or below the last, which overwrites the
// log from there on. commit is the group's commit index as known now, 0 if unknown.
func (b *Batch) Entry(group uint32, commit uint64, e Entry) {
	b.ops = append(b.ops, op{kind: kindEntry, group: group, ekind: e.Kind, a: e.Index, b: e.Term, c: commit, data: e.Data})
	b.bytes += recordBound(kindEntry, len(e.Data))
}

// State adds a group's hard state.
func (b *Batch) State(group uint32, hs HardState) {
	b.states = append(b.states, op{kind: kindState, group: group, a: hs.Term, b: hs.Vote, c: hs.Commit})
	b.bytes += recordBound(kindState, 0)
}

// Snapshot says that a durable snapshot covers the group's entries up to index, whose term is term: they
// leave the log. Entries above stay if the log holds index with that term, or else go too (Raft, figure
// 13). An index below the known truncation point is ignored. meta, at most MaxMetaBytes, is copied; it is
// handed back by recovery with the truncation point.
func (b *Batch) Snapshot(group uint32, index, term uint64, meta []byte) {
	if len(meta) > MaxMetaBytes {
		panic(fmt.Sprintf("wal: snapshot metadata of group %d has %d bytes, at most %d fit a checkpoint", group, len(meta), MaxMetaBytes))
	}
	b.ops = append(b.ops, op{kind: kindSnapshot, group: group, a: index, b: term, c: uint64(len(b.meta)), n: int32(len(meta))})
	b.meta = append(b.meta, meta...)
	b.bytes += recordBound(kindSnapshot, len(meta))
}

// Forget says that the node is no member of the group any more: everything that the log holds of it is void, entries
// and truncation point, and of its hard state the commit index. Term and vote stay. The group may then begin again
// at index 1, or with a Snapshot at any index. The commit index of a hard state counts only if State was called
// after Forget, in the same batch, too.
func (b *Batch) Forget(group uint32) {
	for i := range b.states { // they are written behind this
		if b.states[i].group == group {
			b.states[i].c = 0
		}
	}
	b.ops = append(b.ops, op{kind: kindForget, group: group})
	b.bytes += recordBound(kindForget, 0)
}

// Whole says that the batch, and what was submitted before it, is not to be left to the next sync, to end this one with a block.
// That is for what other nodes wait for, too: the halves of a batch become durable at different times on different
// nodes, and with three of them the acknowledgements that go separately cost a tenth of the processor time.
func (b *Batch) Whole() { b.whole = true }

// Reset empties the batch for reuse and drops its references to data.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.states, b.meta, b.bytes = b.ops[:0], b.states[:0], b.meta[:0], 0
	b.whole = false
}

// Empty says whether nothing was added since the last Reset.
func (b *Batch) Empty() bool { return len(b.ops) == 0 && len(b.states) == 0 }

// Bytes is the most that the batch takes on disk, padding of whole batches apart.
func (b *Batch) Bytes() int { return b.bytes }
