package shard

import "encoding/binary"

// keyRingMax is how many keyed appends a context remembers (API.md, "Idempotency").
const keyRingMax = 1000

// keyEntry is the answer that a keyed append got. Keys are hashes, made by whoever encodes the command.
type keyEntry struct {
	key, bodyHash [16]byte
	version       uint64
	firstSeq      uint64
	count         uint32
}

// keyRing remembers the last keyRingMax keyed appends of one context. It is allocated with the first of
// them and grows with their number. The scan for a key runs over 8-byte tags (8 KiB at most, half a
// microsecond), so that there is no index to keep.
type keyRing struct {
	tags    []uint64 // first 8 bytes of each entry's key
	entries []keyEntry
	next    int // the oldest entry, once the ring is full
}

func keyTag(key *[16]byte) uint64 { return binary.LittleEndian.Uint64(key[:]) }

// find returns the entry of key, or nil.
func (r *keyRing) find(key *[16]byte) *keyEntry {
	if r == nil {
		return nil
	}
	tag := keyTag(key)
	for i, t := range r.tags {
		if t == tag && r.entries[i].key == *key {
			return &r.entries[i]
		}
	}
	return nil
}

// add remembers e, whose key must not be in the ring, in place of the oldest once the ring is full.
func (r *keyRing) add(e keyEntry) {
	if len(r.entries) < keyRingMax {
		r.tags = append(r.tags, keyTag(&e.key))
		r.entries = append(r.entries, e)
		return
	}
	r.tags[r.next] = keyTag(&e.key)
	r.entries[r.next] = e
	r.next = (r.next + 1) % keyRingMax
}

// snapshot returns the entries, oldest first, in memory of their own. nil stays nil.
func (r *keyRing) snapshot() []keyEntry {
	if r == nil {
		return nil
	}
	out := make([]keyEntry, 0, len(r.entries))
	out = append(out, r.entries[r.next:]...)
	return append(out, r.entries[:r.next]...)
}
