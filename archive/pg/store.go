package pg

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"fastpaca/archive"
)

// Config says where the database is.
type Config struct {
	URL     string        // as DATABASE_URL has it: sslmode, search_path, pool_max_conns and what else pgx knows
	Timeout time.Duration // of one Put, Read or Migrate, waiting for a connection included; default 30 s
}

// maxConns bounds the connections of one node: one for the archiver, the others for readers of old history. URL
// may say otherwise by pool_max_conns.
const maxConns = 8

// Store is an archive.Store in Postgres.
type Store struct {
	cfg  Config
	pool *pgxpool.Pool
}

var _ archive.Store = (*Store)(nil)

// Open checks the configuration. It does not connect: a database that is down must not keep a node from starting.
func Open(cfg Config) (*Store, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	c, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err) // pgx leaves the password out
	}
	if !strings.Contains(cfg.URL, "pool_max_conns=") {
		c.MaxConns = maxConns
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "fastpaca"
	}
	c.ConnConfig.ConnectTimeout = min(max(c.ConnConfig.ConnectTimeout, 5*time.Second), cfg.Timeout)
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// What is acknowledged leaves memory. A server that is set to lose its last transactions in a crash must not
		// do so with ours.
		_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
			WHERE current_setting('synchronous_commit') = 'off'`)
		return err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return &Store{cfg: cfg, pool: pool}, nil
}

// Close closes all connections.
func (s *Store) Close() { s.pool.Close() }

const copyRows = "COPY %s (context_id, seq, role, parts, metadata, token_count, inserted_at, message) FROM STDIN BINARY"

// Put implements archive.Store. rows are sorted in place.
func (s *Store) Put(ctx context.Context, rows []archive.Row) (inserted int, err error) {
	rows, err = archive.Normalize(rows)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	err = s.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		src := &encoder{rows: rows}
		tag, err := conn.Conn().PgConn().CopyFrom(ctx, src, fmt.Sprintf(copyRows, "messages"))
		if src.err != nil {
			return src.err
		}
		inserted = int(tag.RowsAffected())
		if pgCode(err) == "23505" {
			inserted, err = s.merge(ctx, conn.Conn(), rows)
		}
		return err
	})
	if err != nil {
		return 0, s.failed("storing messages", ctx, err)
	}
	return inserted, nil
}

// openBatch makes the staging table. Without scans of messages there is one plan left for firstDifference, whatever the
// statistics say; the price that the planner puts on what is off would make it compile the query (jit), for 100 ms.
const openBatch = `SET LOCAL enable_seqscan = off; SET LOCAL jit = off;
	CREATE TEMPORARY TABLE fastpaca_batch (LIKE messages) ON COMMIT DROP`

// firstDifference looks each row of the batch up by the primary key. OFFSET 0 keeps the planner from making a join of it:
// it knows nothing about a table that was made a moment ago, and little about one that grows this fast, and chose to
// compare each row with each.
const firstDifference = `SELECT context_id, seq FROM fastpaca_batch b WHERE b.message <> (
		SELECT m.message FROM messages m WHERE m.context_id = b.context_id AND m.seq = b.seq OFFSET 0)
	ORDER BY 1, 2 LIMIT 1`

// merge stores rows of which some are there already.
func (s *Store) merge(ctx context.Context, conn *pgx.Conn, rows []archive.Row) (inserted int, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, openBatch); err != nil {
			return err
		}
		if _, err := conn.PgConn().CopyFrom(ctx, &encoder{rows: rows}, fmt.Sprintf(copyRows, "fastpaca_batch")); err != nil {
			return err
		}
		// Read committed: whoever has written one of the rows at the same time has committed it, or rolled back, when
		// its conflict is decided, and the comparison, a statement of its own, sees it.
		tag, err := tx.Exec(ctx, `INSERT INTO messages SELECT * FROM fastpaca_batch ORDER BY context_id, seq
			ON CONFLICT DO NOTHING`)
		if err != nil {
			return err
		}
		inserted = int(tag.RowsAffected())
		if inserted == len(rows) {
			return nil
		}
		var c archive.ConflictError
		err = tx.QueryRow(ctx, firstDifference).Scan(&c.Context, &c.Seq)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			err = &c
		}
		return err
	})
	return inserted, err
}

// The window function sums sizes that the row headers know: messages beyond the page are not fetched from disk.
const readRows = `SELECT seq, token_count, inserted_at, message FROM (
		SELECT seq, token_count, inserted_at, message,
			sum(octet_length(message)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - octet_length(message) AS bytes_before
		FROM messages WHERE context_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq LIMIT $4) page
	WHERE bytes_before = 0 OR bytes_before < $5 ORDER BY seq`

// Read implements archive.Store.
func (s *Store) Read(ctx context.Context, id string, from, to uint64, page archive.Page,
	yield func(*archive.Row) error) error {
	if from > to || from > math.MaxInt64 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, readRows, id, int64(from), int64(min(to, math.MaxInt64)), page.Rows, page.Bytes)
	if err != nil {
		return s.failed("reading messages", ctx, err)
	}
	defer rows.Close()
	row := archive.Row{Context: id}
	var (
		tokens int32
		at     time.Time
	)
	for sent := 0; rows.Next(); sent += len(row.Message) {
		if err := rows.Scan(&row.Seq, &tokens, &at, (*pgtype.DriverBytes)(&row.Message)); err != nil {
			return s.failed("reading messages", ctx, err)
		}
		if sent > 0 && sent+len(row.Message) > page.Bytes {
			return nil
		}
		row.Tokens, row.InsertedMs = uint32(tokens), at.UnixMilli()
		if err := yield(&row); err != nil {
			return err
		}
	}
	return s.failed("reading messages", ctx, rows.Err())
}
