package cluster

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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
	require.Empty(t, a.ClusterID, "a directory has no cluster before it founded or joined one")
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
	f(`{"version":3,"cluster_id":"c","name":"n","incarnation":"i"}`, "another version")
	f(`{"version":1,"cluster_id":"c","name":"n"}`, "lacks a name or an incarnation")
	f(`{"version":1,"name":"n","incarnation":"i"}`, "lacks a cluster id")
	f(`{"version":2,"cluster_id":"c","name":"n","incarnation":"i"}`, "its raft id or genesis is missing")
	f(`{"version":2,"name":"n","incarnation":"i","raft_id":3}`, "but no cluster")
	f(`{"version":2,"name":"n","incarnation":"i","log_begun":true}`, "but no cluster")
	founder := `{"id":1,"name":"n","incarnation":"i","address":"h:1","state":1}`
	f(`{"version":2,"cluster_id":"c","name":"m","incarnation":"j","raft_id":1,"genesis":{"cluster_id":"c","nodes":[`+founder+`]}}`, "does not name this node")
	f(`{"version":2,"cluster_id":"c","name":"n","incarnation":"i","raft_id":2,"genesis":{"cluster_id":"c","nodes":[`+founder+`]}}`, "not the one that its genesis gives")
	f(`{"version":2,"cluster_id":"c","name":"n","incarnation":"i","raft_id":2,"joined":true,"genesis":{"cluster_id":"c","nodes":[`+founder+`]}}`, "names it a founder")
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

// A member whose log is gone must not come back as who it was: its empty log would vote, and an acknowledged write that it had with
// one other node would be lost with that one (ANCHORS.md B.19). Alone, it would begin anew without a word.
func TestALostLogIsRefused(t *testing.T) {
	r := newRig(t)
	a := r.listen("a")
	log := filepath.Join(a.path, "wal")
	dir, err := OpenDirectory(a.path, "a")
	require.NoError(t, err)
	g, err := newGenesis("cluster-1", []Seen{{"a", dir.Identity.Incarnation, a.addr}})
	require.NoError(t, err)
	require.NoError(t, dir.enter(1, false, g)) // a crash between this and the first segment
	require.NoError(t, dir.Close())
	a.start(nil)
	r.waitReady("a")
	r.write("k", 10, "a")
	require.True(t, a.dir.Identity.LogBegun)
	a.stop()
	a.start(nil)
	r.waitReady("a")
	r.holds("k", 10, "a")
	a.stop()

	away := filepath.Join(t.TempDir(), "wal")
	require.NoError(t, os.Rename(log, away))
	refused := func() {
		t.Helper()
		_, err := OpenDirectory(a.path, "a")
		require.ErrorContains(t, err, "there is none in "+log)
	}
	refused()
	require.NoError(t, os.Mkdir(log, 0o700)) // where it should have been mounted
	refused()
	require.NoError(t, os.Mkdir(filepath.Join(log, "lost+found"), 0o700))
	refused()
	require.NoError(t, os.RemoveAll(log))
	require.NoError(t, os.Rename(away, log))
	a.start(nil)
	r.waitReady("a")
	r.holds("k", 10, "a")
}

// A version 1 is a cluster of one, and stays the same cluster.
func TestIdentityOfVersion1(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "wal"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "node.json"),
		[]byte(`{"version":1,"cluster_id":"c","name":"n","incarnation":"i"}`), 0o600))
	d, err := OpenDirectory(dir, "n")
	require.NoError(t, err)
	require.NoError(t, d.upgrade("h:1"))
	upgraded := d.Identity
	require.NoError(t, d.Close())

	d, err = OpenDirectory(dir, "")
	require.NoError(t, err)
	require.Equal(t, upgraded, d.Identity)
	require.Equal(t, "c", d.Identity.ClusterID)
	require.Equal(t, uint64(1), d.Identity.RaftID)
	require.Equal(t, "h:1", d.Identity.Genesis.Nodes[0].Addr)
	require.NoError(t, d.upgrade("other:1"), "nothing to do any more")
	require.Equal(t, upgraded, d.Identity)
	require.NoError(t, d.Close())
}

// The states of a directory survive it, in the format that the golden file shows.
func TestIdentityStates(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDirectory(dir, "b")
	require.NoError(t, err)
	again := func() {
		t.Helper()
		before := d.Identity
		require.NoError(t, d.Close())
		d, err = OpenDirectory(dir, "")
		require.NoError(t, err)
		require.Equal(t, before, d.Identity)
	}
	g, err := newGenesis("c", []Seen{{"b", d.Identity.Incarnation, "h2:1"}, {"a", "i", "h1:1"}})
	require.NoError(t, err)
	require.NoError(t, d.promise(g))
	again()
	require.NoError(t, d.abandon())
	again()
	require.Nil(t, d.Identity.Pending)
	require.NoError(t, d.promise(g))
	require.NoError(t, d.enter(2, false, g))
	again()
	require.Equal(t, uint64(2), d.Identity.RaftID)
	require.NoError(t, d.begun())
	require.False(t, d.Identity.LogBegun, "there is no segment")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "wal"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wal", "0000000000000001.wal"), nil, 0o600))
	require.NoError(t, d.begun())
	again()
	require.True(t, d.Identity.LogBegun)
	require.NoError(t, d.Close())
}

func TestLogWithoutClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDirectory(dir, "a")
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, os.Mkdir(filepath.Join(dir, "wal"), 0o700))
	_, err = OpenDirectory(dir, "a")
	require.ErrorContains(t, err, "older than the log")
}

func TestIdentityGolden(t *testing.T) {
	g, err := newGenesis("cluster-1", []Seen{{"b", "inc-b", "h2:4000"}, {"a", "inc-a", "h1:4000"}})
	require.NoError(t, err)
	id := Identity{Version: identityVersion, Name: "b", Incarnation: "inc-b", ClusterID: "cluster-1", RaftID: 2, Genesis: g}
	data, err := encodeIdentity(&id)
	require.NoError(t, err)
	file := filepath.Join("testdata", "node.v2.json")
	if *update {
		require.NoError(t, os.WriteFile(file, data, 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(data))
	back, err := decodeIdentity(want)
	require.NoError(t, err)
	require.Equal(t, id, back)
}
