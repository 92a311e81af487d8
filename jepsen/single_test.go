package jepsen

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writer appends to its own context as fast as it is answered, and remembers what was acknowledged.
type writer struct {
	id    string
	sent  int
	acked map[uint64]string
}

// load runs the writers until stop is closed. An append whose answer did not arrive has an unknown outcome
// and is not repeated; every other failure fails the test.
func load(n *node, writers []*writer, stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				w.sent++
				txt := fmt.Sprintf("%s message %d %s", w.id, w.sent, strings.Repeat("x", w.sent%300))
				var got appended
				code, err := n.call("POST", "/v1/contexts/"+w.id+"/messages", appendBody{text(txt)}, &got)
				if err != nil {
					return // the process is gone
				}
				if code == http.StatusServiceUnavailable {
					continue
				}
				if code != http.StatusCreated {
					n.t.Errorf("append answered %d %s", code, got.Error)
					return
				}
				if before, twice := w.acked[got.Seq]; twice {
					n.t.Errorf("seq %d was acknowledged for %q and for %q", got.Seq, before, txt)
				}
				w.acked[got.Seq] = txt
			}
		}()
	}
	return &wg
}

func newWriters(n *node, count int) []*writer {
	ws := make([]*writer, count)
	for i := range ws {
		ws[i] = &writer{id: fmt.Sprintf("writer-%d", i), acked: map[uint64]string{}}
		n.must(http.StatusCreated, "PUT", "/v1/contexts/"+ws[i].id, map[string]any{}, nil)
	}
	return ws
}

// TestKillNine is the first promise: kill -9 under 16 writers, 20 times in a row. Small segments and early
// snapshots make every round cross rotations, recycling and snapshots.
func TestKillNine(t *testing.T) {
	const rounds, readyWithin = 20, 3 * time.Second
	n := newNode(t, filepath.Join(t.TempDir(), "data"),
		"FASTPACA_WAL_SEGMENT_BYTES=4194304", "FASTPACA_MAX_BODY_BYTES=65536", "FASTPACA_SNAPSHOT_LOG_BYTES=65536", "FASTPACA_WAL_SOFT_LIMIT_BYTES=16777216")
	n.start()
	writers := newWriters(n, 16)
	var slowest time.Duration
	for round := range rounds {
		stop := make(chan struct{})
		wg := load(n, writers, stop)
		time.Sleep(time.Duration(100+37*round%400) * time.Millisecond)
		n.proc.Kill()
		close(stop)
		wg.Wait()
		n.http.CloseIdleConnections()
		slowest = max(slowest, n.start())
		for _, w := range writers {
			n.checkHistory(w.id, w.acked)
		}
		if t.Failed() {
			return
		}
	}
	total := 0
	for _, w := range writers {
		require.NotEmpty(t, w.acked)
		total += len(w.acked)
	}
	t.Logf("%d kills, %d acknowledged messages, slowest start %s", rounds, total, slowest.Round(time.Millisecond))
	require.Less(t, slowest, readyWithin, "ready again within 3 s")
}

// TestShutdown: SIGTERM under load ends the process with status 0, and nothing acknowledged is missing.
func TestShutdown(t *testing.T) {
	n := newNode(t, filepath.Join(t.TempDir(), "data"))
	n.start()
	writers := newWriters(n, 8)
	stop := make(chan struct{})
	wg := load(n, writers, stop)
	time.Sleep(300 * time.Millisecond)
	require.NoError(t, n.proc.Terminate(20*time.Second))
	close(stop)
	wg.Wait()
	n.http.CloseIdleConnections()
	n.start()
	for _, w := range writers {
		require.NotEmpty(t, w.acked)
		n.checkHistory(w.id, w.acked)
	}
}

// fill appends n messages of about size bytes to a context of their own.
func (n *node) fill(id string, count, size int) map[uint64]string {
	n.t.Helper()
	n.must(http.StatusCreated, "PUT", "/v1/contexts/"+id, map[string]any{}, nil)
	acked := map[uint64]string{}
	for i := range count {
		txt := fmt.Sprintf("%s %d %s", id, i, strings.Repeat("y", size))
		var got appended
		n.must(http.StatusCreated, "POST", "/v1/contexts/"+id+"/messages", appendBody{text(txt)}, &got)
		acked[got.Seq] = txt
	}
	return acked
}

