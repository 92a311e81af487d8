package cluster

import (
	"fmt"
	"testing"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// TestMessagesOfAnotherReplica: what a node asks for when its history is damaged comes from another replica, in pages.
func TestMessagesOfAnotherReplica(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.waitReady("a", "b", "c")
	id := []byte("healed")
	group := shard.Of(id)
	do := func(encode func(dst []byte) []byte) {
		t.Helper()
		r.wait("a write", func() bool {
			for _, n := range r.nodes {
				req := shard.AcquireRequest()
				req.Cmd = encode(req.Cmd[:0])
				n.Shard().Do(group, req)
				code := req.Result.Code
				shard.ReleaseRequest(req)
				if code == shard.CodeOK || code == shard.CodeSeqConflict { // the second: an earlier try was carried out after all
					return true
				}
			}
			return false
		})
	}
	do(func(dst []byte) []byte { return shard.EncodePut(dst, &shard.Put{ID: id}) })
	const messages = 20
	for i := range messages {
		do(func(dst []byte) []byte {
			dst = shard.BeginAppend(dst, shard.AppendHeader{ID: id, Count: 1, HasFirstSeq: true, FirstSeq: uint64(i + 1)})
			fields := fmt.Appendf(nil, `"role":"user","parts":[{"type":"text","text":"message %d"}]`, i+1)
			return shard.AppendMessage(dst, &shard.Message{Fields: fields, Flags: shard.FlagNoMetadata, Tokens: 1})
		})
	}
	for name, n := range r.nodes {
		m := n.member.Load()
		for from := uint64(1); from <= messages; {
			var got []byte
			var next uint64
			r.wait("the others have applied all of it", func() (ok bool) {
				var err error
				got, next, err = n.fetchMessages(m, id, from, messages, 300)
				return err == nil && next > from
			})
			require.Less(t, len(got), 400)
			for ; from < next; from++ {
				require.Contains(t, string(got), fmt.Sprintf(`{"seq":%d,"role":"user","parts":[{"type":"text","text":"message %d"}]`, from, from), name)
			}
		}
		_, next, err := n.fetchMessages(m, []byte("nobody"), 1, 10, 300)
		require.Error(t, err)
		require.EqualValues(t, 1, next)
		require.Empty(t, n.serveMessages([]byte("short"), nil))
	}
}
