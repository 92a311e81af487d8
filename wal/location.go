package wal

// location is where a live entry's record stands, in 8 bytes: the low 16 bits of its segment id, its
// offset and its size in units of 8 bytes.
//
//	63        48 47            19 18          0
//	| segment   | offset/8       | size/8      |
//	  16 bits     29 bits: 4 GiB   19 bits: up to 4 MiB, then saturated
//
// The full id follows from the oldest live segment's, because fewer than 2^16 segments are ever live (the
// writer refuses to make more). The size tells a reader how much to read, and the table how many bytes a
// group keeps alive; the few records of 4 MiB and more count as 4 MiB.
type location uint64

const (
	locSizeBits   = 19
	locOffsetBits = 29
	locSizeMax    = 1<<locSizeBits - 1

	maxLiveSegments = 1<<16 - 2
)

func makeLocation(p position, size int) location {
	units := min(uint64(size)/alignBytes, locSizeMax)
	off := uint64(p.offset()) / alignBytes
	return location(p.segment()&0xffff<<(locOffsetBits+locSizeBits) | off<<locSizeBits | units)
}

// position resolves l, given the id of the oldest live segment.
func (l location) position(oldest uint64) position {
	ahead := uint16(l>>(locOffsetBits+locSizeBits)) - uint16(oldest)
	off := uint64(l) >> locSizeBits & (1<<locOffsetBits - 1) * alignBytes
	return makePosition(oldest+uint64(ahead), int64(off))
}

// size is the record's size in bytes, padding included. If exact is false it is only a lower bound.
func (l location) size() (n int, exact bool) {
	units := int(l & locSizeMax)
	return units * alignBytes, units != locSizeMax
}

// locations is a double-ended queue of the locations of consecutive indexes. It allocates only when it
// outgrows its ring, and gives memory back when most of a large one stands empty.
type locations struct {
	ring []location // length is a power of two, or zero
	head int
	n    int
}

func (q *locations) len() int { return q.n }

func (q *locations) at(i int) location { return q.ring[(q.head+i)&(len(q.ring)-1)] }

func (q *locations) push(l location) {
	if q.n == len(q.ring) {
		q.resize(max(8, 2*len(q.ring)))
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = l
	q.n++
}

func (q *locations) popFront(k int) {
	if k > 0 {
		q.head = (q.head + k) & (len(q.ring) - 1)
		q.n -= k
		q.shrink()
	}
}

func (q *locations) truncate(n int) {
	q.n = n
	q.shrink()
}

// shrinkAbove is the ring size, in entries, from which memory is given back: 64 KiB per group.
const shrinkAbove = 8192

func (q *locations) shrink() {
	if len(q.ring) > shrinkAbove && q.n < len(q.ring)/8 {
		q.resize(len(q.ring) / 4)
	}
}

func (q *locations) resize(size int) {
	ring := make([]location, size)
	for i := range q.n {
		ring[i] = q.at(i)
	}
	q.ring, q.head = ring, 0
}
