//go:build faults

package main

import (
	"bufio"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"slices"
	"sync/atomic"

	"fastpaca/cluster"
	breakable "fastpaca/jepsen/faults"
	"fastpaca/shard"
)

// openNode opens the node on a machine that jepsen/run can break: its disk, its wall clock, and the address it dials from.
func openNode(opt cluster.Options) (*cluster.Node, error) {
	socket := os.Getenv(breakable.SocketVar)
	if socket == "" {
		return cluster.Open(opt)
	}
	m := breakable.NewMachine()
	opt.Shard.FS, opt.Shard.NowMs, opt.Now = m.FS, m.Clock.NowMs, m.Clock.Now
	if source := os.Getenv(breakable.SourceVar); source != "" {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		opt.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	var opened atomic.Pointer[cluster.Node]
	m.State = func(w io.Writer, ids []string) {
		if n := opened.Load(); n != nil && n.Shard() != nil {
			writeState(w, n.Shard(), ids)
		}
	}
	if err := m.Serve(socket); err != nil {
		return nil, err
	}
	node, err := cluster.Open(opt)
	if err == nil {
		opened.Store(node)
	}
	return node, err
}

// writeState writes a line for each shard that this node has a replica of: its number, the index that is applied, whether the
// replica has stopped, and a hash of those contexts of ids that are in it (configuration, window, and every message that no archive
// has). A shard that changes meanwhile is left out.
func writeState(w io.Writer, n *shard.Node, ids []string) {
	slices.Sort(ids)
	in := map[uint32][]string{}
	for _, id := range ids {
		group := shard.Of([]byte(id))
		in[group] = append(in[group], id)
	}
	type replica struct {
		group   uint32
		applied uint64
		stopped bool
	}
	var replicas []replica
	n.Members(func(st *shard.MemberStatus) {
		if st.Group < shard.Shards && slices.Contains(slices.Concat(st.Conf.Voters, st.Conf.Learners), st.ID) {
			replicas = append(replicas, replica{st.Group, st.Applied, st.Stopped})
		}
	})
	out := bufio.NewWriter(w)
	defer out.Flush()
	for _, r := range replicas {
		sum := fnv.New64a()
		for _, id := range in[r.group] {
			_, _ = sum.Write(appendReplica([]byte(id), n, id)) // never fails
		}
		if n.Applied(r.group) == r.applied {
			fmt.Fprintf(out, "%d %d %t %016x\n", r.group, r.applied, r.stopped, sum.Sum64())
		}
	}
}

// appendReplica appends what this node's replica holds of a context.
func appendReplica(dst []byte, n *shard.Node, id string) []byte {
	c, code := n.Replica([]byte(id))
	if code != shard.CodeOK {
		return fmt.Append(dst, code)
	}
	var v shard.View
	c.View(&v)
	dst = v.AppendWindow(v.AppendContext(dst), 0)
	for from := v.Archived + 1; from < v.First; {
		at := from
		var err error
		if dst, from, err = n.AppendHistory(dst, []byte(id), from, v.First-1, 1<<20); err != nil || from == at {
			return fmt.Appendf(dst, "message %d is not here: %v", at, err)
		}
	}
	if from := max(v.First, v.Archived+1); from <= v.Last {
		dst = v.AppendMessages(dst, from, v.Last)
	}
	return dst
}
