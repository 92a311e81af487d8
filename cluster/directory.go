package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unicode"
	"unicode/utf8"

	"fastpaca/wal/walfs"

	"golang.org/x/sys/unix"
)

// nameMax bounds node names, in bytes: they travel in every status and label.
const nameMax = 128

// Directory is a data directory that this process holds the lock of.
type Directory struct {
	Path string
	// Identity is what node.json says. Name and Incarnation never change while the directory is open; the rest belongs to
	// the Node that was opened on it.
	Identity Identity
	lock     *os.File
}

// OpenDirectory creates or opens the data directory, takes its lock, and loads its identity or makes one.
// name is the configured node name; empty means the stored one, or a random UUID for a new directory. A
// name other than the stored one is refused: the directory belongs to another node.
func OpenDirectory(path, name string) (*Directory, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	lock, err := lockDirectory(path)
	if err != nil {
		return nil, err
	}
	d := &Directory{Path: path, lock: lock}
	if err := d.identify(name); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// Close releases the lock.
func (d *Directory) Close() error { return d.lock.Close() }

func lockDirectory(path string) (*os.File, error) {
	file := filepath.Join(path, "LOCK")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock file %s: %w", file, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another fastpaca process: stop it, or give this one a directory of its own", path)
		}
		return nil, fmt.Errorf("lock file %s: %w", file, err)
	}
	return f, nil
}

func (d *Directory) identify(name string) error {
	file := filepath.Join(d.Path, identityFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return d.create(name)
	}
	if err != nil {
		return fmt.Errorf("node identity: %w", err)
	}
	if d.Identity, err = decodeIdentity(data); err != nil {
		return fmt.Errorf("node identity %s: %w", file, err)
	}
	if id := &d.Identity; name != "" && name != id.Name {
		return fmt.Errorf("data directory %s belongs to node %q, but FASTPACA_NODE_NAME is %q: use the stored name or another directory", d.Path, id.Name, name)
	}
	// A node enters its cluster in node.json first and starts its log then: a log without a cluster is not ours to explain.
	if d.Identity.ClusterID == "" && d.hasLog() {
		return fmt.Errorf("node identity %s names no cluster, but there is a log beside it: the file is older than the log, restore the newest one", file)
	}
	return d.missesLog()
}

// missesLog refuses a directory whose log is gone while its identity is not: a volume that was not mounted, or files that
// somebody removed. ANCHORS.md B.19: the node would come back as who it was, without what it acknowledged.
func (d *Directory) missesLog() error {
	if !d.Identity.LogBegun {
		return nil
	}
	if has, err := d.hasSegments(); err != nil || has {
		return err
	}
	return fmt.Errorf("data directory %s: node.json belongs to a node with a log, but there is none in %s; if that is a volume, mount it; if the log "+
		"is lost, so is what this node acknowledged: one of several nodes starts anew with an empty directory (move this one away, "+
		"node.json too), and a single node from a backup", d.Path, filepath.Join(d.Path, "wal"))
}

// hasSegments reports whether the log has any.
func (d *Directory) hasSegments() (bool, error) {
	entries, err := os.ReadDir(filepath.Join(d.Path, "wal"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("data directory %s: %w", d.Path, err)
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) == ".wal" }), nil
}

func (d *Directory) hasLog() bool {
	_, err := os.Stat(filepath.Join(d.Path, "wal"))
	return err == nil
}

// create gives a new directory its identity. A directory that holds a log but no identity is not new.
func (d *Directory) create(name string) error {
	if d.hasLog() {
		return fmt.Errorf("data directory %s holds a log but no node.json: restore the file from a backup; without it the directory's owner is unknown", d.Path)
	}
	if name == "" {
		name = NewUUID()
	} else if err := CheckName(name); err != nil {
		return err
	}
	return d.store(Identity{Version: identityVersion, Name: name, Incarnation: NewUUID()})
}

// store makes id the directory's identity: on disk when it returns nil. After an error the file holds either of the
// two, and d the old one.
func (d *Directory) store(id Identity) error {
	data, err := encodeIdentity(&id)
	if err == nil {
		err = writeFileDurably(filepath.Join(d.Path, identityFile), data)
	}
	if err != nil {
		return fmt.Errorf("node identity: %w", err)
	}
	// Name and Incarnation are read by others without a lock and are the same in both.
	if d.Identity.Incarnation == "" {
		d.Identity.Name, d.Identity.Incarnation = id.Name, id.Incarnation
	}
	d.Identity.Version, d.Identity.ClusterID, d.Identity.RaftID = id.Version, id.ClusterID, id.RaftID
	d.Identity.Joined, d.Identity.Genesis, d.Identity.Pending = id.Joined, id.Genesis, id.Pending
	d.Identity.LogBegun = id.LogBegun
	return nil
}

// CheckName says whether a node may be called name: 1 to 128 bytes of printable UTF-8 without spaces.
func CheckName(name string) error {
	if name == "" || len(name) > nameMax || !utf8.ValidString(name) {
		return fmt.Errorf("node name %q: use 1 to %d bytes of UTF-8", name, nameMax)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return fmt.Errorf("node name %q: spaces and control characters are not allowed", name)
		}
	}
	return nil
}

// writeFileDurably makes data the content of path, or leaves what was there: temporary file, fsync,
// rename, fsync of the directory.
func writeFileDurably(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = walfs.OS().SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// NewUUID returns a random (version 4) UUID.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	x := hex.EncodeToString(b[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
