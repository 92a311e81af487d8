package shard

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// lot is a machine whose contexts are parked, with the files that a node would give it.
type lot struct {
	t     testing.TB
	rng   *rand.Rand
	fs    walfs.FS
	m     *Machine
	files int
	names []string // files that are there
}

func newLot(t testing.TB, seed uint64, fs walfs.FS) *lot {
	l := &lot{t: t, rng: rand.New(rand.NewPCG(seed, 77)), fs: fs, m: NewMachine(5)}
	require.NoError(t, fs.MkdirAll("/lot"))
	return l
}

func (l *lot) create() walfs.File {
	l.files++
	name := fmt.Sprintf("/lot/%d", l.files)
	f, err := l.fs.Create(name)
	require.NoError(l.t, err)
	l.names = append(l.names, name)
	return f
}

// park parks what nobody has touched lately; all: everything.
func (l *lot) park(all bool, between func()) {
	if all {
		l.m.contexts.each(func(_ uint32, c *Context) bool {
			if c != nil {
				c.touched.Store(false)
			}
			return true
		})
	}
	l.m.Sweep(l.m.Len())
	b := l.m.BeginPark()
	if b == nil {
		return
	}
	between()
	require.NoError(l.t, b.Write(func() (*scratchFile, error) {
		return &scratchFile{recordFile: newRecordFile(l.create(), l.names[len(l.names)-1])}, nil
	}))
	between()
	l.m.EndPark(b)
	b.file.release()
}

// snapshot takes one, with something else going on between any two steps, and gives its bytes and file.
func (l *lot) snapshot(between func()) ([]byte, *recordFile, int64) {
	l.m.BeginSnapshot(l.m.index, 1)
	var c *Captured
	for c == nil {
		between()
		c = l.m.CaptureSome(1 + l.rng.IntN(4))
	}
	between()
	var b bytes.Buffer
	size, err := c.WriteTo(&b)
	require.NoError(l.t, err)
	between()
	f := l.create()
	_, err = f.WriteAt(b.Bytes(), 0)
	require.NoError(l.t, err)
	file := newRecordFile(f, l.names[len(l.names)-1])
	l.m.EndSnapshot(c, file)
	return b.Bytes(), file, size
}

// restart goes on with a machine that has everything on disk only.
func (l *lot) restart() {
	_, file, size := l.snapshot(func() {})
	file.retain()
	l.m.drop()
	m, info, err := indexMachine(file, size, l.rng.IntN(2) == 0)
	require.NoError(l.t, err)
	require.EqualValues(l.t, l.m.Len(), info.Contexts)
	m.parking.replay = l.rng.IntN(2) == 0
	parked, _ := m.Parked()
	require.EqualValues(l.t, m.Len(), parked)
	l.m = m
}

// account checks that the books say what is there.
func (l *lot) account() {
	l.t.Helper()
	var bytes, parked, records int64
	l.m.contexts.each(func(i uint32, c *Context) bool {
		bytes += seatBytes
		if c != nil {
			bytes += c.bytes()
		} else {
			parked++
			records += l.m.contexts.seat(i).bytes()
		}
		return true
	})
	require.Equal(l.t, bytes, l.m.Bytes())
	gotParked, gotRecords := l.m.Parked()
	require.Equal(l.t, [2]int64{parked, records}, [2]int64{gotParked, gotRecords})
}

