package main

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fastpaca/shard"
)

func TestCommands(t *testing.T) {
	f := func(wantCode int, wantOut, wantErr string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		require.Equal(t, wantCode, run(args, &out, &errs), "%s", errs.String())
		require.Contains(t, out.String(), wantOut)
		require.Contains(t, errs.String(), wantErr)
	}
	f(0, "fastpaca "+version, "", "version")
	f(0, "usage:", "", "help")
	f(2, "", "usage:")
	f(2, "", `unknown command "serve"`, "serve")
	f(2, "", "wal dump", "wal")
	f(2, "", "usage: fastpaca wal dump", "wal", "dump")
	f(2, "", "numbered from 0 to 255", "wal", "dump", "-shard", "256", t.TempDir())
	f(1, "", "no such file", "wal", "dump", filepath.Join(t.TempDir(), "nothing"))
	f(0, "--listen VALUE", "", "server", "-h")
	f(2, "", "FASTPACA_LISTEN", "server", "--listen", "nonsense")
	f(2, "", "unexpected argument", "server", "data")
}

// TestWALDump prints the log of a node that ran.
func TestWALDump(t *testing.T) {
	dir := t.TempDir()
	n, err := shard.Open(shard.Options{Dir: dir, SegmentBytes: 4 << 20})
	require.NoError(t, err)
	r := shard.AcquireRequest()
	r.Cmd = shard.EncodePut(r.Cmd, &shard.Put{ID: []byte("seen-in-the-dump")})
	require.Eventually(t, func() bool { ok, _ := n.Ready(); return ok }, patience, time.Millisecond)
	n.Do(shard.Of([]byte("seen-in-the-dump")), r)
	require.Equal(t, shard.CodeOK, r.Result.Code)
	shard.ReleaseRequest(r)
	require.NoError(t, n.Close())

	var out, errs bytes.Buffer
	require.Zero(t, run([]string{"wal", "dump", dir}, &out, &errs), errs.String())
	require.Contains(t, out.String(), "CHECKPOINT")
	require.NotContains(t, out.String(), "seen-in-the-dump", "contents only when asked for")
	out.Reset()
	require.Zero(t, run([]string{"wal", "dump", "-records", "-data", "64", dir}, &out, &errs), errs.String())
	require.Contains(t, out.String(), "seen-in-the-dump")
}
