//go:build faults

package main

import (
	"bufio"
	"cmp"
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
	opt.Shard.FS, opt.Shard.NowMs, opt.Now = m.Disk, m.Clock.NowMs, m.Clock.Now
	if source := os.Getenv(breakable.SourceVar); source != "" {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		opt.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	var opened atomic.Pointer[cluster.Node]
	m.State = func(w io.Writer) {
		if n := opened.Load(); n != nil && n.Shard() != nil {
			writeState(w, n.Shard())
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
// replica has stopped, and a hash of all contexts (configuration, window, and every message that no archive has). A shard that
// changes meanwhile is left out.
func writeState(w io.Writer, n *shard.Node) {
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
		hash := hashShard(n, r.group)
		if n.Applied(r.group) == r.applied {
			fmt.Fprintf(out, "%d %d %t %016x\n", r.group, r.applied, r.stopped, hash)
		}
	}
}

func hashShard(n *shard.Node, group uint32) uint64 {
	var all []*shard.Context
	n.EachContext(group, func(_ int, c *shard.Context) { all = append(all, c) })
	slices.SortFunc(all, func(a, b *shard.Context) int { return cmp.Compare(a.ID(), b.ID()) })
	var v shard.View
	var buf []byte
	sum := fnv.New64a()
	for _, c := range all {
		c.View(&v)
		buf = v.AppendWindow(v.AppendContext(buf[:0]), 0)
		for from := v.Archived + 1; from < v.First; {
			at := from
			var err error
			if buf, from, err = n.AppendHistory(buf, []byte(c.ID()), from, v.First-1, 1<<20); err != nil || from == at {
				buf = fmt.Appendf(buf, "message %d is not here: %v", at, err)
				break
			}
		}
		if from := max(v.First, v.Archived+1); from <= v.Last {
			buf = v.AppendMessages(buf, from, v.Last)
		}
		_, _ = sum.Write(buf) // never fails
	}
	return sum.Sum64()
}
