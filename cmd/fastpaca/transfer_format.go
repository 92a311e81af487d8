package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// An export is a file of lines, each a JSON object (NDJSON), in this order:
//
//	{"type":"fastpaca-export","version":1}                         first; with "only":["a","b"] where contexts were chosen
//	{"type":"context","context":{"id":"a","last_seq":2,...}}       as GET /v1/contexts/a answers it, then its messages 1..last_seq:
//	{"type":"message","context_id":"a","message":{"seq":1,...}}    byte for byte as GET .../messages gives it
//	{"type":"message","context_id":"a","message":{"seq":2,...}}
//	{"type":"cursor","cursor":"AQcDAAAA"}                          now and then: all contexts before this cursor are above
//	{"type":"end","contexts":1,"messages":2}                       last; without it the export is not complete
//
// A message or context whose JSON has line breaks between its members, as clients may send it, cannot be part of a line as it
// is. It stands as a string, "message_text" in place of "message" or "context_text" in place of "context", whose value is the
// text, byte for byte. Lines of an unknown type are for later versions to add, and skipped; anything else that changes is
// a new version.
const (
	exportType    = "fastpaca-export"
	exportVersion = 1
	// lineMax bounds a line: a message of the largest body that a node can be told to take (16 MiB), escaped at its worst.
	lineMax = 128 << 20
)

// line is any line of an export.
type line struct {
	Type        string
	Version     int
	Only        []string
	Context     json.RawMessage
	ContextText *string         `json:"context_text"`
	ContextID   string          `json:"context_id"`
	Message     json.RawMessage // raw bytes, as is Context
	MessageText *string         `json:"message_text"`
	Cursor      string
	Contexts    uint64
	Messages    uint64
}

// contextEntry is a context as a node describes it, as far as a transfer needs to know; the rest passes through.
type contextEntry struct {
	raw          json.RawMessage
	ID           string          `json:"id"`
	Status       string          `json:"status"`
	LastSeq      uint64          `json:"last_seq"`
	TokenBudget  json.RawMessage `json:"token_budget"`
	TriggerRatio json.RawMessage `json:"trigger_ratio"`
	Policy       json.RawMessage `json:"policy"`
	Metadata     json.RawMessage `json:"metadata"`
}

func (c *contextEntry) tombstoned() bool { return c.Status == "tombstoned" }

// parseContext keeps raw.
func parseContext(raw json.RawMessage) (*contextEntry, error) {
	c := &contextEntry{raw: raw}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("a context cannot be read: %w", err)
	}
	if c.ID == "" {
		return nil, errors.New("a context has no id")
	}
	return c, nil
}

// parseLine reads one line, without its line feed. Nothing of b is kept.
func parseLine(b []byte) (*line, error) {
	l := &line{}
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("it is no JSON object of an export: %w", err)
	}
	if l.ContextText != nil {
		l.Context = json.RawMessage(*l.ContextText)
	}
	if l.MessageText != nil {
		l.Message = json.RawMessage(*l.MessageText)
	}
	switch {
	case l.Type == "":
		return nil, errors.New(`it has no "type"`)
	case l.Type == "context" && l.Context == nil, l.Type == "message" && l.Message == nil:
		return nil, fmt.Errorf("a line of type %s lacks its %s", l.Type, l.Type)
	}
	return l, nil
}

// seqOf reads a message's seq. Those that a node gave out begin with it.
func seqOf(message []byte) (uint64, error) {
	if rest, ok := bytes.CutPrefix(message, []byte(`{"seq":`)); ok {
		if end := bytes.IndexByte(rest, ','); end > 0 {
			if seq, err := strconv.ParseUint(string(rest[:end]), 10, 64); err == nil {
				return seq, nil
			}
		}
	}
	var m struct{ Seq uint64 }
	if err := json.Unmarshal(message, &m); err != nil || m.Seq == 0 {
		return 0, errors.New("a message has no seq")
	}
	return m.Seq, nil
}

// messagePrefix is how exports begin the lines that nearly all lines are.
const messagePrefix = `{"type":"message",`

