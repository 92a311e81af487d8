// Package sim runs a whole cluster in one goroutine: the product's code of raft, wal, shard, placement and the
// peers' message codec, on computers, disks, clocks and a network that are simulated and driven by one seed.
//
// A run is a sequence of events in virtual time. Everything that could happen in another order on other hardware is
// drawn from the seed: how long a message takes, when a loop gets to run, when a sync ends, at which call of the file
// system a process dies and what of the unsynced bytes survives. A seed therefore replays exactly, and a test runs
// seeds twice and compares the hash of everything that happened.
//
// Each seed draws first which faults it will see and how hard (swarm testing: a world with every fault at once finds
// less than many worlds with a few each), then goes through two phases: one in which faults happen and safety is
// checked after every event, and one in which everything is healed and the cluster has to converge in bounded time.
//
// What is checked, and where:
//
//   - check_wire.go: one leader per term and group; log matching; leader completeness; from what nodes say.
//   - check_log.go: state-machine safety and monotonic apply; from what nodes apply.
//   - check_client.go: linearizable writes and reads, guards, exactly-once under keys, nothing acknowledged lost,
//     nothing failed written; from what clients see, with the committed log as the witness of the order.
//   - check_replica.go: every replica's state is the model's at its version, also what has left memory for history files;
//     streams have no repeat, and no gap but what left memory.
//   - porcupine on the histories of some contexts, which trusts none of the above.
package sim
