// Command run breaks a cluster of real processes in every way it knows, has clients use it meanwhile, and judges what they saw.
// jepsen/README.md says how to use it and what it covers.
//
//	main, hunt    flags, which network, episodes against a planted bug
//	play, result  the phases of a run; what it leaves and says (report: one HTML page; claim: its directory)
//	place         addresses and links (lan), in namespaces or on loopback
//	cluster       processes, their disks, what they say of themselves
//	nemesis       the kinds of faults, brought about by fault_*; schedule puts them in order
//	workload      open-loop clients, with again and life; stream: subscribers; archive: Postgres
//	judge         the checkers (check) over what clients saw; hiccup: what the harness itself slept through
package main
