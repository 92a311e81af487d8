// Package history keeps what has left a shard's memory: messages older than the in-memory tail, in immutable
// files on the local disk, so that a node without an archive keeps everything and still has bounded memory.
//
// A message is written here once, when it leaves the tail, and is never changed. Files are written whole,
// synced, renamed and their directory synced before anything counts on them; a file is either there and
// complete or not there at all. Every block, index page and footer has a checksum, and a mismatch is an error that names
// file and offset: never a wrong answer.
//
// Each write to a shard is one generation: 1, 2, 3 ... A file covers a range of generations, and says so in its
// name. Merging replaces neighbours by one file that covers all of theirs; a crash between the birth of the merged file
// and the removal of its parts leaves files that another one covers, which the next start removes. A range that nobody
// covers is a lost file, and stops the start by name.
//
// The same message may lie in two files: a node that crashed after a write here and before its snapshot
// brings it back into memory and writes it again. Copies are equal byte for byte (a committed message never changes),
// so that readers take any and merges keep one.
package history