// TestParkedMachineAnswersTheSame runs one log of commands through a machine that keeps everything in memory and one
// whose contexts come and go at random, are captured while they do, and are found again by a restart; answers, views
// and snapshots are the same.
func TestParkedMachineAnswersTheSame(t *testing.T) {
	for seed := range uint64(rounds(12)) {
		r := newRig(t, 5000+seed)
		l := newLot(t, seed, walfs.NewMem())
		keys := uint64(0)
		follow := func() {
			for l.m.index < r.index {
				var res Result
				require.NoError(t, l.m.Apply(l.m.index+1, r.log[l.m.index], &res))
				if l.m.index == r.index {
					want := r.res
					want.View, res.View = View{}, View{}
					require.Equal(t, want, res)
				}
			}
		}
		between := func() {
			for range r.rng.IntN(3) {
				r.step(fmt.Sprintf("ctx-%d", r.rng.IntN(30)))
			}
			follow()
			if r.rng.IntN(4) == 0 && l.m.Len() > 0 {
				_, err := l.m.load(r.rng.Uint32N(uint32(l.m.Len())))
				require.NoError(t, err)
			}
		}
		r.apply(EncodePut(nil, &Put{ID: []byte("keyed")})) // the model does not know it
		was := 0
		for range 120 {
			between()
			switch r.rng.IntN(12) {
			case 0, 1, 2:
				l.park(r.rng.IntN(2) == 0, between)
			case 3:
				l.snapshot(func() {
					between()
					if r.rng.IntN(3) == 0 {
						l.park(true, between)
					}
				})
			case 4:
				l.restart()
			case 5: // the retry of a keyed append, of a context that may be on disk
				keys++
				r.apply(encode(BeginAppend(nil, AppendHeader{ID: []byte("keyed"), HasKey: true, Key: [16]byte{byte(r.rng.Uint64N(keys))}}), r.messages()))
				require.Equal(t, CodeOK, r.res.Code)
				follow()
			case 6:
				require.Equal(t, snapshotOf(t, r.m), snapshotOf(t, l.m))
			}
			if parked, _ := l.m.Parked(); int(parked) > 5 {
				was++
			}
			l.account()
		}
		require.Greater(t, was, 20, "contexts were on disk")
		for i := range uint32(l.m.Len()) {
			want := r.m.contexts.live(i).Load()
			got, err := l.m.peek(i)
			require.NoError(t, err)
			var a, b View
			want.View(&a)
			got.View(&b)
			require.Equal(t, string(a.AppendContext(nil)), string(b.AppendContext(nil)))
			require.Equal(t, string(a.AppendWindow(nil, 0)), string(b.AppendWindow(nil, 0)))
			require.Equal(t, string(a.AppendHistory(nil, 1, 1000)), string(b.AppendHistory(nil, 1, 1000)))
		}
		require.Equal(t, snapshotOf(t, r.m), snapshotOf(t, l.m))
		l.m.drop()
	}
}

// TestReadersBesideParking lets readers and streams look contexts up while the loop changes and parks them. Every answer
// holds what was applied before the question, and a stream misses nothing.
func TestReadersBesideParking(t *testing.T) {
	const contexts, rounds = 20, 400
	l := newLot(t, 3, walfs.NewMem())
	hub := newHub()
	go hub.run()
	defer hub.close()
	l.m.OnPublish(hub.changed)
	var res Result
	index := uint64(0)
	apply := func(cmd []byte) {
		index++
		StampTime(cmd, testTime)
		require.NoError(t, l.m.Apply(index, cmd, &res))
		require.Equal(t, CodeOK, res.Code)
	}
	var mu sync.Mutex
	known := make([]uint64, contexts)
	for i := range contexts {
		apply(EncodePut(nil, &Put{ID: fmt.Appendf(nil, "c%d", i)}))
	}
	errs := make(chan error, 8)
	stop := make(chan struct{})
	for w := range 2 {
		go func() {
			rng := rand.New(rand.NewPCG(4, uint64(w)))
			for {
				select {
				case <-stop:
					errs <- nil
					return
				default:
				}
				i := rng.IntN(contexts)
				mu.Lock()
				want := known[i]
				mu.Unlock()
				id := fmt.Sprintf("c%d", i)
				c, err := l.m.find([]byte(id), hash64([]byte(id)))
				var v View
				if err == nil && c != nil {
					c.View(&v)
				}
				if err != nil || c == nil || c.ID() != id || v.Version < want {
					errs <- fmt.Errorf("%s: version %d, %d was known (%v)", id, v.Version, want, err)
					return
				}
			}
		}()
	}
	for i := range 4 {
		id := fmt.Appendf(nil, "c%d", i)
		go func() { errs <- follow(l.m, id, rounds/contexts) }()
	}
	for round := range rounds {
		i := round % contexts
		apply(encodeText(nil, fmt.Sprintf("c%d", i), "hello"))
		mu.Lock()
		known[i]++
		mu.Unlock()
		switch round % 7 {
		case 1, 3:
			l.park(true, func() {})
		case 5:
			l.snapshot(func() {})
		}
	}
	close(stop)
	for range 6 {
		require.NoError(t, <-errs)
	}
	l.m.drop()
}

