package httpd

import (
	"strconv"
	"time"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// An import is an append (POST .../messages?import=true) whose messages are already history somewhere: each says its own
// seq and inserted_at, as GET .../messages showed them, and keeps both. What comes out is byte for byte what went in.
//
// seq is the guard as well: the messages of one request must be consecutive and the first must be the context's next, else
// 409 conflict tells last_seq. So whoever does not know whether a request arrived sends it again, or asks for last_seq and
// goes on behind it: nothing can be doubled, and nothing skipped.

// importSlack is how much larger than MaxBodyBytes the body of an import may be: a message that just fitted when it was
// sent has become longer by what the server puts into it, about 120 bytes.
const importSlack = 1 << 10

// importQuery is how an import is known before its request is parsed. What only looks like one gets the slack, too.
var importQuery = []byte("import=true")

// importing reads the parameter import. On a bad value it answers the error and returns false.
func importing(ctx *fasthttp.RequestCtx) (yes, ok bool) {
	_, query := target(ctx)
	if len(query) == 0 {
		return false, true
	}
	var buf [64]byte
	value, n := parameter(&buf, query, "import")
	if n == 1 {
		switch string(value) {
		case "true", "1":
			return true, true
		case "false", "0":
			return false, true
		}
	}
	if n > 0 {
		writeError(ctx, errInvalidQuery, `parameter "import" must be true or false, given once`)
	}
	return false, n == 0
}

// parseImport parses the body of an import.
func (p *parser) parseImport(body []byte) *requestError {
	p.begin(body)
	p.importing = true
	return p.settle(p.append())
}

// own takes in a member that only an import may bring: the seq or the time of a message. v is its raw value.
func (p *parser) own(name member, v []byte, at place, msg *message) *requestError {
	if name == memberSeq {
		n, ok := parseInteger(v, maxInteger)
		if !ok || n == 0 {
			return refuse(at.api, "field "+at.name("seq")+" must be a plain integer from 1 to 9007199254740991")
		}
		if len(p.messages) == 0 {
			p.firstSeq = n
		} else if want := p.firstSeq + uint64(len(p.messages)); n != want {
			return refuse(at.api, "field "+at.name("seq")+" is "+strconv.FormatUint(n, 10)+" where "+strconv.FormatUint(want, 10)+
				" follows; the messages of one import must be consecutive")
		}
		return nil
	}
	if v[0] == '"' {
		if when, err := time.Parse(time.RFC3339, string(p.unescape(v))); err == nil {
			if msg.insertedMs = when.UnixMilli(); msg.insertedMs >= 0 && when.UTC().Year() <= 9999 {
				return nil
			}
		}
	}
	return refuse(at.api, "field "+at.name("inserted_at")+" must be a time in RFC 3339, from 1970 to 9999, such as \"2025-01-24T12:00:15.120Z\"")
}

// owned checks that an imported message brought what it must.
func (s seen) owned(at place) *requestError {
	for _, name := range [...]member{memberSeq, memberInsertedAt} {
		if !s.has(name) {
			return refuse(at.api, "field "+at.name(name.String())+" is missing; an imported message brings its own")
		}
	}
	return nil
}

// addedByServer says whether the metadata of an imported message are those that a server puts into a message without
// any: behind token_count, where a client's never stand, since token_count follows all that the client sent.
func addedByServer(raw []byte, before seen) bool {
	return before.has(memberTokenCount) && string(raw) == "{}"
}

// writeSeqConflict is the 409 of an import that does not follow the newest message.
func writeSeqConflict(ctx *fasthttp.RequestCtx, first uint64, r *shard.Result) {
	dst := beginBody(ctx, errConflict.status)
	dst = append(dst, `{"error":"conflict","message":"the import begins at seq `...)
	dst = strconv.AppendUint(dst, first, 10)
	dst = append(dst, ` but the context's newest message has seq `...)
	dst = strconv.AppendUint(dst, r.LastSeq, 10)
	dst = append(dst, `; go on behind that one","version":`...)
	dst = strconv.AppendUint(dst, r.Version, 10)
	dst = append(dst, `,"last_seq":`...)
	dst = strconv.AppendUint(dst, r.LastSeq, 10)
	endBody(ctx, append(dst, '}'))
}
