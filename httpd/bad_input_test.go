package httpd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBadBodies sends every kind of bad body: it must get its error, with a message that names what to
// change, and write nothing.
func TestBadBodies(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	g.ok(201, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("first")+`}`)
	before := g.ok(200, "GET", "/v1/contexts/c", "")
	writes := g.store.writes.Load()

	f := func(method, sub, body, code, message string) {
		t.Helper()
		a := g.refused(400, code, method, "/v1/contexts/c"+sub, body)
		require.Contains(t, a.message(), message)
	}
	appendTo := func(body, code, message string) { t.Helper(); f("POST", "/messages", body, code, message) }
	one := func(message, want string) {
		t.Helper()
		appendTo(`{"message":`+message+`}`, "invalid_message", `"message`+want)
		appendTo(`{"messages":[`+textMessage("x")+`,`+message+`]}`, "invalid_message", `"messages[1]`+want)
		f("POST", "/compact", `{"replacement":[`+message+`]}`, "invalid_replacement", `"replacement[0]`+want)
	}
	good := textMessage("x")

	// Not JSON, on every route that takes a body.
	for _, route := range [][2]string{{"POST", "/messages"}, {"POST", "/compact"}, {"PUT", ""}, {"PATCH", "/metadata"}} {
		bad := func(body, message string) { t.Helper(); f(route[0], route[1], body, "invalid_json", message) }
		if route[0] != "PUT" {
			bad("", "the body is empty")
		}
		bad("   ", "ends in the middle")
		bad("nope", "")
		bad(`{"message":`+good, "ends in the middle")
		bad(`{"message":`+good+`}}`, "after the end")
		bad(`{"message":`+good+`} {}`, "after the end")
		bad(`{"metadata":{"a":1,}}`, "byte 19")
		bad(`{"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 99)+`}`, "bracket")
		bad(`{"x":`+strings.Repeat("[", 20_000), "128")
		bad(`{"x":`+strings.Repeat(`{"a":`, 10_000), "128")
		bad(`{"metadata":`+strings.Repeat(`{"a":`, 10_000), "128")
		bad("{\"x\":\"\xff\"}", "UTF-8")
		bad("{\"\xc0\xaf\":1}", "UTF-8")
		bad("{\"x\":\"a\x00b\"}", "control character")
		bad("\xef\xbb\xbf{}", "")
		bad(`{"x":01}`, "number")
		bad(`{"x":+1}`, "")
		bad(`{"x":NaN}`, "")
		bad(`{'x':1}`, "double quotes")
		bad(`{"x":"\u12"}`, "escape")
		bad(`{"x":tru}`, "")
		bad("{\"x\":\"\xff", "UTF-8")
		// Malformed wins over what is wrong before it.
		bad(`{"message":5,"messages":5,"replacement":5,"token_budget":"x","metadata":5`, "ends in the middle")
	}

	// Bodies that are JSON but no object, or miss what they are for.
	for _, body := range []string{"[]", "1", `"x"`, "null", "true"} {
		appendTo(body, "invalid_message", "must be a JSON object")
		f("POST", "/compact", body, "invalid_replacement", "must be a JSON object")
		f("PUT", "", body, "invalid_context_config", "must be a JSON object")
		f("PATCH", "/metadata", body, "invalid_metadata", "must be a JSON object")
	}
	appendTo("{}", "invalid_message", `"message"`)
	appendTo(`{"Message":`+good+`}`, "invalid_message", `"message"`)
	appendTo(`{"message":`+good+`,"messages":[`+good+`]}`, "invalid_message", "not both")
	appendTo(`{"message":`+good+`,"message":`+good+`}`, "invalid_message", "twice")
	appendTo(`{"message":`+good+`,"m\u0065ssage":`+good+`}`, "invalid_message", "twice")
	appendTo(`{"message":[`+good+`]}`, "invalid_message", `"message"`)
	appendTo(`{"message":null}`, "invalid_message", `"message"`)
	appendTo(`{"messages":`+good+`}`, "invalid_message", `"messages"`)
	appendTo(`{"messages":[]}`, "invalid_message", "has none")
	appendTo(`{"messages":[`+strings.Repeat(`{"role":"u","parts":[{"type":"t"}]},`, 1000)+good+`]}`, "invalid_message", "at most 1000")
	appendTo(`{"messages":[1]}`, "invalid_message", `"messages[0]"`)
	f("POST", "/compact", `{}`, "invalid_replacement", `"replacement"`)
	f("POST", "/compact", `{"replacement":{}}`, "invalid_replacement", `"replacement"`)
	f("POST", "/compact", `{"replacement":null}`, "invalid_replacement", `"replacement"`)
	f("POST", "/compact", `{"replacement":[],"replacement":[]}`, "invalid_replacement", "twice")
	f("POST", "/compact", `{"replacement":[null]}`, "invalid_replacement", `"replacement[0]"`)

	// Guards.
	for _, v := range []string{`"1"`, "-1", "1.0", "1e0", "null", "true", "{}", "9007199254740992", "1" + strings.Repeat("0", 400), "1E400", "-0"} {
		appendTo(`{"message":`+good+`,"if_version":`+v+`}`, "invalid_message", `"if_version"`)
		f("POST", "/compact", `{"replacement":[],"if_version":`+v+`}`, "invalid_replacement", `"if_version"`)
	}
	appendTo(`{"if_version":1,"message":`+good+`,"if_version":1}`, "invalid_message", "twice")

	// Messages.
	one(`{}`, `.role" is missing`)
	one(`{"parts":[{"type":"text"}]}`, `.role" is missing`)
	one(`{"role":"","parts":[{"type":"text"}]}`, `.role" must be a non-empty string`)
	one(`{"role":5,"parts":[{"type":"text"}]}`, `.role" must be a non-empty string`)
	one(`{"role":null,"parts":[{"type":"text"}]}`, `.role" must be a non-empty string`)
	one(`{"role":"u"}`, `.parts" is missing`)
	one(`{"role":"u","parts":[]}`, `.parts" must have at least one`)
	one(`{"role":"u","parts":"text"}`, `.parts" must be an array`)
	one(`{"role":"u","parts":{"type":"text"}}`, `.parts" must be an array`)
	one(`{"role":"u","parts":["text"]}`, `.parts[0]" must be an object`)
	one(`{"role":"u","parts":[{"type":"text"},null]}`, `.parts[1]" must be an object`)
	one(`{"role":"u","parts":[{}]}`, `.parts[0].type" is missing`)
	one(`{"role":"u","parts":[{"type":"a"},{"type":1}]}`, `.parts[1].type" must be a string`)
	one(`{"role":"u","parts":[{"type":null}]}`, `.parts[0].type" must be a string`)
	one(`{"role":"u","parts":[{"type":"text"}],"metadata":[]}`, `.metadata" must be an object`)
	one(`{"role":"u","parts":[{"type":"text"}],"metadata":null}`, `.metadata" must be an object`)
	for _, v := range []string{"-1", "1.0", "1e3", "1.5", `"5"`, "null", "2147483648", strings.Repeat("9", 400), "1e400"} {
		one(`{"role":"u","parts":[{"type":"text"}],"token_count":`+v+`}`, `.token_count" must be a plain integer from 0 to 2147483647`)
	}
	twice := func(message, field string) {
		t.Helper()
		appendTo(`{"message":`+message+`}`, "invalid_message", `"message.`+field+`" is given twice`)
	}
	twice(`{"role":"u","role":"u","parts":[{"type":"text"}]}`, "role")
	twice(`{"ro\u006ce":"u","role":"u","parts":[{"type":"text"}]}`, "role")
	twice(`{"role":"u","parts":[{"type":"text"}],"parts":[{"type":"text"}]}`, "parts")
	twice(`{"role":"u","parts":[{"type":"text"}],"metadata":{},"metadata":{}}`, "metadata")
	twice(`{"token_count":1,"role":"u","parts":[{"type":"text"}],"token_count":1}`, "token_count")
	twice(`{"role":"u","parts":[{"type":"text","type":"text"}]}`, "parts[0].type")
	twice(`{"role":"u","parts":[{"type":"text","text":"a","text":"b"}]}`, "parts[0].text")

	// Configuration.
	put := func(body, code, message string) { t.Helper(); f("PUT", "", body, code, message) }
	for _, v := range []string{"0", "-1", "1.0", "1e3", `"8000"`, "null", "9007199254740992", strings.Repeat("9", 400)} {
		put(`{"token_budget":`+v+`}`, "invalid_context_config", `"token_budget" must be a plain integer`)
	}
	for _, v := range []string{"0", "-0.5", "1.0000000000000000000000000000000000000000001", "2", `"0.7"`, "null", "0e5", "1e1", "1e-10", "1e400", "1e-400", "0." + strings.Repeat("0", 1000) + "1"} {
		put(`{"trigger_ratio":`+v+`}`, "invalid_context_config", `"trigger_ratio" must be a number above 0 and at most 1`)
	}
	put(`{"policy":"last_n"}`, "invalid_context_config", `"policy" must be an object`)
	put(`{"policy":null}`, "invalid_context_config", `"policy" must be an object`)
	put(`{"policy":{}}`, "invalid_context_config", `"policy.strategy" must be`)
	put(`{"policy":{"strategy":"first_n"}}`, "invalid_context_config", `"last_n", "skip_parts" or "manual"`)
	put(`{"policy":{"strategy":"LAST_N"}}`, "invalid_context_config", `"policy.strategy" must be`)
	put(`{"policy":{"strategy":1}}`, "invalid_context_config", `"policy.strategy" must be`)
	put(`{"policy":{"strategy":"last_n","config":[]}}`, "invalid_context_config", `"policy.config" must be an object`)
	put(`{"policy":{"strategy":"manual","config":null}}`, "invalid_context_config", `"policy.config" must be an object`)
	for _, v := range []string{"0", "-1", "1.5", `"5"`, "null", "2147483648"} {
		put(`{"policy":{"strategy":"last_n","config":{"limit":`+v+`}}}`, "invalid_context_config", `"policy.config.limit" must be`)
		put(`{"policy":{"strategy":"skip_parts","config":{"limit":`+v+`}}}`, "invalid_context_config", `"policy.config.limit" must be`)
	}
	for _, v := range []string{`"tool"`, "null", "{}", "[1]", `[""]`, `["` + strings.Repeat("k", 256) + `"]`, `["a"` + strings.Repeat(`,"a"`, 64) + `]`} {
		put(`{"policy":{"strategy":"skip_parts","config":{"skip_kinds":`+v+`}}}`, "invalid_context_config", `"policy.config.skip_kinds" must be`)
	}
	put(`{"policy":{"strategy":"last_n"},"policy":{"strategy":"last_n"}}`, "invalid_context_config", "twice")
	put(`{"policy":{"strategy":"last_n","strategy":"manual"}}`, "invalid_context_config", "twice")
	put(`{"policy":{"strategy":"last_n","config":{"limit":1,"limit":2}}}`, "invalid_context_config", "twice")
	put(`{"token_budget":1,"token_budget":2}`, "invalid_context_config", "twice")
	put(`{"metadata":[]}`, "invalid_metadata", `"metadata" must be an object`)
	put(`{"metadata":null}`, "invalid_metadata", `"metadata" must be an object`)
	f("PATCH", "/metadata", `{}`, "invalid_metadata", `"metadata"`)
	f("PATCH", "/metadata", `{"metadata":null}`, "invalid_metadata", `"metadata" must be an object`)
	f("PATCH", "/metadata", `{"metadata":"x"}`, "invalid_metadata", `"metadata" must be an object`)
	f("PATCH", "/metadata", `{"metadata":{},"metadata":{}}`, "invalid_metadata", "twice")

	require.Equal(t, writes, g.store.writes.Load(), "a refused request reached the log")
	require.Equal(t, before, g.ok(200, "GET", "/v1/contexts/c", ""))
}

// TestDeepNesting: 100,000 levels in a body that the limit lets pass.
func TestDeepNesting(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxBodyBytes = 1 << 20 })
	g.ok(201, "PUT", "/v1/contexts/c", "")
	for _, body := range []string{
		strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		`{"message":{"role":"u","parts":[{"type":"x","y":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}]}}`,
		`{"message":{"role":"u","parts":[{"type":"x","y":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + `}]}}`,
	} {
		g.refused(400, "invalid_json", "POST", "/v1/contexts/c/messages", body)
	}
	// As deep as it may be: 128 with the body's object, the message, parts and the part around it.
	nested := func(n int) string {
		return `{"message":{"role":"u","parts":[{"type":"x","y":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}]}}`
	}
	g.ok(201, "POST", "/v1/contexts/c/messages", nested(124))
	g.refused(400, "invalid_json", "POST", "/v1/contexts/c/messages", nested(125))
}

func TestBodyLimit(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	const path = "/v1/contexts/c/messages"
	body := func(size int) string {
		frame := len(`{"message":` + textMessage("") + `}`)
		return `{"message":` + textMessage(strings.Repeat("x", size-frame)) + `}`
	}
	g.ok(201, "POST", path, body(64<<10))
	a := g.refused(413, "payload_too_large", "POST", path, body(64<<10+1))
	require.True(t, a.closed)
	require.Contains(t, a.message(), "65536")
	// Far more than the sockets hold: the client can still read the answer.
	g.refused(413, "payload_too_large", "POST", path, body(20<<20))
	// Chunked, so that nobody knows beforehand.
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 32<<10, strings.Repeat(" ", 32<<10))
	a = g.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + chunk + chunk + "0\r\n\r\n")
	g.isError(a, 413, "payload_too_large")
	require.Equal(t, []int{1}, seqs(t, g.ok(200, "GET", path, "")))
}
