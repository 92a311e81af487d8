package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"fastpaca/cluster"
	"fastpaca/httpd"
	"fastpaca/tokenize"
)

// settings is the whole configuration of a server. Every field is a flag and an environment variable
// (docs/configuration.md); a flag beats the environment.
type settings struct {
	listen    string
	advertise string
	nodeName  string
	dataDir   string
	apiKey    string
	estimator string
	logLevel  httpd.Level

	cpuProfile string

	streamMax      int
	maxBodyBytes   int
	maxConns       int
	requestTimeout time.Duration
	shutdownWait   time.Duration
	inflightBytes  int64
	memoryBytes    int64
	segmentBytes   int64
	walSoftBytes   int64
	walHardBytes   int64
	snapshotBytes  int64

	seeds         []string // host:port
	clusterSize   int
	clusterSecret string
	clusterGrace  time.Duration
	tlsCert       string
	tlsKey        string
	tlsCA         string

	archiver  bool
	archive   archiveSettings
	tailKeep  int
	parkAfter time.Duration

	readMode string // parsed and refused until there is another than the default
}

// setting is one variable: its two names, its default as a person would write it, and how it is parsed.
type setting struct {
	env   string
	flag  string
	def   string
	help  string
	parse func(s *settings, value string) error
}

// onlyArchiving says whether a variable matters only once archiving is on.
func onlyArchiving(env string) bool {
	switch env {
	case "DATABASE_URL", "FASTPACA_ARCHIVE_ADAPTER", "FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS", "FASTPACA_ARCHIVER_BATCH_SIZE", "MIGRATE_ON_BOOT",
		"FASTPACA_S3_BUCKET", "FASTPACA_S3_PREFIX", "FASTPACA_S3_ENDPOINT":
		return true
	}
	return false
}

// blockBytes is what segment sizes are rounded down to.
const blockBytes = 4096

