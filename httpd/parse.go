package httpd

import (
	"errors"
	"strconv"

	"fastpaca/shard"
	"fastpaca/shard/jsonscan"
	"fastpaca/tokenize"
)

// Bounds of what a body may ask for. Integers stop at 2^53-1, the largest that every JSON library carries
// exactly (RFC 8259, section 6).
const (
	maxInteger     = 1<<53 - 1
	maxTokenCount  = 1<<31 - 1
	maxBatch       = 1000   // messages of one append
	maxReplacement = 10_000 // messages of one compaction
)

// requestError says why a body is refused.
type requestError struct {
	api     *apiError
	message string
}

func refuse(api *apiError, message string) *requestError { return &requestError{api, message} }

// parser turns bodies into commands in one pass over the text, without copying or converting values: a
// message is validated where it stands, and stored as the run of bytes that it is. It keeps its memory
// from one request to the next; after a parse, its results refer to the body.
type parser struct {
	counter *tokenize.Counter

	body     []byte
	messages []message
	fields   []byte // members of the messages that had one left out in their middle
	aux      []byte
	parts    []part // of the message being parsed
	text     []byte // an unescaped string

	batch        bool // the body had "messages", so the answer has "results"
	hasIfVersion bool
	ifVersion    uint64

	importing bool   // the messages bring their own seq and inserted_at
	firstSeq  uint64 // that the first one brought
}

// message is one parsed message.
type message struct {
	fields  span // in body, or in parser.fields
	copied  bool // fields are in parser.fields
	counted bool // the server counted the tokens
	flags   uint16
	tokens  uint32
	role    span // raw string, in body
	aux     span // in parser.aux

	insertedMs int64 // with shard.FlagInserted
}

// span is a range of bytes. Bodies are far below 4 GiB: their limit is an int read from a flag, and
// fasthttp's is an int, but what is stored in a log entry has a 32-bit length.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// Memory that the parser keeps between requests, at most. The rare large request must not pin its size.
const (
	retainBytes    = 256 << 10
	retainMessages = maxBatch
	retainParts    = 256
)

// reset forgets the last request.
func (p *parser) reset() {
	p.body = nil
	if cap(p.messages) > retainMessages {
		p.messages = nil
	}
	if cap(p.parts) > retainParts {
		p.parts = nil
	}
	for _, b := range [...]*[]byte{&p.fields, &p.aux, &p.text} {
		if cap(*b) > retainBytes {
			*b = nil
		}
	}
}

func (p *parser) begin(body []byte) {
	p.body = body
	p.messages, p.fields, p.aux = p.messages[:0], p.fields[:0], p.aux[:0]
	p.batch, p.hasIfVersion, p.ifVersion = false, false, 0
	p.importing, p.firstSeq = false, 0
}

// parseAppend parses the body of POST messages.
func (p *parser) parseAppend(body []byte) *requestError {
	p.begin(body)
	return p.settle(p.append())
}

// parseCompact parses the body of POST compact.
func (p *parser) parseCompact(body []byte) *requestError {
	p.begin(body)
	return p.settle(p.compact())
}

// settle makes malformed JSON win over what else is wrong: a walk stops at the first fault, and a field
// of the wrong type in a body that was cut short is first of all a body that was cut short.
func (p *parser) settle(err *requestError) *requestError {
	if err == nil || err.api == errInvalidJSON {
		return err
	}
	if _, _, syntax := jsonscan.Document(p.body); syntax != nil {
		return badJSON(syntax)
	}
	return err
}

func badJSON(err error) *requestError {
	var syntax *jsonscan.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset == 0 && syntax.Code == jsonscan.Truncated {
		return refuse(errInvalidJSON, "the body is empty; send a JSON object")
	}
	return refuse(errInvalidJSON, "the body is not valid JSON: "+err.Error())
}

// object starts the walk over the body, which must be an object. api is the error if it is not.
func (p *parser) object(api *apiError) (jsonscan.Members, *requestError) {
	start := jsonscan.SkipSpace(p.body, 0)
	if start < len(p.body) && p.body[start] != '{' {
		return jsonscan.Members{}, refuse(api, "the body must be a JSON object")
	}
	return jsonscan.Object(p.body, start), nil
}

// end finishes the walk over the body: nothing but white space may follow.
func (p *parser) end(m *jsonscan.Members) *requestError {
	end, err := m.End()
	if err != nil {
		return badJSON(err)
	}
	if jsonscan.SkipSpace(p.body, end) < len(p.body) {
		_, _, err := jsonscan.Document(p.body)
		return badJSON(err)
	}
	return nil
}

