package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
)

// importer is one run of import.
type importer struct {
	api     *transferAPI
	bar     *progress
	skipped atomic.Uint64 // messages that were there already
}

// batch is a run of messages with the seqs first, first+1, ...
type batch struct {
	first    uint64
	messages []json.RawMessage
	size     int // bytes
}

func (b *batch) add(seq uint64, message json.RawMessage) {
	if len(b.messages) == 0 {
		b.first = seq
	}
	b.messages = append(b.messages, message)
	b.size += len(message)
}

func (b *batch) last() uint64 { return b.first + uint64(len(b.messages)) - 1 }

// from is the part of b that begins at seq, which b has or follows.
func (b *batch) from(seq uint64) batch {
	return batch{first: seq, messages: b.messages[seq-b.first:]}
}

// target is one context on its way into the store. What the store has of it already, from an import that was interrupted
// or from the very export, must be the same: the last message that both have is compared, and equal messages with
// equal seqs have equal histories, as nothing ever changes a message.
type target struct {
	m       *importer
	entry   *contextEntry
	batches chan batch
	whole   bool // all messages have come; set before batches is closed

	there   *contextEntry   // as the store has it; nil: it did not
	settled bool            // compared and configured: messages may be appended
	overlap json.RawMessage // the newest message that both have
	at      uint64          // its seq
}

// run takes the context in. After an error it goes on emptying batches until there are no more.
func (t *target) run(ctx context.Context) error {
	err := t.begin(ctx)
	for b := range t.batches {
		if err == nil && ctx.Err() == nil {
			err = t.take(ctx, b)
		}
	}
	if err == nil && ctx.Err() == nil {
		err = t.end(ctx)
	}
	return err
}

// begin looks at what there is, and creates the context if it is new.
func (t *target) begin(ctx context.Context) error {
	there, err := t.m.api.context(ctx, t.entry.ID)
	if isStatus(err, http.StatusNotFound) {
		return t.settle(ctx)
	}
	t.there = there
	return err
}

// has is the seq of the newest message that the store had.
func (t *target) has() uint64 {
	if t.there == nil {
		return 0
	}
	return t.there.LastSeq
}

// take appends what of b the store does not have.
func (t *target) take(ctx context.Context, b batch) error {
	if has := t.has(); has >= b.first {
		both := min(has, b.last())
		t.at, t.overlap = both, b.messages[both-b.first]
		n := both - b.first + 1
		t.m.skipped.Add(n)
		t.m.bar.messages.Add(n)
		if both == b.last() {
			return nil
		}
		b = b.from(both + 1)
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	return t.append(ctx, b)
}

// settle makes sure that the context is the same as in the file as far as it is there, and configured as in the file.
func (t *target) settle(ctx context.Context) error {
	if t.settled {
		return nil
	}
	if t.overlap != nil {
		if err := t.compare(ctx, t.at, t.overlap); err != nil {
			return err
		}
	}
	t.settled = true
	if t.there != nil && t.there.tombstoned() {
		return nil // it takes no configuration any more; appends will be refused, and say why
	}
	return t.configure(ctx)
}

// compare fails unless the store's message seq is this one.
func (t *target) compare(ctx context.Context, seq uint64, want json.RawMessage) error {
	got, err := t.m.api.messages(ctx, t.entry.ID, seq, 1)
	if err != nil {
		return err
	}
	if !bytes.Equal(got[0], want) {
		return fmt.Errorf("message %d is another one in the store; nothing was overwritten. Import into an empty store, or export under another id", seq)
	}
	return nil
}

// configure creates or updates the context.
func (t *target) configure(ctx context.Context) error {
	e := t.entry
	var body []byte
	for _, f := range [...]struct {
		name  string
		value json.RawMessage
	}{{"token_budget", e.TokenBudget}, {"trigger_ratio", e.TriggerRatio}, {"policy", e.Policy}} {
		if f.value != nil {
			body = fmt.Appendf(body, `,%q:%s`, f.name, f.value)
		}
	}
	metadata := []byte(`,"metadata":`)
	if e.Metadata == nil {
		metadata = append(metadata, `{}`...)
	}
	metadata = append(metadata, e.Metadata...)
	put := func(members []byte) error {
		_, err := t.m.api.send(ctx, "PUT", contextPath(e.ID), append(append([]byte{'{'}, members[1:]...), '}'))
		return err
	}
	err := put(append(body[:len(body):len(body)], metadata...))
	if isStatus(err, http.StatusRequestEntityTooLarge) && len(body) > 0 { // metadata of the largest size
		if err = put(body); err == nil {
			err = put(metadata)
		}
	}
	return err
}

// append writes b. Where it does not know whether that went through, it finds out: the store refuses what it has.
func (t *target) append(ctx context.Context, b batch) error {
	for {
		_, err := t.m.api.send(ctx, "POST", contextPath(t.entry.ID)+"/messages?import=true", b.body())
		var r *rejection
		switch {
		case err == nil:
			t.m.bar.messages.Add(uint64(len(b.messages)))
			return nil
		case !errors.As(err, &r):
			return err
		case r.status == http.StatusConflict && r.LastSeq != nil:
			// An earlier attempt went through after all, or somebody else writes.
			both := min(*r.LastSeq, b.last())
			if both < b.first {
				return fmt.Errorf("the store has %d messages where it had %d; somebody removed it in the middle of the import", *r.LastSeq, b.first-1)
			}
			if err := t.compare(ctx, both, b.messages[both-b.first]); err != nil {
				return err
			}
			t.m.bar.messages.Add(both - b.first + 1)
			if both == b.last() {
				return nil
			}
			b = b.from(both + 1)
		case (r.status == http.StatusRequestEntityTooLarge || r.status == http.StatusBadRequest) && len(b.messages) > 1:
			// Too large together, or nested as deep as a message may be: alone it stands one level higher.
			half := b.first + uint64(len(b.messages)/2)
			if err := t.append(ctx, batch{first: b.first, messages: b.messages[:half-b.first]}); err != nil {
				return err
			}
			b = b.from(half)
		default:
			return fmt.Errorf("messages %d to %d: %w", b.first, b.last(), err)
		}
	}
}

// body is the request that appends b.
func (b *batch) body() []byte {
	if len(b.messages) == 1 {
		return append(append([]byte(`{"message":`), b.messages[0]...), '}')
	}
	out := make([]byte, 0, b.size+len(b.messages)+64)
	out = append(out, `{"messages":[`...)
	for i, m := range b.messages {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, m...)
	}
	return append(out, "]}"...)
}

// end compares and configures what needed no message, and deletes what was deleted.
func (t *target) end(ctx context.Context) error {
	if err := t.settle(ctx); err != nil {
		return err
	}
	if !t.whole {
		return nil
	}
	if t.entry.tombstoned() && (t.there == nil || !t.there.tombstoned()) {
		if _, err := t.m.api.send(ctx, "DELETE", contextPath(t.entry.ID), nil); err != nil {
			return err
		}
	}
	if !t.entry.tombstoned() && t.there != nil && t.there.tombstoned() {
		return errors.New("it is deleted in the store, and cannot be brought back there; import into an empty store")
	}
	t.m.bar.contexts.Add(1)
	return nil
}
