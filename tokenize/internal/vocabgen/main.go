// Command vocabgen writes the vocabulary files that package tokenize embeds, out of the vocabularies
// of github.com/tiktoken-go/tokenizer. Run it with `go generate ./tokenize`.
//
// The library is asked through its public API (Decode of every id) and only here and in tests: at run
// time its map of string headers would cost 50 to 100 ms of start-up and 10 MB of heap that can never
// be freed, as the map is a package variable. See tokenize/vocab_file.go for the format.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"log"
	"math"
	"os"
	"path/filepath"

	"github.com/tiktoken-go/tokenizer/codec"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "data", "directory to write to")
	flag.Parse()
	for _, c := range []*codec.Codec{codec.NewO200kBase(), codec.NewCl100kBase()} {
		file, err := encode(c)
		if err != nil {
			log.Fatalf("vocabgen: %s: %v", c.GetName(), err)
		}
		if err := os.WriteFile(filepath.Join(*dir, c.GetName()+".bpe"), file, 0o644); err != nil {
			log.Fatalf("vocabgen: %v", err)
		}
	}
}

// encode is the vocabulary file of c: see tokenize/vocab_file.go.
func encode(c *codec.Codec) ([]byte, error) {
	var tokens []string
	rank := map[string]uint32{}
	for {
		s, err := c.Decode([]uint{uint(len(tokens))})
		if err != nil {
			break // past the last ordinary token: special tokens are not in the vocabulary
		}
		rank[s] = uint32(len(tokens))
		tokens = append(tokens, s)
	}
	if len(tokens) < 256 || len(rank) != len(tokens) {
		return nil, fmt.Errorf("%d tokens, %d distinct", len(tokens), len(rank))
	}

	out := append([]byte("FPBP"), 1)
	out = u24(out, len(tokens))
	for _, s := range tokens[:256] {
		if len(s) != 1 {
			return nil, fmt.Errorf("the first 256 tokens are not the 256 bytes: %q", s)
		}
		out = append(out, s[0])
	}
	for id, s := range tokens[256:] {
		id += 256
		if len(s) < 2 || len(s) > 255 {
			return nil, fmt.Errorf("token %d has %d bytes", id, len(s))
		}
		left, right, ok := lastMerge(rank, s)
		if !ok {
			return nil, fmt.Errorf("token %d (%q) is out of reach of merges", id, s)
		}
		if int(left) >= id || int(right) >= id {
			return nil, fmt.Errorf("token %d is a merge of later tokens %d and %d", id, left, right)
		}
		out = u24(u24(out, int(left)), int(right))
	}
	log.Printf("%s: %d tokens", c.GetName(), len(tokens))
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli))), nil
}

func u24(dst []byte, v int) []byte { return append(dst, byte(v), byte(v>>8), byte(v>>16)) }

// lastMerge runs byte-pair merging on the bytes of one token, by the definition (lowest rank first,
// leftmost among equals), and returns the two parts of the last merge. ok is false when merging ends
// with more than one part: such a token would only ever come from the lookup of whole pieces. No token
// of the two encodings is like that, and package tokenize relies on it.
func lastMerge(rank map[string]uint32, s string) (left, right uint32, ok bool) {
	bounds := make([]int, len(s)+1)
	for i := range bounds {
		bounds[i] = i
	}
	for len(bounds) > 3 {
		best, at := uint32(math.MaxUint32), 0
		for i := 0; i+2 < len(bounds); i++ {
			if r, found := rank[s[bounds[i]:bounds[i+2]]]; found && r < best {
				best, at = r, i
			}
		}
		if best == math.MaxUint32 {
			return 0, 0, false
		}
		bounds = append(bounds[:at+1], bounds[at+2:]...)
	}
	return rank[s[:bounds[1]]], rank[s[bounds[1]:]], true
}
