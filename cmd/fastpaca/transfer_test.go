package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

func exportFile(t *testing.T, s *testStore, name string, only ...string) *exporter {
	t.Helper()
	x := &exporter{api: s.api, bar: quiet(), only: only}
	require.NoError(t, x.file(context.Background(), name))
	return x
}

func importBytesOf(s *testStore, file []byte) (*importer, error) {
	m := &importer{api: s.api, bar: quiet()}
	return m, m.run(context.Background(), bytes.NewReader(file))
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return b
}

// TestRoundTrip: export, wipe, import gives every message byte for byte, and every context as it was; both go on after having
// been killed anywhere, over a network that loses requests and answers.
func TestRoundTrip(t *testing.T) {
	old := openTestStore(t, shard.Options{TailKeep: 50, SpillBytes: 1})
	old.fill()
	want := old.contents()
	require.Len(t, want.configs, 127)
	require.Len(t, want.messages["long"], 3000)
	name := filepath.Join(t.TempDir(), "export.ndjson")
	x := exportFile(t, old, name)
	require.EqualValues(t, 127, x.bar.contexts.Load())
	file := readFile(t, name)
	require.Equal(t, fmt.Sprintf(`{"type":"end","contexts":127,"messages":%d}`+"\n", x.bar.messages.Load()), string(file[bytes.LastIndexByte(file[:len(file)-1], '\n')+1:]))

	t.Run("import", func(t *testing.T) {
		store := openTestStore(t, shard.Options{TailKeep: 50, SpillBytes: 1})
		m, err := importBytesOf(store, file)
		require.NoError(t, err)
		require.EqualValues(t, 127, m.bar.contexts.Load())
		require.Zero(t, m.skipped.Load())
		want.sameAs(t, store.contents())

		m, err = importBytesOf(store, file)
		require.NoError(t, err, "once more changes nothing")
		require.Equal(t, x.bar.messages.Load(), m.skipped.Load())
		want.sameAs(t, store.contents())
		again := filepath.Join(t.TempDir(), "again.ndjson")
		exportFile(t, store, again)
		require.Equal(t, messageLines(t, file), messageLines(t, readFile(t, again)))
	})

	t.Run("killed imports", func(t *testing.T) {
		store := openTestStore(t, shard.Options{TailKeep: 50, SpillBytes: 1})
		rng := rand.New(rand.NewPCG(3, 4))
		for round := uint64(0); ; round++ {
			ctx, kill := context.WithCancel(context.Background())
			m := &importer{api: store.faulty(round, 0.1, 1+rng.IntN(60), kill), bar: quiet()}
			err := m.run(ctx, bytes.NewReader(file))
			kill()
			if err == nil {
				require.Greater(t, round, uint64(3), "killed now and then")
				break
			}
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, round, uint64(200))
			if round >= 8 { // to the end now
				m = &importer{api: store.faulty(round, 0.1, -1, nil), bar: quiet()}
				require.NoError(t, m.run(context.Background(), bytes.NewReader(file)))
				break
			}
		}
		want.sameAs(t, store.contents())
	})

	t.Run("killed exports", func(t *testing.T) {
		// What kill -9 leaves is a beginning of the file. All of them, where lines meet, and some in the middle of lines.
		var cuts []int
		for at := 0; at < len(file); {
			end := at + bytes.IndexByte(file[at:], '\n') + 1
			cuts = append(cuts, at+1, end-1, end)
			at = end
		}
		rng := rand.New(rand.NewPCG(1, 2))
		cuts = append([]int{0, 1, 10, 30, 36, 37, 38, len(file), len(file) - 1}, pick(rng, cuts, 12)...)
		for range 5 {
			cuts = append(cuts, rng.IntN(len(file)))
		}
		for i, cut := range cuts {
			require.NoError(t, os.WriteFile(name, file[:cut], 0o600))
			x := &exporter{api: old.faulty(uint64(i), 0.02, -1, nil), bar: quiet()}
			require.NoError(t, x.file(context.Background(), name), "cut at %d", cut)
			require.True(t, bytes.Equal(withoutCursors(file), withoutCursors(readFile(t, name))), "cut at %d", cut)
			require.EqualValues(t, 127, x.bar.contexts.Load())
		}
	})

	t.Run("interrupted exports", func(t *testing.T) {
		require.NoError(t, os.Remove(name))
		for round := uint64(0); ; round++ {
			ctx, kill := context.WithCancel(context.Background())
			x := &exporter{api: old.faulty(round, 0.1, 12, kill), bar: quiet()}
			err := x.file(ctx, name)
			kill()
			if err == nil {
				break
			}
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, round, uint64(500))
			if round > 12 {
				exportFile(t, old, name)
				break
			}
		}
		require.True(t, bytes.Equal(withoutCursors(file), withoutCursors(readFile(t, name))))
	})

	t.Run("an import of an export that was killed", func(t *testing.T) {
		store := openTestStore(t, shard.Options{})
		for _, cut := range []int{len(file) / 3, len(file) / 2, len(file) - 1} {
			_, err := importBytesOf(store, file[:cut])
			require.ErrorIs(t, err, errIncomplete)
		}
		_, err := importBytesOf(store, file)
		require.NoError(t, err)
		want.sameAs(t, store.contents())
	})
}

