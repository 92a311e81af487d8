package lan

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Proxies are a network for machines that allow no namespaces: hosts are addresses of the loopback device, and what they say to one
// another goes through a proxy in front of each.
//
//	host 1 ── connects from 127.x.y.1 ──▶ 127.x.y.101 (proxy of this process: links 1→1, 2→1, ...) ──▶ 127.x.y.1 (host 1 listens)
//
// It carries bytes of TCP connections, not packets: what a Link cuts waits until it is healed, as it would for a retransmission, what it
// loses comes 200 ms later, and nothing is doubled or out of order. Whose a connection is says its source address; from a program that
// does not choose one, it is nobody's, whom no link cuts. Linux only, where all of 127.0.0.0/8 is this machine.
type Proxies struct {
	x, y byte
	mu   sync.Mutex
	heal *sync.Cond
	dice *rand.Rand

	links  [MaxHosts][MaxHosts]Link
	closed bool
	listen []net.Listener
	conns  map[net.Conn]bool
	done   sync.WaitGroup

	carried, cut, lost, delayed atomic.Uint64
}

const (
	proxyOffset = 100 // between a host's address and its proxy's
	// retransmit is about how long TCP takes to send again what was lost.
	retransmit = 200 * time.Millisecond
	// chunk bounds what travels together, chunksAhead how much is under way over a slow link.
	chunk, chunksAhead = 16 << 10, 512
	blocks             = 200 // of addresses, that other harnesses may use as well
)

// NewProxies makes a network of hosts 1 to size, which listen on port. No address of theirs is in use.
func NewProxies(seed uint64, size int, port uint16) (*Proxies, error) {
	p := &Proxies{dice: rand.New(rand.NewPCG(seed, 0x70726f78)), conns: map[net.Conn]bool{}}
	p.heal = sync.NewCond(&p.mu)
	var err error
	for try := range blocks {
		at := os.Getpid() + try
		p.x, p.y = byte(1+at/blocks%blocks), byte(1+at%blocks)
		if err = p.take(size, port); err == nil {
			for i, l := range p.listen {
				p.done.Add(1)
				go p.accept(i+1, l, port)
			}
			return p, nil
		}
		for _, l := range p.listen {
			_ = l.Close()
		}
		p.listen = nil
	}
	return nil, fmt.Errorf("no block of loopback addresses is free: %w", err)
}

// take listens on the addresses of all proxies.
func (p *Proxies) take(size int, port uint16) error {
	for host := 1; host <= size; host++ {
		l, err := net.Listen("tcp", netip.AddrPortFrom(p.Front(host), port).String())
		if err != nil {
			return err
		}
		p.listen = append(p.listen, l)
	}
	return nil
}

// Addr is where a host listens, and where it should connect from.
func (p *Proxies) Addr(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, p.x, p.y, byte(host)})
}

// Front is where the other hosts reach it.
func (p *Proxies) Front(host int) netip.Addr { return p.Addr(host + proxyOffset) }

// Set makes the link from one host to another, one way, be l.
func (p *Proxies) Set(from, to int, l Link) {
	p.mu.Lock()
	p.links[from][to] = l
	p.mu.Unlock()
	p.heal.Broadcast()
}

// Both makes the links between two hosts, both ways, be l.
func (p *Proxies) Both(a, b int, l Link) {
	p.Set(a, b, l)
	p.Set(b, a, l)
}

// Heal makes all links good.
func (p *Proxies) Heal() {
	p.mu.Lock()
	p.links = [MaxHosts][MaxHosts]Link{}
	p.mu.Unlock()
	p.heal.Broadcast()
}

// Stats returns what happened to pieces of connections so far.
func (p *Proxies) Stats() Stats {
	return Stats{Carried: p.carried.Load(), Cut: p.cut.Load(), Lost: p.lost.Load(), Delayed: p.delayed.Load()}
}

// Close ends all connections.
func (p *Proxies) Close() {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.listen {
		_ = l.Close()
	}
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.heal.Broadcast()
	p.done.Wait()
}

// pass is open, and says how late what travels the link now is.
func (p *Proxies) pass(from, to int) (late time.Duration, ok bool) {
	ok = p.open(from, to)
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[from][to]
	late = l.Delay
	if l.Jitter > 0 {
		late += time.Duration(p.dice.Int64N(int64(l.Jitter)))
	}
	if l.Loss > 0 && p.dice.Float64() < l.Loss {
		p.lost.Add(1)
		late += retransmit
	}
	if late > 0 {
		p.delayed.Add(1)
	}
	return late, ok
}

// open waits until the link is not cut; false: the network is closed.
func (p *Proxies) open(from, to int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[from][to].Cut {
		p.cut.Add(1)
	}
	for p.links[from][to].Cut && !p.closed {
		p.heal.Wait()
	}
	return !p.closed
}

func (p *Proxies) accept(to int, l net.Listener, port uint16) {
	defer p.done.Done()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.done.Add(1)
		go p.connect(c, p.host(c.RemoteAddr()), to, port)
	}
}

// host is whose address it is; 0: nobody's.
func (p *Proxies) host(a net.Addr) int {
	ip := a.(*net.TCPAddr).IP.To4()
	if ip == nil || ip[1] != p.x || ip[2] != p.y || ip[3] >= proxyOffset {
		return 0
	}
	return int(ip[3])
}

// connect takes a connection to its host, once both ways are open: no handshake gets through otherwise.
func (p *Proxies) connect(c net.Conn, from, to int, port uint16) {
	defer p.done.Done()
	_, there := p.pass(from, to)
	_, back := p.pass(to, from)
	up, err := net.Dial("tcp", netip.AddrPortFrom(p.Addr(to), port).String())
	if err != nil || !there || !back || !p.add(c, up) {
		_ = c.Close()
		if err == nil {
			_ = up.Close()
		}
		return
	}
	p.done.Add(2)
	go p.carry(up, c, from, to)
	go p.carry(c, up, to, from)
}

func (p *Proxies) add(both ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range both {
		p.conns[c] = true
	}
	return !p.closed
}

// piece is what is under way, and until when.
type piece struct {
	due  time.Time
	data []byte
}

// carry reads from src what goes to dst, until either ends.
func (p *Proxies) carry(dst, src net.Conn, from, to int) {
	defer p.done.Done()
	way := make(chan piece, chunksAhead)
	p.done.Add(1)
	go func() {
		defer p.done.Done()
		for x := range way {
			time.Sleep(time.Until(x.due))
			if !p.open(from, to) {
				continue
			}
			if _, err := dst.Write(x.data); err == nil {
				p.carried.Add(1)
			} else {
				_ = src.Close() // the reader ends, and then this
			}
		}
		_, _ = dst.Close(), src.Close()
		p.mu.Lock()
		delete(p.conns, src)
		p.mu.Unlock()
	}()
	defer close(way)
	for {
		data := make([]byte, chunk)
		n, err := src.Read(data)
		if n > 0 {
			late, ok := p.pass(from, to)
			if !ok {
				return
			}
			way <- piece{time.Now().Add(late), data[:n]}
		}
		if err != nil {
			return
		}
	}
}
