// Package conformance is the test that every adapter of the archive must pass, against the real store.
package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/archive"
)

// Place is an empty, migrated place of one test in a store.
type Place struct {
	// Open returns another Store over the place, as another node would have it. The place closes it.
	Open func() archive.Store
	// Kill ends the server in mid-flight; Start brings it back. The Stores stay.
	Kill, Start func()
	// Lossy returns a Store whose connection to the server fails often and in every way, until calm is called.
	Lossy func(seed uint64) (s archive.Store, calm func())
	// Broken are Stores that cannot work, by what is wrong, and the kind of error that they must report.
	Broken map[string]Broken
}

// Broken is a Store that something is wrong with.
type Broken struct {
	Store archive.Store
	Kind  error
	// Secret must not show in the error.
	Secret string
}

// Run runs all tests; newPlace makes the place for each.
func Run(t *testing.T, newPlace func(t *testing.T) *Place) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *Place)
	}{
		// First: after a crash Postgres syncs every file of every database, so the fewer tests came before, the better.
		{"KilledInTheMiddle", killedInTheMiddle},
		{"Empty", empty}, {"ByteExact", byteExact}, {"Repeats", repeats}, {"Overlaps", overlaps}, {"Unsorted", unsorted},
		{"Conflict", conflict}, {"Paging", paging}, {"LargeBatch", largeBatch}, {"TwoLeaders", twoLeaders},
		{"OtherNodesSeeIt", otherNodesSeeIt}, {"Cancel", cancel}, {"Lossy", lossy},
		{"Broken", broken}, {"MigrateAgain", migrateAgain},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newPlace(t)) })
	}
}

// testTimeout bounds what a test waits for. None waits that long unless something hangs: the tests of all packages may run
// at the same time, on two cores, under the race detector.
const testTimeout = 3 * time.Minute

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return c
}

// Row makes the row of a context and seq; equal arguments make equal rows.
func Row(id string, seq uint64) archive.Row {
	text := strings.Repeat("word ", int(seq%17)) + fmt.Sprint(seq)
	return withFields(id, seq, fmt.Sprintf(`"role":"user","parts":[{"type":"text","text":%q}],"metadata":{"n":%d}`, text, seq))
}

func withFields(id string, seq uint64, fields string) archive.Row {
	ms := int64(1737720000000) + int64(seq)*7
	at := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
	return archive.Row{
		Context: id, Seq: seq, Tokens: uint32(seq % 1000), InsertedMs: ms,
		Message: fmt.Appendf(nil, `{"seq":%d,%s,"token_count":%d,"inserted_at":%q}`, seq, fields, seq%1000, at),
	}
}

func rows(id string, from, to uint64) []archive.Row {
	var out []archive.Row
	for seq := from; seq <= to; seq++ {
		out = append(out, Row(id, seq))
	}
	return out
}

// Put stores rows as the archiver does: again, as long as the store is unavailable, which the contract allows it to be at
// any time. inserted is what the last try counted; exact says that there was only one, so that it must be right.
func Put(t testing.TB, s archive.Store, rows []archive.Row) (inserted int, exact bool) {
	t.Helper()
	c := ctx(t)
	for exact = true; ; exact = false {
		n, err := s.Put(c, append([]archive.Row(nil), rows...))
		if err == nil {
			return n, exact
		}
		if !errors.Is(err, archive.ErrUnavailable) || c.Err() != nil {
			t.Errorf("Put: %v", err)
			return 0, false
		}
		t.Logf("Put, once more: %v", err)
	}
}

func put(t *testing.T, s archive.Store, rows []archive.Row, want int) {
	t.Helper()
	if n, exact := Put(t, s, rows); exact && n != want {
		t.Fatalf("%d rows inserted, want %d", n, want)
	}
}

var whole = archive.Page{Rows: math.MaxInt32, Bytes: math.MaxInt32}

// ReadAll returns what one Read yields.
func ReadAll(c context.Context, s archive.Store, id string, from, to uint64, page archive.Page) ([]archive.Row, error) {
	var out []archive.Row
	err := s.Read(c, id, from, to, page, func(r *archive.Row) error {
		row := *r
		row.Message = bytes.Clone(r.Message)
		out = append(out, row)
		return nil
	})
	return out, err
}

func wantRows(t *testing.T, s archive.Store, id string, from, to uint64, page archive.Page, want []archive.Row) {
	t.Helper()
	got, err := ReadAll(ctx(t), s, id, from, to, page)
	if err != nil {
		t.Fatal(err)
	}
	Equal(t, got, want)
}

