package jepsen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/bench/proc"

	"github.com/stretchr/testify/require"
)

var (
	buildOnce sync.Once
	builtPath string
	buildErr  error
)

// binary returns the program under test: FASTPACA_BIN, or one built for this run.
func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("FASTPACA_BIN"); path != "" {
		return path
	}
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "fastpaca-bin")
		if err != nil {
			buildErr = err
			return
		}
		builtPath = filepath.Join(dir, "fastpaca")
		out, err := exec.Command("go", "build", "-o", builtPath, "fastpaca/cmd/fastpaca").CombinedOutput()
		if err != nil {
			buildErr = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	require.NoError(t, buildErr)
	return builtPath
}

func TestMain(m *testing.M) {
	code := m.Run()
	if builtPath != "" {
		_ = os.RemoveAll(filepath.Dir(builtPath))
	}
	os.Exit(code)
}

// node is one server process on a directory that outlives it.
type node struct {
	t    *testing.T
	addr netip.AddrPort // zero: a free one at every start
	dir  string
	log  string
	env  []string
	proc *proc.Child
	http *http.Client
}

// newNode prepares a node; start runs it. Everything goes when the test ends.
func newNode(t *testing.T, dir string, env ...string) *node {
	t.Helper()
	n := &node{t: t, dir: dir, env: env, log: filepath.Join(t.TempDir(), "server.log"),
		http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(func() {
		if n.proc != nil && n.proc.Alive() {
			n.proc.Kill()
		}
		n.http.CloseIdleConnections()
		if t.Failed() {
			if text, err := os.ReadFile(n.log); err == nil {
				t.Logf("server log, last part:\n%s", text[max(0, len(text)-4000):])
			}
		}
	})
	return n
}

// spawn starts the process without waiting for it to serve.
func (n *node) spawn() time.Time {
	n.t.Helper()
	addr, err := n.addr, error(nil)
	if !addr.IsValid() {
		addr, err = proc.FreeAddr()
		require.NoError(n.t, err)
	}
	began := time.Now()
	n.proc, err = proc.Start(proc.Spec{
		Name: "fastpaca", Args: []string{binary(n.t), "server"}, Log: n.log, Addr: addr,
		Env: append([]string{"FASTPACA_LISTEN=" + addr.String(), "FASTPACA_RAFT_DATA_DIR=" + n.dir}, n.env...),
	})
	require.NoError(n.t, err)
	return began
}

// start runs the node until it is ready and returns how long that took.
func (n *node) start() time.Duration {
	n.t.Helper()
	began := n.spawn()
	took, err := n.proc.WaitReady(context.Background(), "/health/ready", began, 30*time.Second)
	require.NoError(n.t, err)
	return took
}

// refuses starts the node, waits until it has given up, and returns what it said.
func (n *node) refuses() string {
	n.t.Helper()
	n.spawn()
	for deadline := time.Now().Add(20 * time.Second); n.proc.Alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.proc.Kill()
			n.t.Fatal("the node should have refused to start, but runs")
		}
	}
	text, err := os.ReadFile(n.log)
	require.NoError(n.t, err)
	return string(text)
}

// url is where the node serves path. A node with an address of its own may be used while it is started again.
func (n *node) url(path string) string {
	addr := n.addr
	if !addr.IsValid() {
		addr = n.proc.Addr
	}
	return "http://" + addr.String() + path
}

// call sends a request and decodes the JSON answer into out, which may be nil. It returns the status, or an
// error where no answer came.
func (n *node) call(method, path string, body, out any) (int, error) {
	var rd io.Reader
	if body != nil {
		raw, ok := body.([]byte)
		if !ok {
			var err error
			if raw, err = json.Marshal(body); err != nil {
				return 0, err
			}
		}
		rd = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, n.url(path), rd)
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			return resp.StatusCode, fmt.Errorf("%s %s answered %d with %q: %w", method, path, resp.StatusCode, data, err)
		}
	}
	return resp.StatusCode, nil
}

// must is call for what has to work.
func (n *node) must(want int, method, path string, body, out any) {
	n.t.Helper()
	got, err := n.call(method, path, body, out)
	require.NoError(n.t, err, "%s %s", method, path)
	require.Equal(n.t, want, got, "%s %s", method, path)
}

// message is a text message of the API.
type message struct {
	Seq   uint64 `json:"seq,omitempty"`
	Role  string `json:"role"`
	Parts []part `json:"parts"`
}

type part struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func text(s string) message { return message{Role: "user", Parts: []part{{"text", s}}} }

type appendBody struct {
	Message message `json:"message"`
}

type appended struct {
	Seq     uint64 `json:"seq"`
	Version uint64 `json:"version"`
	Error   string `json:"error"`
}

// history reads all messages of a context through the replay call.
func (n *node) history(id string) []message {
	n.t.Helper()
	var all []message
	next := uint64(1)
	for {
		var page struct {
			Messages []message `json:"messages"`
			Next     *uint64   `json:"next_seq"`
		}
		n.must(http.StatusOK, "GET", fmt.Sprintf("/v1/contexts/%s/messages?from_seq=%d&limit=10000", id, next), nil, &page)
		all = append(all, page.Messages...)
		if page.Next == nil {
			return all
		}
		next = *page.Next
	}
}

// checkHistory demands that the context holds seqs 1..n without a gap, every acked text at its seq, and no
// text twice.
func (n *node) checkHistory(id string, acked map[uint64]string) {
	n.t.Helper()
	all := n.history(id)
	seen := make(map[string]uint64, len(all))
	for i, m := range all { // hundreds of thousands in all: no require
		if m.Seq != uint64(i+1) {
			n.t.Fatalf("context %s: gap in the seqs: %d behind %d", id, m.Seq, i)
		}
		txt := m.Parts[0].Text
		if before, twice := seen[txt]; twice {
			n.t.Fatalf("context %s: message %q stands at seq %d and at seq %d", id, txt, before, m.Seq)
		}
		seen[txt] = m.Seq
	}
	for seq, txt := range acked {
		if seq > uint64(len(all)) {
			n.t.Fatalf("context %s: acknowledged message %q at seq %d is lost, the history ends at %d", id, txt, seq, len(all))
		}
		if got := all[seq-1].Parts[0].Text; got != txt {
			n.t.Fatalf("context %s seq %d: %q was acknowledged, %q is there", id, seq, txt, got)
		}
	}
}

// segments returns the paths of the log's segments, oldest first.
func (n *node) segments() []string {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.dir, "wal"))
	require.NoError(n.t, err)
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".wal") {
			paths = append(paths, filepath.Join(n.dir, "wal", e.Name()))
		}
	}
	return paths
}
