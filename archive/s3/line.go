package s3

import (
	"bytes"
	"errors"
	"strconv"

	"fastpaca/archive"
	"fastpaca/shard/jsonscan"
)

// appendLine appends a row as a line of a data object.
func appendLine(dst []byte, r *archive.Row) []byte {
	dst = append(dst, `{"context_id":"`...)
	for i := 0; i < len(r.Context); i++ { // ids hold no control characters
		if c := r.Context[i]; c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, r.Context[i])
	}
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, r.Seq, 10)
	dst = append(dst, `,"token_count":`...)
	dst = strconv.AppendUint(dst, uint64(r.Tokens), 10)
	dst = append(dst, `,"inserted_ms":`...)
	dst = strconv.AppendInt(dst, r.InsertedMs, 10)
	breaks := bytes.IndexByte(r.Message, '\n') >= 0
	if breaks {
		dst = append(dst, `,"lf":`...)
		sep := byte('[')
		for i, c := range r.Message {
			if c == '\n' {
				dst = strconv.AppendInt(append(dst, sep), int64(i), 10)
				sep = ','
			}
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `,"message":`...)
	at := len(dst)
	dst = append(dst, r.Message...)
	if breaks {
		for i := at; i < len(dst); i++ {
			if dst[i] == '\n' {
				dst[i] = ' '
			}
		}
	}
	return append(dst, '}', '\n')
}

var errLine = errors.New("a line that does not make sense")

// parseLine reads the line at the start of b and returns what follows it. Where mine is false, the line is of another
// context, and r holds nothing. r.Message is part of b unless it has line feeds.
func parseLine(b []byte, context string, r *archive.Row) (rest []byte, mine bool, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 || b[0] != '{' {
		return nil, false, errLine
	}
	text, rest := b[:end], b[end+1:]
	var breaks []byte
	*r = archive.Row{Context: context}
	m := jsonscan.Object(text, 0)
	for m.Next() {
		key := m.Key()
		v := m.Value()
		if v == nil {
			break
		}
		switch string(key) {
		case `"context_id"`:
			if !jsonscan.Equal(v, context) {
				return rest, false, nil // the rest of the line is not looked at: others' messages are theirs to check
			}
			mine = true
		case `"seq"`:
			r.Seq, err = strconv.ParseUint(string(v), 10, 64)
		case `"token_count"`:
			var n uint64
			n, err = strconv.ParseUint(string(v), 10, 32)
			r.Tokens = uint32(n)
		case `"inserted_ms"`:
			r.InsertedMs, err = strconv.ParseInt(string(v), 10, 64)
		case `"lf"`:
			breaks = v
		case `"message"`:
			r.Message = v
		}
		if err != nil {
			return nil, false, errLine
		}
	}
	if at, err := m.End(); err != nil || at != len(text) || !mine || r.Seq == 0 || len(r.Message) == 0 {
		return nil, false, errLine
	}
	if breaks != nil {
		if r.Message, err = restoreBreaks(r.Message, breaks); err != nil {
			return nil, false, err
		}
	}
	return rest, true, nil
}

// restoreBreaks returns message with line feeds at the offsets in the JSON array breaks.
func restoreBreaks(message, breaks []byte) ([]byte, error) {
	message = bytes.Clone(message)
	for _, f := range bytes.Split(bytes.Trim(breaks, "[]"), []byte{','}) {
		i, err := strconv.Atoi(string(f))
		if err != nil || i < 0 || i >= len(message) || message[i] != ' ' {
			return nil, errLine
		}
		message[i] = '\n'
	}
	return message, nil
}
