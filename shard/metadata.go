package shard

import "fastpaca/shard/jsonscan"

// emptyObject is how metadata that nobody set is shown.
const emptyObject = "{}"

// mergeMetadata applies patch to current at the top level (RFC 7396: null removes a member). Both are
// valid JSON objects, nil is empty. Members that the patch does not name keep their bytes and order;
// those it names are replaced where they stand; new ones follow in the patch's order. Of a name that
// occurs twice in the patch the last value counts, and a name that occurs twice in current is one member
// after it was patched. The result is nil if nothing is left, otherwise in memory of its own.
func mergeMetadata(current, patch []byte) []byte {
	type change struct {
		key, value []byte
		used       bool
	}
	var changes []change
	byName := map[string]int{} // looked up, never iterated: the order is the patch's
	p := jsonscan.Object(patch, jsonscan.SkipSpace(patch, 0))
	for p.Next() {
		name := string(jsonscan.Unescape(nil, p.Key()))
		i, known := byName[name]
		if !known {
			i = len(changes)
			byName[name] = i
			changes = append(changes, change{key: p.Key()})
		}
		changes[i].value = p.Value()
	}

	var out []byte
	member := func(key, value []byte) {
		if out == nil {
			out = append(make([]byte, 0, len(current)+len(patch)+2), '{')
		} else {
			out = append(out, ',')
		}
		out = append(out, key...)
		out = append(out, ':')
		out = append(out, value...)
	}
	if current != nil {
		var scratch []byte
		c := jsonscan.Object(current, jsonscan.SkipSpace(current, 0))
		for c.Next() {
			scratch = jsonscan.Unescape(scratch[:0], c.Key())
			i, named := byName[string(scratch)]
			if !named {
				member(c.Key(), c.Value())
				continue
			}
			if !changes[i].used && !isNull(changes[i].value) {
				member(c.Key(), changes[i].value)
			}
			changes[i].used = true
		}
	}
	for i := range changes {
		if !changes[i].used && !isNull(changes[i].value) {
			member(changes[i].key, changes[i].value)
		}
	}
	if out == nil {
		return nil
	}
	return append(out, '}')
}

func isNull(value []byte) bool { return string(value) == "null" }
