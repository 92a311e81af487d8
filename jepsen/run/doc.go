// Command run breaks a cluster of real processes in every way it knows, has clients use it meanwhile, and judges what they saw.
// jepsen/README.md says how to use it and what it covers.
//
//	main      flags, phases, exit code      nemesis   one fault each; schedule puts them in order
//	cluster   processes in namespaces       workload  open-loop clients; streams; both write the history
//	judge     checkers over the history     report    one HTML page
package main
