package tokenize

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tiktoken-go/tokenizer/codec"
)

// encodingUnderTest is one of the two encodings, ours and the library's.
type encodingUnderTest struct {
	name   string
	ours   func() *Counter
	oracle func() *codec.Codec
}

// encodings builds each counter once for all tests.
var encodings = []encodingUnderTest{
	{encodingO200K, sync.OnceValue(func() *Counter { return mustNew("tiktoken:o200k_base") }), sync.OnceValue(codec.NewO200kBase)},
	{encodingCL100K, sync.OnceValue(func() *Counter { return mustNew("tiktoken:cl100k_base") }), sync.OnceValue(codec.NewCl100kBase)},
}

func mustNew(spec string) *Counter {
	c, err := New(spec)
	if err != nil {
		panic(err)
	}
	return c
}

// compare reports whether ours and the library's count of text are equal, and if not, says where they part.
func (e *encodingUnderTest) compare(t testing.TB, text []byte) bool {
	t.Helper()
	got := e.ours().Count(text)
	want, err := e.oracle().Count(string(text))
	if err != nil {
		t.Fatalf("%s: the library: %v", e.name, err)
	}
	if got == want {
		return true
	}
	_, tokens, _ := e.oracle().Encode(string(text))
	if len(text) > 200 {
		text = fmt.Appendf(text[:200:200], "... (%d bytes)", len(text))
	}
	if len(tokens) > 60 {
		tokens = tokens[:60]
	}
	t.Errorf("%s: %+q has %d tokens, Count says %d; they are %+q", e.name, text, want, got, tokens)
	return false
}

// compareAll compares in both encodings.
func compareAll(t testing.TB, text []byte) bool {
	t.Helper()
	ok := true
	for i := range encodings {
		ok = encodings[i].compare(t, text) && ok
	}
	return ok
}

// cases is n, or a twentieth of it with -short or -race: these repeat one thing, on one goroutine.
func cases(n int) int {
	if raceEnabled || testing.Short() {
		return n / 20
	}
	return n
}
