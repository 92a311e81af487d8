package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// rig is a cluster of real nodes in one process, over loopback TCP and temporary directories.
type rig struct {
	t     *testing.T
	seeds []string
	nodes map[string]*rigNode
}

// rigNode is one node with its listener.
type rigNode struct {
	*Node
	r    *rig
	name string
	path string
	addr string
	dir  *Directory
	ln   net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
	work  sync.WaitGroup
	log   []string
	hook  func(req []byte) // called before a forwarded request is served
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, nodes: map[string]*rigNode{}}
	t.TempDir() // the first call says when all of them are removed: after the nodes have stopped
	t.Cleanup(func() {
		for _, n := range r.nodes {
			n.stop()
		}
		if t.Failed() {
			for name, n := range r.nodes {
				t.Logf("log of %s:\n%s", name, strings.Join(n.log, "\n"))
			}
		}
	})
	return r
}

// listen takes an address for a node that is started later, so that it can be a seed before.
func (r *rig) listen(name string) *rigNode {
	ln := listenBelow(r.t)
	n := &rigNode{r: r, name: name, path: r.t.TempDir(), addr: ln.Addr().String(), ln: ln}
	r.nodes[name] = n
	return n
}

// listenBelow listens on a port below those that the system gives to whoever asks for any (Linux from 32768 on, others from
// 49152): a node that was stopped finds its port again, whatever connections were opened meanwhile.
func listenBelow(t *testing.T) (ln net.Listener) {
	for try := 0; ; try++ {
		ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10000+rand.IntN(22000)))
		if err == nil {
			return ln
		}
		require.Less(t, try, 100, "%v", err)
	}
}

// start opens the node on its directory.
func (n *rigNode) start(seeds []string, change ...func(*Options)) *rigNode {
	t := n.r.t
	t.Helper()
	var err error
	if n.ln == nil {
		n.ln, err = net.Listen("tcp", n.addr)
		require.NoError(t, err)
	}
	n.dir, err = OpenDirectory(n.path, n.name)
	require.NoError(t, err)
	opt := Options{
		Dir: n.dir, Advertise: n.addr, Seeds: seeds, Secret: []byte("secret"),
		pace: pace{
			lead: 50 * time.Millisecond, coordinate: 100 * time.Millisecond, spread: 100 * time.Millisecond, spreadMost: 16,
			spreadAfter: time.Second, settleIn: time.Second, forgetAfter: 2 * time.Second,
		},
		Shard: shard.Options{SegmentBytes: 4 << 20, Loops: 1},
		Logf: func(event string, kv ...any) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.log = append(n.log, fmt.Sprintf("%s %s %v", time.Now().Format("05.000"), event, kv))
		},
	}
	for _, f := range change {
		f(&opt)
	}
	n.Node, err = Open(opt)
	require.NoError(t, err)
	n.SetHandlers(n.forwarded, func(open []byte, c net.Conn) { _, _ = c.Write(append([]byte("stream "), open...)) })
	n.conns = map[net.Conn]bool{}
	ln := n.ln
	n.work.Go(func() { n.accept(ln) })
	return n
}

// accept does what httpd does with a peer: it answers the upgrade and hands the connection over.
func (n *rigNode) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.conns[c] = true
		n.mu.Unlock()
		n.work.Go(func() {
			defer func() {
				n.mu.Lock()
				delete(n.conns, c)
				n.mu.Unlock()
				_ = c.Close()
			}()
			req, err := http.ReadRequest(bufio.NewReader(&oneByte{c})) // what follows the head is not this reader's
			if err != nil || req.URL.Path != "/internal/peer" {
				return
			}
			if _, err := c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: fastpaca-peer\r\n\r\n")); err == nil {
				n.ServePeer(c)
			}
		})
	}
}

// oneByte reads byte by byte.
type oneByte struct{ net.Conn }

func (o *oneByte) Read(p []byte) (int, error) { return o.Conn.Read(p[:1]) }

// stop ends the node as a clean exit would. Its directory stays.
func (n *rigNode) stop() {
	if n.ln != nil {
		_ = n.ln.Close()
		n.ln = nil
	}
	if n.Node == nil {
		return
	}
	if err := n.Close(); err != nil {
		n.r.t.Errorf("close %s: %v", n.name, err)
	}
	n.cut()
	n.work.Wait()
	require.NoError(n.r.t, n.dir.Close())
	n.Node = nil
}

