package check

import "slices"

// Replica is one node's copy of a shard: the index up to which it has applied the log, and a hash of all that it holds.
type Replica struct {
	Node    string
	Shard   int
	Applied uint64
	Stopped bool // its history and another one's contradict one another, so that it takes part in nothing
	Hash    string
}

// States demands that replicas of a shard that have applied the same log hold the same, and that none has stopped. It says whether
// copies of each shard were seen at one index, so that there is nothing more to be seen.
func States(v *Verdict, all []Replica, shards, copies int) (level bool) {
	first := map[int]Replica{}
	level = len(all) >= shards*copies
	for _, r := range all {
		v.Checked++
		if r.Stopped {
			v.Add("shard %d has stopped on %s: histories contradict one another", r.Shard, r.Node)
		}
		f, ok := first[r.Shard]
		switch {
		case !ok:
			first[r.Shard] = r
		case f.Applied != r.Applied:
			level = false
		case f.Hash != r.Hash:
			v.Add("shard %d at index %d: %s holds %s, %s holds %s", r.Shard, r.Applied, f.Node, f.Hash, r.Node, r.Hash)
		}
	}
	return level
}

// Archive demands that the archive of one context, in the order of its seqs, is the log.
func Archive(v *Verdict, id string, archived, log []Entry) {
	v.Checked += len(archived)
	if !slices.Equal(archived, log) {
		v.Add("%s: the archive (%d messages) is not the log (%d messages) %s", id, len(archived), len(log), firstDifference(archived, log))
	}
}
