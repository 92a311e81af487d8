package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"fastpaca/bench/hist"
	"fastpaca/bench/load"
	"fastpaca/bench/report"
)

const (
	windowMessages = 50
	readConns      = 64
	replayPage     = 1000
	// readConfig makes the window the newest 50 messages, whatever the history: the policy fires at about 1,000 tokens
	// (33 messages) and keeps 50; the ceiling is far away.
	readConfig = `{"token_budget":1000000,"trigger_ratio":0.001,"policy":{"strategy":"last_n","config":{"limit":50}}}`
	readPrefix = "read"
)

// reads: window and tail reads of 50 messages against the floor with the same bytes, at a short and at a long
// history; then the replay of the whole long history.
func reads(b *bench) error {
	short, long := 100, b.pickInt(1_000_000, 100_000)
	b.stepOf(0.15, "a history of %d messages", long)
	ours, err := b.startOurs("")
	if err != nil {
		return err
	}
	plain, err := b.startFloor()
	if err != nil {
		return err
	}
	if err := b.putContexts(ours, readPrefix, 2, readConfig); err != nil {
		return err
	}
	shortID, longID := contextID(readPrefix, 0), contextID(readPrefix, 1)
	if err := b.fillOne(ours, shortID, short, short); err != nil {
		return err
	}
	if err := b.fillOne(ours, longID, long, 1000); err != nil {
		return err
	}
	b.rep.Table(fmt.Sprintf("Reads of %d messages over %d connections, against the floor with the same body (cpu: server, us a request)", windowMessages, readConns),
		"", "body bytes", "floor/s", "ours/s", "ratio", "p50 floor", "ours", "p99 floor", "ours", "cpu floor", "ours", "client")
	relative := map[string][]float64{} // kind/history -> ratios to the floor
	costs := map[string][]float64{}    // server CPU
	for _, kind := range []string{"window", "tail"} {
		for _, h := range []struct {
			id string
			n  int
		}{{shortID, short}, {longID, long}} {
			path := contextPath(h.id) + "/context"
			if kind == "tail" {
				path = contextPath(h.id) + "/tail?limit=" + strconv.Itoa(windowMessages)
			}
			f, o, err := b.readDuel(ours, plain, kind, path, h.n)
			if err != nil {
				return err
			}
			ratios := hist.Ratios(rates(o), rates(f))
			name := fmt.Sprintf("%s, history of %s", kind, report.Number(float64(h.n), ""))
			b.rep.Row(name, report.Number(float64(o[0].BodyBytes)/float64(max(o[0].Requests, 1)), ""), num(rates(f)), num(rates(o)),
				report.Number(100*hist.Median(ratios), "%"), num(p50s(f)), num(p50s(o)), num(p99s(f)), num(p99s(o)), num(cpus(f)), num(cpus(o)), num(clientCPUs(o)))
			id := fmt.Sprintf("reads.%s.%d", kind, h.n)
			b.rep.Fact(id+".cpu", name+", of the floor by processor time alone", 100*byProcessor(f, o), "%")
			b.claim(id, name+", of the floor", scale(ratios, 100), "%", atLeast(80))
			relative[fmt.Sprint(kind, h.n)] = ratios
			costs[fmt.Sprint(kind, h.n)] = cpus(o)
		}
		// Both ratios have the floor of their own time below them, so that their quotient does not carry the noise.
		b.claim("reads."+kind+".history", fmt.Sprintf("%s, long history against short", kind),
			scale(hist.Ratios(relative[fmt.Sprint(kind, long)], relative[fmt.Sprint(kind, short)]), 100), "%", atLeast(90))
		b.rep.Fact("reads."+kind+".history.cpu", fmt.Sprintf("%s, server CPU, long history against short", kind),
			hist.Median(hist.Ratios(costs[fmt.Sprint(kind, long)], costs[fmt.Sprint(kind, short)])), "x")
	}
	return b.replay(ours, plain, longID, long)
}

// fillOne appends total messages to one context.
func (b *bench) fillOne(s *server, id string, total, per int) error {
	w := newWriter(uint64(total))
	err := b.send(s, &load.Plan{
		Conns: min(8, total/per), Status: http.StatusCreated, Count: uint64(total / per),
		Build: func(_ uint64, buf []byte) []byte { return w.batch(buf, s.Addr, id, per) },
		OnSent: func(done uint64) {
			if done%32 == 0 {
				b.prog.Note("%d thousand messages", done*uint64(per)/1000)
			}
		},
	})
	if err != nil {
		return err
	}
	n, err := b.lastSeq(s, id)
	if err == nil && n != uint64(total) {
		err = fmt.Errorf("context %s: last_seq is %d after %d messages", id, n, total)
	}
	return err
}

