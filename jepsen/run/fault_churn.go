package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	// drainWithin bounds how long a node may take to hand over all that it has, other faults at the same time included.
	drainWithin = 150 * time.Second
	// askWithin bounds how long a drain may be refused: the placement's leader may be away.
	askWithin = 30 * time.Second
)

// churn drains a node through another one's API, and takes it back, or waits until it is removed and brings it back empty: a member
// leaves, another one joins in its place. It may go on while other faults do.
func churn(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	vs := n.victims(ctx, 2)
	ask := func(verb string) (err error) {
		for deadline := time.Now().Add(askWithin); ; time.Sleep(200 * time.Millisecond) {
			a := n.cl.send(ctx, vs[1], http.MethodPost, "/v1/cluster/nodes/"+vs[0].name+"/"+verb, "", nil)
			if a.err == nil && a.code/100 == 2 {
				return nil
			}
			if err = fmt.Errorf("%s %s: %d %s %v", verb, vs[0].name, a.code, a.Error, a.err); time.Now().After(deadline) || a.err == nil && a.code/100 == 4 {
				return err
			}
		}
	}
	if err := ask("drain"); err != nil {
		return "", err
	}
	if n.dice.IntN(2) == 0 {
		wait(ctx, held/2)
		if err := ask("undrain"); err == nil {
			return "drained and undrained " + vs[0].name, nil
		} // too late: it may be removed already
	}
	background := context.WithoutCancel(ctx) // what has begun is seen through
	for deadline := time.Now().Add(drainWithin); ; wait(background, 200*time.Millisecond) {
		state := n.stateOf(background, vs[0])
		if state == "removed" {
			break
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%s was drained and is not removed after %s, but %s", vs[0].name, drainWithin, state)
		}
	}
	defer hold(vs[0])()
	vs[0].kill()
	if err := vs[0].wipe(); err != nil {
		return "", err
	}
	return "drained " + vs[0].name + " until it was removed; it joined again, empty", vs[0].start()
}

// stateOf is a node's state by the word of another one; "unknown" where none answers.
func (n *nemesis) stateOf(ctx context.Context, v *node) string {
	for _, o := range n.c.nodes {
		var st status
		if o == v || o.get(ctx, "/v1/cluster", &st) != nil {
			continue
		}
		for _, m := range st.Nodes {
			if m.Name == v.name {
				return m.State
			}
		}
		return "removed"
	}
	return "unknown"
}
