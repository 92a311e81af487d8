package walfs

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// oneProcessor makes the process one that holds its syncs, or skips where there is no AIO.
func oneProcessor(t *testing.T) *held {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	h := &held{limit: time.Minute}
	tried, err := h.sync(dirtyFile(t))
	require.NoError(t, err)
	if !tried {
		t.Skip("no Linux AIO here: nothing is held")
	}
	t.Cleanup(func() { _, _, _ = unix.RawSyscall(unix.SYS_IO_DESTROY, h.ctx, 0, 0) })
	return h
}

func dirtyFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.Write(make([]byte, 8192))
	require.NoError(t, err)
	return f
}

func TestHeldSync(t *testing.T) {
	h := oneProcessor(t)
	f := dirtyFile(t)
	for i := range 20 {
		_, err := f.WriteAt([]byte{byte(i)}, int64(i)*512)
		require.NoError(t, err)
		for h.rest > 0 { // a signal ended one early
			_, err = h.sync(f)
			require.NoError(t, err)
		}
		tried, err := h.sync(f)
		require.NoError(t, err)
		require.True(t, tried)
	}
	require.Equal(t, 21, h.done)
}

// A sync that takes longer than the limit is waited for in the ordinary way, and the next one is not held.
func TestHeldSyncLetsGo(t *testing.T) {
	h := oneProcessor(t)
	h.limit, h.rest, h.next, h.long = 0, 0, 0, 0 // a signal may have ended the first one early
	f := dirtyFile(t)
	done := h.done
	tried, err := h.sync(f)
	require.NoError(t, err)
	require.True(t, tried)
	require.Equal(t, done+1, h.done, "it came to its end")
	if h.long == 0 {
		t.Skip("the disk was done before it was asked")
	}
	require.Equal(t, 1, h.rest)
	h.rest = holdRest // as after several
	for range holdRest {
		tried, err = h.sync(f)
		require.NoError(t, err)
		require.False(t, tried)
	}
	tried, err = h.sync(f)
	require.NoError(t, err)
	require.True(t, tried)
}

// More and more are not held while that goes on, and one again after a short one.
func TestHeldSyncPace(t *testing.T) {
	var h held
	for _, rest := range []int{1, 2, 4, 8, 16, 16, 0, 1, 2} {
		h.pace(rest == 0)
		require.Equal(t, rest, h.rest)
		h.rest = 0 // they have been
	}
}

// What AIO does not take is left to the ordinary call, and AIO is not asked again. What a sync fails with is passed on.
func TestHeldSyncThatCannotBe(t *testing.T) {
	h := oneProcessor(t)
	h.rest = 0
	t.Cleanup(func() { theHeld.broken = false }) // by fdatasync of the pipe
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	tried, err := h.sync(w)
	require.NoError(t, err)
	require.False(t, tried)
	require.True(t, h.broken)
	require.ErrorIs(t, fdatasync(w), unix.EINVAL)
	tried, err = h.sync(dirtyFile(t))
	require.NoError(t, err)
	require.False(t, tried)
}

// With more processors nothing is held, and one sync at a time is: the others go their own way.
func TestHeldSyncOfMany(t *testing.T) {
	h := oneProcessor(t)
	done := h.done
	h.mu.Lock()
	tried, err := h.sync(dirtyFile(t))
	h.mu.Unlock()
	require.NoError(t, err)
	require.False(t, tried, "another one is under way")

	var wg sync.WaitGroup
	for range 8 {
		f := dirtyFile(t)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 50 {
				if _, err := f.WriteAt([]byte{byte(i)}, 0); err != nil {
					t.Error(err)
				}
				if _, err := h.sync(f); err != nil {
					t.Error(err)
				}
				if err := fdatasync(f); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	require.Greater(t, h.done, done)

	runtime.GOMAXPROCS(2)
	h.rest = 0
	tried, err = h.sync(dirtyFile(t))
	require.NoError(t, err)
	require.False(t, tried, "others could use the processor")
}

func TestHeldSyncDoesNotAllocate(t *testing.T) {
	h := oneProcessor(t)
	f := dirtyFile(t)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h.rest = 0
		if _, err := h.sync(f); err != nil {
			t.Error(err)
		}
	}))
}
