package jepsen

import (
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// countOp is an operation on one context, whose state is the number of its messages.
type countOp struct {
	context int
	write   bool
}

type countResult struct {
	n       uint64 // a write's seq, a read's last_seq
	unknown bool   // a write without an answer: it may have happened, or may happen later
	failed  bool   // nothing was written, nothing was read
}

// countModel: a write makes n+1 messages of n and answers n+1, a read answers n.
var countModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[int][]porcupine.Operation{}
		for _, op := range history {
			if !op.Output.(countResult).failed {
				c := op.Input.(countOp).context
				parts[c] = append(parts[c], op)
			}
		}
		var out [][]porcupine.Operation
		for _, p := range parts {
			out = append(out, p)
		}
		return out
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		n, in, out := state.(uint64), input.(countOp), output.(countResult)
		switch {
		case !in.write:
			return out.n == n, n
		case out.unknown:
			return true, n + 1
		}
		return out.n == n+1, n + 1
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// TestClusterPause stops the process that leads most for 3 s, which is several elections, and lets it go on, several times, while clients write and
// read through every node. What they saw must be linearizable: above all, the one that was paused may not answer from what
// it remembers.
func TestClusterPause(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	for _, n := range c.nodes {
		n.http.Timeout = time.Second // a client that waits for a paused process learns nothing
	}
	const contexts, clients = 4, 12
	for i := range contexts {
		c.nodes[0].must(http.StatusCreated, "PUT", fmt.Sprintf("/v1/contexts/p%d", i), map[string]any{}, nil)
	}
	began := time.Now()
	now := func() int64 { return int64(time.Since(began)) }
	var mu sync.Mutex
	var history []porcupine.Operation
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for id := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for turn := id; ; turn++ {
				select {
				case <-stop:
					return
				case <-time.After(4 * time.Millisecond): // what porcupine can check in seconds
				}
				in := countOp{context: turn % contexts, write: turn/contexts%3 == 0}
				n := c.nodes[(turn+turn/7)%3]
				op := porcupine.Operation{ClientId: id, Input: in, Call: now()}
				out, ended := countCall(t, n, in)
				op.Output, op.Return = out, now()
				if !ended {
					op.Return = 1 << 62
				}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		}()
	}
	for range rounds(2) {
		time.Sleep(time.Second)
		paused := c.leaderOf(c.nodes[0])
		require.NoError(t, paused.proc.Signal(syscall.SIGSTOP))
		time.Sleep(3 * time.Second)
		require.NoError(t, paused.proc.Signal(syscall.SIGCONT))
		time.Sleep(time.Second)
	}
	close(stop)
	wg.Wait()
	c.closeIdle()
	unknown := 0
	for i := range history {
		if history[i].Output.(countResult).unknown {
			unknown++
		}
	}
	t.Logf("%d operations, %d unknown", len(history), unknown)
	require.Greater(t, len(history), 1000)
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(countModel, history, 60*time.Second), "the history is not linearizable")
}

// countCall does one operation. ended is false where its outcome may still come.
func countCall(t *testing.T, n *node, in countOp) (out countResult, ended bool) {
	path := fmt.Sprintf("/v1/contexts/p%d", in.context)
	if in.write {
		var got appended
		code, err := n.call("POST", path+"/messages", appendBody{text("x")}, &got)
		switch {
		case err != nil || code == http.StatusServiceUnavailable && got.Error == "raft_timeout":
			return countResult{unknown: true}, false
		case code == http.StatusServiceUnavailable:
			return countResult{failed: true}, true
		case code != http.StatusCreated:
			t.Errorf("append answered %d %s", code, got.Error)
		}
		return countResult{n: got.Seq}, true
	}
	var got struct {
		LastSeq uint64 `json:"last_seq"`
	}
	code, err := n.call("GET", path, nil, &got)
	if err != nil || code == http.StatusServiceUnavailable {
		return countResult{failed: true}, true
	}
	if code != http.StatusOK {
		t.Errorf("read answered %d", code)
	}
	return countResult{n: got.LastSeq}, true
}
