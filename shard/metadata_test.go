package shard

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMergeMetadata(t *testing.T) {
	for _, c := range []struct{ current, patch, want string }{
		{``, `{}`, ``},
		{``, `{"a":1}`, `{"a":1}`},
		{`{"a":1}`, `{}`, `{"a":1}`},
		{`{"a":1}`, `{"a":null}`, ``},
		{`{"a":1}`, `{"b":null}`, `{"a":1}`},
		{`{"a":1,"b":2,"c":3}`, `{"b":{"x":null}}`, `{"a":1,"b":{"x":null},"c":3}`},
		{`{"a":1,"b":2}`, `{"z":9,"a":null,"y":8}`, `{"b":2,"z":9,"y":8}`},
		{`{ "a" : 1.50e3 , "b" : [ 1 ] }`, ` { "c" : 1 } `, `{"a":1.50e3,"b":[ 1 ],"c":1}`},
		{`{"a":{"k":1}}`, `{"a":{"l":2}}`, `{"a":{"l":2}}`}, // the top level only
		{`{"é":1}`, `{"\u00e9":2}`, `{"é":2}`},
		{`{"\u00e9":1}`, `{"é":null}`, ``},
		{`{"a":1}`, `{"b":1,"b":2}`, `{"a":1,"b":2}`},
		{`{"a":1}`, `{"b":1,"b":null}`, `{"a":1}`},
		{`{"a":1,"a":2,"b":3}`, `{"a":4}`, `{"a":4,"b":3}`},
		{`{"a":1,"a":2,"b":3}`, `{"b":4}`, `{"a":1,"a":2,"b":4}`},
		{`{"null":"null"}`, `{"x":"null"}`, `{"null":"null","x":"null"}`},
	} {
		var current []byte
		if c.current != "" {
			current = []byte(c.current)
		}
		require.Equal(t, c.want, string(mergeMetadata(current, []byte(c.patch))), "%s + %s", c.current, c.patch)
		require.Equal(t, c.current, string(current), "the current object is immutable")
	}
}

// What clients see of metadata through PUT and PATCH.
func TestMetadataCommands(t *testing.T) {
	m := NewMachine(0)
	var res Result
	id := []byte(`we"ird\`)
	shown := func(cmd []byte) string {
		require.NoError(t, m.Apply(1, cmd, &res))
		require.Equal(t, CodeOK, res.Code)
		s := string(res.View.AppendContext(nil))
		for i := range cmd {
			cmd[i] = 0xff // the log entry's memory is not ours
		}
		return s
	}
	require.Contains(t, shown(EncodePut(nil, &Put{ID: id})), `{"id":"we\"ird\\","status":"active"`)
	require.Contains(t, shown(EncodePatchMetadata(nil, id, []byte(`{"a":1}`))), `"metadata":{"a":1},`)
	require.Contains(t, shown(EncodePut(nil, &Put{ID: id, HasBudget: true, TokenBudget: 5})), `"metadata":{"a":1},`)
	require.Contains(t, shown(EncodePut(nil, &Put{ID: id, HasMetadata: true, Metadata: []byte(`{"b":2}`)})), `"metadata":{"b":2},`)
	require.Contains(t, shown(EncodePatchMetadata(nil, id, []byte(`{"b":null}`))), `"metadata":{},`)
	require.Zero(t, res.Version)
}
