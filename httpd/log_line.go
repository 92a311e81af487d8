package httpd

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// LogLine is one line under construction, from Logger.Line to Send. It belongs to one goroutine and may not be
// used after Send. Building and sending a line allocates nothing in steady state. Keys are literals of the
// program and are written without escaping.
type LogLine struct {
	log *Logger
	buf []byte
	cut bool // a field was left out for length
}

// Str adds a string.
func (e *LogLine) Str(key, v string) *LogLine { return addString(e, key, v) }

// Bytes adds a string given as bytes; v is copied.
func (e *LogLine) Bytes(key string, v []byte) *LogLine { return addString(e, key, v) }

// Uint adds a number.
func (e *LogLine) Uint(key string, v uint64) *LogLine {
	if e.room(key, 20) {
		e.buf = strconv.AppendUint(e.key(key), v, 10)
	}
	return e
}

// Int adds a number.
func (e *LogLine) Int(key string, v int64) *LogLine {
	if e.room(key, 20) {
		e.buf = strconv.AppendInt(e.key(key), v, 10)
	}
	return e
}

// Bool adds true or false.
func (e *LogLine) Bool(key string, v bool) *LogLine {
	if e.room(key, 5) {
		e.buf = strconv.AppendBool(e.key(key), v)
	}
	return e
}

// Dur adds a duration as milliseconds with three decimals; name the key ..._ms.
func (e *LogLine) Dur(key string, d time.Duration) *LogLine {
	if e.room(key, 24) {
		e.buf = strconv.AppendFloat(e.key(key), float64(d)/1e6, 'f', 3, 64)
	}
	return e
}

// Err adds "error", if there is one.
func (e *LogLine) Err(err error) *LogLine {
	if e == nil || err == nil {
		return e
	}
	return addString(e, "error", err.Error())
}

// Send ends the line with its message and hands it over. It never blocks: with the queue full the line is
// dropped and counted.
func (e *LogLine) Send(msg string) {
	if e == nil {
		return
	}
	e.finish(msg)
	l := e.log
	select {
	case l.queue <- e:
	default:
		l.dropped.Add(1)
		l.pool.Put(e)
	}
}

func (e *LogLine) finish(msg string) {
	if e.cut {
		e.buf = append(e.buf, `,"truncated":true`...)
	}
	e.buf = append(e.buf, `,"msg":`...)
	e.buf = appendLogString(e.buf, msg)
	e.buf = append(e.buf, '}', '\n')
}

func (e *LogLine) any(key string, v any) {
	switch v := v.(type) {
	case string:
		e.Str(key, v)
	case []byte:
		e.Bytes(key, v)
	case int:
		e.Int(key, int64(v))
	case int64:
		e.Int(key, v)
	case uint32:
		e.Uint(key, uint64(v))
	case uint64:
		e.Uint(key, v)
	case bool:
		e.Bool(key, v)
	case time.Duration:
		e.Dur(key, v)
	case nil:
	case error:
		e.Str(key, v.Error())
	default:
		e.Str(key, fmt.Sprint(v))
	}
}

// room says whether a field whose value takes so many bytes still fits.
func (e *LogLine) room(key string, value int) bool {
	if e == nil {
		return false
	}
	if len(e.buf)+len(key)+value+4 > logLineMax {
		e.cut = true
		return false
	}
	return true
}

func (e *LogLine) key(key string) []byte {
	b := append(e.buf, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func addString[S string | []byte](e *LogLine, key string, v S) *LogLine {
	if len(v) > logValueMax {
		v = v[:logValueMax]
	}
	if !e.room(key, 2+len(v)) {
		return e
	}
	before := len(e.buf)
	e.buf = appendLogString(e.key(key), v)
	if len(e.buf) > logLineMax { // escapes
		e.buf, e.cut = e.buf[:before], true
	}
	return e
}

const hexDigits = "0123456789abcdef"

// appendLogString appends v as a JSON string. Bytes that are not UTF-8 become U+FFFD; control characters and
// what a terminal or a log viewer may take for markup (DEL, U+2028, U+2029) are escaped, so that no client can
// forge a line.
func appendLogString[S string | []byte](dst []byte, v S) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(v); {
		c := v[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < 0x20 || c == 0x7f:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := decodeRune(v[i:])
		if r == 0x2028 || r == 0x2029 {
			dst = append(dst, '\\', 'u', '2', '0', '2', hexDigits[r&15])
		} else {
			dst = utf8.AppendRune(dst, r) // RuneError for a bad byte
		}
		i += n
	}
	return append(dst, '"')
}

func decodeRune[S string | []byte](v S) (rune, int) {
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], v)])
}
