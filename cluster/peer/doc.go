// Package peer carries bytes between the nodes of a cluster: raft messages, requests that another node
// answers, snapshots, proxied streams, and the one-shot exchanges by which nodes find one another. It knows
// nothing of shards, placement or HTTP; what it drives is the Node interface.
//
// # Connections
//
// Every node dials every other one, for what it wants to send on the control lane, and for a data lane of its own. But of the two
// data connections between two nodes both use one, the one that the lower id has dialed, as long as it is there
// (peer.shared). What travels is split by lane, a TCP connection each, so that nothing waits behind what matters less:
//
//	control   heartbeats, votes, TimeoutNow: lost or late, they cost an election    always up
//	data      appends, their acknowledgements, calls and their answers              always up
//	bulk      one snapshot                                                          for its duration
//	stream    one proxied stream                                                    for its duration
//	ask       one exchange, also between nodes that belong to no cluster yet        for its duration
//
// Appends, acknowledgements, calls and answers share a lane on purpose: what a loop says in one pass leaves in one write per lane,
// which the loop does itself (write.go). A snapshot has a connection of its own, so that a broken transfer is a broken
// connection and nothing else.
//
// A connection starts as HTTP on the node's one port (GET /internal/peer, Upgrade: fastpaca-peer). The handshake that
// follows proves the shared secret both ways (handshake.go); after it there are only frames (frame.go).
//
// # What is promised
//
// Send never blocks and promises nothing: raft repeats what matters. A call is answered at most once, and its error says
// whether it may have been carried out. A frame that arrives is whole and unchanged (CRC32C); anything else closes the
// connection. Without TLS the proof keeps strangers out but not somebody who sits in the path and alters packets.
package peer
