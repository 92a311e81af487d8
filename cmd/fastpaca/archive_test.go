package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/require"

	"fastpaca/archive/testserver"
	"fastpaca/httpd"
)

// archivingServer is a whole server in this process.
type archivingServer struct {
	t    *testing.T
	base string
	log  *lockedBuffer
	stop func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// patience bounds what a test waits for; none waits that long unless something hangs.
const patience = 2 * time.Minute

func startServer(t *testing.T, dir string, env map[string]string) *archivingServer {
	t.Helper()
	port, err := testserver.FreePort()
	require.NoError(t, err)
	addr := fmt.Sprint("127.0.0.1:", port)
	all := map[string]string{"FASTPACA_TAIL_KEEP": "20", "FASTPACA_ARCHIVER_ENABLED": "true", "FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS": "20",
		"FASTPACA_WAL_SEGMENT_BYTES": "16777216", "FASTPACA_REQUEST_TIMEOUT_MS": "60000"}
	maps.Copy(all, env)
	cfg, _, err := loadWith([]string{"--listen", addr, "--raft-data-dir", dir}, all)
	require.NoError(t, err)
	s := &archivingServer{t: t, base: "http://" + addr, log: &lockedBuffer{}}
	log := httpd.NewLogger(s.log, httpd.LevelInfo)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, &cfg, log) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		log.Close()
	})
	t.Cleanup(s.stop)
	s.ready()
	return s
}

func (s *archivingServer) ready() {
	s.t.Helper()
	s.await("ready", func() bool {
		resp, err := http.Get(s.base + "/health/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (s *archivingServer) await(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s did not come:\n%s", what, s.log)
		}
	}
}

func (s *archivingServer) call(method, path, body string, want int) []byte {
	s.t.Helper()
	req, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, want, resp.StatusCode, "%s %s: %.300s", method, path, b)
	return b
}

// history reads a context from seq 1 on, page by page.
func (s *archivingServer) history(id string) (texts []string) {
	for next := uint64(1); next > 0; {
		var page struct {
			Messages []struct {
				Seq   uint64
				Parts []struct{ Text string }
			}
			NextSeq uint64 `json:"next_seq"`
		}
		require.NoError(s.t, json.Unmarshal(s.call("GET", fmt.Sprintf("/v1/contexts/%s/messages?limit=70&from_seq=%d", id, next), "", 200), &page))
		for _, m := range page.Messages {
			require.Equal(s.t, uint64(len(texts)+1), m.Seq)
			texts = append(texts, m.Parts[0].Text)
		}
		next = page.NextSeq
	}
	return texts
}

// TestServerArchives: a server archives into a real store, lives on while that is away, says so, catches up, and serves the whole
// history though most of it has left the node.
func TestServerArchives(t *testing.T) {
	for _, adapter := range []string{"postgres", "s3"} {
		t.Run(adapter, func(t *testing.T) {
			env := map[string]string{"FASTPACA_ARCHIVE_ADAPTER": adapter}
			var kill func()
			var start func() error
			if adapter == "postgres" {
				p, err := testserver.StartPostgres()
				require.NoError(t, err)
				defer p.Stop()
				env["DATABASE_URL"] = p.URL("postgres")
				kill, start = p.Kill, p.Start
			} else {
				s, err := testserver.StartS3()
				require.NoError(t, err)
				defer s.Stop()
				require.NoError(t, s.Client(t).MakeBucket(context.Background(), "messages", minio.MakeBucketOptions{Region: testserver.Region}))
				env["FASTPACA_S3_BUCKET"], env["FASTPACA_S3_ENDPOINT"] = "messages", "http://"+s.Addr()
				t.Setenv("AWS_ACCESS_KEY_ID", testserver.AccessKey)
				t.Setenv("AWS_SECRET_ACCESS_KEY", testserver.SecretKey)
				t.Setenv("AWS_REGION", testserver.Region)
				kill, start = s.Kill, s.Start
			}
			dir := t.TempDir()
			srv := startServer(t, dir, env)
			srv.call("PUT", "/v1/contexts/chat", `{"policy":{"strategy":"last_n","config":{"limit":10}},"token_budget":100}`, 201)
			var want []string
			say := func(n int) {
				for range n {
					text := fmt.Sprintf("%d %s", len(want), strings.Repeat("x", 3000))
					want = append(want, text)
					srv.call("POST", "/v1/contexts/chat/messages", fmt.Sprintf(`{"message":{"role":"user","parts":[{"type":"text","text":%q}],"token_count":50}}`, text), 201)
				}
			}
			has := func(series string) func() bool {
				return func() bool { return strings.Contains(string(srv.call("GET", "/metrics", "", 200)), series) }
			}
			say(150)
			srv.await("archiving", has("fastpaca_archive_inserted_total 150\n")) // all is stored, and counted
			kill()
			say(150)
			srv.await("the lag", has(`fastpaca_archive_lag{context_id="chat"} 150`+"\n"))
			srv.await("the log line", func() bool { return strings.Contains(srv.log.String(), `"type":"archive_failed"`) })
			require.NoError(t, start())
			srv.await("catching up", has("fastpaca_archive_pending_rows 0\n"))
			srv.await("the log line", func() bool { return strings.Contains(srv.log.String(), `"type":"archive_recovered"`) })
			require.True(t, has(fmt.Sprintf("fastpaca_archive_inserted_total %d\n", len(want)))())
			require.Equal(t, want, srv.history("chat"))

			// Most of it is in the archive only.
			kill()
			if adapter == "postgres" { // what was read of S3 is cached
				srv.call("GET", "/v1/contexts/chat/messages?from_seq=1&limit=5", "", 503)
			}
			srv.call("GET", "/v1/contexts/chat/tail?limit=5", "", 200)
			require.NoError(t, start())
			require.Eventually(t, func() bool {
				resp, err := http.Get(srv.base + "/v1/contexts/chat/messages?from_seq=1&limit=5")
				if err == nil {
					resp.Body.Close()
				}
				return err == nil && resp.StatusCode == 200
			}, patience, 50*time.Millisecond)
			srv.stop()

			srv = startServer(t, dir, env)
			say(20)
			require.Equal(t, want, srv.history("chat"))
			srv.await("archiving", has("fastpaca_archive_pending_rows 0\n"))
		})
	}
}

func TestArchiveSettings(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	f := func(want string, cfg archiveSettings) {
		t.Helper()
		_, err := openStore(&cfg, none)
		require.ErrorContains(t, err, want)
	}
	f("DATABASE_URL", archiveSettings{adapter: "postgres"})
	f("DATABASE_URL", archiveSettings{adapter: "postgres", databaseURL: "postgres://host:port"})
	f("FASTPACA_S3_BUCKET", archiveSettings{adapter: "s3"})
	f("FASTPACA_ARCHIVE_ADAPTER", archiveSettings{adapter: "tape"})
}
