package httpd

import (
	"bytes"
	"strconv"

	"fastpaca/ring"
	"fastpaca/shard"
	"fastpaca/shard/jsonscan"
)

// part is what the tokens and the aux of a message need to know of one of its parts.
type part struct {
	raw  span // the part's JSON
	text span // the raw string of a text part; empty: count raw
	kind uint8
	id   uint64 // ring.Part.ID
}

// message parses one message and adds it to p.messages. Members that only the server may set (seq,
// inserted_at) are dropped, or taken in if it is imported, token_count is taken out, and everything else is kept as sent: as one run of
// the body where nothing in the middle was taken out, else copied to p.fields.
func (p *parser) message(m *jsonscan.Members, at place) *requestError {
	var (
		msg      message
		seen     seen
		run      span // of members that stand together in the body, the last of them so far
		cut      bool
		copyFrom = len(p.fields)
	)
	p.parts = p.parts[:0]
	for m.Next() {
		name := p.member(m.Key())
		kept := true
		switch name {
		case memberRole, memberParts, memberMetadata, memberTokenCount:
			if seen.twice(name) {
				return duplicate(at.api, at.path(name.String()))
			}
		case memberSeq, memberInsertedAt:
			if seen.twice(name) && p.importing {
				return duplicate(at.api, at.path(name.String()))
			}
		}
		switch name {
		case memberRole:
			v := m.Value()
			if v != nil && (v[0] != '"' || len(v) == 2) {
				return refuse(at.api, "field "+at.name("role")+" must be a non-empty string")
			}
			msg.role = span{m.Start(), m.Start() + len(v)}
		case memberParts:
			if m.Kind() != '[' {
				return refuse(at.api, "field "+at.name("parts")+" must be an array of at least one object")
			}
			parts := m.Array()
			if err := p.messageParts(&parts, at); err != nil {
				return err
			}
			m.LeaveArray(&parts)
		case memberMetadata:
			if m.Kind() != '{' {
				return refuse(at.api, "field "+at.name("metadata")+" must be an object; leave it out if there is none")
			}
			if p.importing && addedByServer(m.Value(), seen) {
				kept = false
				msg.flags |= shard.FlagNoMetadata
			}
		case memberTokenCount:
			kept = false
			if v := m.Value(); v != nil {
				n, ok := parseInteger(v, maxTokenCount)
				if !ok {
					return refuse(at.api, "field "+at.name("token_count")+" must be a plain integer from 0 to 2147483647, without quotes, fraction or exponent")
				}
				msg.tokens = uint32(n)
			}
		case memberSeq, memberInsertedAt:
			kept = false
			if v := m.Value(); v != nil && p.importing {
				if err := p.own(name, v, at, &msg); err != nil {
					return err
				}
			}
		}
		v := m.Value()
		if v == nil {
			break // malformed; the end of the walk says how
		}
		if !kept {
			cut = true
			continue
		}
		end := m.Start() + len(v)
		switch {
		case run.to == 0:
			run = span{m.KeyStart(), end}
		case cut: // something between the run and this member was left out
			p.copyRun(run, copyFrom)
			run = span{m.KeyStart(), end}
		default:
			run.to = end
		}
		cut = false
	}
	if _, err := m.End(); err != nil {
		return badJSON(err)
	}
	switch {
	case !seen.has(memberRole):
		return refuse(at.api, "field "+at.name("role")+" is missing; it must be a non-empty string")
	case !seen.has(memberParts):
		return refuse(at.api, "field "+at.name("parts")+" is missing; it must be an array of at least one object")
	}
	if p.importing {
		if err := seen.owned(at); err != nil {
			return err
		}
		msg.flags |= shard.FlagInserted
	}

	msg.fields = run
	if len(p.fields) > copyFrom {
		p.copyRun(run, copyFrom)
		msg.fields, msg.copied = span{copyFrom, len(p.fields)}, true
	}
	if jsonscan.Equal(msg.role.of(p.body), "system") {
		msg.flags |= ring.FlagSystem
	}
	if !seen.has(memberMetadata) {
		msg.flags |= shard.FlagNoMetadata
	}
	p.digest(&msg, !seen.has(memberTokenCount))
	p.messages = append(p.messages, msg)
	return nil
}

// copyRun appends a run of members to those of the same message, which begin at from.
func (p *parser) copyRun(run span, from int) {
	if len(p.fields) > from {
		p.fields = append(p.fields, ',')
	}
	p.fields = append(p.fields, run.of(p.body)...)
}

