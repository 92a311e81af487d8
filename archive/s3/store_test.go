package s3

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
	"fastpaca/archive/testserver"
)

// server is the S3 server that the tests of this package share; each has a bucket of its own.
var server *testserver.S3

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if server, err = testserver.StartS3(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

// patience is what one call may take on a machine that runs the tests of all packages at a time.
const patience = 2 * time.Minute

func config(bucket string) Config {
	return Config{Bucket: bucket, Prefix: "fastpaca/", Endpoint: "http://" + server.Addr(), Access: testserver.AccessKey,
		Secret: testserver.SecretKey, Timeout: patience}
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func migrated(t testing.TB) (*Store, Config) {
	t.Helper()
	cfg := config(server.NewBucket(t))
	s := open(t, cfg)
	if err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) *conformance.Place {
		_, cfg := migrated(t)
		p := &conformance.Place{
			Open: func() archive.Store { return open(t, cfg) },
			Kill: server.Kill,
			Start: func() {
				if err := server.Start(); err != nil {
					t.Fatal(err)
				}
			},
			Lossy: func(seed uint64) (archive.Store, func()) { return lossy(t, cfg, seed) },
		}
		if strings.HasSuffix(t.Name(), "/Broken") {
			broken := func(kind error, secret string, change func(*Config)) conformance.Broken {
				c := cfg
				change(&c)
				return conformance.Broken{Store: open(t, c), Kind: kind, Secret: secret}
			}
			access, secret := server.NewUser(t)
			p.Broken = map[string]conformance.Broken{
				"wrong secret":   broken(archive.ErrDenied, "sesame", func(c *Config) { c.Secret = "open-sesame" }),
				"unknown user":   broken(archive.ErrDenied, testserver.SecretKey, func(c *Config) { c.Access = "nobody" }),
				"denied":         broken(archive.ErrDenied, secret, func(c *Config) { c.Access, c.Secret = access, secret }),
				"no such bucket": broken(archive.ErrNotReady, testserver.SecretKey, func(c *Config) { c.Bucket = "nowhere" }),
				"not migrated":   broken(archive.ErrNotReady, testserver.SecretKey, func(c *Config) { c.Prefix = "elsewhere/" }),
				"nobody listens": broken(archive.ErrUnavailable, testserver.SecretKey, func(c *Config) { c.Endpoint = "http://127.0.0.1:1" }),
			}
		}
		return p
	})
}

// lossy is a Store behind a proxy that does to a tenth of all requests what can be done to a request.
func lossy(t *testing.T, cfg Config, seed uint64) (archive.Store, func()) {
	gate := testserver.NewGate(t, server.Addr())
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 1))
	gate.Set(func(w http.ResponseWriter, req *http.Request, next func()) bool {
		mu.Lock()
		dice, wait := r.IntN(100), time.Duration(r.IntN(5))*time.Millisecond
		mu.Unlock()
		switch dice {
		case 0, 1: // the request gets lost
			panic(http.ErrAbortHandler)
		case 2, 3: // the answer gets lost
			next()
			panic(http.ErrAbortHandler)
		case 4, 5:
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
			return true
		case 6: // done, and then an error
			next()
			w.WriteHeader(http.StatusInternalServerError)
			return true
		case 7: // half of an upload arrives
			if req.Method == http.MethodPut {
				req.Body = http.MaxBytesReader(nil, req.Body, req.ContentLength/2)
			}
		case 8, 9:
			time.Sleep(wait)
		}
		return false
	})
	cfg.Endpoint, cfg.Tries = "http://"+gate.Addr(), 2
	return open(t, cfg), func() { gate.Set(nil) }
}

