package httpd

import (
	"strconv"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// serveCluster answers GET /v1/cluster: who the nodes are, who leads which shard, and who is behind, as this node
// sees it. In a cluster that is the Router's to say (its AppendStatus shows all members); a server without one is a
// cluster of one: all shards have one replica, here.
//
//	{"node":"n1","version":"1.0.0","ready":true,
//	 "nodes":[{"name":"n1","address":"10.0.0.1:4000","self":true,"alive":true,"ready":true,"replicas":256,"leading":256}],
//	 "shards":{"count":256,"with_leader":256,"max_lag":0},
//	 "leaders":[{"shard":0,"leader":"n1","replicas":["n1"],"term":2,"applied":17,"lag":0}, ...]}
func (s *Server) serveCluster(ctx *fasthttp.RequestCtx, _ *work) {
	if s.router != nil {
		endBody(ctx, s.router.AppendStatus(beginBody(ctx, fasthttp.StatusOK)))
		return
	}
	st := s.store.Status()
	ready, reason := s.store.Ready()
	endBody(ctx, s.appendCluster(beginBody(ctx, fasthttp.StatusOK), &st, ready, reason))
}

func (s *Server) appendCluster(dst []byte, st *shard.Status, ready bool, reason string) []byte {
	leading := 0
	for i := range st.Groups {
		if st.Groups[i].Leading {
			leading++
		}
	}
	name := appendQuoted(nil, s.cfg.NodeName)

	dst = append(dst, `{"node":`...)
	dst = append(dst, name...)
	dst = append(dst, `,"version":`...)
	dst = appendQuoted(dst, s.cfg.Version)
	dst = append(dst, `,"ready":`...)
	dst = strconv.AppendBool(dst, ready)
	if !ready {
		dst = append(dst, `,"reason":`...)
		dst = appendQuoted(dst, reason)
	}

	dst = append(dst, `,"nodes":[{"name":`...)
	dst = append(dst, name...)
	dst = append(dst, `,"address":`...)
	dst = appendQuoted(dst, s.cfg.Advertise)
	dst = append(dst, `,"self":true,"alive":true,"ready":`...)
	dst = strconv.AppendBool(dst, ready)
	dst = appendInt(dst, `,"replicas":`, uint64(len(st.Groups)))
	dst = appendInt(dst, `,"leading":`, uint64(leading))

	dst = appendInt(dst, `}],"shards":{"count":`, uint64(len(st.Groups)))
	dst = appendInt(dst, `,"with_leader":`, uint64(leading))
	dst = append(dst, `,"max_lag":0},"leaders":[`...) // one replica is never behind itself
	for i := range st.Groups {
		g := &st.Groups[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendInt(dst, `{"shard":`, uint64(g.Shard))
		dst = append(dst, `,"leader":`...)
		if g.Leading {
			dst = append(dst, name...)
		} else {
			dst = append(dst, `null`...)
		}
		dst = append(dst, `,"replicas":[`...)
		dst = append(dst, name...)
		dst = appendInt(dst, `],"term":`, g.Term)
		dst = appendInt(dst, `,"applied":`, g.Applied)
		dst = append(dst, `,"lag":0}`...)
	}
	return append(dst, `]}`...)
}

func appendInt(dst []byte, name string, v uint64) []byte {
	return strconv.AppendUint(append(dst, name...), v, 10)
}
