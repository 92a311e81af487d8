package shard

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"fastpaca/shard/history"

	"github.com/stretchr/testify/require"
)

// spillNow does what the node's spiller does, at once.
func spillNow(t *testing.T, m *Machine, h *history.Store) bool {
	t.Helper()
	sp := m.BeginSpill()
	if sp == nil {
		return false
	}
	w, err := h.Writer(m.shard)
	require.NoError(t, err)
	require.NoError(t, sp.Each(w.Message))
	require.NoError(t, w.Commit())
	m.EndSpill(sp)
	return true
}

// TestSpilledMachineAnswersTheSame runs one log of commands through a machine that keeps everything in memory and one that
// spills, and requires equal answers, windows, and histories.
func TestSpilledMachineAnswersTheSame(t *testing.T) {
	for seed := range uint64(rounds(6)) {
		rng := rand.New(rand.NewPCG(seed, 9))
		h, err := history.Open(history.Options{Dir: t.TempDir(), Shards: Shards})
		require.NoError(t, err)
		defer h.Close()
		whole, part := NewMachine(5), NewMachine(5)
		part.KeepTail(20)
		index, spills := uint64(0), 0
		apply := func(cmd []byte) {
			index++
			StampTime(cmd, testTime+int64(index))
			var a, b Result
			require.NoError(t, whole.Apply(index, bytes.Clone(cmd), &a))
			require.NoError(t, part.Apply(index, cmd, &b))
			a.View, b.View = View{}, View{}
			require.Equal(t, a, b)
		}
		policies := []Policy{{Strategy: LastN, Limit: 15}, {Strategy: Manual}, {Strategy: SkipParts, Limit: 40, SkipKinds: []string{"reasoning"}}}
		for i, p := range policies {
			apply(EncodePut(nil, &Put{ID: fmt.Appendf(nil, "c%d", i), HasBudget: true, TokenBudget: 2000, HasPolicy: true, Policy: p}))
		}
		for range 500 {
			id := fmt.Appendf(nil, "c%d", rng.IntN(len(policies)))
			var msgs []tMsg
			for range 1 + rng.IntN(4) {
				kind := []string{"text", "text", "reasoning", "tool_call", "tool_result"}[rng.IntN(5)]
				msgs = append(msgs, tMsg{role: "user", parts: []tPart{{typ: kind, tokens: 10}}, tokens: -1,
					meta: `{"x":"` + strings.Repeat("y", rng.IntN(3000)) + `"}`})
			}
			switch rng.IntN(30) {
			case 0:
				apply(encode(BeginCompact(nil, AppendHeader{ID: id, Count: len(msgs)}), msgs))
			case 1:
				c := whole.Lookup(id)
				apply(EncodeAckArchived(nil, id, uint64(rng.IntN(int(c.log.Last())+1)), 1<<40))
			default:
				apply(encode(BeginAppend(nil, AppendHeader{ID: id, Count: len(msgs)}), msgs))
			}
			if rng.IntN(10) == 0 && spillNow(t, part, h) {
				spills++
			}
			if rng.IntN(60) == 0 {
				loaded, _, err := LoadMachine(bytes.NewReader(snapshotOf(t, part)))
				require.NoError(t, err)
				loaded.KeepTail(20)
				part = loaded
			}
		}
		require.Greater(t, spills, 5)
		for i, p := range policies {
			id := fmt.Appendf(nil, "c%d", i)
			var a, b View
			whole.Lookup(id).View(&a)
			part.Lookup(id).View(&b)
			require.Equal(t, string(a.AppendWindow(nil, 0)), string(b.AppendWindow(nil, 0)))
			require.Equal(t, string(a.AppendContext(nil)), string(b.AppendContext(nil)))
			if p.Strategy == LastN {
				require.Less(t, b.Last-b.First, uint64(200), "bounded")
			}
			require.LessOrEqual(t, b.First, b.LiveFrom)
			require.Greater(t, b.Last-b.First, uint64(19))
			got, next, err := h.Append(nil, 5, string(id), a.Archived+1, b.First-1, 1<<30)
			require.NoError(t, err)
			if b.First > a.Archived+1 {
				require.Equal(t, b.First, next, "everything that left memory and is in no archive is here")
				require.Equal(t, string(a.AppendMessages(nil, a.Archived+1, b.First-1)), string(got))
			}
		}
	}
}
