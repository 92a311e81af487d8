package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fastpaca/jepsen/run/lan"
)

// fault is one kind of trouble. do brings it about, holds it, and takes it back; it says what it did.
type fault struct {
	kind string
	// net faults may be mixed with one of processes. alone ones touch disks or memberships and want all else to be well.
	net, alone bool
	// blind: while it lasts, some shards have no majority, or a leader without a disk, so that nobody can write there.
	blind bool
	size  int // nodes that it needs at least
	do    func(n *nemesis, ctx context.Context, hold time.Duration) (string, error)
}

type nemesis struct {
	c    *cluster
	dice *rand.Rand
	logf func(format string, args ...any)
	cl   *clients
}

var faults = []fault{
	{kind: "kill-one", do: kill(func(size int) int { return 1 })},
	{kind: "kill-majority", blind: true, do: kill(func(size int) int { return size/2 + 1 })},
	{kind: "kill-all", blind: true, do: kill(func(size int) int { return size })},
	{kind: "pause-short", do: pause(300*time.Millisecond, false)},
	{kind: "pause-long", do: pause(0, false)},
	{kind: "pause-kill", do: pause(0, true)},
	{kind: "isolate-leader", net: true, do: isolate(true, true)},
	{kind: "one-way-in", net: true, do: isolate(true, false)},
	{kind: "one-way-out", net: true, do: isolate(false, true)},
	{kind: "halves", net: true, do: links(func(a, b, size int) bool { return (a <= size/2) != (b <= size/2) })},
	// Everybody hears its two neighbours only: majorities overlap, but no two are the same.
	{kind: "ring", net: true, size: 5, do: links(func(a, b, size int) bool { d := (a - b + size) % size; return d != 1 && d != size-1 })},
	// Two halves that have one node in common.
	{kind: "bridge", net: true, do: links(func(a, b, size int) bool {
		mid := size/2 + 1
		return a != mid && b != mid && (a < mid) != (b < mid)
	})},
	{kind: "loss", net: true, do: packets(lan.Link{Loss: 0.15})},
	{kind: "delay", net: true, do: packets(lan.Link{Delay: 60 * time.Millisecond, Jitter: 60 * time.Millisecond})},
	{kind: "duplicate-reorder", net: true, do: packets(lan.Link{Duplicate: 0.2, Delay: time.Millisecond, Jitter: 30 * time.Millisecond})},
	{kind: "wipe", alone: true, do: damage(nil)},
	{kind: "truncate-file", alone: true, do: damage(truncate)},
	{kind: "flip-bit", alone: true, do: damage(flip)},
	{kind: "full-disk", alone: true, blind: true, do: fullDisk},
	{kind: "drain-undrain", alone: true, size: 4, do: churn},
}

// wait sleeps for d; false means that the run is over.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// victims are count nodes: half of the time, the one that leads most is among them.
func (n *nemesis) victims(ctx context.Context, count int) []*node {
	all := slices.Clone(n.c.nodes)
	n.dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if n.dice.IntN(2) == 0 {
		l := n.c.leader(ctx)
		i := slices.Index(all, l)
		all[0], all[i] = all[i], all[0]
	}
	return all[:count]
}

func names(nodes []*node) string {
	var s []string
	for _, n := range nodes {
		s = append(s, n.name)
	}
	return strings.Join(s, " ")
}

func kill(count func(size int) int) func(*nemesis, context.Context, time.Duration) (string, error) {
	return func(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
		vs := n.victims(ctx, count(len(n.c.nodes)))
		for _, v := range vs {
			v.kill()
		}
		wait(ctx, hold/2)
		var errs []error
		for _, v := range vs {
			errs = append(errs, v.start())
		}
		return "kill -9 " + names(vs), errors.Join(errs...)
	}
}

