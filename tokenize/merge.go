package tokenize

import "math/bits"

// The tokens of a piece are what byte-pair encoding ends with: start from single bytes, and as long as two
// neighbours together are a token, merge the pair whose token has the lowest rank, the leftmost of equals.
// Done literally that is quadratic, with a heap n log n. Here it is linear, by the observations of
// A. Neubeck's and H. van Antwerpen's "So many tokens, so little time" (GitHub, 2024):
//
//   - An encoding is right if and only if each two neighbouring tokens of it are: a sequence of tokens is the
//     encoding of its text exactly when every adjacent pair (s, t) is the encoding of the text of s and t.
//   - Whether a pair (s, t) is, follows from the last merges of s and t (validPair), without the text.
//   - A text has one encoding, so each prefix of it has one. Hence search: at each position take the longest
//     token that is right after the token before it, and if there is none go back to the one before and
//     take a shorter token there. A position that was left once without a continuation is dead for ever:
//     the way to reach it was the only right one. So each position is entered once, and left at most once.
//
// This wants a vocabulary in which every token is the encoding of its own bytes and has a higher rank than
// the two tokens whose merge it is; vocabgen refuses any other.
//
// Merging looks a pair up by two ids, not by bytes. Neighbours a, b whose bytes together are those of token t
// always are t's two last parts, however they came about: no merge so far crossed the borders of t's bytes,
// so those between were merged as if they were alone, and alone they pass one state of two parts only. So
// the table of pairs has one entry per token.

// mergeTables are the tables of one vocabulary. Token ids have 18 bits, nodes of the trie 20.
type mergeTables struct {
	bytes  [256]uint32 // token of a single byte
	two    []uint32    // trie node of two bytes, first byte in the low bits; noNode when no token starts so
	trie   []uint64    // hash table: node 20 bits, byte 8 bits -> node 20 bits; 0 is free
	pairs  []uint64    // hash table: left 18 bits, right 18 bits -> token 18 bits; 0 is free
	split  []tokenPair // per token: the last merge, or the byte's token twice
	prefix []uint32    // per token: the longest token that is a proper prefix of it, noToken for a byte
	length []uint8     // per token, in bytes
	tokens uint32      // trie nodes below this are the tokens themselves, others only lead on
	trieSh uint
	pairSh uint
}

const (
	noNode  = 1<<32 - 1
	noToken = 1<<32 - 1

	trieMul = 0x9E3779B97F4A7C15
	pairMul = 0xD6E8FEB86659FD93
)

func newMergeTables(v *vocabulary) mergeTables {
	n := v.size()
	pairBits := uint(bits.Len(uint(n))) + 1 // at most half full
	m := mergeTables{
		two:    make([]uint32, 1<<16),
		pairs:  make([]uint64, 1<<pairBits),
		pairSh: 64 - pairBits,
		split:  v.split,
		prefix: make([]uint32, n),
		length: make([]uint8, n),
		tokens: uint32(n),
	}
	for i := range m.two {
		m.two[i] = noNode
	}
	for id := range uint32(n) {
		m.length[id] = uint8(len(v.token(id)))
		if id >= 256 {
			m.addPair(v.split[id], id)
		} else {
			m.bytes[v.token(id)[0]] = id
			m.prefix[id] = noToken
		}
	}
	m.buildTrie(v)
	return m
}

func (m *mergeTables) addPair(p tokenPair, id uint32) {
	key := uint64(p.left)<<18 | uint64(p.right)
	h := key * pairMul >> m.pairSh
	for m.pairs[h] != 0 {
		h = (h + 1) & uint64(len(m.pairs)-1)
	}
	m.pairs[h] = key<<18 | uint64(id)
}

// pair is the token that left and right merge to, noToken if they do not.
func (m *mergeTables) pair(left, right uint32) uint32 {
	key := uint64(left)<<18 | uint64(right)
	for h := key * pairMul >> m.pairSh; ; h = (h + 1) & uint64(len(m.pairs)-1) {
		e := m.pairs[h]
		if e>>18 == key {
			if e == 0 {
				return noToken
			}
			return uint32(e & (1<<18 - 1))
		}
		if e == 0 {
			return noToken
		}
	}
}

