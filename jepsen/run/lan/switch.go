package lan

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// MaxHosts bounds the last octet of a host's address.
const MaxHosts = 128

// Link says how packets fare from one host to another. The zero value is a good wire.
type Link struct {
	Cut       bool          // nothing arrives
	Loss      float64       // share of packets that do not arrive
	Duplicate float64       // share of packets that arrive twice
	Delay     time.Duration // of every packet
	Jitter    time.Duration // up to so much more, so that packets overtake one another
}

// Stats counts packets.
type Stats struct{ Carried, Cut, Lost, Duplicated, Delayed, Unroutable uint64 }

// Switch carries packets between hosts. All methods may be called by several goroutines at once.
type Switch struct {
	mu    sync.Mutex
	dice  *rand.Rand
	links [MaxHosts][MaxHosts]Link

	ports [MaxHosts]atomic.Pointer[os.File]

	carried, cut, lost, duplicated, delayed, unroutable atomic.Uint64
}

// NewSwitch returns a switch with good links and no hosts, whose losses and delays come from seed.
func NewSwitch(seed uint64) *Switch {
	return &Switch{dice: rand.New(rand.NewPCG(seed, 0x6c616e))}
}

// Set makes the link from one host to another, one way, be l.
func (s *Switch) Set(from, to int, l Link) {
	s.mu.Lock()
	s.links[from][to] = l
	s.mu.Unlock()
}

// Both makes the links between two hosts, both ways, be l.
func (s *Switch) Both(a, b int, l Link) {
	s.Set(a, b, l)
	s.Set(b, a, l)
}

// Heal makes all links good.
func (s *Switch) Heal() {
	s.mu.Lock()
	s.links = [MaxHosts][MaxHosts]Link{}
	s.mu.Unlock()
}

// Stats returns what happened to packets so far.
func (s *Switch) Stats() Stats {
	return Stats{Carried: s.carried.Load(), Cut: s.cut.Load(), Lost: s.lost.Load(), Duplicated: s.duplicated.Load(),
		Delayed: s.delayed.Load(), Unroutable: s.unroutable.Load()}
}

// serve reads host from's packets until its device is closed.
func (s *Switch) serve(from int, dev *os.File) {
	s.ports[from].Store(dev)
	buf := make([]byte, maxPacket)
	for {
		n, err := dev.Read(buf)
		if err != nil {
			return // closed
		}
		s.route(from, buf[:n])
	}
}

// plan decides one packet's fate: how often it arrives, and how late each time.
func (s *Switch) plan(from, to int) (late [2]time.Duration, copies int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.links[from][to]
	if *l == (Link{}) {
		return late, 1
	}
	switch {
	case l.Cut:
		s.cut.Add(1)
		return late, 0
	case l.Loss > 0 && s.dice.Float64() < l.Loss:
		s.lost.Add(1)
		return late, 0
	}
	copies = 1
	if l.Duplicate > 0 && s.dice.Float64() < l.Duplicate {
		s.duplicated.Add(1)
		copies = 2
	}
	for i := range copies {
		late[i] = l.Delay
		if l.Jitter > 0 {
			late[i] += time.Duration(s.dice.Int64N(int64(l.Jitter)))
		}
	}
	return late, copies
}

// route sends an IPv4 packet of ours on its way. The last octet of the destination is the host.
func (s *Switch) route(from int, packet []byte) {
	const dstAt, headerMin = 16, 20
	if len(packet) < headerMin || packet[0]>>4 != 4 || packet[dstAt] != net0 || packet[dstAt+1] != net1 || packet[dstAt+3] >= MaxHosts {
		s.unroutable.Add(1) // IPv6 neighbours and the like
		return
	}
	to := int(packet[dstAt+3])
	late, copies := s.plan(from, to)
	for _, d := range late[:copies] {
		if d == 0 {
			s.deliver(to, packet)
			continue
		}
		s.delayed.Add(1)
		kept := append([]byte(nil), packet...)
		time.AfterFunc(d, func() { s.deliver(to, kept) })
	}
}

func (s *Switch) deliver(to int, packet []byte) {
	dev := s.ports[to].Load()
	if dev == nil {
		s.unroutable.Add(1)
		return
	}
	if _, err := dev.Write(packet); err == nil { // a device that is full or going drops it, as networks do
		s.carried.Add(1)
	}
}
