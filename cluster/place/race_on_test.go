//go:build race

package place

// raceDetector makes everything ten times slower; the package has no concurrency, so that fewer seeds will do.
const raceDetector = true
