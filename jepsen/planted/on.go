//go:build planted

package planted

// active is the bug that is planted. It is set between runs, never during one.
var active Bug

// On says whether b is planted.
func On(b Bug) bool { return b == active }

// Plant makes b, or None, the one that is planted. Nothing of the product may run meanwhile.
func Plant(b Bug) { active = b }
