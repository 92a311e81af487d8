package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"fastpaca/raft"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
)

// fileOf returns n bytes, which compress or do not.
func fileOf(n int, compressible bool) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	for i := 0; i < n && compressible; i++ {
		b[i] = "abcd    "[b[i]%8]
	}
	return b
}

func snapshotMessage(group uint32, to uint64) raft.Message {
	return raft.Message{Type: raft.MsgSnapshot, Group: group, From: 1, To: to, Term: 9, Snapshot: &raft.SnapshotMeta{
		Index: 70, Term: 8, Conf: raft.Conf{Voters: []uint64{1, 2}},
	}}
}

// serveFile makes r's snapshots have these contents, at an index newer than asked for.
func (r *rig) serveFile(file []byte) {
	r.open = func(group uint32, index uint64) (raft.SnapshotMeta, int64, io.ReadCloser, error) {
		return raft.SnapshotMeta{Index: index + 7, Term: 8, Conf: raft.Conf{Voters: []uint64{1, 2}, Learners: []uint64{3}}},
			int64(len(file)), io.NopCloser(bytes.NewReader(file)), nil
	}
}

func (r *rig) reported() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.reports...)
}

func TestSnapshotArrives(t *testing.T) {
	for _, compressible := range []bool{true, false} {
		for _, size := range []int{0, 1, chunkSize, 3*chunkSize + 17, 12 * chunkSize} {
			t.Run(fmt.Sprintf("%d/%v", size, compressible), func(t *testing.T) {
				file := fileOf(size, compressible)
				type arrived struct {
					m raft.Message
					b []byte
				}
				got := make(chan arrived, 1)
				a, b := newRig(t, 1, nil), newRig(t, 2, nil)
				a.serveFile(file)
				b.receive = func(m raft.Message, r io.Reader) error {
					all, err := io.ReadAll(r)
					got <- arrived{m, all}
					return err
				}
				a.start(a, b)
				b.start(a, b)
				a.tr.SendSnapshot(snapshotMessage(5, 2))
				x := <-got
				require.True(t, bytes.Equal(file, x.b))
				want := snapshotMessage(5, 2)
				want.Snapshot = &raft.SnapshotMeta{Index: 77, Term: 8, Conf: raft.Conf{Voters: []uint64{1, 2}, Learners: []uint64{3}}}
				require.Equal(t, want, x.m)
				eventually(t, "a report", func() bool { return len(a.reported()) > 0 })
				require.Equal(t, []string{"5 to 2: true"}, a.reported())
				var s Stats
				a.tr.Stats(&s)
				if compressible && size > 10 {
					require.Less(t, s.SnapshotBytesOut, uint64(size))
				}
			})
		}
	}
}