// readDuel checks that path answers with the newest 50 messages, gives the floor the same body, and measures both.
func (b *bench) readDuel(ours, plain *server, kind, path string, history int) (f, o []report.Round, err error) {
	rounds := b.pickInt(5, 3)
	b.stepOf(0.18, "%s of %d messages, history of %d", kind, windowMessages, history)
	body, err := b.call(ours, http.MethodGet, path, nil, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	if err := checkRun(body, history-windowMessages+1, windowMessages); err != nil {
		return nil, nil, fmt.Errorf("GET %s: %w", path, err)
	}
	if err := b.answerWith(plain, http.StatusOK, body); err != nil {
		return nil, nil, err
	}
	window := b.pickTime(1000*time.Millisecond, 250*time.Millisecond)
	plan := func(s *server) load.Plan {
		return load.Plan{
			Conns: readConns, Status: http.StatusOK, Requests: [][]byte{request(s.Addr, http.MethodGet, path, nil)},
			Warmup: window / 5, Duration: window,
		}
	}
	got, err := b.duel(fmt.Sprintf("%s, history of %d", kind, history), rounds,
		map[*server]load.Plan{plain: plan(plain), ours: plan(ours)}, plain, ours)
	if err != nil {
		return nil, nil, err
	}
	return got[plain], got[ours], nil
}

// replay reads the whole history page by page over one connection, as an export does.
func (b *bench) replay(ours, plain *server, id string, total int) error {
	b.stepOf(0.13, "replay of %d messages", total)
	page := func(i int) string {
		return fmt.Sprintf("%s?from_seq=%d&limit=%d", messagesPath(id), i*replayPage+1, replayPage)
	}
	pages := total / replayPage
	requests := func(s *server) (reqs [][]byte) {
		for i := range pages {
			reqs = append(reqs, request(s.Addr, http.MethodGet, page(i), nil))
		}
		return reqs
	}
	// Once with eyes open: every page holds its messages, in order, without a gap.
	for i := range pages {
		body, err := b.call(ours, http.MethodGet, page(i), nil, http.StatusOK)
		if err != nil {
			return err
		}
		if err := checkRun(body, i*replayPage+1, replayPage); err != nil {
			return fmt.Errorf("GET %s: %w", page(i), err)
		}
		if i == pages/2 {
			if err := b.answerWith(plain, http.StatusOK, body); err != nil {
				return err
			}
		}
	}
	plans := map[*server]load.Plan{}
	for _, s := range []*server{plain, ours} {
		plans[s] = load.Plan{Conns: 1, Status: http.StatusOK, Requests: requests(s), Count: uint64(pages)}
	}
	got, err := b.duel("replay", 3, plans, plain, ours)
	if err != nil {
		return err
	}
	ratios := hist.Ratios(bytesPerSecond(got[ours]), bytesPerSecond(got[plain]))
	b.rep.Fact("reads.replay", fmt.Sprintf("replay of %s messages over one connection, pages of %d", report.Number(float64(total), ""), replayPage),
		hist.Median(bytesPerSecond(got[ours]))/1e6, "MB/s")
	b.rep.Fact("reads.replay.messages", "the same, messages", float64(total)/hist.Median(col(got[ours], func(r report.Round) float64 { return r.Seconds })), "/s")
	b.rep.Fact("reads.replay.ratio", "the same, of the floor with the same bytes", 100*hist.Median(ratios), "%")
	return nil
}

// checkRun fails unless body holds exactly the messages first, first+1, ..., n of them, in this order. It looks for
// the beginnings of messages as ours writes them ("seq" first), which is enough to see a gap, a double or a stranger.
func checkRun(body []byte, first, n int) error {
	mark := []byte(`{"seq":`)
	if got := bytes.Count(body, mark); got != n {
		return fmt.Errorf("%d messages, want %d: %.200s", got, n, body)
	}
	rest := body
	for want := first; want < first+n; want++ {
		at := bytes.Index(rest, mark)
		rest = rest[at+len(mark):]
		end := bytes.IndexByte(rest, ',')
		if end < 0 || string(rest[:end]) != strconv.Itoa(want) {
			return fmt.Errorf("message %.20s, want seq %d", rest, want)
		}
	}
	return nil
}
