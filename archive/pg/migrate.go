package pg

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"

	"fastpaca/archive"
)

// migrations are applied in the order of their names, NNNN_what.sql, and never changed once released.
//
//go:embed migrations/*.sql
var migrations embed.FS

// schemaLock is the key of the advisory lock that migrations run under: "fastpaca" in ASCII.
const schemaLock int64 = 0x6661737470616361

// Migrate applies the migrations that the database lacks, in one transaction under an advisory lock: nodes that boot
// together wait for one another, and all but one find nothing left to do. A role without the right to create
// tables may call it on an up-to-date database.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	return s.failed("migrating", ctx, pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var encoding string
		if err := tx.QueryRow(ctx, "SELECT pg_advisory_xact_lock($1)::text || current_setting('server_encoding')", schemaLock).
			Scan(&encoding); err != nil {
			return err
		}
		if encoding != "UTF8" {
			return fmt.Errorf("%w: the database has encoding %s; create it with ENCODING 'UTF8'", archive.ErrNotReady, encoding)
		}
		return migrate(ctx, tx)
	}))
}

func migrate(ctx context.Context, tx pgx.Tx) error {
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return err
	}
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('fastpaca_schema') IS NOT NULL").Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, `CREATE TABLE fastpaca_schema (
			version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`); err != nil {
			return err
		}
	}
	var at int
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM fastpaca_schema").Scan(&at); err != nil {
		return err
	}
	if at > len(names) {
		return fmt.Errorf("%w: its schema has version %d and this server knows %d; run the newer fastpaca",
			archive.ErrNotReady, at, len(names))
	}
	for i := at; i < len(names); i++ {
		sql, err := migrations.ReadFile(names[i])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(sql)); err != nil {
			if pgCode(err) == "42P07" {
				return fmt.Errorf("%w: %v, and it is not ours; give fastpaca a database or a schema (search_path) of its own",
					archive.ErrNotReady, err)
			}
			return err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(names[i], "migrations/"), ".sql")
		if _, err := tx.Exec(ctx, "INSERT INTO fastpaca_schema (version, name) VALUES ($1, $2)", i+1, name); err != nil {
			return err
		}
	}
	return nil
}

// pgCode returns the SQLSTATE of err, "" if Postgres did not make it.
func pgCode(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}
