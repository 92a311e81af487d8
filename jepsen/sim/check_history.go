package sim

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"fastpaca/shard"
)

// A second opinion on linearizability that trusts nothing of the first: no committed log, no model, only what clients
// asked and were told, for one context, in the order in which it happened.

// told is one call of a client. Moments are numbers of a counter.
type told struct {
	call, end int64 // end 0: no answer
	write     *op   // nil: a read
	code      shard.Code
	version   uint64
	last      uint64 // a read's
	first     uint64 // an append's
}

// history is what was asked and told about a context.
type history struct {
	calls []*told
	clock int64
}

func (h *history) began(o *op) *told {
	h.clock++
	t := &told{call: h.clock, write: o}
	h.calls = append(h.calls, t)
	return t
}

func (h *history) ended(t *told) {
	h.clock++
	t.end = h.clock
}

// Unknown outcomes multiply what the checker has to try; beyond these it would take minutes.
const (
	historyMaxUnknown = 25
	historyBudget     = 5 * time.Second
)

type historyState struct{ version, last uint64 }

// check asks porcupine. What never got an answer and was never committed is left out: nobody can have seen it.
func (h *history) check() (err error, checked bool) {
	model := porcupine.Model{
		Init: func() any { return historyState{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(historyState), input.(*told), output.(*told)
			if in.write == nil {
				return out.version == s.version && out.last == s.last, s
			}
			if in.write.kind == opPut {
				return out.end == 0 || out.version == s.version, s
			}
			if out.end != 0 && out.code == shard.CodeConflict {
				return out.version == s.version && in.write.ifVersion != s.version, s
			}
			if in.write.guarded && in.write.ifVersion != s.version {
				return out.end == 0, s // refused, and nobody heard of it
			}
			next := historyState{s.version + 1, s.last}
			if in.write.kind == opAppend {
				next.last += uint64(len(in.write.texts))
			}
			if out.end != 0 && (out.version != next.version || in.write.kind == opAppend && out.first != s.last+1) {
				return false, s
			}
			return true, next
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v", output) },
	}
	var ops []porcupine.Operation
	unknown := 0
	for i, t := range h.calls {
		end := t.end
		if end == 0 {
			if t.write == nil || len(t.write.entries) == 0 {
				continue
			}
			unknown++
			end = h.clock + 1 + int64(i)
		}
		ops = append(ops, porcupine.Operation{ClientId: i, Input: t, Output: t, Call: t.call, Return: end})
	}
	if unknown > historyMaxUnknown {
		return nil, false
	}
	switch porcupine.CheckOperationsTimeout(model, ops, historyBudget) {
	case porcupine.Illegal:
		return fmt.Errorf("porcupine: the %d calls on the context are not linearizable", len(ops)), true
	case porcupine.Unknown:
		return nil, false
	}
	return nil, true
}
