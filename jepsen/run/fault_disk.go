package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// damage kills one node, harms its files, demands that it refuses to start and names the file, and replaces the node by wiping.
// nil harms nothing but wipes. What could have been refused and was not is said, and killed at once.
func damage(harm func(n *nemesis, dir string) (string, error)) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		v := n.victims(ctx, 1)[0]
		defer hold(v)()
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
			told := "started in spite of it: no live bytes were hit"
			if v.gone(refuseWithin) {
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
		wait(ctx, held/2)
		return said, v.start()
	}
}

// refuseWithin is how long a node may take to see that its log is damaged. One that reads on has not met live bytes.
const refuseWithin = 10 * time.Second

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
func fullDisk(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	v := n.c.nodes[len(n.c.nodes)-1]
	defer hold(v)()
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
	wait(ctx, held)
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

// restoreOld puts an old copy of one node's disk back, which operations.md forbids: the node has forgotten what it acknowledged and whom
// it voted for. While the others are whole that must cost nothing: the node catches up, or says that histories contradict one another
// and takes part in nothing. Then it is replaced as the manual says, by an empty one.
func restoreOld(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	v := n.victims(ctx, 1)[0]
	defer hold(v)()
	copied := v.dir + ".old"
	v.kill()
	err := errors.Join(os.CopyFS(copied, os.DirFS(v.dir)), v.start())
	if err == nil {
		wait(ctx, held)
		if err = n.c.settled(ctx, n.settleWithin()); err == nil {
			time.Sleep(time.Second) // the slowest replica has what is acknowledged so far
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(copied))
	}
	v.kill()
	before, _ := os.Stat(v.log)
	if err := errors.Join(v.wipe(), os.Rename(copied, v.dir), v.start()); err != nil {
		return "", err
	}
	wait(ctx, held)
	told := "it caught up"
	text, err := os.ReadFile(v.log)
	switch {
	case err != nil:
		return "", err
	case !v.alive():
		told = "it stopped (see " + v.log + ")"
	case bytes.Contains(text[before.Size():], []byte("group_diverged")):
		told = "it says group_diverged"
	}
	v.kill()
	if err := v.wipe(); err != nil {
		return "", err
	}
	return fmt.Sprintf("an old copy on %s: %s; wiped", v.name, told), v.start()
}
