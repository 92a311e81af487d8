package tokenize

import "sync"

// bpe is one encoding: how to cut a text into pieces (which the scanners know) and how many tokens a piece is.
type bpe struct {
	// asLibrary: the expressions match as tiktoken-go/tokenizer's compiled form of them does, which departs
	// from them twice (see the package documentation); otherwise as they are written, as in tiktoken.
	asLibrary bool

	classes classes
	pieces  pieceTable // is this piece one token?
	hot     *hotPieces // of the answers of pieces, yes to short ones
	pairs   pairTable  // what do two tokens merge to?
	merged  pieceCache // how many tokens were short pieces that are not one?
	mergers *sync.Pool // of *merger, for long pieces
	clean   *sync.Pool // of *[]byte, for text that is not UTF-8
}

// newBPE builds the tables of an encoding from its vocabulary file. The largest of them are hash tables of
// words without pointers, built by hashes that are fixed: two processes have the same tables.
func newBPE(file string, asLibrary bool) *bpe {
	v := parseVocabulary(file)
	e := &bpe{
		asLibrary: asLibrary,
		classes:   newClasses(asLibrary),
		pieces:    newPieceTable(v),
		hot:       new(hotPieces),
		pairs:     newPairTable(v),
		merged:    newPieceCache(cacheBits),
		clean:     &sync.Pool{New: func() any { return new([]byte) }},
	}
	e.mergers = &sync.Pool{New: func() any { return newMerger(&e.pairs) }}
	return e
}

// count is the number of tokens of the piece text[i:end], which is not empty.
func (e *bpe) count(text []byte, i, end int) int {
	n := end - i
	if n == 1 {
		return 1
	}
	if n <= maxShort {
		lo, hi := shortKeyAt(text, i, n)
		return e.countShort(text[i:end], lo, hi)
	}
	if e.pieces.hasLong(text[i:end]) {
		return 1
	}
	return e.merge(text[i:end])
}

// countShort is count of a piece of at most maxShort bytes, which has this key.
func (e *bpe) countShort(piece []byte, lo, hi uint64) int {
	hot, word := e.hot.slot(lo, hi)
	if hot != nil && hot.Load() == word {
		return 1
	}
	if e.pieces.hasShort(lo, hi) {
		if hot != nil {
			hot.Store(word)
		}
		return 1
	}
	if n := e.merged.get(lo, hi); n != 0 {
		return n
	}
	n := e.pairs.mergeShort(piece)
	e.merged.put(lo, hi, n)
	return n
}

// merge is the number of tokens of one piece that is not a token itself (or is: the answer is the same, as
// every token of both vocabularies comes out of merging its own bytes).
func (e *bpe) merge(piece []byte) int {
	if len(piece) <= shortPiece {
		return e.pairs.mergeShort(piece)
	}
	m := e.mergers.Get().(*merger)
	n := m.count(piece, windowSize, windowMargin)
	if cap(m.parts) <= 2*windowSize {
		e.mergers.Put(m)
	}
	return n
}
