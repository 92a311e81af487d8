// Package tokenize counts the tokens of a text, exactly as OpenAI's models see it, or as an estimate.
//
// # What is counted
//
// New("tiktoken:<model>") counts in the encoding of that model, o200k_base (gpt-5, gpt-4.1, gpt-4o,
// chatgpt-4o, o1, o3, o4) or cl100k_base (gpt-4, gpt-3.5), without the special tokens and the few tokens of
// framing that an API adds around each message. Text such as "<|endoftext|>" is ordinary text here: what a
// user types can never become a special token. The count equals what Count of
// github.com/tiktoken-go/tokenizer (v0.10.0) returns for the same bytes, which the tests check on every
// code point, on many scripts, and by fuzzing.
//
// A byte that is not part of valid UTF-8 counts as the character U+FFFD in its place, each byte on its own
// (a surrogate half encoded in three bytes is three of them), as it does in that library.
//
// New("chars:N") counts one token per N characters (code points; an invalid byte is one), rounded up.
//
// # Where the library itself is not tiktoken
//
// The library runs its expressions in a compiled form that departs from them in two places, and so do we:
//
//   - \s*[\r\n]+ stops after the first group of line breaks instead of the last of the run of white space:
//     "a\n \n b" is "a" "\n" " \n" " b" here and "a" "\n \n" " b" in tiktoken. A blank line that holds spaces
//     costs one token more for it.
//   - U+007F (DEL) belongs to no alternative: it separates, and is not counted.
//
// The switch is bpe.asLibrary; the tests check both ways, the other one against the expressions as written,
// run by an interpreter.
//
// # How
//
// A scanner written by hand cuts the text into pieces as the encoding's regular expression does: words of
// ASCII letters eight bytes at a time (scan.go), the rest by a table of classes made of Go's Unicode tables,
// which are the ones the library uses (classes.go). A piece that is a token, some 95% of them in English, is
// one probe of a hash table: one cache line (piece_table.go). In any other piece neighbouring tokens are
// merged by their ids (pairs.go), by the definition when it is short (merge_short.go), and by a queue of
// buckets, window by window, when it is long (merge_long.go). How many tokens the latest short ones came to is
// remembered (piece_cache.go): a text has the same few thousand of them again and again.
//
// Count allocates nothing in steady state and takes time linear in the text, whatever the text is (32 steps for
// each byte of a short piece at the very worst, three merges of a long one). Its scratch is on the stack, or,
// for pieces of more than 32 bytes, 1.5 MB from a pool, however long the text is. Any number of goroutines may
// use a Counter: but for what it remembers, 256 KiB that change no answer, it is immutable.
//
// The vocabularies are embedded as their lists of merges (1.2 and 0.6 MB; data/, made of the library's
// vocabularies by `go generate`, checked against them by a test). New builds tables of 9 MB (o200k_base) or
// 5 MB (cl100k_base) without pointers, so the garbage collector never looks into them.
package tokenize

//go:generate go run ./internal/vocabgen -dir data
