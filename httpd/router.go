package httpd

import (
	"net"
	"time"

	"fastpaca/shard"
)

// Router says where requests are served in a cluster. cluster.Node is one; a Server without one serves
// everything itself. All methods are called from many goroutines.
//
// A request for a context goes where its shard's leader is:
//
//	client ── this node ── Local? ── yes ── handler ── Store ── CodeNotLeader? ── Await ──┐
//	              ^            └──── no ─── Forward ── its ServeForwarded: the same handler, never forwarded again
//	              └────────────── again, until routeWait is over: 503 unavailable ────────┘
//
// What makes the loop safe for writes is that CodeNotLeader has one meaning everywhere: nothing was written.
type Router interface {
	// Local says whether this node leads the group, as far as it knows: requests for it are served here.
	Local(group uint32) bool

	// Forward sends req, which Server.ServeForwarded of the other end reads, to the group's leader and
	// appends what that answered to dst, without its first byte. It waits for a leader, bounded by a
	// moment that is about routeWait away. again says that the request may be sent once more after an
	// answer was lost; unsure, that this happened: an attempt before the one that the code and the answer
	// are about may have been carried out. req is not kept. Codes:
	//
	//	CodeOK           the answer is in dst
	//	CodeNotLeader    this node leads now: serve it here
	//	CodeUnavailable  there was no leader to send it to, or none took it; nothing was written
	//	CodeTimeout      sent, and the answer was lost: the outcome is unknown (never if again, unless time is up)
	//	CodeOverloaded   too much waits for the leader already; nothing was written
	Forward(group uint32, req, dst []byte, again bool) (answer []byte, code shard.Code, unsure bool)

	// Await is called after a local CodeNotLeader. It waits, until deadline at most, for a route that is
	// worth trying, and at least a moment, so that a route that is wrong is not tried in a busy loop.
	// false: time is up.
	Await(group uint32, deadline time.Time) bool

	// Stream finds the context for a stream that is served from this node's replica, whoever leads, after
	// a barrier: it holds every write acknowledged before the call. CodeNotLeader: this node has no
	// replica, use Remote. Bounded like Forward.
	Stream(id []byte) (*shard.Context, shard.Code)

	// Remote opens a stream on a node that has a replica, whose Server.ServeRemoteStream gets open. Called
	// again after a connection broke, it should not insist on the same node. Bounded like Forward.
	Remote(id, open []byte) (net.Conn, shard.Code)

	// AppendStatus appends the whole answer to GET /v1/cluster, one JSON object. `fastpaca status` reads
	// it; openapi.json (Cluster) says what each member means, and members are only ever added:
	//
	//	{"node":"n1","version":"1.0.0","ready":true,["reason":"raft_sync",]
	//	 "cluster_id":"...","coordinator":"n1","map_version":17,
	//	 "nodes":[{"name":"n1","id":1,"address":"10.0.0.1:4000","self":true,"state":"active","alive":true,
	//	           "incarnation":"...","replicas":256,"leading":86,"lag":0}, ...],
	//	 "shards":{"count":256,"with_leader":256,"moving":0,"max_lag":0},
	//	 "moves":[{"shard":7,"from":["n1","n2","n3"],"to":["n1","n2","n4"]}],
	//	 "leaders":[{"shard":0,"leader":"n1","replicas":["n1","n2","n3"],"term":2,"applied":17,"lag":0}, ...]}
	//
	// state is active, draining or removed; alive: this node hears it; leader is null
	// while there is none; lag is in log entries: of a node the sum over its replicas, of a shard that of its slowest
	// replica, as far as this node knows.
	AppendStatus(dst []byte) []byte

	// Drain moves all replicas and leaderships away from the node of that name, Undrain takes that back.
	// They return once the decision is in the placement group's log; moving takes longer. Errors:
	// cluster.ErrNoSuchNode, cluster.ErrUnavailable (no quorum decided in time), anything else: refused, and why.
	Drain(name string) error
	Undrain(name string) error
}

// routeWait is how long a request may look for the leader of its shard, from its arrival on: an election takes
// about a second, and issue 3 promises that a client waits no longer than 3 s for its 503.
const routeWait = 2500 * time.Millisecond
