package httpd

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fastpaca/ring"
	"fastpaca/shard"
	"fastpaca/shard/jsonscan"

	"github.com/stretchr/testify/require"
)

func newParser(t testing.TB) *parser { return &parser{counter: testCounter(t)} }

// parsed is a message in a form that tests can compare.
type parsed struct {
	fields string
	tokens uint32
	flags  uint16
	parts  []ring.Part // of the aux
}

func (p *parser) results(t testing.TB) (out []parsed) {
	t.Helper()
	for i := range p.messages {
		m := &p.messages[i]
		text := p.body
		if m.copied {
			text = p.fields
		}
		r := parsed{fields: string(m.fields.of(text)), tokens: m.tokens, flags: m.flags}
		if aux := m.aux.of(p.aux); len(aux) > 0 {
			n, flags, ok := ring.ScanAux(aux)
			require.True(t, ok)
			require.Equal(t, len(aux), n)
			require.Equal(t, m.flags&(ring.FlagToolCall|ring.FlagToolResult), flags)
			for reader := ring.ReadAux(aux); ; {
				part, ok := reader.Next()
				if !ok {
					break
				}
				r.parts = append(r.parts, part)
			}
		}
		out = append(out, r)
	}
	return out
}

func TestParsedMessages(t *testing.T) {
	p := newParser(t)
	hash := func(s string) uint64 { return jsonscan.Hash([]byte(`"` + s + `"`)) }
	f := func(message string, want parsed) {
		t.Helper()
		if err := p.parseAppend([]byte(`{"message":` + message + `}`)); err != nil {
			t.Fatalf("%s: %s", message, err.message)
		}
		got := p.results(t)
		require.Len(t, got, 1)
		require.Equal(t, want, got[0])
	}
	const none = shard.FlagNoMetadata

	f(`{"role":"user","parts":[{"type":"text","text":"12345678"}]}`, parsed{fields: `"role":"user","parts":[{"type":"text","text":"12345678"}]`, tokens: 2, flags: none})
	f(`{"role":"system","metadata":{},"parts":[{"type":"t\u0065xt","text":"\u0031\u0032"}]}`,
		parsed{fields: `"role":"system","metadata":{},"parts":[{"type":"t\u0065xt","text":"\u0031\u0032"}]`, tokens: 1, flags: ring.FlagSystem})
	f(`{"role":"s\u0079stem","parts":[{"type":"text","text":""}]}`, parsed{fields: `"role":"s\u0079stem","parts":[{"type":"text","text":""}]`, flags: ring.FlagSystem | none})
	// A text part without a string text, and any other part, count their JSON.
	f(`{"role":"u","parts":[{"type":"text"}]}`, parsed{fields: `"role":"u","parts":[{"type":"text"}]`, tokens: 4, flags: none})
	f(`{"role":"u","parts":[{"type":"text","text":5}]}`, parsed{fields: `"role":"u","parts":[{"type":"text","text":5}]`, tokens: 6, flags: none})
	f(`{"role":"u","parts":[ {"type":"data","x":1} ]}`, parsed{fields: `"role":"u","parts":[ {"type":"data","x":1} ]`, tokens: 6, flags: none})
	// token_count is taken verbatim, and out.
	f(`{"role":"u","parts":[{"type":"text","text":"12345678"}],"token_count":0}`, parsed{fields: `"role":"u","parts":[{"type":"text","text":"12345678"}]`, flags: none})
	f(`{"role":"u","token_count":2147483647, "parts":[{"type":"text","text":"x"}]}`, parsed{fields: `"role":"u","parts":[{"type":"text","text":"x"}]`, tokens: 2147483647, flags: none})
	// Two parts, or a tool part, leave an aux, counted even if the message is.
	f(`{"role":"u","parts":[{"type":"text","text":"12345678"},{"type":"image"}],"token_count":9}`, parsed{
		fields: `"role":"u","parts":[{"type":"text","text":"12345678"},{"type":"image"}]`, tokens: 9, flags: none, parts: []ring.Part{{Tokens: 2}, {Tokens: 4}}})
	tool := func(part string, kind uint8, id uint64) {
		t.Helper()
		flag := uint16(ring.FlagToolCall)
		if kind == ring.PartResult {
			flag = ring.FlagToolResult
		}
		tokens := uint32((len(part) + 3) / 4)
		f(`{"role":"u","parts":[`+part+`]}`, parsed{fields: `"role":"u","parts":[` + part + `]`, tokens: tokens, flags: flag | none,
			parts: []ring.Part{{Tokens: tokens, Kind: kind, ID: id}}})
	}
	tool(`{"type":"tool_call"}`, ring.PartCall, 0)
	tool(`{"type":"tool"}`, ring.PartCall, 0)
	tool(`{"type":"\u0074ool_use","id":"a"}`, ring.PartCall, hash("a"))
	tool(`{"type":"tool-invocation","toolCallId":"b","id":"a"}`, ring.PartCall, hash("b"))
	tool(`{"type":"tool_call","id":"a","call_id":"c"}`, ring.PartCall, hash("c"))
	tool(`{"type":"tool_call","call_id":"c","tool_use_id":"d"}`, ring.PartCall, hash("d"))
	tool(`{"type":"tool_result","id":"a","tool_call_id":"\u0065"}`, ring.PartResult, hash("e"))
	tool(`{"type":"tool_result","tool_call_id":"","id":7}`, ring.PartResult, 0)
	tool(`{"type":"tool-output-available","id":"a","tool_call_id":5}`, ring.PartResult, hash("a"))
	tool(`{"type":"tool_r\u0065sponse"}`, ring.PartResult, 0)
	f(`{"role":"u","parts":[{"type":"atool_result","id":"a"}],"token_count":3}`, parsed{fields: `"role":"u","parts":[{"type":"atool_result","id":"a"}]`, tokens: 3, flags: none})
}

