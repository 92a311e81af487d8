// Package faults is what a build with the tag `faults` puts between the server and its machine, so that jepsen/run can break a disk
// and a clock that are otherwise sound, from outside and at any moment. Without the tag nothing imports it.
//
//	control   a socket on which the harness says what shall be wrong
//	disk      a wal/walfs.FS that keeps unsynced writes in memory, is slow, hangs, is full, or fails
//	power     what a loss of power leaves of it
//	clock     the wall clock, turned and running at a wrong rate
//
// Bytes that were not synced are in this process' memory only, so that a plain kill -9 loses all of them: a write that was acknowledged
// before its sync is gone, and the checkers see it. The command `power` loses some, keeps some and tears some, names included.
//
// What it does not cover: the few files that the server writes past walfs (identity and cluster id, each once in a directory's life),
// and durations, which come from the monotonic clock. No operator can turn that one.
package faults
