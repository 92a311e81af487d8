// Package ring keeps the messages of one conversation in memory for one writer and any number of readers.
//
// The writer is the loop of the shard; readers are request handlers. A reader never takes a lock, never makes the
// writer wait and never sees half of a write: it asks for a [View], a consistent picture of the log, and keeps it for
// as long as it likes. What makes that safe is written down in view.go.
//
//	page.go    slotted pages: the bytes of messages and 32 bytes of facts about each (format pinned by golden files)
//	log.go     Log: the writer's side, and the words that publish it
//	view.go    View and Tail: the reader's side
//	aux.go     the few bytes beside a message that tell which of its parts are tool calls and tool results
//	window.go  what of the log a model gets to see: pure functions over a View
//	pairs.go   the rule that a tool result never stays without its call
//	image.go   pages in and out of snapshots
//
// The package imports nothing of the project, reads no clock and uses no random source: equal calls give equal bytes,
// page boundaries included, whether a log was written, or restored from a snapshot and then written on.
package ring
