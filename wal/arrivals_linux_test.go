package wal

import (
	"os"
	"runtime"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestWhatHasComeInIsInTheSync: on one processor, what somebody will submit who has only to read it from a descriptor goes into
// the sync of what is submitted already.
func TestWhatHasComeInIsInTheSync(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	w, err := Open(testOptions(walfs.NewMem(), 2), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	in, out, err := os.Pipe()
	require.NoError(t, err)

	done := make(chan struct{}, 2)
	var batches [2]*Batch
	for i := range batches {
		batches[i] = NewBatch(func(*Batch) { done <- struct{}{} })
	}
	submit := func(group uint32, index uint64) {
		b := batches[group]
		b.Reset()
		b.Entry(group, 0, Entry{Index: index, Term: 1, Data: []byte("entry")})
		w.Submit(b)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var b [1]byte
		for index := uint64(1); ; index++ {
			if _, err := in.Read(b[:]); err != nil {
				return
			}
			submit(1, index)
		}
	}()
	for index := uint64(1); index <= 100; index++ {
		for range 4 {
			runtime.Gosched() // the reader waits
		}
		syncs := w.count.syncs.Load()
		_, err = out.Write([]byte{1})
		require.NoError(t, err)
		submit(0, index)
		<-done
		<-done
		require.Equal(t, syncs+1, w.count.syncs.Load(), "both in one")
	}
	require.NoError(t, out.Close())
	<-ended
	require.NoError(t, in.Close())
}

func TestArrivalsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var a arrivals
	require.True(t, a.open())
	defer a.close()
	require.Zero(t, testing.AllocsPerRun(1000, a.wait))
}
