package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClaimsAndTable(t *testing.T) {
	var r Report
	r.Table("Appends", "connections", "ours", "floor")
	r.Row("1", "5", "10")
	r.Row("256", "12,345", "9")
	r.Claim(Claim{ID: "a", What: "appends", Value: 80, Lo: 70, Hi: 90, Unit: "%", Target: 75})
	r.Claim(Claim{ID: "b", What: "p99 µs", Value: 3, Lo: 3, Hi: 3, Unit: "x", Target: 2, AtMost: true})
	r.Claim(Claim{ID: "c", What: "met exactly", Value: 2, Unit: "x", Target: 2, AtMost: true})
	r.Fact("f", "memory of an empty context", 1234.5, "bytes")
	require.Equal(t, 1, r.Missed())

	var b strings.Builder
	require.NoError(t, r.Print(&b))
	require.Equal(t, `
Appends
  connections    ours  floor
  --------------------------
  1                 5     10
  256          12,345      9

Figures without a target
  figure                            value
  ---------------------------------------
  memory of an empty context  1,234 bytes

Claims: 2 of 3 met
  claim        measured   of the rounds    target
  -------------------------------------------------------
  appends         80.0%  70.0% .. 90.0%  >= 75.0%      ok
  p99 µs          3.00x                  <= 2.00x  MISSED
  met exactly     2.00x                  <= 2.00x      ok
`, b.String())
}

func TestNumber(t *testing.T) {
	for want, got := range map[string]string{
		"0.00":      Number(0, ""),
		"0.50x":     Number(0.5, "x"),
		"99.4%":     Number(99.42, "%"),
		"123 us":    Number(123.4, "us"),
		"1,235":     Number(1234.6, ""),
		"1,234,567": Number(1234567, ""),
		"-1,000":    Number(-1000, ""),
	} {
		require.Equal(t, want, got)
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "result.json")
	r := Report{Meta: Meta{Go: "go1", GOMAXPROCS: 2}, Rounds: []Round{{Scenario: "appends", Server: "ours", PerSecond: 5}}}
	r.Claim(Claim{ID: "a", Value: 1, Target: 2})
	require.NoError(t, r.WriteFile(path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var back Report
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, r.Claims, back.Claims)
	require.Equal(t, r.Rounds, back.Rounds)
	_, err = os.Stat(path + ".tmp")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestProgressPlain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "err")
	f, err := os.Create(path)
	require.NoError(t, err)
	p := NewProgress(f, 10)
	p.Step("first", 4)
	p.Note("not shown")
	p.Step("second", 6)
	p.Close()
	require.NoError(t, f.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], "0%  first")
	require.Contains(t, lines[1], "40%  second")
}

func TestProgressLine(t *testing.T) {
	p := &Progress{total: 10, done: 5, now: 0, label: "reads", extra: "3 of 5"}
	line := p.line()
	require.Contains(t, line, "###############.............")
	require.Contains(t, line, "50%")
	require.Contains(t, line, "reads (3 of 5)")
	p.done = 100
	require.Contains(t, p.line(), " 99%", "never done before the end")
}
