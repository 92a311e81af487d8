package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/jepsen/run/check"
)

const (
	windowed, compacted = 8, 4 // contexts with a last_n policy, contexts that clients compact
	contexts            = windowed + compacted
	outstanding         = 256 // requests under way at most: what a cut-off node keeps for 2.5 s, and some
	messageTokens       = 10
	tries               = 6 // attempts under one idempotency key
	livesShare          = 8 // operations of a hundred that are on contexts that come and go
)

// lastN is the policy of windowed contexts: a budget of 1000 tokens, half of it triggers.
var lastN = check.Policy{Trigger: 50, Keep: 20}

// clients sends the load and keeps the history.
type clients struct {
	c     *cluster
	began time.Time
	seen  [contexts]atomic.Uint64 // latest version anybody was told
	slots chan struct{}
	shed  atomic.Int64 // operations that were due when no slot was free
	wg    sync.WaitGroup

	mu      sync.Mutex
	history []*check.Op
	lived   []*check.Life
	other   map[string]int // answers that nobody expects

	lives   [lives]life
	hiccups hiccups
	old     remembered
}

func newClients(c *cluster, began time.Time) *clients {
	return &clients{c: c, began: began, slots: make(chan struct{}, outstanding), other: map[string]int{}}
}

func (l *clients) now() int64 { return int64(time.Since(l.began)) }

func contextPath(i int) string { return fmt.Sprintf("/v1/contexts/jepsen-%d", i) }

// createWithin bounds how long a young cluster on a busy machine may take to make a context.
const createWithin = time.Minute

func (l *clients) create(ctx context.Context) error {
	for i := range contexts {
		body := map[string]any{"token_budget": 1000, "trigger_ratio": 0.5, "policy": map[string]any{"strategy": "last_n", "config": map[string]any{"limit": lastN.Keep}}}
		if i >= windowed {
			body = map[string]any{"token_budget": 100_000_000, "policy": map[string]any{"strategy": "manual"}}
		}
		var a answer
		for deadline := time.Now().Add(createWithin); a.code != http.StatusCreated && a.code != http.StatusOK; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("create context %d: %d %s %v", i, a.code, a.Error, a.err)
			}
			a = l.send(ctx, l.c.nodes[i%len(l.c.nodes)], http.MethodPut, contextPath(i), "", body)
		}
	}
	return nil
}

// run begins rate operations a second, whatever became of the earlier ones, until ctx ends; then it waits for those under way.
func (l *clients) run(ctx context.Context, rate int, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 0x6c6f6164))
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for id := 0; ; id++ {
		select {
		case <-ctx.Done():
			l.wg.Wait()
			return
		case <-tick.C:
		}
		own := rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64()))
		select {
		case l.slots <- struct{}{}:
		default:
			l.shed.Add(1)
			continue
		}
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			defer func() { <-l.slots }()
			switch share := own.IntN(100); {
			case share < livesShare:
				l.live(own)
				return
			case share < livesShare+againShare:
				l.again(own)
				return
			}
			op := l.one(own, id)
			l.mu.Lock()
			l.history = append(l.history, op)
			l.mu.Unlock()
		}()
	}
}

// one does an operation that the dice choose.
func (l *clients) one(dice *rand.Rand, id int) *check.Op {
	op := &check.Op{Context: dice.IntN(contexts)}
	n := l.pick(dice)
	op.Node, op.Start = n.id, l.now()
	switch p := dice.IntN(100); {
	case p < 40:
		op.Kind = check.Read
		l.read(dice, op, n)
		return op
	case p < 48 && op.Context >= windowed:
		op.Kind = check.Compact
		op.Texts = []string{fmt.Sprintf("c%d.0", id), fmt.Sprintf("c%d.1", id)}
	default:
		size := 1
		if dice.IntN(10) == 0 {
			size = 2 + dice.IntN(4)
		}
		for i := range size {
			op.Texts = append(op.Texts, fmt.Sprintf("m%d.%d", id, i))
		}
		op.Keyed = dice.IntN(3) == 0
	}
	if op.Guarded = !op.Keyed && dice.IntN(4) == 0; op.Guarded {
		op.Guard = l.seen[op.Context].Load()
	}
	l.write(dice, op, n, id)
	return op
}

func (l *clients) pick(dice *rand.Rand) *node { return l.c.nodes[dice.IntN(len(l.c.nodes))] }

func (l *clients) told(op *check.Op, version uint64) {
	op.Version, op.HasVer = version, true
	for seen := &l.seen[op.Context]; ; {
		if was := seen.Load(); version <= was || seen.CompareAndSwap(was, version) {
			return
		}
	}
}

