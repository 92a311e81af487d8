package pg

import (
	"encoding/binary"
	"io"
	"math"

	"fastpaca/archive"
)

// encoder turns rows into what COPY ... FROM STDIN BINARY reads, a few at a time:
//
//	"PGCOPY\n" FF "\r\n" 00 | flags u32 = 0 | extension len u32 = 0
//	rows times: fields u16 = 8 | 8 times (len u32 | value)
//	FFFF
//
// All integers are big-endian; a jsonb value is 01 and the JSON text, a timestamptz microseconds since the year 2000.
// (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format")
type encoder struct {
	rows []archive.Row
	next int
	buf  []byte // encoded and not read yet: buf[off:]
	off  int
	role []byte
	err  error // why a row could not be encoded
}

const (
	copySignature = "PGCOPY\n\xff\r\n\x00"
	copyFields    = 8
	// encodeAhead is how much is encoded at a time, unless one row is longer. pgx sends 64 KiB at a time.
	encodeAhead = 64 << 10
	// year2000 in Unix ms.
	year2000 = 946684800000
)

func (e *encoder) Read(p []byte) (int, error) {
	if e.off == len(e.buf) {
		if e.err != nil {
			return 0, e.err
		}
		if e.next > len(e.rows) {
			return 0, io.EOF
		}
		e.fill()
		if e.err != nil {
			return 0, e.err
		}
	}
	n := copy(p, e.buf[e.off:])
	e.off += n
	return n, nil
}

func (e *encoder) fill() {
	e.buf, e.off = e.buf[:0], 0
	if e.next == 0 {
		e.buf = append(e.buf, copySignature...)
		e.buf = append(e.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	for ; e.next < len(e.rows) && len(e.buf) < encodeAhead; e.next++ {
		if e.row(&e.rows[e.next]); e.err != nil {
			return
		}
	}
	if e.next == len(e.rows) {
		e.buf = append(e.buf, 0xff, 0xff)
		e.next++
	}
}

func (e *encoder) row(r *archive.Row) {
	c, err := archive.ColumnsOf(r.Message)
	if err != nil {
		e.err = &archive.RowError{Context: r.Context, Seq: r.Seq, Err: err}
		return
	}
	e.role = appendText(e.role[:0], c.Role)
	b := binary.BigEndian.AppendUint16(e.buf, copyFields)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Context)))
	b = append(b, r.Context...)
	b = appendInt64(b, int64(r.Seq))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.role)))
	b = append(b, e.role...)
	b = appendJSONBField(b, c.Parts)
	b = appendJSONBField(b, c.Metadata)
	b = binary.BigEndian.AppendUint32(b, 4)
	b = binary.BigEndian.AppendUint32(b, min(r.Tokens, math.MaxInt32))
	b = appendInt64(b, (r.InsertedMs-year2000)*1000)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Message)))
	e.buf = append(b, r.Message...)
}

func appendInt64(b []byte, v int64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, uint64(v))
}

func appendJSONBField(b, raw []byte) []byte {
	if len(raw) == 0 {
		raw = []byte("{}")
	}
	at := len(b)
	b = append(b, 0, 0, 0, 0, 1)
	b = appendJSONB(b, raw)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}
