// Package pg is the archive's adapter for Postgres 12 and later.
//
// One table holds one row for each message (migrations/0001_messages.sql). role, parts, metadata, token_count and
// inserted_at are for the people who query it. What the server reads back is the column message, the bytes exactly as
// they were served: jsonb keeps neither number formats nor key order nor white space, and refuses some valid JSON. It is
// bytea and not text or json because then nobody between here and the disk looks at it, converts it or parses it again.
//
// In parts and metadata, and only there, what jsonb cannot hold is replaced (jsonb.go): \u0000 and escapes of lone
// surrogates by U+FFFD, and numbers beyond 400 digits or an exponent of 400 by strings of the same text.
//
// # How rows get in
//
// Nearly always, nobody has written a batch before: only a crash or a change of leader between storing and
// acknowledging makes the archiver send one again. So a batch is one COPY straight into the table, which is all the
// speed that Postgres has: twice that of INSERT ... ON CONFLICT from arrays or from a staging table, measured here. Where
// it meets a row that exists, COPY fails as a whole, and the batch goes through a temporary table and ON CONFLICT DO
// NOTHING. Rows that were there are then compared: a different message under the same context and seq (two clusters on
// one database, a cluster that was wiped) is an error, since taking it for stored would lose ours.
//
// Rows are sent in the order of the primary key, so that two writers of the same rows wait for one another
// and never deadlock.
package pg
