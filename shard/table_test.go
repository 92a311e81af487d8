package shard

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Readers look contexts up while the writer adds others and the table grows. What was there before a
// lookup began is found, complete; what was never added is not.
func TestLookupBesideInsert(t *testing.T) {
	const n = 20_000
	m := NewMachine(0)
	var added atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var v View
			for i := w; ; i += 7 {
				known := int(added.Load())
				if known == n {
					return
				}
				if m.Lookup(fmt.Appendf(nil, "nobody-%d", i)) != nil {
					panic("found what is not there")
				}
				if known == 0 {
					continue
				}
				id := fmt.Sprintf("ctx-%d", i%known)
				c := m.Lookup([]byte(id))
				if c == nil || c.ID() != id {
					panic("lost " + id)
				}
				c.View(&v)
				if v.Ext == nil || v.Ext.Config.TokenBudget != DefaultTokenBudget || v.ID() != id {
					panic("incomplete " + id)
				}
			}
		}()
	}
	var res Result
	for i := range n {
		require.NoError(t, m.Apply(uint64(i), EncodePut(nil, &Put{ID: fmt.Appendf(nil, "ctx-%d", i)}), &res))
		added.Store(int64(i + 1))
	}
	wg.Wait()
	require.Equal(t, n, m.Len())
}

func TestLookupOfNothing(t *testing.T) {
	m := NewMachine(0)
	require.Nil(t, m.Lookup(nil))
	require.Nil(t, m.Lookup([]byte("a")))
}

// Ids that fall into one slot are told apart by their bytes.
func TestTableCollisions(t *testing.T) {
	var tab table
	hash := func(i uint32) uint64 { return uint64(i%3)<<shardBits | uint64(i%2)<<40 }
	for i := range uint32(100) {
		tab.insert(i, hash(i), hash)
	}
	for i := range uint32(6) {
		var got, want []uint32
		for p := tab.probe(hash(i)); ; {
			ordinal, ok := p.next()
			if !ok {
				break
			}
			require.Equal(t, i%2, ordinal%2, "the other half of the hash")
			got = append(got, ordinal)
		}
		for k := i; k < 100; k += 6 {
			want = append(want, k)
		}
		require.Subset(t, got, want)
	}
	p := tab.probe(1 << 50)
	_, ok := p.next()
	require.False(t, ok, "another hash")
}

func TestSubscribers(t *testing.T) {
	s := newStory(t, Put{})
	var published atomic.Int64
	s.m.OnPublish(func(c *Context) {
		published.Add(1)
		c.WakeSubscribers()
	})
	c := s.m.Lookup([]byte("s"))
	s.append(text("user", 1))
	require.Zero(t, published.Load(), "nobody listens")

	wakes := make([]chan struct{}, 512)
	var wg sync.WaitGroup
	for i := range wakes {
		wakes[i] = make(chan struct{}, 1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			c.Subscribe(wakes[i])
			if i%2 == 1 {
				c.Unsubscribe(wakes[i])
			}
		}()
	}
	wg.Wait()
	s.append(text("user", 1))
	s.append(text("user", 1)) // the buffers are full: dropped, not blocked
	require.Equal(t, int64(2), published.Load(), "one call, however many subscribers")
	for i, w := range wakes {
		require.Len(t, w, 1-i%2)
	}
	s.do(EncodePut(nil, &Put{ID: []byte("s")}))
	s.do(EncodeDelete(nil, []byte("s")))
	require.Equal(t, int64(4), published.Load())
	s.do(EncodeDelete(nil, []byte("s")))
	s.append(text("user", 1))
	require.Equal(t, int64(4), published.Load(), "nothing changed")

	for _, w := range wakes {
		c.Unsubscribe(w)
	}
	require.False(t, c.HasSubscribers())
	c.WakeSubscribers()
	c.Unsubscribe(nil)
}

