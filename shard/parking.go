package shard

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Parking. A context that nobody touches for a while leaves memory: what stays is a seat of 24 bytes, a pointer that is
// nil, and a slot in the table. Its state lies as a record in a file (record_file.go) and is built from it when somebody
// touches the context: a request, a stream, a command that is applied. Where a context is, in memory or on disk, is each
// replica's own affair: a record is what a snapshot says of a context, building a context from a snapshot gives one that
// goes on exactly like the one that was captured, and so no answer, no hash and no snapshot depends on it.
//
// Who does what:
//
//   - The loop alone parks (parkAt). It has a context that is unchanged since its record was written.
//   - Any goroutine may load (load). It reads the record without a lock, and puts the context in its place under
//     parking.mu, if the record is still the context's newest. A context that was loaded, changed and parked again
//     meanwhile has another place by then, or the same one in another file: within a file, a place is used once.
//   - Holders of a parked *Context keep a state that was right when it was parked and that will not change any more.
//     For those who read it once that is as good as any: they looked it up after their read began, and it held
//     everything that was acknowledged by then. Streams are told: a context with subscribers is not parked, and one who
//     subscribes in that moment is woken and finds it Replaced, or subscribes later and finds the same.
//
// Parking files are scratch. All that is in them is in the snapshot and the log, too: a crash costs nothing, and the
// next start removes them. A record that cannot be read back ends the process by its name.
type parking struct {
	mu     sync.Mutex
	files  recordFiles // in which the places of this machine are; each holds a reference
	closed bool        // the machine has been replaced

	detached bool // whoever follows a context of it is to look elsewhere (Detach)

	count atomic.Int64 // contexts without a state in memory
	bytes atomic.Int64 // of their records

	// The loop's.
	scratch   *scratchFile // behind files.parked
	cursor    uint32       // of the sweep
	idle      []*Context   // found by the sweep, to be written
	idleBytes int64
	replay    bool     // the log is being replayed: see loadNear
	room      int64    // bytes in memory from which on loadNear is left alone; 0: no limit
	spilled   []uint32 // those whose oldest messages are in history files, as indexed; until checkEvicted
}

// recordFiles are the files that the places of a machine are in.
type recordFiles struct{ snapshot, parked *recordFile }

// of is the file that p is in, nil if there is none.
func (f *recordFiles) of(p place) *recordFile {
	if p.at&parkedBit != 0 {
		return f.parked
	}
	return f.snapshot
}

func (f *recordFiles) release() {
	f.snapshot.release()
	f.parked.release()
	*f = recordFiles{}
}

// errDropped answers who looks for a context in a machine that has been replaced: the one in its place has it.
var errDropped = errors.New("shard: the state was replaced meanwhile")

// drop lets go of the files. What is not in memory cannot be loaded any more: errDropped. It returns the name of a parking
// file that may be removed, or "".
func (m *Machine) drop() (unused string) {
	p := &m.parking
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scratch != nil {
		unused, p.scratch = p.scratch.path, nil
	}
	p.closed = true
	p.files.release()
	return unused
}

// find returns the context with this id, nil if there is none, and loads it if need be. Any goroutine; id is not kept. No
// allocation for a context in memory. An error is a *RecordError or errDropped.
func (m *Machine) find(id []byte, hash uint64) (*Context, error) {
	for p := m.table.probe(hash); ; {
		ordinal, ok := p.next()
		if !ok {
			return nil, nil
		}
		c := m.contexts.live(ordinal).Load()
		if c == nil {
			if m.contexts.hashOf(ordinal) != hash {
				continue
			}
			var err error
			if c, err = m.load(ordinal); err != nil {
				return nil, err
			}
		}
		if c.hash == hash && c.id == string(id) {
			c.touch()
			return c, nil
		}
	}
}

// asleep finds a context with this hash that is on disk only. Any goroutine.
func (m *Machine) asleep(hash uint64) (ordinal uint32, found bool) {
	for p := m.table.probe(hash); ; {
		ordinal, ok := p.next()
		if !ok {
			return 0, false
		}
		if m.contexts.live(ordinal).Load() == nil && m.contexts.hashOf(ordinal) == hash {
			return ordinal, true
		}
	}
}

// touch keeps c in memory until the sweep has come by twice.
func (c *Context) touch() {
	if !c.touched.Load() {
		c.touched.Store(true)
	}
}

// load returns the context with this ordinal, from disk if need be, and keeps it in memory. Any goroutine; it waits for
// the disk.
func (m *Machine) load(ordinal uint32) (*Context, error) { return m.fetch(ordinal, true) }

// peek is load for somebody who only looks: the context may be one that nobody else sees, as it is now. It must not be kept.
func (m *Machine) peek(ordinal uint32) (*Context, error) { return m.fetch(ordinal, false) }

