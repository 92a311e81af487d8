package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIdentityStaysWithItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d, err := OpenDirectory(dir, "fastpaca-1")
	require.NoError(t, err)
	first := d.Identity
	require.Equal(t, "fastpaca-1", first.Name)
	require.NoError(t, d.Close())

	d, err = OpenDirectory(dir, "")
	require.NoError(t, err)
	require.Equal(t, first, d.Identity)
	require.NoError(t, d.Close())

	_, err = OpenDirectory(dir, "fastpaca-2")
	require.ErrorContains(t, err, `belongs to node "fastpaca-1"`)
}

func TestWipedDirectoryIsANewIncarnation(t *testing.T) {
	open := func(dir string) Identity {
		d, err := OpenDirectory(dir, "a")
		require.NoError(t, err)
		defer func() { require.NoError(t, d.Close()) }()
		return d.Identity
	}
	a, b := open(t.TempDir()), open(t.TempDir())
	require.NotEqual(t, a.Incarnation, b.Incarnation)
	require.NotEqual(t, a.ClusterID, b.ClusterID)
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDirectory(dir, "")
	require.NoError(t, err)
	_, err = OpenDirectory(dir, "")
	require.ErrorContains(t, err, "in use by another fastpaca process")
	require.NoError(t, d.Close())
}

func TestDamagedIdentityIsRefused(t *testing.T) {
	f := func(content, want string) {
		t.Helper()
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "node.json"), []byte(content), 0o600))
		_, err := OpenDirectory(dir, "")
		require.ErrorContains(t, err, want)
	}
	f(`{"version":1,`, "is damaged")
	f(`{"version":2,"cluster_id":"c","name":"n","incarnation":"i"}`, "another version")
	f(`{"version":1,"cluster_id":"c","name":"n"}`, "lacks a field")
}

func TestLogWithoutIdentityIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "wal"), 0o700))
	_, err := OpenDirectory(dir, "")
	require.ErrorContains(t, err, "no node.json")
}

func TestNames(t *testing.T) {
	require.NoError(t, CheckName("fastpaca-1.eu"))
	for _, bad := range []string{"", "a b", "a\n", "\xff", string(make([]byte, 129))} {
		require.Error(t, CheckName(bad), "%q", bad)
	}
}
