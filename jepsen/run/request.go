package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"fastpaca/jepsen/run/check"
)

type part struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type message struct {
	Seq    uint64 `json:"seq,omitempty"`
	Role   string `json:"role"`
	Parts  []part `json:"parts"`
	Tokens int    `json:"token_count"`
}

func (m *message) text() string {
	if len(m.Parts) == 0 {
		return ""
	}
	return m.Parts[0].Text
}

// answer is any answer of the API.
type answer struct {
	code int
	err  error

	Seq       uint64  `json:"seq"`
	LastSeq   uint64  `json:"last_seq"`
	Version   uint64  `json:"version"`
	Error     string  `json:"error"`
	Next      *uint64 `json:"next_seq"`
	Results   []struct{ Seq uint64 }
	Messages  []message
	Truncated int
	Status    string
	Budget    uint64 `json:"token_budget"`
	Metadata  struct{ Mark uint64 }
}

// send does one request. A nil body sends none.
func (l *clients) send(ctx context.Context, n *node, method, path, key string, body any) (a answer) {
	var rd io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			panic(err) // ours
		}
		rd = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, n.url(path), rd)
	if err != nil {
		panic(err)
	}
	// Without this net/http sends a request that has a key a second time by itself if the connection breaks, and answers "refused" of
	// that second one for both, though the first may have been done. All repetitions shall be ours.
	req.GetBody = nil
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &a)
	}
	a.code, a.err = resp.StatusCode, err
	return a
}

// outcome is what a write's client knows. Codes that the API does not have for it are counted as unexpected.
func (l *clients) outcome(a answer) check.Outcome {
	switch {
	case a.err != nil && refused(a.err):
		return check.Fail
	case a.err != nil:
		return check.Unknown
	case a.code == http.StatusCreated, a.code == http.StatusOK:
		return check.OK
	case a.code == http.StatusServiceUnavailable && a.Error == "raft_timeout":
		return check.Unknown
	case a.code == http.StatusServiceUnavailable, a.code == http.StatusConflict, a.code == http.StatusRequestTimeout:
		return check.Fail // 408: the request did not arrive in time
	}
	l.unexpected(a)
	return check.Unknown
}

func (l *clients) unexpected(a answer) {
	l.mu.Lock()
	l.other[fmt.Sprintf("%d %s", a.code, a.Error)]++
	l.mu.Unlock()
}