// Equal fails unless got and want are the same rows.
func Equal(t testing.TB, got, want []archive.Row) {
	t.Helper()
	for i := range got {
		if i >= len(want) {
			t.Fatalf("row %d: got (%q, %d), want nothing", i, got[i].Context, got[i].Seq)
		}
		g, w := got[i], want[i]
		if !bytes.Equal(g.Message, w.Message) {
			t.Fatalf("row %d: got (%q, %d) %.300q, want (%q, %d) %.300q", i, g.Context, g.Seq, g.Message, w.Context, w.Seq, w.Message)
		}
		g.Message, w.Message = nil, nil
		if g.Context != w.Context || g.Seq != w.Seq || g.Tokens != w.Tokens || g.InsertedMs != w.InsertedMs {
			t.Fatalf("row %d: got %+v, want %+v", i, g, w)
		}
	}
	if len(got) < len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
}

func empty(t *testing.T, p *Place) {
	s := p.Open()
	put(t, s, nil, 0)
	wantRows(t, s, "nobody", 1, math.MaxUint64, whole, nil)
	put(t, s, rows("a", 1, 10), 10)
	wantRows(t, s, "a", 11, 20, whole, nil)
	wantRows(t, s, "a", 8, 3, whole, nil)
	wantRows(t, s, "a ", 1, 10, whole, nil)
	wantRows(t, s, "A", 1, 10, whole, nil)
	wantRows(t, s, "a", 0, math.MaxUint64, whole, rows("a", 1, 10))
	wantRows(t, s, "a", 10, 10, whole, rows("a", 10, 10))
}

func repeats(t *testing.T, p *Place) {
	s := p.Open()
	batch := append(rows("a", 1, 50), rows("b", 1, 70)...)
	put(t, s, batch, 120)
	put(t, s, batch, 0)
	put(t, p.Open(), batch, 0)
	put(t, s, append(append([]archive.Row(nil), batch...), batch...), 0)
	wantRows(t, s, "a", 1, 99, whole, rows("a", 1, 50))
	wantRows(t, s, "b", 1, 99, whole, rows("b", 1, 70))
	put(t, s, append(rows("c", 1, 5), rows("c", 1, 5)...), 5)
	wantRows(t, s, "c", 1, 99, whole, rows("c", 1, 5))
}

func overlaps(t *testing.T, p *Place) {
	s := p.Open()
	put(t, s, rows("a", 1, 10), 10)
	put(t, s, rows("a", 5, 20), 10)
	put(t, s, append(rows("a", 15, 25), rows("b", 1, 3)...), 8)
	put(t, s, rows("a", 40, 50), 11)
	put(t, s, rows("a", 1, 60), 60-25-11)
	put(t, s, rows("a", 3, 58), 0)
	wantRows(t, s, "a", 1, 99, whole, rows("a", 1, 60))
	wantRows(t, s, "a", 12, 44, whole, rows("a", 12, 44))
	wantRows(t, p.Open(), "b", 1, 99, whole, rows("b", 1, 3))
}

func unsorted(t *testing.T, p *Place) {
	s := p.Open()
	batch := append(append(rows("b", 1, 40), rows("a", 1, 40)...), rows("c", 1, 40)...)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	put(t, s, batch, 120)
	for _, id := range [...]string{"a", "b", "c"} {
		wantRows(t, s, id, 1, 99, whole, rows(id, 1, 40))
	}
}

func conflict(t *testing.T, p *Place) {
	s := p.Open()
	put(t, s, rows("a", 1, 10), 10)
	other := rows("a", 8, 12)
	other[1].Message = withFields("a", 9, `"role":"user","parts":[{"type":"other"}]`).Message
	_, err := s.Put(ctx(t), append(rows("b", 1, 2), other...))
	var c *archive.ConflictError
	if !errors.As(err, &c) || c.Context != "a" || c.Seq != 9 || !errors.Is(err, archive.ErrConflict) {
		t.Fatalf("got %v, want a conflict at (a, 9)", err)
	}
	wantRows(t, s, "a", 1, 99, whole, rows("a", 1, 10))
	wantRows(t, s, "b", 1, 99, whole, nil)
}

