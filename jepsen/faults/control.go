package faults

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"fastpaca/wal/walfs"
)

// Environment variables of a server built with the tag.
const (
	// SocketVar names the Unix socket to listen on. Without it nothing is ever wrong.
	SocketVar = "FASTPACA_FAULTS_SOCKET"
	// SourceVar is the address that connections to other nodes come from, so that a proxy knows whose they are. Default: the kernel's choice.
	SourceVar = "FASTPACA_FAULTS_SOURCE"
	// BlocksVar set to 1 makes the disk one that writes and syncs in one operation (walfs.InBlocks), as most do. Without it a log
	// writes by WriteAt and Sync. What is under way when power is lost is as bytes that were not synced, either way.
	BlocksVar = "FASTPACA_FAULTS_BLOCKS"
)

// Machine is what can be broken, and the socket through which.
//
// A connection carries one command, a line, and gets the answer: "ok", an error, or what it asked for.
//
//	slow 100ms          syncs take that much longer
//	hang                writes and syncs block
//	full                there is no room
//	eio                 syncs fail
//	heal                the disk is sound again
//	power 42            power is lost, by the dice of that seed: the process ends
//	clock -5m 10ms      the clock is turned by that, and gains so much a second
//	state               what Machine.State says of the contexts whose ids follow, a line each, up to an empty line
type Machine struct {
	Disk  *Disk
	FS    walfs.FS // Disk, as BlocksVar wants it
	Clock Clock
	// State writes what replicas hold of the contexts with these ids, for comparison; set before Serve.
	State func(w io.Writer, ids []string)
}

// NewMachine returns a machine that nothing is wrong with.
func NewMachine() *Machine {
	m := &Machine{Disk: NewDisk(walfs.OS())}
	m.FS = m.Disk
	if os.Getenv(BlocksVar) == "1" {
		m.FS = walfs.InBlocks(m.Disk)
	}
	return m
}

// Serve obeys commands at the socket until the process ends. It takes the place of a socket that a dead process left.
func (m *Machine) Serve(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("%s: %w", SocketVar, err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.obey(c)
		}
	}()
	return nil
}

func (m *Machine) obey(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	if !lines.Scan() {
		return
	}
	if err := m.do(strings.Fields(lines.Text()), lines, c); err != nil {
		fmt.Fprintln(c, err)
	}
}

func (m *Machine) do(words []string, more *bufio.Scanner, w io.Writer) error {
	if len(words) == 0 {
		return errors.New("no command")
	}
	var args [2]time.Duration
	var seed uint64
	for i, word := range words[1:min(len(words), 3)] {
		var err error
		if words[0] == "power" {
			_, err = fmt.Sscan(word, &seed)
		} else {
			args[i], err = time.ParseDuration(word)
		}
		if err != nil {
			return err
		}
	}
	switch words[0] {
	case "slow":
		m.Disk.Slow(args[0])
	case "hang":
		m.Disk.Hang()
	case "full":
		m.Disk.Fill()
	case "eio":
		m.Disk.FailSyncs()
	case "heal":
		m.Disk.Heal()
	case "power":
		m.Disk.LosePower(rand.New(rand.NewPCG(seed, 0x706f776572)))
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "clock":
		m.Clock.Set(args[0], args[1])
	case "state":
		if m.State == nil {
			return errors.New("there is no state yet")
		}
		var ids []string
		for more.Scan() && more.Text() != "" {
			ids = append(ids, more.Text())
		}
		m.State(w, ids)
		return nil
	default:
		return fmt.Errorf("unknown command %q", words[0])
	}
	_, err := io.WriteString(w, "ok\n")
	return err
}
