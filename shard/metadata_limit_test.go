package shard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Patches cannot grow the metadata for ever, and can always shrink it.
func TestMetadataIsBounded(t *testing.T) {
	m := NewMachine(0)
	var res Result
	id := []byte("m")
	require.NoError(t, m.Apply(1, EncodePut(nil, &Put{ID: id}), &res))
	big := strings.Repeat("x", 100<<10)
	patch := func(object string) Code {
		t.Helper()
		require.NoError(t, m.Apply(2, EncodePatchMetadata(nil, id, []byte(object)), &res))
		return res.Code
	}
	taken := 0
	for patch(fmt.Sprintf(`{"k%d":"%s"}`, taken, big)) == CodeOK {
		taken++
	}
	require.Equal(t, CodeMetadataFull, res.Code)
	require.Equal(t, 10, taken)
	var v View
	m.Lookup(id).View(&v)
	require.LessOrEqual(t, len(v.Ext.Metadata), MetadataMax)

	require.Equal(t, CodeOK, patch(`{"k0":null}`))
	require.Equal(t, CodeOK, patch(`{"again":"`+big+`"}`))

	// A PUT may bring more; patches may then only shrink it.
	require.NoError(t, m.Apply(3, EncodePut(nil, &Put{ID: id, HasMetadata: true, Metadata: []byte(`{"a":"` + strings.Repeat(big, 20) + `"}`)}), &res))
	require.Equal(t, CodeOK, res.Code)
	require.Equal(t, CodeMetadataFull, patch(`{"b":1}`))
	require.Equal(t, CodeOK, patch(`{"a":"small"}`))
}
