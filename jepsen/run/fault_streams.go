package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"fastpaca/jepsen/run/check"
)

const (
	stallers     = 6               // clients that stall, per node
	stallBuffer  = 4 << 10         // bytes that the kernel keeps for such a client
	stallMax     = 3000            // messages that one reads at most
	stallReadFor = 5 * time.Second // behind the stall: the log grows for ever
)

// stalls is what clients saw that asked for all there is, read nothing for a while, and then went on: a piece of the log, whole
// and in order, however early the server gave them up.
type stalls struct {
	mu   sync.Mutex
	seen [contexts][][]check.Entry
	cut  int // were given up by the server
}

// stallStreams opens streams from the start of contexts and lets them stall.
func stallStreams(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	var wg sync.WaitGroup
	opened := 0
	for _, v := range n.c.nodes {
		for range stallers {
			context := n.dice.IntN(contexts)
			d := net.Dialer{Timeout: clientTimeout, Control: func(_, _ string, raw syscall.RawConn) error {
				return raw.Control(func(fd uintptr) {
					_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, stallBuffer)
				})
			}}
			c, err := d.DialContext(ctx, "tcp", v.addr())
			if err != nil {
				continue // it is away
			}
			fmt.Fprintf(c, "GET %s/events?include_messages=true HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n\r\n", contextPath(context))
			opened++
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				wait(ctx, held)
				_ = c.SetReadDeadline(time.Now().Add(stallReadFor)) // an error shows at the next read
				n.stalled.read(context, c)
			}()
		}
	}
	wait(ctx, held)
	before := n.stalled.given()
	wg.Wait()
	return fmt.Sprintf("%d streams from the start read nothing for %.1fs, %d were given up", opened, held.Seconds(), n.stalled.given()-before), nil
}

func (s *stalls) given() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// read takes what comes until the connection's deadline, or until the server ends it.
func (s *stalls) read(context int, c net.Conn) {
	var seen []check.Entry
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, 1<<20)
	for len(seen) < stallMax && lines.Scan() {
		var e struct {
			Type    string
			Seq     uint64
			Message message
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok || json.Unmarshal(data, &e) != nil {
			continue
		}
		// A log that is longer than what a node keeps at hand begins with a gap. Behind a later one comes another piece.
		if e.Type == "reset" || e.Type == "gap" && len(seen) > 0 {
			break
		}
		if e.Type == "message" {
			seen = append(seen, check.Entry{Seq: e.Seq, Text: e.Message.text()})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(seen) < stallMax && !errors.Is(lines.Err(), os.ErrDeadlineExceeded) {
		s.cut++
	}
	s.seen[context] = append(s.seen[context], seen)
}

// judge demands that each of them saw a piece of the log, without a hole.
func (s *stalls) judge(v *check.Verdict, context int, log []check.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seen := range s.seen[context] {
		for i, e := range seen {
			v.Checked++
			if e.Seq != seen[0].Seq+uint64(i) || e.Seq > uint64(len(log)) || log[e.Seq-1] != e {
				v.Add("a client of context %d that had stalled saw %q at seq %d, as its message %d from seq %d on", context, e.Text, e.Seq, i+1, seen[0].Seq)
				break
			}
		}
	}
	v.Note = fmt.Sprintf("%d of them were given up by the server", s.cut)
}
