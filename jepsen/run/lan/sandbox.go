package lan

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// sandboxed marks the process that Sandbox started.
const sandboxed = "FASTPACA_JEPSEN_SANDBOX"

// Inside says whether this process is the copy that Sandbox started.
func Inside() bool { return os.Getenv(sandboxed) != "" }

// Sandbox runs this program again, with the same arguments, in namespaces of its own: network, mounts, processes (and users,
// where we are not root). In the copy it returns inside = true. In the first process it waits for the copy and returns its exit
// code. Nothing the copy starts, mounts or configures outlives it: it is process 1 of its namespace, and the kernel ends the others
// when it ends; and it ends when the first process does.
func Sandbox() (inside bool, code int, err error) {
	if Inside() {
		return true, 0, errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), // mounts of ours stay ours
			unix.Mount("proc", "/proc", "proc", 0, ""),               // of our process ids
			loopbackUp())
	}
	self, err := os.Executable()
	if err != nil {
		return false, 1, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), sandboxed+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if uid := os.Getuid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	// The copy gets what is sent to the process group as well; this one stays to tell its exit code.
	signal.Ignore(os.Interrupt)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	defer signal.Stop(term)
	if err := cmd.Start(); err != nil {
		return false, 1, err
	}
	go func() {
		for range term {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return false, max(1, exit.ExitCode()), nil
	}
	return false, 0, err
}