// pause stops a process for d (0: the hold) and lets it go on, or kills it as it stands.
func pause(d time.Duration, thenKill bool) func(*nemesis, context.Context, time.Duration) (string, error) {
	return func(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
		if d != 0 {
			hold = d
		}
		v := n.victims(ctx, 1)[0]
		if err := v.signal(syscall.SIGSTOP); err != nil {
			return "", err
		}
		wait(ctx, hold)
		if !thenKill {
			return fmt.Sprintf("SIGSTOP %s for %s", v.name, hold), v.signal(syscall.SIGCONT)
		}
		v.kill()
		return fmt.Sprintf("SIGSTOP %s for %s, then kill -9", v.name, hold), v.start()
	}
}

// isolate cuts the node that leads most from the other nodes: what it would receive, what it sends, or both.
func isolate(in, out bool) func(*nemesis, context.Context, time.Duration) (string, error) {
	return func(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
		v := n.c.leader(ctx)
		for _, o := range n.c.nodes {
			if o != v {
				n.c.lan.Set(o.id, v.id, lan.Link{Cut: in})
				n.c.lan.Set(v.id, o.id, lan.Link{Cut: out})
			}
		}
		wait(ctx, hold)
		n.c.lan.Heal()
		return fmt.Sprintf("%s from the others (in: %t, out: %t)", v.name, in, out), nil
	}
}

// links cuts the pairs of nodes that cut names, by their places in a shuffled order that begins at 1.
func links(cut func(a, b, size int) bool) func(*nemesis, context.Context, time.Duration) (string, error) {
	return func(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
		order := n.victims(ctx, len(n.c.nodes))
		var said []string
		for i, a := range order {
			for j, b := range order[:i] {
				if cut(j+1, i+1, len(order)) {
					n.c.lan.Both(a.id, b.id, lan.Link{Cut: true})
					said = append(said, b.name+"|"+a.name)
				}
			}
		}
		wait(ctx, hold)
		n.c.lan.Heal()
		return strings.Join(said, " "), nil
	}
}

// packets makes all links between nodes be l.
func packets(l lan.Link) func(*nemesis, context.Context, time.Duration) (string, error) {
	return func(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
		for _, a := range n.c.nodes {
			for _, b := range n.c.nodes {
				if a != b {
					n.c.lan.Set(a.id, b.id, l)
				}
			}
		}
		wait(ctx, hold)
		n.c.lan.Heal()
		return fmt.Sprintf("all links: %+v", l), nil
	}
}

// damage kills one node, harms its files, demands that it refuses to start and names the file, and replaces the node by wiping.
// nil harms nothing but wipes. What could have been refused and was not is said, and killed at once.
func damage(harm func(n *nemesis, dir string) (string, error)) func(*nemesis, context.Context, time.Duration) (string, error) {
	return func(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
		v := n.victims(ctx, 1)[0]
		v.kill()
		said := "wiped " + v.name
		if harm != nil {
			path, err := harm(n, v.dir)
			if err != nil {
				return "", errors.Join(fmt.Errorf("harm %s: %w", v.name, err), v.start())
			}
			before, _ := os.Stat(v.log)
			if err := v.start(); err != nil {
				return "", err
			}
			for deadline := time.Now().Add(10 * time.Second); v.alive() && time.Now().Before(deadline); {
				time.Sleep(20 * time.Millisecond)
			}
			told := "started in spite of it: no live bytes were hit"
			if !v.alive() {
				text, err := os.ReadFile(v.log)
				if err != nil {
					return "", err
				}
				told = "refused by name"
				if !bytes.Contains(text[before.Size():], []byte(filepath.Base(path))) {
					return "", fmt.Errorf("%s did not start on a damaged %s, and does not name it (see %s)", v.name, path, v.log)
				}
			}
			v.kill()
			said = fmt.Sprintf("%s of %s damaged: %s; wiped", filepath.Base(path), v.name, told)
		}
		if err := v.wipe(); err != nil {
			return "", err
		}
		wait(ctx, hold/2)
		return said, v.start()
	}
}

// flip changes one bit inside a message that one of the log's segments holds.
func flip(n *nemesis, dir string) (string, error) {
	return inMessage(n, dir, func(path string, data []byte, at int) error {
		data[at] ^= 0x10
		return os.WriteFile(path, data, 0o600)
	})
}

