package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fastpaca/jepsen/run/lan"
)

// isolate cuts the node that leads most from the other nodes: what it would receive, what it sends, or both.
func isolate(in, out bool) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		v := n.c.leader(ctx)
		for _, o := range n.c.nodes {
			if o != v {
				n.c.net.Set(o.id, v.id, lan.Link{Cut: in})
				n.c.net.Set(v.id, o.id, lan.Link{Cut: out})
			}
		}
		wait(ctx, held)
		n.c.net.Heal()
		return fmt.Sprintf("%s from the others (in: %t, out: %t)", v.name, in, out), nil
	}
}

// behind cuts off a node that does not lead most, so that it falls behind, and at the moment in which it is back kills the one that does:
// whoever leads next must not be the one that is behind.
func behind(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	leader := n.c.leader(ctx)
	late := n.victims(ctx, len(n.c.nodes))[len(n.c.nodes)-1]
	if late == leader {
		late = n.c.nodes[leader.id%len(n.c.nodes)] // the next one
	}
	for _, o := range n.c.nodes {
		if o != late {
			n.c.net.Both(o.id, late.id, lan.Link{Cut: true})
		}
	}
	wait(ctx, held)
	defer hold(leader)()
	n.c.net.Heal()
	leader.kill()
	wait(ctx, held/2)
	return fmt.Sprintf("%s cut off; when it was back, kill -9 %s", late.name, leader.name), leader.start()
}

// links cuts the pairs of nodes that cut names, by their places in a shuffled order that begins at 1.
func links(cut func(a, b, size int) bool) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		order := n.victims(ctx, len(n.c.nodes))
		var said []string
		for i, a := range order {
			for j, b := range order[:i] {
				if cut(j+1, i+1, len(order)) {
					n.c.net.Both(a.id, b.id, lan.Link{Cut: true})
					said = append(said, b.name+"|"+a.name)
				}
			}
		}
		wait(ctx, held)
		n.c.net.Heal()
		return strings.Join(said, " "), nil
	}
}

// packets makes all links between nodes be l.
func packets(l lan.Link) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		for _, a := range n.c.nodes {
			for _, b := range n.c.nodes {
				if a != b {
					n.c.net.Set(a.id, b.id, l)
				}
			}
		}
		wait(ctx, held)
		n.c.net.Heal()
		return fmt.Sprintf("all links: %+v", l), nil
	}
}
