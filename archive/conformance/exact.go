package conformance

import (
	"math"
	"strings"
	"testing"

	"fastpaca/archive"
)

// oddFields are members of messages that some JSON library, database or line protocol somewhere mangles.
func oddFields() []string {
	return []string{
		`"role":"user","parts":[{"type":"n","v":[1.0e5,1E+2,-0,-0.0,0.10,1e-7,100000000000000000000000000000000001,1.7976931348623157e308,1e400,4.9e-324]}]`,
		`"role":"user","parts":[{"type":"n","v":[1e99999,1e-99999,-1E+131073,0.` + strings.Repeat("1", 20000) + `]}]`,
		`"role":"user","parts":[{"z":1,"a":2,"type":"order","a":3,"z":4}],"metadata":{"b":1,"a":{"d":1,"c":2},"b":2}`,
		`"role":"user","parts":[{"type":"e","text":"\u0041\/\b\f\n\r\t\"\\ \u00e4 \u2028\u2029 \u001f"}]`,
		`"role":"user","parts":[{"type":"nul","te\u0000xt":"a\u0000b","x":"\\u0000","y":"\\\u0000"}],"metadata":{"\u0000":"\u0000"}`,
		`"role":"us\u0000er","parts":[{"type":"role"}]`,
		`"role":"us\ud800er\u00e4","parts":[{"type":"role"}]`,
		`"role":"user","parts":[{"type":"s","text":"\ud800 \udc00 \ud83d\ude00 \uD83D\uDE00 \ud83d\ud83d\ude00 \udc00\ud800","k":"\ud83d"}]`,
		`"role":"user","parts":[{"type":"u","text":"äöü 漢字 😀 👨‍👩‍👧‍👦 ` + "\u007f\u0080\u2028\ufeff\uffff\U0010ffff" + `"}]`,
		"\"role\" :\t\"user\" ,\n\n \"parts\" : [ { \"type\" : \"space\" ,\r\n \"text\" : \"x\" } ] , \"metadata\" : { }",
		"\n\"role\":\"user\",\"parts\":[\n{\"type\":\"t\"}\n]\n",
		`"id":"client-7","parts":[{"type":"unknown members"}],"role":"tool","extra":{"deep":[[[[null,true,false]]]]}`,
		`"role":"` + strings.Repeat("r", 4000) + `","parts":[{"type":"long role"}]`,
		`"role":"user","parts":[{"type":"deep","v":` + strings.Repeat("[", 120) + strings.Repeat("]", 120) + `}]`,
		`"role":"user","parts":[` + strings.Repeat(`{"type":"many"},`, 20000) + `{"type":"last"}]`,
		`"role":"user","parts":[{"type":"big","text":"` + strings.Repeat("0123456789abcdef", 5<<20/16) + `"}]`,
		`"role":"user","parts":[{"type":"context_id\",\"seq\":1","text":"}\\n{"}],"message":{"seq":2},"metadata":{"lf":[1,2]}`,
	}
}

func byteExact(t *testing.T, p *Place) {
	s := p.Open()
	ids := []string{"a", "ä漢😀", `quote"back\slash`, strings.Repeat("x", 255), "trailing ", "%00", "a.b,c;d", "\u0080\u2028\U0010ffff", "..", "."}
	var all []archive.Row
	for _, id := range ids {
		for i, f := range oddFields() {
			if len(f) > 1<<20 && id != "a" {
				continue
			}
			all = append(all, withFields(id, uint64(i+1), f))
		}
	}
	put(t, s, all, len(all))
	for _, s := range [...]archive.Store{s, p.Open()} {
		for _, id := range ids {
			var want []archive.Row
			for _, r := range all {
				if r.Context == id {
					want = append(want, r)
				}
			}
			wantRows(t, s, id, 1, math.MaxUint64, whole, want)
		}
	}
	// Extreme facts beside the message.
	odd := Row("facts", 1)
	odd.Tokens, odd.InsertedMs = math.MaxInt32, 253402300799999
	old := Row("facts", 2)
	old.Tokens, old.InsertedMs = 0, 0
	put(t, s, []archive.Row{odd, old}, 2)
	wantRows(t, s, "facts", 1, 2, whole, []archive.Row{odd, old})
}