// follow reads a context's versions up to last as a stream does, through every machine state that it meets.
func follow(m *Machine, id []byte, last int) error {
	cur := Cursor{}
	var v View
	for {
		c, err := m.find(id, hash64(id))
		if err != nil {
			return err
		}
		wake := make(chan struct{}, 1)
		c.Subscribe(wake)
		for fresh := true; fresh; {
			c.View(&v)
			fresh = !c.Replaced()
			for {
				out, ok := v.NextEvent(nil, &cur, false)
				if !ok {
					break
				}
				if bytes.Contains(out, []byte(`"gap"`)) || bytes.Contains(out, []byte(`"reset"`)) {
					return fmt.Errorf("%s: %s", id, out)
				}
			}
			if cur.Version == uint64(last) {
				c.Unsubscribe(wake)
				return nil
			}
			if fresh {
				<-wake
			}
		}
		c.Unsubscribe(wake)
	}
}

// TestDamagedRecordIsNamed flips every byte of a parking file and of a snapshot in turn: what is read back is what was
// written, or an error that names the file.
func TestDamagedRecordIsNamed(t *testing.T) {
	for _, parked := range []bool{true, false} {
		disk := walfs.NewMem()
		l := newLot(t, 9, disk)
		var res Result
		for i := range 3 {
			id := fmt.Sprintf("c%d", i)
			require.NoError(t, l.m.Apply(l.m.index+1, EncodePut(nil, &Put{ID: []byte(id)}), &res))
			require.NoError(t, l.m.Apply(l.m.index+1, encodeText(nil, id, "hello"), &res))
		}
		want := snapshotOf(t, l.m)
		if !parked {
			l.snapshot(func() {})
		}
		l.park(true, func() {})
		n, _ := l.m.Parked()
		require.EqualValues(t, 3, n)
		name := l.names[len(l.names)-1]
		f, err := disk.Open(name)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		good := make([]byte, size)
		_, err = f.ReadAt(good, 0)
		require.NoError(t, err)
		failed := 0
		for i := range good {
			_, err := f.WriteAt([]byte{good[i] ^ 1<<(i%8)}, int64(i))
			require.NoError(t, err)
			for ordinal := range uint32(3) {
				c, err := l.m.peek(ordinal)
				var unread *RecordError
				switch {
				case err == nil:
					require.Equal(t, fmt.Sprintf("c%d", ordinal), c.ID())
					var v View
					c.View(&v)
					require.Contains(t, string(v.AppendWindow(nil, 0)), "hello")
				case errors.As(err, &unread):
					require.Contains(t, err.Error(), name)
					failed++
				default:
					t.Fatal(err)
				}
			}
			_, err = f.WriteAt(good[i:i+1], int64(i))
			require.NoError(t, err)
		}
		require.Greater(t, failed, 200)
		require.Equal(t, want, snapshotOf(t, l.m))
		require.NoError(t, f.Truncate(size/2))
		l.m.BeginSnapshot(1, 1)
		var out bytes.Buffer
		_, err = l.m.CaptureSome(100).WriteTo(&out)
		require.ErrorContains(t, err, name)
	}
}

// TestLateReaderOfAnOlderRecord: a reader has taken its time over a record. Meanwhile the context was loaded by somebody else,
// changed, and parked again, in another file at the very same place. What the reader has is not put in the place of that.
func TestLateReaderOfAnOlderRecord(t *testing.T) {
	for _, parked := range []bool{true, false} {
		l := newLot(t, 9, walfs.NewMem())
		var res Result
		apply := func(cmd []byte) {
			require.NoError(t, l.m.Apply(l.m.index+1, cmd, &res))
			require.Equal(t, CodeOK, res.Code)
		}
		set := func(a int) { apply(EncodePatchMetadata(nil, []byte("c"), fmt.Appendf(nil, `{"a":%d}`, a))) }
		away := func(a int) place { // out of memory, as of its metadata being a
			l.snapshot(func() {}) // which a parking file goes with
			set(a)
			if !parked {
				l.snapshot(func() {})
			}
			l.park(true, func() {})
			require.EqualValues(t, 1, l.m.parking.count.Load())
			return l.m.contexts.seat(0).place
		}
		apply(EncodePut(nil, &Put{ID: []byte("c")}))
		at := away(1)
		f := l.m.parking.files.of(at).retain()
		r := acquireRecords()
		late, err := r.context(f, at, 0)
		require.NoError(t, err)
		releaseRecords(r)

		_, err = l.m.load(0)
		require.NoError(t, err)
		require.Equal(t, at, away(2), "the same place")
		require.NotSame(t, f, l.m.parking.files.of(at), "of another file")
		require.False(t, l.m.seatBack(late, f))
		f.release()
		c, err := l.m.load(0)
		require.NoError(t, err)
		var v View
		c.View(&v)
		require.Equal(t, `{"a":2}`, string(v.Ext.Metadata))
		l.account()
		l.m.drop()
	}
}

