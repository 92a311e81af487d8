package history

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"fastpaca/wal/walfs"

	"github.com/klauspost/compress/zstd"
)

// Options configure a Store.
type Options struct {
	FS     walfs.FS // default: the operating system's
	Dir    string   // holds history files and nothing else; created if missing
	Shards int      // shard numbers are 0..Shards-1

	// Heal: Open does without damaged and lost files, and says so in Damage. Without it they are errors of Open.
	Heal bool
	// OnDamage is told of every damage that a read or a merge meets. It must not block; any goroutine.
	OnDamage func(shard uint32, e *DamagedError)

	Logf func(event string, keyvals ...any)
}

// Store is the history of all shards of a node.
type Store struct {
	opt    Options
	growth int64 // mergeGrowth; less in tests, which would have to write much otherwise
	shards []shardFiles
	enc    *zstd.Encoder
	dec    *zstd.Decoder
	stats  stats
	rooms  sync.Pool // *rooms
}

// shardFiles are the files of one shard.
//
// mu guards the list against the swap of files, not against their content, which never changes: readers hold it for the
// time of one page, so that a file is not closed under their hands.
type shardFiles struct {
	mu     sync.RWMutex
	files  []*file // by generation, without a gap but those below, none covering another
	closed bool

	gaps      []generations // that this node does without; changed under writing
	damage    error         // why
	condemned []generations // of files that Open could not use; gone when it returns

	writing sync.Mutex // one writer or merge at a time
}

type stats struct {
	written, merged atomic.Uint64 // bytes of files
	files, bytes    atomic.Int64
	messages        atomic.Int64
	reads, asked    atomic.Uint64
}

// Stats are the store's counters since the start, and what it holds.
type Stats struct {
	WrittenBytes, MergedBytes uint64 // of files written for new messages, and by merges
	Reads                     uint64 // blocks read for clients
	Asked                     uint64 // index pages read to find them
	Files, Bytes, Messages    int64  // on disk; a message that lies in two files counts twice
}

// Stats fills st.
func (s *Store) Stats(st *Stats) {
	*st = Stats{
		WrittenBytes: s.stats.written.Load(), MergedBytes: s.stats.merged.Load(), Reads: s.stats.reads.Load(), Asked: s.stats.asked.Load(),
		Files: s.stats.files.Load(), Bytes: s.stats.bytes.Load(), Messages: s.stats.messages.Load(),
	}
}

// rooms is scratch memory of one read.
type rooms struct{ page, stored, raw []byte }

// Open reads the directory. Unfinished files and files that another one covers are removed; a gap in a shard's
// generations, or a file whose index is damaged, is an error that names it.
func Open(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = walfs.OS()
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	s := &Store{opt: o, growth: mergeGrowth, shards: make([]shardFiles, o.Shards)}
	s.rooms.New = func() any { return &rooms{} }
	var err error
	// The fastest level: what leaves memory is text of some 64 KiB at a time, and the processor is wanted elsewhere.
	if s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, err
	}
	if s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxRaw)); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) load() error {
	fsys, dir := s.opt.FS, s.opt.Dir
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		// A process that was killed may have left a name that is not durable; it must be before what it covers goes.
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) {
			if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
			continue
		}
		h, err := openFile(fsys, dir, name)
		if err != nil {
			if err := s.damagedAtOpen(name, err); err != nil {
				return err
			}
			continue
		}
		if int(h.shard) >= len(s.shards) {
			h.release()
			return fmt.Errorf("history file %s is of shard %d; this node has %d", h.path, h.shard, len(s.shards))
		}
		sf := &s.shards[h.shard]
		sf.files = append(sf.files, h)
	}
	for i := range s.shards {
		if err := s.settle(i); err != nil {
			return err
		}
	}
	return nil
}

