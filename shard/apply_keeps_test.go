package shard

import (
	"bytes"
	"testing"

	"fastpaca/ring"

	"github.com/stretchr/testify/require"
)

// Apply keeps nothing of a command: recovery reads the log into buffers that it uses again. A machine whose commands
// are overwritten right after they were applied has the same state as one whose commands live for ever.
func TestApplyKeepsNothingOfTheCommand(t *testing.T) {
	id := []byte("context")
	aux := ring.AppendAux(nil, []ring.Part{{Tokens: 3, Kind: ring.PartCall, ID: 77}, {Tokens: 4}})
	commands := [][]byte{
		EncodePut(nil, &Put{ID: id, HasBudget: true, TokenBudget: 20, HasMetadata: true, Metadata: []byte(`{"a":"first"}`),
			HasPolicy: true, Policy: Policy{Strategy: SkipParts, Limit: 3, SkipKinds: []string{"tool", "thought"}}}),
		EncodePatchMetadata(nil, id, []byte(`{"b":"second"}`)),
		AppendMessage(BeginAppend(nil, AppendHeader{ID: id, HasKey: true, Key: [16]byte{1}, BodyHash: [16]byte{2}, Count: 1}), chatMessage()),
		AppendMessage(BeginAppend(nil, AppendHeader{ID: id, Count: 1}), &Message{
			Fields: []byte(`"role":"assistant","parts":[{"type":"tool_call","id":"x"},{"type":"text","text":"y"}]`), Tokens: 7, Flags: FlagNoMetadata, Aux: aux}),
		AppendMessage(BeginCompact(nil, AppendHeader{ID: id, Count: 1}), chatMessage()),
		AppendMessage(BeginAppend(nil, AppendHeader{ID: id, Count: 1}), chatMessage()),
		EncodePut(nil, &Put{ID: []byte("other"), HasMetadata: true, Metadata: []byte(`{"c":"third"}`)}),
	}
	state := func(overwrite bool) []byte {
		m := NewMachine(0)
		var res Result
		for i, cmd := range commands {
			cmd := bytes.Clone(cmd)
			require.NoError(t, m.Apply(uint64(i+1), cmd, &res))
			require.Equal(t, CodeOK, res.Code)
			if overwrite {
				for k := range cmd {
					cmd[k] = 0xaa
				}
			}
		}
		m.BeginSnapshot(1, 1)
		var b bytes.Buffer
		_, err := m.CaptureSome(1 << 20).WriteTo(&b)
		require.NoError(t, err)
		return b.Bytes()
	}
	require.Equal(t, state(false), state(true))
}
