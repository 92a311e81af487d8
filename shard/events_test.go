package shard

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func messageEvent(version, seq uint64) string {
	return fmt.Sprintf(`{"type":"message","version":%d,"seq":%d}`, version, seq)
}

func contextEvent(version, used uint64, needs bool) string {
	return fmt.Sprintf(`{"type":"context","version":%d,"needs_compaction":%t,"used_tokens":%d}`, version, needs, used)
}

// brief drains a stream without the messages themselves.
func brief(v *View, cur *Cursor) (out []string) {
	for {
		e, ok := v.NextEvent([]byte("x"), cur, false)
		if !ok {
			if string(e) != "x" {
				panic("dst was changed")
			}
			return out
		}
		out = append(out, string(e[1:]))
	}
}

func TestEventsInOrder(t *testing.T) {
	s := newStory(t, Put{HasBudget: true, TokenBudget: 100, HasPolicy: true, Policy: Policy{Strategy: LastN, Limit: 2, Config: []byte("{}")}})
	live := s.view().LiveCursor()
	require.Empty(t, brief(s.view(), &live))
	s.append(text("user", 10), text("user", 20))
	s.append(text("user", 60))
	s.compact(text("user", 5))
	s.append(text("user", 70), text("user", 80))
	want := []string{
		messageEvent(1, 1), messageEvent(1, 2), contextEvent(1, 30, false),
		messageEvent(2, 3), `{"type":"compaction","version":2,"range":{"from_seq":1,"to_seq":1}}`, contextEvent(2, 80, true),
		`{"type":"compaction","version":3,"range":{"from_seq":2,"to_seq":3}}`, contextEvent(3, 5, false),
		// The policy drops the summary: what the compaction had put in place of 2 and 3.
		messageEvent(4, 4), messageEvent(4, 5), `{"type":"compaction","version":4,"range":{"from_seq":2,"to_seq":3}}`, contextEvent(4, 150, true),
	}
	require.Equal(t, want, brief(s.view(), &live))
	require.Equal(t, want, brief(s.view(), &Cursor{}))
	require.Equal(t, want[3:], brief(s.view(), &Cursor{Version: 1}))
	require.Equal(t, want[6:], brief(s.view(), &Cursor{Version: 2}))
	require.Equal(t, want[8:], brief(s.view(), &Cursor{Version: 3}))
	require.Empty(t, brief(s.view(), &Cursor{Version: 4}))

	e, ok := s.view().NextEvent(nil, &Cursor{Version: 3}, true)
	require.True(t, ok)
	require.Equal(t, `{"type":"message","version":4,"seq":4,"message":`+text("user", 70).json(4, "2025-01-24T12:00:15.120Z")+`}`, string(e))

	s.do(EncodeDelete(nil, []byte("s")))
	require.Equal(t, []string{`{"type":"tombstoned","version":4}`}, brief(s.view(), &live))
	require.Empty(t, brief(s.view(), &live), "once")
	require.Equal(t, append(want[8:], `{"type":"tombstoned","version":4}`), brief(s.view(), &Cursor{Version: 3}))
}

func TestEventsReset(t *testing.T) {
	s := newStory(t, Put{})
	s.append(text("user", 1))
	cur := Cursor{Version: 9}
	require.Equal(t, []string{`{"type":"reset","version":1}`}, brief(s.view(), &cur))
	s.append(text("user", 1))
	require.Equal(t, []string{messageEvent(2, 2), contextEvent(2, 2, false)}, brief(s.view(), &cur), "live after the reset")

	// More compactions than are kept: the oldest versions cannot be told any more.
	for range compactionsKept + 1 {
		s.compact()
	}
	now := s.view().Version
	require.Equal(t, fmt.Sprintf(`{"type":"reset","version":%d}`, now), brief(s.view(), &Cursor{Version: 2})[0])
	require.Len(t, brief(s.view(), &Cursor{Version: 2}), 1)
	require.Equal(t, fmt.Sprintf(`{"type":"reset","version":%d}`, now), brief(s.view(), &Cursor{Version: 1})[2], "after what can be told")
	require.Len(t, brief(s.view(), &Cursor{Version: 3}), 2*compactionsKept)
	gone := Cursor{Version: math.MaxUint64}
	s.do(EncodeDelete(nil, []byte("s")))
	require.Equal(t, []string{fmt.Sprintf(`{"type":"reset","version":%d}`, now), fmt.Sprintf(`{"type":"tombstoned","version":%d}`, now)}, brief(s.view(), &gone))
}

