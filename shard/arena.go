package shard

// arenaBlock is the size of the blocks that commands are copied into. One allocation serves about a
// thousand appends of 200 bytes.
const arenaBlock = 256 << 10

// arena gives log entries a home that lives exactly as long as they do: commands are copied one behind
// the other into blocks, and a block is garbage when the last entry in it has left the raft log and the
// WAL's queue. No reference counts, no reuse, so no way to free bytes under somebody's hands.
type arena struct{ block []byte }

// copy returns a private copy of b. Commands larger than a quarter of a block get memory of their own, so
// that they do not leave big holes.
func (a *arena) copy(b []byte) []byte {
	if len(b) > arenaBlock/4 {
		return append([]byte(nil), b...)
	}
	if cap(a.block)-len(a.block) < len(b) {
		a.block = make([]byte, 0, arenaBlock)
	}
	from := len(a.block)
	a.block = append(a.block, b...)
	return a.block[from:len(a.block):len(a.block)]
}
