// Package place decides who is in the cluster and which node holds which shard. It is pure: values in, values
// out; no I/O, no clock, no goroutine, no map whose order could matter. Equal inputs give equal results on every
// node and every version that can share a cluster.
//
//	Genesis   who founded the cluster: the one value from which all founders derive the first memberships
//	Map       the state of the placement group (group 256): nodes and the desired voters of every group,
//	          changed by commands that are compare-and-set
//	Initial   the first placement: rendezvous hashing, evened out to within one replica
//	Rebalance what the coordinator would change in the map next
//	NextConf  what the leader of one group does next to make its membership follow the map
//	Leaders   who should lead which shard: even to within one
//
// Two powers are kept apart. The coordinator only changes what is desired, by commands of which a stale one
// fails: two nodes that both believe themselves coordinator can do no harm. The leader of a group only changes
// that group's membership, by raft's rules, and takes its time: a voter leaves only when the one in its place
// has the log. So no decision here can lose an acknowledged write, however late or wrong its view of who is alive.
package place