func appendHeaderLine(dst []byte, only []string) []byte {
	dst = append(dst, `{"type":"`+exportType+`","version":`...)
	dst = strconv.AppendInt(dst, exportVersion, 10)
	if only != nil {
		dst = append(dst, `,"only":`...)
		dst = appendJSON(dst, only)
	}
	return append(dst, "}\n"...)
}

func appendContextLine(dst []byte, c *contextEntry) []byte {
	return append(appendRaw(append(dst, `{"type":"context",`...), "context", c.raw), "}\n"...)
}

func appendMessageLine(dst []byte, id string, message []byte) []byte {
	dst = append(dst, messagePrefix+`"context_id":`...)
	dst = append(appendJSON(dst, id), ',')
	return append(appendRaw(dst, "message", message), "}\n"...)
}

func appendCursorLine(dst []byte, cursor string) []byte {
	return append(appendJSON(append(dst, `{"type":"cursor","cursor":`...), cursor), "}\n"...)
}

func appendEndLine(dst []byte, contexts, messages uint64) []byte {
	return fmt.Appendf(dst, `{"type":"end","contexts":%d,"messages":%d}`+"\n", contexts, messages)
}

// appendRaw appends a member with JSON text as it is, or as a string where it would break the line.
func appendRaw(dst []byte, name string, raw []byte) []byte {
	if !bytes.ContainsAny(raw, "\n\r") {
		return append(append(append(append(dst, '"'), name...), `":`...), raw...)
	}
	return appendJSON(append(append(append(dst, '"'), name...), `_text":`...), string(raw))
}

// appendJSON appends a string or a list of strings. A node has checked that they are UTF-8.
func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("fastpaca: a string cannot be written as JSON; this is a bug, please report it: " + err.Error())
	}
	return append(dst, b...)
}

// lineReader reads lines, however long, and counts.
type lineReader struct {
	r      *bufio.Reader
	long   []byte // a line that does not fit into r
	number int    // of the line read last, from 1
	offset int64  // behind it
	torn   []byte // what stands behind the last line feed, when next has found that there is no other
}

func newLineReader(r io.Reader) *lineReader { return &lineReader{r: bufio.NewReaderSize(r, 1<<20)} }

// next returns a line without its line feed, valid until the next call. io.EOF: there is none; io.ErrUnexpectedEOF: the
// last one has no line feed, and is not to be believed.
func (l *lineReader) next() ([]byte, error) {
	b, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = l.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if l.long = append(l.long, b...); len(l.long) > lineMax {
				return nil, fmt.Errorf("line %d is longer than %d MiB", l.number+1, lineMax>>20)
			}
			b, err = l.r.ReadSlice('\n')
		}
		l.long = append(l.long, b...)
		b = l.long
	}
	switch {
	case err == nil:
		l.number++
		l.offset += int64(len(b))
		return b[:len(b)-1], nil
	case errors.Is(err, io.EOF) && len(b) > 0:
		l.torn = b
		return nil, io.ErrUnexpectedEOF
	}
	return nil, err
}

// fragment says whether the only line that there is, torn, is the beginning of want, or want that of the line.
func (l *lineReader) fragment(want []byte) bool {
	return bytes.HasPrefix(want, l.torn) || bytes.HasPrefix(l.torn, want)
}

// wrong says where a line is wrong.
func (l *lineReader) wrong(err error) error { return fmt.Errorf("line %d: %w", l.number, err) }

// errNoExport: what is there is something else.
var errNoExport = fmt.Errorf("the first line is not that of an export (%q)", `{"type":"`+exportType+`",...}`)

// header reads the first line.
func (l *lineReader) header() (*line, error) {
	b, err := l.next()
	if err != nil {
		return nil, err
	}
	h, err := parseLine(b)
	switch {
	case err != nil || h.Type != exportType:
		return nil, errNoExport
	case h.Version != exportVersion:
		return nil, fmt.Errorf("the export has version %d, and this fastpaca knows version %d; use the one that wrote it, or a later one", h.Version, exportVersion)
	}
	return h, nil
}
