package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// resolveWait bounds the look at the seeds' names. Where they do not resolve yet, as while a cluster's first node
// starts, the machine's own address has to do.
const resolveWait = 2 * time.Second

// advertise is the host:port that other nodes are told. In this order:
//
//  1. FASTPACA_ADVERTISE;
//  2. the listen address, unless that means all addresses of the machine (":4000", "0.0.0.0:4000");
//  3. the seed that is an address of this machine, with the listen port: three processes on one machine with
//     seeds 127.0.0.1:4001, :4002 and :4003 find themselves, as do containers behind one DNS name;
//  4. the machine's first address that others can reach;
//  5. the loopback address.
//
// A container whose port is published by its host (docker run -p) has no way to know that host's address: there
// FASTPACA_ADVERTISE must be set, or the host's network used.
func advertise(cfg *settings, listen net.Addr, own []netip.Addr, resolve func(ctx context.Context, host string) ([]string, error)) string {
	if cfg.advertise != "" {
		return cfg.advertise
	}
	host, port, err := net.SplitHostPort(listen.String())
	if err != nil {
		return listen.String() // no TCP; the cluster says what is wrong with it
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return listen.String()
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveWait)
	defer cancel()
	for _, seed := range cfg.seeds {
		name, seedPort, _ := net.SplitHostPort(seed)
		if seedPort != port {
			continue
		}
		found, _ := resolve(ctx, name) // what does not resolve is not us
		for _, text := range found {
			if ip, err := netip.ParseAddr(text); err == nil && slices.Contains(own, ip.Unmap()) {
				return net.JoinHostPort(ip.Unmap().String(), port)
			}
		}
	}
	for _, four := range []bool{true, false} {
		for _, ip := range own {
			if ip.Is4() == four && ip.IsGlobalUnicast() {
				return net.JoinHostPort(ip.String(), port)
			}
		}
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// ownAddresses are the addresses of this machine's interfaces that are up, in their order.
func ownAddresses() []netip.Addr {
	var own []netip.Addr
	interfaces, _ := net.Interfaces() // an error leaves none, which advertise copes with
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				own = append(own, p.Addr().Unmap())
			}
		}
	}
	return own
}