// cut closes the connections that others opened to the node.
func (n *rigNode) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close()
	}
}

// forwarded is a tiny httpd: request | op u8 ('w' or 'r') | group u32 | key |; it writes key as a context, or reads it.
func (n *rigNode) forwarded(req, dst []byte) []byte {
	n.mu.Lock()
	hook := n.hook
	n.mu.Unlock()
	if hook != nil {
		hook(req)
	}
	code := n.serveLocal(req)
	if code == shard.CodeNotLeader {
		return append(dst, AnswerNotLeader)
	}
	return append(dst, AnswerDone, byte(code))
}

func (n *rigNode) serveLocal(req []byte) shard.Code {
	if req[0] == 'r' {
		var v shard.View
		return n.Read(req[5:], &v)
	}
	r := shard.AcquireRequest()
	defer shard.ReleaseRequest(r)
	var err error
	r.Cmd, err = putCommand(r.Cmd[:0], string(req[5:]))
	if err != nil {
		panic(err)
	}
	n.Do(binary.LittleEndian.Uint32(req[1:]), r)
	return r.Result.Code
}

// call does what httpd does with a request: here if this node leads, else by Forward, until there is an answer.
func (n *rigNode) call(op byte, key string, again bool) shard.Code {
	group := shard.Of([]byte(key))
	req := append(binary.LittleEndian.AppendUint32([]byte{op}, group), key...)
	deadline := time.Now().Add(forwardWait)
	for {
		if !n.Local(group) {
			answer, code, _ := n.Forward(group, req, nil, again)
			if code == shard.CodeOK {
				return shard.Code(answer[0])
			}
			if code != shard.CodeNotLeader {
				return code
			}
		}
		if code := n.serveLocal(req); code != shard.CodeNotLeader {
			return code
		}
		if !n.Await(group, deadline) {
			return shard.CodeUnavailable
		}
	}
}

func (n *rigNode) put(key string) shard.Code { return n.call('w', key, false) }
func (n *rigNode) get(key string) shard.Code { return n.call('r', key, true) }

// patience bounds what a test waits for, on a machine that runs the tests of all packages at a time.
const patience = 2 * time.Minute

// wait waits until f holds. The bound is for the broken case only.
func (r *rig) wait(what string, f func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !f() {
		select {
		case <-ctx.Done():
			r.t.Fatalf("not within %v: %s", patience, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// each waits until f holds for every one of 0 .. count-1, several of them at a time.
func (r *rig) each(what string, count int, f func(i int) bool) {
	r.t.Helper()
	const workers = 8
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var next atomic.Int64
	var late atomic.Bool
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				for !f(i) {
					select {
					case <-ctx.Done():
						late.Store(true)
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
		})
	}
	if wg.Wait(); late.Load() {
		r.t.Fatalf("not within %v: %s", patience, what)
	}
}

// reads has every one of keys 0 .. count-1 read through n, and be there. What is answered by a 503 is repeated, as a client does.
func (r *rig) reads(n *rigNode, count int, key func(i int) string) {
	r.t.Helper()
	r.each("reads through "+n.name, count, func(i int) bool {
		switch code := n.get(key(i)); code {
		case shard.CodeOK:
			return true
		case shard.CodeUnavailable, shard.CodeTimeout:
			return false
		default:
			r.t.Errorf("%s through %s: %v", key(i), n.name, code)
			return true
		}
	})
}

// answer is what a client gets in the end that repeats what was answered by a 503: nothing was done, or nobody can say. What f does
// can be done twice.
func (r *rig) answer(what string, f func() shard.Code) (code shard.Code) {
	r.t.Helper()
	r.wait(what, func() bool {
		code = f()
		return code != shard.CodeUnavailable && code != shard.CodeTimeout
	})
	return code
}

func (r *rig) waitReady(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.wait(name+" is ready", func() bool { ok, _ := r.nodes[name].Ready(); return ok })
	}
}

// found starts a new cluster of these nodes.
func (r *rig) found(change func(*Options), names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.seeds = append(r.seeds, r.listen(name).addr)
	}
	for _, name := range names {
		r.nodes[name].start(r.seeds, func(o *Options) {
			o.Size = len(names)
			if change != nil {
				change(o)
			}
		})
	}
	r.waitReady(names...)
}
