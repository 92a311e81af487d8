package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"fastpaca/httpd"

	"github.com/stretchr/testify/require"
)

func loadWith(args []string, env map[string]string) (settings, []string, error) {
	return load(args, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, io.Discard)
}

func TestDefaultsAreTheSeeds(t *testing.T) {
	s, notes, err := loadWith(nil, nil)
	require.NoError(t, err)
	require.Empty(t, notes)
	require.Equal(t, ":4000", s.listen)
	require.Equal(t, "priv/raft", s.dataDir)
	require.Equal(t, "tiktoken:gpt-4o", s.estimator)
	require.Equal(t, 512, s.streamMax)
	require.Equal(t, 8<<20, s.maxBodyBytes)
	require.Empty(t, s.apiKey)
	require.Equal(t, 5*time.Second, s.archive.interval)
	require.Equal(t, 5000, s.archive.batch)
	require.Equal(t, 1000, s.tailKeep)
	require.Equal(t, 5*time.Minute, s.parkAfter)
	require.Equal(t, 3, s.clusterSize)
	require.Empty(t, s.seeds)
	require.Equal(t, 5*time.Minute, s.clusterGrace)
}

// Streams of shards without a replica here are carried to other nodes, as many as clients may open.
func TestTheStreamLimitReachesTheCluster(t *testing.T) {
	s, _, err := loadWith(nil, map[string]string{"FASTPACA_STREAM_MAX_CONNECTIONS": "5000"})
	require.NoError(t, err)
	require.Equal(t, 5000, clusterOptions(&s, nil, nil, &httpd.Logger{}).Streams)
}

func TestClusterSettings(t *testing.T) {
	s, notes, err := loadWith(nil, map[string]string{"FASTPACA_CLUSTER_SEED": "fastpaca.internal:4000, 10.0.0.2:4000,[::1]:4000", "FASTPACA_API_KEY": "key"})
	require.NoError(t, err)
	require.Empty(t, notes)
	require.Equal(t, []string{"fastpaca.internal:4000", "10.0.0.2:4000", "[::1]:4000"}, s.seeds)
	require.Equal(t, "key", s.clusterSecret, "the API key, where nothing else is set")
	s, _, err = loadWith([]string{"--cluster-secret", "other", "--cluster-grace-ms", "2000"}, map[string]string{"FASTPACA_API_KEY": "key"})
	require.NoError(t, err)
	require.Equal(t, "other", s.clusterSecret)
	require.Equal(t, 2*time.Second, s.clusterGrace)
}

func TestTLSSettingsGoTogether(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		_, _, err := loadWith(args, nil)
		require.ErrorContains(t, err, want)
	}
	f("FASTPACA_CLUSTER_TLS_KEY", "--cluster-tls-cert", "a.pem")
	f("FASTPACA_CLUSTER_TLS_CERT", "--cluster-tls-key", "a.pem")
	f("FASTPACA_CLUSTER_TLS_CA", "--cluster-tls-ca", "a.pem")
	_, _, err := clusterTLS(&settings{tlsCert: "nothing.pem", tlsKey: "nothing.pem"})
	require.ErrorContains(t, err, "FASTPACA_CLUSTER_TLS_CERT")
	accept, dial, err := clusterTLS(&settings{})
	require.NoError(t, err)
	require.Nil(t, accept)
	require.Nil(t, dial)
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	env := map[string]string{"FASTPACA_LISTEN": ":5000", "FASTPACA_STREAM_MAX_CONNECTIONS": "7"}
	s, _, err := loadWith([]string{"--listen", ":6000"}, env)
	require.NoError(t, err)
	require.Equal(t, ":6000", s.listen)
	require.Equal(t, 7, s.streamMax)
}

func TestBadValuesNameTheVariable(t *testing.T) {
	f := func(env, value, want string) {
		t.Helper()
		_, _, err := loadWith(nil, map[string]string{env: value})
		require.ErrorContains(t, err, env)
		require.ErrorContains(t, err, want)
	}
	f("FASTPACA_LISTEN", "4000", "host:port")
	f("FASTPACA_LISTEN", "localhost:http", "port")
	f("FASTPACA_NODE_NAME", "two words", "spaces")
	f("FASTPACA_TOKEN_ESTIMATOR", "tiktoken:nope", "nope")
	f("FASTPACA_STREAM_MAX_CONNECTIONS", "many", "whole number")
	f("FASTPACA_STREAM_MAX_CONNECTIONS", "0", "from 1")
	f("FASTPACA_MAX_BODY_BYTES", "-1", "whole number")
	f("FASTPACA_API_KEY", "with space", "printable")
	f("FASTPACA_LOG_LEVEL", "loud", "loud")
	f("FASTPACA_READ_MODE", "yolo", "not one of")
	f("FASTPACA_CLUSTER_SIZE", "x", "whole number")
	f("MIGRATE_ON_BOOT", "perhaps", "true or false")
	f("FASTPACA_ARCHIVER_ENABLED", "maybe", "true or false")
	f("FASTPACA_ARCHIVE_ADAPTER", "mysql", "not one of")
	f("FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS", "5s", "whole number")
	f("FASTPACA_CLUSTER_SEED", "a:1,b", "host:port")
	f("FASTPACA_CLUSTER_SEED", ":4000", "no host")
	f("FASTPACA_CLUSTER_GRACE_MS", "5m", "whole number")
}

func TestWhatDoesNotWorkYetIsRefused(t *testing.T) {
	f := func(env, value, want string) {
		t.Helper()
		_, _, err := loadWith(nil, map[string]string{env: value})
		require.ErrorContains(t, err, env)
		require.ErrorContains(t, err, want)
	}
	f("FASTPACA_READ_MODE", "lease", "do not exist")
}

func TestSettingsWithoutEffectAreNoted(t *testing.T) {
	_, notes, err := loadWith(nil, map[string]string{"DATABASE_URL": "postgres://x", "FASTPACA_ARCHIVER_BATCH_SIZE": "10"})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"DATABASE_URL", "FASTPACA_ARCHIVER_BATCH_SIZE"}, notes)
	_, notes, err = loadWith([]string{"--archiver-enabled", "true"}, map[string]string{"DATABASE_URL": "postgres://x", "FASTPACA_ARCHIVER_BATCH_SIZE": "10"})
	require.NoError(t, err)
	require.Empty(t, notes)
}

func TestLimitsFitTogether(t *testing.T) {
	_, _, err := loadWith([]string{"--wal-segment-bytes", "4194304"}, nil)
	require.ErrorContains(t, err, "FASTPACA_MAX_BODY_BYTES")
	_, _, err = loadWith([]string{"--wal-hard-limit-bytes", "1048576"}, nil)
	require.ErrorContains(t, err, "FASTPACA_WAL_HARD_LIMIT_BYTES")
}

// TestConfigurationPageIsComplete keeps docs/configuration.md in step with the table.
func TestConfigurationPageIsComplete(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	for _, row := range table() {
		def := row.def
		if def == "" {
			def = "none"
		}
		want := "| `" + row.env + "` | `--" + row.flag + "` | `" + def + "` |"
		require.True(t, strings.Contains(string(page), want), "docs/configuration.md lacks a row that starts with %s", want)
	}
}
