package httpd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"
)

// testWait bounds what a test waits for; reaching it is a failure.
const testWait = time.Minute

// event is an event of a stream, as a client sees it.
type event struct {
	Type     string          `json:"type"`
	Version  uint64          `json:"version"`
	Seq      uint64          `json:"seq"`
	Message  json.RawMessage `json:"message"`
	Expected uint64          `json:"expected"`
	Actual   uint64          `json:"actual"`

	raw []byte
	id  string // SSE
}

// wsClient is a client of /stream.
type wsClient struct {
	t *testing.T
	*websocket.Conn
}

func (s *streamServer) dialWS(t *testing.T, id, query string) *wsClient {
	t.Helper()
	return s.dialBuffered(t, id, query, 0)
}

// dialBuffered sets the client's receive buffer, if it is not 0: with a small one it is noticed soon that the client
// stalls.
func (s *streamServer) dialBuffered(t *testing.T, id, query string, buffer int) *wsClient {
	t.Helper()
	c, _, err := s.tryWS(id, query, buffer)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return &wsClient{t, c}
}

const smallBuffer = 16 << 10

func (s *streamServer) tryWS(id, query string, buffer int) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{HandshakeTimeout: testWait, ReadBufferSize: 4096, NetDial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		if tc, ok := c.(*net.TCPConn); ok && buffer > 0 {
			tc.SetReadBuffer(buffer)
		}
		return c, err
	}}
	return d.Dial("ws://"+s.addr+"/v1/contexts/"+id+"/stream"+query, nil)
}

// next reads one event.
func (c *wsClient) next() (event, error) {
	c.SetReadDeadline(time.Now().Add(testWait))
	kind, raw, err := c.ReadMessage()
	if err != nil {
		return event{}, err
	}
	if kind != websocket.TextMessage {
		return event{}, fmt.Errorf("frame of kind %d", kind)
	}
	e := event{raw: raw}
	return e, json.Unmarshal(raw, &e)
}

func (c *wsClient) must() event {
	c.t.Helper()
	e, err := c.next()
	require.NoError(c.t, err)
	return e
}

// closeCode reads until the server closes, and returns its code and reason.
func (c *wsClient) closeCode() (int, string) {
	c.t.Helper()
	for {
		_, err := c.next()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed.Code, closed.Text
		}
		require.NoError(c.t, err)
	}
}

// sseClient is a client of /events: it reads raw bytes the way the HTML standard says.
type sseClient struct {
	t      *testing.T
	conn   net.Conn
	r      *bufio.Reader
	status int
	head   string
	lastID string
	retry  string
	pings  int
}

func (s *streamServer) dialSSE(t *testing.T, id, query, lastEventID string) *sseClient {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	c := &sseClient{t: t, conn: conn, r: bufio.NewReader(conn), lastID: lastEventID}
	req := "GET /v1/contexts/" + id + "/events" + query + " HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
	if lastEventID != "" {
		req += "Last-Event-ID: " + lastEventID + "\r\n"
	}
	_, err = io.WriteString(conn, req+"\r\n")
	require.NoError(t, err)
	conn.SetReadDeadline(time.Now().Add(testWait))
	line, err := c.r.ReadString('\n')
	require.NoError(t, err)
	c.status, err = strconv.Atoi(strings.Fields(line)[1])
	require.NoError(t, err)
	for {
		line, err := c.r.ReadString('\n')
		require.NoError(t, err)
		if line == "\r\n" {
			return c
		}
		c.head += line
	}
}

// next reads one event; io.EOF at the end of the stream, an event that lacks its blank line being thrown away.
func (c *sseClient) next() (event, error) {
	c.conn.SetReadDeadline(time.Now().Add(testWait))
	var data [][]byte
	id := c.lastID
	for {
		line, err := c.r.ReadBytes('\n')
		if err != nil {
			return event{}, err
		}
		line = line[:len(line)-1]
		if len(line) == 0 {
			c.lastID = id
			if data == nil {
				continue
			}
			e := event{raw: bytes.Join(data, []byte("\n")), id: id}
			return e, json.Unmarshal(e.raw, &e)
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "data":
			data = append(data, value)
		case "id":
			id = string(value)
		case "retry":
			c.retry = string(value)
		case "":
			if string(value) == "ping" {
				c.pings++
			}
		default:
			return event{}, fmt.Errorf("unexpected line %q", line)
		}
	}
}

func (c *sseClient) must() event {
	c.t.Helper()
	e, err := c.next()
	require.NoError(c.t, err)
	return e
}
