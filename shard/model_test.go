package shard

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"fastpaca/ring"
	"fastpaca/shard/jsonscan"
)

// This file is the naive model that the property test compares the machine with: slices, maps, strings,
// and the rules of API.md written down as simply as possible.

// tPart is a part as a test writes it.
type tPart struct {
	typ    string
	id     string
	tokens uint32
}

func (p tPart) raw() string {
	if p.id != "" {
		return fmt.Sprintf(`{"type":"%s","id":"%s"}`, p.typ, p.id)
	}
	return fmt.Sprintf(`{"type":"%s"}`, p.typ)
}

func (p tPart) kind() uint8 {
	switch {
	case !strings.HasPrefix(p.typ, "tool"):
		return ring.PartOther
	case strings.Contains(p.typ, "result"):
		return ring.PartResult
	default:
		return ring.PartCall
	}
}

// tMsg is a message as a test writes it. tokens < 0: the sum of the parts'.
type tMsg struct {
	role   string
	parts  []tPart
	tokens int
	meta   string // the metadata member, empty: none sent
	own    int64  // the time that it brings, in Unix ms; 0: none
}

func text(role string, tokens uint32) tMsg {
	return tMsg{role: role, parts: []tPart{{typ: "text", tokens: tokens}}, tokens: -1}
}

func (m tMsg) count() uint32 {
	if m.tokens >= 0 {
		return uint32(m.tokens)
	}
	n := uint32(0)
	for _, p := range m.parts {
		n += p.tokens
	}
	return n
}

func (m tMsg) fields() string {
	var parts []string
	for _, p := range m.parts {
		parts = append(parts, p.raw())
	}
	s := fmt.Sprintf(`"role":"%s","parts":[%s]`, m.role, strings.Join(parts, ","))
	if m.meta != "" {
		s += `,"metadata":` + m.meta
	}
	return s
}

// json is the message as the API shows it. seq 0 shows none.
func (m tMsg) json(seq uint64, at string) string {
	if m.own != 0 {
		at = time.UnixMilli(m.own).UTC().Format("2006-01-02T15:04:05.000Z")
	}
	s := "{"
	if seq > 0 {
		s += fmt.Sprintf(`"seq":%d,`, seq)
	}
	s += m.fields() + fmt.Sprintf(`,"token_count":%d`, m.count())
	if m.meta == "" {
		s += `,"metadata":{}`
	}
	return s + `,"inserted_at":"` + at + `"}`
}

// message is what httpd would hand to the encoder.
func (m tMsg) message() *Message {
	out := &Message{Fields: []byte(m.fields()), Tokens: m.count()}
	if m.role == "system" {
		out.Flags |= ring.FlagSystem
	}
	if m.meta == "" {
		out.Flags |= FlagNoMetadata
	}
	if m.own != 0 {
		out.Flags |= FlagInserted
		out.InsertedMs = m.own
	}
	tools := false
	var parts []ring.Part
	for _, p := range m.parts {
		part := ring.Part{Tokens: p.tokens, Kind: p.kind()}
		if part.Kind != ring.PartOther {
			tools = true
			if p.id != "" {
				part.ID = jsonscan.Hash([]byte(`"` + p.id + `"`))
			}
		}
		parts = append(parts, part)
	}
	if tools || len(parts) > 1 {
		out.Aux = ring.AppendAux(nil, parts)
	}
	return out
}

// modelMsg is a message of the model's log or window.
type modelMsg struct {
	tMsg
	seq     uint64
	at      string
	summary bool
	inHead  bool // not served from the log any more: decides where the live segment starts
}

func (m modelMsg) shown() string { return m.json(m.seq, m.at) }

type modelEvent struct {
	version  uint64
	kind     string // message, compaction, context
	seq      uint64
	from, to uint64
	used     uint64
}

type modelContext struct {
	config   Config
	dead     bool
	version  uint64
	log      []modelMsg
	window   []modelMsg
	cutCalls bool
	sumFrom  uint64
	sumTo    uint64
	events   []modelEvent
	lastComp *modelEvent
	keys     []modelKey
	archived uint64
}

type modelKey struct {
	key, body byte
	version   uint64
	first     uint64
	count     int
}

func (c *modelContext) last() uint64 { return uint64(len(c.log)) }

