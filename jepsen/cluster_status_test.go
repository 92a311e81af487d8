package jepsen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"testing"
	"time"
)

// clusterStatus is what the tests need of GET /v1/cluster.
type clusterStatus struct {
	Coordinator string
	Nodes       []struct {
		Name     string
		State    string
		Alive    bool
		Replicas int
		Leading  int
		Lag      int
	}
	Shards struct {
		Count      int
		WithLeader int `json:"with_leader"`
		Moving     int
		MaxLag     int `json:"max_lag"`
	}
	Leaders []struct {
		Shard  int
		Leader string
	}
}

// settled waits until size nodes are active and ready, every shard has a leader, nothing moves, and replicas and
// leaders are even to within a tenth.
func (c *cluster) settled(size int) {
	c.t.Helper()
	last := "no answer"
	for deadline := time.Now().Add(120 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		for _, n := range *c.open.Load() {
			if !n.proc.Alive() {
				continue
			}
			var st clusterStatus
			if code, err := n.call("GET", "/v1/cluster", nil, &st); err != nil || code != http.StatusOK {
				last = fmt.Sprint(code, err)
				continue
			}
			if last = st.unsettled(size); last == "" {
				return
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the cluster does not settle at %d nodes: %s", size, last)
		}
	}
}

// unsettled says what is not yet as it should be with size nodes, empty if nothing.
func (st *clusterStatus) unsettled(size int) string {
	if st.Shards.WithLeader != st.Shards.Count || st.Shards.Count != 256 || st.Shards.Moving > 0 {
		return fmt.Sprintf("%d of %d shards have a leader, %d move", st.Shards.WithLeader, st.Shards.Count, st.Shards.Moving)
	}
	active := 0
	for _, n := range st.Nodes {
		if n.State == "active" {
			active++
		}
	}
	if active != size {
		return fmt.Sprintf("%d nodes are active", active)
	}
	replicas, leaders := 256*float64(min(3, size))/float64(size), 256/float64(size)
	for _, n := range st.Nodes {
		switch {
		case n.State != "active":
			if n.Replicas > 0 {
				return fmt.Sprintf("%s is %s and has %d replicas", n.Name, n.State, n.Replicas)
			}
		case !n.Alive:
			return n.Name + " is not heard of"
		case uneven(n.Replicas, replicas):
			return fmt.Sprintf("%s has %d replicas of about %.0f", n.Name, n.Replicas, replicas)
		case uneven(n.Leading, leaders):
			return fmt.Sprintf("%s leads %d shards of about %.0f", n.Name, n.Leading, leaders)
		}
	}
	return ""
}

func uneven(got int, mean float64) bool { return math.Abs(float64(got)-mean) > mean/10+1 }

// leaderOf is the node that leads most shards, by the word of node from.
func (c *cluster) leaderOf(from *node) *node {
	c.t.Helper()
	var st clusterStatus
	from.must(http.StatusOK, "GET", "/v1/cluster", nil, &st)
	best, count := 0, -1
	for i := range c.nodes {
		for _, n := range st.Nodes {
			if n.Name == fmt.Sprintf("n%d", i+1) && n.Leading > count {
				best, count = i, n.Leading
			}
		}
	}
	return c.nodes[best]
}

// raw is call for tests that look at the answer's headers. The body is read and closed.
func (n *node) raw(method, path string, body any) (*http.Response, error) {
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		rd = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, n.url(path), rd)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp, resp.Body.Close()
}

// fill appends batches of 100 messages to every writer's context.
func fill(t *testing.T, n *node, ws []*clusterWriter, batches int) {
	t.Helper()
	for range batches {
		for _, w := range ws {
			var msgs []message
			for range 100 {
				w.sent++
				msgs = append(msgs, text(fmt.Sprintf("%s filler %d", w.id, w.sent)))
			}
			var got struct{ Results []appended }
			n.must(http.StatusCreated, "POST", "/v1/contexts/"+w.id+"/messages", map[string]any{"messages": msgs}, &got)
			for i, r := range got.Results {
				w.acked[r.Seq] = msgs[i].Parts[0].Text
			}
		}
	}
}
