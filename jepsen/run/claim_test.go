package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClaim: a start removes the disks of a run whose harness died, and touches none of one that lives.
func TestClaim(t *testing.T) {
	out := t.TempDir()
	run := func(name string) (dir, disk string) {
		dir = filepath.Join(out, name)
		disk = filepath.Join(dir, "n1", "data", "wal")
		require.NoError(t, os.MkdirAll(disk, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "n1.log"), nil, 0o644))
		return dir, disk
	}
	dead, deadDisk := run("dead")
	require.NoError(t, os.WriteFile(filepath.Join(dead, running), nil, 0o644))
	finished, kept := run("finished") // a bad run's disk is evidence
	alive, aliveDisk := run("alive")
	end, err := claim(out, alive)
	require.NoError(t, err)
	require.NoDirExists(t, deadDisk)
	require.FileExists(t, filepath.Join(dead, "n1.log"))
	require.NoFileExists(t, filepath.Join(dead, running))
	require.DirExists(t, kept)
	second, err := claim(out, filepath.Join(out, "second"))
	require.NoError(t, err)
	require.DirExists(t, aliveDisk)
	second()
	end()
	require.NoFileExists(t, filepath.Join(alive, running))
	require.FileExists(t, filepath.Join(finished, "n1.log"))
}
