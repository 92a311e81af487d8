package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
	"fastpaca/archive/testserver"
)

// contextsOf returns n ids of contexts of one partition.
func contextsOf(part, n int) (ids []string) {
	for i := 0; len(ids) < n; i++ {
		if id := fmt.Sprint("c", i); partitionOf(id) == part {
			ids = append(ids, id)
		}
	}
	return ids
}

func rowsOf(ids []string, seq uint64) (rows []archive.Row) {
	for _, id := range ids {
		rows = append(rows, conformance.Row(id, seq))
	}
	return rows
}

// TestNewObjectUnderOldTag: a server that is asked while a manifest is being replaced gives the new one under the etag of
// the old, as versitygw does. Whoever reads that must not hold on to it: it would lose every race for ever.
func TestNewObjectUnderOldTag(t *testing.T) {
	_, cfg := migrated(t)
	gate := testserver.NewGate(t, server.Addr())
	behind := cfg
	behind.Endpoint = "http://" + gate.Addr()
	a, b := open(t, behind), open(t, cfg)
	ids := contextsOf(5, 2)
	manifest := cfg.Prefix + "index/05/manifest"
	put := func(s *Store, id string, seq uint64) {
		t.Helper()
		if n, exact := conformance.Put(t, s, rowsOf([]string{id}, seq)); exact && n != 1 {
			t.Fatalf("%d rows inserted", n)
		}
	}
	put(a, ids[0], 1)
	old, err := server.Client(t).StatObject(context.Background(), cfg.Bucket, manifest, minio.StatObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put(b, ids[1], 1)
	var once sync.Once
	met := false
	gate.Set(func(w http.ResponseWriter, r *http.Request, _ func()) (answered bool) {
		if r.Method != http.MethodGet || r.URL.Path != "/"+cfg.Bucket+"/"+manifest {
			return false
		}
		once.Do(func() {
			body, _, err := b.client.get(context.Background(), "index/05/manifest", 0, 0, "")
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("ETag", `"`+old.ETag+`"`)
			w.Header().Set("Last-Modified", old.LastModified.UTC().Format(http.TimeFormat))
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = w.Write(body)
			met, answered = true, true
		})
		return answered
	})
	put(a, ids[0], 2) // loses against b, and reads the manifest anew
	if !met {
		t.Fatal("nobody was given an old etag")
	}
	put(b, ids[1], 2)
	put(a, ids[0], 3)
	for i, id := range ids {
		got, err := conformance.ReadAll(context.Background(), b, id, 1, 9, whole)
		if err != nil || len(got) != 3-i {
			t.Errorf("%s: %d rows, %v", id, len(got), err)
		}
	}
}

// TestHangingServer: a server that takes requests and answers none costs a call its timeout and no more, and the Store works
// on when it is back.
func TestHangingServer(t *testing.T) {
	_, cfg := migrated(t)
	gate := testserver.NewGate(t, server.Addr())
	behind := cfg
	behind.Endpoint, behind.Timeout = "http://"+gate.Addr(), 200*time.Millisecond
	s := open(t, behind)
	back := make(chan struct{})
	defer sync.OnceFunc(func() { close(back) })()
	gate.Set(func(http.ResponseWriter, *http.Request, func()) bool {
		<-back
		panic(http.ErrAbortHandler)
	})
	rows := rowsOf([]string{"a"}, 1)
	if _, err := s.Put(context.Background(), rows); !errors.Is(err, archive.ErrUnavailable) {
		t.Errorf("Put: %v", err)
	}
	if _, err := conformance.ReadAll(context.Background(), s, "a", 1, 9, whole); !errors.Is(err, archive.ErrUnavailable) {
		t.Errorf("Read: %v", err)
	}
	gate.Set(nil)
	conformance.Put(t, s, rows)
	got, err := conformance.ReadAll(context.Background(), open(t, cfg), "a", 1, 9, whole)
	if err != nil {
		t.Fatal(err)
	}
	conformance.Equal(t, got, rows)
}

// TestContention: many nodes at one partition, all the time. Each gets on, none is told that it cannot.
func TestContention(t *testing.T) {
	_, cfg := migrated(t)
	const nodes, commits = 6, 15
	ids := contextsOf(9, nodes)
	var wg sync.WaitGroup
	for _, id := range ids {
		s := open(t, cfg)
		wg.Go(func() {
			for seq := uint64(1); seq <= commits; seq++ {
				if n, exact := conformance.Put(t, s, rowsOf([]string{id}, seq)); exact && n != 1 {
					t.Errorf("%s, seq %d: %d rows", id, seq, n)
				}
			}
		})
	}
	wg.Wait()
	fresh := open(t, cfg)
	for _, id := range ids {
		got, err := conformance.ReadAll(context.Background(), fresh, id, 1, 99, whole)
		if err != nil {
			t.Fatal(err)
		}
		var want []archive.Row
		for seq := uint64(1); seq <= commits; seq++ {
			want = append(want, conformance.Row(id, seq))
		}
		conformance.Equal(t, got, want)
	}
	m := fresh.parts[9].manifest.Load()
	if m.generation != nodes*commits || !slices.IsSortedFunc(m.inline, compareExtents) {
		t.Errorf("generation %d after %d commits", m.generation, nodes*commits)
	}
}

// TestAnswerBehindOthers: the answer to a commit is slow, and meanwhile another node has gone on with the same context and a
// reader of this one has seen it. What this node knows of the index then is what the others made of it: it adds nothing twice.
func TestAnswerBehindOthers(t *testing.T) {
	_, cfg := migrated(t)
	gate := testserver.NewGate(t, server.Addr())
	behind := cfg
	behind.Endpoint = "http://" + gate.Addr()
	a, b := open(t, behind), open(t, cfg)
	id := contextsOf(3, 1)[0]
	var rows []archive.Row
	for seq := uint64(1); seq <= 20; seq++ {
		rows = append(rows, conformance.Row(id, seq))
	}
	manifest := "/" + cfg.Bucket + "/" + cfg.Prefix + "index/03/manifest"
	var once sync.Once
	gate.Set(func(_ http.ResponseWriter, r *http.Request, next func()) (answered bool) {
		if r.Method != http.MethodPut || r.URL.Path != manifest {
			return false
		}
		once.Do(func() {
			next()
			conformance.Put(t, b, slices.Clone(rows))
			if got, err := conformance.ReadAll(context.Background(), a, id, 1, 99, whole); err != nil || len(got) != len(rows) {
				t.Errorf("%d rows, %v", len(got), err)
			}
			answered = true
		})
		return answered
	})
	conformance.Put(t, a, slices.Clone(rows[:10]))
	conformance.Put(t, a, slices.Clone(rows[10:15]))
	got, err := conformance.ReadAll(context.Background(), open(t, cfg), id, 1, 99, whole)
	if err != nil {
		t.Fatal(err)
	}
	conformance.Equal(t, got, rows)
}

// TestOldIndexUnderPut: a node puts rows that another one has stored, over an index that it knows an old version of; for one of the
// contexts the old version still answers, for the next it is gone. Nothing is there twice.
func TestOldIndexUnderPut(t *testing.T) {
	_, cfg := migrated(t)
	a, b := open(t, cfg), open(t, cfg)
	const part = 3
	ids := contextsOf(part, inlineMax+1) // one row each is enough to fold the index
	early := ""
	for i := 0; early == ""; i++ { // before all of them, so that no segment has to be read to look for it
		if id := fmt.Sprint("a", i); partitionOf(id) == part {
			early = id
		}
	}
	conformance.Put(t, b, rowsOf(ids, 1))
	if _, err := a.load(context.Background(), &a.parts[part], true); err != nil {
		t.Fatal(err)
	}
	conformance.Put(t, b, append(rowsOf(ids, 2), conformance.Row(early, 1))) // folded: the segment before is gone
	late := slices.Max(ids)
	if n, exact := conformance.Put(t, a, []archive.Row{conformance.Row(early, 1), conformance.Row(late, 3)}); exact && n != 1 {
		t.Errorf("%d rows inserted", n)
	}
	for id, want := range map[string]int{early: 1, late: 3} {
		got, err := conformance.ReadAll(context.Background(), open(t, cfg), id, 1, 99, whole)
		if err != nil || len(got) != want {
			t.Errorf("%s: %d rows, %v", id, len(got), err)
		}
	}
}
