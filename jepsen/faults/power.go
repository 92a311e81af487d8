package faults

import (
	"math/rand/v2"
	"path/filepath"
	"strconv"

	"fastpaca/wal/walfs"
)

const hidingPrefix = ".removed-"

func hidingPlace(name string, number int) string {
	return filepath.Join(filepath.Dir(name), hidingPrefix+strconv.Itoa(number)+"-"+filepath.Base(name))
}

// LosePower leaves the directory as a loss of power may: of the blocks that were not synced, some are there, some are not, some are
// torn; of the names that were not synced, some are as they were. The disk is unusable afterwards, and whoever uses it waits for ever:
// the caller ends the process. Errors do not matter: what could not be written is lost.
func (d *Disk) LosePower(dice *rand.Rand) {
	d.mu.Lock() // and never unlocked
	keep := [...]float64{0, 0.5, 1}[dice.IntN(3)]
	for path, n := range d.files {
		n.mu.Lock() // nor this
		if len(n.dirty) == 0 {
			continue
		}
		f, err := d.inner.Open(path)
		if err != nil {
			continue // removed
		}
		for b, block := range n.dirty {
			switch p := dice.Float64(); {
			case p >= keep:
			case dice.IntN(4) == 0:
				tear(dice, f, b, block)
				_ = n.put(f, b, block[:])
			default:
				_ = n.put(f, b, block[:])
			}
		}
		_ = f.Close()
	}
	for i := len(d.names) - 1; i >= 0; i-- {
		c := d.names[i]
		if dice.Float64() < keep {
			continue
		}
		switch c.op { // what another change of the same name has overtaken fails, and stays
		case walfs.OpCreate:
			_ = d.inner.Remove(c.name)
		case walfs.OpRename, walfs.OpRemove:
			_ = d.inner.Rename(c.to, c.name)
		}
	}
}

// tear puts sectors as they were back into a block.
func tear(dice *rand.Rand, f walfs.File, b int64, block *[blockSize]byte) {
	var old [blockSize]byte
	_, _ = f.ReadAt(old[:], b*blockSize) // what is not there reads as zeros
	for at := 0; at < blockSize; at += sectorSize {
		if dice.IntN(2) == 0 {
			copy(block[at:at+sectorSize], old[at:])
		}
	}
}