func pick(rng *rand.Rand, from []int, n int) (out []int) {
	for range n {
		out = append(out, from[rng.IntN(len(from))])
	}
	return out
}

// withoutCursors is an export without the places where it can be taken up: a page of contexts that took long to list ends earlier.
func withoutCursors(file []byte) (lines []byte) {
	for line := range bytes.Lines(file) {
		if !bytes.HasPrefix(line, []byte(`{"type":"cursor"`)) {
			lines = append(lines, line...)
		}
	}
	return lines
}

// messageLines are the lines of messages in an export, by context: what must be the same in every store. The order of the
// contexts and their times are each store's own.
func messageLines(t *testing.T, file []byte) map[string]string {
	of := map[string]string{}
	for _, b := range bytes.SplitAfter(file, []byte("\n")) {
		if bytes.HasPrefix(b, []byte(messagePrefix)) {
			l, err := parseLine(b)
			require.NoError(t, err)
			of[l.ContextID] += string(b)
		}
	}
	return of
}

// TestExportOfSome: the contexts that are named, and a resumption of just that.
func TestExportOfSome(t *testing.T) {
	s := openTestStore(t, shard.Options{})
	for _, id := range []string{"a", "b", "c"} {
		s.long(id, 3)
	}
	name := filepath.Join(t.TempDir(), "some.ndjson")
	exportFile(t, s, name, "c", "a")
	file := readFile(t, name)
	require.True(t, strings.HasPrefix(string(file), `{"type":"fastpaca-export","version":1,"only":["c","a"]}`+"\n"+`{"type":"context","context":{"id":"c",`))
	for cut := 0; cut < len(file); cut += 1 + cut%5 {
		require.NoError(t, os.WriteFile(name, file[:cut], 0o600))
		exportFile(t, s, name, "c", "a")
		require.Equal(t, string(file), string(readFile(t, name)), "cut at %d", cut)
	}
	var out, errs bytes.Buffer
	require.Equal(t, 0, run([]string{"export", "--addr", s.base, "--context", "c", "--context", "a", "--context", "c"}, &out, &errs), errs.String())
	require.Equal(t, string(file), out.String())
	require.Equal(t, "exported 2 contexts with 6 messages\n", errs.String())

	// What came since is for the next export: the file ends where it was to end.
	require.NoError(t, os.WriteFile(name, file[:len(file)/3], 0o600))
	s.do("POST", "/v1/contexts/c/messages", `{"message":{"role":"user","parts":[{"type":"x"}]}}`)
	exportFile(t, s, name, "c", "a")
	require.Equal(t, string(file), string(readFile(t, name)))

	refused := func(what string, only ...string) {
		t.Helper()
		before := readFile(t, name)
		err := (&exporter{api: s.api, bar: quiet(), only: only}).file(context.Background(), name)
		require.ErrorContains(t, err, what)
		require.Equal(t, string(before), string(readFile(t, name)), "a file that is refused is not touched")
	}
	require.NoError(t, os.WriteFile(name, file[:len(file)-30], 0o600))
	refused(`it is an export of ["c" "a"], not of all contexts`)
	refused(`not of ["a"]`, "a")
	for _, other := range []string{"a text\n", "a text", `{"type":"x"}` + "\n", "\n", `{"type":"fastpaca-export","version":2}` + "\n"} {
		require.NoError(t, os.WriteFile(name, []byte(other), 0o600))
		refused("was not touched")
	}
	damage := func(what, old, new string) {
		t.Helper()
		cut := bytes.LastIndex(file, []byte(`{"type":"end"`))
		require.NoError(t, os.WriteFile(name, bytes.Replace(file[:cut], []byte(old), []byte(new), 1), 0o600))
		refused(what, "c", "a")
	}
	damage("a message too many", `"last_seq":3`, `"last_seq":2`)
	damage("line 6: context \"c\" has 4 messages, and 3 are there", `"last_seq":3`, `"last_seq":4`)
	damage("line 2", `{"type":"context"`, `{"type":"con`)
	require.NoError(t, os.WriteFile(name, append(append([]byte(nil), file...), "{}\n"...), 0o600))
	refused("behind the end", "c", "a")

	// Another store that has the same contexts, but not the same messages.
	other := openTestStore(t, shard.Options{})
	for _, id := range []string{"a", "c"} {
		other.long(id, 3)
	}
	require.NoError(t, os.WriteFile(name, file[:len(file)-60], 0o600))
	err := (&exporter{api: other.api, bar: quiet(), only: []string{"c", "a"}}).file(context.Background(), name)
	require.ErrorContains(t, err, "it is of another store")

	errs.Reset()
	require.Equal(t, 1, run([]string{"export", "--addr", s.base, "--context", "nobody"}, io.Discard, &errs))
	require.Contains(t, errs.String(), `context "nobody": no context has this id`)
	require.Equal(t, 2, run([]string{"export", "--addr", "ftp://x"}, io.Discard, io.Discard))
	require.Equal(t, 2, run([]string{"export", "surplus"}, io.Discard, io.Discard))
	require.Equal(t, 0, run([]string{"export", "-h"}, io.Discard, io.Discard))
}