// table lists every variable once. docs/configuration.md is checked against it by a test.
func table() []setting {
	return []setting{
		{"FASTPACA_LISTEN", "listen", ":4000", "address to serve on, host:port",
			func(s *settings, v string) error { s.listen = v; return checkAddress(v) }},
		{"FASTPACA_ADVERTISE", "advertise", "", "address at which other nodes reach this one; default: found out (docs/configuration.md)",
			func(s *settings, v string) error {
				s.advertise = v
				if v == "" {
					return nil
				}
				return checkAddress(v)
			}},
		{"FASTPACA_NODE_NAME", "node-name", "", "human-readable node name; default: a random UUID, kept in the data directory",
			func(s *settings, v string) error {
				s.nodeName = v
				if v == "" {
					return nil
				}
				return cluster.CheckName(v)
			}},
		{"FASTPACA_RAFT_DATA_DIR", "raft-data-dir", "priv/raft", "directory of the Raft log and snapshots",
			func(s *settings, v string) error { s.dataDir = v; return notEmpty(v) }},
		{"FASTPACA_API_KEY", "api-key", "", "bearer token that all of /v1 asks for; default: no authentication",
			func(s *settings, v string) error { s.apiKey = v; return checkKey(v) }},
		{"FASTPACA_TOKEN_ESTIMATOR", "token-estimator", "tiktoken:gpt-4o", "tiktoken:<model or encoding> or chars:<n>",
			func(s *settings, v string) error { s.estimator = v; return tokenize.Check(v) }},
		{"FASTPACA_STREAM_MAX_CONNECTIONS", "stream-max-connections", "512", "streams (WebSocket and SSE) of this node",
			intSetting(func(s *settings, n int64) { s.streamMax = int(n) }, 1, 1<<20)},
		{"FASTPACA_MAX_BODY_BYTES", "max-body-bytes", "8388608", "largest request body, bytes",
			intSetting(func(s *settings, n int64) { s.maxBodyBytes = int(n) }, 1<<10, 16<<20)},
		{"FASTPACA_MAX_CONNECTIONS", "max-connections", "16384", "client connections of this node",
			intSetting(func(s *settings, n int64) { s.maxConns = int(n) }, 1, 1<<20)},
		{"FASTPACA_REQUEST_TIMEOUT_MS", "request-timeout-ms", "5000", "how long a write may wait for its quorum before raft_timeout",
			msSetting(func(s *settings, d time.Duration) { s.requestTimeout = d }, 100, 600_000)},
		{"FASTPACA_SHUTDOWN_TIMEOUT_MS", "shutdown-timeout-ms", "15000", "how long a stop waits for requests and streams",
			msSetting(func(s *settings, d time.Duration) { s.shutdownWait = d }, 0, 600_000)},
		{"FASTPACA_INFLIGHT_BYTES", "inflight-bytes", "33554432", "bytes of writes under way before 503 overloaded",
			intSetting(func(s *settings, n int64) { s.inflightBytes = n }, 1<<20, 1<<30)},
		{"FASTPACA_MEMORY_LIMIT_BYTES", "memory-limit-bytes", "0", "message bytes held before appends answer 503 storage_full; 0: 60% of the machine's or container's memory",
			intSetting(func(s *settings, n int64) { s.memoryBytes = n }, 0, 1<<50)},
		{"FASTPACA_WAL_SEGMENT_BYTES", "wal-segment-bytes", "67108864", "size of a log segment file",
			intSetting(func(s *settings, n int64) { s.segmentBytes = n / blockBytes * blockBytes }, 4<<20, 1<<30)},
		{"FASTPACA_WAL_SOFT_LIMIT_BYTES", "wal-soft-limit-bytes", "1073741824", "log size that asks shards for snapshots; grows with the state, up to half of the hard limit",
			intSetting(func(s *settings, n int64) { s.walSoftBytes = n }, 1<<20, 1<<50)},
		{"FASTPACA_WAL_HARD_LIMIT_BYTES", "wal-hard-limit-bytes", "17179869184", "log size past which appends answer 503 storage_full",
			intSetting(func(s *settings, n int64) { s.walHardBytes = n }, 1<<20, 1<<50)},
		{"FASTPACA_SNAPSHOT_LOG_BYTES", "snapshot-log-bytes", "4194304", "least log of one shard before its next snapshot",
			intSetting(func(s *settings, n int64) { s.snapshotBytes = n }, 4<<10, 1<<40)},
		{"FASTPACA_LOG_LEVEL", "log-level", "info", "debug, info, warn or error",
			func(s *settings, v string) (err error) { s.logLevel, err = httpd.ParseLevel(v); return err }},

		{"FASTPACA_CPU_PROFILE", "cpu-profile", "", "file for a CPU profile (pprof) of the whole run; default: no profile",
			func(s *settings, v string) error { s.cpuProfile = v; return nil }},

		{"FASTPACA_CLUSTER_SEED", "cluster-seed", "", "comma-separated host:port of the nodes, or of a name that resolves to all of them; default: a cluster of one",
			func(s *settings, v string) (err error) { s.seeds, err = parseSeeds(v); return err }},
		{"FASTPACA_CLUSTER_SIZE", "cluster-size", "3", "nodes that found a cluster together (only with seeds)",
			intSetting(func(s *settings, n int64) { s.clusterSize = int(n) }, 1, 99)},
		{"FASTPACA_CLUSTER_SECRET", "cluster-secret", "", "what nodes prove to one another; default: the API key",
			func(s *settings, v string) error { s.clusterSecret = v; return nil }},
		{"FASTPACA_CLUSTER_GRACE_MS", "cluster-grace-ms", "300000", "how long a node may be away before its replicas move elsewhere",
			msSetting(func(s *settings, d time.Duration) { s.clusterGrace = d }, 1000, 7*86_400_000)},
		{"FASTPACA_CLUSTER_TLS_CERT", "cluster-tls-cert", "", "PEM file of this node's certificate: nodes talk TLS to one another, clients may; default: no TLS",
			func(s *settings, v string) error { s.tlsCert = v; return nil }},
		{"FASTPACA_CLUSTER_TLS_KEY", "cluster-tls-key", "", "PEM file of its private key",
			func(s *settings, v string) error { s.tlsKey = v; return nil }},
		{"FASTPACA_CLUSTER_TLS_CA", "cluster-tls-ca", "", "PEM file of the authority that signed the nodes' certificates; default: the system's",
			func(s *settings, v string) error { s.tlsCA = v; return nil }},
		{"FASTPACA_READ_MODE", "read-mode", "readindex", "readindex (lease is not available yet)",
			func(s *settings, v string) error { s.readMode = v; return oneOf(v, "readindex", "lease") }},
		{"FASTPACA_ARCHIVER_ENABLED", "archiver-enabled", "false", "store every message in Postgres or S3, too, and let old ones leave the nodes (docs/archive.md)",
			boolSetting(func(s *settings, b bool) { s.archiver = b })},
		{"FASTPACA_ARCHIVE_ADAPTER", "archive-adapter", "postgres", "postgres or s3 (only with the archiver)",
			func(s *settings, v string) error { s.archive.adapter = v; return oneOf(v, "postgres", "s3") }},
		{"DATABASE_URL", "database-url", "", "Postgres of the archive (only with the archiver)",
			func(s *settings, v string) error { s.archive.databaseURL = v; return nil }},
		{"FASTPACA_S3_BUCKET", "s3-bucket", "", "bucket of the archive, which must exist; credentials are taken from AWS_* (only with the archiver)",
			func(s *settings, v string) error { s.archive.s3.Bucket = v; return nil }},
		{"FASTPACA_S3_PREFIX", "s3-prefix", "fastpaca/", "put before every key as it is (only with the archiver)",
			func(s *settings, v string) error { s.archive.s3.Prefix = v; return nil }},
		{"FASTPACA_S3_ENDPOINT", "s3-endpoint", "", "https://host[:port] or http://host[:port] of the S3 server; default: AWS (only with the archiver)",
			func(s *settings, v string) error { s.archive.s3.Endpoint = v; return nil }},
		{"FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS", "archive-flush-interval-ms", "5000", "longest time that a message waits for the archive (only with the archiver)",
			msSetting(func(s *settings, d time.Duration) { s.archive.interval = d }, 1, 3_600_000)},
		{"FASTPACA_ARCHIVER_BATCH_SIZE", "archiver-batch-size", "5000", "rows of one archive batch (only with the archiver)",
			intSetting(func(s *settings, n int64) { s.archive.batch = int(n) }, 1, 1<<20)},
		{"MIGRATE_ON_BOOT", "migrate-on-boot", "true", "create what the archive lacks, or bring it up to date (only with the archiver)",
			boolSetting(func(s *settings, b bool) { s.archive.migrate = b })},
		{"FASTPACA_TAIL_KEEP", "tail-keep", "1000", "messages of a context that stay in memory at least; older ones are read from history files or the archive",
			intSetting(func(s *settings, n int64) { s.tailKeep = int(n) }, 1, 1<<40)},
		{"FASTPACA_PARK_AFTER_MS", "park-after-ms", "300000", "how long a context may go untouched before it is kept on disk only, until somebody touches it; 0: it stays in memory",
			msSetting(func(s *settings, d time.Duration) { s.parkAfter = d }, 0, 86_400_000)},
	}
}