// buildTrie inserts the tokens from the shortest to the longest. Then the path of a token's left part is
// there already and is entered at its end, and the token's own end never is.
func (m *mergeTables) buildTrie(v *vocabulary) {
	var byLength [257]uint32
	for _, l := range m.length {
		byLength[int(l)+1]++
	}
	for l := 1; l < len(byLength); l++ {
		byLength[l] += byLength[l-1]
	}
	order := make([]uint32, len(m.length))
	for id, l := range m.length {
		order[byLength[l]] = uint32(id)
		byLength[l]++
	}

	trieBits := uint(bits.Len(uint(m.tokens))) + 2 // there are some 2.1 nodes to a token
	m.trieSh = 64 - trieBits
	m.trie = make([]uint64, 1<<trieBits)
	next := m.tokens
	for _, id := range order[256:] {
		token := v.token(id)
		node := v.split[id].left
		longest := node
		for at := int(m.length[node]); at < len(token); at++ {
			last := at == len(token)-1
			child := noNode
			if at == 1 {
				child = int(m.two[int(token[0])|int(token[1])<<8])
			} else {
				child = int(m.child(node, token[at]))
			}
			if child == noNode {
				child = int(next)
				if last {
					child = int(id)
				} else {
					next++
				}
				if at == 1 {
					m.two[int(token[0])|int(token[1])<<8] = uint32(child)
				} else {
					m.addChild(node, token[at], uint32(child))
				}
			}
			node = uint32(child)
			if node < m.tokens && !last {
				longest = node
			}
		}
		m.prefix[id] = longest
	}
}

func (m *mergeTables) addChild(node uint32, b byte, child uint32) {
	key := uint64(node)<<8 | uint64(b)
	h := key * trieMul >> m.trieSh
	for m.trie[h] != 0 {
		h = (h + 1) & uint64(len(m.trie)-1)
	}
	m.trie[h] = key<<20 | uint64(child)
}

// child is the node that b leads to from a node of at least two bytes, or noNode. (A node of one byte is
// never asked, so no key is 0.)
func (m *mergeTables) child(node uint32, b byte) uint32 {
	key := uint64(node)<<8 | uint64(b)
	for h := key * trieMul >> m.trieSh; ; h = (h + 1) & uint64(len(m.trie)-1) {
		e := m.trie[h]
		if e>>20 == key {
			return uint32(e & (1<<20 - 1))
		}
		if e == 0 {
			return noNode
		}
	}
}

// longest is the longest token that text, which is not empty, starts with.
func (m *mergeTables) longest(text []byte) uint32 {
	token := m.bytes[text[0]]
	if len(text) < 2 {
		return token
	}
	node := m.two[int(text[0])|int(text[1])<<8]
	if node == noNode {
		return token
	}
	for i := 2; ; i++ {
		if node < m.tokens {
			token = node
		}
		if i >= len(text) {
			return token
		}
		if node = m.child(node, text[i]); node == noNode {
			return token
		}
	}
}

// validPair tells whether the text of tokens s and t together is encoded as s, t. It takes the two apart
// again in the opposite order of their making, highest rank first (for equal ranks the right one first, as
// merging does the left one first), and looks each time whether the two parts that touch would rather have
// merged with each other: they would if the rank of that is below limit, the rank at which they were
// merged into something else.
func (m *mergeTables) validPair(s, t uint32) bool {
	limit := uint32(noToken)
	for {
		if m.pair(s, t) < limit {
			return false
		}
		// After the comparison limit is the rank of the merge undone: a rank equal to that of a merge left of
		// the touching parts comes too late for them, one equal to that of a merge right of them in time.
		if s > t {
			limit = s
			if s = m.split[s].right; s != limit {
				continue
			}
			limit = t + 1
			if t = m.split[t].left; t+1 == limit {
				return true
			}
		} else {
			limit = t + 1
			if t = m.split[t].left; t+1 != limit {
				continue
			}
			limit = s
			if s = m.split[s].right; s == limit {
				return true
			}
		}
	}
}

// backtrack is the number of tokens of piece, and the number of tokens it tried on the way (for the test that
// this is linear). tokens must have len(piece) elements, dead len(piece)/64+1, all zero.
func (m *mergeTables) backtrack(piece []byte, tokens []uint32, dead []uint64) (n, tried int) {
	pos, token := 0, m.longest(piece)
	for {
		tried++
		end := pos + int(m.length[token])
		if dead[end/64]>>(end%64)&1 == 0 && (n == 0 || m.validPair(tokens[n-1], token)) {
			tokens[n] = token
			n++
			if end == len(piece) {
				return n, tried
			}
			pos = end
			token = m.longest(piece[pos:])
			continue
		}
		if shorter := m.prefix[token]; shorter != noToken {
			token = shorter
			continue
		}
		dead[pos/64] |= 1 << (pos % 64)
		n--
		token = tokens[n]
		pos -= int(m.length[token])
	}
}
