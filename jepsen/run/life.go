package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"

	"fastpaca/jepsen/run/check"
)

const (
	lives    = 4  // contexts that are made, changed and deleted at the same time
	lifeSpan = 50 // operations on one of them, then another takes its place
)

// life is a place for contexts that come and go.
type life struct{ used atomic.Int64 }

func lifeID(place int, age int64) string { return fmt.Sprintf("life-%d-%d", place, age/lifeSpan) }

// ids are all contexts that the harness has made, or may have.
func (l *clients) ids() (ids []string) {
	for i := range contexts {
		ids = append(ids, fmt.Sprint("jepsen-", i))
	}
	for i := range fillers {
		ids = append(ids, fmt.Sprint("filler-", i))
	}
	for place := range lives {
		for age := int64(0); age < l.lives[place].used.Load(); age += lifeSpan {
			ids = append(ids, lifeID(place, age))
		}
	}
	return ids
}

// live does an operation on a context that comes and goes.
func (l *clients) live(dice *rand.Rand) {
	place := dice.IntN(lives)
	age := l.lives[place].used.Add(1) - 1
	id := lifeID(place, age)
	op := &check.Life{Context: id, Value: 1 + dice.Uint64N(1_000_000), Start: l.now()}
	n := l.pick(dice)
	path, method, body := "/v1/contexts/"+id, http.MethodGet, any(nil)
	switch p := dice.IntN(100); {
	case p < 35:
		op.Kind = check.Get
	case p < 55 || age%lifeSpan == 0:
		op.Kind, method, body = check.Put, http.MethodPut, map[string]any{"token_budget": op.Value}
	case p < 75:
		op.Kind, method, path = check.Patch, http.MethodPatch, path+"/metadata"
		body = map[string]any{"metadata": map[string]any{"mark": op.Value}}
	case p < 97:
		op.Kind, method, path = check.Extend, http.MethodPost, path+"/messages"
		body = map[string]any{"message": message{Role: "user", Parts: []part{{"text", id}}, Tokens: 1}}
	default:
		op.Kind, method = check.Delete, http.MethodDelete
	}
	a := l.send(context.Background(), n, method, path, "", body)
	op.End = l.now()
	switch {
	case a.err != nil && refused(a.err), a.err == nil && a.code == http.StatusServiceUnavailable && a.Error != "raft_timeout",
		a.err == nil && a.code == http.StatusRequestTimeout:
		op.Outcome = check.Fail
	case a.err != nil, a.code == http.StatusServiceUnavailable:
		if op.Outcome, op.End = check.Unknown, check.Open; op.Kind == check.Get {
			op.Outcome = check.Fail
		}
	default:
		if op.Code = a.code; a.code/100 == 5 || a.code == http.StatusBadRequest {
			l.unexpected(a)
		}
		op.Saw = check.State{Exists: true, Deleted: a.Status == "tombstoned", Budget: a.Budget, Mark: a.Metadata.Mark, Version: a.Version}
	}
	l.mu.Lock()
	l.lived = append(l.lived, op)
	l.mu.Unlock()
}

// judgeLives judges all contexts that came and went.
func (l *clients) judgeLives(v *check.Verdict) {
	by := map[string][]*check.Life{}
	var ids []string
	for _, op := range l.lived {
		if by[op.Context] == nil {
			ids = append(ids, op.Context)
		}
		by[op.Context] = append(by[op.Context], op)
	}
	for _, id := range ids {
		check.Lives(v, id, by[id])
	}
}
