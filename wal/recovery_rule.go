package wal

// The recovery rule as data (after TigerBeetle's journal.zig, and Pebble's read-ahead): what was found, and
// what it means. A test has one case per row.
//
// The difficulty is one row: the newest segment ends somewhere, in zeros, garbage or a half record, and
// that is either a write that was under way when power failed (torn: nobody was told it is durable, start)
// or rot in what somebody was told is durable (corrupt: refuse). A record's watermark decides: it says how
// far the log was durable when the record was written. If any valid record beyond the bad place promises
// durability beyond it, the bad place was durable once, and is rot. If none does, nothing beyond the bad
// place was ever promised by anything that can still be read: torn. Disks write blocks in any order, so
// valid records beyond a torn place are normal, and are dropped.
//
// What remains undetectable is rot in the last batch before the end of the log, which no later record
// promises. The mark written when the log goes idle, and the synced one on Close, keep that window to a
// batch under way.

// what is what recovery found at one place.
type what uint8

const (
	foundFileMissing   what = iota + 1 // no file for an id that is needed
	foundHeaderBad                     // magic, version, checksum, or fields without sense
	foundChainBroken                   // the next segment was made after another predecessor
	foundPreambleBad                   // a preamble record is not valid, or the checkpoint is not whole
	foundFileShort                     // a file ends before its end as told by the next segment
	foundBadBeforeEnd                  // a record is not valid, before the end told by the next segment
	foundBadPromised                   // newest segment: a later record promises the bad place
	foundBadLaterValid                 // newest segment: later records are valid, none promises it
	foundBadNothing                    // newest segment: nothing valid follows: zeros, garbage or the end of the file
	foundCutShort                      // newest segment: the file is shorter than it was made, and ends inside a record
	foundBadSequence                   // a valid record that does not follow from those before it
)

// outcome is what recovery does.
type outcome uint8

const (
	refuse  outcome = iota + 1 // *CorruptionError
	tornEnd                    // the log ends here: seal the segment and go on in a new one
)

// rule is one row.
type rule struct {
	found what
	then  outcome
	why   string
}

// recoveryRules returns the table, one row per finding.
func recoveryRules() []rule {
	return []rule{
		{foundFileMissing, refuse, "a segment that holds live entries is missing: segments go oldest first, and only when a durable record says that nothing in them is needed"},
		{foundHeaderBad, refuse, "the header was durable before the file had its name"},
		{foundChainBroken, refuse, "the file belongs to another log or another time"},
		{foundPreambleBad, refuse, "the preamble was durable before the file had its name"},
		{foundFileShort, refuse, "the segment was durable up to its end before the next one was made"},
		{foundBadBeforeEnd, refuse, "the segment was durable up to its end before the next one was made"},
		{foundBadPromised, refuse, "a later record says that this was durable"},
		{foundBadLaterValid, tornEnd, "blocks of an unfinished write, which reached the disk out of order"},
		{foundBadNothing, tornEnd, "an unfinished write, or none"},
		{foundCutShort, refuse, "segments are written ahead in full, so no crash makes one shorter"},
		{foundBadSequence, refuse, "the records contradict one another"},
	}
}

// decide applies the table.
func decide(f what) rule {
	for _, r := range recoveryRules() {
		if r.found == f {
			return r
		}
	}
	panic("wal: a finding without a rule: every one has a row in recoveryRules")
}
