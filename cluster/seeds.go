package cluster

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// resolveTimeout bounds the look-up of all seeds: an unreachable name server must not stop the rounds.
const resolveTimeout = time.Second

// addressesMax bounds what one name may resolve to.
const addressesMax = 256

// resolveSeeds turns the seed list into addresses, sorted and without repeats, and counts the entries that lead nowhere now.
// It is asked anew in each round: names of containers and pods change their addresses. Where a name has IPv4 and IPv6
// addresses, only the former count: both would lead to the same nodes, or, as with localhost, one of them to nobody,
// and then no majority of the addresses would ever answer.
func resolveSeeds(
	ctx context.Context, seeds []string, resolve func(context.Context, string) ([]string, error),
) (addrs []string, missing int) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	for _, seed := range seeds {
		host, port, err := net.SplitHostPort(seed)
		if err != nil {
			missing++
			continue
		}
		list := []string{host}
		if _, err := netip.ParseAddr(host); err != nil {
			if list, err = resolve(ctx, host); err != nil || len(list) == 0 {
				missing++
				continue
			}
			list = oneFamily(list)
		}
		for _, ip := range list[:min(len(list), addressesMax)] {
			addrs = append(addrs, net.JoinHostPort(ip, port))
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs), missing
}

// oneFamily drops the IPv6 addresses if there are others.
func oneFamily(list []string) []string {
	v4 := slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		ip, err := netip.ParseAddr(s)
		return err == nil && ip.Unmap().Is6()
	})
	if len(v4) > 0 {
		return v4
	}
	return list
}