func objects(t *testing.T, cfg Config, prefix string) (names []string) {
	t.Helper()
	for o := range server.Client(t).ListObjects(context.Background(), cfg.Bucket, minio.ListObjectsOptions{Prefix: cfg.Prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		names = append(names, strings.TrimPrefix(o.Key, cfg.Prefix))
	}
	return names
}

var whole = archive.Page{Rows: 1 << 30, Bytes: 1 << 30}

// checkAll reads contexts c0 to c(n-1), which must hold 1 to last.
func checkAll(t *testing.T, s *Store, n int, last uint64) {
	t.Helper()
	for i := range n {
		id := fmt.Sprint("c", i)
		got, err := conformance.ReadAll(context.Background(), s, id, 1, last+10, whole)
		if err != nil {
			t.Fatal(err)
		}
		var want []archive.Row
		for seq := uint64(1); seq <= last; seq++ {
			want = append(want, conformance.Row(id, seq))
		}
		conformance.Equal(t, got, want)
	}
}

// TestFolding: many small flushes over many contexts, by two nodes. The index stays a tree of few objects, nothing is
// lost in it, and no object is left that nobody refers to.
func TestFolding(t *testing.T) {
	a, cfg := migrated(t)
	b := open(t, cfg)
	const n, last = 3000, 24 // 16 partitions of 4500 extents each
	for seq := uint64(1); seq <= last; seq++ {
		var wg sync.WaitGroup
		for node, s := range [...]*Store{a, b} {
			wg.Go(func() {
				var rows []archive.Row
				for i := node; i < n; i += 2 {
					rows = append(rows, conformance.Row(fmt.Sprint("c", i), seq))
				}
				if got, exact := conformance.Put(t, s, rows); exact && got != len(rows) {
					t.Error(got, "rows inserted")
				}
			})
		}
		wg.Wait()
	}
	fresh := open(t, cfg)
	segments := 0
	for i := range fresh.parts {
		m, err := fresh.load(context.Background(), &fresh.parts[i], true)
		if err != nil {
			t.Fatal(err)
		}
		extents := len(m.inline)
		if extents > inlineMax {
			t.Errorf("partition %d: %d extents in the manifest", i, extents)
		}
		for _, level := range m.levels {
			segments += len(level)
			for _, r := range level {
				extents += r.extents
			}
		}
		want := 0
		for c := range n {
			if partitionOf(fmt.Sprint("c", c)) == i {
				want += last
			}
		}
		if extents != want {
			t.Errorf("partition %d: %d extents, want %d", i, extents, want)
		}
	}
	if found := len(objects(t, cfg, "index/")) - partitions - 1; segments < partitions || found != segments {
		t.Errorf("%d segments referred to, %d found", segments, found)
	}
	for i := 0; i < n; i += 101 {
		id := fmt.Sprint("c", i)
		got, err := conformance.ReadAll(context.Background(), fresh, id, 1, 99, whole)
		if err != nil || len(got) != last {
			t.Fatal(id, len(got), err)
		}
	}
	checkAll(t, fresh, 20, last)
	// a has an old manifest of what b has folded since, and must find its way.
	checkAll(t, a, 20, last)
	rows := []archive.Row{}
	for i := range n {
		rows = append(rows, conformance.Row(fmt.Sprint("c", i), last))
	}
	if got, _ := conformance.Put(t, fresh, rows); got != 0 {
		t.Error(got, "rows inserted twice")
	}
}

// TestRequests: what a read costs.
func TestRequests(t *testing.T) {
	s, cfg := migrated(t)
	for seq := uint64(1); seq <= 3; seq++ {
		var rows []archive.Row
		for i := range 60000 / 3 {
			rows = append(rows, conformance.Row(fmt.Sprint("c", i), seq))
		}
		conformance.Put(t, s, rows)
	}
	gate := testserver.NewGate(t, server.Addr())
	var mu sync.Mutex
	var keys []string
	gate.Set(func(_ http.ResponseWriter, r *http.Request, _ func()) bool {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, r.Method+" "+strings.TrimPrefix(r.URL.String(), "/"+cfg.Bucket+"/"+cfg.Prefix))
		return false
	})
	cfg.Endpoint = "http://" + gate.Addr()
	cold := open(t, cfg)
	read := func(from, to uint64) []string {
		keys = nil
		if got, err := conformance.ReadAll(context.Background(), cold, "c77", from, to, whole); err != nil || len(got) != int(to-from+1) {
			t.Fatal(len(got), err)
		}
		return keys
	}
	if got := read(1, 1); len(got) != 3 || !strings.HasPrefix(got[0], "GET index/") || !strings.HasPrefix(got[1], "GET index/") || !strings.HasPrefix(got[2], "GET data/") {
		t.Errorf("cold: %q", got)
	}
	if got := read(1, 3); len(got) != 2 {
		t.Errorf("index known: %q", got)
	}
	if got := read(1, 3); len(got) != 0 {
		t.Errorf("all known: %q", got)
	}
}

