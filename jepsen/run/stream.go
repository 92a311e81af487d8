package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/jepsen/run/check"
)

// subscriber follows one context by Server-Sent Events from its start on: through any node, for some seconds each, always
// going on after the last id it got.
type subscriber struct {
	c       *cluster
	context int
	dice    *rand.Rand
	last    atomic.Uint64 // seq
	conns   int

	mu     sync.Mutex
	events []check.Event
}

func (s *subscriber) run(ctx context.Context) {
	id := "0"
	for ctx.Err() == nil {
		n := s.c.nodes[s.dice.IntN(len(s.c.nodes))]
		life, cancel := context.WithTimeout(ctx, time.Duration(1+s.dice.IntN(9))*time.Second)
		id = s.follow(life, n, id)
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// follow reads one connection to its end and returns the last id.
func (s *subscriber) follow(ctx context.Context, n *node, id string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url(contextPath(s.context)+"/events?include_messages=true"), nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Last-Event-ID", id)
	client := http.Client{Transport: n.http.Transport}
	resp, err := client.Do(req)
	if err != nil {
		return id
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return id
	}
	s.conns++
	s.take([]byte(`{"type":"connect"}`))
	rd := bufio.NewReaderSize(resp.Body, 1<<16)
	var pending string
	var data []byte
	for {
		line, err := rd.ReadBytes('\n')
		if err != nil {
			return id
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case bytes.HasPrefix(line, []byte("id: ")):
			pending = string(line[4:])
		case bytes.HasPrefix(line, []byte("data: ")):
			data = append(data, line[6:]...)
		case len(line) == 0 && len(data) > 0: // an event is one when its blank line is there
			s.take(data)
			if pending != "" {
				id = pending
			}
			data = data[:0]
		}
	}
}

func (s *subscriber) take(data []byte) {
	var e struct {
		Type         string
		Version, Seq uint64
		Message      message
	}
	if json.Unmarshal(data, &e) != nil {
		e.Type = "unreadable"
	}
	s.mu.Lock()
	s.events = append(s.events, check.Event{Type: e.Type, Version: e.Version, Seq: e.Seq, Text: e.Message.text()})
	s.mu.Unlock()
	if e.Seq > 0 {
		s.last.Store(e.Seq)
	}
}