func (p *parser) append() *requestError {
	m, err := p.object(errInvalidMessage)
	if err != nil {
		return err
	}
	var seen seen
	for m.Next() {
		name := p.member(m.Key())
		switch name {
		case memberMessage, memberMessages, memberIfVersion:
			if seen.twice(name) {
				return duplicate(errInvalidMessage, name.String())
			}
		}
		switch name {
		case memberMessage:
			if m.Kind() != '{' {
				return refuse(errInvalidMessage, `field "message" must be an object with "role" and "parts"`)
			}
			object := m.Object()
			if err := p.message(&object, place{errInvalidMessage, "message", -1}); err != nil {
				return err
			}
			m.LeaveObject(&object)
		case memberMessages:
			p.batch = true
			if m.Kind() != '[' {
				return refuse(errInvalidMessage, `field "messages" must be an array of 1 to 1000 messages`)
			}
			array := m.Array()
			if err := p.list(&array, place{errInvalidMessage, "messages", 0}, maxBatch); err != nil {
				return err
			}
			m.LeaveArray(&array)
		case memberIfVersion:
			if err := p.guard(&m, errInvalidMessage); err != nil {
				return err
			}
		}
	}
	if err := p.end(&m); err != nil {
		return err
	}
	switch one, many := seen.has(memberMessage), seen.has(memberMessages); {
	case one && many:
		return refuse(errInvalidMessage, `send either "message" or "messages", not both`)
	case !one && !many:
		return refuse(errInvalidMessage, `the body must have a field "message" (an object) or "messages" (an array)`)
	case len(p.messages) == 0:
		return refuse(errInvalidMessage, `field "messages" must have 1 to 1000 messages, and has none`)
	}
	return nil
}

func (p *parser) compact() *requestError {
	m, err := p.object(errInvalidReplacement)
	if err != nil {
		return err
	}
	var seen seen
	for m.Next() {
		name := p.member(m.Key())
		switch name {
		case memberReplacement, memberIfVersion:
			if seen.twice(name) {
				return duplicate(errInvalidReplacement, name.String())
			}
		}
		switch name {
		case memberReplacement:
			if m.Kind() != '[' {
				return refuse(errInvalidReplacement, `field "replacement" must be an array of messages; it may be empty`)
			}
			array := m.Array()
			if err := p.list(&array, place{errInvalidReplacement, "replacement", 0}, maxReplacement); err != nil {
				return err
			}
			m.LeaveArray(&array)
		case memberIfVersion:
			if err := p.guard(&m, errInvalidReplacement); err != nil {
				return err
			}
		}
	}
	if err := p.end(&m); err != nil {
		return err
	}
	if !seen.has(memberReplacement) {
		return refuse(errInvalidReplacement, `the body must have a field "replacement", an array of messages; it may be empty`)
	}
	return nil
}

// list parses an array of at most limit messages.
func (p *parser) list(array *jsonscan.Elements, at place, limit int) *requestError {
	for ; array.Next(); at.index++ {
		if at.index >= limit {
			return refuse(at.api, "field "+strconv.Quote(at.list)+" must have at most "+strconv.Itoa(limit)+" messages; send the rest in another request")
		}
		if array.Kind() != '{' {
			return refuse(at.api, "field "+at.name("")+` must be an object with "role" and "parts"`)
		}
		object := array.Object()
		if err := p.message(&object, at); err != nil {
			return err
		}
		array.LeaveObject(&object)
	}
	if _, err := array.End(); err != nil {
		return badJSON(err)
	}
	return nil
}

// guard parses if_version.
func (p *parser) guard(m *jsonscan.Members, api *apiError) *requestError {
	v := m.Value()
	if v == nil {
		return nil // malformed; the end of the walk says how
	}
	n, ok := parseInteger(v, maxInteger)
	if !ok {
		return refuse(api, `field "if_version" must be a plain integer from 0 to 9007199254740991, without quotes, fraction or exponent`)
	}
	p.hasIfVersion, p.ifVersion = true, n
	return nil
}

// encode appends what was parsed as a command that begin, shard.BeginAppend or shard.BeginCompact, opens.
func (p *parser) encode(dst []byte, begin func([]byte, shard.AppendHeader) []byte, h shard.AppendHeader) []byte {
	h.HasIfVersion, h.IfVersion, h.Count = p.hasIfVersion, p.ifVersion, len(p.messages)
	h.HasFirstSeq, h.FirstSeq = p.importing, p.firstSeq
	dst = begin(dst, h)
	for i := range p.messages {
		m := &p.messages[i]
		text := p.body
		if m.copied {
			text = p.fields
		}
		dst = shard.AppendMessage(dst, &shard.Message{
			Fields: m.fields.of(text), Tokens: m.tokens, Flags: m.flags, Aux: m.aux.of(p.aux),
			InsertedMs: m.insertedMs,
		})
	}
	return dst
}

// unescape returns the text of a raw string, in p.text if it has escapes: valid until the next call.
func (p *parser) unescape(raw []byte) []byte {
	if !jsonscan.HasEscapes(raw) {
		return raw[1 : len(raw)-1]
	}
	p.text = jsonscan.Unescape(p.text[:0], raw)
	return p.text
}

func duplicate(api *apiError, field string) *requestError {
	return refuse(api, "field "+strconv.Quote(field)+" is given twice; send it once")
}

// place says where in a body a message stands, to name fields in errors.
type place struct {
	api   *apiError
	list  string
	index int // -1: list is the message itself
}

// name is the quoted path of a field of the message: "messages[3].role".
func (at place) name(field string) string {
	path := at.list
	if at.index >= 0 {
		path += "[" + strconv.Itoa(at.index) + "]"
	}
	if field != "" {
		path += "." + field
	}
	return `"` + path + `"`
}
