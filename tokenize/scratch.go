package tokenize

const (
	stackPiece  = 64      // bytes of a piece whose scratch is on the stack
	pooledPiece = 1 << 16 // bytes of a piece whose scratch (4.1 bytes per byte) goes back to the pool
)

// scratch is what backtrack needs for a long piece.
type scratch struct {
	tokens []uint32
	dead   []uint64
}

// forPiece returns room for a piece of n bytes, the second slice all zero.
func (s *scratch) forPiece(n int) ([]uint32, []uint64) {
	if cap(s.tokens) < n {
		s.tokens = make([]uint32, n+n/4)
		s.dead = make([]uint64, cap(s.tokens)/64+1)
	}
	dead := s.dead[:n/64+1]
	clear(dead)
	return s.tokens[:n], dead
}
