package httpd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// oddMessages are messages that a decoder and an encoder in between would change.
var oddMessages = []string{
	`{"role":"user","parts":[{"type":"text","text":"plain"}]}`,
	`{"parts":[{"type":"text","text":"order"}],"role":"user"}`,
	`{"role":"user","parts":[{"type":"text","text":"n"}],"n":1.0e+3,"m":-0.0,"big":123456789012345678901234567890,"e":1E400}`,
	`{ "role" : "user" ,` + "\n\t" + `"parts" : [ {"type" : "text", "text":"white"} ] , "metadata" : { } }`,
	`{"role":"user","parts":[{"type":"text","text":"empty metadata"}],"metadata":{}}`,
	`{"metadata":{},"role":"user","parts":[{"type":"text","text":"metadata first"}],"token_count":3}`,
	`{"token_count":0,"role":"user","token_x":1,"parts":[{"type":"text","text":"count first"}],"metadata":{"b":1,"a":2,"a":3}}`,
	`{"role":"us\u0065r","parts":[{"type":"te\u0078t","text":"\u00e9\ud83d\ude00\ud800 \/ \" <&> é😀"}],"\u0069d":"x"}`,
	`{"seq":77,"role":"assistant","inserted_at":"x","parts":[{"type":"tool_call","id":"c1","payload":{"z":[1,{"y":null}]}},{"type":"text","text":"x"}],"token_count":9}`,
	`{"role":"tool","parts":[{"type":"tool_result","tool_call_id":"c1","output":"a\nb"}],"seq":null,"unknown":1,"unknown":2}`,
	`{"role":"system","parts":[{"type":"text","text":"<|endoftext|>"}],"inserted_at":1}`,
	`{"role":"user","parts":[{"type":"text","text":"in the middle"}],"token_count":4,"tail":true,"metadata":{"token_count":1}}`,
	`{"role":"user","parts":[{"type":"text","text":",\"token_count\":1,\"metadata\":{},\"inserted_at\":\"2025-01-24T12:00:15.120Z\"}"}]}`,
	`{"role":"user","parts":[{"type":"deep","v":` + strings.Repeat("[", 123) + strings.Repeat("]", 123) + `}]}`,
}

// history is every message of a context, as raw bytes.
func (g *rig) history(id string) (raw []string) {
	g.t.Helper()
	var page struct{ Messages []json.RawMessage }
	require.NoError(g.t, json.Unmarshal([]byte(g.ok(200, "GET", "/v1/contexts/"+id+"/messages?limit=10000", "")), &page))
	for _, m := range page.Messages {
		raw = append(raw, string(m))
	}
	return raw
}

