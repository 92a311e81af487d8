package walfs

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestHeldSyncWhereEventsAreForbidden: a sandbox that lets a sync be started by AIO and not waited for gets ordinary syncs.
func TestHeldSyncWhereEventsAreForbidden(t *testing.T) {
	whereForbidden(t, unix.SYS_IO_GETEVENTS, func() {
		f := dirtyFile(t)
		h := &held{limit: holdMax}
		for range 2 {
			tried, err := h.sync(f)
			require.NoError(t, err)
			require.False(t, tried)
		}
		require.True(t, h.broken)
	})
}

// TestHeldWhereNothingCanBeStarted: one that has AIO, and lets nothing be started by it, gets ordinary writes and syncs.
func TestHeldWhereNothingCanBeStarted(t *testing.T) {
	whereForbidden(t, unix.SYS_IO_SUBMIT, func() {
		f, path := directFile(t)
		for i := range 3 {
			want := wholeBlocks(1, byte(i+1))
			done, err := f.WriteBlocks(want, 0)
			require.NoError(t, err)
			require.True(t, done)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got[:len(want)]))
			require.NoError(t, f.Sync())
		}
	})
}

// whereForbidden runs a test with one processor in a process that gets EPERM for a system call. It is a process of its own, since a
// filter stays.
func whereForbidden(t *testing.T, call uint32, test func()) {
	t.Helper()
	const forbidden = "FASTPACA_TEST_FORBIDDEN"
	if os.Getenv(forbidden) == "" {
		oneProcessor(t)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), forbidden+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		if strings.Contains(string(out), "--- SKIP") {
			t.Skipf("%s", out)
		}
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	forbid(t, call)
	runtime.GOMAXPROCS(1)
	test()
}

// forbid has the system call fail with EPERM from here on, in all threads; or skips where there are no filters.
func forbid(t *testing.T, call uint32) {
	t.Helper()
	filter := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // both are of one thread, and the second of all others then
	defer runtime.UnlockOSThread()
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); err != nil || errno != 0 {
		t.Skipf("no filters of system calls here: %v, %v", err, errno)
	}
}