// TestCrashes: a node dies, or is cut off, before each single request of a Put, or right after it. Another one does the
// same again, and everything is there once.
func TestCrashes(t *testing.T) {
	_, cfg := migrated(t)
	gate := testserver.NewGate(t, server.Addr())
	behind := cfg
	behind.Endpoint, behind.Tries = "http://"+gate.Addr(), 1
	const n = 12
	last := uint64(0)
	for _, lostAnswer := range [...]bool{false, true} {
		for dieAt := 0; ; dieAt++ {
			var rows []archive.Row
			for i := range n {
				for seq := last + 1; seq <= last+3; seq++ {
					rows = append(rows, conformance.Row(fmt.Sprint("c", i), seq))
				}
			}
			last += 3
			var mu sync.Mutex
			seen := 0
			gate.Set(func(_ http.ResponseWriter, _ *http.Request, next func()) bool {
				mu.Lock()
				seen++
				dead, last := seen > dieAt, seen == dieAt+1
				mu.Unlock()
				if dead {
					if last && lostAnswer {
						next()
					}
					panic(http.ErrAbortHandler)
				}
				return false
			})
			dying := open(t, behind)
			_, err := dying.Put(context.Background(), append([]archive.Row(nil), rows...))
			done := err == nil
			other := open(t, cfg)
			conformance.Put(t, other, rows)
			checkAll(t, other, n, last)
			if done {
				break
			}
		}
	}
	if last < 40 {
		t.Errorf("only %d crashes", last/3)
	}
}

