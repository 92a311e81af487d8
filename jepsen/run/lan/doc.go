// Package lan is a small network for processes of one machine: hosts, each a network namespace of its own with an address of its
// own, and a switch in this process that carries IP packets between them and can be told to be bad at it.
//
//	host n1 (netns)        host n2 (netns)        this process' own netns
//	tun0 10.77.0.1         tun0 10.77.0.2         tun0 10.77.0.100
//	     └────────────── Switch ────────────────────────┘
//	        one Link per ordered pair: cut, loss, delay, duplication
//
// Kernels without netem and without nftables have TUN devices still, and a link that is a value in this process can be cut one way,
// repeats its dice from a seed, and needs nothing taken back: namespaces and devices have no names outside, and are gone when
// the process is, however it ends. Linux only; root, or a user namespace.
package lan
