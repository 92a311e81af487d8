package httpd

import (
	"fastpaca/ring"
	"fastpaca/shard"
)

// feed is where a stream's events come from: this node's replica of the context (localFeed), or another node that has
// one (relayFeed). A stream outlives its feeds: when one is lost, the next begins after the last version that was
// delivered in full, and streamPlace leaves out what the client has of the version after it.
//
// All methods are the stream's goroutine's; close of a feed that was never started, anybody's.
type feed interface {
	// start makes wake be signalled whenever there may be something new, from now on.
	start(wake chan struct{})
	// look takes in what is new. false: the feed is lost, and next gives at most what it had.
	look() bool
	// next appends the next event to dst. ok is false, and dst as it was, if there is none until look.
	next(dst []byte) (out []byte, e eventInfo, ok bool)
	// rest gives up what look took in, so that a stream that sleeps or is blocked keeps no pages in memory.
	rest()
	// head is the latest version of the context, 0 where the feed does not know.
	head() uint64
	close()
}

// eventInfo is what a stream must know of an event, besides its JSON.
type eventInfo struct {
	kind    eventKind
	version uint64 // with this event, everything up to it is delivered
	last    bool   // of the messages of its version
}

// streamSource is what a local feed reads from. *shard.Context is one.
type streamSource interface {
	View(*shard.View)
	Subscribe(wake chan<- struct{})
	Unsubscribe(wake chan<- struct{})
	// Replaced says that the shard has another state since, which has to be looked up.
	Replaced() bool
}

// localFeed reads from the memory of this node.
type localFeed struct {
	source  streamSource
	include bool // message events carry the message
	cursor  shard.Cursor
	view    shard.View
	wake    chan struct{}
}

// newLocalFeed begins after p.version, or at the present. version is where that is.
func newLocalFeed(source streamSource, p *streamParams) (f *localFeed, version uint64) {
	f = &localFeed{source: source, include: p.include}
	if p.resume {
		f.cursor = shard.Cursor{Version: p.version}
	} else {
		source.View(&f.view)
		f.cursor = f.view.LiveCursor()
		f.view.Reset()
	}
	return f, f.cursor.Version
}

func (f *localFeed) start(wake chan struct{}) {
	f.wake = wake
	f.source.Subscribe(wake)
}

func (f *localFeed) look() bool {
	// In this order: a View of the replaced state is complete, and what came later is in the other one.
	f.source.View(&f.view)
	return !f.source.Replaced()
}

func (f *localFeed) next(dst []byte) (out []byte, e eventInfo, ok bool) {
	at := len(dst)
	out, ok = f.view.NextEvent(dst, &f.cursor, f.include)
	if !ok {
		return out, e, false
	}
	e = eventInfo{kind: eventOf(out[at:]), version: f.cursor.Version}
	if e.kind == eventMessage {
		e.last = f.view.Slot(eventSeq(out[at:])).Flags&ring.FlagEnd != 0
	}
	return out, e, true
}

func (f *localFeed) rest() { f.view.Reset() }

func (f *localFeed) head() uint64 {
	f.source.View(&f.view)
	now := f.view.LiveCursor().Version
	f.view.Reset()
	return now
}

func (f *localFeed) close() {
	if f.wake != nil {
		f.source.Unsubscribe(f.wake)
		f.wake = nil
	}
}
