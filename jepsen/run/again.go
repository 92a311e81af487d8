package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"fastpaca/jepsen/run/check"
)

const (
	againShare = 3 // operations of a hundred that repeat an old one
	// What is repeated is between so old. The product remembers the last 1000 keys of a context, which are several minutes of
	// this load: snapshots are taken, logs cut, leaders changed meanwhile.
	againAfter, againBefore = int64(5 * time.Second), int64(90 * time.Second)
	againKept               = 512
)

// remembered are writes under keys that were acknowledged, to be sent again much later.
type remembered struct {
	mu     sync.Mutex
	list   [againKept]keyed
	next   int
	wrong  []string
	judged int
}

type keyed struct {
	op   *check.Op
	path string
	key  string
	body any
	at   int64
}

func (r *remembered) add(k keyed) {
	r.mu.Lock()
	r.list[r.next%againKept] = k
	r.next++
	r.mu.Unlock()
}

// again sends an old write once more, under its key: the answer must be the first one.
func (l *clients) again(dice *rand.Rand) {
	l.old.mu.Lock()
	k := l.old.list[dice.IntN(againKept)]
	l.old.mu.Unlock()
	if age := l.now() - k.at; k.op == nil || age < againAfter || age > againBefore {
		return
	}
	n := l.pick(dice)
	a := l.send(context.Background(), n, http.MethodPost, k.path, k.key, k.body)
	if a.err != nil || a.code == http.StatusServiceUnavailable {
		return
	}
	seq := a.Seq
	if len(a.Results) > 0 {
		seq = a.Results[len(a.Results)-1].Seq
	}
	l.old.mu.Lock()
	defer l.old.mu.Unlock()
	l.old.judged++
	if a.code/100 != 2 || seq != k.op.Seq || a.Version != k.op.Version {
		l.old.wrong = append(l.old.wrong, fmt.Sprintf("%s, sent again to %s under its key %.1f s later: %d %s seq %d version %d", k.op, n.name,
			float64(l.now()-k.at)/1e9, a.code, a.Error, seq, a.Version))
	}
}

// judge says what came of writes that were sent again.
func (r *remembered) judge(v *check.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.Checked += r.judged
	for _, w := range r.wrong {
		v.Add("%s", w)
	}
}