func paging(t *testing.T, p *Place) {
	s := p.Open()
	all := rows("a", 1, 1000)
	for i := 0; i < len(all); i += 90 {
		batch := append(append([]archive.Row(nil), all[i:min(i+90, len(all))]...), Row("other", uint64(i+1)))
		put(t, s, batch, len(batch))
	}
	for _, page := range [...]archive.Page{{Rows: 1, Bytes: 1 << 20}, {Rows: 7, Bytes: 1 << 20}, {Rows: 100, Bytes: 1 << 20}, {Rows: 1000, Bytes: 3000}, {Rows: 1000, Bytes: 1}} {
		var got []archive.Row
		next, last := uint64(1), uint64(1000)
		if page.Rows == 1 || page.Bytes == 1 {
			next, last = 450, 480
		}
		first := next
		for next <= last {
			rows, err := ReadAll(ctx(t), s, "a", next, last, page)
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			for _, r := range rows {
				size += len(r.Message)
			}
			if len(rows) == 0 || len(rows) > page.Rows || size > page.Bytes && len(rows) > 1 {
				t.Fatalf("page %+v: %d rows of %d bytes", page, len(rows), size)
			}
			got = append(got, rows...)
			next = rows[len(rows)-1].Seq + 1
		}
		Equal(t, got, all[first-1:last])
	}
	// An error of the callback comes back as it is.
	stop := errors.New("stop")
	n := 0
	err := s.Read(ctx(t), "a", 1, 1000, whole, func(*archive.Row) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	if err != stop || n != 3 {
		t.Fatal(n, err)
	}
	wantRows(t, s, "a", 999, 1000, whole, all[998:])
}

func largeBatch(t *testing.T, p *Place) {
	s := p.Open()
	var batch []archive.Row
	for i := range 2500 {
		batch = append(batch, rows(fmt.Sprintf("context-%d", i), 1, 4)...)
	}
	put(t, s, batch, 10000)
	put(t, s, batch, 0)
	var more []archive.Row
	for i := range 2500 {
		more = append(more, rows(fmt.Sprintf("context-%d", i), 3, 6)...)
	}
	put(t, s, more, 5000)
	other := p.Open()
	for i := 0; i < 2500; i += 97 {
		id := fmt.Sprintf("context-%d", i)
		wantRows(t, other, id, 1, 99, whole, rows(id, 1, 6))
	}
	put(t, s, rows("one", 1, 10000), 10000)
	wantRows(t, other, "one", 1, math.MaxUint64, whole, rows("one", 1, 10000))
}

// twoLeaders: several nodes store the same and overlapping rows at the same time. Every row is there once, and each is
// counted by exactly one of them.
func twoLeaders(t *testing.T, p *Place) {
	const nodes, ids, last = 3, 20, 60
	var wg sync.WaitGroup
	counts := make([]int, nodes)
	var inexact atomic.Bool
	for n := range nodes {
		s := p.Open()
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(uint64(n), 7))
			next := make([]uint64, ids)
			for done := 0; done < ids; {
				var batch []archive.Row
				done = 0
				for i := range next {
					if next[i] == last {
						done++
						continue
					}
					from := next[i] + 1
					if from > 3 && r.IntN(3) == 0 {
						from -= uint64(r.IntN(3)) // has lost track of its own acknowledgement
					}
					to := min(last, next[i]+1+uint64(r.IntN(12)))
					batch = append(batch, rows(fmt.Sprint("c", i), from, to)...)
					next[i] = to
				}
				count, exact := Put(t, s, batch)
				if t.Failed() {
					return
				}
				if !exact {
					inexact.Store(true)
				}
				counts[n] += count
			}
		}()
	}
	wg.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	if sum != ids*last && !inexact.Load() {
		t.Errorf("%d rows counted as inserted, want %d", sum, ids*last)
	}
	s := p.Open()
	for i := range ids {
		id := fmt.Sprint("c", i)
		wantRows(t, s, id, 1, 999, whole, rows(id, 1, last))
	}
}

// otherNodesSeeIt: whatever a reader has cached, it sees what was stored before it asked.
func otherNodesSeeIt(t *testing.T, p *Place) {
	a, b := p.Open(), p.Open()
	for i := uint64(0); i < 20; i++ {
		put(t, a, rows("a", i*5+1, i*5+5), 5)
		wantRows(t, b, "a", 1, i*5+5, whole, rows("a", 1, i*5+5))
		wantRows(t, b, "a", i*5+5, math.MaxUint64, whole, rows("a", i*5+5, i*5+5))
	}
}

func migrateAgain(t *testing.T, p *Place) {
	put(t, p.Open(), rows("a", 1, 3), 3)
	var wg sync.WaitGroup
	for range 5 {
		s := p.Open()
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := s.Migrate(ctx(t)); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	wantRows(t, p.Open(), "a", 1, 3, whole, rows("a", 1, 3))
}
