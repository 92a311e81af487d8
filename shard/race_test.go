//go:build race

package shard

const raceEnabled = true

// rounds is how many of all rounds are run of what one goroutine does by itself: the race detector finds nothing there, and make
// unit runs all of them.
func rounds(all int) int { return (all + 3) / 4 }
