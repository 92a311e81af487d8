package httpd

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// oldPage is what the paging calls answer.
type oldPage struct {
	Messages []json.RawMessage
	Next     *uint64 `json:"next_seq"`
	Error    string
}

// TestPagesReachIntoHistory pages through a context most of which has left memory, forwards and backwards, with any
// limit, and compares with what was written.
func TestPagesReachIntoHistory(t *testing.T) {
	store := openNodeStore(t, shard.Options{TailKeep: 50, SpillBytes: 1})
	s := New(testConfig(t, store))
	store.do("x", shard.EncodePut(nil, &shard.Put{ID: []byte("x"), HasBudget: true, TokenBudget: 100})) // the window stays in memory
	const total = 3000
	for range total / 3 {
		require.Equal(t, shard.CodeOK, store.append("x", 3, 100).Code)
	}
	var v shard.View
	require.Eventually(t, func() bool {
		require.Equal(t, shard.CodeOK, store.Read([]byte("x"), &v))
		return v.First > total/2
	}, testWait, time.Millisecond, "most of it leaves memory")

	get := func(path string, into *oldPage) int {
		t.Helper()
		status, body := call(s, "GET", path)
		require.NoError(t, json.Unmarshal(body, into), "%s", body)
		return status
	}
	var all []string
	for next := uint64(1); next != 0; {
		var page oldPage
		require.Equal(t, http.StatusOK, get(fmt.Sprintf("/v1/contexts/x/messages?from_seq=%d&limit=97", next), &page))
		for _, m := range page.Messages {
			all = append(all, string(m))
		}
		if page.Next == nil {
			break
		}
		next = *page.Next
	}
	require.Len(t, all, total)
	for i, m := range all {
		require.True(t, strings.HasPrefix(m, fmt.Sprintf(`{"seq":%d,`, i+1)), "%.40s at %d", m, i+1)
	}

	rng := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		offset, limit := rng.IntN(total+10), 1+rng.IntN(200)
		s.maxAnswer = 300 + rng.IntN(30_000)
		end := max(total-offset, 0)
		want := all[max(end-limit, 0):end]
		var page oldPage
		require.Equal(t, http.StatusOK, get(fmt.Sprintf("/v1/contexts/x/tail?limit=%d&offset=%d", limit, offset), &page))
		got := page.Messages
		require.LessOrEqual(t, len(got), len(want))
		require.Equal(t, len(want) == 0, len(got) == 0)
		for i := range got {
			require.Equal(t, want[len(want)-len(got)+i], string(got[i]), "offset %d limit %d: the newest of the page", offset, limit)
		}

		from := 1 + rng.IntN(total)
		page = oldPage{}
		require.Equal(t, http.StatusOK, get(fmt.Sprintf("/v1/contexts/x/messages?from_seq=%d&limit=%d", from, limit), &page))
		require.NotEmpty(t, page.Messages)
		for i, m := range page.Messages {
			require.Equal(t, all[from-1+i], string(m))
		}
		after := from + len(page.Messages)
		if after > total {
			require.Nil(t, page.Next)
		} else {
			require.EqualValues(t, after, *page.Next)
		}
		page = oldPage{}
		require.Equal(t, http.StatusOK, get(fmt.Sprintf("/v1/contexts/x/messages?from_seq=-%d&limit=1", from), &page))
		require.Equal(t, all[total-from], string(page.Messages[0]))
	}
}

// call serves one request without a connection.
func call(s *Server, method, path string) (status int, body []byte) {
	ctx := &fasthttp.RequestCtx{}
	ctx.Request.Header.SetMethod(method)
	ctx.Request.SetRequestURI(path)
	s.handle(ctx)
	return ctx.Response.StatusCode(), ctx.Response.Body()
}

// lostStore is a store whose history files are gone.
type lostStore struct{ *streamStore }

func (lostStore) AppendHistory(dst, _ []byte, from, _ uint64, _ int) ([]byte, uint64, error) {
	return dst, from, errors.New("history file x is damaged")
}

// TestUnreadableHistoryIsSaid: what cannot be read is a 503, never a page without it; the rest is served.
func TestUnreadableHistoryIsSaid(t *testing.T) {
	store := openNodeStore(t, shard.Options{TailKeep: 50, SpillBytes: 1})
	s := New(testConfig(t, lostStore{store}))
	store.do("x", shard.EncodePut(nil, &shard.Put{ID: []byte("x"), HasBudget: true, TokenBudget: 100})) // the window stays in memory
	for range 1000 {
		require.Equal(t, shard.CodeOK, store.append("x", 1, 300).Code)
	}
	var v shard.View
	require.Eventually(t, func() bool {
		require.Equal(t, shard.CodeOK, store.Read([]byte("x"), &v))
		return v.First > 300
	}, testWait, time.Millisecond)
	for _, path := range []string{"messages?from_seq=1&limit=10", "messages?from_seq=1&limit=10000", "tail?limit=1000", "tail?offset=900&limit=10"} {
		status, body := call(s, "GET", "/v1/contexts/x/"+path)
		require.Equal(t, http.StatusServiceUnavailable, status, path)
		require.Contains(t, string(body), `"unavailable"`)
	}
	status, _ := call(s, "GET", "/v1/contexts/x/tail?limit=50")
	require.Equal(t, http.StatusOK, status)
}

