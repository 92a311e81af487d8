package httpd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

type contextPage struct {
	Contexts []json.RawMessage
	Next     *string `json:"next_cursor"`
}

// contextsOf walks all contexts by pages of limit, and returns the entries by id and the ids in order.
func (g *rig) contextsOf(limit int) (entries map[string]string, ids []string) {
	g.t.Helper()
	entries = map[string]string{}
	path := "/v1/contexts?limit=" + strconv.Itoa(limit)
	for range 100_000 {
		var page contextPage
		require.NoError(g.t, json.Unmarshal([]byte(g.ok(200, "GET", path, "")), &page))
		require.LessOrEqual(g.t, len(page.Contexts), limit)
		for _, raw := range page.Contexts {
			var c struct{ ID string }
			require.NoError(g.t, json.Unmarshal(raw, &c))
			require.NotContains(g.t, entries, c.ID, "twice")
			entries[c.ID] = string(raw)
			ids = append(ids, c.ID)
		}
		if page.Next == nil {
			return entries, ids
		}
		path = "/v1/contexts?limit=" + strconv.Itoa(limit) + "&cursor=" + *page.Next
	}
	g.t.Fatal("the walk does not end")
	return nil, nil
}

// TestListHasEveryContextOnce: as GET shows it, in an order that stays, whatever the size of the pages.
func TestListHasEveryContextOnce(t *testing.T) {
	g := newRig(t)
	require.Equal(t, `{"contexts":[],"next_cursor":null}`, g.ok(200, "GET", "/v1/contexts", ""))
	const total = 300
	for i := range total {
		path := fmt.Sprintf("/v1/contexts/c-%d", i)
		g.ok(201, "PUT", path, fmt.Sprintf(`{"metadata":{"i": %d}}`, i))
		if i%10 == 0 {
			g.ok(201, "POST", path+"/messages", `{"message":`+textMessage("x")+`}`)
			g.ok(204, "DELETE", path, "")
		}
	}
	entries, ids := g.contextsOf(1000)
	require.Len(t, ids, total)
	for id, raw := range entries {
		require.Equal(t, g.ok(200, "GET", "/v1/contexts/"+id, ""), raw)
	}
	require.True(t, slices.IsSortedFunc(ids, func(a, b string) int { return int(shard.Of([]byte(a))) - int(shard.Of([]byte(b))) }))
	for _, limit := range []int{1, 2, 7, 100} {
		_, got := g.contextsOf(limit)
		require.Equal(t, ids, got)
	}
	g.s.maxAnswer = 1000
	_, got := g.contextsOf(1000)
	require.Equal(t, ids, got, "large contexts make short pages")
	g.s.maxAnswer = 1
	_, got = g.contextsOf(1000)
	require.Equal(t, ids, got, "one is always given")

	for _, cursor := range []string{"x", "AAAAAAAA", "AQABAAAA%3D", "AQABAAAAAA", "AQABAAA", "AgABAAAA", "AQABAAA!", "AQABAAAA&cursor=AQABAAAA"} {
		g.refused(400, "invalid_query", "GET", "/v1/contexts?cursor="+cursor, "")
	}
	for _, limit := range []string{"0", "1001", "x", "-1"} {
		g.refused(400, "invalid_query", "GET", "/v1/contexts?limit="+limit, "")
	}
	require.JSONEq(t, `{"contexts":[],"next_cursor":null}`, g.ok(200, "GET", "/v1/contexts?cursor=Af_____w", ""), "behind the end of the last shard")
	g.store.forced.Store(int32(shard.CodeUnavailable))
	g.refused(503, "unavailable", "GET", "/v1/contexts", "")
}

// TestListInCluster: every node gives the same walk, also with deep metadata, and while the leader moves.
func TestListInCluster(t *testing.T) {
	c := newTestCluster(t, 3)
	deep := `{"metadata":{"v":` + nested(125) + `}}`
	for i := range 60 {
		c.nodes[0].ok(201, "PUT", fmt.Sprintf("/v1/contexts/c-%d", i), deep)
	}
	want, ids := c.nodes[0].contextsOf(7)
	require.Len(t, ids, 60)
	for leader := range int32(3) {
		c.leader.Store(leader)
		for _, g := range c.nodes {
			for _, limit := range []int{3, 1000} {
				got, order := g.contextsOf(limit)
				require.Equal(t, ids, order)
				require.Equal(t, want, got)
			}
		}
	}
	c.leader.Store(0)
	c.routes[1].believes.Store(1 + 1) // itself
	_, order := c.nodes[1].contextsOf(1000)
	require.Equal(t, ids, order)
	require.Positive(t, c.routes[1].awaited.Load())
	c.nodes[0].s.maxAnswer = 1
	_, order = c.nodes[2].contextsOf(1000)
	require.Equal(t, ids, order, "parts that end early")

	c.leader.Store(-1)
	c.nodes[2].refused(503, "unavailable", "GET", "/v1/contexts", "")
	c.leader.Store(0)
	c.routes[2].answer.Store(int32(shard.CodeOverloaded) + 1)
	c.nodes[2].refused(503, "overloaded", "GET", "/v1/contexts", "")
}

func nested(depth int) string {
	b := make([]byte, 0, 2*depth)
	for range depth {
		b = append(b, '[')
	}
	for range depth {
		b = append(b, ']')
	}
	return string(b)
}

// TestPartsAreChecked: what another node sends is not believed.
func TestPartsAreChecked(t *testing.T) {
	at := listCursor{group: 3, place: 5}
	next := string(listCursor{group: 3, place: 7}.append(nil))
	good := "2 " + next + "\n{},{}"
	l := &listing{left: 2, at: at}
	require.True(t, l.take([]byte(good)))
	require.Equal(t, listing{left: 0, count: 2, at: listCursor{group: 3, place: 7}, dst: []byte("{},{}")}, *l)
	l = &listing{left: 2, at: at}
	require.True(t, l.take([]byte("0 -\n")))
	require.True(t, l.at.end())
	for _, bad := range []string{"", "\n", "2 " + next, "3 " + next + "\n{},{},{}", "x " + next + "\n{}", "1 x\n{}", "1 -\n", "0 -\n{}", "1\n{}",
		"1 " + string(at.append(nil)) + "\n{}", `{"error":"x"}`} {
		l = &listing{left: 2, at: at}
		require.False(t, l.take([]byte(bad)), "%q", bad)
		require.Equal(t, listing{left: 2, at: at}, *l)
	}
}
