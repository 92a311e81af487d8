// Package archive keeps every message for ever in a store outside of the cluster, and reads it back.
//
//	adapter.go    Store: what Postgres and S3 must do, and the errors they speak in
//	columns.go    role, parts and metadata out of a stored message
//	archiver.go   the archiver: from the shards into the store, then the acknowledgement through the log
//	gather.go     which rows go into the next batch
//	stats.go      what it counts, and the series it is shown as
//	source.go     the shards as the archiver sees them
//
//	pg            the adapter for Postgres
//	s3            the adapter for S3
//	conformance   the test that every adapter passes
//	testserver    real servers for the tests
//
// There is no queue between the shards and the store that a crash could lose: the archiver asks the shards what lies
// between archived_seq and last_seq, stores it, and moves archived_seq by a command in the shard's log. Whatever
// happens between storing and acknowledging is repaired by doing both again, because storing a row twice is storing it
// once.
package archive
