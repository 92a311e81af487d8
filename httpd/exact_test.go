package httpd

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBytesComeBackExactly appends members that any JSON library would change on the way through, and
// finds them in every read as they were sent.
func TestBytesComeBackExactly(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	f := func(sent, kept string) {
		t.Helper()
		var a struct{ Seq int }
		require.NoError(t, json.Unmarshal([]byte(g.ok(201, "POST", "/v1/contexts/c/messages", `{"message":`+sent+`}`)), &a))
		for _, path := range []string{"/tail?limit=1", "/messages?from_seq=-1", "/context"} {
			got := g.ok(200, "GET", "/v1/contexts/c"+path, "")
			require.Contains(t, got, kept, path)
		}
		require.JSONEq(t, `{"version":`+itoa(a.Seq*2)+`}`, g.ok(200, "POST", "/v1/contexts/c/compact", `{"replacement":[ `+sent+` ]}`))
		got := g.ok(200, "GET", "/v1/contexts/c/context", "")
		require.Contains(t, got, kept)
	}
	f(`{"role":"user","parts":[{"type":"text","text":"x"}]}`, `{"seq":1,"role":"user","parts":[{"type":"text","text":"x"}],"token_count":1,"metadata":{},"inserted_at":"`[len(`{"seq":1,`):])
	f(`{ "parts" : [ { "n" : [1.0,1e3,1E+3,-0,0.10,123456789012345678901234567890,1e-400] , "type" : "x" } ] , "role" : "user" }`,
		`"parts" : [ { "n" : [1.0,1e3,1E+3,-0,0.10,123456789012345678901234567890,1e-400] , "type" : "x" } ] , "role" : "user"`)
	f(`{"role":"\u0075ser","parts":[{"type":"text","text":"\u00e9\ud83d\ude00\ud800 \/ \" 漢字 <>&\u2028"}]}`,
		`"role":"\u0075ser","parts":[{"type":"text","text":"\u00e9\ud83d\ude00\ud800 \/ \" 漢字 <>&\u2028"}]`)
	f(`{"z":1,"role":"u","id":"msg-1","a":{"b":1,"b":2},"parts":[{"type":"t"}],"metadata":{"k":1.00,"k":2},"z":3}`,
		`"z":1,"role":"u","id":"msg-1","a":{"b":1,"b":2},"parts":[{"type":"t"}],"metadata":{"k":1.00,"k":2},"z":3,"token_count":`)
	f("{\n\t\"role\": \"u\",\n\t\"parts\": [\n{\"type\":\"t\"}\n]\n}", "\"role\": \"u\",\n\t\"parts\": [\n{\"type\":\"t\"}\n]")
	// What the server sets itself is taken out, wherever it stands and however it is spelled.
	f(`{"seq":99,"role":"u","token_count":7,"parts":[{"type":"t"}],"inserted_at":"never","metadata":{}, "s\u0065q":5}`,
		`"role":"u","parts":[{"type":"t"}],"metadata":{},"token_count":7,`)
	f(`{"token_count":7,"token\u005fcount2":1,"role":"u","seq":{"x":[1]},"parts":[{"type":"t"}]}`,
		`"token\u005fcount2":1,"role":"u","parts":[{"type":"t"}],"token_count":7,"metadata":{},`)

	// Metadata and policy of the context.
	got := g.ok(200, "PUT", "/v1/contexts/c", `{"metadata": { "n" : 1.0e0, "n":2, "\u0061":"\ud83d\ude00" } ,"trigger_ratio":7e-1,"policy":{"config":{"limit":5,"x":1},"strategy":"l\u0061st_n"}}`)
	require.Contains(t, got, `"metadata":{ "n" : 1.0e0, "n":2, "\u0061":"\ud83d\ude00" },`)
	require.Contains(t, got, `"trigger_ratio":0.7,"policy":{"strategy":"last_n","config":{"limit":5}}`)
	got = g.ok(200, "PUT", "/v1/contexts/c", `{"policy":{"strategy":"skip_parts","config":{"skip_kinds":["to\"ol","\u00e9\\"]}}}`)
	require.Contains(t, got, `"config":{"skip_kinds":["to\"ol","é\\"],"limit":200}`)
	got = g.ok(200, "PUT", "/v1/contexts/c", `{"policy":{"strategy":"manual","config":{"limit":0}}}`)
	require.Contains(t, got, `"policy":{"strategy":"manual","config":{}}`)
}

// TestLargeAnswersAreWhole reads pages far larger than any buffer.
func TestLargeAnswersAreWhole(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxBodyBytes = 1 << 20 })
	g.ok(201, "PUT", "/v1/contexts/c", `{"token_budget":100000000}`)
	var sent []string
	for i := range 40 {
		text := strings.Repeat(string(rune('a'+i%26)), 20_000+i)
		sent = append(sent, text)
		g.ok(201, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage(text)+`}`)
	}
	for _, path := range []string{"/messages?limit=1000", "/tail?limit=1000", "/context"} {
		var a struct {
			Messages []struct{ Parts []struct{ Text string } }
		}
		require.NoError(t, json.Unmarshal([]byte(g.ok(200, "GET", "/v1/contexts/c"+path, "")), &a))
		require.Len(t, a.Messages, len(sent))
		for i, m := range a.Messages {
			require.Equal(t, sent[i], m.Parts[0].Text)
		}
	}
}

// TestPagesAreBounded: a page of large messages ends early, in a way that a client can go on from.
func TestPagesAreBounded(t *testing.T) {
	g := newRig(t)
	g.s.maxAnswer = 32_000
	g.ok(201, "PUT", "/v1/contexts/c", "")
	big := strings.Repeat("x", 7000)
	for range 6 {
		g.ok(201, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage(big)+`}`)
	}
	page := g.ok(200, "GET", "/v1/contexts/c/messages", "")
	require.Equal(t, []int{1, 2, 3, 4}, seqs(t, page))
	require.Contains(t, page[len(page)-40:], `"next_seq":5}`)
	page = g.ok(200, "GET", "/v1/contexts/c/messages?from_seq=-5&limit=3", "")
	require.Equal(t, []int{2, 3, 4}, seqs(t, page))
	page = g.ok(200, "GET", "/v1/contexts/c/messages?from_seq=5", "")
	require.Equal(t, []int{5, 6}, seqs(t, page))
	require.Contains(t, page[len(page)-40:], `"next_seq":null}`)
	require.Equal(t, []int{3, 4, 5, 6}, seqs(t, g.ok(200, "GET", "/v1/contexts/c/tail", "")))
	require.Equal(t, []int{1, 2}, seqs(t, g.ok(200, "GET", "/v1/contexts/c/tail?offset=4", "")))

	// One message always comes, however large.
	g.s.maxAnswer = 10
	require.Equal(t, []int{1}, seqs(t, g.ok(200, "GET", "/v1/contexts/c/messages", "")))
	require.Equal(t, []int{6}, seqs(t, g.ok(200, "GET", "/v1/contexts/c/tail", "")))
}