// settle sorts the files of a shard, removes those that another one covers, and looks for gaps.
func (s *Store) settle(shard int) error {
	sf := &s.shards[shard]
	slices.SortFunc(sf.files, func(a, b *file) int {
		switch {
		case a.from != b.from:
			return compare(a.from, b.from)
		default:
			return compare(b.to, a.to) // the one that covers more comes first
		}
	})
	kept := sf.files[:0:0]
	for _, h := range sf.files {
		if n := len(kept); n > 0 && h.to <= kept[n-1].to {
			h.release()
			if err := s.opt.FS.Remove(h.path); err != nil {
				return err
			}
			continue
		}
		next := uint64(1)
		if n := len(kept); n > 0 {
			next = kept[n-1].to + 1
		}
		// It may begin before: a merge that failed behind the name of its file left that, and another took some of its parts.
		if h.from > next {
			if err := s.missing(shard, generations{next, h.from - 1}, h.path); err != nil {
				return err
			}
		}
		kept = append(kept, h)
		s.count(h, 1)
	}
	sf.files = kept
	return s.settleCondemned(shard)
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (s *Store) count(h *file, sign int64) {
	s.stats.files.Add(sign)
	s.stats.bytes.Add(sign * h.size)
	s.stats.messages.Add(sign * int64(h.foot.messages))
}

// ErrClosed answers what came after Close.
var ErrClosed = errors.New("history: the store is closed")

// Close releases all files. Calls may be under way: connections read, send and add history until they end. What they have
// begun to read they may read to its end; what they add is durable, or ErrClosed. The decoder is not closed under their
// hands: without a stream it has no goroutine, only memory.
func (s *Store) Close() {
	for i := range s.shards {
		sf := &s.shards[i]
		sf.mu.Lock()
		files := sf.files
		sf.files, sf.closed = nil, true
		sf.mu.Unlock()
		for _, h := range files {
			h.release()
		}
	}
}

// Writer adds one generation to a shard. It holds the shard against other writers and merges until Commit or Abort.
type Writer struct {
	s     *Store
	sf    *shardFiles
	w     *fileWriter
	shard uint32
	heals bool // takes the place of what is missing
}

// Writer begins the next generation of shard.
func (s *Store) Writer(shard uint32) (*Writer, error) {
	sf := &s.shards[shard]
	sf.writing.Lock()
	files, err := sf.list()
	if err != nil {
		sf.writing.Unlock()
		return nil, err
	}
	gen := uint64(1)
	if n := len(files); n > 0 {
		gen = files[n-1].to + 1
	}
	for _, at := range sf.gaps {
		gen = max(gen, at.to+1)
	}
	return s.begin(shard, generations{gen, gen})
}

// begin opens a writer of these generations. The caller holds writing, which is released if that fails.
func (s *Store) begin(shard uint32, at generations) (*Writer, error) {
	sf := &s.shards[shard]
	w, err := newFileWriter(s.opt.FS, s.opt.Dir, fileName(shard, at.from, at.to), shard, at.from, at.to, s.enc)
	if err != nil {
		sf.writing.Unlock()
		return nil, err
	}
	return &Writer{s: s, sf: sf, w: w, shard: shard}, nil
}

// Message adds a message, its final JSON. Calls come in the order of (id, seq), without repeats. Nothing is kept of the
// arguments.
func (w *Writer) Message(id []byte, seq uint64, json []byte) error { return w.w.message(id, seq, json) }

// Commit makes the generation durable and visible. After an error nothing of it is visible; SyncFailed tells
// whether the error allows to go on.
func (w *Writer) Commit() error {
	defer w.sf.writing.Unlock()
	if err := w.w.finish(); err != nil {
		return err
	}
	if err := w.show(w.w.name); err != nil {
		return err
	}
	if w.heals {
		return w.healed()
	}
	return nil
}

// show puts the durable file called name on the list.
func (w *Writer) show(name string) error {
	h, err := openFile(w.s.opt.FS, w.s.opt.Dir, name)
	if err != nil {
		return err
	}
	w.s.stats.written.Add(uint64(h.size))
	w.sf.mu.Lock()
	defer w.sf.mu.Unlock()
	if w.sf.closed {
		h.release()
		return ErrClosed // the next start finds it
	}
	i, _ := slices.BinarySearchFunc(w.sf.files, h, func(a, b *file) int { return compare(a.from, b.from) })
	w.sf.files = slices.Concat(w.sf.files[:i], []*file{h}, w.sf.files[i:])
	w.s.count(h, 1)
	return nil
}

// list returns the files of now. Whoever holds writing may rely on them, but for Close.
func (sf *shardFiles) list() ([]*file, error) {
	sf.mu.RLock()
	defer sf.mu.RUnlock()
	if sf.closed {
		return nil, ErrClosed
	}
	return sf.files, nil
}

// Abort gives the generation up.
func (w *Writer) Abort() {
	w.w.abort()
	w.sf.writing.Unlock()
}

// SyncFailed reports whether err is a sync that failed for another reason than a full disk: the process must end, since
// nothing that the page cache says can be believed any more.
func SyncFailed(err error) bool {
	var e *syncError
	return errors.As(err, &e) && !walfs.UsedUp(e.err)
}
