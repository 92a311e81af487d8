package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"fastpaca/jepsen/planted"
	"fastpaca/wal/walfs"

	"github.com/klauspost/compress/zstd"
)

const (
	// writeChunk is how much is gathered before it is written, syncEvery how much may be unsynced: the log's own
	// fdatasync must not inherit a big flush (ANCHORS E.1).
	writeChunk = 256 << 10
	syncEvery  = 1 << 20
	// indexPage is about the size of an index page: what a lookup reads and searches.
	indexPage = 8 << 10
)

// fileWriter writes one file, front to back.
type fileWriter struct {
	fsys     walfs.FS
	dir      string
	name     string
	file     walfs.File
	enc      *zstd.Encoder
	build    builder
	buf      []byte
	off      int64 // where buf goes
	unsynced int

	page    []byte // the index page being filled
	entries int    // in page
	pages   []byte // finished index pages
	top     []pageRef
	foot    footer
	newest  key // of the last block
}

func tmpName(name string) string { return name + ".tmp" }

func newFileWriter(fsys walfs.FS, dir, name string, shard uint32, from, to uint64, enc *zstd.Encoder) (*fileWriter, error) {
	tmp := filepath.Join(dir, tmpName(name))
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return nil, fmt.Errorf("creating history file %s: %w", tmp, err)
	}
	return &fileWriter{fsys: fsys, dir: dir, name: name, file: f, enc: enc, buf: appendHeader(nil, shard, from, to)}, nil
}

// message adds one message. Calls come in the order of (context id, seq), without repeats.
func (w *fileWriter) message(id []byte, seq uint64, json []byte) error {
	if !w.build.fits(id, seq) {
		if err := w.flushBlock(); err != nil {
			return err
		}
	}
	w.build.add(id, seq, json)
	w.foot.messages++
	return nil
}

// flushBlock ends the block that is being built.
func (w *fileWriter) flushBlock() error {
	if w.build.empty() {
		return nil
	}
	e := entry{key: key{string(w.build.id), w.build.first}, count: uint64(len(w.build.ends))}
	w.foot.rawSize += uint64(len(w.build.text) + 4*len(w.build.ends))
	at := len(w.buf)
	w.buf = w.build.seal(w.buf, w.enc)
	return w.placed(&e, at)
}

// copyBlock takes over a whole block as it is stored.
func (w *fileWriter) copyBlock(b *block, stored []byte) error {
	if err := w.flushBlock(); err != nil {
		return err
	}
	e := entry{key: key{string(b.id), b.first}, count: uint64(b.count)}
	w.foot.messages += uint64(b.count)
	w.foot.rawSize += uint64(b.raw)
	at := len(w.buf)
	w.buf = append(w.buf, stored...)
	return w.placed(&e, at)
}

// placed notes the block that begins at buf[at:] in the index.
func (w *fileWriter) placed(e *entry, at int) error {
	if w.foot.blocks > 0 && !w.newest.less(e.key) {
		panic(fmt.Sprintf("history: %q seq %d is written after %q seq %d: a bug, report it", e.id, e.first, w.newest.id, w.newest.first))
	}
	w.newest = e.key
	e.offset, e.length = uint64(w.off)+uint64(at), uint64(len(w.buf)-at)
	w.foot.blocks++
	if w.entries == 0 {
		w.page = append(w.page[:0], make([]byte, 8)...)
		w.top = append(w.top, pageRef{offset: uint64(len(w.pages)), key: e.key})
	}
	w.page = appendEntry(w.page, e)
	w.entries++
	if len(w.page) >= indexPage {
		w.endPage()
	}
	if len(w.buf) >= writeChunk {
		return w.write()
	}
	return nil
}

func (w *fileWriter) endPage() {
	if w.entries == 0 {
		return
	}
	le.PutUint32(w.page[4:], uint32(w.entries))
	le.PutUint32(w.page, checksum(w.page[4:]))
	w.pages = append(w.pages, w.page...)
	w.top[len(w.top)-1].length = uint64(len(w.page))
	w.entries = 0
}

// write hands buf to the file.
func (w *fileWriter) write() error {
	n, err := w.file.WriteAt(w.buf, w.off)
	w.off += int64(n)
	w.unsynced += n
	w.buf = w.buf[:0]
	if err == nil && w.unsynced >= syncEvery {
		err = w.sync()
	}
	return err
}

func (w *fileWriter) sync() error {
	w.unsynced = 0
	if err := w.file.Sync(); err != nil {
		return &syncError{err}
	}
	return nil
}

// syncError marks a failed sync, after which nothing that was written may be believed.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// finish writes what is left, syncs, and gives the file its name. The name is durable when finish returns nil.
func (w *fileWriter) finish() (err error) {
	defer func() {
		if err != nil {
			w.abort()
			err = fmt.Errorf("writing history file %s: %w", filepath.Join(w.dir, w.name), err)
		}
	}()
	if err := w.flushBlock(); err != nil {
		return err
	}
	w.endPage()
	pagesAt := uint64(w.off) + uint64(len(w.buf))
	w.buf = append(w.buf, w.pages...)
	w.foot.topOffset = uint64(w.off) + uint64(len(w.buf))
	at := len(w.buf)
	w.buf = w.appendTop(w.buf, pagesAt)
	w.foot.topLength = uint64(len(w.buf) - at)
	w.buf = w.foot.append(w.buf)
	if err := w.write(); err != nil {
		return err
	}
	if !planted.On(planted.HistoryNotSynced) {
		if err := w.sync(); err != nil {
			return err
		}
	}
	if err := w.file.Close(); err != nil {
		return err
	}
	w.file = nil
	tmp, final := filepath.Join(w.dir, tmpName(w.name)), filepath.Join(w.dir, w.name)
	err = w.fsys.Rename(tmp, final)
	if errors.Is(err, fs.ErrExist) {
		// An attempt at this generation came as far as the name and failed then; nobody counts on it.
		if err = w.fsys.Remove(final); err == nil {
			err = w.fsys.Rename(tmp, final)
		}
	}
	if err != nil {
		return err
	}
	if err := w.fsys.SyncDir(w.dir); err != nil {
		return &syncError{err}
	}
	return nil
}

// appendTop appends the file's top; pagesAt is where the index pages begin.
func (w *fileWriter) appendTop(dst []byte, pagesAt uint64) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = le.AppendUint32(dst, uint32(len(w.top)))
	for _, p := range w.top {
		dst = binary.AppendUvarint(dst, pagesAt+p.offset)
		dst = binary.AppendUvarint(dst, p.length)
		dst = appendKey(dst, p.key)
	}
	le.PutUint32(dst[at:], checksum(dst[at+4:]))
	return dst
}

// abort removes the unfinished file. A complete file whose name may not be durable stays: it holds what it says.
func (w *fileWriter) abort() {
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
	_ = w.fsys.Remove(filepath.Join(w.dir, tmpName(w.name)))
}
