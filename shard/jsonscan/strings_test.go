package jsonscan

import (
	"encoding/json"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnescape(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		require.Equal(t, want, string(Unescape(nil, []byte(raw))))
		require.Equal(t, want, string(Text(nil, []byte(raw))))
		require.True(t, Equal([]byte(raw), want))
		require.True(t, HasPrefix([]byte(raw), want))
	}
	f(`""`, "")
	f(`"plain"`, "plain")
	f(`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t")
	f(`"\u0000\u00e9\u6f22"`, "\x00é漢")
	f(`"\ud83d\ude00"`, "😀")
	f(`"a\uD83D\uDE00b"`, "a😀b")
	f(`"\ud83d"`, "\ufffd")
	f(`"\ud83dx"`, "\ufffdx")
	f(`"\ude00\ud83d"`, "\ufffd\ufffd")
	f(`"\ud83d\ud83d\ude00"`, "\ufffd😀")
	f(`"\ud83d\n"`, "\ufffd\n")
}

func TestEqualAndPrefix(t *testing.T) {
	require.True(t, Equal([]byte(`"ro\u006ce"`), "role"))
	require.False(t, Equal([]byte(`"ro\u006cex"`), "role"))
	require.False(t, Equal([]byte(`"ro\u006c"`), "role"))
	require.False(t, Equal([]byte(`"rol"`), "role"))
	require.False(t, Equal([]byte(`"roles"`), "role"))
	require.False(t, Equal([]byte(`"\\n"`), `\\n`))
	require.True(t, Equal([]byte(`"\\n"`), `\n`))
	require.True(t, HasPrefix([]byte(`"tool_call"`), "tool"))
	require.True(t, HasPrefix([]byte(`"\u0074ool_call"`), "tool"))
	require.True(t, HasPrefix([]byte(`"to\u006fl"`), "tool"))
	require.False(t, HasPrefix([]byte(`"to\u006f"`), "tool"))
	require.False(t, HasPrefix([]byte(`"text"`), "tool"))
	require.True(t, HasPrefix([]byte(`"x"`), ""))
}

func TestHash(t *testing.T) {
	h := fnv.New64a()
	h.Write([]byte("call_é😀"))
	require.Equal(t, h.Sum64(), Hash([]byte(`"call_é😀"`)))
	require.Equal(t, h.Sum64(), Hash([]byte(`"c\u0061ll_\u00e9\ud83d\ude00"`)))
	require.Equal(t, uint64(0xcbf29ce484222325), Hash([]byte(`""`)), "the hash is stored: it must never change")
}

// Nonsense in, no panic out.
func TestMalformedRaw(t *testing.T) {
	for _, s := range []string{"", `"`, `\`, `"\`, `"\u`, `"\u1"`, `"\ud800\u"`, `"\"`} {
		raw := []byte(s)
		Unescape(nil, raw)
		Hash(raw)
		Equal(raw, "abc")
		HasPrefix(raw, "abc")
	}
}

// FuzzStrings holds Unescape and its kin against encoding/json.
func FuzzStrings(f *testing.F) {
	for _, s := range []string{`"\ud83d\ude00"`, `"\ud83d\ud83d\ude00\n"`, `"abc\\\"\u0000"`, `"漢"`} {
		f.Add([]byte(s), "abc")
	}
	f.Fuzz(func(t *testing.T, raw []byte, other string) {
		if end, err := Value(raw, 0); err != nil || end != len(raw) || raw[0] != '"' {
			return
		}
		var want string
		require.NoError(t, json.Unmarshal(raw, &want))
		got := Unescape([]byte("x"), raw)
		require.Equal(t, "x"+want, string(got))
		require.LessOrEqual(t, len(want), len(raw)-2)
		require.True(t, Equal(raw, want))
		require.Equal(t, want == other, Equal(raw, other))
		require.Equal(t, strings.HasPrefix(want, other), HasPrefix(raw, other))
		for i := range want {
			require.True(t, HasPrefix(raw, want[:i]))
			require.False(t, Equal(raw, want[:i]))
		}
		h := fnv.New64a()
		h.Write([]byte(want))
		require.Equal(t, h.Sum64(), Hash(raw))
	})
}
