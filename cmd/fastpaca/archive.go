package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"fastpaca/archive"
	"fastpaca/archive/pg"
	"fastpaca/archive/s3"
	"fastpaca/httpd"
	"fastpaca/shard"
)

// archiveSettings are what the archive is made of. The credentials of S3 come from the environment under the names that
// every tool knows, and are no flags: a command line is no place for a secret.
type archiveSettings struct {
	adapter     string // postgres or s3
	databaseURL string
	s3          s3.Config
	interval    time.Duration
	batch       int
	migrate     bool
	tailKeep    int
}

// archiving is the archiver and what reads back from its store.
type archiving struct {
	reader   *archive.Reader
	archiver atomic.Pointer[archive.Archiver] // nil until the node has shards
	cancel   context.CancelFunc
	done     chan struct{}
}

// archiveStartEvery is how often a node without a cluster is asked whether it has one by now.
const archiveStartEvery = 100 * time.Millisecond

// openStore checks the settings of the archive; it does not connect.
func openStore(cfg *archiveSettings, env func(string) (string, bool)) (archive.Store, error) {
	switch cfg.adapter {
	case "postgres":
		if cfg.databaseURL == "" {
			return nil, errors.New("DATABASE_URL is empty: FASTPACA_ARCHIVER_ENABLED=true needs a Postgres, or FASTPACA_ARCHIVE_ADAPTER=s3")
		}
		return pg.Open(pg.Config{URL: cfg.databaseURL})
	case "s3":
		c := cfg.s3
		get := func(names ...string) string {
			for _, name := range names {
				if v, ok := env(name); ok && v != "" {
					return v
				}
			}
			return ""
		}
		c.Region = get("AWS_REGION", "AWS_DEFAULT_REGION")
		c.Access, c.Secret, c.Session = get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"), get("AWS_SESSION_TOKEN")
		return s3.Open(c)
	}
	return nil, fmt.Errorf("FASTPACA_ARCHIVE_ADAPTER: %q is not one of postgres, s3", cfg.adapter)
}

// startArchive archives what node leads until close is called; nil without a store. shards returns nil while the node has no
// cluster.
func startArchive(cfg *archiveSettings, store archive.Store, shards func() *shard.Node, logf func(event string, keyvals ...any)) *archiving {
	if store == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &archiving{reader: archive.NewReader(store), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for shards() == nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(archiveStartEvery):
			}
		}
		archiver := archive.New(archive.Config{
			Store: store, Source: archive.NewShardSource(shards(), cfg.tailKeep, logf), Migrate: cfg.migrate,
			Interval: cfg.interval, BatchRows: cfg.batch, Logf: logf,
		})
		a.archiver.Store(archiver)
		archiver.Run(ctx)
	}()
	return a
}

// reading is httpd.Config.Archive; nil without a store.
func (a *archiving) reading() func(dst, id []byte, from, to uint64, maxBytes int) ([]byte, uint64, error) {
	if a == nil {
		return nil
	}
	return a.reader.Append
}

// metrics writes the series of the archive. Any goroutine; nil writes none.
func (a *archiving) metrics(m *httpd.MetricsWriter) {
	if a == nil {
		return
	}
	if archiver := a.archiver.Load(); archiver != nil {
		archiver.WriteMetrics(m)
	}
}

// close ends the archiver, in the middle of whatever it does: what it has not acknowledged is found again by the next leader.
func (a *archiving) close() {
	if a == nil {
		return
	}
	a.cancel()
	<-a.done
}