// TestFlippedBit: one bit of the log, not at its end, is wrong. The node says which file and where, and does
// not start.
func TestFlippedBit(t *testing.T) {
	n := newNode(t, filepath.Join(t.TempDir(), "data"))
	n.start()
	n.fill("flip", 200, 1000)
	n.proc.Kill()
	path := n.segments()[0]
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	at := bytes.Index(data, []byte("flip 100 yyyy"))
	require.Positive(t, at, "the message is not in the first segment")
	data[at+6] ^= 0x10
	require.NoError(t, os.WriteFile(path, data, 0o600))

	said := n.refuses()
	require.Contains(t, said, path)
	require.Contains(t, said, "offset")

	data[at+6] ^= 0x10
	require.NoError(t, os.WriteFile(path, data, 0o600))
	n.start() // with the bit back in place it runs again: refusing has changed nothing
	require.Len(t, n.history("flip"), 200)
}

// TestTornTail: the end of the log is cut inside its last record. That is what a power failure leaves, and
// the node starts.
func TestTornTail(t *testing.T) {
	n := newNode(t, filepath.Join(t.TempDir(), "data"))
	n.start()
	n.fill("torn", 50, 500)
	n.proc.Kill()
	paths := n.segments()
	var path string
	var data []byte
	for _, p := range paths { // the last segment that holds messages: one more is prepared ahead
		d, err := os.ReadFile(p)
		require.NoError(t, err)
		if bytes.Contains(d, []byte("torn 49 yyyy")) {
			path, data = p, d
		}
	}
	require.NotEmpty(t, path)
	at := bytes.LastIndex(data, []byte("torn 49 yyyy"))
	clear(data[at:])
	require.NoError(t, os.WriteFile(path, data, 0o600))

	n.start()
	require.Len(t, n.history("torn"), 49)
	n.fill("after", 10, 100) // and goes on, and starts once more
	n.proc.Kill()
	n.start()
	require.Len(t, n.history("torn"), 49)
	require.Len(t, n.history("after"), 10)
}

// TestFullDisk: on a small file system of its own, appends answer 503 storage_full when it is full, reads go
// on, and appends come back by themselves when there is room.
func TestFullDisk(t *testing.T) {
	if os.Getenv("FASTPACA_E2E_NO_MOUNT") != "" {
		t.Skip("FASTPACA_E2E_NO_MOUNT is set")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Fatal("mounting a small file system needs root; set FASTPACA_E2E_NO_MOUNT=1 to leave this test out")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n := newNode(t, filepath.Join(dir, "data"), "FASTPACA_WAL_SEGMENT_BYTES=4194304", "FASTPACA_MAX_BODY_BYTES=1048576")
	n.start()
	acked := n.fill("full", 10, 1000)

	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	big := strings.Repeat("z", 100_000)
	full := false
	for i := 0; i < 400 && !full; i++ {
		var got appended
		txt := fmt.Sprintf("big %d %s", i, big)
		code, err := n.call("POST", "/v1/contexts/full/messages", appendBody{text(txt)}, &got)
		require.NoError(t, err)
		switch code {
		case http.StatusCreated:
			acked[got.Seq] = txt
		case http.StatusServiceUnavailable:
			require.Equal(t, "storage_full", got.Error)
			full = true
		default:
			t.Fatalf("append on a full disk answered %d %s", code, got.Error)
		}
	}
	require.True(t, full, "40 MB went into a file system that has no room")
	n.checkHistory("full", acked) // reads go on

	require.NoError(t, os.Remove(ballast))
	deadline := time.Now().Add(10 * time.Second)
	for {
		var got appended
		code, err := n.call("POST", "/v1/contexts/full/messages", appendBody{text("room again")}, &got)
		require.NoError(t, err)
		if code == http.StatusCreated {
			acked[got.Seq] = "room again"
			break
		}
		require.Equal(t, "storage_full", got.Error)
		require.True(t, time.Now().Before(deadline), "there is room again, but appends do not come back")
		time.Sleep(50 * time.Millisecond)
	}
	n.proc.Kill()
	n.start()
	n.checkHistory("full", acked)
}

// fillDisk writes to path until the file system is full.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	chunk := make([]byte, 64<<10)
	for {
		if _, err := f.Write(chunk); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
	}
	require.NoError(t, f.Close())
}
