// Package raft is consensus for one group, as a pure step function.
//
// A [Group] has no goroutine, no clock, no file, no socket and no random source of its own. Time is
// [Group.Tick], the network is [Group.Step] and Ready.Messages, the disk is Ready.Entries and
// [Group.Persisted]. Equal inputs in equal order give equal outputs, bit for bit, so that a
// simulator can own everything around it. There are no maps in the package: what is kept per peer
// lives in slices sorted by id, and everything that leaves does so in that order.
//
// # How a shell drives it
//
//	g.Tick() / g.Step(m) / g.Propose(...) / g.ReadIndex() / g.Persisted(mark) / g.Applied(i) ...
//	for g.HasReady() {
//		g.Ready(&rd)
//		send(rd.Messages)                  // at once, in parallel with the disk
//		wal.Submit(rd.HardState, rd.Snapshot, rd.Entries) // its completion calls g.Persisted(rd.Mark)
//		apply(rd.Snapshot, rd.Committed)   // its completion calls g.Applied(index)
//		answer(rd.Reads)
//	}
//
// All calls come from one goroutine. Everything in a Ready is handed over exactly once; there is no
// Advance. Submissions reach the disk in the order of the Readys (first in, first out), and a
// submission that fails ends the process: those two are what the durability rules stand on.
//
// # What must wait for the disk
//
// A node makes three promises that a crash must not undo, and each waits inside the group until the
// WAL has confirmed everything handed out when the promise was made:
//
//   - an answer to a vote request, and a candidate's own vote together with its vote requests.
//     (If requests left earlier, a candidate elected by others could crash, forget its term, and be
//     elected in the same term again with another log: two histories under one term.)
//   - an acknowledgement of appended entries.
//   - the leader's own match index. The leader sends entries to followers while its own fsync
//     runs, but counts itself only afterwards (thesis 10.2.1; etcd issue 14370 is what happens else).
//
// # Sources
//
// Diego Ongaro's dissertation ("thesis") and the Raft paper ("paper"), by section. The split into
// probe/replicate/snapshot progress, the message list that waits for the disk, and the way tests are
// written as transcripts follow go.etcd.io/raft; no code is copied from it.
package raft
