package main

import (
	"net/netip"

	"fastpaca/jepsen/run/lan"
)

const harnessHost = 100 // this process' address on the network

// network carries what nodes say to one another, and can be told to be bad at it.
type network interface {
	Set(from, to int, l lan.Link)
	Both(a, b int, l lan.Link)
	Heal()
	Stats() lan.Stats
}

// place is where a cluster runs: a network, and per node an address to listen on, one for the others to reach it at, and a thread that
// is on its network.
type place struct {
	net      network
	listen   []netip.AddrPort
	front    []netip.AddrPort
	hosts    []*lan.Host
	harness  netip.Addr // of this process, as the nodes see it
	isolated bool       // namespaces: mounts, too, are ours alone
	close    func()
}

// inNamespaces makes a place of namespaces and a switch. This process must be in namespaces of its own.
func inNamespaces(size int, seed uint64) (*place, error) {
	s := lan.NewSwitch(seed)
	leave, err := lan.Join(s, harnessHost)
	if err != nil {
		return nil, err
	}
	p := &place{net: s, harness: lan.Addr(harnessHost), isolated: true, close: leave}
	for id := 1; id <= size; id++ {
		h, err := lan.NewHost(s, id)
		if err != nil {
			return nil, err
		}
		p.hosts, p.listen = append(p.hosts, h), append(p.listen, netip.AddrPortFrom(lan.Addr(id), port))
	}
	p.front = p.listen
	return p, nil
}

// onLoopback makes a place of loopback addresses and proxies.
func onLoopback(size int, seed uint64) (*place, error) {
	s, err := lan.NewProxies(seed, size, port)
	if err != nil {
		return nil, err
	}
	p := &place{net: s, harness: netip.AddrFrom4([4]byte{127, 0, 0, 1}), close: s.Close}
	for id := 1; id <= size; id++ {
		p.hosts = append(p.hosts, lan.NewThread())
		p.listen = append(p.listen, netip.AddrPortFrom(s.Addr(id), port))
		p.front = append(p.front, netip.AddrPortFrom(s.Front(id), port))
	}
	return p, nil
}
