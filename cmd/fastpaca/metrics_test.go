package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fastpaca/cluster"
	"fastpaca/raft"
	"fastpaca/shard"
)

// TestMetricsOfANode: every series is described once, before its first value, and those that docs and dashboards name
// are there.
func TestMetricsOfANode(t *testing.T) {
	dir, err := cluster.OpenDirectory(t.TempDir(), "n1")
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.Close()) }()
	node, err := cluster.Open(cluster.Options{Dir: dir, Advertise: "127.0.0.1:4000", Shard: shard.Options{SegmentBytes: 4 << 20}})
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close()) }()
	require.Eventually(t, func() bool { ok, _ := node.Ready(); return ok }, patience, time.Millisecond)

	var out bytes.Buffer
	writeMetrics(&out, node, newLagSampler(node), nil)
	described := map[string]bool{}
	sample := regexp.MustCompile(`^([a-z_]+)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+0-9.eE]+$`)
	for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, text, _ := strings.Cut(rest, " ")
			require.NotEmpty(t, text, name)
			require.False(t, described[name], "%s is described twice", name)
			described[name] = true
			continue
		}
		if strings.HasPrefix(line, "# TYPE ") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		require.NotNil(t, m, "%q", line)
		family := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if f := strings.TrimSuffix(family, suffix); described[f] {
				family = f
			}
		}
		require.True(t, described[family], "%q comes before its HELP", line)
	}
	for _, want := range []string{
		"fastpaca_raft_groups 256\n", "fastpaca_raft_groups_leading 257\n", "fastpaca_raft_groups_leaderless 0\n",
		"fastpaca_raft_snapshot_bytes_total{direction=\"in\"} 0\n", "fastpaca_peer_refused_total{reason=\"secret\"} 0\n",
		"fastpaca_peer_bytes_total{lane=\"control\",direction=\"out\"} 0\n",
	} {
		require.Contains(t, out.String(), want)
	}
}

func TestLagOfPeers(t *testing.T) {
	leads := &shard.MemberStatus{ID: 1, Commit: 10, Peers: []raft.PeerStatus{{ID: 1, Match: 12}, {ID: 2, Match: 4}, {ID: 3, Match: 11}}}
	follows := &shard.MemberStatus{ID: 1, Commit: 10}
	lag := addLag(addLag(addLag(nil, leads), follows), leads)
	require.Equal(t, []peerLag{{id: 2, entries: 12, groups: 2}, {id: 3, groups: 2}}, lag)
}