func (c *modelContext) used() (n uint64) {
	for _, m := range c.window {
		n += uint64(m.count())
	}
	return n
}

func (c *modelContext) liveFrom() uint64 {
	for _, m := range c.window {
		if !m.inHead {
			return m.seq
		}
	}
	return c.last() + 1
}

func (c *modelContext) needs(used uint64) bool {
	left := new(big.Int).Mul(new(big.Int).SetUint64(used), big.NewInt(RatioOne))
	right := new(big.Int).Mul(new(big.Int).SetUint64(c.config.TokenBudget), new(big.Int).SetUint64(c.config.RatioPPB))
	return left.Cmp(right) > 0
}

// lostCalls returns, for window messages in order, which have to go because a result's call is among the
// messages marked gone. With admit, from is the first of the messages that ask to be let in: one that is
// refused was never there for those behind it, and a result that finds no call at all is refused.
func lostCalls(window []modelMsg, gone []bool, from int, admit bool) {
	find := func(i, p int) (msg int, ok bool) {
		r := window[i].parts[p]
		for j := i; j >= 0; j-- {
			if admit && gone[j] {
				continue
			}
			if r.id != "" {
				for q := len(window[j].parts) - 1; q >= 0; q-- {
					if x := window[j].parts[q]; x.kind() == ring.PartCall && x.id == r.id {
						return j, true
					}
				}
				continue
			}
			end := len(window[j].parts)
			if j == i {
				end = p
			}
			for q := end - 1; q >= 0; q-- {
				if window[j].parts[q].kind() == ring.PartCall {
					return j, true
				}
			}
		}
		return 0, false
	}
	for i := from; i < len(window); i++ {
		if gone[i] {
			continue
		}
		for p := range window[i].parts {
			if window[i].parts[p].kind() != ring.PartResult {
				continue
			}
			j, ok := find(i, p)
			if ok && gone[j] && j != i || !ok && admit {
				gone[i] = true
			}
		}
	}
}

func hasCall(m modelMsg) bool {
	for _, p := range m.parts {
		if p.kind() == ring.PartCall {
			return true
		}
	}
	return false
}

func without(window []modelMsg, gone []bool) (out []modelMsg) {
	for i, m := range window {
		if !gone[i] {
			out = append(out, m)
		}
	}
	return out
}

func (c *modelContext) append(msgs []tMsg, at string) {
	c.version++
	liveBefore := c.liveFrom()
	firstNew := len(c.window)
	for _, m := range msgs {
		mm := modelMsg{tMsg: m, seq: c.last() + 1, at: at}
		c.log = append(c.log, mm)
		c.window = append(c.window, mm)
		c.events = append(c.events, modelEvent{version: c.version, kind: "message", seq: mm.seq})
	}
	if c.cutCalls {
		gone := make([]bool, len(c.window))
		lostCalls(c.window, gone, firstNew, true)
		c.window = without(c.window, gone)
	}
	if c.needs(c.used()) && c.config.Policy.Strategy != Manual {
		before := fmt.Sprint(c.window)
		if c.config.Policy.Strategy == SkipParts {
			c.skip()
		}
		c.lastN(int(c.config.Policy.Limit))
		if fmt.Sprint(c.window) != before {
			e := modelEvent{version: c.version, kind: "compaction", from: liveBefore, to: c.liveFrom() - 1}
			if e.from > e.to {
				e.from = e.to
				if c.lastComp != nil {
					e.from = min(e.from, c.lastComp.from)
				}
			}
			e.from, e.to = max(e.from, 1), max(e.to, 1)
			c.events = append(c.events, e)
		}
	}
	c.events = append(c.events, modelEvent{version: c.version, kind: "context", used: c.used()})
}

func (c *modelContext) lastN(limit int) {
	if len(c.window) <= limit {
		return
	}
	gone := make([]bool, len(c.window))
	calls := false
	for i := range len(c.window) - limit {
		gone[i] = true
		calls = calls || hasCall(c.window[i])
	}
	if calls {
		c.cutCalls = true
		lostCalls(c.window, gone, 0, false)
	}
	c.window = without(c.window, gone)
	c.fixSummary()
}

func (c *modelContext) fixSummary() {
	if len(c.window) == 0 || !c.window[0].summary {
		c.sumFrom, c.sumTo = 0, 0
	}
}

