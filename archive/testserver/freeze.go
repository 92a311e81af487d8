package testserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Freeze stops all processes of the server where they are, as a machine does that swaps: connections stay open and nothing
// answers. thaw lets them go on. They also go on when this process dies, so that none stays behind for ever.
func (p *Postgres) Freeze(t testing.TB) (thaw func()) {
	t.Helper()
	main := p.proc.cmd.Process.Pid
	if err := syscall.Kill(main, syscall.SIGSTOP); err != nil { // first: it starts no more of them then
		t.Fatal(err)
	}
	pids := []string{strconv.Itoa(main)}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(b), " ")
		f := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:]) // state, parent, ...
		if len(f) > 1 && f[1] == pids[0] {
			pids = append(pids, pid)
		}
	}
	// A process of its own thaws them when its input ends: by thaw, or by our death.
	cmd := exec.Command("sh", append([]string{"-c", `kill -STOP "$@"; echo stopped; read x; kill -CONT "$@"`, "sh"}, pids...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_ = syscall.Kill(main, syscall.SIGCONT)
		t.Fatal(err)
	}
	thaw = sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	p.thaw = thaw // before anybody waits for their end
	t.Cleanup(thaw)
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil {
		t.Fatal("freezing Postgres: ", err)
	}
	return thaw
}
