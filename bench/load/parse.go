package load

import (
	"bytes"
	"errors"
	"fmt"
)

// head is what the generator needs to know of a response's head.
type head struct {
	status int
	bytes  int // length of the head, the empty line included
	body   int // length of the body that follows
}

var (
	errIncomplete = errors.New("incomplete response head")
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// parseHead reads the head of an HTTP/1.1 response at the start of b. It returns errIncomplete where more bytes are
// needed. Bodies without a Content-Length (chunked) are an error: no server measured here sends them. A 204 has none.
func parseHead(b []byte) (head, error) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return head{}, errIncomplete
	}
	h := head{bytes: end + len(headEnd)}
	line := b[:h.bytes]
	const prefix = "HTTP/1.1 "
	if len(line) < len(prefix)+3 || string(line[:len(prefix)]) != prefix {
		return head{}, fmt.Errorf("not an HTTP/1.1 response: %.40q", line)
	}
	for _, c := range line[len(prefix) : len(prefix)+3] {
		if c < '0' || c > '9' {
			return head{}, fmt.Errorf("bad status line: %.40q", line)
		}
		h.status = h.status*10 + int(c-'0')
	}
	at := bytes.Index(line, contentLength)
	if at < 0 {
		if at = indexFold(line, contentLength); at < 0 {
			if h.status == 204 {
				return h, nil
			}
			return head{}, fmt.Errorf("response without Content-Length: %q", line)
		}
	}
	digits := line[at+len(contentLength):]
	n := 0
	for ; n < len(digits) && digits[n] >= '0' && digits[n] <= '9'; n++ {
		h.body = h.body*10 + int(digits[n]-'0')
	}
	if n == 0 || n > 12 {
		return head{}, fmt.Errorf("bad Content-Length: %q", line)
	}
	return h, nil
}

// indexFold is bytes.Index without regard to ASCII case; off the fast path.
func indexFold(b, sep []byte) int {
	for i := 0; i+len(sep) <= len(b); i++ {
		if bytes.EqualFold(b[i:i+len(sep)], sep) {
			return i
		}
	}
	return -1
}
