package s3

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// id names a data object by its contents, or a segment at random.
type id [16]byte

// extent says where consecutive messages of a context lie.
type extent struct {
	context  string
	from, to uint64 // seqs, both inclusive
	object   id
	off, len uint32 // of the block
}

func (e *extent) rows() int { return int(e.to - e.from + 1) }

func compareExtents(a, b extent) int {
	if c := cmp.Compare(a.context, b.context); c != 0 {
		return c
	}
	return cmp.Compare(a.from, b.from)
}

// table is a sorted run of extents.
type table []extent

// of returns the extents of a context, ascending.
func (t table) of(context string) table {
	lo, _ := slices.BinarySearchFunc(t, context, func(e extent, c string) int { return cmp.Compare(e.context, c) })
	hi := lo
	for hi < len(t) && t[hi].context == context {
		hi++
	}
	return t[lo:hi]
}

// ref names a segment and the contexts that it covers.
type ref struct {
	id          id
	extents     int
	first, last string
}

// manifest is the root of a partition's index. Immutable once published.
type manifest struct {
	etag       string // under which it was read or written; not part of the object
	generation uint64
	commit     id // at random: tells a writer whose answer was lost whether this is what it wrote
	levels     [][]ref
	inline     table
}

const (
	manifestMagic = "FPAM\x01"
	segmentMagic  = "FPAX\x01"
)

// codec compresses and decompresses; for any number of goroutines.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// decodedMax bounds what one frame may unpack to: a block holds one message of at most 9 MiB or a few small ones, a segment
// segmentExtents times at most 300 bytes, and a manifest that many when folding has failed for long.
const decodedMax = 256 << 20

func newCodec() *codec {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithEncoderCRC(true))
	if err != nil {
		panic(err) // options are constant
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(4), zstd.WithDecoderMaxMemory(decodedMax))
	if err != nil {
		panic(err)
	}
	return &codec{enc: enc, dec: dec}
}

func (c *codec) seal(magic string, body []byte) []byte { return c.enc.EncodeAll(body, []byte(magic)) }

func (c *codec) unseal(magic string, b []byte) ([]byte, error) {
	if len(b) < len(magic) || string(b[:4]) != magic[:4] {
		return nil, errors.New("it is not one of ours")
	}
	if b[4] != magic[4] {
		return nil, fmt.Errorf("it has version %d and this server knows %d; run the newer fastpaca", b[4], magic[4])
	}
	return c.dec.DecodeAll(b[len(magic):], nil)
}

func (c *codec) encodeSegment(t table) []byte { return c.seal(segmentMagic, appendTable(nil, t)) }

func (c *codec) decodeSegment(b []byte) (table, error) {
	body, err := c.unseal(segmentMagic, b)
	if err != nil {
		return nil, err
	}
	r := reader{b: body}
	t := r.table()
	return t, r.end()
}

func (c *codec) encodeManifest(m *manifest) []byte {
	b := binary.AppendUvarint(nil, m.generation)
	b = append(b, m.commit[:]...)
	b = binary.AppendUvarint(b, uint64(len(m.levels)))
	for _, level := range m.levels {
		b = binary.AppendUvarint(b, uint64(len(level)))
		for i := range level {
			b = append(b, level[i].id[:]...)
			b = binary.AppendUvarint(b, uint64(level[i].extents))
			b = appendString(b, level[i].first)
			b = appendString(b, level[i].last)
		}
	}
	return c.seal(manifestMagic, appendTable(b, m.inline))
}

func (c *codec) decodeManifest(b []byte) (*manifest, error) {
	body, err := c.unseal(manifestMagic, b)
	if err != nil {
		return nil, err
	}
	r := reader{b: body}
	m := &manifest{generation: r.uvarint()}
	r.id(&m.commit)
	m.levels = make([][]ref, r.count(1))
	for i := range m.levels {
		m.levels[i] = make([]ref, r.count(len(id{})))
		for j := range m.levels[i] {
			s := &m.levels[i][j]
			r.id(&s.id)
			s.extents = int(r.uvarint())
			s.first, s.last = r.string(), r.string()
		}
	}
	m.inline = r.table()
	return m, r.end()
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTable(b []byte, t table) []byte {
	var objects []id
	index := map[id]uint64{}
	for i := range t {
		if _, known := index[t[i].object]; !known {
			index[t[i].object] = uint64(len(objects))
			objects = append(objects, t[i].object)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(objects)))
	for i := range objects {
		b = append(b, objects[i][:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(t)))
	before := ""
	for i := range t {
		e := &t[i]
		shared := 0
		for shared < len(before) && shared < len(e.context) && before[shared] == e.context[shared] {
			shared++
		}
		before = e.context
		b = binary.AppendUvarint(b, uint64(shared))
		b = appendString(b, e.context[shared:])
		for _, n := range [...]uint64{e.from, e.to - e.from, index[e.object], uint64(e.off), uint64(e.len)} {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

// reader takes the parts of an encoding off b. After a mistake it returns zeros, and end says what was wrong.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// contextMax is the longest id of a context.
const contextMax = 255

// count reads a number of things that take at least size bytes each.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) string() string { return string(r.bytes(r.count(1))) }

func (r *reader) id(id *id) { copy(id[:], r.bytes(len(id))) }

func (r *reader) table() table {
	objects := make([]id, r.count(len(id{})))
	for i := range objects {
		r.id(&objects[i])
	}
	t := make(table, r.count(7))
	before := ""
	for i := range t {
		e := &t[i]
		shared := r.uvarint()
		rest := r.bytes(r.count(1))
		if shared > uint64(len(before)) || int(shared)+len(rest) > contextMax {
			r.fail()
			return nil
		}
		if int(shared) == len(before) && len(rest) == 0 {
			e.context = before // extents of one context share its string
		} else {
			e.context = before[:shared] + string(rest)
		}
		before = e.context
		e.from = r.uvarint()
		e.to = e.from + r.uvarint()
		object, off, length := r.uvarint(), r.uvarint(), r.uvarint()
		if r.bad || object >= uint64(len(objects)) || off > math.MaxUint32 || length > math.MaxUint32 || e.to < e.from ||
			i > 0 && compareExtents(t[i-1], *e) >= 0 {
			r.fail()
			return nil
		}
		e.object, e.off, e.len = objects[object], uint32(off), uint32(length)
	}
	return t
}

func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errors.New("it does not make sense")
	}
	return nil
}
