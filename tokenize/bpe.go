package tokenize

import "sync"

// bpe is one encoding: how to cut a text into pieces (which the scanners know) and how many tokens a piece is.
type bpe struct {
	// asLibrary: the expressions match as tiktoken-go/tokenizer's compiled form of them does, which departs
	// from them twice (see the package documentation); otherwise as they are written, as in tiktoken.
	asLibrary bool

	classes classes
	pieces  pieceTable // is this piece one token?
	merges  mergeTables
	scratch *sync.Pool // of *scratch, for long pieces
	clean   *sync.Pool // of *[]byte, for text that is not UTF-8
}

// newBPE builds the tables of an encoding from its vocabulary file. The largest of them are hash tables of
// words without pointers, built by hashes that are fixed: two processes have the same tables.
func newBPE(file string, asLibrary bool) *bpe {
	v := parseVocabulary(file)
	return &bpe{
		asLibrary: asLibrary,
		classes:   newClasses(asLibrary),
		pieces:    newPieceTable(v),
		merges:    newMergeTables(v),
		scratch:   &sync.Pool{New: func() any { return new(scratch) }},
		clean:     &sync.Pool{New: func() any { return new([]byte) }},
	}
}

// count is the number of tokens of one piece that is not empty.
func (e *bpe) count(piece []byte) int {
	if len(piece) <= maxShort {
		lo, hi := shortKey(piece)
		if e.pieces.hasShort(lo, hi) {
			return 1
		}
	} else if e.pieces.hasLong(piece) {
		return 1
	}
	return e.merge(piece)
}

// merge is the number of tokens of one piece that is not a token itself (or is: the answer is the same, as
// every token of both vocabularies comes out of merging its own bytes).
func (e *bpe) merge(piece []byte) int {
	if len(piece) <= stackPiece {
		var tokens [stackPiece]uint32
		var dead [stackPiece/64 + 1]uint64
		n, _ := e.merges.backtrack(piece, tokens[:], dead[:])
		return n
	}
	s := e.scratch.Get().(*scratch)
	tokens, dead := s.forPiece(len(piece))
	n, _ := e.merges.backtrack(piece, tokens, dead)
	if len(piece) <= pooledPiece {
		e.scratch.Put(s)
	}
	return n
}
