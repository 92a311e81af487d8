package testserver

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startWait bounds how long a server may take until it answers; crash recovery on a busy disk included, which syncs
// every file of every database.
const startWait = 3 * time.Minute

// process is a server that lives no longer than the process that started it.
type process struct {
	cmd  *exec.Cmd
	out  *tail
	done chan struct{} // closed when it has ended
	err  error         // of Wait; valid after done
}

// spawn starts cmd. If this process dies, the kernel sends deathsig to it.
//
// The kernel counts the death of the thread that forked as the death of the parent, and Go ends threads now and then:
// a goroutine therefore keeps its thread until the child has ended.
func spawn(cmd *exec.Cmd, cred *syscall.Credential, deathsig syscall.Signal) (*process, error) {
	p := &process{cmd: cmd, out: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: deathsig}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop sends sig and waits until the process has ended; after startWait it is killed.
func (p *process) stop(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(startWait):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// await polls until ready is nil, the process has ended, or startWait is over.
func (p *process) await(what string, ready func() error) error {
	deadline := time.Now().Add(startWait)
	for {
		err := ready()
		select {
		case <-p.done: // and whoever has answered is somebody else
			return fmt.Errorf("%s ended at once (%v):\n%s", what, p.err, p.out)
		case <-time.After(20 * time.Millisecond):
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer after %v (%v):\n%s", what, startWait, err, p.out)
		}
	}
}

// tail keeps the last output of a process, for error messages.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailMax = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailMax; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ToValidUTF8(t.b, []byte("?")))
}

// The ports of servers are below those that systems give to whoever asks for any (Linux from 32768 on, others from 49152): a
// server that was killed finds its port again, whatever connections other tests have opened meanwhile.
const portMin, portMax = 10000, 32000

// FreePort returns a TCP port that nobody listens on right now, and that stays free as long as nobody asks for that very one.
func FreePort() (int, error) {
	for try := 0; ; try++ {
		port := portMin + rand.IntN(portMax-portMin)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, l.Close()
		}
		if try == 100 {
			return 0, err
		}
	}
}

const ownerFile = "owner.pid"

// scratch makes a directory for a server's data below the system's temporary directory. (Not t.TempDir: other users
// cannot enter it, and Postgres refuses to run as root.) Directories of processes that were killed before they could
// clean up are removed first.
func scratch(prefix string) (string, error) {
	base := os.TempDir()
	old, _ := filepath.Glob(filepath.Join(base, prefix+"*"))
	for _, dir := range old {
		b, err := os.ReadFile(filepath.Join(dir, ownerFile))
		if err != nil {
			continue // just being made, or being removed
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir)
		}
	}
	dir, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, ownerFile), []byte(strconv.Itoa(os.Getpid())), 0o644)
}