// write does an append or a compaction. Under a key it is hostile: it repeats what it has no good answer for, through any node, sometimes
// twice at once, and sometimes though it has one.
func (l *clients) write(dice *rand.Rand, op *check.Op, n *node, id int) {
	var msgs []message
	for _, t := range op.Texts {
		msgs = append(msgs, message{Role: "user", Parts: []part{{"text", t}}, Tokens: messageTokens})
	}
	path, body := contextPath(op.Context)+"/messages", map[string]any{"messages": msgs}
	switch {
	case op.Kind == check.Compact:
		path, body = contextPath(op.Context)+"/compact", map[string]any{"replacement": msgs}
	case len(msgs) == 1:
		body = map[string]any{"message": msgs[0]}
	}
	if op.Guarded {
		body["if_version"] = op.Guard
	}
	key, attempts := "", 1
	if op.Keyed {
		key, attempts = fmt.Sprint("k", id), tries
	}
	op.Outcome = check.Fail
	more := op.Keyed && dice.IntN(6) == 0 // once more after the good answer
	for try := 0; try < attempts; try++ {
		var answers []answer
		if op.Keyed && dice.IntN(10) == 0 {
			a, b := make(chan answer, 1), l.pick(dice)
			go func() { a <- l.send(context.Background(), b, http.MethodPost, path, key, body) }()
			answers = append(answers, l.send(context.Background(), n, http.MethodPost, path, key, body), <-a)
		} else {
			answers = append(answers, l.send(context.Background(), n, http.MethodPost, path, key, body))
		}
		op.Attempts += len(answers)
		for _, a := range answers {
			l.take(op, a)
		}
		if op.Outcome == check.OK {
			if !more {
				break
			}
			more = false
		} else if !op.Keyed {
			break
		}
		time.Sleep(time.Duration(dice.IntN(300)) * time.Millisecond)
		n = l.pick(dice)
		op.Node = n.id
	}
	switch {
	case op.Outcome == check.Unknown:
		op.End = check.Open
	case op.End == 0:
		op.End = l.now()
	}
	if op.Keyed && op.Outcome == check.OK {
		l.old.add(keyed{op, path, key, body, op.End})
	}
}

// take adds one answer to what is known of op.
func (l *clients) take(op *check.Op, a answer) {
	out := l.outcome(a)
	if op.Keyed && a.code == http.StatusConflict {
		op.Said = "the key was refused: " + a.Error
	}
	if out != check.OK {
		if out == check.Unknown && op.Outcome == check.Fail {
			op.Outcome = check.Unknown
		}
		return
	}
	seq := a.Seq
	if len(a.Results) > 0 {
		seq = a.Results[len(a.Results)-1].Seq
	}
	if op.Outcome == check.OK && (seq != op.Seq || a.Version != op.Version) {
		op.Said = fmt.Sprintf("answered seq %d version %d, then seq %d version %d", op.Seq, op.Version, seq, a.Version)
		return
	}
	if op.End == 0 {
		op.End = l.now()
	}
	op.Outcome, op.Seq, op.HasSeq = check.OK, seq, true
	l.told(op, a.Version)
}

// read does one of the reads, through n.
func (l *clients) read(dice *rand.Rand, op *check.Op, n *node) {
	path := contextPath(op.Context)
	kind := dice.IntN(4)
	path += [...]string{"", "/tail?limit=3", "/messages?from_seq=-4", "/context"}[kind]
	a := l.send(context.Background(), n, http.MethodGet, path, "", nil)
	op.End, op.Attempts = l.now(), 1
	if a.err != nil || a.code != http.StatusOK {
		if op.Outcome = check.Fail; a.err == nil && a.code != http.StatusServiceUnavailable && a.code != http.StatusRequestTimeout {
			l.unexpected(a)
		}
		return
	}
	if kind != 1 {
		l.told(op, a.Version)
	}
	switch kind {
	case 0:
		op.Seq, op.HasSeq = a.LastSeq, true
	case 1, 2:
		op.HasSeq = a.Next == nil
		for i := range a.Messages {
			op.Page = append(op.Page, check.Entry{Seq: a.Messages[i].Seq, Text: a.Messages[i].text()})
			op.Seq = a.Messages[i].Seq
		}
	case 3:
		op.IsWindow = a.Truncated == 0
		for i := range a.Messages {
			op.Window = append(op.Window, a.Messages[i].text())
		}
	}
}
