package shard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"fastpaca/ring"

	"github.com/stretchr/testify/require"
)

const testTime = 1737720015120 // 2025-01-24T12:00:15.120Z

// sampleCommands is one command of each kind and layout, by name, in a fixed order.
func sampleCommands() (names []string, cmds [][]byte) {
	add := func(name string, cmd []byte) {
		StampTime(cmd, testTime)
		names = append(names, name)
		cmds = append(cmds, cmd)
	}
	id := []byte("support-123")
	hello := Message{Fields: []byte(`"role":"user","parts":[{"type":"text","text":"hi"}],"metadata":{"a":1}`), Tokens: 7}
	call := Message{
		Fields: []byte(`"role":"assistant","parts":[{"type":"tool_call","id":"x"}]`), Tokens: 12, Flags: FlagNoMetadata,
		Aux: ring.AppendAux(nil, []ring.Part{{Tokens: 12, Kind: ring.PartCall, ID: 0x0102030405060708}}),
	}
	key, body := [16]byte{1, 2, 3}, [16]byte{15: 9}

	add("append", AppendMessage(BeginAppend(nil, AppendHeader{ID: id, Count: 1}), &hello))
	b := BeginAppend(nil, AppendHeader{ID: id, HasIfVersion: true, IfVersion: 41, HasKey: true, Key: key, BodyHash: body})
	b = AppendMessage(AppendMessage(b, &hello), &call)
	SetCount(b, 2)
	add("append-guarded-keyed-batch", b)
	add("compact", AppendMessage(BeginCompact(nil, AppendHeader{ID: id, HasIfVersion: true, IfVersion: 83, Count: 1}), &hello))
	add("compact-to-nothing", BeginCompact(nil, AppendHeader{ID: id}))
	add("put-defaults", EncodePut(nil, &Put{ID: id}))
	add("put-all", EncodePut(nil, &Put{
		ID: id, HasBudget: true, TokenBudget: 1_000_000, HasRatio: true, RatioPPB: 500_000_000,
		HasPolicy:   true,
		Policy:      Policy{Strategy: SkipParts, Limit: 400, SkipKinds: []string{"tool", "reasoning"}, Config: []byte(`{"limit":400,"skip_kinds":["tool","reasoning"]}`)},
		HasMetadata: true, Metadata: []byte(`{"project":"support"}`),
	}))
	add("delete", EncodeDelete(nil, id))
	add("patch-metadata", EncodePatchMetadata(nil, id, []byte(`{"a":null,"b":[1, 2]}`)))
	imported, importedCall := hello, call
	imported.Flags |= FlagInserted
	imported.InsertedMs = testTime - 86_400_000
	importedCall.Flags |= FlagInserted
	importedCall.InsertedMs = 0
	add("ack-archived", EncodeAckArchived(nil, id, 300, 1000))
	b = BeginAppend(nil, AppendHeader{ID: id, HasIfVersion: true, IfVersion: 41, HasKey: true, Key: key, BodyHash: body, HasFirstSeq: true, FirstSeq: 17, Count: 3})
	add("import", AppendMessage(AppendMessage(AppendMessage(b, &imported), &importedCall), &hello))
	return names, cmds
}

func TestCommandsGolden(t *testing.T) {
	names, cmds := sampleCommands()
	var out []byte
	for i, cmd := range cmds {
		out = fmt.Appendf(out, "%s\n", names[i])
		for ; len(cmd) > 32; cmd = cmd[32:] {
			out = fmt.Appendf(out, "  %x\n", cmd[:32])
		}
		out = fmt.Appendf(out, "  %x\n", cmd)
	}
	golden(t, "commands.golden", out)
}

func TestCommandsDecode(t *testing.T) {
	_, cmds := sampleCommands()
	var c command
	require.NoError(t, c.decode(cmds[1]))
	require.Equal(t, kindAppend, c.kind)
	require.Equal(t, "support-123", string(c.id))
	require.Equal(t, int64(testTime), c.timeMs)
	require.Equal(t, uint64(41), c.ifVersion)
	require.Equal(t, [16]byte{1, 2, 3}, c.key)
	require.Equal(t, [16]byte{15: 9}, c.bodyHash)
	require.Equal(t, 2, c.messages.left)
	var m Message
	require.True(t, c.messages.next(&m))
	require.Equal(t, uint32(7), m.Tokens)
	require.Contains(t, string(m.Fields), `"hi"`)
	require.True(t, c.messages.next(&m))
	require.Equal(t, uint16(FlagNoMetadata), m.Flags)
	require.Len(t, m.Aux, 11)
	require.False(t, c.messages.next(&m))

	require.NoError(t, c.decode(cmds[5]))
	require.Equal(t, uint64(1_000_000), c.budget)
	require.Equal(t, uint64(500_000_000), c.ratio)
	require.Equal(t, SkipParts, c.policy.Strategy)
	require.Equal(t, []string{"tool", "reasoning"}, c.policy.SkipKinds)
	require.Equal(t, `{"project":"support"}`, string(c.metadata))

	require.NoError(t, c.decode(cmds[8]))
	require.Equal(t, [2]uint64{300, 1000}, [2]uint64{c.archived, c.keep})

	require.NoError(t, c.decode(cmds[9]))
	require.Equal(t, uint64(17), c.firstSeq)
	require.Equal(t, [16]byte{1, 2, 3}, c.key)
	require.True(t, c.messages.next(&m))
	require.Equal(t, int64(testTime-86_400_000), m.InsertedMs)
	require.Contains(t, string(m.Fields), `"hi"`)
	require.True(t, c.messages.next(&m))
	require.Zero(t, m.InsertedMs)
	require.Equal(t, uint16(FlagNoMetadata|FlagInserted), m.Flags)
	require.Len(t, m.Aux, 11)
	require.True(t, c.messages.next(&m))
	require.Zero(t, m.Flags&FlagInserted)
	require.False(t, c.messages.next(&m))
}

