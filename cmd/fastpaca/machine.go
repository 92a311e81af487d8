//go:build !faults

package main

import "fastpaca/cluster"

// openNode opens the node on the machine as it is; the tag faults puts one below it that can be broken (jepsen/faults).
func openNode(opt cluster.Options) (*cluster.Node, error) { return cluster.Open(opt) }