// A stream that waits for wakes gets everything once, in order, while the writer writes.
func TestStreamBesideApply(t *testing.T) {
	const n = 2000
	s := newStory(t, Put{HasBudget: true, TokenBudget: 300})
	s.m.OnPublish((*Context).WakeSubscribers)
	c := s.m.Lookup([]byte("s"))
	var wg sync.WaitGroup
	results := make([][]string, 4)
	var ready sync.WaitGroup
	for i := range results {
		wg.Add(1)
		ready.Add(1)
		go func() {
			defer wg.Done()
			wake := make(chan struct{}, 1)
			c.Subscribe(wake)
			defer c.Unsubscribe(wake)
			var v View
			cur := Cursor{}
			ready.Done()
			for cur.Version < n {
				c.View(&v)
				results[i] = append(results[i], brief(&v, &cur)...)
				if cur.Version < n {
					<-wake
				}
			}
		}()
	}
	ready.Wait()
	for i := range n {
		if i%100 == 99 {
			s.compact(text("user", 1))
		} else {
			s.append(text("user", 10))
		}
	}
	wg.Wait()
	for i := range results {
		require.Equal(t, results[0], results[i])
	}
	require.Equal(t, brief(s.view(), &Cursor{}), results[0])
}

// The 1000 newest keyed appends are remembered, through snapshots, too.
func TestIdempotencyRing(t *testing.T) {
	s := newStory(t, Put{HasBudget: true, TokenBudget: 1 << 40})
	keyed := func(n int, body byte) *Result {
		h := AppendHeader{ID: []byte("s"), HasKey: true, BodyHash: [16]byte{body}}
		h.Key[0], h.Key[15] = byte(n), byte(n>>8) // many share a tag
		return s.do(encode(BeginAppend(nil, h), []tMsg{text("user", 1)}))
	}
	for n := range 1500 {
		require.False(t, keyed(n, 1).Deduplicated)
		if n == 1200 {
			s.m = reload(t, s.m)
		}
	}
	v := s.view().Version
	require.Equal(t, uint64(1500), v)
	for _, n := range []int{500, 777, 1499} {
		res := keyed(n, 1)
		require.True(t, res.Deduplicated, n)
		require.Equal(t, [3]uint64{uint64(n + 1), uint64(n + 1), 1}, [3]uint64{res.Version, res.FirstSeq, uint64(res.Count)})
		require.Equal(t, uint32(1), res.View.Slot(res.FirstSeq).Tokens)
		require.Equal(t, CodeKeyReused, keyed(n, 2).Code)
	}
	require.Equal(t, v, s.view().Version)
	require.False(t, keyed(499, 1).Deduplicated, "the 1001st newest is forgotten")
	require.True(t, keyed(501, 1).Deduplicated)
	require.False(t, keyed(500, 1).Deduplicated, "and with it the next oldest")
}

func reload(t *testing.T, m *Machine) *Machine {
	loaded, _, err := LoadMachine(bytes.NewReader(snapshotOf(t, m)))
	require.NoError(t, err)
	return loaded
}

// A retry of a guarded append that went through is answered before its guard is looked at, and before the
// tombstone.
func TestGuardsAndKeys(t *testing.T) {
	s := newStory(t, Put{})
	h := AppendHeader{ID: []byte("s"), HasIfVersion: true, HasKey: true, Key: [16]byte{1}}
	cmd := func() []byte { return encode(BeginAppend(nil, h), []tMsg{text("user", 1), text("user", 1)}) }
	require.Equal(t, CodeOK, s.do(cmd()).Code)
	res := s.do(cmd())
	require.Equal(t, CodeOK, res.Code)
	require.True(t, res.Deduplicated)
	require.Equal(t, [3]uint64{1, 1, 2}, [3]uint64{res.Version, res.FirstSeq, uint64(res.Count)})
	h.Key[0] = 2
	res = s.do(cmd())
	require.Equal(t, CodeConflict, res.Code)
	require.Equal(t, [2]uint64{1, 0}, [2]uint64{res.CurrentVersion, res.IfVersion})
	s.do(EncodeDelete(nil, []byte("s")))
	require.Equal(t, CodeTombstoned, s.do(cmd()).Code)
	require.Equal(t, CodeTombstoned, s.compact().Code)
	require.Equal(t, CodeTombstoned, s.do(EncodePut(nil, &Put{ID: []byte("s")})).Code)
	require.Equal(t, CodeTombstoned, s.do(EncodePatchMetadata(nil, []byte("s"), []byte(`{}`))).Code)
	h.Key[0] = 1
	require.True(t, s.do(cmd()).Deduplicated)
	require.Equal(t, uint64(2), s.view().Last)
}
