package httpd

import (
	"bytes"
	"strconv"

	"github.com/valyala/fasthttp"
)

// parameter looks up a query parameter in a raw query string. n counts how often it is there; value is
// the first one's, percent-decoded into buf where it has to be. A value too long for buf, or badly
// encoded, is cut to something that is no number. Other parameters are ignored.
func parameter(buf *[64]byte, query []byte, name string) (value []byte, n int) {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		rawName, rawValue, _ := bytes.Cut(pair, []byte("="))
		if string(rawName) != name {
			var nameBuf [64]byte
			if bytes.IndexByte(rawName, '%') < 0 || string(decodeQuery(&nameBuf, rawName)) != name {
				continue
			}
		}
		if n++; n == 1 {
			value = rawValue
			if bytes.ContainsAny(rawValue, "%+") {
				value = decodeQuery(buf, rawValue)
			}
		}
	}
	return value, n
}

func decodeQuery(buf *[64]byte, raw []byte) []byte {
	n := 0
	for i := 0; i < len(raw) && n < len(buf); i++ {
		c := raw[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			var ok bool
			if c, ok = unhex(raw[i+1:]); !ok {
				c = '%'
				break
			}
			i += 2
		}
		buf[n] = c
		n++
	}
	return buf[:n]
}

// queryInt reads an integer parameter in [low, high]; def where it is absent. On a bad value it answers
// 400 invalid_query and returns false.
func queryInt(ctx *fasthttp.RequestCtx, name string, low, high, def int64) (n int64, ok bool) {
	var buf [64]byte
	_, query := target(ctx)
	value, count := parameter(&buf, query, name)
	switch {
	case count == 0:
		return def, true
	case count > 1:
		writeError(ctx, errInvalidQuery, "parameter "+strconv.Quote(name)+" is given twice; send it once")
		return 0, false
	}
	digits, negative := bytes.CutPrefix(value, []byte("-"))
	u, ok := parseInteger(digits, maxInteger)
	if n = int64(u); negative {
		n = -n
		ok = ok && u > 0
	}
	if !ok || n < low || n > high {
		writeError(ctx, errInvalidQuery, "parameter "+strconv.Quote(name)+" must be an integer from "+
			strconv.FormatInt(low, 10)+" to "+strconv.FormatInt(high, 10))
		return 0, false
	}
	return n, true
}

// queryOptional is queryInt for a parameter without a default, which may also be there and empty, as in
// ?budget_tokens=&if_version=. given says whether it has a value.
func queryOptional(ctx *fasthttp.RequestCtx, name string, low, high int64) (n int64, given, ok bool) {
	var buf [64]byte
	_, query := target(ctx)
	if value, count := parameter(&buf, query, name); count == 0 || count == 1 && len(value) == 0 {
		return 0, false, true
	}
	n, ok = queryInt(ctx, name, low, high, 0)
	return n, true, ok
}
