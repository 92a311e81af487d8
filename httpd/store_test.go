package httpd

import (
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/shard"
)

var _ Store = (*shard.Node)(nil)

// memoryStore is a Store without a log: every shard's state machine, each behind a mutex.
type memoryStore struct {
	shards [shard.Shards]struct {
		mu      sync.Mutex
		machine *shard.Machine
		index   uint64
		created []string
	}
	now    func() time.Time
	forced atomic.Int32  // a shard.Code that every request gets instead, unless CodeOK
	writes atomic.Int64  // commands that came this far
	hold   chan struct{} // Do waits for it to be closed, if set
}

func newMemoryStore() *memoryStore {
	m := &memoryStore{now: time.Now}
	for i := range m.shards {
		m.shards[i].machine = shard.NewMachine(uint32(i))
	}
	return m
}

func (m *memoryStore) Do(n uint32, r *shard.Request) {
	m.writes.Add(1)
	if m.hold != nil {
		<-m.hold
	}
	if c := shard.Code(m.forced.Load()); c != shard.CodeOK {
		r.Result = shard.Result{Code: c}
		return
	}
	s := &m.shards[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	shard.StampTime(r.Cmd, m.now().UnixMilli())
	s.index++
	if err := s.machine.Apply(s.index, r.Cmd, &r.Result); err != nil {
		panic(err)
	}
	if r.Result.Created {
		s.created = append(s.created, r.Result.View.ID())
	}
}

func (m *memoryStore) Context(id []byte) (*shard.Context, shard.Code) {
	if c := shard.Code(m.forced.Load()); c != shard.CodeOK {
		return nil, c
	}
	if c := m.shards[shard.Of(id)].machine.Lookup(id); c != nil {
		return c, shard.CodeOK
	}
	return nil, shard.CodeNotFound
}

func (m *memoryStore) Read(id []byte, v *shard.View) shard.Code {
	c, code := m.Context(id)
	if code == shard.CodeOK {
		c.View(v)
	}
	return code
}

// AppendHistory implements Store: nothing leaves this one's memory.
func (m *memoryStore) AppendHistory(dst, _ []byte, from, _ uint64, _ int) ([]byte, uint64, error) {
	return dst, from, nil
}

// List implements Store. The machine cannot be asked for an order, since that is its loop's alone; that of creation is noted.
func (m *memoryStore) List(group, from uint32, limit int, dst []*shard.Context) ([]*shard.Context, bool, shard.Code) {
	if c := shard.Code(m.forced.Load()); c != shard.CodeOK {
		return dst, false, c
	}
	s := &m.shards[group]
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.created[min(int(from), len(s.created)):]
	n := min(limit, len(rest))
	for _, id := range rest[:n] {
		dst = append(dst, s.machine.Lookup([]byte(id)))
	}
	return dst, n < len(rest), shard.CodeOK
}

func (m *memoryStore) Ready() (bool, string) { return true, "" }
func (m *memoryStore) Status() shard.Status  { return shard.Status{} }
func (m *memoryStore) Stats(*shard.Stats)    {}
