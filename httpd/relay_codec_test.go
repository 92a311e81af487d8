package httpd

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

func TestRelayFormat(t *testing.T) {
	p := streamParams{include: true, resume: true, version: 0x0102030405}
	open := appendRelayOpen(nil, []byte("support-123"), &p)
	golden(t, "relay-open-1.bin", open)
	id, got, err := parseRelayOpen(open)
	require.NoError(t, err)
	require.Equal(t, "support-123", string(id))
	require.Equal(t, p, got)

	frames := appendRelayFrame(nil, 0, relayHello, byte(shard.CodeOK), 7)
	frames = append(appendRelayFrame(frames, 5, relayEvent, relayLast, 8), "event"...)
	frames = appendRelayFrame(frames, 0, relayPing, 0, 0)
	golden(t, "relay-frames-1.bin", frames)
	code, version, err := readRelayHello(bytes.NewReader(frames))
	require.NoError(t, err)
	require.Equal(t, shard.CodeOK, code)
	require.Equal(t, uint64(7), version)
	f, err := parseRelayFrame(frames[relayFrameHead:])
	require.NoError(t, err)
	require.Equal(t, relayFrame{length: 5, kind: relayEvent, flags: relayLast, version: 8}, f)
}

func TestRelayRefusals(t *testing.T) {
	good := appendRelayOpen(nil, []byte("c"), &streamParams{})
	for n := range len(good) {
		_, _, err := parseRelayOpen(good[:n])
		require.ErrorIs(t, err, errRelay)
	}
	change := func(b []byte, at int, to byte) []byte { b = bytes.Clone(b); b[at] = to; return b }
	for _, bad := range [][]byte{change(good, 0, 2), change(good, 1, 4), change(good, 9, 1), append(good, make([]byte, maxID)...)} {
		_, _, err := parseRelayOpen(bad)
		require.ErrorIs(t, err, errRelay)
	}
	head := appendRelayFrame(nil, 1, relayEvent, 0, 1)
	for _, bad := range [][]byte{change(head, 4, 3), change(head, 3, 255), change(head, 13, 1), change(head, 4, byte(relayPing))} {
		_, err := parseRelayFrame(bad)
		require.ErrorIs(t, err, errRelay)
	}
	_, _, err := readRelayHello(bytes.NewReader(head))
	require.ErrorIs(t, err, errRelay)
	_, _, err = readRelayHello(bytes.NewReader(nil))
	require.ErrorIs(t, err, io.EOF)

	s := bareServer(t)
	near, far, err := tcpPair()
	require.NoError(t, err)
	go s.ServeRemoteStream([]byte("what?"), far)
	_, _, code := newRelayFeed(near, &s.streams.bufs)
	require.Equal(t, shard.CodeUnavailable, code)
}

// TestRelayFeedEndsBehindEvents: the connection ends before the stream has woken up for the last events, so that one wake stands
// for both. The stream hears of the end once it has taken them, and not from its next ping.
func TestRelayFeedEndsBehindEvents(t *testing.T) {
	near, far := net.Pipe()
	go func() {
		far.SetDeadline(time.Now().Add(testWait))
		far.Write(appendRelayFrame(nil, 0, relayHello, byte(shard.CodeOK), 7))
		far.Write(append(appendRelayFrame(nil, 28, relayEvent, 1, 8), `{"type":"reset","version":8}`...))
		far.Close()
	}()
	feed, _, code := newRelayFeed(near, &sync.Pool{New: func() any { return new([]byte) }})
	require.Equal(t, shard.CodeOK, code)
	wake := make(chan struct{}, 1)
	feed.start(wake)
	defer feed.close()
	<-feed.done
	<-wake
	require.True(t, feed.look())
	_, e, ok := feed.next(nil)
	require.True(t, ok)
	require.Equal(t, uint64(8), e.version)
	_, _, ok = feed.next(nil)
	require.False(t, ok)
	require.NotEmpty(t, wake)
	require.False(t, feed.look())
}

// FuzzRelayFeed: whatever comes over the connection, whole frames are given in order, and then the feed is lost.
func FuzzRelayFeed(f *testing.F) {
	hello := appendRelayFrame(nil, 0, relayHello, 0, 7)
	event := append(appendRelayFrame(nil, 27, relayEvent, 1, 8), `{"type":"reset","version":8}`[:27]...)
	f.Add(bytes.Join([][]byte{hello, event, appendRelayFrame(nil, 0, relayPing, 0, 0), event}, nil))
	f.Add(append(hello, event[:20]...))
	bufs := &sync.Pool{New: func() any { return new([]byte) }}
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := net.Pipe()
		go func() {
			far.SetDeadline(time.Now().Add(testWait))
			far.Write(data)
			far.Close()
		}()
		feed, _, code := newRelayFeed(near, bufs)
		if code != shard.CodeOK {
			return
		}
		wake := make(chan struct{}, 1)
		feed.start(wake)
		defer feed.close()
		taken := 0
		for feed.look() {
			for {
				event, _, ok := feed.next(nil)
				if !ok {
					break
				}
				taken += relayFrameHead + len(event)
			}
			feed.rest()
			select {
			case <-wake:
			case <-time.After(testWait):
				t.Fatal("the end of the connection is not signalled")
			}
		}
		if taken > len(data) {
			t.Fatalf("%d bytes of frames out of %d", taken, len(data))
		}
	})
}

func TestResumer(t *testing.T) {
	message := func(version, seq string) []byte {
		return []byte(`{"type":"message","version":` + version + `,"seq":` + seq + `}`)
	}
	var r resumer
	r.begin(streamPlace{version: 4, seq: 12, others: 1})
	require.True(t, r.has([]byte(`{"type":"gap","expected":9,"actual":12}`), eventInfo{kind: eventGap, version: 4}))
	require.True(t, r.has(message("5", "12"), eventInfo{kind: eventMessage, version: 4}))
	require.True(t, r.has([]byte(`{"type":"compaction","version":5,"range":{}}`), eventInfo{kind: eventCompaction, version: 4}))
	require.False(t, r.has([]byte(`{"type":"context","version":5}`), eventInfo{kind: eventContext, version: 5}))
	require.False(t, r.has(message("6", "12"), eventInfo{kind: eventMessage, version: 5}), "once over, it is over")

	r.begin(streamPlace{version: 4, seq: 12})
	require.False(t, r.has([]byte(`{"type":"gap","expected":9,"actual":14}`), eventInfo{kind: eventGap, version: 4}), "13 is missing")
	r.begin(streamPlace{version: 4, seq: 12})
	require.False(t, r.has([]byte(`{"type":"gap","expected":9,"actual":13}`), eventInfo{kind: eventGap, version: 5}), "the context event of 5 is missing")
	r.begin(streamPlace{version: 4, seq: 12})
	require.False(t, r.has(message("5", "13"), eventInfo{kind: eventMessage, version: 4}))
	r.begin(streamPlace{version: 4, seq: 12})
	require.False(t, r.has([]byte(`{"type":"compaction","version":5}`), eventInfo{kind: eventCompaction, version: 4}))
	var p streamPlace
	p.advance([]byte(`{"type":"gap","expected":9,"actual":20}`), eventInfo{kind: eventGap, version: 4})
	r.begin(p)
	require.True(t, r.has(message("5", "19"), eventInfo{kind: eventMessage, version: 4}), "another replica has what the gap left out")
	require.False(t, r.has(message("5", "20"), eventInfo{kind: eventMessage, version: 4}))
	r.begin(streamPlace{})
	require.False(t, r.has(message("1", "1"), eventInfo{kind: eventMessage}))
}
