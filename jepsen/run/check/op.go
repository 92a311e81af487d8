// Package check judges what clients of a cluster saw. Nothing in it knows of processes or networks: histories in, violations out,
// in O(n log n), so that an hour's history takes seconds.
//
// The trick that makes linearizability cheap is that the log is its own witness: at the end it says in which order all appends
// happened, so there is no order to be searched for, only one to be compared with the clock (see RealTime).
package check

import (
	"fmt"
	"math"
)

// Kind is what an operation does.
type Kind uint8

// The operations.
const (
	Append Kind = iota
	Compact
	Read
)

// Outcome is what its client knows of an operation.
type Outcome uint8

// The outcomes.
const (
	OK      Outcome = iota
	Fail            // certainly without effect
	Unknown         // it may have happened, or may happen at any time later
)

// Open is the end of an operation that may still happen.
const Open = math.MaxInt64

// Op is one operation on a context. Retries under one idempotency key are one operation.
type Op struct {
	Context  int      `json:"context"`
	Kind     Kind     `json:"kind"`
	Outcome  Outcome  `json:"outcome"`
	Node     int      `json:"node"`            // that answered, or was asked last
	Start    int64    `json:"start"`           // ns since the run began, before the first attempt
	End      int64    `json:"end"`             // ns, after the answer; Open where the outcome is unknown
	Texts    []string `json:"texts,omitempty"` // of the messages appended, or of the replacement; unique in the whole run
	Guarded  bool     `json:"guarded,omitempty"`
	Guard    uint64   `json:"guard,omitempty"` // if_version, where Guarded
	Keyed    bool     `json:"keyed,omitempty"`
	Attempts int      `json:"attempts,omitempty"`
	Seq      uint64   `json:"seq,omitempty"`     // append: of its last message; read: last_seq that was seen
	Version  uint64   `json:"version,omitempty"` // as answered; HasVersion says whether
	HasSeq   bool     `json:"has_seq,omitempty"`
	HasVer   bool     `json:"has_version,omitempty"`
	Page     []Entry  `json:"page,omitempty"`   // read: messages of the log
	Window   []string `json:"window,omitempty"` // read: texts of the window at Version, where HasWindow
	IsWindow bool     `json:"is_window,omitempty"`
	Said     string   `json:"said,omitempty"` // answers that disagree under one key, and the like: a violation by itself
}

// Entry is a message of the log as a client saw it.
type Entry struct {
	Seq  uint64 `json:"seq"`
	Text string `json:"text"`
}

func (op *Op) String() string {
	kind := [...]string{"append", "compact", "read"}[op.Kind]
	out := [...]string{"ok", "fail", "unknown"}[op.Outcome]
	end := "open"
	if op.End != Open {
		end = fmt.Sprintf("%.3fs", float64(op.End)/1e9)
	}
	text := ""
	if len(op.Texts) > 0 {
		text = fmt.Sprintf(" %q (%d)", op.Texts[0], len(op.Texts))
	}
	return fmt.Sprintf("%s of context %d through n%d %.3fs..%s: %s seq %d version %d%s", kind, op.Context, op.Node,
		float64(op.Start)/1e9, end, out, op.Seq, op.Version, text)
}

// Verdict is a checker's finding.
type Verdict struct {
	Name       string   `json:"name"`
	Checked    int      `json:"checked"` // things looked at; a checker that looked at nothing has shown nothing
	Count      int      `json:"violations"`
	Violations []string `json:"first,omitempty"` // the first few
	Note       string   `json:"note,omitempty"`
}

// maxShown bounds the violations that are written out.
const maxShown = 20

// Add adds a violation.
func (v *Verdict) Add(format string, args ...any) {
	v.Count++
	if len(v.Violations) < maxShown {
		v.Violations = append(v.Violations, fmt.Sprintf(format, args...))
	}
}
