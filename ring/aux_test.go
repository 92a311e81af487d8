package ring

import (
	"encoding/hex"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAuxGolden(t *testing.T) {
	var out []byte
	for _, parts := range [][]Part{
		{},
		{{Tokens: 1}, {Tokens: 300}},
		{{Tokens: 7, Kind: PartCall, ID: 0x0102030405060708}},
		{{Tokens: math.MaxUint32, Kind: PartResult}},
		{{Tokens: 5}, {Tokens: 6, Kind: PartCall, ID: 1}, {Tokens: 128, Kind: PartResult, ID: 1}},
	} {
		aux := AppendAux(nil, parts)
		out = fmt.Appendf(out, "%v\n%s\n", parts, hex.EncodeToString(aux))

		n, _, ok := ScanAux(append(aux, 0xff, 0xff)) // what follows does not matter
		require.True(t, ok)
		require.Equal(t, len(aux), n)
		r := ReadAux(aux)
		for _, want := range parts {
			got, ok := r.Next()
			require.True(t, ok)
			require.Equal(t, want, got)
		}
		_, ok = r.Next()
		require.False(t, ok)
		for cut := range aux {
			_, _, ok := ScanAux(aux[:cut])
			require.False(t, ok, "%x", aux[:cut])
		}
	}
	golden(t, "aux.golden", out)
}

func TestScanAuxFlags(t *testing.T) {
	for _, c := range []struct {
		parts []Part
		want  uint16
	}{
		{[]Part{{}, {}}, 0},
		{[]Part{{Kind: PartCall}}, FlagToolCall},
		{[]Part{{Kind: PartResult}}, FlagToolResult},
		{[]Part{{Kind: PartResult}, {Kind: PartCall}}, FlagToolCall | FlagToolResult},
	} {
		_, flags, ok := ScanAux(AppendAux(nil, c.parts))
		require.True(t, ok)
		require.Equal(t, c.want, flags)
	}
}

func TestScanAuxRefuses(t *testing.T) {
	for _, bad := range []string{
		"",                           // nothing
		"80",                         // number of parts cut off
		"ffffffffffffffffffff01",     // ... over 64 bits
		"02" + "0000",                // fewer parts than promised
		"01" + "8080808010" + "00",   // 2^32 tokens
		"01" + "00" + "03",           // kind 3
		"01" + "00" + "01" + "00000", // id cut off (odd hex is trimmed below)
	} {
		b, _ := hex.DecodeString(bad[:len(bad)/2*2])
		_, _, ok := ScanAux(b)
		require.False(t, ok, "%s", bad)
		r := ReadAux(b)
		for range 3 {
			r.Next() // must not panic
		}
	}
}

func FuzzAux(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendAux(nil, []Part{{Tokens: 3}, {Kind: PartCall, ID: 7}, {Tokens: 1 << 30, Kind: PartResult}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, flags, ok := ScanAux(b)
		var parts []Part
		r := ReadAux(b)
		for p, more := r.Next(); more; p, more = r.Next() {
			parts = append(parts, p)
		}
		if !ok {
			return
		}
		again := AppendAux(nil, parts)
		if len(again) > n { // shorter where b has a varint that is longer than it has to be
			t.Fatalf("%x became %x", b[:n], again)
		}
		if m, f, ok := ScanAux(again); !ok || f != flags || m != len(again) {
			t.Fatalf("%x became %x", b[:n], again)
		}
	})
}
