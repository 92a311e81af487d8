// Package cluster makes one cluster of several nodes. Node is the shell that puts the parts together.
//
// Who a node is, and how it comes to a cluster:
//
//	directory.go   the data directory and its lock        identity.go   node.json
//	genesis.go     what a cluster is founded with         discovery.go  founding and joining, a step machine
//	exchange.go    what nodes say to one another first    seeds.go      from seeds to addresses, round by round
//
// What it does once it has one:
//
//	node.go        Node, its life                         placement.go  the applied map
//	route.go       requests to where they are served      status.go     GET /v1/cluster
//	orchestrate.go who acts, and how fast                 handover.go   the way out
//
// Below it, cluster/peer carries bytes between nodes, and cluster/place decides which shard lives where.
package cluster
