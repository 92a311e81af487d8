//go:build race

package cluster

// raceEnabled: the race detector makes pure computation ten times slower.
const raceEnabled = true