// bulky is a message of some 1.2 KB: eviction takes whole pages, and the first holds up to 64 KiB.
func bulky() tMsg {
	m := text("user", 1)
	m.meta = `"metadata":{"pad":"` + strings.Repeat("x", 1100) + `"}`
	return m
}

func TestEventsGap(t *testing.T) {
	s := newStory(t, Put{HasBudget: true, TokenBudget: 1 << 40})
	slow := s.view().LiveCursor()
	for i := range 200 {
		if i == 50 {
			s.compact(text("user", 1))
		}
		s.append(bulky())
	}
	s.compact(text("user", 1))
	for range 20 {
		e, ok := s.view().NextEvent(nil, &slow, false)
		require.True(t, ok, string(e))
	}
	require.Equal(t, uint64(10), slow.Version)
	s.do(EncodeAckArchived(nil, []byte("s"), 190, 10))
	first := s.view().First
	require.Greater(t, first, uint64(60))
	require.LessOrEqual(t, first, uint64(181))

	// A live cursor knows which seq it lacks.
	events := brief(s.view(), &slow)
	require.Equal(t, fmt.Sprintf(`{"type":"gap","expected":11,"actual":%d}`, first), events[0])
	version := first + 1 // one compaction before
	require.Equal(t, messageEvent(version, first), events[1])
	require.Equal(t, `{"type":"compaction","version":202,"range":{"from_seq":1,"to_seq":200}}`, events[len(events)-2])

	// One that resumes knows its version only: expected is no later than what it lacks.
	for _, c := range []struct{ version, expected uint64 }{{0, 1}, {10, 11}, {49, 50}, {50, 51}} {
		got := brief(s.view(), &Cursor{Version: c.version})
		if c.version == 50 { // the next version is the compaction, which is known
			require.Contains(t, got[0], `"compaction","version":51`)
			got = got[2:]
		}
		require.Equal(t, fmt.Sprintf(`{"type":"gap","expected":%d,"actual":%d}`, c.expected, first), got[0])
		require.Equal(t, events[1:], got[1:])
	}
	// At the seam nothing is missing.
	got := brief(s.view(), &Cursor{Version: version - 1, next: first})
	require.Equal(t, events[1:], got)
	got = brief(s.view(), &Cursor{Version: version})
	require.Equal(t, events[3:], got)
}

// A stream that stands in the middle of a batch when its rest is evicted.
func TestEventsGapInsideVersion(t *testing.T) {
	s := newStory(t, Put{HasBudget: true, TokenBudget: 1 << 40})
	var batch []tMsg
	for range 300 {
		batch = append(batch, bulky())
	}
	s.append(batch...)
	cur := Cursor{}
	for range 5 {
		_, ok := s.view().NextEvent(nil, &cur, false)
		require.True(t, ok)
	}
	s.compact()
	s.do(EncodeAckArchived(nil, []byte("s"), 300, 0))
	first := s.view().First
	require.Greater(t, first, uint64(6))
	got := brief(s.view(), &cur)
	require.Equal(t, fmt.Sprintf(`{"type":"gap","expected":6,"actual":%d}`, first), got[0])
	require.Equal(t, messageEvent(1, first), got[1])
	require.Len(t, got, 1+int(300-first+1)+1+2)
	got = brief(s.view(), &Cursor{})
	require.Equal(t, fmt.Sprintf(`{"type":"gap","expected":1,"actual":%d}`, first), got[0])
}
