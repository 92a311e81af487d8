package sim

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"fastpaca/shard"
)

// model is what the contexts of a run must be: slices, maps and the rules of API.md, fed with the commands that the
// cluster committed, in their order. It shares no code with the state machine.
type model struct {
	contexts []*modelContext
}

// modelContext is one conversation. Version v ended with message lastAt[v].
type modelContext struct {
	id       []byte
	shard    uint32
	index    int
	window   int // messages; 0: all
	created  bool
	messages [][]byte // stored JSON; seq 1 is messages[0]
	lastAt   []uint64
	indexAt  []uint64 // the log entry that made each version; version 0 none
	updated  int64
	keys     map[uint64]*answer // looked up only, never walked
	keyOrder []uint64
	tags     map[string]bool // texts of all messages: none comes twice

	older   int // messages of history files that were compared
	history history
	final   *op    // of the liveness phase
	seen    uint64 // one more than the newest version that anybody outside knows of, 0 none: no read from now on may be older
}

// answer is what the model says about a command.
type answer struct {
	code     shard.Code
	version  uint64
	firstSeq uint64
	count    int
	current  uint64 // CodeConflict: the version that it was
	body     *op    // the op that owns the key
}

func newModelContext(id []byte, index, window int) *modelContext {
	return &modelContext{id: id, shard: shard.Of(id), index: index, window: window, lastAt: []uint64{0}, indexAt: []uint64{0}, keys: map[uint64]*answer{}, tags: map[string]bool{}}
}

func (c *modelContext) version() uint64 { return uint64(len(c.lastAt)) - 1 }
func (c *modelContext) last() uint64    { return uint64(len(c.messages)) }

// commit runs a committed command: the entry at index, which carries the time ms.
func (c *modelContext) commit(o *op, index uint64, ms int64) (*answer, error) {
	if o.kind == opPut {
		if !c.created {
			c.created, c.updated = true, ms
		}
		c.updated = max(c.updated, ms)
		return &answer{code: shard.CodeOK, version: c.version()}, nil
	}
	if !c.created {
		return &answer{code: shard.CodeNotFound}, nil
	}
	if o.key != 0 {
		if a := c.keys[o.key]; a != nil {
			if a.body.body != o.body {
				return &answer{code: shard.CodeKeyReused, version: c.version()}, nil
			}
			return a, nil
		}
	}
	if o.guarded && o.ifVersion != c.version() {
		return &answer{code: shard.CodeConflict, version: c.version(), current: c.version()}, nil
	}
	a := &answer{code: shard.CodeOK, version: c.version() + 1, body: o}
	c.updated = max(c.updated, ms)
	if o.kind == opAppend {
		a.firstSeq, a.count = c.last()+1, len(o.texts)
		for _, text := range o.texts {
			if c.tags[text] {
				return nil, fmt.Errorf("message %.40s of context %s was written twice", text, c.id)
			}
			c.tags[text] = true
			c.messages = append(c.messages, c.stored(text))
		}
	}
	c.lastAt, c.indexAt = append(c.lastAt, c.last()), append(c.indexAt, index)
	if o.key != 0 {
		c.keys[o.key] = a
		if c.keyOrder = append(c.keyOrder, o.key); len(c.keyOrder) > keysKept {
			delete(c.keys, c.keyOrder[0])
			c.keyOrder = c.keyOrder[1:]
		}
	}
	return a, nil
}

// keysKept is API.md's number of keys that a context remembers.
const keysKept = 1000

// stored is the JSON of the next message as every read shows it for ever.
func (c *modelContext) stored(text string) []byte {
	var b bytes.Buffer
	b.WriteString(`{"seq":`)
	b.WriteString(strconv.FormatUint(c.last()+1, 10))
	b.WriteByte(',')
	b.WriteString(fields(text))
	b.WriteString(`,"token_count":1,"metadata":{},"inserted_at":"`)
	b.WriteString(time.UnixMilli(c.updated).UTC().Format("2006-01-02T15:04:05.000Z"))
	b.WriteString(`"}`)
	return b.Bytes()
}

// fields are the members of a message as a client sends them.
func fields(text string) string {
	return `"role":"user","parts":[{"type":"text","text":"` + text + `"}]`
}

// check compares a view of n's replica with the model from message from on, also what has left memory. A view may be of any
// version up to the newest committed one.
func (c *modelContext) check(n *shard.Node, v *shard.View, from uint64) error {
	if v.Version > c.version() {
		return fmt.Errorf("context %s shows version %d, but only %d are committed", c.id, v.Version, c.version())
	}
	if last := c.lastAt[v.Version]; v.Last != last {
		return fmt.Errorf("context %s at version %d ends with message %d, committed is %d", c.id, v.Version, v.Last, last)
	}
	if v.First != 1 && v.Last > 0 && c.window == 0 {
		return fmt.Errorf("context %s begins with message %d: messages left memory that should stay", c.id, v.First)
	}
	from = max(from, 1)
	if from < v.First && v.Last > 0 {
		if err := c.checkHistory(n, from, v.First-1); err != nil {
			return err
		}
		from = v.First
	}
	var buf []byte
	for seq := from; seq <= v.Last; seq++ {
		buf = v.AppendMessages(buf[:0], seq, seq)
		if !bytes.Equal(buf, c.messages[seq-1]) {
			return fmt.Errorf("context %s: message %d is %.200s, committed is %.200s", c.id, seq, buf, c.messages[seq-1])
		}
	}
	return nil
}

// historyPage is about how many bytes of history files are asked for at once.
const historyPage = 16 << 10

// checkHistory compares what has left n's memory.
func (c *modelContext) checkHistory(n *shard.Node, from, to uint64) error {
	var buf []byte
	for from <= to {
		var next uint64
		var err error
		if buf, next, err = n.AppendHistory(buf[:0], c.id, from, to, historyPage); err != nil {
			return fmt.Errorf("context %s: history from message %d to %d: %w", c.id, from, to, err)
		}
		if next == from {
			return fmt.Errorf("context %s: message %d is neither in memory nor in a history file", c.id, from)
		}
		if want := bytes.Join(c.messages[from-1:next-1], []byte(",")); !bytes.Equal(buf, want) {
			return fmt.Errorf("context %s: messages %d to %d in history files are %.300s, committed is %.300s", c.id, from, next-1, buf, want)
		}
		c.older += int(next - from)
		from = next
	}
	return nil
}