func TestParsedGuard(t *testing.T) {
	p := newParser(t)
	f := func(body string, has bool, version uint64) {
		t.Helper()
		require.Nil(t, p.parseAppend([]byte(body)))
		require.Equal(t, has, p.hasIfVersion)
		require.Equal(t, version, p.ifVersion)
	}
	f(`{"if_version":41,"message":`+textMessage("x")+`}`, true, 41)
	f(`{"message":`+textMessage("x")+`}`, false, 0)
	f(`{"message":`+textMessage("x")+`,"if\u005fversion":0}`, true, 0)
	f(`{"id":1,"id":2,"role":3,"role":4,"message":`+textMessage("x")+`,"if_version":9007199254740991}`, true, maxInteger)
}

// A parser that met something large gives the memory back.
func TestParserRetainsLittle(t *testing.T) {
	p := newParser(t)
	long := strings.Repeat(`\n`, 1<<20)
	require.Nil(t, p.parseAppend([]byte(`{"message":{"role":"u","token_count":1,"parts":[{"type":"text","text":"`+long+`"},{"type":"x"}],"seq":1,"z":1}}`)))
	require.Nil(t, p.parseCompact([]byte(`{"replacement":[`+strings.Repeat(textMessage("x")+",", 5000)+textMessage("x")+`]}`)))
	p.reset()
	require.Nil(t, p.body)
	for _, n := range []int{cap(p.fields), cap(p.aux), cap(p.text)} {
		require.LessOrEqual(t, n, retainBytes)
	}
	require.LessOrEqual(t, cap(p.messages), retainMessages)
	require.LessOrEqual(t, cap(p.parts), retainParts)
}

// checkStored applies what a body was parsed to and checks what comes out of the state machine: valid
// JSON, with the members of the client as encoding/json sees them.
func checkStored(t *testing.T, m *shard.Machine, index *uint64, cmd []byte) (res shard.Result) {
	t.Helper()
	*index++
	require.NoError(t, m.Apply(*index, cmd, &res))
	require.Equal(t, shard.CodeOK, res.Code)
	return res
}

func newMachine(t *testing.T) (*shard.Machine, *uint64) {
	m, index := shard.NewMachine(0), new(uint64)
	checkStored(t, m, index, shard.EncodePut(nil, &shard.Put{ID: []byte("c")}))
	return m, index
}

// sentMembers takes the members of a message apart with encoding/json, those of the server's left out.
func sentMembers(t *testing.T, text []byte) (names []string, values []string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(text)))
	tok, err := d.Token()
	require.NoError(t, err)
	require.Equal(t, json.Delim('{'), tok)
	for d.More() {
		name, err := d.Token()
		require.NoError(t, err)
		var v json.RawMessage
		require.NoError(t, d.Decode(&v))
		if n := name.(string); n != "seq" && n != "token_count" && n != "inserted_at" {
			names, values = append(names, n), append(values, string(v))
		}
	}
	return names, values
}

func requireSame(t *testing.T, sent, stored []byte) {
	t.Helper()
	require.True(t, json.Valid(stored), "%s", stored)
	names, values := sentMembers(t, sent)
	gotNames, gotValues := sentMembers(t, stored)
	if len(gotNames) == len(names)+1 { // metadata that the server put in
		require.Equal(t, "metadata", gotNames[len(names)])
		require.Equal(t, "{}", gotValues[len(names)])
		gotNames, gotValues = gotNames[:len(names)], gotValues[:len(names)]
	}
	require.Equal(t, names, gotNames)
	require.Equal(t, values, gotValues)
}

var appendSeeds = []string{
	`{"message":{"role":"user","parts":[{"type":"text","text":"hello"}]}}`,
	`{"messages":[{"role":"user","parts":[{"type":"text","text":"a"},{"type":"tool_call","id":"x"}],"token_count":5},{"seq":1,"role":"a","inserted_at":"","parts":[{"type":"x"}],"metadata":{"a":1.0}}],"if_version":0}`,
	`{"message":{"ro\u006ce":"user","parts":[{"type":"t\u0065xt","text":"\ud83d\ude00"}],"token_count":1,"seq":2}}`,
	`{"message":{"role":"u","parts":[{"type":"tool_result","tool_call_id":"a"}],"x":1,"x":2}}`,
	`{"message":{"role":"u","parts":[{"type":"x"}],"token_count":1e3}}`,
	`{"if_version":1,"message":{"role":"u"`,
}

