//go:build planted

package planted

import (
	"os"
	"slices"
)

// Variable names the bug that a whole process has from its start on, by its String: jepsen/run -plant sets it.
const Variable = "FASTPACA_PLANT"

// active is the bug that is planted. It is set between runs, never during one.
var active = fromEnvironment()

func fromEnvironment() Bug {
	name := os.Getenv(Variable)
	if name == "" {
		return None
	}
	i := slices.Index(names[:], name)
	if i < 0 {
		panic(Variable + "=" + name + ": there is no such bug; jepsen/planted/names.go has them")
	}
	return Bug(i)
}

// On says whether b is planted.
func On(b Bug) bool { return b == active }

// Plant makes b, or None, the one that is planted. Nothing of the product may run meanwhile.
func Plant(b Bug) { active = b }
