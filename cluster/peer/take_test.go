package peer

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// taker is a Config.Take that keeps callers until somebody answers them. Kind 1 is taken.
type taker struct {
	mu      sync.Mutex
	callers []Caller
	reqs    [][]byte
	batches int
}

func (k *taker) take(_ uint64, calls []Incoming) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.batches++
	for i := range calls {
		if c := &calls[i]; c.Kind == 1 {
			c.Taken = true
			k.callers = append(k.callers, c.Caller)
			k.reqs = append(k.reqs, bytes.Clone(c.Request))
		}
	}
}

func (k *taker) taken() int { k.mu.Lock(); defer k.mu.Unlock(); return len(k.callers) }

// TestTakenCallsAreAnsweredLater: in any order and by any goroutine; calls that are not taken, and large ones, are Serve's.
func TestTakenCallsAreAnsweredLater(t *testing.T) {
	var k taker
	a, b := newRig(t, 1, nil), newRig(t, 2, func(_ *rig, c *Config) { c.Take = k.take })
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	const n = 100
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			got, err := a.tr.Call(2, 1, fmt.Appendf(nil, "req %d", i), []byte("before "), time.Minute)
			if err != nil || string(got) != fmt.Sprintf("before answer to req %d", i) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
	got, err := a.tr.Call(2, 2, []byte("other"), nil, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "\x01\x02other", string(got))
	large := make([]byte, takeMax+1)
	got, err = a.tr.Call(2, 1, large, nil, time.Minute)
	require.NoError(t, err)
	require.Len(t, got, len(large)+2)

	eventually(t, "all are taken", func() bool { return k.taken() == n })
	for i := n - 1; i >= 0; i-- {
		work.Go(func() {
			k.callers[i].Leave(append([]byte("answer to "), k.reqs[i]...))
			b.tr.Flush()
		})
	}
	work.Wait()
	var st Stats
	b.tr.Stats(&st)
	require.EqualValues(t, n+2, st.Served)
}

// TestTakenCallsOfALostConnection: their callers do not know the outcome, at once; answers that come later go nowhere.
func TestTakenCallsOfALostConnection(t *testing.T) {
	var k taker
	a, b := newRig(t, 1, nil), newRig(t, 2, func(_ *rig, c *Config) { c.Take = k.take })
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	failed := make(chan error, 1)
	go func() {
		_, err := a.tr.Call(2, 1, []byte("x"), nil, time.Minute)
		failed <- err
	}()
	eventually(t, "it is taken", func() bool { return k.taken() == 1 })
	b.cut()
	require.ErrorIs(t, <-failed, ErrUnknown)
	connected(t, a, b)
	eventually(t, "the node is there again", func() bool {
		_, err := a.tr.Call(2, 2, nil, nil, time.Minute)
		return err == nil
	})
	k.callers[0].Leave([]byte("late"))
	b.tr.Flush()
	var st Stats
	eventually(t, "it is dropped", func() bool { b.tr.Stats(&st); return st.AnswersDropped == 1 })
	got, err := a.tr.Call(2, 2, []byte("next"), nil, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "\x01\x02next", string(got))
}

// TestTakenAnswerTooLarge: the caller hears that it does not know the outcome.
func TestTakenAnswerTooLarge(t *testing.T) {
	var said []byte
	c := Caller{to: outcomes{&said}, id: 1}
	c.Leave(make([]byte, maxFrame-callOverhead+1)) // never touched, so that it costs no memory
	c.Leave([]byte("x"))
	require.Equal(t, []byte{outcomeTooLarge, outcomeDone}, said)
}

type outcomes struct{ said *[]byte }

func (o outcomes) leave(_ uint64, outcome byte, _ []byte) { *o.said = append(*o.said, outcome) }

// TestCloseWithTakenCalls: Close waits for nobody who has taken a call, and an answer after it does no harm. Both ends.
func TestCloseWithTakenCalls(t *testing.T) {
	var k taker
	a, b := newRig(t, 1, nil), newRig(t, 2, func(_ *rig, c *Config) { c.Take = k.take })
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	failed := make(chan error, 1)
	go func() {
		_, err := a.tr.Call(2, 1, []byte("x"), nil, time.Minute)
		failed <- err
	}()
	eventually(t, "it is taken", func() bool { return k.taken() == 1 })
	require.NoError(t, b.tr.Close())
	require.ErrorIs(t, <-failed, ErrUnknown)
	k.callers[0].Leave([]byte("late"))
	b.tr.Flush()
	require.NoError(t, a.tr.Close())
}
