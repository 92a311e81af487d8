// Package proc starts the servers that are measured as processes of their own, and reads what the kernel knows of
// them: CPU time, memory, bytes read and written. Linux only.
package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"fastpaca/archive/testserver"
)

// Child is a running server.
type Child struct {
	Name string
	Addr netip.AddrPort
	cmd  *exec.Cmd
	logs *os.File
	err  error // of Wait, valid after exited is closed
	// exited is closed once the process has been waited for.
	exited chan struct{}
}

// Spec says how to start a child.
type Spec struct {
	Name string
	Args []string // the program first
	Env  []string // added to this process's environment
	Log  string   // file that gets the child's standard error (and its output, where Addr is set)
	// Addr is where it will listen. Zero: it prints its address as the first line of its standard output.
	Addr netip.AddrPort
}

// Start runs s. The child is killed when this process dies, however it dies.
func Start(s Spec) (*Child, error) {
	logs, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stderr = logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out io.ReadCloser
	if s.Addr.IsValid() {
		cmd.Stdout = logs
	} else if out, err = cmd.StdoutPipe(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", s.Name, err), logs.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", s.Name, err), logs.Close())
	}
	c := &Child{Name: s.Name, Addr: s.Addr, cmd: cmd, logs: logs, exited: make(chan struct{})}
	if out != nil {
		line, err := bufio.NewReader(out).ReadString('\n')
		if err == nil {
			c.Addr, err = netip.ParseAddrPort(strings.TrimSpace(line))
		}
		if err != nil {
			_ = cmd.Process.Kill()
			return nil, errors.Join(fmt.Errorf("start %s: it reported no address (see %s): %w", s.Name, s.Log, err), cmd.Wait(), logs.Close())
		}
	}
	go func() {
		c.err = cmd.Wait()
		_ = logs.Close()
		close(c.exited)
	}()
	return c, nil
}

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Kill ends the child with SIGKILL and waits until it is gone.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// Signal sends sig to the child.
func (c *Child) Signal(sig syscall.Signal) error { return c.cmd.Process.Signal(sig) }

// Terminate asks the child to end (SIGTERM), waits at most d, then kills it. It returns an error where the child had
// to be killed or did not exit with status 0.
func (c *Child) Terminate(d time.Duration) error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	select {
	case <-c.exited:
	case <-time.After(d):
		c.Kill()
		return fmt.Errorf("%s: still running %s after SIGTERM; killed", c.Name, d)
	}
	if c.err != nil {
		return fmt.Errorf("%s: %w", c.Name, c.err)
	}
	return nil
}

// Alive reports whether the child still runs.
func (c *Child) Alive() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// WaitReady polls path every 2 ms until it answers 200, and returns how long that took since from.
func (c *Child) WaitReady(ctx context.Context, path string, from time.Time, timeout time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + c.Addr.String() + path
	last := "no answer"
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", c.Name, err)
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(from), nil
			}
			last = resp.Status
		}
		select {
		case <-c.exited:
			return 0, fmt.Errorf("%s: exited while starting: %v (see %s)", c.Name, c.err, c.logs.Name())
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: not ready after %s (%s; see %s)", c.Name, timeout, last, c.logs.Name())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// FreeAddr returns a loopback address that nothing listens on now, and that no connection is given meanwhile.
func FreeAddr() (netip.AddrPort, error) {
	port, err := testserver.FreePort()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), nil
}
