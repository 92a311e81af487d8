//go:build !race

package place

const raceDetector = false
