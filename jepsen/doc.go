// Package jepsen tests the program rather than its packages: real processes, real disks, real signals.
//
// So far it holds what one node promises (single_test.go and its neighbours); clusters, partitions and the
// checkers over their histories build on it.
package jepsen
