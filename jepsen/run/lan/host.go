package lan

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	net0, net1 = 10, 77 // 10.77.0.0/24, in namespaces that nothing else is in

	// mtu saves switch and kernel work over 1500: the load is small requests, and a snapshot is fewer packets.
	mtu       = 9000
	maxPacket = 1 << 16
)

// Addr is a host's address.
func Addr(host int) netip.Addr { return netip.AddrFrom4([4]byte{net0, net1, 0, byte(host)}) }

// Host is a network namespace on the switch.
type Host struct {
	ID   int
	dev  *os.File
	work chan func()
	done chan struct{}
}

// NewHost makes a namespace with the address Addr(id). Its thread lives until Close: child processes that Do starts with a
// parent-death signal live as long at most.
func NewHost(s *Switch, id int) (*Host, error) {
	h := &Host{ID: id, work: make(chan func()), done: make(chan struct{})}
	ready := make(chan error)
	go func() {
		defer close(h.done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and with it the namespace's last user
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err == nil {
			h.dev, err = openTUN(id)
		}
		ready <- err
		for f := range h.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		close(h.work)
		return nil, fmt.Errorf("host %d: %w", id, err)
	}
	go s.serve(id, h.dev)
	return h, nil
}

// NewThread returns a Host that is on no network: only its thread is its own, so that processes which Do starts with a parent-death
// signal live as long as it, and no longer than this process.
func NewThread() *Host {
	h := &Host{work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		runtime.LockOSThread() // and never unlocked, as in NewHost
		for f := range h.work {
			f()
		}
	}()
	return h
}

// Join gives this process' own namespace, which should be a fresh one, the address Addr(id), until leave is called.
func Join(s *Switch, id int) (leave func(), err error) {
	dev, err := openTUN(id)
	if err != nil {
		return nil, err
	}
	go s.serve(id, dev)
	return func() { _ = dev.Close() }, nil // the device goes with its file
}

// Do runs f on the host's thread: what it starts or opens is in the host's namespace. It waits for f.
func (h *Host) Do(f func()) {
	done := make(chan struct{})
	h.work <- func() { defer close(done); f() }
	<-done
}

// Close takes the host off the switch. No Do may be under way or follow.
func (h *Host) Close() {
	close(h.work)
	<-h.done
	if h.dev != nil {
		_ = h.dev.Close()
	}
}

// openTUN makes tun0 with the host's address in the calling thread's namespace. It lasts as long as the file.
func openTUN(id int) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	if err := setUpTUN(fd, id); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil // only now: the poller must not see a TUN file that has no device
}

func setUpTUN(fd, id int) error {
	ifr, err := unix.NewIfreq("tun0")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make tun0: %w", err)
	}
	return withSocket(func(sock int) error {
		steps := []struct {
			what string
			req  uint
			set  func(*unix.Ifreq) error
		}{
			{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(Addr(id).AsSlice()) }},
			{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }},
			{"mtu", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
			{"flags", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
		}
		for _, s := range steps {
			r, err := unix.NewIfreq("tun0")
			if err == nil {
				err = s.set(r)
			}
			if err == nil {
				err = unix.IoctlIfreq(sock, s.req, r)
			}
			if err != nil {
				return fmt.Errorf("set tun0's %s: %w", s.what, err)
			}
		}
		return nil
	})
}

func loopbackUp() error {
	return withSocket(func(sock int) error {
		r, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		if err := unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		return nil
	})
}

func withSocket(f func(sock int) error) error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	return f(sock)
}
