package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdvertise(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("fe80::1"),
		netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("192.168.0.5")}
	resolve := func(_ context.Context, host string) ([]string, error) {
		switch host {
		case "fastpaca.internal":
			return []string{"192.168.0.4", "192.168.0.5", "192.168.0.6"}, nil
		case "six.internal":
			return []string{"fd00::4", "fd00::5"}, nil
		}
		if _, err := netip.ParseAddr(host); err == nil {
			return []string{host}, nil
		}
		return nil, errors.New("no such host")
	}
	f := func(want, given, listen string, own []netip.Addr, seeds ...string) {
		t.Helper()
		addr, err := net.ResolveTCPAddr("tcp", listen)
		require.NoError(t, err)
		require.Equal(t, want, advertise(&settings{advertise: given, seeds: seeds}, addr, own, resolve))
	}
	f("db1.example:4000", "db1.example:4000", ":4000", own, "fastpaca.internal:4000")
	f("127.0.0.1:4001", "", "127.0.0.1:4001", own, "fastpaca.internal:4001")
	f("192.168.0.5:4000", "", ":4000", own, "fastpaca.internal:4000")
	f("192.168.0.5:4000", "", "0.0.0.0:4000", own, "nowhere:4000", "fastpaca.internal:4000")
	f("[fd00::5]:4000", "", ":4000", own, "six.internal:4000")
	f("127.0.0.1:4002", "", ":4002", own, "127.0.0.1:4001", "127.0.0.1:4002", "127.0.0.1:4003")
	f("10.0.0.5:4000", "", ":4000", own, "nowhere:4000")
	f("10.0.0.5:4009", "", ":4009", own, "fastpaca.internal:4000")
	f("10.0.0.5:4000", "", ":4000", own)
	f("[fd00::5]:4000", "", ":4000", own[:4])
	f("127.0.0.1:4000", "", ":4000", own[:3])
	f("127.0.0.1:4000", "", ":4000", nil)
	require.NotEmpty(t, ownAddresses())
}