// truncate cuts a segment in a message in its first half.
func truncate(n *nemesis, dir string) (string, error) {
	return inMessage(n, dir, func(path string, _ []byte, at int) error { return os.Truncate(path, int64(at)) })
}

// inMessage finds a message early in a segment, so that it is not at the end of the log, where a crash may tear.
func inMessage(n *nemesis, dir string, harm func(path string, data []byte, at int) error) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil {
		return "", err
	}
	slices.Sort(paths)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		mark := []byte(`"text":"m`)
		if count := bytes.Count(data, mark); count > 20 {
			at := 0
			for range 1 + n.dice.IntN(count/2) {
				at += bytes.Index(data[at:], mark) + len(mark)
			}
			return path, harm(path, data, at)
		}
	}
	return "", errors.New("no segment holds messages")
}

// fullDisk leaves the last node no room.
func fullDisk(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
	v := n.c.nodes[len(n.c.nodes)-1]
	if !v.small {
		return "skipped: no file system of its own", nil
	}
	ballast := filepath.Join(filepath.Dir(v.dir), "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return "", err
	}
	chunk := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(chunk)
	}
	_ = f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		return "", err
	}
	told := n.fillLog(ctx, v)
	wait(ctx, hold)
	return v.name + " had no room; " + told, os.Remove(ballast)
}

// The log is written ahead, so that small messages need no room for a minute. Fillers of their own contexts use it up.
const (
	fillers, fillerBytes, fillerMax = 16, 50_000, 800 // contexts, bytes each, messages at most (40 MB)
)

// fillLog appends through v until an answer says that there is no room. It says how that went.
func (n *nemesis) fillLog(ctx context.Context, v *node) string {
	text := strings.Repeat("f", fillerBytes)
	body := map[string]any{"message": message{Role: "user", Parts: []part{{"text", text}}, Tokens: 1}}
	for i := range fillerMax {
		path := fmt.Sprintf("/v1/contexts/filler-%d", i%fillers)
		if i < fillers {
			n.cl.send(ctx, v, http.MethodPut, path, "", map[string]any{}) // it may be there already
		}
		if a := n.cl.send(ctx, v, http.MethodPost, path+"/messages", "", body); a.Error == "storage_full" {
			return fmt.Sprintf("storage_full after %d fillers", i)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return "never said storage_full"
}

// churn drains a node through another one's API, and takes it back, or waits until it is removed and brings it back empty.
func churn(n *nemesis, ctx context.Context, hold time.Duration) (string, error) {
	vs := n.victims(ctx, 2)
	post := func(verb string) error {
		a := n.cl.send(ctx, vs[1], http.MethodPost, "/v1/cluster/nodes/"+vs[0].name+"/"+verb, "", nil)
		if a.err != nil || a.code/100 != 2 {
			return fmt.Errorf("%s %s: %d %s %v", verb, vs[0].name, a.code, a.Error, a.err)
		}
		return nil
	}
	if err := post("drain"); err != nil {
		return "", err
	}
	if n.dice.IntN(2) == 0 {
		wait(ctx, hold/2)
		if err := post("undrain"); err == nil {
			return "drained and undrained " + vs[0].name, nil
		} // too late: it may be removed already
	}
	for deadline := time.Now().Add(60 * time.Second); ctx.Err() == nil; wait(ctx, 200*time.Millisecond) {
		var st status
		state := ""
		if vs[1].get(ctx, "/v1/cluster", &st) == nil {
			state = "removed"
			for _, m := range st.Nodes {
				if m.Name == vs[0].name {
					state = m.State
				}
			}
		}
		if state == "removed" {
			break
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%s was drained and is not removed after 60 s, but %s", vs[0].name, state)
		}
	}
	vs[0].kill()
	if err := vs[0].wipe(); err != nil {
		return "", err
	}
	return "drained " + vs[0].name + " until it was removed; it joined again, empty", vs[0].start()
}