// TestArchiveForDamagedHistory: what the archive has is served from there while a history file is damaged, or does without it because it
// is damaged; what the archive has not got yet is a 503.
func TestArchiveForDamagedHistory(t *testing.T) {
	store := openNodeStore(t, shard.Options{TailKeep: 50, SpillBytes: 1})
	cfg := testConfig(t, lostStore{store})
	const archived = 200
	cfg.Archive = func(dst, _ []byte, from, to uint64, _ int) ([]byte, uint64, error) {
		for next := from; ; next++ {
			if next > min(to, archived) {
				return dst, next, nil
			}
			if next > from {
				dst = append(dst, ',')
			}
			dst = fmt.Appendf(dst, `{"seq":%d,"from":"archive"}`, next)
		}
	}
	s := New(cfg)
	store.do("x", shard.EncodePut(nil, &shard.Put{ID: []byte("x"), HasBudget: true, TokenBudget: 100})) // the window stays in memory
	for range 1000 {
		require.Equal(t, shard.CodeOK, store.append("x", 1, 300).Code)
	}
	store.do("x", shard.EncodeAckArchived(nil, []byte("x"), archived, 50))
	var v shard.View
	require.Eventually(t, func() bool {
		require.Equal(t, shard.CodeOK, store.Read([]byte("x"), &v))
		return v.First > archived+100
	}, testWait, time.Millisecond)
	require.EqualValues(t, archived, v.Archived)
	for from := 1; from <= archived; from += 50 {
		var page oldPage
		status, body := call(s, "GET", fmt.Sprintf("/v1/contexts/x/messages?from_seq=%d&limit=50", from))
		require.Equal(t, http.StatusOK, status, string(body))
		require.NoError(t, json.Unmarshal(body, &page))
		require.Len(t, page.Messages, 50)
		require.JSONEq(t, fmt.Sprintf(`{"seq":%d,"from":"archive"}`, from), string(page.Messages[0]))
	}
	status, _ := call(s, "GET", fmt.Sprintf("/v1/contexts/x/messages?from_seq=%d&limit=50", archived+1))
	require.Equal(t, http.StatusServiceUnavailable, status)
}

// holeStore is a store whose history files do without the messages first to last.
type holeStore struct {
	*streamStore
	first, last uint64
}

func (h holeStore) AppendHistory(dst, id []byte, from, to uint64, maxBytes int) ([]byte, uint64, error) {
	switch {
	case from < h.first:
		to = min(to, h.first-1)
	case from <= h.last:
		return dst, from, nil
	}
	return h.streamStore.AppendHistory(dst, id, from, to, maxBytes)
}

// TestHistoryAroundTheArchive: of the messages that have left memory some are in the archive only, and older and newer ones in
// history files because it was away. Every page is whole; where the archive cannot be reached a tail is a 503, and not one without
// what it has.
func TestHistoryAroundTheArchive(t *testing.T) {
	const total, hole, archived = 1000, 101, 200
	store := openNodeStore(t, shard.Options{TailKeep: 50, SpillBytes: 1})
	cfg := testConfig(t, holeStore{store, hole, archived})
	away := false
	cfg.Archive = func(dst, _ []byte, from, to uint64, _ int) ([]byte, uint64, error) {
		if away {
			return dst, from, errors.New("the archive cannot be reached")
		}
		require.LessOrEqual(t, to, uint64(archived))
		for next := from; next <= to; next++ {
			if next > from {
				dst = append(dst, ',')
			}
			dst = fmt.Appendf(dst, `{"seq":%d}`, next)
		}
		return dst, to + 1, nil
	}
	s := New(cfg)
	store.do("x", shard.EncodePut(nil, &shard.Put{ID: []byte("x"), HasBudget: true, TokenBudget: 100})) // the window stays in memory
	for range total {
		require.Equal(t, shard.CodeOK, store.append("x", 1, 300).Code)
	}
	store.do("x", shard.EncodeAckArchived(nil, []byte("x"), archived, total))
	var v shard.View
	require.Eventually(t, func() bool {
		require.Equal(t, shard.CodeOK, store.Read([]byte("x"), &v))
		return v.First > archived+100
	}, testWait, time.Millisecond)
	for _, path := range []string{"messages?limit=1000", "tail?limit=1000", "tail?offset=700&limit=300", "messages?from_seq=101&limit=200"} {
		var page oldPage
		status, body := call(s, "GET", "/v1/contexts/x/"+path)
		require.Equal(t, http.StatusOK, status, path)
		require.NoError(t, json.Unmarshal(body, &page), "%s: %.200s", path, body)
		var first struct{ Seq int }
		for i, m := range page.Messages {
			var at struct{ Seq int }
			require.NoError(t, json.Unmarshal(m, &at))
			if i == 0 {
				first = at
			}
			require.Equal(t, first.Seq+i, at.Seq, path)
		}
		want := map[string][2]int{"messages?limit=1000": {1, 1000}, "tail?limit=1000": {1, 1000},
			"tail?offset=700&limit=300": {1, 300}, "messages?from_seq=101&limit=200": {101, 200}}[path]
		require.Equal(t, want, [2]int{first.Seq, len(page.Messages)}, path)
	}
	away = true
	for _, path := range []string{"tail?limit=1000", "tail?offset=700&limit=300", "messages?from_seq=101&limit=200"} {
		status, _ := call(s, "GET", "/v1/contexts/x/"+path)
		require.Equal(t, http.StatusServiceUnavailable, status, path)
	}
	for _, path := range []string{"tail?offset=700&limit=100", "tail?offset=900&limit=100", "messages?limit=50"} {
		status, _ := call(s, "GET", "/v1/contexts/x/"+path)
		require.Equal(t, http.StatusOK, status, path)
	}
}
