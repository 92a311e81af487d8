package httpd

import "bytes"

// quickHead is what the quick way knows of a request: an append, by these rules and no others. Slices point into the
// bytes that were parsed.
//
//	POST /v1/contexts/{id}/messages HTTP/1.1 CRLF      id of unreserved characters, no query
//	name: value CRLF                                    any but those of refusedHeader, each with CRLF, no folding,
//	                                                    printable ASCII; one Host, at most one Authorization
//	CRLF
//	Content-Length bytes, and nothing behind them
type quickHead struct {
	id            []byte
	contentType   []byte
	authorization []byte
	body          int // where the body begins
}

const (
	quickMethod  = "POST " + contextsPrefix
	quickPathEnd = "/messages HTTP/1.1"
)

// parse reads b, which must be a whole request and no more. False: it is not one for the quick way.
func (h *quickHead) parse(b []byte) bool {
	if len(b) < len(quickMethod) || string(b[:len(quickMethod)]) != quickMethod {
		return false
	}
	line, at, ok := crlfLine(b, len(quickMethod))
	if !ok || len(line) <= len(quickPathEnd) || string(line[len(line)-len(quickPathEnd):]) != quickPathEnd {
		return false
	}
	*h = quickHead{id: line[:len(line)-len(quickPathEnd)]}
	if !all(h.id, byteOfID) {
		return false
	}
	length, host := -1, false
	for {
		if line, at, ok = crlfLine(b, at); !ok {
			return false
		}
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !all(line[:colon], byteOfName) || !all(line[colon+1:], byteOfValue) {
			return false
		}
		name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
		switch header := quickHeaderOf(name); header {
		case headerIgnored:
		case headerHost:
			if host || len(value) == 0 || !all(value, byteOfHost) {
				return false
			}
			host = true
		case headerType:
			if h.contentType != nil || len(value) == 0 {
				return false
			}
			h.contentType = value
		case headerKey:
			if h.authorization != nil {
				return false
			}
			h.authorization = value
		case headerLength:
			if length >= 0 {
				return false
			}
			if length, ok = smallNumber(value); !ok {
				return false
			}
		case headerConnection:
			if !bytes.EqualFold(value, keepAlive) {
				return false
			}
		default:
			return false
		}
	}
	h.body = at
	return host && length > 0 && length == len(b)-at
}

// crlfLine returns the line of b that starts at from, without its CRLF, and where the next one starts.
func crlfLine(b []byte, from int) (line []byte, next int, ok bool) {
	n := bytes.IndexByte(b[from:], '\n')
	if n < 1 || b[from+n-1] != '\r' {
		return nil, 0, false
	}
	return b[from : from+n-1], from + n + 1, true
}

// quickHeader is what a header means to the quick way.
type quickHeader uint8

const (
	headerIgnored quickHeader = iota
	headerHost
	headerType
	headerKey
	headerLength
	headerConnection
	headerRefused
)

var keepAlive = []byte("keep-alive")

// quickHeaders are the headers that mean something, in lower case. Those that are refused change how a request is read
// or answered; fasthttp and the handlers know them.
var quickHeaders = [...]struct {
	name string
	is   quickHeader
}{
	{"host", headerHost},
	{"content-type", headerType},
	{"content-length", headerLength},
	{"authorization", headerKey},
	{"connection", headerConnection},
	{"content-encoding", headerRefused},
	{"expect", headerRefused},
	{"idempotency-key", headerRefused},
	{"te", headerRefused},
	{"trailer", headerRefused},
	{"transfer-encoding", headerRefused},
	{"upgrade", headerRefused},
}

// quickHeaderOf looks a name of token characters up, in any case.
func quickHeaderOf(name []byte) quickHeader {
	for i := range quickHeaders {
		if h := &quickHeaders[i]; len(h.name) == len(name) && h.name[0] == name[0]|0x20 && equalLower(name, h.name) {
			return h.is
		}
	}
	return headerIgnored
}

// equalLower says whether name is lower, which is in lower case, but for the case of its letters.
func equalLower(name []byte, lower string) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// smallNumber reads 1 to 7 decimal digits: what is longer does not fit a read buffer.
func smallNumber(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 7 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// Sets of bytes, for all.
const (
	byteOfID    = 1 << iota // unreserved in RFC 3986, and the colon
	byteOfName              // a token in RFC 9110 but for its rarer punctuation
	byteOfValue             // printable ASCII, space, tab
	byteOfHost              // a name or an address, with a port
)

var byteSets = func() (t [256]uint8) {
	for c := ' '; c <= '~'; c++ {
		t[c] |= byteOfValue
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if alnum || c == '-' || c == '_' {
			t[c] |= byteOfID | byteOfName | byteOfHost
		}
		switch c {
		case '.', ':':
			t[c] |= byteOfID | byteOfHost
		case '~':
			t[c] |= byteOfID
		}
	}
	t['\t'] |= byteOfValue
	return t
}()

// all says whether every byte of b is in a set.
func all(b []byte, set uint8) bool {
	for _, c := range b {
		if byteSets[c]&set == 0 {
			return false
		}
	}
	return true
}