// TestSnapshotFailures: whatever fails, the leader is told once, and the follower's reader never ends with io.EOF.
func TestSnapshotFailures(t *testing.T) {
	file := fileOf(5*chunkSize, false)
	readAll := func(m raft.Message, r io.Reader) error { _, err := io.ReadAll(r); return err }
	for _, c := range []struct {
		name string
		edit func(a, b *rig)
	}{
		{"no such snapshot", func(a, b *rig) { a.open = nil }},
		{"no peer", func(a, b *rig) { a.tr.SetPeers(nil) }},
		{"nobody listens", func(a, b *rig) { b.ln.Close() }},
		{"refused at once", func(a, b *rig) { b.receive = func(raft.Message, io.Reader) error { return errors.New("no") } }},
		{"refused after the whole", func(a, b *rig) {
			b.receive = func(_ raft.Message, r io.Reader) error { _, _ = io.ReadAll(r); return errors.New("damaged") }
		}},
		{"file shorter than said", func(a, b *rig) {
			open := a.open
			a.open = func(g uint32, i uint64) (raft.SnapshotMeta, int64, io.ReadCloser, error) {
				meta, size, r, err := open(g, i)
				return meta, size + 1, r, err
			}
		}},
		{"file that does not read", func(a, b *rig) {
			open := a.open
			a.open = func(g uint32, i uint64) (raft.SnapshotMeta, int64, io.ReadCloser, error) {
				meta, size, r, err := open(g, i)
				bad := io.MultiReader(io.LimitReader(r, 3*chunkSize), iotest.ErrReader(errors.New("rot")))
				return meta, size, io.NopCloser(bad), err
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newRig(t, 1, nil), newRig(t, 2, nil)
			a.serveFile(file)
			var ends []error
			b.receive = func(m raft.Message, r io.Reader) error {
				err := readAll(m, r)
				b.mu.Lock()
				ends = append(ends, err)
				b.mu.Unlock()
				return err
			}
			a.start(a, b)
			b.start(a, b)
			c.edit(a, b)
			a.tr.SendSnapshot(snapshotMessage(5, 2))
			eventually(t, "a report", func() bool { return len(a.reported()) > 0 })
			time.Sleep(20 * time.Millisecond)
			require.Equal(t, []string{"5 to 2: false"}, a.reported())
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, err := range ends {
				require.Error(t, err)
			}
		})
	}
}

// cutter passes on a number of bytes of a dialed connection, and then cuts it.
type cutter struct {
	net.Conn
	left *atomic.Int64
}

func (c *cutter) Write(b []byte) (int, error) {
	if left := c.left.Add(-int64(len(b))); left < 0 {
		n, _ := c.Conn.Write(b[:max(0, int64(len(b))+left)])
		c.Conn.Close()
		return n, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// TestSnapshotCutAnywhere cuts the transfer at every chunk, and within: the receiver gets an error, the sender reports once, and
// the next attempt arrives whole.
func TestSnapshotCutAnywhere(t *testing.T) {
	file := fileOf(6*chunkSize+99, false)
	var left atomic.Int64
	var armed atomic.Bool
	a := newRig(t, 1, func(r *rig, c *Config) {
		c.Dial = dialThrough(func(c net.Conn) net.Conn {
			if armed.Load() {
				return &cutter{c, &left}
			}
			return c
		})
		c.SnapshotBytesPerSecond = -1
	})
	b := newRig(t, 2, nil)
	a.serveFile(file)
	var mu sync.Mutex
	var ends []error
	var whole int
	b.receive = func(m raft.Message, r io.Reader) error {
		all, err := io.ReadAll(r)
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, err)
		if err == nil && bytes.Equal(all, file) {
			whole++
		}
		return err
	}
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	armed.Store(true) // from now on only bulk connections are dialed
	reports := 0
	for at := int64(0); at < int64(len(file))+chunkSize; at += chunkSize / 2 {
		left.Store(at)
		a.tr.SendSnapshot(snapshotMessage(5, 2))
		reports++
		eventually(t, "a report", func() bool { return len(a.reported()) == reports })
	}
	left.Store(1 << 40)
	a.tr.SendSnapshot(snapshotMessage(5, 2))
	eventually(t, "a report", func() bool { return len(a.reported()) == reports+1 })
	require.Equal(t, "5 to 2: true", a.reported()[reports])
	eventually(t, "all readers to end", func() bool { return b.tr.snapshots.receiving() == 0 })
	mu.Lock()
	defer mu.Unlock()
	good := 0
	for _, err := range ends {
		if err == nil {
			good++
		}
	}
	require.Equal(t, good, whole, "a reader that ends well has read all of it")
	require.Greater(t, len(ends), 8)
	require.Less(t, good, len(ends))
}

func (s *snapshots) receiving() int { return len(s.in) }

// TestHeartbeatsPassSnapshots: while a snapshot takes all that the bulk lane may, heartbeats and calls go through.
func TestHeartbeatsPassSnapshots(t *testing.T) {
	file := fileOf(64*chunkSize, false)
	during := make(chan struct{})
	finish := make(chan struct{})
	a, b := newRig(t, 1, func(_ *rig, c *Config) { c.SnapshotBytesPerSecond = -1 }), newRig(t, 2, nil)
	a.serveFile(file)
	b.receive = func(m raft.Message, r io.Reader) error {
		if _, err := io.ReadFull(r, make([]byte, 8*chunkSize)); err != nil {
			return err
		}
		close(during)
		<-finish // the window is full, and the leader blocked
		_, err := io.ReadAll(r)
		return err
	}
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	a.tr.SendSnapshot(snapshotMessage(5, 2))
	<-during
	a.tr.Send(sampleMessages(1, 2))
	eventually(t, "messages", func() bool { return len(b.messages()) == len(sampleMessages(1, 2)) })
	_, err := a.tr.Call(2, 1, []byte("x"), nil, time.Minute)
	require.NoError(t, err)
	require.Empty(t, a.reported())
	close(finish)
	eventually(t, "a report", func() bool { return len(a.reported()) == 1 })
	require.Equal(t, []string{"5 to 2: true"}, a.reported())
}

// TestSnapshotsAreBounded: what is too much at a time is refused or waits, and each is reported once.
func TestSnapshotsAreBounded(t *testing.T) {
	var now, most atomic.Int64
	b := newRig(t, 9, nil)
	b.receive = func(m raft.Message, r io.Reader) error {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		_, err := io.ReadAll(r)
		time.Sleep(5 * time.Millisecond)
		return err
	}
	var senders []*rig
	for id := range uint64(4) {
		a := newRig(t, id+1, nil)
		a.serveFile([]byte("small"))
		senders = append(senders, a)
	}
	all := append([]*rig{b}, senders...)
	for _, r := range all {
		r.start(all...)
	}
	const each = 20
	for _, a := range senders {
		for g := range uint32(each) {
			a.tr.SendSnapshot(snapshotMessage(g, 9))
		}
	}
	for _, a := range senders {
		eventually(t, "all reports", func() bool { return len(a.reported()) == each })
		for _, r := range a.reported() {
			require.Contains(t, r, "true", "they wait for one another")
		}
	}
	require.LessOrEqual(t, most.Load(), int64(snapshotsInMax))
	for range snapshotQueueMax + 10 {
		senders[0].tr.SendSnapshot(snapshotMessage(1, 9))
	}
	eventually(t, "all reports", func() bool { return len(senders[0].reported()) == each+snapshotQueueMax+10 })
}

// TestSnapshotWaitsForAPlace: not longer than snapshotWait; then the group tries again.
func TestSnapshotWaitsForAPlace(t *testing.T) {
	bubble(t, func(t *testing.T, node func(uint64) *rig) {
		a, b := node(1), node(2)
		a.serveFile([]byte("small"))
		for range snapshotsInMax {
			require.True(t, b.tr.snapshots.enter(t.Context()))
		}
		a.start(a, b)
		b.start(a, b)
		time.Sleep(time.Second)
		a.tr.SendSnapshot(snapshotMessage(1, 2))
		time.Sleep(snapshotWait - 1)
		require.Empty(t, a.reported())
		time.Sleep(time.Second)
		require.Equal(t, []string{"1 to 2: false"}, a.reported())
		require.Contains(t, a.logged("peer_snapshot_failed")[0], errBusy.Error())
	})
}

// TestSnapshotBeforeStart: shards may be there before the transport knows its peers.
func TestSnapshotBeforeStart(t *testing.T) {
	a := newRig(t, 1, nil)
	a.tr.SendSnapshot(snapshotMessage(5, 2))
	a.tr.Send(sampleMessages(1, 2))
	time.Sleep(2 * sweepEvery)
	require.Empty(t, a.reported())
	a.start()
	eventually(t, "a report", func() bool { return len(a.reported()) == 1 })
}

func TestPace(t *testing.T) {
	var p pace
	p.init(1 << 20)
	now := time.Unix(1000, 0)
	total := time.Duration(0)
	for range 100 {
		total = max(total, p.reserve(chunkSize, now))
	}
	// 100 chunks of a quarter of a megabyte, the last after all others but the burst.
	require.InDelta(t, (99*0.25 - 0.5), total.Seconds(), 0.05)
	require.LessOrEqual(t, p.reserve(1, now.Add(time.Hour)), time.Duration(0))
	p.init(1 << 40)
	require.Positive(t, p.perByte)
}

// told is a connection on which everything has been said already.
type told struct {
	net.Conn
	io.Reader
}

func (c *told) Read(b []byte) (int, error) { return c.Reader.Read(b) }
func (*told) Write(b []byte) (int, error)  { return len(b), nil }
func (*told) SetDeadline(time.Time) error  { return nil }

// TestDownloadRefuses: what is not the file that was offered does not end with io.EOF.
func TestDownloadRefuses(t *testing.T) {
	a := newRig(t, 1, nil)
	file := fileOf(chunkSize+10, true)
	chunk := func(flags byte, data []byte) []byte {
		return appendFrame(nil, kindChunk, append([]byte{flags}, data...))
	}
	end := func(sum uint32, size int) []byte {
		return appendFrame(nil, kindEnd, binary.AppendUvarint(binary.LittleEndian.AppendUint32(nil, sum), uint64(size)))
	}
	first, last := chunk(0, file[:chunkSize]), chunk(chunkS2, s2.Encode(nil, file[chunkSize:]))
	sum := crc32.Checksum(file, castagnoli)
	for _, c := range []struct {
		name   string
		frames [][]byte
		good   bool
	}{
		{"good", [][]byte{first, last, end(sum, len(file))}, true},
		{"wrong sum", [][]byte{first, last, end(sum+1, len(file))}, false},
		{"wrong size", [][]byte{first, last, end(sum, len(file)+1)}, false},
		{"a chunk missing", [][]byte{first, end(crc32.Checksum(file[:chunkSize], castagnoli), len(file))}, false},
		{"other order", [][]byte{last, first, end(sum, len(file))}, false},
		{"a chunk too many", [][]byte{first, last, last, end(sum, len(file))}, false},
		{"no end", [][]byte{first, last}, false},
		{"empty end", [][]byte{first, last, appendFrame(nil, kindEnd, nil)}, false},
		{"empty chunk", [][]byte{first, chunk(0, nil), last, end(sum, len(file))}, false},
		{"unknown flags", [][]byte{first, chunk(2, file[chunkSize:]), end(sum, len(file))}, false},
		{"no s2", [][]byte{first, chunk(chunkS2, []byte("not s2")), end(sum, len(file))}, false},
		{"a bomb", [][]byte{chunk(chunkS2, s2.Encode(nil, make([]byte, 100<<20)))}, false},
		{"other kind", [][]byte{first, appendFrame(nil, kindPing, nil), last, end(sum, len(file))}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &download{t: a.tr, size: int64(len(file)), c: &told{Reader: bytes.NewReader(bytes.Join(c.frames, nil))}}
			got, err := io.ReadAll(d)
			if c.good {
				require.NoError(t, err)
				require.True(t, bytes.Equal(file, got))
				return
			}
			require.Error(t, err)
			_, again := d.Read(make([]byte, 1))
			require.Equal(t, err, again, "for good")
		})
	}
}