// TestReplayKeepsToItsMemory: a start takes neighbours of what the log touches into memory only as long as there is room.
func TestReplayKeepsToItsMemory(t *testing.T) {
	const contexts, step = 600, 20
	for _, room := range []int64{0, 200 << 10} {
		l := newLot(t, 4, walfs.NewMem())
		var res Result
		text := strings.Repeat("t", 1000)
		id := func(i int) string { return fmt.Sprint("c", i) }
		for i := range contexts {
			require.NoError(t, l.m.Apply(l.m.index+1, EncodePut(nil, &Put{ID: []byte(id(i))}), &res))
			require.NoError(t, l.m.Apply(l.m.index+1, encodeText(nil, id(i), text), &res))
		}
		all := l.m.Bytes()
		l.restart()
		l.m.parking.replay, l.m.parking.room = true, room
		for i := range contexts / step { // every chunk, before any has been gone through
			require.NoError(t, l.m.Apply(l.m.index+1, encodeText(nil, id(i*step), text), &res))
			require.Equal(t, CodeOK, res.Code)
		}
		if room == 0 {
			require.Greater(t, l.m.Bytes(), all)
		} else {
			require.Less(t, l.m.Bytes(), all/2)
		}
		l.m.parking.replay = false
		for i := range contexts {
			c, err := l.m.find([]byte(id(i)), hash64([]byte(id(i))))
			require.NoError(t, err)
			var v View
			c.View(&v)
			require.EqualValues(t, map[bool]int{true: 2, false: 1}[i%step == 0], v.Last)
		}
		l.account()
		l.m.drop()
	}
}

// TestParkedContextsAreLetGoOf: a context with a long tail that leaves memory is in no list that keeps it there, and is offered for
// a spill again when it is back and grows.
func TestParkedContextsAreLetGoOf(t *testing.T) {
	const contexts = 8
	l := newLot(t, 6, walfs.NewMem())
	l.m.KeepTail(2)
	var res Result
	id := func(i int) string { return fmt.Sprint("c", i) }
	say := func(i int) {
		require.NoError(t, l.m.Apply(l.m.index+1, encodeText(nil, id(i), "hello"), &res))
		require.Equal(t, CodeOK, res.Code)
	}
	for i := range contexts {
		require.NoError(t, l.m.Apply(l.m.index+1, EncodePut(nil, &Put{ID: []byte(id(i))}), &res))
		for range 10 {
			say(i)
		}
	}
	require.Len(t, l.m.tails.over, contexts)
	l.park(true, func() {})
	require.EqualValues(t, contexts, l.m.parking.count.Load())
	require.Empty(t, l.m.tails.over)
	require.Zero(t, l.m.SpillBytes())
	say(3)
	require.Len(t, l.m.tails.over, 1)
	l.m.drop()
}

// TestSummaryCountsAsItIs: a client says of a summary that it has no tokens. The memory that it takes counts all the same, and
// before and after it was on disk.
func TestSummaryCountsAsItIs(t *testing.T) {
	const size = 1 << 20
	l := newLot(t, 2, walfs.NewMem())
	var res Result
	apply := func(cmd []byte) {
		require.NoError(t, l.m.Apply(l.m.index+1, cmd, &res))
		require.Equal(t, CodeOK, res.Code)
	}
	apply(EncodePut(nil, &Put{ID: []byte("c")}))
	empty := l.m.Bytes()
	compact := func(n int) {
		cmd := BeginCompact(nil, AppendHeader{ID: []byte("c"), Count: n})
		for range n {
			cmd = AppendMessage(cmd, &Message{Fields: []byte(`"role":"user","parts":[{"type":"text","text":"` + strings.Repeat("s", size) + `"}]`), Flags: FlagNoMetadata})
		}
		apply(cmd)
	}
	compact(2)
	require.Greater(t, l.m.Bytes()-empty, int64(2*size))
	apply(encodeText(nil, "c", "hello"))
	l.account()
	l.park(true, func() {})
	require.Less(t, l.m.Bytes(), int64(1024))
	_, err := l.m.load(0)
	require.NoError(t, err)
	require.Greater(t, l.m.Bytes()-empty, int64(2*size))
	compact(0)
	require.Less(t, l.m.Bytes()-empty, int64(4096))
	l.account()
	l.m.drop()
}