// TestImportIsByteIdentical sends odd messages, imports what comes out into another context, one by one or all at once, and
// compares.
func TestImportIsByteIdentical(t *testing.T) {
	at := time.Date(2025, 1, 24, 12, 0, 0, 0, time.UTC)
	g := newRig(t, func(c *Config) {
		store := newMemoryStore()
		store.now = func() time.Time { at = at.Add(1234 * time.Millisecond); return at }
		c.Store = store
	})
	g.ok(201, "PUT", "/v1/contexts/a", "")
	for _, m := range oddMessages {
		g.ok(201, "POST", "/v1/contexts/a/messages", `{"message":`+m+`}`)
	}
	want := g.history("a")
	require.Len(t, want, len(oddMessages))
	at = at.Add(time.Hour)

	g.ok(201, "PUT", "/v1/contexts/one", "")
	for i, m := range want {
		require.JSONEq(t, fmt.Sprintf(`{"seq":%d,"version":%d,"token_estimate":%d}`, i+1, i+1, tokensOf(t, m)),
			g.ok(201, "POST", "/v1/contexts/one/messages?import=true", `{"message":`+m+`}`))
	}
	require.Equal(t, want, g.history("one"))

	g.ok(201, "PUT", "/v1/contexts/all", "")
	all := want[:len(want)-1] // the last needs all the depth that there is
	g.ok(201, "POST", "/v1/contexts/all/messages?import=true", "{\"messages\":[\n"+strings.Join(all, " , ")+"]}")
	require.Equal(t, all, g.history("all"))

	// Windows, and what is appended afterwards, are as ever.
	require.Equal(t, strings.Join(want, ","), between(g.ok(200, "GET", "/v1/contexts/one/context", ""), `"messages":[`, `],"used_tokens"`))
	g.ok(201, "POST", "/v1/contexts/one/messages", `{"message":`+want[0]+`}`)
	last := g.history("one")[len(want)]
	require.Contains(t, last, `"inserted_at":"`+at.Format("2006-01-02T15:04:05.000Z"), "without import the time is the server's")
	var c struct {
		Updated time.Time `json:"updated_at"`
	}
	require.NoError(t, json.Unmarshal([]byte(g.ok(200, "GET", "/v1/contexts/all", "")), &c))
	require.Greater(t, c.Updated, time.Date(2025, 1, 24, 13, 0, 0, 0, time.UTC), "a context was changed when it was changed")
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

func tokensOf(t *testing.T, m string) (n int) {
	var msg struct {
		Count int `json:"token_count"`
	}
	require.NoError(t, json.Unmarshal([]byte(m), &msg))
	return msg.Count
}

// TestImportIsGuarded: what was there already, or does not follow, is refused as a whole, and the answer says where to go on.
func TestImportIsGuarded(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/x", "")
	message := func(seq int) string {
		return fmt.Sprintf(`{"seq":%d,"role":"user","parts":[{"type":"text","text":"m%d"}],"token_count":1,"metadata":{},"inserted_at":"2024-02-29T23:59:59.999Z"}`, seq, seq)
	}
	post := "/v1/contexts/x/messages?import=true"
	conflict := func(body string, last int) {
		t.Helper()
		a := g.refused(409, "conflict", "POST", post, body)
		require.Contains(t, a.body, fmt.Sprintf(`"last_seq":%d}`, last))
	}
	conflict(`{"message":`+message(2)+`}`, 0)
	g.ok(201, "POST", post, `{"messages":[`+message(1)+`,`+message(2)+`]}`)
	conflict(`{"messages":[`+message(1)+`,`+message(2)+`]}`, 2)
	conflict(`{"messages":[`+message(2)+`,`+message(3)+`]}`, 2)
	conflict(`{"message":`+message(4)+`}`, 2)
	g.refused(409, "conflict", "POST", post, `{"message":`+message(3)+`,"if_version":0}`)
	g.ok(201, "POST", post, `{"message":`+message(3)+`,"if_version":1}`)
	require.Equal(t, []string{message(1), message(2), message(3)}, g.history("x"))

	// import=false and the usual append take no notice of seq and inserted_at.
	g.ok(201, "POST", "/v1/contexts/x/messages?import=false", `{"message":`+message(9)+`}`)
	require.NotContains(t, g.history("x")[3], "2024-02-29")

	bad := func(what, message string) {
		t.Helper()
		a := g.refused(400, "invalid_message", "POST", post, `{"message":`+message+`}`)
		require.Contains(t, a.message(), what)
	}
	bad(`"message.seq" is missing`, `{"role":"user","parts":[{"type":"x"}],"inserted_at":"2025-01-24T12:00:15.120Z"}`)
	bad(`"message.inserted_at" is missing`, `{"seq":5,"role":"user","parts":[{"type":"x"}]}`)
	for _, seq := range []string{"0", "-1", "1.0", `"5"`, "null", "9007199254740992"} {
		bad(`"message.seq"`, strings.Replace(message(5), `"seq":5`, `"seq":`+seq, 1))
	}
	bad("given twice", strings.Replace(message(5), `"seq":5`, `"seq":5,"seq":5`, 1))
	for _, at := range []string{`1`, `null`, `""`, `"2025-01-24"`, `"1969-12-31T23:59:59.999Z"`, `"2025-13-24T12:00:15.120Z"`, `"9999-12-31T23:59:59-01:00"`} {
		bad(`"message.inserted_at"`, strings.Replace(message(5), `"2024-02-29T23:59:59.999Z"`, at, 1))
	}
	a := g.refused(400, "invalid_message", "POST", post, `{"messages":[`+message(5)+`,`+message(7)+`]}`)
	require.Contains(t, a.message(), `"messages[1].seq" is 7 where 6 follows`)
	g.refused(400, "invalid_query", "POST", post+"&import=true", `{"message":`+message(5)+`}`)
	g.refused(400, "invalid_query", "POST", "/v1/contexts/x/messages?import=", `{"message":`+message(5)+`}`)
	require.Len(t, g.history("x"), 4, "nothing of all that was written")

	g.ok(201, "POST", post, `{"message":{"seq":5,"role":"user","parts":[{"type":"x"}],"inserted_at":"2025-01-24T12:00:15.1205+02:00"}}`)
	require.Equal(t, `{"seq":5,"role":"user","parts":[{"type":"x"}],"token_count":3,"metadata":{},"inserted_at":"2025-01-24T10:00:15.120Z"}`, g.history("x")[4],
		"another program's times are kept to the millisecond, and tokens counted where they are not said")
	g.ok(204, "DELETE", "/v1/contexts/x", "")
	g.refused(409, "context_tombstoned", "POST", post, `{"message":`+message(6)+`}`)
}

// TestImportOfLargestMessage: what just fitted when it was sent fits when it is imported.
func TestImportOfLargestMessage(t *testing.T) {
	const limit = 8 << 10
	for name, key := range map[string]string{"open": "", "with a key": "secret"} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, func(c *Config) { c.MaxBodyBytes, c.APIKey = limit, key })
			g.auth = key
			g.ok(201, "PUT", "/v1/contexts/a", "")
			g.ok(201, "PUT", "/v1/contexts/b", "")
			body := `{"message":` + textMessage("") + `}`
			body = strings.Replace(body, `""`, `"`+strings.Repeat("x", limit-len(body))+`"`, 1)
			require.Len(t, body, limit)
			g.ok(201, "POST", "/v1/contexts/a/messages", body)
			m := g.history("a")[0]
			require.Greater(t, len(m), limit)
			g.ok(201, "POST", "/v1/contexts/b/messages?import=true", `{"message":`+m+`}`)
			require.Equal(t, m, g.history("b")[0])

			over := strings.Replace(body, `xx"`, `xxx"`, 1)
			g.refused(413, "payload_too_large", "POST", "/v1/contexts/a/messages", over)
			g.refused(413, "payload_too_large", "POST", "/v1/contexts/b/messages?import=true", `{"message":`+strings.Replace(m, "xx", strings.Repeat("x", importSlack), 1)+`}`)
			if key != "" {
				g.auth = ""
				a := g.do("POST", "/v1/contexts/b/messages?import=true", `{"message":`+m+`}`)
				require.Equal(t, http.StatusUnauthorized, a.status)
			}
		})
	}
}

// TestImportThroughAnotherNode: an import goes to the leader as any append does, and its refusal comes back whole.
func TestImportThroughAnotherNode(t *testing.T) {
	c := newTestCluster(t, 2)
	g := c.nodes[1]
	g.ok(201, "PUT", "/v1/contexts/x", "")
	m := `{"seq":1,"role":"user","parts":[{"type":"text","text":"m"}],"token_count":1,"metadata":{},"inserted_at":"2024-02-29T23:59:59.999Z"}`
	g.ok(201, "POST", "/v1/contexts/x/messages?import=true", `{"message":`+m+`}`)
	require.Equal(t, []string{m}, g.history("x"))
	a := g.refused(409, "conflict", "POST", "/v1/contexts/x/messages?import=true", `{"message":`+m+`}`)
	require.Contains(t, a.body, `"version":1,"last_seq":1}`)
	require.Positive(t, c.routes[1].forwarded.Load())
}
