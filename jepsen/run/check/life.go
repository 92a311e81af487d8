package check

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// LifeKind is what is done to a context as a whole.
type LifeKind uint8

// The operations.
const (
	Put    LifeKind = iota // create, or set the budget
	Patch                  // set a key of the metadata
	Extend                 // append a message
	Delete
	Get
)

// Life is one operation on a context that is made, changed and deleted while others use it.
type Life struct {
	Context string
	Kind    LifeKind
	Outcome Outcome // Fail: it had no effect and says nothing, as where no leader was found
	Start   int64
	End     int64 // Open where the outcome is unknown
	Value   uint64
	Code    int   // of the answer, where the outcome is OK: 200, 201, 204, 404 or 409
	Saw     State // Get: what it showed, with code 200; Extend: Version
}

// State is a context as such operations see it. Exists is true of deleted ones, too.
type State struct {
	Exists, Deleted       bool
	Budget, Mark, Version uint64
}

// step is the meaning of the operations: the answer to op in state s, and the state behind it.
func (s State) step(op *Life) (code int, next State) {
	next = s
	switch {
	case op.Kind == Put && !s.Exists:
		return 201, State{Exists: true, Budget: op.Value}
	case !s.Exists:
		return 404, s
	case op.Kind == Get:
		return 200, s
	case op.Kind == Delete:
		next.Deleted = true
		return 204, next
	case s.Deleted:
		return 409, s
	case op.Kind == Put:
		next.Budget = op.Value
		return 200, next
	case op.Kind == Patch:
		next.Mark = op.Value
		return 200, next
	}
	next.Version++
	return 201, next
}

const lifeTimeout = 3 * time.Second

// Lives demands that the operations on one context are linearizable, by porcupine: their number is small.
func Lives(v *Verdict, id string, ops []*Life) {
	var history []porcupine.Operation
	for _, op := range ops {
		if op.Outcome != Fail {
			history = append(history, porcupine.Operation{Input: op, Output: op, Call: op.Start, Return: op.End})
		}
	}
	model := porcupine.Model{
		Init: func() any { return State{} },
		Step: func(state, input, _ any) (bool, any) {
			op := input.(*Life)
			code, next := state.(State).step(op)
			switch {
			case op.Outcome == Unknown:
				return true, next
			case code != op.Code:
				return false, state
			case op.Kind == Get && code == 200 && op.Saw != next, op.Kind == Extend && code == 201 && op.Saw.Version != next.Version:
				return false, state
			}
			return true, next
		},
	}
	switch porcupine.CheckOperationsTimeout(model, history, lifeTimeout) {
	case porcupine.Illegal:
		v.Add("the %d operations on %s are not linearizable", len(history), id)
	case porcupine.Unknown:
		v.Note += fmt.Sprintf("%s: not decided in %s. ", id, lifeTimeout)
	case porcupine.Ok:
		v.Checked += len(history)
	}
}
