// Package cluster makes one cluster of several nodes. Node is the shell that puts the parts together.
//
// Who a node is, and how it comes to a cluster:
//
//	directory.go    the data directory and its lock         identity.go    node.json
//	genesis.go      what a cluster is founded with          exchange.go    what nodes say to one another first
//	discovery.go    founding and joining, a step machine: founding.go, promise.go, joining.go
//	discover.go     its rounds over the network             seeds.go       from seeds to addresses
//
// What it does once it has one:
//
//	node.go         Node, its life                          placement.go   the applied map
//	route.go        requests to where they are served       serve.go       the other end
//	decide.go       changes of the map                      status.go      GET /v1/cluster, by report.go
//	orchestrate.go  a leader's duties                       coordinate.go  the coordinator's; forget.go
//	handover.go     the way out                             rescue.go      after a majority was lost for good
//
// Below it, cluster/peer carries bytes between nodes, and cluster/place decides which shard lives where.
package cluster
