package wal

import (
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestVersion1GoesOn: a log that the first version left behind is opened, read from, written behind, copied forward
// and given up, as if it were of this one.
func TestVersion1GoesOn(t *testing.T) {
	mem := goldenFiles(t, 1)
	o := testOptions(mem, 2)
	o.Manual = true
	l := &forgetLog{t: t, o: o, want: goldenState()}
	l.open()
	for range 2 {
		got, err := l.w.Read(1, 1, 10, 1000, nil)
		require.NoError(t, err)
		require.Equal(t, l.want[1].entries, got)
		l.do(put(1, l.want[1].last()+1, 3, "behind it"))
		l.reopen()
	}
	for group := range uint32(2) {
		u, err := l.w.readUnit(group)
		require.NoError(t, err)
		l.w.setUnits([]*unit{u})
		l.w.q.ask(func(q *queue) { q.rotate = true })
		for l.w.Step() {
		}
		require.Equal(t, uint64(group+1), l.w.count.carriedGroups.Load())
	}
	names, err := mem.List(testDir)
	require.NoError(t, err)
	require.NotContains(t, names, "0000000000000001.wal")
	require.NotContains(t, names, "0000000000000002.wal")
	l.reopen()
	require.NoError(t, l.w.Close())
}

// TestVersion1Tail: what is rot and what is torn in a log whose newest segment is of version 1.
func TestVersion1Tail(t *testing.T) {
	offsets := func(mem *walfs.Mem) (offs []int64, h header, end int64) {
		offs, h, end = records(t, mem, 2) // an entry and a hard state, one batch, then a mark
		require.Equal(t, uint32(1), h.version)
		require.Len(t, offs, 3)
		return offs, h, end
	}
	dropMark := func(mem *walfs.Mem) {
		offs, _, _ := offsets(mem)
		b := readAll(t, mem, segmentPath(testDir, 2))
		clear(b[offs[2]:])
		writeAll(t, mem, segmentPath(testDir, 2), b)
	}
	flip := func(mem *walfs.Mem, id uint64, off int64) {
		require.NoError(t, mem.Flip(segmentPath(testDir, id), off, 3))
	}
	for name, c := range map[string]struct {
		harm func(mem *walfs.Mem)
		want what // 0: refused
		last uint64
	}{
		"whole":      {func(mem *walfs.Mem) {}, foundBadNothing, 2},
		"promised":   {func(mem *walfs.Mem) { offs, _, _ := offsets(mem); flip(mem, 2, offs[0]+30) }, 0, 0},
		"torn first": {func(mem *walfs.Mem) { offs, _, _ := offsets(mem); dropMark(mem); flip(mem, 2, offs[0]+30) }, foundBadLaterValid, 1},
		"torn last":  {func(mem *walfs.Mem) { offs, _, _ := offsets(mem); dropMark(mem); flip(mem, 2, offs[1]+30) }, foundBadNothing, 2},
		"sealed":     {func(mem *walfs.Mem) { flip(mem, 1, 4096+30) }, 0, 0},
		"preamble":   {func(mem *walfs.Mem) { flip(mem, 2, 160) }, 0, 0},
	} {
		mem := goldenFiles(t, 1)
		c.harm(mem)
		col := newCollector(2)
		w, err := Open(testOptions(mem, 2), col)
		if c.want == 0 {
			var rot *CorruptionError
			require.ErrorAs(t, err, &rot, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.want, w.replay.tail.found, name)
		require.Equal(t, c.last, col.state[1].last(), name)
		require.NoError(t, w.Close())
		w, again := recoverState(t, testOptions(mem, 2))
		require.Empty(t, col.state.diff(again), name)
		require.NoError(t, w.Close())
	}
}

// TestVersion1HasNoForget: a kind that a version does not have is no record of it.
func TestVersion1HasNoForget(t *testing.T) {
	l := makeLife(1, 1, 7)
	b := putV1(nil, 4096, l, makePosition(1, 4096), kindForget, 0, 0, nil)
	var r record
	v, _ := decodeRecord(b, l, 4096, 1<<20, &r)
	require.Equal(t, bad, v)
}
