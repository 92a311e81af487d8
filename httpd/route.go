package httpd

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// route is what a path names. Its methods and the label that metrics show are in the table below.
type route uint8

const (
	routeNone     route = iota
	routeContexts       // the first that is forwardable; the only such without an id, it finds its shards by itself
	routeContext
	routeMetadata
	routeMessages
	routeTail
	routeWindow
	routeCompact // the last that is forwardable
	routeStream
	routeEvents
	routeCluster
	routeDrain
	routeUndrain
	routePeer
	routeHealthLive
	routeHealthReady
	routeMetrics
	routeOpenAPI
	routeCount
)

// routes is indexed by route. allow is the text of the Allow header.
var routes = [routeCount]struct {
	label string
	allow string
}{
	routeNone:        {"none", ""},
	routeContexts:    {contextsPath, "GET, HEAD"},
	routeContext:     {"/v1/contexts/{id}", "GET, HEAD, PUT, DELETE"},
	routeMetadata:    {"/v1/contexts/{id}/metadata", "PATCH"},
	routeMessages:    {"/v1/contexts/{id}/messages", "GET, HEAD, POST"},
	routeTail:        {"/v1/contexts/{id}/tail", "GET, HEAD"},
	routeWindow:      {"/v1/contexts/{id}/context", "GET, HEAD"},
	routeCompact:     {"/v1/contexts/{id}/compact", "POST"},
	routeStream:      {"/v1/contexts/{id}/stream", "GET"},
	routeEvents:      {"/v1/contexts/{id}/events", "GET"},
	routeCluster:     {"/v1/cluster", "GET, HEAD"},
	routeDrain:       {"/v1/cluster/nodes/{name}/drain", "POST"},
	routeUndrain:     {"/v1/cluster/nodes/{name}/undrain", "POST"},
	routePeer:        {"/internal/peer", "GET"},
	routeHealthLive:  {"/health/live", "GET, HEAD"},
	routeHealthReady: {"/health/ready", "GET, HEAD"},
	routeMetrics:     {"/metrics", "GET, HEAD"},
	routeOpenAPI:     {"/openapi.json", "GET, HEAD"},
}

// String is the label of the route in metrics and logs.
func (r route) String() string { return routes[r].label }

// forwardable says whether requests of the route belong to the leader of a shard, that of their context or the one that
// their cursor points to, as one request with one answer. Streams have their own way (stream_open.go).
func (r route) forwardable() bool { return routeContexts <= r && r <= routeCompact }

// maxID is the longest context id, in bytes after percent-decoding.
const maxID = 255

const (
	apiPrefix      = "/v1/"
	contextsPath   = "/v1/contexts"
	contextsPrefix = contextsPath + "/"
	nodesPrefix    = "/v1/cluster/nodes/"
)

// isAPI says whether a request target wants the API key.
func isAPI(path []byte) bool {
	return bytes.HasPrefix(path, []byte(apiPrefix)) || string(path) == "/v1" || !bytes.HasPrefix(path, []byte("/")) // absolute-form: be strict
}

// match finds the route of a raw path, as it stands in the request line without the query. id is the
// context id, or the node's name, still percent-encoded: a slash in it has to be written %2F to get here, and is refused later.
func match(path []byte) (r route, id []byte) {
	if rest, ok := bytes.CutPrefix(path, []byte(contextsPrefix)); ok {
		id, sub, deeper := bytes.Cut(rest, []byte("/"))
		if !deeper {
			return routeContext, id
		}
		switch string(sub) {
		case "messages":
			return routeMessages, id
		case "context":
			return routeWindow, id
		case "tail":
			return routeTail, id
		case "compact":
			return routeCompact, id
		case "stream":
			return routeStream, id
		case "events":
			return routeEvents, id
		case "metadata":
			return routeMetadata, id
		}
		return routeNone, nil
	}
	if rest, ok := bytes.CutPrefix(path, []byte(nodesPrefix)); ok {
		name, sub, _ := bytes.Cut(rest, []byte("/"))
		switch string(sub) {
		case "drain":
			return routeDrain, name
		case "undrain":
			return routeUndrain, name
		}
		return routeNone, nil
	}
	switch string(path) {
	case contextsPath:
		return routeContexts, nil
	case "/internal/peer":
		return routePeer, nil
	case "/health/live":
		return routeHealthLive, nil
	case "/health/ready":
		return routeHealthReady, nil
	case "/metrics":
		return routeMetrics, nil
	case "/v1/cluster":
		return routeCluster, nil
	case "/openapi.json", "/v1/openapi.json":
		return routeOpenAPI, nil
	}
	return routeNone, nil
}

// decodeID percent-decodes raw into buf, or returns raw itself where there is nothing to decode, and
// checks the rules for ids: 1 to 255 bytes of UTF-8, no control characters (Unicode's Cc), no slash.
func decodeID(buf *[maxID]byte, raw []byte) (id []byte, ok bool) {
	if bytes.IndexByte(raw, '%') < 0 {
		id = raw
	} else {
		if len(raw) > 3*maxID {
			return nil, false
		}
		n := 0
		for i := 0; i < len(raw); i++ {
			c := raw[i]
			if c == '%' {
				if c, ok = unhex(raw[i+1:]); !ok {
					return nil, false
				}
				i += 2
			}
			if n == maxID {
				return nil, false
			}
			buf[n] = c
			n++
		}
		id = buf[:n]
	}
	if len(id) == 0 || len(id) > maxID {
		return nil, false
	}
	for i := 0; i < len(id); {
		c := id[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f || c == '/' {
				return nil, false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(id[i:])
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) {
			return nil, false
		}
		i += size
	}
	return id, true
}

// unhex reads two hexadecimal digits.
func unhex(b []byte) (c byte, ok bool) {
	if len(b) < 2 {
		return 0, false
	}
	for _, d := range b[:2] {
		switch {
		case '0' <= d && d <= '9':
			d -= '0'
		case 'a' <= d|0x20 && d|0x20 <= 'f':
			d = d | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		c = c<<4 | d
	}
	return c, true
}