// messageParts parses the parts of a message into p.parts.
func (p *parser) messageParts(parts *jsonscan.Elements, at place) *requestError {
	for parts.Next() {
		if parts.Kind() != '{' {
			return refuse(at.api, "field "+at.part(len(p.parts), "")+` must be an object with a string "type"`)
		}
		object := parts.Object()
		pt, err := p.part(&object, at)
		if err != nil {
			return err
		}
		parts.LeaveObject(&object)
		pt.raw = span{parts.Start(), parts.Start() + len(parts.Value())}
		p.parts = append(p.parts, pt)
	}
	if _, err := parts.End(); err != nil {
		return badJSON(err)
	}
	if len(p.parts) == 0 {
		return refuse(at.api, "field "+at.name("parts")+" must have at least one part")
	}
	return nil
}

// part parses one part: its type, the text if it is a text part, the id if it is a tool part.
func (p *parser) part(m *jsonscan.Members, at place) (part, *requestError) {
	var (
		pt        part
		seen      seen
		kind, txt []byte
		textAt    int
		id        []byte
		idName    member
	)
	for m.Next() {
		switch name := p.member(m.Key()); name {
		case memberType:
			if seen.twice(name) {
				return pt, duplicate(at.api, at.partPath(len(p.parts), "type"))
			}
			if m.Kind() != '"' {
				return pt, refuse(at.api, "field "+at.part(len(p.parts), "type")+" must be a string")
			}
			kind = m.Value()
		case memberText:
			if seen.twice(name) {
				return pt, duplicate(at.api, at.partPath(len(p.parts), "text"))
			}
			if m.Kind() == '"' {
				txt, textAt = m.Value(), m.Start()
			}
		case memberToolCallID, memberToolCallIDCamel, memberToolUseID, memberCallID, memberID:
			// The first in the order of the list above, of those that are non-empty strings.
			if m.Kind() == '"' && (id == nil || name < idName) {
				if v := m.Value(); len(v) > 2 {
					id, idName = v, name
				}
			}
		}
	}
	if _, err := m.End(); err != nil {
		return pt, badJSON(err)
	}
	switch {
	case kind == nil:
		return pt, refuse(at.api, "field "+at.part(len(p.parts), "type")+" is missing; it must be a string")
	case jsonscan.Equal(kind, "text"):
		if txt != nil {
			pt.text = span{textAt, textAt + len(txt)}
		}
	case jsonscan.HasPrefix(kind, "tool"):
		pt.kind = toolKind(p.unescape(kind))
		if id != nil {
			pt.id = max(jsonscan.Hash(id), 1) // 0 means there is none
		}
	}
	return pt, nil
}

// toolKind tells a tool's result from a call by the part's type, which starts with "tool".
func toolKind(kind []byte) uint8 {
	for _, s := range [...]string{"result", "output", "response"} {
		if bytes.Contains(kind, []byte(s)) {
			return ring.PartResult
		}
	}
	return ring.PartCall
}

// digest counts the tokens of the message in p.parts and encodes its aux. Where the client has counted,
// parts are counted only if the aux needs it. A text part counts its text; any other its JSON as sent.
func (p *parser) digest(msg *message, count bool) {
	for i := range p.parts {
		switch p.parts[i].kind {
		case ring.PartCall:
			msg.flags |= ring.FlagToolCall
		case ring.PartResult:
			msg.flags |= ring.FlagToolResult
		}
	}
	hasAux := len(p.parts) >= 2 || msg.flags&(ring.FlagToolCall|ring.FlagToolResult) != 0
	if !count && !hasAux {
		return
	}
	auxFrom := len(p.aux)
	if hasAux {
		p.aux = ring.BeginAux(p.aux, len(p.parts))
	}
	total := 0
	for i := range p.parts {
		pt := &p.parts[i]
		text := pt.raw.of(p.body)
		if pt.text.to != 0 {
			text = p.unescape(pt.text.of(p.body))
		}
		n := p.counter.Count(text)
		total += n
		if hasAux {
			p.aux = ring.AppendPart(p.aux, ring.Part{Tokens: uint32(n), Kind: pt.kind, ID: pt.id})
		}
	}
	msg.aux = span{auxFrom, len(p.aux)}
	if count {
		msg.tokens, msg.counted = uint32(total), true
	}
}

// path is name without the quotes.
func (at place) path(field string) string {
	name := at.name(field)
	return name[1 : len(name)-1]
}

func (at place) partPath(index int, field string) string {
	path := at.path("parts") + "[" + strconv.Itoa(index) + "]"
	if field != "" {
		path += "." + field
	}
	return path
}

// part is the quoted path of a field of a part: "message.parts[0].type".
func (at place) part(index int, field string) string { return `"` + at.partPath(index, field) + `"` }
