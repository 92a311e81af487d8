package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// resumePoint is where an export that was interrupted goes on. The zero value is the beginning.
type resumePoint struct {
	size     int64           // of the lines that are whole
	cursor   string          // the last one in the file
	complete map[string]bool // contexts behind it that are complete
	open     *contextEntry   // the last one, if it is not
	openSeq  uint64          // its last message in the file
	last     []byte          // that message
	tail     *contextEntry   // the last context in the file, open or not, if it stands behind the cursor
	contexts uint64          // complete ones in the whole file
	messages uint64
	ended    bool // nothing is to be done
}

// readExport finds out where the export in r ends. only is what is asked for now, which must be what was asked for then. An
// empty file, or one with not even a whole first line of an export, is a beginning.
func readExport(r io.Reader, only []string) (p resumePoint, err error) {
	lines := newLineReader(r)
	header, err := lines.header()
	switch {
	case errors.Is(err, io.EOF):
		return p, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		if lines.fragment([]byte(`{"type":"` + exportType + `"`)) {
			return p, nil
		}
		return p, errNoExport
	case err != nil:
		return p, err
	case !slices.Equal(header.Only, only):
		return p, fmt.Errorf("it is an export of %s, not of %s; call it as then, or write another file", selection(header.Only), selection(only))
	}
	p.size, p.complete = lines.offset, map[string]bool{}
	var message []byte // the line of the last message
	for {
		b, err := lines.next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			if message == nil {
				return p, nil
			}
			return p, p.closeMessage(lines, message)
		}
		switch {
		case err != nil:
			return p, err
		case p.ended:
			return p, lines.wrong(errors.New("it stands behind the end"))
		}
		if bytes.HasPrefix(b, []byte(messagePrefix)) {
			if p.open == nil {
				return p, lines.wrong(errors.New("it is a message too many for its context"))
			}
			message = append(message[:0], b...)
			p.openSeq++
			p.messages++
			if p.openSeq == p.open.LastSeq {
				p.finish()
			}
		} else if err := p.line(b); err != nil {
			return p, lines.wrong(err)
		} else {
			message = nil
		}
		p.size = lines.offset
	}
}

// line takes in a line that is no message.
func (p *resumePoint) line(b []byte) error {
	l, err := parseLine(b)
	if err != nil {
		return err
	}
	if p.open != nil {
		return fmt.Errorf("context %q has %d messages, and %d are there before it", p.open.ID, p.open.LastSeq, p.openSeq)
	}
	switch l.Type {
	case "context":
		if p.open, err = parseContext(l.Context); err != nil {
			return err
		}
		p.openSeq, p.tail = 0, p.open
		if p.open.LastSeq == 0 {
			p.finish()
		}
	case "cursor":
		p.cursor, p.tail = l.Cursor, nil
		clear(p.complete)
	case "end":
		p.ended = true
	}
	return nil
}

// finish makes the open context a complete one.
func (p *resumePoint) finish() {
	p.complete[p.open.ID] = true
	p.contexts++
	p.open = nil
}

// closeMessage looks closely at the last line, which is a message: the others were only counted.
func (p *resumePoint) closeMessage(lines *lineReader, b []byte) error {
	l, err := parseLine(b)
	if err != nil {
		return lines.wrong(err)
	}
	seq, err := seqOf(l.Message)
	if err == nil && (seq != p.openSeq || l.ContextID != p.tail.ID) {
		err = fmt.Errorf("it is message %d of %q, where message %d of %q belongs; the file is damaged", seq, l.ContextID, p.openSeq, p.tail.ID)
	}
	if err != nil {
		return lines.wrong(err)
	}
	p.last = l.Message
	return nil
}

// verify asks the node for the last line that the file has: whatever store that was, it is this one.
func (p *resumePoint) verify(ctx context.Context, api *transferAPI) error {
	if p.tail == nil {
		return nil // behind a cursor, or at the beginning
	}
	now, err := api.context(ctx, p.tail.ID)
	if err != nil {
		return fmt.Errorf("its last context, %q: %w", p.tail.ID, err)
	}
	if now.LastSeq < p.tail.LastSeq {
		return fmt.Errorf("its last context, %q, has %d messages there and %d at the node; it is of another store", p.tail.ID, p.tail.LastSeq, now.LastSeq)
	}
	if p.last == nil {
		return nil
	}
	messages, err := api.messages(ctx, p.tail.ID, p.openSeq, 1)
	if err != nil {
		return fmt.Errorf("its last message, %d of %q: %w", p.openSeq, p.tail.ID, err)
	}
	if !bytes.Equal(messages[0], p.last) {
		return fmt.Errorf("its last message, %d of %q, is another one at the node; it is of another store", p.openSeq, p.tail.ID)
	}
	return nil
}

func selection(only []string) string {
	if only == nil {
		return "all contexts"
	}
	return fmt.Sprintf("%q", only)
}