// TestDamage: a flipped bit anywhere is found, by name.
func TestDamage(t *testing.T) {
	s, cfg := migrated(t)
	var rows []archive.Row
	for i := range 20000 {
		rows = append(rows, conformance.Row(fmt.Sprint("c", i), 1))
	}
	conformance.Put(t, s, rows)
	for _, kind := range [...]string{"data/", "index/"} {
		for _, key := range objects(t, cfg, kind) {
			if key == probeKey {
				continue
			}
			c := open(t, cfg).client
			good, etag, err := c.get(context.Background(), key, 0, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			bad := append([]byte(nil), good...)
			for i := 7; i < len(bad); i += 1 + len(bad)/40 {
				bad[i] ^= 4
			}
			if etag, err = c.put(context.Background(), key, bad, etag); err != nil {
				t.Fatal(err)
			}
			fresh := open(t, cfg)
			found := false
			for i := range 100 {
				_, err := conformance.ReadAll(context.Background(), fresh, fmt.Sprint("c", i), 1, 1, whole)
				if err != nil && (archive.Kind(err) != "damaged" || !strings.Contains(err.Error(), key)) {
					t.Fatalf("%s: %v", key, err)
				}
				found = found || err != nil
			}
			if !found {
				t.Errorf("%s: nobody noticed", key)
			}
			if _, err := c.put(context.Background(), key, good, etag); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkAll(t, open(t, cfg), 50, 1)
}

func TestMigrateRefuses(t *testing.T) {
	ctx := context.Background()
	for body, want := range map[string]string{
		`{"format":"fastpaca-archive","version":2,"partitions":16}`: "newer",
		`{"something":"else"}`: "not ours",
		`hello`:                "not ours",
	} {
		cfg := config(server.NewBucket(t))
		s := open(t, cfg)
		if _, err := s.client.put(ctx, formatKey, []byte(body), ""); err != nil {
			t.Fatal(err)
		}
		if err := s.Migrate(ctx); archive.Kind(err) != "not_ready" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	// A server that ignores conditions.
	cfg := config(server.NewBucket(t))
	gate := testserver.NewGate(t, server.Addr())
	gate.Set(func(w http.ResponseWriter, r *http.Request, _ func()) bool {
		if r.Header.Get("If-None-Match")+r.Header.Get("If-Match") == "" {
			return false
		}
		w.Header().Set("ETag", `"0123"`)
		return true
	})
	cfg.Endpoint = "http://" + gate.Addr()
	if err := open(t, cfg).Migrate(ctx); archive.Kind(err) != "not_ready" || !strings.Contains(err.Error(), "ignores") {
		t.Error(err)
	}
	if names := objects(t, cfg, ""); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
}

func TestBadConfig(t *testing.T) {
	for want, cfg := range map[string]Config{
		"FASTPACA_S3_BUCKET":   {},
		"FASTPACA_S3_ENDPOINT": {Bucket: "b", Endpoint: "minio:9000"},
		"http://host":          {Bucket: "b", Endpoint: "https://x/path"},
	} {
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestFoldingRaces: while a node folds the index, another one commits, or folds it, too. Nothing of either is lost, and
// no segment is left that is not in use, or missing that is.
func TestFoldingRaces(t *testing.T) {
	for _, race := range [...]string{"other commits", "other folds", "answer lost and other commits"} {
		t.Run(race, func(t *testing.T) {
			_, cfg := migrated(t)
			other := cfg
			other.Tries = 1
			otherGate := testserver.NewGate(t, server.Addr())
			other.Endpoint = "http://" + otherGate.Addr()
			if race != "other folds" {
				otherGate.Set(func(w http.ResponseWriter, r *http.Request, _ func()) bool {
					fails := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".seg")
					if fails {
						w.WriteHeader(http.StatusServiceUnavailable)
					}
					return fails
				})
			}
			gate := testserver.NewGate(t, server.Addr())
			folding := cfg
			folding.Endpoint = "http://" + gate.Addr()
			a, b := open(t, folding), open(t, other)

			// Contexts of one partition.
			var ids []string
			for i := 0; len(ids) < 1000; i++ {
				if id := fmt.Sprint("c", i); partitionOf(id) == 3 {
					ids = append(ids, id)
				}
			}
			put := func(s *Store, seq uint64) {
				var rows []archive.Row
				for _, id := range ids {
					rows = append(rows, conformance.Row(id, seq))
				}
				if n, exact := conformance.Put(t, s, rows); exact && n != len(ids) {
					t.Errorf("seq %d: %d rows", seq, n)
				}
			}
			put(a, 1)
			put(a, 2)
			var once sync.Once
			met := false
			segments := false
			gate.Set(func(_ http.ResponseWriter, r *http.Request, next func()) bool {
				segment := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".seg")
				root := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifest")
				switch lost := race == "answer lost and other commits"; {
				case lost && segments && root:
					once.Do(func() { met = true; next(); put(b, 4); panic(http.ErrAbortHandler) })
				case !lost && segment:
					once.Do(func() { met = true; put(b, 4) })
				}
				segments = segments || segment
				return false
			})
			put(a, 3) // 3000 extents: a folds, and b gets in between
			gate.Set(nil)
			if !met {
				t.Fatal("nobody folded")
			}
			put(a, 5)
			fresh := open(t, cfg)
			for _, id := range ids {
				got, err := conformance.ReadAll(context.Background(), fresh, id, 1, 9, whole)
				if err != nil || len(got) != 5 {
					t.Fatalf("%s: %d rows, %v", id, len(got), err)
				}
			}
			m := fresh.parts[3].manifest.Load()
			used := 0
			for _, level := range m.levels {
				used += len(level)
			}
			if found := len(objects(t, cfg, "index/03/")) - 1; found != used || used == 0 {
				t.Errorf("%d segments in use, %d found", used, found)
			}
		})
	}
}
