// Package s3 is the archive's adapter for S3 and what speaks its protocol and honours conditional writes
// (If-Match, If-None-Match: AWS since 2024, MinIO, versitygw, R2, ...).
//
// # Objects
//
//	<prefix>format.json                         {"format":"fastpaca-archive","version":1,"partitions":16}
//	<prefix>data/<hh>/<hash>.ndjson.zst         messages; hash: the first 16 bytes of the object's SHA-256, hh its first byte
//	<prefix>index/<pp>/manifest                 what partition pp holds; the only objects that ever change
//	<prefix>index/<pp>/<random id>.seg          a part of the index that outgrew the manifest
//
// A data object is NDJSON over many contexts, cut into blocks of about 64 KiB, each a zstd frame with a checksum. The
// concatenation is a .zst file like any other:
//
//	aws s3 cp s3://.../x.ndjson.zst - | zstd -dc | jq
//
//	{"context_id":"support-1","seq":7,"token_count":42,"inserted_ms":1737720000007,"message":{...}}
//
// message is the stored message byte for byte, with one exception: a line feed between its tokens, which clients may
// send, would end the line. It is written as a space, and a member before it, "lf":[12,80], tells the offsets in message at
// which readers put line feeds back.
//
// # Index
//
// Contexts belong to one of 16 partitions by the FNV-1a hash of their id. The index of a partition is a sorted set of
// extents: "messages from to to of this context are in that block of that object". It is a log-structured merge tree:
// the newest extents stand in the manifest itself, older ones in levels of segments, each level up to 16 times as long
// as the one above. So one request, the manifest, or two round trips, the manifest and then one segment of each level
// (at most 5, at the same time), find any range of any context. All but the manifest is immutable and cached. Nothing
// is ever listed.
//
//	manifest: "FPAM" | version u8 = 1 | zstd frame of
//	    generation | commit id [16] | levels | levels times (segments | segments times ref) | table
//	  ref:     id [16] | extents | first context | last context
//	segment:  "FPAX" | version u8 = 1 | zstd frame of table
//	  table:   objects | objects times hash [16] | extents | extents times extent, by context and from
//	  extent:  bytes shared with the context before | rest of the context | from | to - from | object | offset | length
//
// All numbers are unsigned varints, all strings a length and bytes. offset and length are those of the compressed block.
//
// # Writing
//
//  1. Rows that the index has already are dropped, after a look whether they are the same.
//  2. Data objects are written. Their keys are their contents: writing one twice changes nothing.
//  3. The manifest of each partition is replaced, If-Match the version that 1 looked at. Where somebody else was faster, it is
//     read again, and what the index has by now is dropped.
//
// A manifest names only what is stored, since 3 follows 2; a crash between them leaves an object that nobody refers to,
// which is what an unreferenced key costs and nothing else. A request whose answer was lost may have been done, even
// much later: if so, the manifest it expected is still the newest, and it and any other attempt exclude each other.
// Every history of a manifest is therefore a line, and each row is in the index once.
//
// When more than 2048 extents are in a manifest, they are merged with the smaller levels into a new one, under new
// random keys, and the manifest that names these replaces the old one like any other. Segments that it does not name
// any more are then deleted; a reader that has the old manifest finds one missing and reads the manifest again. A loser
// deletes only its own segments, and only if it knows that it has lost.
//
// Data objects are never merged: a context that got one message in each flush is read back by as many requests,
// 16 at a time. docs/archive.md has the arithmetic. The format allows to rewrite old extents into larger ones later.
package s3