func (c *modelContext) skip() {
	removed := map[string]bool{}
	near := false
	last := -1
	var out []modelMsg
	for i, m := range c.window {
		var parts []tPart
		cut := make([]bool, len(m.parts))
		for j, p := range m.parts {
			for _, kind := range c.config.Policy.SkipKinds {
				cut[j] = cut[j] || strings.HasPrefix(p.typ, kind)
			}
			if p.kind() == ring.PartCall {
				if cut[j] {
					c.cutCalls = true
				}
				if p.id != "" {
					removed[p.id] = cut[j]
				}
			}
		}
		for j, p := range m.parts {
			switch p.kind() {
			case ring.PartCall:
				near = cut[j]
			case ring.PartResult:
				if p.id == "" && near || p.id != "" && removed[p.id] {
					cut[j] = true
				}
			}
			if !cut[j] {
				parts = append(parts, p)
			}
		}
		if len(parts) == len(m.parts) {
			out = append(out, m)
			continue
		}
		if !m.inHead {
			last = i
		}
		if len(parts) > 0 {
			m.parts, m.tokens = parts, -1
			out = append(out, m)
		}
	}
	if last >= 0 { // everything up to the last rewritten message is in the head now
		seq := c.window[last].seq
		for i := range out {
			if out[i].seq <= seq {
				out[i].inHead = true
			}
		}
	}
	c.window = out
	c.fixSummary()
}

func (c *modelContext) compact(msgs []tMsg, at string) {
	c.version++
	e := modelEvent{version: c.version, kind: "compaction"}
	e.from, e.to = c.sumFrom, c.last()
	if e.from == 0 && len(c.window) > 0 {
		e.from = c.window[0].seq
	}
	if e.from == 0 {
		e.from, e.to = 0, 0
	}
	for _, m := range c.window {
		c.cutCalls = c.cutCalls || hasCall(m)
	}
	c.window = nil
	for _, m := range msgs {
		c.window = append(c.window, modelMsg{tMsg: m, at: at, summary: true, inHead: true})
	}
	c.sumFrom, c.sumTo = 0, 0
	if len(msgs) > 0 {
		c.sumFrom, c.sumTo = e.from, e.to
	}
	c.lastComp = &e
	c.events = append(c.events, e, modelEvent{version: c.version, kind: "context", used: c.used()})
}

// shownWindow is the JSON of GET .../context while everything fits.
func (c *modelContext) shownWindow() string {
	var msgs, segs []string
	var liveFirst, liveLast uint64
	summary := false
	for _, m := range c.window {
		msgs = append(msgs, m.shown())
		if m.summary {
			summary = true
			continue
		}
		if liveFirst == 0 {
			liveFirst = m.seq
		}
		liveLast = m.seq
	}
	if summary {
		segs = append(segs, fmt.Sprintf(`{"type":"summary","from_seq":%d,"to_seq":%d}`, c.sumFrom, c.sumTo))
	}
	if liveFirst > 0 {
		segs = append(segs, fmt.Sprintf(`{"type":"live","from_seq":%d,"to_seq":%d}`, liveFirst, liveLast))
	}
	return fmt.Sprintf(`{"version":%d,"messages":[%s],"used_tokens":%d,"needs_compaction":false,"segments":[%s]}`,
		c.version, strings.Join(msgs, ","), c.used(), strings.Join(segs, ","))
}

// shownEvents is what a stream shows of the events after version from.
func (c *modelContext) shownEvents(from uint64) (out []string) {
	for _, e := range c.events {
		if e.version > from {
			out = append(out, c.shownEvent(e))
		}
	}
	if c.dead {
		out = append(out, fmt.Sprintf(`{"type":"tombstoned","version":%d}`, c.version))
	}
	return out
}

func (c *modelContext) shownEvent(e modelEvent) string {
	switch e.kind {
	case "message":
		return fmt.Sprintf(`{"type":"message","version":%d,"seq":%d,"message":%s}`, e.version, e.seq, c.log[e.seq-1].shown())
	case "compaction":
		return fmt.Sprintf(`{"type":"compaction","version":%d,"range":{"from_seq":%d,"to_seq":%d}}`, e.version, e.from, e.to)
	default:
		return fmt.Sprintf(`{"type":"context","version":%d,"needs_compaction":%t,"used_tokens":%d}`, e.version, c.needs(e.used), e.used)
	}
}
