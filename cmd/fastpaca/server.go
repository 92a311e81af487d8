package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"

	"fastpaca/archive"
	"fastpaca/cluster"
	"fastpaca/cluster/peer"
	"fastpaca/httpd"
	"fastpaca/shard"
	"fastpaca/tokenize"
)

// server runs a node until SIGTERM or SIGINT.
func server(args []string, stdout, stderr io.Writer) int {
	cfg, notes, err := load(args, os.LookupEnv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "fastpaca server: %v\n", err)
		return 2
	}
	log := httpd.NewLogger(stderr, cfg.logLevel)
	defer log.Close()
	say := log.Func()
	for _, name := range notes {
		say(httpd.LevelWarn, "setting_without_effect", "this setting matters only with FASTPACA_ARCHIVER_ENABLED=true", "variable", name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// These two are here and not in serve, where tests come by many times: they are for a whole process, and the second for a
	// heap that has hardly been used.
	shareProcessors(&cfg, say)
	stopGrowing := growIntoHugePages(ctx, cfg.dataDir, say)
	defer stopGrowing()
	if err := serve(ctx, &cfg, log); err != nil {
		say(httpd.LevelError, "stopped", "the node cannot run", "error", err.Error())
		log.Close()
		return 1
	}
	return 0
}

// serve is one life of a node: directory, address, recovery, cluster, listening, and the way back in the opposite
// order, so that nothing answers for what is closed already.
func serve(ctx context.Context, cfg *settings, log *httpd.Logger) (err error) {
	say := log.Func()
	if cfg.memoryBytes == 0 {
		cfg.memoryBytes = memoryTotal() / 10 * 6
	}
	stopProfile, err := profile(cfg.cpuProfile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	acceptTLS, dialTLS, err := clusterTLS(cfg)
	if err != nil {
		return err
	}
	var store archive.Store // nil: no archive
	if cfg.archiver {
		if store, err = openStore(&cfg.archive, os.LookupEnv); err != nil {
			return err
		}
		defer store.Close()
	}
	dir, err := cluster.OpenDirectory(cfg.dataDir, cfg.nodeName)
	if err != nil {
		return fmt.Errorf("FASTPACA_RAFT_DATA_DIR: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	// The address is taken before the log is read: a port that is in use should not cost a recovery.
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return fmt.Errorf("FASTPACA_LISTEN: %w", err)
	}
	cfg.advertise = advertise(cfg, ln.Addr(), ownAddresses(), net.DefaultResolver.LookupHost)
	counted := countInBackground(cfg.estimator)
	recovered := collectForRecovery()
	node, err := openNode(clusterOptions(cfg, dir, dialTLS, log))
	recovered()
	counter := <-counted
	if err = errors.Join(err, counter.err); err != nil {
		if node != nil {
			err = errors.Join(err, node.Close())
		}
		return errors.Join(err, ln.Close())
	}
	stopPacing := paceCollector(ctx)
	defer stopPacing()
	var st shard.Stats
	node.Stats(&st)
	say(httpd.LevelInfo, "recovered", "the state is rebuilt",
		"snapshots", st.Replay.Snapshots, "entries", st.Replay.Entries, "took", st.Replay.Took)

	arch := startArchive(&cfg.archive, store, node.Shard, logEvents(say))
	lag := newLagSampler(node)
	srv := httpd.New(httpd.Config{
		Store: node, Submit: node.SubmitAll, Router: node, Peer: node.ServePeer,
		Counter: counter.Counter, NodeName: dir.Identity.Name, Advertise: cfg.advertise, Version: version,
		APIKey: cfg.apiKey, MaxBodyBytes: cfg.maxBodyBytes, StreamMax: cfg.streamMax, MaxConns: cfg.maxConns,
		Logger: log, Metrics: func(w io.Writer) { writeMetrics(w, node, lag, arch) },
		Archive: arch.reading(),
	})
	node.SetHandlers(srv.ServeForwarded, srv.ServeRemoteStream)
	node.SetTake(srv.TakeForwarded)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(peer.SniffTLS(ln, acceptTLS)) }()
	say(httpd.LevelInfo, "listening", "serving", "address", ln.Addr().String(), "advertise", cfg.advertise, "node", dir.Identity.Name,
		"data_dir", cfg.dataDir, "version", version, "gomaxprocs", runtime.GOMAXPROCS(0))

	select {
	case err = <-served:
		err = fmt.Errorf("listener: %w", err)
	case <-ctx.Done():
		stop(cfg, srv, node, say)
	}
	arch.close() // before the log that it acknowledges through
	if cerr := node.Close(); cerr != nil {
		err = errors.Join(err, cerr)
	}
	if err == nil {
		say(httpd.LevelInfo, "stopped", "every acknowledged write is on disk")
	}
	return err
}

// stop hands the node's leaderships to others and then finishes what clients are waiting for, all within
// FASTPACA_SHUTDOWN_TIMEOUT_MS. Half of that is the hand-over's at most: whoever is connected comes second, not last.
func stop(cfg *settings, srv *httpd.Server, node *cluster.Node, say httpd.LogFunc) {
	say(httpd.LevelInfo, "stopping", "handing over, then finishing what is under way")
	srv.Leave()
	bounded, cancel := context.WithTimeout(context.Background(), cfg.shutdownWait)
	defer cancel()
	half, enough := context.WithTimeout(bounded, cfg.shutdownWait/2)
	node.HandOver(half)
	enough()
	if err := srv.Shutdown(bounded); err != nil {
		say(httpd.LevelWarn, "shutdown_incomplete", "connections were cut", "error", err.Error())
	}
}

// counting is a token counter, or why there is none.
type counting struct {
	*tokenize.Counter
	err error
}

// countInBackground builds the token tables, which takes as long as a small log takes to read.
func countInBackground(estimator string) <-chan counting {
	counted := make(chan counting, 1)
	go func() {
		c, err := tokenize.New(estimator)
		counted <- counting{c, err}
	}()
	return counted
}

func clusterOptions(cfg *settings, dir *cluster.Directory, dialTLS *tls.Config, log *httpd.Logger) cluster.Options {
	opt := nodeOptions(cfg, log)
	return cluster.Options{
		Dir: dir, Shard: opt, Advertise: cfg.advertise, Seeds: cfg.seeds, Size: cfg.clusterSize, Secret: []byte(cfg.clusterSecret),
		TLS: dialTLS, Grace: cfg.clusterGrace, Version: version, Logf: opt.Logf, Streams: cfg.streamMax,
	}
}

func nodeOptions(cfg *settings, log *httpd.Logger) shard.Options {
	say := log.Func()
	return shard.Options{
		Dir:             cfg.dataDir,
		RequestTimeout:  cfg.requestTimeout,
		InflightBytes:   cfg.inflightBytes,
		MemoryBytes:     cfg.memoryBytes,
		MaxCommandBytes: cfg.maxBodyBytes + commandSlack,
		SegmentBytes:    cfg.segmentBytes,
		WALSoftBytes:    cfg.walSoftBytes,
		WALHardBytes:    cfg.walHardBytes,
		SnapshotBytes:   cfg.snapshotBytes,
		TailKeep:        cfg.tailKeep,
		ParkAfter:       cfg.parkAfter,
		Logf:            logEvents(say),
		// After a failed write or fsync nothing the page cache says can be believed (DESIGN.md, promise 7):
		// no cleaning up, the next start reads what the disk really has.
		Fatal: func(err error) {
			fmt.Fprintf(os.Stderr, "fastpaca: fatal: %v\n", err)
			os.Exit(3)
		},
	}
}

// commandSlack is what encoding adds to a request body at most: 14 bytes a message, 1000 messages, their
// per-part digests, the id.
const commandSlack = 1 << 20

// profile writes a CPU profile to path until stop is called; nothing without a path.
func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("FASTPACA_CPU_PROFILE: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("FASTPACA_CPU_PROFILE: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
