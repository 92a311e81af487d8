package proc

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	line := "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0"
	got, err := parseStat([]byte(line))
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, got)
	for _, bad := range []string{"", "42 (x", "42 (x) S 1 2", strings.Replace(line, "150", "x", 1)} {
		_, err := parseStat([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestOwnProcess(t *testing.T) {
	pid := os.Getpid()
	m, err := Mem(pid)
	require.NoError(t, err)
	require.Positive(t, m.RSS)
	require.GreaterOrEqual(t, m.HWM, m.RSS/2)
	io, err := Disk(pid)
	require.NoError(t, err)
	require.Positive(t, io.ReadChars)
	_, err = CPU(pid)
	require.NoError(t, err)
	_, err = CPU(-1)
	require.Error(t, err)
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), make([]byte, 3<<20+5), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", "b"), make([]byte, 7), 0o644))
	size, err := Size(dir)
	require.NoError(t, err)
	require.Equal(t, int64(3<<20+12), size)
	n, took, err := ReadAll(dir)
	require.NoError(t, err)
	require.Equal(t, size, n)
	require.Positive(t, took)
}

func TestDeviceWritten(t *testing.T) {
	// Whether a temporary directory lies on a counted device depends on the machine; never a wrong number.
	n, err := DeviceWritten(t.TempDir())
	if err == nil {
		require.GreaterOrEqual(t, n, int64(0))
	}
	_, err = DeviceWritten("/no/such/directory")
	require.Error(t, err)
	_, err = DeviceWritten("/proc")
	require.Error(t, err, "no device below it")
}

func TestChildAddressExitAndTerminate(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	c, err := Start(Spec{Name: "a", Args: []string{"/bin/sh", "-c", "echo 127.0.0.1:7; exec sleep 60"}, Log: log})
	require.NoError(t, err)
	require.Equal(t, uint16(7), c.Addr.Port())
	require.True(t, c.Alive())
	require.Error(t, c.Terminate(10*time.Second), "sleep dies of the signal: not an exit with status 0")
	require.False(t, c.Alive())

	_, err = Start(Spec{Name: "b", Args: []string{"/bin/sh", "-c", "echo rubbish"}, Log: log})
	require.ErrorContains(t, err, "reported no address")

	addr, err := FreeAddr()
	require.NoError(t, err)
	c, err = Start(Spec{Name: "c", Args: []string{"/bin/sh", "-c", "exit 3"}, Log: log, Addr: addr})
	require.NoError(t, err)
	_, err = c.WaitReady(context.Background(), "/", time.Now(), 10*time.Second)
	require.ErrorContains(t, err, "exited while starting: exit status 3")

	c, err = Start(Spec{Name: "d", Args: []string{"/bin/sleep", "60"}, Log: log, Addr: addr})
	require.NoError(t, err)
	_, err = c.WaitReady(context.Background(), "/", time.Now(), 20*time.Millisecond)
	require.ErrorContains(t, err, "not ready")
	c.Kill()
	require.False(t, c.Alive())

	_, err = Start(Spec{Name: "e", Args: []string{"/no/such/program"}, Log: log, Addr: addr})
	require.Error(t, err)
}
