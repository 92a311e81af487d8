//go:build !race

package cluster

import (
	"encoding/binary"
	"testing"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// Forwarding allocates nothing in steady state, on either end. Heartbeats and the orchestrators of three nodes run beside it,
// so that "nothing" is less than one in ten requests.
func TestForwardAllocatesNothing(t *testing.T) {
	r := newRig(t)
	r.found(func(o *Options) { o.pace = defaultPace() }, "a", "b", "c")
	_, group := r.led("a")
	for _, n := range r.nodes {
		n.SetHandlers(func(req, dst []byte) []byte { return append(append(dst, AnswerDone), req...) }, nil)
	}
	req := binary.LittleEndian.AppendUint32(make([]byte, 0, 64), 7)
	dst := make([]byte, 0, 256)
	b := r.nodes["b"]
	forward := func() {
		answer, code, _ := b.Forward(group, req, dst, false)
		for try := 0; code != shard.CodeOK; try++ { // an election, on a machine that is slow enough
			if try == 100 {
				panic("forward failed")
			}
			answer, code, _ = b.Forward(group, req, dst, false)
		}
		if string(answer) != string(req) {
			panic("forward failed")
		}
	}
	for range 200 {
		forward()
	}
	require.Less(t, testing.AllocsPerRun(2000, forward), 0.1)
}
