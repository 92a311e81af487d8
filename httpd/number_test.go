package httpd

import (
	"math/big"
	"strconv"
	"strings"
	"testing"

	"fastpaca/shard/jsonscan"

	"github.com/stretchr/testify/require"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestParseInteger(t *testing.T) {
	f := func(s string, want uint64, ok bool) {
		t.Helper()
		n, got := parseInteger([]byte(s), maxInteger)
		require.Equal(t, ok, got, s)
		if ok {
			require.Equal(t, want, n)
		}
	}
	f("0", 0, true)
	f("1", 1, true)
	f("9007199254740991", maxInteger, true)
	f("9007199254740992", 0, false)
	f("9999999999999999", 0, false)
	f("18446744073709551617", 0, false)
	for _, s := range []string{"", "-1", "-0", "1.0", "1e3", "01", "00", "+1", " 1", "1 ", "x", `"1"`} {
		f(s, 0, false)
	}
}

func TestParseRatio(t *testing.T) {
	f := func(s string, want uint64) {
		t.Helper()
		ppb, ok := parseRatio([]byte(s))
		require.Equal(t, want != 0, ok, s)
		if ok {
			require.Equal(t, want, ppb, s)
		}
	}
	f("0.7", 700_000_000)
	f("7e-1", 700_000_000)
	f("0.07E+1", 700_000_000)
	f("70e-2", 700_000_000)
	f("1", 1_000_000_000)
	f("1.0", 1_000_000_000)
	f("10e-1", 1_000_000_000)
	f("0.1e1", 1_000_000_000)
	f("1."+strings.Repeat("0", 100), 1_000_000_000)
	f("0.000000001", 1)
	f("1e-9", 1)
	f("0.123456789", 123_456_789)
	f("0.1234567885", 123_456_789)
	f("0.1234567884999999999999999999999999999999999999", 123_456_788)
	f("0.6666666666666666", 666_666_667)
	f("0.99999999999", 1_000_000_000)
	f("0.0000000005", 1)
	f("0.00000000049", 0)
	f("0", 0)
	f("0.0", 0)
	f("-0.5", 0)
	f("1.0000000000000000000000000000000000000000000001", 0)
	f("2", 0)
	f("1e1", 0)
	f("1e999999999999999999999999", 0)
	f("1e-999999999999999999999999", 0)
	f("0."+strings.Repeat("0", 500)+"7e500", 700_000_000)
	f(`"0.7"`, 0)
	f("true", 0)
	f("null", 0)
	f("{}", 0)
}

// FuzzParseRatio holds parseRatio against exact rational arithmetic.
func FuzzParseRatio(f *testing.F) {
	for _, s := range []string{"0.7", "1e-9", "0.1234567885", "10.0e-1", "1.00000000000000000000000000000000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if end, err := jsonscan.Value([]byte(s), 0); err != nil || end != len(s) || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
			return
		}
		if i := strings.IndexAny(s, "eE"); i >= 0 && len(s)-i > 5 {
			return // big.Rat would build numbers of that many digits
		}
		r, ok := new(big.Rat).SetString(s)
		require.True(t, ok)
		ppb, ok := parseRatio([]byte(s))
		if r.Sign() <= 0 || r.Cmp(big.NewRat(1, 1)) > 0 {
			require.False(t, ok, s)
			return
		}
		scaled := new(big.Rat).Mul(r, big.NewRat(1_000_000_000, 1))
		scaled.Add(scaled, big.NewRat(1, 2))
		want := new(big.Int).Quo(scaled.Num(), scaled.Denom()).Uint64()
		require.Equal(t, want > 0, ok, s)
		if ok {
			require.Equal(t, want, ppb, s)
		}
	})
}
