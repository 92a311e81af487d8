package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRewrite has one of each statement that gets a pause and of each that must not.
func TestRewrite(t *testing.T) {
	const src = `package p

import "sync"

func f(mu *sync.Mutex, c chan int) (n int) {
	mu.Lock()
	defer mu.Unlock()
	n = 1
	n = <-c
	if n > 1 {
		c <- n
	} else if mu.TryLock() {
		n++
	}
	if ok := mu.TryLock(); ok {
		go func() { close(c) }()
	}
again:
	select {
	case v := <-c:
		n += v
		mu.Unlock()
		goto again
	default:
	}
	switch g := func() int { return len(c) }; n {
	case 1:
		return g()
	}
	return
}

//go:nosplit
func bare() int { return f(nil, nil) }
`
	const want = `package p; import perturbDelay "fastpaca/jepsen/perturb/delay"

import "sync"

func f(mu *sync.Mutex, c chan int) (n int) {
	perturbDelay.P(); mu.Lock()
	defer mu.Unlock()
	n = 1
	perturbDelay.P(); n = <-c
	if n > 1 {
		perturbDelay.P(); c <- n
	} else if mu.TryLock() {
		n++
	}
	perturbDelay.P(); if ok := mu.TryLock(); ok {
		perturbDelay.P(); go func() { perturbDelay.P(); close(c) }()
	}
perturbDelay.P(); again:
	select {
	case v := <-c:
		n += v
		perturbDelay.P(); mu.Unlock()
		goto again
	default:
	}
	switch g := func() int { perturbDelay.P(); return len(c) }; n {
	case 1:
		perturbDelay.P(); return g()
	}
	perturbDelay.P(); return
}

//go:nosplit
func bare() int { return f(nil, nil) }
`
	out, places, err := rewrite("p.go", []byte(src), 70)
	require.NoError(t, err)
	require.Equal(t, 11, places)
	seen := map[string]bool{}
	got := strings.Split(string(out), "perturbDelay.P(")
	for i, piece := range got[1:] {
		number, rest, _ := strings.Cut(piece, ")")
		require.Regexp(t, "^(7[0-9]|80)$", number)
		require.False(t, seen[number], "two places have the number %s", number)
		seen[number] = true
		got[i+1] = ")" + rest
	}
	require.Equal(t, want, strings.Join(got, "perturbDelay.P("))

	same, places, err := rewrite("p.go", []byte("package p\n\nvar x = f()\n"), 0)
	require.NoError(t, err)
	require.Zero(t, places)
	require.Equal(t, "package p\n\nvar x = f()\n", string(same))
}

// TestCopyRuns perturbs this module and runs tests of its copy, with pauses. That all of it compiles,
// `make perturb` shows.
func TestCopyRuns(t *testing.T) {
	out := filepath.Join(t.TempDir(), "copy")
	files, places, err := perturb("../..", out, strings.Split(product, ","))
	require.NoError(t, err)
	require.Greater(t, files, 200)
	require.Greater(t, places, 9000)
	require.NoFileExists(t, filepath.Join(out, ".git"))

	run := exec.Command("go", "test", "-count=1", "./shard/pulse")
	run.Dir, run.Env = out, append(os.Environ(), "PERTURB=20")
	text, err := run.CombinedOutput()
	require.NoError(t, err, "%s", text)
}
