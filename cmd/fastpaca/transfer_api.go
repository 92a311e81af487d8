package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// transferWait bounds one attempt of a request: a page of 32 MiB over a slow line.
	transferWait = time.Minute
	// transferBytes bounds an answer: a page ends at 32 MiB, or with one message or context larger than that.
	transferBytes = 80 << 20
	// retryFor is how long a transfer goes on trying while nothing gets through: a node that restarts takes seconds, a rolling
	// restart somewhat longer.
	retryFor    = 2 * time.Minute
	retryPause  = 50 * time.Millisecond // before the second attempt; doubled each time
	retryPauses = 5 * time.Second       // at most
)

// transferAPI is a node as exports and imports use it. Every request may be sent again: reads, PUT and DELETE because they
// can be repeated, imports because they are guarded by seq.
type transferAPI struct {
	client   *client
	patience time.Duration    // retryFor
	pause    time.Duration    // retryPause
	say      func(msg string) // tells the user of trouble
}

// send sends a request until there is an answer that trying again will not change, and returns the body of a 2xx answer. Any
// other answer is a *rejection.
func (a *transferAPI) send(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	pause := a.pause
	var deadline time.Time
	for {
		answer, after, err := a.attempt(ctx, method, path, body)
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var r *rejection
		if errors.As(err, &r) && !r.passing() {
			return nil, err
		}
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(a.patience)
			a.say(fmt.Sprintf("%v; trying again for %v", err, a.patience))
		}
		if now.After(deadline) {
			return nil, fmt.Errorf("given up after %v: %w", a.patience, err)
		}
		wait := max(min(after, retryPauses), pause/2+rand.N(pause/2))
		pause = min(2*pause, retryPauses)
		select {
		case <-time.After(min(wait, a.patience)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// rejection is an answer other than 2xx.
type rejection struct {
	status  int
	Code    string  `json:"error"`
	Message string  `json:"message"`
	LastSeq *uint64 `json:"last_seq"`
}

func (r *rejection) Error() string { return r.Message }

// passing says whether the same request may be answered otherwise a little later.
func (r *rejection) passing() bool {
	switch r.status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// attempt sends a request once. after is how long the node asks to wait.
func (a *transferAPI) attempt(ctx context.Context, method, path string, body []byte) (answer []byte, after time.Duration, err error) {
	one, cancel := context.WithTimeout(ctx, transferWait)
	defer cancel()
	req, err := http.NewRequestWithContext(one, method, a.client.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.client.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.client.key)
	}
	resp, err := a.client.http.Do(req)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return nil, 0, fmt.Errorf("no answer from %s: %w", a.client.base, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, transferBytes+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("the answer of %s broke off: %w", a.client.base, err)
	case len(answer) > transferBytes:
		return nil, 0, &rejection{status: resp.StatusCode, Message: fmt.Sprintf("an answer of %s is larger than %d MiB", a.client.base, transferBytes>>20)}
	case resp.StatusCode/100 == 2:
		return answer, 0, nil
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		after = min(time.Duration(s), 3600) * time.Second
	}
	r := &rejection{status: resp.StatusCode}
	if json.Unmarshal(answer, r) != nil || r.Message == "" {
		r.Message = fmt.Sprintf("%s answered %s: %.200q", a.client.base, resp.Status, answer)
	}
	return nil, after, r
}

// isStatus says whether err is an answer with this status.
func isStatus(err error, status int) bool {
	var r *rejection
	return errors.As(err, &r) && r.status == status
}

func contextPath(id string) string {
	name := url.PathEscape(id)
	if id == "." || id == ".." {
		name = strings.ReplaceAll(id, ".", "%2E") // which proxies would take for a way up
	}
	return "/v1/contexts/" + name
}

// list returns a page of contexts, in order; next is empty at the end.
func (a *transferAPI) list(ctx context.Context, cursor string, limit int) (contexts []*contextEntry, next string, err error) {
	body, err := a.send(ctx, "GET", "/v1/contexts?limit="+strconv.Itoa(limit)+"&cursor="+url.QueryEscape(cursor), nil)
	if isStatus(err, http.StatusNotFound) {
		err = errors.New("the node is too old to list its contexts; name them with --context")
	}
	if err != nil {
		return nil, "", err
	}
	var page struct {
		Contexts []json.RawMessage
		Next     *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, "", fmt.Errorf("the list of contexts cannot be read: %w", err)
	}
	for _, raw := range page.Contexts {
		c, err := parseContext(raw)
		if err != nil {
			return nil, "", err
		}
		contexts = append(contexts, c)
	}
	if page.Next != nil {
		if *page.Next == cursor {
			return nil, "", errors.New("the list of contexts does not go on")
		}
		next = *page.Next
	}
	return contexts, next, nil
}

// context describes one context.
func (a *transferAPI) context(ctx context.Context, id string) (*contextEntry, error) {
	body, err := a.send(ctx, "GET", contextPath(id), nil)
	if err != nil {
		return nil, err
	}
	return parseContext(body)
}

// messages returns a page of raw messages whose seqs are from, from+1, ...: at least one and at most limit.
func (a *transferAPI) messages(ctx context.Context, id string, from uint64, limit int) ([]json.RawMessage, error) {
	body, err := a.send(ctx, "GET", fmt.Sprintf("%s/messages?from_seq=%d&limit=%d", contextPath(id), from, limit), nil)
	if err != nil {
		return nil, err
	}
	var page struct{ Messages []json.RawMessage }
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, fmt.Errorf("a page of messages cannot be read: %w", err)
	}
	for i, m := range page.Messages {
		if seq, err := seqOf(m); err != nil || seq != from+uint64(i) {
			return nil, fmt.Errorf("the node gave message %d in place of message %d", seq, from+uint64(i))
		}
	}
	if len(page.Messages) == 0 || len(page.Messages) > limit {
		return nil, fmt.Errorf("asked for messages from %d on, the node gave %d", from, len(page.Messages))
	}
	return page.Messages, nil
}

// close gives the connections back.
func (a *transferAPI) close() { a.client.http.CloseIdleConnections() }

// newTransferAPI takes over c; say tells the user of trouble.
func newTransferAPI(c *client, say func(string)) *transferAPI {
	c.http.Timeout = 0 // each attempt has its own
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = importWorkers
	c.http.Transport = transport
	return &transferAPI{client: c, patience: retryFor, pause: retryPause, say: say}
}