// load builds the settings from flags, the environment and the defaults, in this order of precedence. An
// error names the variable and the flag. notes are settings that were given but have no effect without archiving.
func load(args []string, env func(string) (string, bool), out io.Writer) (s settings, notes []string, err error) {
	fs := flag.NewFlagSet("fastpaca server", flag.ContinueOnError)
	fs.SetOutput(out)
	rows := table()
	fs.Usage = func() { usage(out, rows) }
	given := map[string]*string{}
	for _, row := range rows {
		given[row.flag] = fs.String(row.flag, row.def, row.help)
	}
	if err := fs.Parse(args); err != nil {
		return s, nil, err
	}
	if fs.NArg() > 0 {
		return s, nil, fmt.Errorf("unexpected argument %q: settings are flags, see `fastpaca server -h`", fs.Arg(0))
	}
	onLine := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { onLine[f.Name] = true })
	for _, row := range rows {
		value, from, set := row.def, "defaults", false
		if v, ok := env(row.env); ok && v != "" {
			value, from, set = v, "environment", true
		}
		if onLine[row.flag] {
			value, from, set = *given[row.flag], "command line", true
		}
		if err := row.parse(&s, value); err != nil {
			return s, nil, fmt.Errorf("%s (flag --%s), from the %s: %w", row.env, row.flag, from, err)
		}
		if set && onlyArchiving(row.env) {
			notes = append(notes, row.env)
		}
	}
	if s.clusterSecret == "" {
		s.clusterSecret = s.apiKey
	}
	s.archive.tailKeep = s.tailKeep
	if s.archiver {
		notes = nil
	}
	return s, notes, s.refuse()
}

