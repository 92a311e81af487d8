package jepsen

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadmeTour runs every command of the README's tour, as printed but for the port, and again after a
// kill -9: each must succeed, and none may answer with an error object.
func TestReadmeTour(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, tour, found := strings.Cut(string(page), "## A tour in five minutes")
	require.True(t, found)
	var commands []string
	inBlock := false
	for _, line := range strings.Split(tour, "\n") {
		switch {
		case line == "```bash":
			inBlock = true
		case line == "```":
			inBlock = false
		case inBlock:
			commands = append(commands, line)
		}
	}
	require.GreaterOrEqual(t, len(commands), 12)

	n := newNode(t, filepath.Join(t.TempDir(), "data"))
	n.start()
	outputs := make([]string, len(commands))
	run := func(command string) string {
		cmd := exec.Command("bash", "-o", "pipefail", "-c", strings.ReplaceAll(command, "localhost:4000", n.proc.Addr.String()))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", command, out)
		require.NotEmpty(t, out, "%s printed nothing", command)
		require.NotContains(t, string(out), `"error"`, "%s", command)
		return string(out)
	}
	for i, c := range commands {
		outputs[i] = run(c)
		t.Logf("%s\n%.400s", c, outputs[i])
	}
	require.Contains(t, outputs[4], `"deduplicated":true`)
	require.Contains(t, outputs[7], `"version":4`)

	n.proc.Kill()
	n.start()
	for i, c := range commands {
		if strings.Contains(c, "/messages?from_seq") || strings.Contains(c, "/tail?") {
			require.Equal(t, outputs[i], run(c), "the history changed with the restart")
		}
	}
}