// FuzzParseAppend: nothing panics; what is accepted is stored as it was sent, and reads as valid JSON.
func FuzzParseAppend(f *testing.F) {
	for _, s := range appendSeeds {
		f.Add([]byte(s))
	}
	p := newParser(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		kept := string(body)
		if err := p.parseAppend(body); err != nil {
			requireUseful(t, err)
			return
		}
		require.True(t, json.Valid(body))
		require.Equal(t, kept, string(body), "the parser wrote to the body")
		p.results(t)
		p.hasIfVersion = false
		m, index := newMachine(t)
		res := checkStored(t, m, index, p.encode(nil, shard.BeginAppend, shard.AppendHeader{ID: []byte("c")}))
		require.Equal(t, len(p.messages), res.Count)

		var sent struct {
			Message  json.RawMessage
			Messages []json.RawMessage
		}
		sent.Message, sent.Messages = rawMessages(t, body, "message", "messages")
		if sent.Message != nil {
			sent.Messages = []json.RawMessage{sent.Message}
		}
		var v shard.View
		m.Lookup([]byte("c")).View(&v)
		for i, text := range sent.Messages {
			stored, _, _ := v.Message(res.FirstSeq + uint64(i))
			requireSame(t, text, stored)
		}
		for _, answer := range [][]byte{v.AppendTail(nil, 100, 0), v.AppendHistory(nil, 1, 100), v.AppendWindow(nil, 0)} {
			require.True(t, json.Valid(answer), "%s", answer)
		}
	})
}

// rawMessages finds the members of the body exactly by name: encoding/json's struct tags ignore case.
func rawMessages(t *testing.T, body []byte, one, many string) (json.RawMessage, []json.RawMessage) {
	t.Helper()
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(body, &all))
	var list []json.RawMessage
	if raw := all[many]; raw != nil {
		require.NoError(t, json.Unmarshal(raw, &list))
	}
	return all[one], list
}

// FuzzParseCompact is FuzzParseAppend for compactions.
func FuzzParseCompact(f *testing.F) {
	for _, s := range append(appendSeeds, `{"replacement":[],"if_version":2}`) {
		f.Add([]byte(strings.Replace(s, `"messages"`, `"replacement"`, 1)))
	}
	p := newParser(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := p.parseCompact(body); err != nil {
			requireUseful(t, err)
			return
		}
		require.True(t, json.Valid(body))
		p.hasIfVersion = false
		m, index := newMachine(t)
		checkStored(t, m, index, p.encode(nil, shard.BeginCompact, shard.AppendHeader{ID: []byte("c")}))
		_, sent := rawMessages(t, body, "", "replacement")
		var v shard.View
		m.Lookup([]byte("c")).View(&v)
		window := v.AppendWindow(nil, 1<<50)
		var got struct{ Messages []json.RawMessage }
		require.NoError(t, json.Unmarshal(window, &got), "%s", window)
		require.LessOrEqual(t, len(got.Messages), len(sent)) // orphaned tool results may be left out
		if len(got.Messages) == len(sent) {
			for i := range sent {
				requireSame(t, sent[i], got.Messages[i])
			}
		}
	})
}

// FuzzParsePut: nothing panics; what is accepted reads back as valid JSON with the metadata as sent.
func FuzzParsePut(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"token_budget":1,"trigger_ratio":0.5,"policy":{"strategy":"skip_parts","config":{"skip_kinds":["a"],"limit":3}},"metadata":{"a":1e0}}`,
		`{"policy":{"strategy":"manual"}}`, `{"metadata":{"\u0061":1,"a":2}}`} {
		f.Add([]byte(s))
	}
	p := newParser(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if patch, err := p.parsePatch(body); err == nil {
			m, index := newMachine(t)
			res := checkStored(t, m, index, shard.EncodePatchMetadata(nil, []byte("c"), patch))
			require.True(t, json.Valid(res.View.AppendContext(nil)))
		} else {
			requireUseful(t, err)
		}
		put := shard.Put{ID: []byte("c")}
		if err := p.parsePut(body, &put); err != nil {
			requireUseful(t, err)
			return
		}
		m, index := newMachine(t)
		res := checkStored(t, m, index, shard.EncodePut(nil, &put))
		got := res.View.AppendContext(nil)
		require.True(t, json.Valid(got), "%s", got)
		if put.HasMetadata {
			require.Contains(t, string(got), `"metadata":`+string(put.Metadata)+`,"version"`)
		}
	})
}

// requireUseful checks what every refusal must have.
func requireUseful(t *testing.T, err *requestError) {
	t.Helper()
	require.Equal(t, 400, err.api.status)
	require.NotEmpty(t, err.message)
	require.Less(t, len(err.message), 300)
	require.True(t, json.Valid(appendQuoted(nil, err.message)), fmt.Sprintf("%q", err.message))
}
