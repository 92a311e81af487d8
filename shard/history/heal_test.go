package history

import (
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// spoil turns around a bit of a file, at bytes from its start, or from its end where at is negative.
func spoil(t *testing.T, disk *walfs.Mem, name string, at int64) {
	t.Helper()
	path := filepath.Join("/h", name)
	if at < 0 {
		f, err := disk.Open(path)
		require.NoError(t, err)
		defer f.Close()
		size, err := f.Size()
		require.NoError(t, err)
		at += size
	}
	require.NoError(t, disk.Flip(path, at, 4))
}

// fill writes what is missing of m to the file that heals, as a node does that asks others.
func fill(t *testing.T, s *Store, m model) (fetched int) {
	t.Helper()
	w, err := s.Heal(0)
	require.NoError(t, err)
	for _, id := range slices.Sorted(maps.Keys(m)) {
		for seq := 1; seq <= m[id]; seq++ {
			last, err := s.Covered(0, id, uint64(seq))
			require.NoError(t, err)
			if last == 0 {
				require.NoError(t, w.Message([]byte(id), uint64(seq), message(id, seq)))
				fetched++
			}
		}
	}
	require.NoError(t, w.Commit())
	require.NoError(t, s.Damage(0))
	return fetched
}

// TestDamagedMergeBesideItsParts: a crash leaves a merged file and its parts, or some of them, and the merged one's index is
// damaged. What is left of the parts is all that there is: a file with the generations of all, and only what was missing in it,
// would have the next start remove them.
func TestDamagedMergeBesideItsParts(t *testing.T) {
	for _, gone := range []uint64{0, 3, 8} { // the part that was removed already
		disk := walfs.NewMem()
		s := open(t, Options{FS: disk, Dir: "/h"})
		m := model{}
		for range 8 {
			require.NoError(t, spill(s, 0, m, 0, 5))
		}
		merged, err := s.merge(0, s.shards[0].files)
		require.NoError(t, err)
		merged.release()
		s.Close()
		spoil(t, disk, fileName(0, 1, 8), -5)
		if gone > 0 {
			require.NoError(t, disk.Remove(filepath.Join("/h", fileName(0, gone, gone))))
		}
		s = open(t, Options{FS: disk, Dir: "/h", Heal: true})
		missing := s.Damage(0) != nil
		fetched := fill(t, s, m)
		s.Close()
		for range 2 {
			s = open(t, Options{FS: disk, Dir: "/h", Heal: true})
			require.NoError(t, s.Damage(0))
			check(t, s, 0, m)
			s.Close()
		}
		require.Equal(t, gone > 0, missing)
		require.Equal(t, missing, fetched > 0)
		require.Equal(t, missing, fetched == 5*len(m))
	}
}

// twoOfFourSpoilt is a shard of four files, the two in the middle with damaged ends.
func twoOfFourSpoilt(t *testing.T) (*walfs.Mem, model) {
	t.Helper()
	disk, m := walfs.NewMem(), model{}
	s := open(t, Options{FS: disk, Dir: "/h"})
	for range 4 {
		require.NoError(t, spill(s, 0, m, 0, 5))
	}
	s.Close()
	spoil(t, disk, fileName(0, 2, 2), -5)
	spoil(t, disk, fileName(0, 3, 3), -5)
	return disk, m
}

// TestDamagedFilesStayUntilHealed: Open removes no damaged file, however many there are: a node that is alone refuses to start,
// and what is left of them may be all that an operator has. Heal makes them one file, and the start after that removes them.
func TestDamagedFilesStayUntilHealed(t *testing.T) {
	disk, m := twoOfFourSpoilt(t)
	before, err := disk.List("/h")
	require.NoError(t, err)
	for range 2 {
		s := open(t, Options{FS: disk, Dir: "/h", Heal: true})
		require.Error(t, s.Damage(0))
		after, err := disk.List("/h")
		require.NoError(t, err)
		require.Equal(t, before, after)
		s.Close()
	}
	s := open(t, Options{FS: disk, Dir: "/h", Heal: true})
	require.Equal(t, 10*len(m), fill(t, s, m))
	check(t, s, 0, m)
	s.Close()
	s = open(t, Options{FS: disk, Dir: "/h", Heal: true})
	require.NoError(t, s.Damage(0))
	check(t, s, 0, m)
	require.NoError(t, spill(s, 0, m, 0, 5))
	s.Close()
	s = open(t, Options{FS: disk, Dir: "/h"}) // nothing damaged is left
	check(t, s, 0, m)
	s.Close()
}

// TestForgetRemovesDamagedFiles: what is damaged goes with the rest, whatever it is called.
func TestForgetRemovesDamagedFiles(t *testing.T) {
	disk, _ := twoOfFourSpoilt(t)
	s := open(t, Options{FS: disk, Dir: "/h", Heal: true})
	require.NoError(t, s.Forget(0))
	names, err := disk.List("/h")
	require.NoError(t, err)
	require.Empty(t, names)
	s.Close()
}

// TestForgetThatFailed: a file that cannot be removed covers nothing that is written after it, whether Forget is tried again or not.
func TestForgetThatFailed(t *testing.T) {
	for _, again := range []bool{false, true} {
		disk := walfs.NewMem()
		fail := false
		fsys := walfs.NewFaulty(disk, func(c walfs.Call) walfs.Fault {
			if fail && c.Op == walfs.OpRemove && strings.HasSuffix(c.Path, fileName(0, 1, 8)) {
				return walfs.Fault{Err: syscall.EIO}
			}
			return walfs.Fault{}
		})
		s := open(t, Options{FS: fsys, Dir: "/h", Heal: true})
		s.growth = 4
		m := model{}
		for range 8 {
			require.NoError(t, spill(s, 0, m, 0, 5))
		}
		worked, err := s.Merge(0)
		require.NoError(t, err)
		require.True(t, worked)
		require.NoError(t, spill(s, 0, m, 0, 5))
		fail = true
		require.ErrorIs(t, s.Forget(0), syscall.EIO)
		fail = false
		if again {
			require.NoError(t, s.Forget(0))
			names, err := disk.List("/h")
			require.NoError(t, err)
			require.Empty(t, names)
		}
		m = model{}
		require.NoError(t, spill(s, 0, m, 0, 50)) // a member anew
		check(t, s, 0, m)
		s.Close()
		s = open(t, Options{FS: disk, Dir: "/h", Heal: true})
		require.NoError(t, s.Damage(0))
		check(t, s, 0, m)
		s.Close()
	}
}

// TestLateWordOfDamage: somebody who still reads a file that was healed long ago meets the damage. The file that is now called so is
// another.
func TestLateWordOfDamage(t *testing.T) {
	disk := walfs.NewMem()
	var met *DamagedError
	s := open(t, Options{FS: disk, Dir: "/h", Heal: true, OnDamage: func(_ uint32, e *DamagedError) { met = e }})
	m := model{}
	require.NoError(t, spill(s, 0, m, 0, 5))
	tr, err := s.Transfer(0)
	require.NoError(t, err)
	defer tr.Close()
	spoil(t, disk, fileName(0, 1, 1), 100)
	_, _, err = s.Append(nil, 0, "a", 1, 5, 1000)
	require.Error(t, err)
	s.Condemn(0, met)
	require.Equal(t, 5*len(m), fill(t, s, m))
	met = nil
	_, err = io.Copy(io.Discard, tr)
	require.Error(t, err)
	require.NotNil(t, met)
	s.Condemn(0, met)
	require.NoError(t, s.Damage(0))
	check(t, s, 0, m)
	s.Close()
}