// TestImportRefuses: a store that has something else under the same id keeps it, and a damaged file is named.
func TestImportRefuses(t *testing.T) {
	s := openTestStore(t, shard.Options{})
	s.long("a", 5)
	name := filepath.Join(t.TempDir(), "a.ndjson")
	exportFile(t, s, name)
	file := string(readFile(t, name))
	refused := func(store *testStore, what, file string) {
		t.Helper()
		var before stored
		if store != nil {
			before = store.contents()
		} else {
			store = openTestStore(t, shard.Options{})
		}
		in := filepath.Join(t.TempDir(), "in")
		require.NoError(t, os.WriteFile(in, []byte(file), 0o600))
		var errs bytes.Buffer
		require.Equal(t, 1, run([]string{"import", "--addr", store.base, "-i", in}, io.Discard, &errs))
		require.Contains(t, errs.String(), what)
		if before.configs != nil {
			before.sameAs(t, store.contents())
		}
	}
	other := openTestStore(t, shard.Options{})
	other.long("a", 3)
	refused(other, `context "a": message 3 is another one in the store`, file)
	deleted := openTestStore(t, shard.Options{})
	_, err := importBytesOf(deleted, []byte(file))
	require.NoError(t, err)
	deleted.do("DELETE", "/v1/contexts/a", "")
	refused(deleted, "it is deleted in the store", file)

	refused(other, "the first line is not that of an export", "")
	refused(other, "the first line is not that of an export", "{}\n")
	refused(other, "the export has version 9", `{"type":"fastpaca-export","version":9}`+"\n")
	refused(nil, "line 4: it is message 9 of \"a\" where message 2 follows", strings.Replace(file, `{"seq":2,`, `{"seq":9,`, 1))
	refused(nil, "line 3: it is a message of \"b\"", strings.Replace(file, `"context_id":"a"`, `"context_id":"b"`, 1))
	refused(nil, `has 6 messages, and 5 are there`, strings.Replace(file, `"last_seq":5`, `"last_seq":6`, 1))
	refused(nil, "line 3: it is no JSON object", strings.Replace(file, messagePrefix, messagePrefix+"x", 1))
	refused(nil, "an export that was interrupted", file[:strings.LastIndex(file, `{"type":"end"`)])
	refused(nil, `messages 1 to 1: field "message.role"`, strings.Replace(file, `"role"`, `"rule"`, 1))

	// Lines of a type that a later version may add are skipped.
	later := openTestStore(t, shard.Options{})
	_, err = importBytesOf(later, []byte(strings.Replace(file, "\n", "\n{\"type\":\"later\",\"x\":[1]}\n", 2)))
	require.NoError(t, err)
	s.contents().sameAs(t, later.contents())

	// A store that has gone on since the export keeps what it has.
	s.do("POST", "/v1/contexts/a/messages", `{"message":{"role":"user","parts":[{"type":"x"}]}}`)
	before := s.contents()
	_, err = importBytesOf(s, []byte(file))
	require.NoError(t, err)
	before.sameAs(t, s.contents())
}

// TestTransferGivesUp: a node that does not come back is reported, and what cannot be helped by waiting at once.
func TestTransferGivesUp(t *testing.T) {
	var said []string
	a := newTransferAPI(&client{base: "http://127.0.0.1:1"}, func(msg string) { said = append(said, msg) })
	defer a.close()
	a.patience = 10 * time.Millisecond
	_, err := a.send(context.Background(), "GET", "/v1/contexts", nil)
	require.ErrorContains(t, err, "given up after 10ms: no answer from http://127.0.0.1:1")
	require.Len(t, said, 1)
	require.Contains(t, said[0], "trying again for 10ms")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = a.send(ctx, "GET", "/v1/contexts", nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestProgressLine(t *testing.T) {
	p := quiet()
	p.contexts.Store(3)
	p.messages.Store(500)
	require.Equal(t, "3 contexts, 500 messages, 250 messages/s", p.line(2*time.Second))
	p.before.Store(400)
	require.Equal(t, "3 contexts, 500 messages, 50 messages/s", p.line(2*time.Second), "an earlier run says nothing about the rate")
	p.before.Store(0)
	p.total.Store(1000)
	p.done.Store(333)
	require.Equal(t, "[#########.....................]  33%  3 contexts, 500 messages, 250 messages/s", p.line(2*time.Second))
	p.done.Store(2000)
	require.Contains(t, p.line(0), "[##############################] 100%")
	require.False(t, isTerminal(&bytes.Buffer{}))
}