func (m *Machine) fetch(ordinal uint32, keep bool) (*Context, error) {
	live := m.contexts.live(ordinal)
	if c := live.Load(); c != nil {
		return c, nil
	}
	r := acquireRecords()
	defer releaseRecords(r)
	return m.fetchBy(r, ordinal, keep)
}

func (m *Machine) fetchBy(r *recordReader, ordinal uint32, keep bool) (*Context, error) {
	p, live := &m.parking, m.contexts.live(ordinal)
	for {
		p.mu.Lock()
		if c := live.Load(); c != nil {
			p.mu.Unlock()
			return c, nil
		}
		if p.closed {
			p.mu.Unlock()
			return nil, errDropped
		}
		at := m.contexts.seat(ordinal).place
		f := p.files.of(at).retain()
		p.mu.Unlock()

		c, err := r.context(f, at, ordinal)
		if err == nil && c.hash != m.contexts.hashOf(ordinal) {
			err = &RecordError{Path: f.path, Parked: at.at&parkedBit != 0, Err: fmt.Errorf("context %q is where another one should be", c.id)}
		}
		back := err == nil && keep && m.seatBack(c, f)
		f.release()
		if back || err != nil || !keep {
			return c, err
		}
	}
}

// seatBack puts c, which was built from the record at c.home in f, back into memory. False: somebody was faster, or what is there
// by now is another record, of a later state; it can be at the same offset of another file. The caller holds on to f.
func (m *Machine) seatBack(c *Context, f *recordFile) bool {
	p, at := &m.parking, c.home
	bytes := c.bytes() // before the loop finds it
	p.mu.Lock()
	defer p.mu.Unlock()
	live := m.contexts.live(c.ordinal)
	if p.closed || live.Load() != nil || m.contexts.seat(c.ordinal).place != at || p.files.of(at) != f {
		return false
	}
	c.touched.Store(true)
	c.replaced.Store(p.detached)
	c.watched = &m.watched
	live.Store(c)
	m.bytes.Add(bytes)
	p.count.Add(-1)
	p.bytes.Add(-at.bytes())
	return true
}

// loadNear is load for the replay of the log, which touches contexts in any order and does not wait for anybody: all of
// the chunk is taken into memory at once, so that no chunk is decompressed twice however the log goes. What the log does not
// touch leaves memory soon, without being written again. But all of a snapshot may be more than the machine has: from
// parking.room on contexts are loaded one by one, some 100 us each.
func (m *Machine) loadNear(ordinal uint32) (*Context, error) {
	chunk := func(i uint32) uint64 { return m.contexts.seat(i).at >> chunkShift }
	from, to, n := ordinal, ordinal+1, uint32(m.contexts.len())
	for from > 0 && chunk(from-1) == chunk(ordinal) {
		from--
	}
	for to < n && chunk(to) == chunk(ordinal) {
		to++
	}
	r := acquireRecords()
	defer releaseRecords(r)
	for i := from; i < to; i++ {
		if _, err := m.fetchBy(r, i, true); err != nil {
			return nil, err
		}
	}
	return m.contexts.live(ordinal).Load(), nil
}

// lookup is find for the loop.
func (m *Machine) lookup(id []byte, hash uint64) (*Context, error) {
	if p := &m.parking; p.replay && (p.room == 0 || m.bytes.Load() < p.room) {
		for {
			ordinal, found := m.asleep(hash)
			if !found {
				break
			}
			if _, err := m.loadNear(ordinal); err != nil {
				return nil, err
			}
		}
	}
	return m.find(id, hash)
}

// parkable says whether c may leave memory now.
func (m *Machine) parkable(c *Context) bool {
	return !c.touched.Load() && !c.HasSubscribers() && m.inMemory(c)
}

// inMemory says whether c is the context that the machine has, and not one that was parked.
func (m *Machine) inMemory(c *Context) bool { return m.contexts.live(c.ordinal).Load() == c }

// parkAt takes c, whose state is that of the record at p, out of memory.
func (m *Machine) parkAt(c *Context, at place) {
	p := &m.parking
	bytes := c.bytes()
	p.mu.Lock()
	m.contexts.seat(c.ordinal).place = at
	m.contexts.live(c.ordinal).Store(nil)
	p.mu.Unlock()
	m.tails.forget(c)
	m.bytes.Add(-bytes)
	p.count.Add(1)
	p.bytes.Add(at.bytes())
	// In this order: who subscribed before the first line is seen by the second, who subscribes later looks and sees the first.
	c.replaced.Store(true)
	if c.HasSubscribers() && m.onPublish != nil {
		m.onPublish(c)
	}
}

// Parked returns how many contexts are on disk only, and the bytes of their records. Any goroutine.
func (m *Machine) Parked() (contexts, bytes int64) {
	return m.parking.count.Load(), m.parking.bytes.Load()
}
