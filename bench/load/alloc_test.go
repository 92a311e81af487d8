//go:build !race

package load

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnswersAreReadWithoutAllocation(t *testing.T) {
	r := &run{plan: &Plan{Status: 200}, res: &Result{}}
	c := &conn{head: make([]byte, 0, headBytes)}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n0123456789")
	for _, cut := range []int{len(answer), 20} { // whole, and in two pieces
		allocs := testing.AllocsPerRun(100, func() {
			c.busy, c.body, c.head = true, -1, c.head[:0]
			done, err := r.take(c, answer[:cut])
			if !done && err == nil {
				done, err = r.take(c, answer[cut:])
			}
			if !done || err != nil {
				t.Fatal(done, err)
			}
			r.complete(c, 1)
		})
		require.Zero(t, allocs)
	}
}
