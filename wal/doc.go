// Package wal is the node's one log on disk, shared by all its raft groups.
//
// It promises: when a Batch is done, everything in it survives the death of the process and of the machine,
// unless the disk itself rots, and then the log refuses to open rather than open without it. What was
// submitted and not done survives as a prefix of the order of the submits, or not at all.
//
// # Commit
//
// One goroutine writes. It takes all batches that wait, encodes them into one buffer, writes and syncs it
// once, and reports them done; what is submitted meanwhile is the next round. There is no timer. Segments
// are pre-written, by maintenance in the background, so that the sync changes no metadata of the file.
// Whole blocks are written, with zeros behind the last record (blocks.go), and where the file has that, by a write that is
// a sync and goes past the page cache (walfs.BlockWriter).
//
// # Order in the log
//
// The log is one sequence of records. For each group it is a history of operations on the group's log:
// ENTRY i drops what is at and above i and appends; SNAPSHOT i drops what is at and below i, or everything
// if the log does not hold i with that term; FORGET drops everything and sets the truncation point back to the
// beginning; STATE sets the hard state. The state of a group is what these give in order; the table in memory is kept at exactly that for the records encoded so far (group.go).
//
// Recovery must find the same from what is left of the files, although the oldest segments are given up.
// It does because of one number per group, its floor: the position of its first live entry, or if it has
// none, of the record that emptied it.
//
//	Claim. Replaying the group's ENTRY and CARRY records from the floor on, onto an empty log truncated at
//	the group's truncation point, gives its live entries.
//
//	Proof. Positions of live entries rise with the index. Appending adds the highest index at the highest
//	position. Overwriting from i drops all at and above i and is then an append. Truncation takes from the
//	front or takes all. Carrying replaces all live entries by copies in index order (below). So every live
//	entry stands at or behind the floor, in order. What else stands behind the floor is an entry that was
//	overwritten later: its index is above the truncation point (an index at or below it is committed, and
//	an overwrite there would have dropped the first live entry too), it follows from the entry before it
//	when it is reached, and is dropped again when its replacement is reached, as in the first life. A FORGET
//	empties the group: the floor is at or behind the last one, and the argument is about what follows that.
//
// The final floor of every group is known before replay begins: the newest segment's checkpoint holds it,
// as of the beginning of that segment, and three kinds of later records move it: SNAPSHOT carries the new one;
// an ENTRY at the first index above the truncation point is the new first live entry; a FORGET is the floor of
// the emptied group. All are in the newest segment's body, which is read first. Nothing below the lowest floor is needed, and a
// file is given up only when that is so by records that are durable (WAL.synced, publishNeeded).
//
// Hard states need no floor: every segment begins with a checkpoint of all groups, so replay begins with
// the checkpoint of the oldest needed segment and takes every STATE after it.
//
// # Copying forward
//
// A group with a few live entries in an old segment pins that segment and all after it. Such remainders
// are copied, and the design choice is where: into the preamble of the next segment, before its
// checkpoint, as the group's complete live log at that moment, by the writer, which alone changes groups.
// Then
//
//   - a copy is atomic: the preamble is durable before the file has its name, so a named segment has all of
//     it, and one without a name was never there. There is no such thing as half a copy on recovery;
//   - nothing is interleaved with it: no ENTRY of the group stands between the parts of its copy;
//   - it needs no rule of its own in replay: the checkpoint behind it has the group's floor at the copy's
//     first record, so that everything older is dead and the copy is simply where the group's log begins.
//     A CARRY is replayed as an ENTRY is;
//   - it is bounded: what is copied at one rotation is at most an eighth of a segment of small remainders,
//     so at most an eighth of what is written, or one big group of up to half a segment;
//   - the reading, which may be slow, is done by maintenance beforehand. The writer checks by the group's
//     epoch that what was read is still its log, reads what little was appended since, and else leaves the
//     group for the next rotation.
//
// When no entries are accepted because the log is at its hard limit, maintenance asks for a rotation for
// the sake of the copies, if that frees more than the new segment takes.
//
// # The end of the log
//
// See recovery_rule.go: the table that tells a torn tail from rot.
//
// # Rot is the log's, not a group's
//
// Rot anywhere in what is needed refuses the whole log, although most groups may have no record there. Starting
// without the groups that do was considered and left out, because the log alone cannot make it safe:
//
//   - In the newest segment, hard states may be among what is lost, of any group, and no later checkpoint tells
//     them: a node that started would vote twice in a term. That is a wiped disk, with the remedy of one: a new
//     incarnation, which joins as a learner.
//   - In an older segment, the checkpoint behind it has every group's hard state, truncation point, floor and last
//     index. Groups whose floor lies behind the segment have lost nothing. Of every other, entries from the place
//     of the rot on are lost or, worse, are those that lost entries overwrote: only what is below the commit index
//     known there is certain. So the group's log would be cut back below what this node has acknowledged, and it
//     must not vote or lead until it holds what it once held.
//   - That has to be remembered across restarts: after the first one the shorter log looks whole, and a crash before
//     the group has caught up would make an honest voter of it. It needs a mark in each checkpoint (damaged, until
//     index i) and a record that lifts it, at raft's word that the leader's log has been taken over up to i and its
//     commit index has passed i.
//
// Without that mark an acknowledged entry can be missing in silence, and with it the gain over replacing the replica
// is the transfer of the healthy groups' state, once per rotten disk, which is about to be replaced anyhow.
//
// # What may fail
//
// A write or sync that fails ends the process (Options.Fatal), except while making a segment that does not
// exist yet: if that fails for lack of space, it is tried again, and Full turns client entries away while
// the active segment still has room for what is under way.
package wal
