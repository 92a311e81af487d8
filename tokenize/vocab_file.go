package tokenize

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A vocabulary file is the list of merges that made the vocabulary; ids are ranks:
//
//	 0      4  5      8            264                            264+6(n-256)
//	+------+--+------+------------+------------------------------+--------+
//	| FPBP | 1|  n   | 256 bytes  | n-256 of {left u24, right u24}| crc32c |
//	+------+--+------+------------+------------------------------+--------+
//
// n u24 tokens; the byte of each of the first 256, in order of id; for every further token the two tokens
// whose merge it is, both of a lower id (the parser insists). Integers are little endian. The checksum
// (Castagnoli) covers all that precedes it. Version 1; written by internal/vocabgen.
const (
	vocabMagic   = "FPBP\x01"
	vocabHeader  = 8 + 256
	vocabMaxSize = 1 << 18 // token ids fit in 18 bits, which the tables rely on
)

//go:embed data/o200k_base.bpe
var o200kFile string

//go:embed data/cl100k_base.bpe
var cl100kFile string

func vocabularyFile(encoding string) string {
	if encoding == encodingCL100K {
		return cl100kFile
	}
	return o200kFile
}

// vocabulary is a parsed vocabulary file. It lives only while tables are built of it.
type vocabulary struct {
	split []tokenPair // per id; a byte is split into itself twice
	start []uint32    // token id is text[start[id]:start[id+1]]
	text  []byte
}

type tokenPair struct{ left, right uint32 }

func (v *vocabulary) token(id uint32) []byte { return v.text[v.start[id]:v.start[id+1]] }
func (v *vocabulary) size() int              { return len(v.split) }

// parseVocabulary panics when the file is not as it should be: it is part of the program.
func parseVocabulary(file string) *vocabulary {
	fail := func(what string) {
		panic(fmt.Sprintf("tokenize: the embedded vocabulary is damaged (%s): rebuild the program; `go generate ./tokenize` makes the file anew", what))
	}
	if len(file) < vocabHeader+4 || file[:len(vocabMagic)] != vocabMagic {
		fail("header")
	}
	n := u24(file[5:])
	if n < 256 || n > vocabMaxSize || len(file) != vocabHeader+6*(n-256)+4 {
		fail("size")
	}
	body, sum := file[:len(file)-4], file[len(file)-4:]
	if crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32([]byte(sum)) {
		fail("checksum")
	}

	v := &vocabulary{
		split: make([]tokenPair, n),
		start: make([]uint32, n+1),
		text:  make([]byte, 0, 8*n),
	}
	for id := range 256 {
		v.split[id] = tokenPair{uint32(id), uint32(id)}
		v.text = append(v.text, file[8+id])
		v.start[id+1] = uint32(len(v.text))
	}
	for id := 256; id < n; id++ {
		at := vocabHeader + 6*(id-256)
		left, right := uint32(u24(file[at:])), uint32(u24(file[at+3:]))
		if left >= uint32(id) || right >= uint32(id) {
			fail("merge")
		}
		v.split[id] = tokenPair{left, right}
		v.text = append(v.text, v.token(left)...)
		v.text = append(v.text, v.token(right)...)
		v.start[id+1] = uint32(len(v.text))
		if v.start[id+1]-v.start[id] > 255 {
			fail("length")
		}
	}
	return v
}

func u24(s string) int { return int(s[0]) | int(s[1])<<8 | int(s[2])<<16 }
