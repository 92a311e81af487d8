package pg

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
	"fastpaca/archive/testserver"
)

// server is the Postgres that the tests of this package share; each has a database of its own.
var server *testserver.Postgres

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if server, err = testserver.StartPostgres(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

// patience is what one call may take on a machine that runs the tests of all packages at a time.
const patience = 2 * time.Minute

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(Config{URL: url, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func migrated(t testing.TB) (*Store, string) {
	t.Helper()
	db := server.NewDatabase(t)
	s := open(t, server.URL(db))
	if err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s, db
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) *conformance.Place {
		_, db := migrated(t)
		url := server.URL(db)
		p := &conformance.Place{
			Open: func() archive.Store { return open(t, url) },
			Kill: server.Kill,
			Start: func() {
				if err := server.Start(); err != nil {
					t.Fatal(err)
				}
			},
			Lossy: func(seed uint64) (archive.Store, func()) { return lossy(t, db, seed) },
		}
		if strings.HasSuffix(t.Name(), "/Broken") {
			role := db + "_role"
			server.Exec(t, db, "CREATE ROLE "+role+" LOGIN PASSWORD 'letmein'", "REVOKE ALL ON messages FROM "+role)
			bare := server.NewDatabase(t)
			secret := strings.ReplaceAll(testserver.Password, " ", "%20")
			broken := func(url string, kind error, secret string) conformance.Broken {
				return conformance.Broken{Store: open(t, url), Kind: kind, Secret: secret}
			}
			server.Exec(t, db, "CREATE SCHEMA old", "CREATE TABLE old.messages (context_id text, seq bigint)")
			p.Broken = map[string]conformance.Broken{
				"wrong password":   broken(strings.Replace(url, secret, "open%20sesame", 1), archive.ErrDenied, "sesame"),
				"no rights":        broken(strings.Replace(url, "postgres:"+secret, role+":letmein", 1), archive.ErrDenied, "letmein"),
				"no such database": broken(server.URL("nowhere"), archive.ErrNotReady, "correct"),
				"no table":         broken(server.URL(bare), archive.ErrNotReady, "correct"),
				"foreign table":    broken(url+"?search_path=old", archive.ErrNotReady, "correct"),
				"nobody listens":   broken(strings.Replace(url, server.Addr(), "127.0.0.1:1", 1), archive.ErrUnavailable, "correct"),
			}
		}
		return p
	})
}

// lossy is a Store behind a wire that is cut, held and refused at random.
func lossy(t *testing.T, db string, seed uint64) (archive.Store, func()) {
	wire := testserver.NewWire(t, server.Addr())
	s, err := Open(Config{URL: strings.Replace(server.URL(db), server.Addr(), wire.Addr(), 1), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(seed, 1))
		for {
			select {
			case <-stop:
				wire.Refuse(false)
				wire.Hold(false)
				wire.CutAfter(-1)
				wire.Cut()
				return
			case <-time.After(time.Duration(r.IntN(30)) * time.Millisecond):
			}
			switch r.IntN(8) {
			case 0:
				wire.Refuse(true)
				time.Sleep(10 * time.Millisecond)
				wire.Refuse(false)
			case 1:
				wire.Hold(true)
				time.Sleep(50 * time.Millisecond)
				wire.Hold(false)
				wire.Cut()
			case 2:
				wire.Cut()
			default:
				wire.CutAfter(r.Int64N(20_000))
			}
		}
	}()
	var once sync.Once
	calm := func() { once.Do(func() { close(stop); <-done }) }
	t.Cleanup(calm)
	return s, calm
}

// TestColumns: what people query is what was sent, as far as jsonb can say it.
func TestColumns(t *testing.T) {
	s, db := migrated(t)
	row := conformance.Row("c", 1)
	row.Message = []byte(`{"seq":1,"role":"us\u0000er","parts":[{"type":"text","text":"a\u0000b \ud800! \ud83d\ude00","n":1e999,"m":1.50}],"token_count":1,"metadata":{"k":"\udc00\\u0000"},"inserted_at":"2025-01-24T12:00:00.007Z"}`)
	if _, err := s.Put(context.Background(), []archive.Row{row, conformance.Row("c", 2)}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(context.Background(), server.URL(db))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var role, text, big, small, key, original string
	var tokens int
	var at time.Time
	err = conn.QueryRow(context.Background(), `SELECT role, parts->0->>'text', jsonb_typeof(parts->0->'n'), parts->0->>'m', metadata->>'k',
		token_count, inserted_at, convert_from(message, 'UTF8') FROM messages WHERE context_id = 'c' AND seq = 1`).
		Scan(&role, &text, &big, &small, &key, &tokens, &at, &original)
	if err != nil {
		t.Fatal(err)
	}
	if role != "us\uFFFDer" || text != "a\uFFFDb \uFFFD! 😀" || big != "string" || small != "1.50" || key != "\uFFFD\\u0000" {
		t.Errorf("%q %q %q %q %q", role, text, big, small, key)
	}
	if tokens != 1 || at.UnixMilli() != row.InsertedMs || original != string(row.Message) {
		t.Errorf("%d %v %s", tokens, at, original)
	}
}

// TestMigrateTogether: five nodes boot on an empty database; each migration runs once.
func TestMigrateTogether(t *testing.T) {
	db := server.NewDatabase(t)
	var wg sync.WaitGroup
	for range 5 {
		s := open(t, server.URL(db))
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := s.Migrate(context.Background()); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	conn, err := pgx.Connect(context.Background(), server.URL(db))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n, indexes int
	if err := conn.QueryRow(context.Background(), `SELECT count(*), (SELECT count(*) FROM pg_indexes WHERE tablename = 'messages') FROM fastpaca_schema`).Scan(&n, &indexes); err != nil {
		t.Fatal(err)
	}
	if n != 1 || indexes != 2 {
		t.Errorf("%d migrations, %d indexes", n, indexes)
	}
}

func TestMigrateRefuses(t *testing.T) {
	ctx := context.Background()
	s, db := migrated(t)
	server.Exec(t, db, "INSERT INTO fastpaca_schema (version, name) VALUES (99, 'future')")
	if err := s.Migrate(ctx); archive.Kind(err) != "not_ready" || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer schema: %v", err)
	}
	foreign := server.NewDatabase(t)
	server.Exec(t, foreign, "CREATE TABLE messages (id int)")
	if err := open(t, server.URL(foreign)).Migrate(ctx); archive.Kind(err) != "not_ready" || !strings.Contains(err.Error(), "not ours") {
		t.Errorf("foreign table: %v", err)
	}
	server.Exec(t, "postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	if err := open(t, server.URL("latin")).Migrate(ctx); archive.Kind(err) != "not_ready" || !strings.Contains(err.Error(), "UTF8") {
		t.Errorf("encoding: %v", err)
	}
	// A role that may only read and write calls Migrate on every boot, too.
	server.Exec(t, db, "DELETE FROM fastpaca_schema WHERE version = 99", "CREATE ROLE writer LOGIN PASSWORD 'w'",
		"GRANT SELECT, INSERT ON messages TO writer", "GRANT SELECT ON fastpaca_schema TO writer")
	w := open(t, strings.Replace(server.URL(db), "postgres:"+strings.ReplaceAll(testserver.Password, " ", "%20"), "writer:w", 1))
	if err := w.Migrate(ctx); err != nil {
		t.Error(err)
	}
	for _, want := range [...]int{2, 0} {
		if n, err := w.Put(ctx, []archive.Row{conformance.Row("a", 1), conformance.Row("a", 2)}); n != want || err != nil {
			t.Error(n, err)
		}
	}
}

// TestSynchronousCommit: a server that may lose its last transactions keeps ours.
func TestSynchronousCommit(t *testing.T) {
	for setting, want := range map[string]string{"off": "on", "remote_apply": "remote_apply", "on": "on"} {
		db := server.NewDatabase(t)
		server.Exec(t, "postgres", "ALTER DATABASE "+db+" SET synchronous_commit = "+setting)
		var got string
		if err := open(t, server.URL(db)).pool.QueryRow(context.Background(), "SHOW synchronous_commit").Scan(&got); err != nil || got != want {
			t.Errorf("%s: %s, %v", setting, got, err)
		}
	}
}

func TestReadOnlyServer(t *testing.T) {
	s, db := migrated(t)
	if _, err := s.Put(context.Background(), []archive.Row{conformance.Row("a", 1)}); err != nil {
		t.Fatal(err)
	}
	ro := open(t, server.URL(db)+"?default_transaction_read_only=on")
	if _, err := ro.Put(context.Background(), []archive.Row{conformance.Row("a", 2)}); archive.Kind(err) != "unavailable" || !strings.Contains(err.Error(), "read-only") {
		t.Error(err)
	}
	if got, err := conformance.ReadAll(context.Background(), ro, "a", 1, 9, archive.Page{Rows: 9, Bytes: 1 << 20}); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
}

func TestBadURL(t *testing.T) {
	_, err := Open(Config{URL: "postgres://u:sesame@host:port/db"})
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || strings.Contains(err.Error(), "sesame") {
		t.Error(err)
	}
}

// FuzzJSONB: what the columns get is valid JSON without anything that jsonb refuses, and unchanged where it need not be
// changed.
func FuzzJSONB(f *testing.F) {
	for _, s := range []string{`{"a":"\u0000\ud800\udc00\ud800x\\"}`, `[1e999,-1.5,"e",true]`, `"\\\\"`, `"\\u0000"`, `0`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			t.Skip()
		}
		out := appendJSONB(nil, raw)
		if !json.Valid(out) {
			t.Fatalf("%q became %q", raw, out)
		}
		if again := appendJSONB(nil, out); string(again) != string(out) {
			t.Fatalf("%q, then %q", out, again)
		}
		if !strings.Contains(string(raw), `\u`) && len(raw) < numberMax && !strings.ContainsAny(string(raw), "eE") && string(out) != string(raw) {
			t.Fatalf("%q became %q for no reason", raw, out)
		}
	})
}

