package main

import (
	"fmt"
	"net"
	"testing"

	"fastpaca/jepsen/run/check"

	"github.com/stretchr/testify/require"
)

// TestStalledStreamsAreJudged: what a stalled client saw is compared with the log, though a long log begins with a gap for it.
func TestStalledStreamsAreJudged(t *testing.T) {
	var log []check.Entry
	for i := range 9 {
		log = append(log, check.Entry{Seq: uint64(i + 1), Text: fmt.Sprint("m", i+1)})
	}
	judged := func(events ...string) *check.Verdict {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for _, e := range events {
				fmt.Fprintf(server, "data: %s\n\n", e)
			}
		}()
		var s stalls
		s.read(0, client)
		require.NoError(t, client.Close())
		v := &check.Verdict{}
		s.judge(v, 0, log)
		return v
	}
	event := func(seq int, text string) string {
		return fmt.Sprintf(`{"type":"message","seq":%d,"message":{"parts":[{"type":"text","text":%q}]}}`, seq, text)
	}
	gap := `{"type":"gap","expected":1,"actual":4}`

	v := judged(gap, event(4, "m4"), event(5, "m5"), gap, event(9, "m9"))
	require.Equal(t, uint64(2), uint64(v.Checked))
	require.Zero(t, v.Count, "%v", v.Violations)
	require.NotZero(t, judged(gap, event(4, "m4"), event(6, "m6")).Count, "a hole")
	require.NotZero(t, judged(event(1, "m2")).Count, "another's message")
}