// refuse stops the start for what this build cannot do yet, rather than run without it in silence.
func (s *settings) refuse() error {
	switch {
	case (s.tlsCert == "") != (s.tlsKey == ""):
		return errors.New("FASTPACA_CLUSTER_TLS_CERT and FASTPACA_CLUSTER_TLS_KEY go together: set both or none")
	case s.tlsCA != "" && s.tlsCert == "":
		return errors.New("FASTPACA_CLUSTER_TLS_CA does nothing without FASTPACA_CLUSTER_TLS_CERT and FASTPACA_CLUSTER_TLS_KEY: set them too, or remove it")
	case s.readMode == "lease":
		return errors.New("FASTPACA_READ_MODE (flag --read-mode): leader leases do not exist in this version: use readindex, which asks a quorum and never answers stale")
	case s.walSoftBytes > s.walHardBytes:
		return errors.New("FASTPACA_WAL_SOFT_LIMIT_BYTES is above FASTPACA_WAL_HARD_LIMIT_BYTES: raise the hard limit or lower the soft one")
	case s.walHardBytes < 4*s.segmentBytes:
		return errors.New("FASTPACA_WAL_HARD_LIMIT_BYTES must be at least four segments (FASTPACA_WAL_SEGMENT_BYTES)")
	case int64(s.maxBodyBytes)*2 > s.segmentBytes:
		return errors.New("FASTPACA_MAX_BODY_BYTES must be at most half of FASTPACA_WAL_SEGMENT_BYTES: a request is one log entry and must fit into a segment")
	}
	return nil
}

func usage(out io.Writer, rows []setting) {
	fmt.Fprint(out, "usage: fastpaca server [flags]\n\nEvery flag is also an environment variable; a flag wins.\n\n")
	for _, row := range rows {
		def := row.def
		if def == "" {
			def = "none"
		}
		fmt.Fprintf(out, "  --%s VALUE\n        %s\n        %s, default %s\n", row.flag, row.help, row.env, def)
	}
}

func intSetting(set func(*settings, int64), least, most int64) func(*settings, string) error {
	return func(s *settings, v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%q is not a whole number from %d to %d", v, least, most)
		}
		set(s, n)
		return nil
	}
}

func msSetting(set func(*settings, time.Duration), least, most int64) func(*settings, string) error {
	return intSetting(func(s *settings, n int64) { set(s, time.Duration(n)*time.Millisecond) }, least, most)
}

func boolSetting(set func(*settings, bool)) func(*settings, string) error {
	return func(s *settings, v string) error {
		switch strings.ToLower(v) {
		case "true", "1", "yes", "on":
			set(s, true)
		case "false", "0", "no", "off":
			set(s, false)
		default:
			return fmt.Errorf("%q is not true or false", v)
		}
		return nil
	}
}

func notEmpty(v string) error {
	if v == "" {
		return errors.New("must not be empty")
	}
	return nil
}

func oneOf(v string, allowed ...string) error {
	for _, a := range allowed {
		if v == a {
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", v, strings.Join(allowed, ", "))
}

func checkAddress(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is not host:port, such as :4000 or 127.0.0.1:4000", v)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port from 0 to 65535", v)
	}
	return nil
}

// parseSeeds reads a comma-separated list of host:port.
func parseSeeds(v string) (seeds []string, err error) {
	if strings.TrimSpace(v) == "" {
		return nil, nil
	}
	for _, seed := range strings.Split(v, ",") {
		seed = strings.TrimSpace(seed)
		if err := checkAddress(seed); err != nil {
			return nil, err
		}
		if host, _, _ := net.SplitHostPort(seed); host == "" {
			return nil, fmt.Errorf("%q names no host", seed)
		}
		seeds = append(seeds, seed)
	}
	return seeds, nil
}

func checkKey(v string) error {
	for _, b := range []byte(v) {
		if b <= ' ' || b >= 0x7f {
			return errors.New("the key must be printable ASCII without spaces, as it travels in a header")
		}
	}
	return nil
}