// TestFullDisk: Postgres has no room for a batch. It says so, keeps nothing of it, and takes it when there is room again.
func TestFullDisk(t *testing.T) {
	s, db := migrated(t)
	grow := server.SmallDisk(t, db)
	var err error
	last := uint64(0)
	batch := func() (rows []archive.Row) {
		for seq := last + 1; seq <= last+500; seq++ {
			rows = append(rows, conformance.Row("a", seq))
		}
		return rows
	}
	for err == nil && last < 1e6 {
		if _, err = s.Put(context.Background(), batch()); err == nil {
			last += 500
		}
	}
	if archive.Kind(err) != "full" || !strings.Contains(err.Error(), "disk") {
		t.Fatalf("after %d rows: %v", last, err)
	}
	count := func() int {
		got, err := conformance.ReadAll(context.Background(), s, "a", 1, 1e9, archive.Page{Rows: 1e9, Bytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	if n := count(); uint64(n) != last || n == 0 {
		t.Errorf("%d rows, %d were acknowledged", n, last)
	}
	grow()
	if n, err := s.Put(context.Background(), batch()); n != 500 || err != nil {
		t.Error(n, err)
	}
	if n := count(); uint64(n) != last+500 {
		t.Errorf("%d rows, want %d", n, last+500)
	}
}

// TestChangedTable: somebody has made the table stricter. The error says so, and of what kind it is.
func TestChangedTable(t *testing.T) {
	s, db := migrated(t)
	server.Exec(t, db, "ALTER TABLE messages ADD CHECK (token_count < 100)")
	row := conformance.Row("a", 100)
	row.Tokens = 100
	if _, err := s.Put(context.Background(), []archive.Row{row}); archive.Kind(err) != "refused" || !strings.Contains(err.Error(), "changed") {
		t.Error(err)
	}
	if n, err := s.Put(context.Background(), []archive.Row{conformance.Row("a", 1)}); n != 1 || err != nil {
		t.Error(n, err)
	}
}
