package shard

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// importCommand appends texts as messages from seq first on, each with its own time.
func importCommand(id string, first uint64, ms int64, texts ...string) []byte {
	cmd := BeginAppend(nil, AppendHeader{ID: []byte(id), HasFirstSeq: true, FirstSeq: first, Count: len(texts)})
	for i, text := range texts {
		cmd = AppendMessage(cmd, &Message{
			Fields: fmt.Appendf(nil, `"role":"user","parts":[{"type":"text","text":%q}]`, text), Tokens: 3,
			Flags: FlagNoMetadata | FlagInserted, InsertedMs: ms + int64(i),
		})
	}
	StampTime(cmd, testTime)
	return cmd
}

// TestImportKeepsTimes: a message says the time that it brought; the context says when it was changed here.
func TestImportKeepsTimes(t *testing.T) {
	m := NewMachine(0)
	var res Result
	put := EncodePut(nil, &Put{ID: []byte("a")})
	StampTime(put, testTime)
	require.NoError(t, m.Apply(1, put, &res))
	require.NoError(t, m.Apply(2, importCommand("a", 1, testTime-86_400_000, "x", "y"), &res))
	require.Equal(t, CodeOK, res.Code)
	plain := AppendMessage(BeginAppend(nil, AppendHeader{ID: []byte("a"), Count: 1}), &Message{Fields: []byte(`"role":"user"`)})
	StampTime(plain, testTime+1)
	require.NoError(t, m.Apply(3, plain, &res))

	var v View
	m.Lookup([]byte("a")).View(&v)
	require.Equal(t, `{"seq":1,"role":"user","parts":[{"type":"text","text":"x"}],"token_count":3,"metadata":{},"inserted_at":"2025-01-23T12:00:15.120Z"},`+
		`{"seq":2,"role":"user","parts":[{"type":"text","text":"y"}],"token_count":3,"metadata":{},"inserted_at":"2025-01-23T12:00:15.121Z"},`+
		`{"seq":3,"role":"user","token_count":0,"inserted_at":"2025-01-24T12:00:15.121Z"}`, string(v.AppendMessages(nil, 1, 3)))
	require.Equal(t, int64(testTime+1), v.UpdatedMs)
	require.Equal(t, int64(testTime+1), m.LastMs())

	for i, ms := range []int64{math.MinInt64, -1, math.MaxInt64} {
		require.NoError(t, m.Apply(uint64(4+i), importCommand("a", uint64(4+i), ms, "z"), &res))
		require.Equal(t, CodeOK, res.Code, "a time that RFC 3339 cannot write is moved, as that of a command is")
	}
	m.Lookup([]byte("a")).View(&v)
	require.Contains(t, string(v.AppendMessages(nil, 4, 4)), `"1970-01-01T00:00:00.000Z"`)
	require.Contains(t, string(v.AppendMessages(nil, 6, 6)), `"9999-12-31T23:59:59.999Z"`)
}

// TestImportIsGuarded: what is sent again is refused and changes nothing, and so is what leaves a gap.
func TestImportIsGuarded(t *testing.T) {
	m := NewMachine(0)
	var res Result
	put := EncodePut(nil, &Put{ID: []byte("a")})
	StampTime(put, testTime) // as all of them: the newest time is part of the state
	require.NoError(t, m.Apply(1, put, &res))
	refused := func(cmd []byte, last uint64) {
		t.Helper()
		before := snapshotOf(t, m)
		index := m.index
		require.NoError(t, m.Apply(index, cmd, &res))
		require.Equal(t, Result{Code: CodeSeqConflict, LastSeq: last, Version: res.Version}, res)
		require.Equal(t, before, snapshotOf(t, m))
	}
	refused(importCommand("a", 2, testTime, "x"), 0)
	refused(importCommand("a", 0, testTime, "x"), 0)
	first := importCommand("a", 1, testTime, "x", "y")
	require.NoError(t, m.Apply(2, first, &res))
	require.Equal(t, CodeOK, res.Code)
	require.Equal(t, uint64(1), res.FirstSeq)
	refused(first, 2)
	refused(importCommand("a", 2, testTime, "y"), 2)
	refused(importCommand("a", 4, testTime, "z"), 2)
	require.NoError(t, m.Apply(3, importCommand("a", 3, testTime, "z"), &res))
	require.Equal(t, CodeOK, res.Code)
	require.Equal(t, uint64(3), res.FirstSeq)

	require.NoError(t, m.Apply(4, EncodeDelete(nil, []byte("a")), &res))
	require.NoError(t, m.Apply(5, importCommand("a", 4, testTime, "z"), &res))
	require.Equal(t, CodeTombstoned, res.Code)
}
