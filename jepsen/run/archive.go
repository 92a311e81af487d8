package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"fastpaca/archive/testserver"
	"fastpaca/jepsen/run/check"
	"fastpaca/jepsen/run/lan"

	"github.com/jackc/pgx/v5"
)

// archive is the Postgres that the nodes archive to, behind a proxy that can be bad.
type archive struct {
	server *testserver.Postgres
	wire   *lan.Wire
}

// pgDir is where its data lies, in namespaces: in memory, and gone with them, however this process ends.
const pgDir = "/tmp/fastpaca-jepsen"

// startArchive starts a Postgres that the nodes at p can reach.
func startArchive(p *place) (*archive, error) {
	if p.isolated {
		err := errors.Join(os.MkdirAll(pgDir, 0o755), syscall.Mount("tmpfs", pgDir, "tmpfs", 0, "mode=0755"), os.Setenv("TMPDIR", pgDir))
		if err != nil {
			return nil, fmt.Errorf("a directory for the archive's Postgres: %w", err)
		}
	}
	server, err := testserver.StartPostgres()
	if err != nil {
		return nil, fmt.Errorf("the archive's Postgres: %w", err)
	}
	wire, err := lan.NewWire(netip.AddrPortFrom(p.harness, 0).String(), server.Addr())
	if err != nil {
		server.Stop()
		return nil, err
	}
	return &archive{server, wire}, nil
}

func (a *archive) close() {
	a.wire.Close()
	a.server.Stop()
}

// env is what makes a server archive: often, so that much is moved while faults go on.
func (a *archive) env() []string {
	url := strings.Replace(a.server.URL("postgres"), a.server.Addr(), a.wire.Addr(), 1)
	return []string{"FASTPACA_ARCHIVER_ENABLED=true", "DATABASE_URL=" + url, "MIGRATE_ON_BOOT=true", "FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS=1000"}
}

// archiveWithin bounds how long the archive may be behind once nothing is written any more.
const archiveWithin = 2 * time.Minute

// judge demands that what is archived of a context is the log, all of it.
func (a *archive) judge(ctx context.Context, v *check.Verdict, id string, log []check.Entry) error {
	conn, err := pgx.Connect(ctx, a.server.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for deadline := time.Now().Add(archiveWithin); ; time.Sleep(200 * time.Millisecond) {
		var count int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages WHERE context_id = $1", id).Scan(&count); err != nil {
			return err
		}
		if count >= len(log) {
			break
		}
		if time.Now().After(deadline) {
			v.Add("%s: the archive has %d messages of %d, %s after the last write", id, count, len(log), archiveWithin)
			break
		}
	}
	rows, err := conn.Query(ctx, "SELECT seq, parts->0->>'text' FROM messages WHERE context_id = $1 ORDER BY seq", id)
	if err != nil {
		return err
	}
	var got []check.Entry
	var e check.Entry
	if _, err := pgx.ForEachRow(rows, []any{&e.Seq, &e.Text}, func() error { got = append(got, e); return nil }); err != nil {
		return err
	}
	check.Archive(v, id, got, log)
	return nil
}
