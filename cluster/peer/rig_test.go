package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// rig is a node as the transport sees it: what it is told is written down.
type rig struct {
	t    testing.TB
	name string
	peer Peer
	tr   *Transport
	ln   net.Listener

	mu          sync.Mutex
	got         []raft.Message
	batches     int
	unreachable map[uint64]int
	down        map[uint64]int
	reports     []string
	events      []string
	conns       []net.Conn // accepted

	onDeliver func(from uint64, msgs []raft.Message)
	open      func(group uint32, index uint64) (raft.SnapshotMeta, int64, io.ReadCloser, error)
	receive   func(m raft.Message, r io.Reader) error
}

func (r *rig) Deliver(from uint64, msgs []raft.Message) {
	if r.onDeliver != nil {
		r.onDeliver(from, msgs)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches++
	for _, m := range msgs {
		m.Entries = slices.Clone(m.Entries)
		r.got = append(r.got, m)
	}
}

func (r *rig) Unreachable(id uint64) { r.mu.Lock(); r.unreachable[id]++; r.mu.Unlock() }
func (r *rig) PeerDown(id uint64)    { r.mu.Lock(); r.down[id]++; r.mu.Unlock() }

func (r *rig) OpenSnapshot(group uint32, index, _ uint64) (raft.SnapshotMeta, int64, io.ReadCloser, error) {
	if r.open == nil {
		return raft.SnapshotMeta{}, 0, nil, errors.New("no snapshot")
	}
	return r.open(group, index)
}

func (r *rig) ReceiveSnapshot(m raft.Message, src io.Reader) error {
	if r.receive == nil {
		return errors.New("not wanted")
	}
	return r.receive(m, src)
}

func (r *rig) ReportSnapshot(group uint32, to uint64, ok bool) {
	r.mu.Lock()
	r.reports = append(r.reports, fmt.Sprintf("%d to %d: %v", group, to, ok))
	r.mu.Unlock()
}

func (r *rig) messages() []raft.Message { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.got) }

func (r *rig) logged(event string) (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if strings.HasPrefix(e, event+" ") {
			lines = append(lines, e)
		}
	}
	return lines
}

func (r *rig) count(m map[uint64]int, id uint64) int { r.mu.Lock(); defer r.mu.Unlock(); return m[id] }

const testCluster = "c0ffee"

// newRig makes node id with a listener on loopback, not started. edit may change its Config.
func newRig(t testing.TB, id uint64, edit func(*rig, *Config)) *rig {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return newRigOn(t, id, ln, edit)
}

func newRigOn(t testing.TB, id uint64, ln net.Listener, edit func(*rig, *Config)) *rig {
	r := &rig{
		t: t, name: fmt.Sprintf("n%d", id), ln: ln, unreachable: map[uint64]int{}, down: map[uint64]int{},
	}
	r.peer = Peer{ID: id, Name: r.name, Incarnation: "inc-" + r.name, Addr: ln.Addr().String()}
	cfg := Config{
		Self:   Hello{Name: r.name, Incarnation: r.peer.Incarnation, Address: r.peer.Addr},
		Secret: []byte("correct horse"),
		Serve: func(from uint64, kind uint8, req, dst []byte) []byte {
			return append(append(dst, byte(from), kind), req...)
		},
		Logf: func(event string, kv ...any) {
			r.mu.Lock()
			r.events = append(r.events, event+" "+fmt.Sprintln(kv...))
			r.mu.Unlock()
		},
	}
	if edit != nil {
		edit(r, &cfg)
	}
	r.tr = New(cfg)
	go r.accept(r.ln)
	t.Cleanup(r.stop)
	return r
}

// accept is what httpd does with the connections of the port.
func (r *rig) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns = append(r.conns, c)
		r.mu.Unlock()
		go func() {
			in := bufio.NewReader(c)
			req, err := http.ReadRequest(in)
			if err != nil || req.URL.Path != UpgradePath || req.Header.Get("Upgrade") != UpgradeProtocol {
				c.Close()
				return
			}
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+UpgradeProtocol+"\r\n\r\n")
			r.tr.ServeConn(&buffered{c, in})
		}()
	}
}

type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

func (b *buffered) ReadsFrom() net.Conn {
	if b.in.Buffered() > 0 {
		return nil
	}
	return b.Conn
}

func (r *rig) start(peers ...*rig) {
	h := r.tr.self()
	h.ClusterID, h.ID = testCluster, r.peer.ID
	r.tr.Start(h, r)
	var list []Peer
	for _, p := range peers {
		list = append(list, p.peer)
	}
	r.tr.SetPeers(list)
}

// cut closes all accepted connections, as a network does that goes away for a moment.
func (r *rig) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func (r *rig) stop() {
	r.ln.Close()
	require.NoError(r.t, r.tr.Close())
	r.cut()
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	const patience = 2 * time.Minute // the tests of all packages may run at the same time, on two cores
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("did not happen within %v: %s", patience, what)
}

// pair returns two connected nodes, 1 and 2.
func pair(t testing.TB, edit func(*rig, *Config)) (a, b *rig) {
	a, b = newRig(t, 1, edit), newRig(t, 2, edit)
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	return a, b
}

func connected(t testing.TB, rigs ...*rig) {
	t.Helper()
	for _, r := range rigs {
		eventually(t, r.name+" connected", func() bool {
			var s Stats
			r.tr.Stats(&s)
			for _, p := range s.Peers {
				if !p.Connected || !p.Alive {
					return false
				}
			}
			return len(s.Peers) == len(rigs)-1
		})
	}
}

func ask(r *rig, addr string) (Hello, []byte, error) {
	return r.tr.Ask(context.Background(), addr, []byte("who are you"))
}

// dialThrough wraps what is dialed.
func dialThrough(wrap func(net.Conn) net.Conn) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return wrap(c), nil
	}
}
