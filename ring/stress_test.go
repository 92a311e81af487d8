package ring

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// One writer and several readers in parallel on the same log, for 3 s, or for as long as RING_STRESS says
// (RING_STRESS=2m go test -race -run Stress ./ring). More threads than cores, so that the operating system stops some
// of them in the middle of a Publish.
//
// Everything a reader sees is a function of the version, so that a mix of two versions shows.
func TestStress(t *testing.T) {
	limit := 3 * time.Second
	if s := os.Getenv("RING_STRESS"); s != "" {
		var err error
		limit, err = time.ParseDuration(s)
		require.NoError(t, err, "RING_STRESS")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(4, 2*runtime.NumCPU())))

	var log atomic.Pointer[Log[ext]] // a new one from time to time: young logs change the most
	var stop atomic.Bool
	var failed atomic.Pointer[string]
	var views, versions atomic.Uint64
	fail := func(err error) {
		s := err.Error()
		failed.CompareAndSwap(nil, &s)
		stop.Store(true)
	}
	log.Store(new(Log[ext]))
	log.Load().Publish(Header{LiveFrom: 1}, &ext{})

	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			r := stressReader{rng: rand.New(rand.NewPCG(uint64(n), 1)), log: log.Load()}
			for !stop.Load() {
				if now := log.Load(); now != r.log {
					r = stressReader{rng: r.rng, log: now}
				}
				if err := r.step(); err != nil {
					fail(fmt.Errorf("reader %d: %w", n, err))
				}
				views.Add(1)
			}
		})
	}
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(99, 1))
		for !stop.Load() {
			w := stressWriter{rng: rng, log: log.Load(), w: Window{LiveFrom: 1}}
			for range 1 << (4 + rng.IntN(11)) {
				if stop.Load() {
					break
				}
				w.step()
				versions.Add(1)
			}
			l := new(Log[ext])
			l.Publish(Header{LiveFrom: 1}, &ext{})
			log.Store(l)
		}
	})
	timer := time.AfterFunc(limit, func() { stop.Store(true) })
	wg.Wait()
	timer.Stop()
	if s := failed.Load(); s != nil {
		t.Fatal(*s)
	}
	t.Logf("%d versions, %d views", versions.Load(), views.Load())
}

type stressWriter struct {
	rng     *rand.Rand
	log     *Log[ext]
	version uint64
	w       Window
}

func (s *stressWriter) step() {
	s.version++
	from := s.log.Last() + 1
	for range 1 + s.rng.IntN(4) {
		n := 40 + s.rng.IntN(300)
		if s.rng.IntN(500) == 0 {
			n = 70_000
		}
		seq := s.log.Last() + 1
		b := message(s.log.Reserve(n+40), seq, n)
		json, aux := len(b), 0
		if s.rng.IntN(3) == 0 {
			b = AppendAux(append(b, ','), []Part{{Tokens: 1}, {Tokens: 2}})
			aux = len(b) - json - 1
		}
		s.log.Commit(json, aux, Meta{Tokens: stressTokens(seq), Version: s.version})
	}
	var v View[ext]
	s.log.Pending(&v)
	s.w = Extend(&v, s.w, from)
	if s.rng.IntN(3) == 0 {
		s.w = CutNewest(&v, s.w, s.rng.IntN(200))
	}
	s.log.SealVersion(s.w.LiveFrom, s.w.Used, false)
	if s.rng.IntN(20) == 0 {
		s.log.EvictBefore(s.w.LiveFrom)
	}
	s.log.Publish(Header{Version: s.version, LiveFrom: s.w.LiveFrom, Used: s.w.Used, Archived: 3 * s.version, UpdatedMs: int64(5 * s.version)}, &ext{s.version})
}

func stressTokens(seq uint64) uint32 { return uint32(seq * 2654435761 % 97) }

type stressReader struct {
	rng  *rand.Rand
	log  *Log[ext]
	v    View[ext]
	last View[ext]
	kept View[ext] // an old one, to be read again after its pages were evicted
	buf  []byte
}

func (s *stressReader) step() error {
	s.log.View(&s.v)
	v := &s.v
	if v.Version < s.last.Version || v.Last < s.last.Last || v.First < s.last.First || v.LiveFrom < s.last.LiveFrom {
		return fmt.Errorf("%+v after %+v", v.Header, s.last.Header)
	}
	s.last = *v
	if v.Ext.n != v.Version || v.Archived != 3*v.Version || v.UpdatedMs != int64(5*v.Version) {
		return fmt.Errorf("parts of several versions: %+v, ext %d", v.Header, v.Ext.n)
	}
	if err := s.check(v); err != nil {
		return err
	}
	switch s.rng.IntN(50) {
	case 0:
		s.kept = *v
	case 1:
		if s.kept.Ext != nil {
			if err := s.check(&s.kept); err != nil {
				return fmt.Errorf("an old view: %w", err)
			}
		}
	}
	return nil
}

// check verifies all that v says of itself, and the bytes of its window.
func (s *stressReader) check(v *View[ext]) error {
	if v.First < 1 || v.First > v.LiveFrom || v.LiveFrom > v.Last+1 {
		return fmt.Errorf("no window: %+v", v.Header)
	}
	if v.Last == 0 {
		return nil
	}
	if v.First > v.Last {
		return fmt.Errorf("no messages: %+v", v.Header)
	}
	if used := v.Cum(v.Last) - v.Cum(v.LiveFrom-1); used != v.Used {
		return fmt.Errorf("%d tokens in the window of %+v", used, v.Header)
	}
	slot := v.Slot(v.Last)
	if slot.Version != v.Version || slot.Flags&FlagEnd == 0 || slot.LiveFrom != v.LiveFrom || slot.Used != v.Used {
		return fmt.Errorf("last slot %+v of %+v", slot, v.Header)
	}
	if slot.Tokens != stressTokens(v.Last) {
		return fmt.Errorf("%+v", slot)
	}
	from := v.LiveFrom
	if s.rng.IntN(8) == 0 {
		from = v.First
	}
	s.buf = v.AppendMessages(s.buf[:0], from, v.Last)
	if err := checkMessages(s.buf, from, v.Last); err != nil {
		return fmt.Errorf("%+v: %w", v.Header, err)
	}
	seq := v.First + s.rng.Uint64N(v.Last-v.First+1)
	json, aux, m := v.Message(seq)
	if err := checkMessage(json, seq); err != nil {
		return err
	}
	if m.Tokens != stressTokens(seq) || v.AfterVersion(m.Version) <= seq || len(aux) != 0 && len(aux) != 5 {
		return fmt.Errorf("seq %d: %+v, %d bytes of aux", seq, m, len(aux))
	}
	ceiling := s.rng.Uint64N(v.Used + 1)
	p := Fit(v, Window{LiveFrom: v.LiveFrom, Used: v.Used}, ceiling)
	s.buf = p.Append(s.buf[:0])
	start := v.Last + 1 - uint64(p.Messages)
	if p.Used > ceiling || p.Used != v.Cum(v.Last)-v.Cum(start-1) {
		return fmt.Errorf("plan of %d tokens for %d: %+v", p.Used, ceiling, v.Header)
	}
	return checkMessages(s.buf, start, v.Last)
}
