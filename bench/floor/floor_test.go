package floor

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/bench/hist"

	"github.com/stretchr/testify/require"
)

func TestLogWritesEveryBodyOnceAndBatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := OpenLog(path, LogOptions{Size: 1 << 20, Gosched: true})
	require.NoError(t, err)
	const writers, each = 16, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				require.NoError(t, l.Append(fmt.Appendf(nil, "<%02d:%02d>", w, i)))
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "closing twice is harmless")
	require.ErrorIs(t, l.Append([]byte("late")), ErrClosed)
	require.LessOrEqual(t, l.Batches, uint64(writers*each))
	require.NotZero(t, l.Batches)

	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, got, 1<<20, "the file keeps the size it was given")
	for w := range writers {
		for i := range each {
			require.Equal(t, 1, bytes.Count(got, fmt.Appendf(nil, "<%02d:%02d>", w, i)))
		}
	}
}

func TestLogWrapsRound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := OpenLog(path, LogOptions{Size: 1 << 20})
	require.NoError(t, err)
	data := make([]byte, 300<<10)
	for range 5 {
		require.NoError(t, l.Append(data))
	}
	require.NoError(t, l.Close())
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), fi.Size())
}

func TestServeAnswersWhatItWasTold(t *testing.T) {
	l, err := OpenLog(filepath.Join(t.TempDir(), "log"), LogOptions{Size: 1 << 20})
	require.NoError(t, err)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- Serve(Config{Listener: ln, Log: l}) }()
	base := "http://" + ln.Addr().String()
	client := &http.Client{Timeout: 10 * time.Second}

	do := func(method, path, body string) (int, string) {
		req, err := http.NewRequest(method, base+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	code, _ := do(http.MethodPut, ControlPath+"?status=abc", "")
	require.Equal(t, 400, code)
	code, _ = do(http.MethodPut, ControlPath+"?status=201", `{"seq":1}`)
	require.Equal(t, 200, code)
	code, body := do(http.MethodPost, "/v1/contexts/a/messages", "logged")
	require.Equal(t, 201, code)
	require.JSONEq(t, `{"seq":1}`, body)
	code, _ = do(http.MethodGet, "/v1/contexts/a/context", "")
	require.Equal(t, 201, code)

	client.CloseIdleConnections()
	require.NoError(t, ln.Close())
	require.NoError(t, <-stopped)
	require.NoError(t, l.Close())
	require.Equal(t, uint64(1), l.Batches)
}

func TestBareFdatasync(t *testing.T) {
	var h hist.H
	require.NoError(t, BareFdatasync(filepath.Join(t.TempDir(), "f"), 4096, 5*time.Millisecond, &h))
	require.NotZero(t, h.Count())
}