// Every prefix, every extension and every out-of-range field of a command is refused, by an error that
// names the entry, and changes nothing.
func TestCommandsRefused(t *testing.T) {
	names, cmds := sampleCommands()
	m := NewMachine(7)
	var res Result
	refuse := func(what string, cmd []byte) {
		t.Helper()
		err := m.Apply(42, cmd, &res)
		var ce *CommandError
		require.ErrorAs(t, err, &ce, what)
		require.Equal(t, uint64(42), ce.Index)
		require.Contains(t, err.Error(), "entry 42")
		require.Zero(t, m.Len())
	}
	for i, cmd := range cmds {
		for n := range cmd {
			refuse(fmt.Sprintf("%s cut to %d", names[i], n), cmd[:n:n])
		}
		refuse(names[i]+" and a byte", append(cmd[:len(cmd):len(cmd)], 0))
		change := func(what string, off int, val ...byte) {
			b := append([]byte(nil), cmd...)
			copy(b[off:], val)
			refuse(names[i]+": "+what, b)
		}
		change("version 0", 0, 0)
		change("version 2", 0, 2)
		change("kind 0", 1, 0)
		change("kind 7", 1, 7)
		change("kind 255", 1, 255)
		change("flags", 3, 0x80)
		change("no id", 12, 0, 0)
		change("reserved", 14, 1)
		change("count", 16, 0xff, 0xff, 0xff, 0xff)
	}
	refuse("budget 0", EncodePut(nil, &Put{ID: []byte("a"), HasBudget: true}))
	refuse("ratio 0", EncodePut(nil, &Put{ID: []byte("a"), HasRatio: true}))
	refuse("ratio over 1", EncodePut(nil, &Put{ID: []byte("a"), HasRatio: true, RatioPPB: RatioOne + 1}))
	refuse("strategy", EncodePut(nil, &Put{ID: []byte("a"), HasPolicy: true, Policy: Policy{Strategy: 3, Limit: 1}}))
	refuse("limit 0", EncodePut(nil, &Put{ID: []byte("a"), HasPolicy: true, Policy: Policy{Strategy: LastN}}))
	refuse("no message", BeginAppend(nil, AppendHeader{ID: []byte("a")}))
	bad := Message{Fields: []byte(`"role":"user"`), Aux: []byte{2, 1, 0}}
	refuse("aux", AppendMessage(BeginAppend(nil, AppendHeader{ID: []byte("a"), Count: 1}), &bad))

	err := m.Apply(9, []byte{77, 3}, &res)
	var ce *CommandError
	require.ErrorAs(t, err, &ce)
	require.Equal(t, CommandError{Shard: 7, Index: 9, Version: 77, Kind: 3, Reason: errVersion.Error()}, *ce)
}

// The time is clamped to what RFC 3339 can write, and a context's never goes back.
func TestTimeIsClamped(t *testing.T) {
	m := NewMachine(0)
	var res Result
	put := EncodePut(nil, &Put{ID: []byte("a")})
	StampTime(put, math.MinInt64)
	require.NoError(t, m.Apply(1, put, &res))
	require.Zero(t, res.View.UpdatedMs)
	StampTime(put, testTime)
	require.NoError(t, m.Apply(2, put, &res))
	StampTime(put, testTime-1)
	require.NoError(t, m.Apply(3, put, &res))
	require.Equal(t, int64(testTime), res.View.UpdatedMs)
	require.Equal(t, int64(testTime), m.LastMs())
	StampTime(put, math.MaxInt64)
	require.NoError(t, m.Apply(4, put, &res))
	require.Equal(t, int64(maxTimeMs), res.View.UpdatedMs)
}

func FuzzDecodeCommand(f *testing.F) {
	_, cmds := sampleCommands()
	for _, cmd := range cmds {
		f.Add(cmd)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := NewMachine(0)
		var res Result
		id := []byte("a")
		if len(b) >= headerSize {
			if n := int(binary.LittleEndian.Uint16(b[offIDLen:])); n > 0 && headerSize+n <= len(b) {
				id = b[headerSize : headerSize+n]
			}
		}
		require.NoError(t, m.Apply(1, EncodePut(nil, &Put{ID: id, HasBudget: true, TokenBudget: 10}), &res))
		before := append([]byte(nil), b...)
		err := m.Apply(2, b, &res)
		require.True(t, bytes.Equal(before, b), "Apply must not change a log entry")
		if err == nil {
			require.NoError(t, m.Apply(3, b, &res))
		}
	})
}
