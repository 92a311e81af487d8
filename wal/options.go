package wal

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Defaults of Options, and limits that are no options.
const (
	DefaultSegmentBytes = 64 << 20
	DefaultSoftLimit    = 2 << 30
	DefaultHardLimit    = 8 << 30

	// MaxMetaBytes bounds the opaque bytes that travel with a snapshot record (a group's membership).
	MaxMetaBytes = 4 << 10
	// MaxGroups bounds group ids.
	MaxGroups = 1 << 16

	// MaxFreeSegments is how many finished segments are kept for another life. One is in use as "the next
	// one" nearly always; the rest absorb a snapshot of many groups that frees several at once. More would
	// only hold disk space that snapshots may need.
	MaxFreeSegments = 4

	defaultIdleMark   = 25 * time.Millisecond
	defaultRetryEvery = time.Second
	defaultStartPause = 500 * time.Millisecond
)

// Options configure Open. The zero value of a field means its default.
type Options struct {
	FS     FS     // default: OS()
	Dir    string // holds the log's files and nothing else; created if missing
	Groups int    // group ids are 0..Groups-1; may grow between two runs, not shrink

	// SegmentBytes is the size of new segments: a multiple of 4 KiB, at most 4 GiB, and large enough that
	// a checkpoint of all groups takes at most half (see MinSegmentBytes). Segments of other sizes that a
	// directory holds already are read as they are.
	SegmentBytes int64

	// SoftLimitBytes of live segments ask for snapshots of the groups that pin the oldest ones and copy
	// small remainders forward; HardLimitBytes make Full report true until segments come free.
	SoftLimitBytes, HardLimitBytes int64

	// RequestSnapshot is asked to have these groups snapshot and truncate, because they pin the oldest
	// segments. It must not block; it is called from a background goroutine, with a slice it may keep. A
	// request may be ignored: a group with at most 256 KiB of live log is then copied forward at the next
	// rotation but one, a bigger one after nine requests.
	RequestSnapshot func(groups []uint32)

	// Fatal hears once that a write or a sync failed. The state of the disk is unknown from then on, so it
	// must not return in the product: the process exits and recovery believes only what it reads. If it
	// does return (tests), nothing submitted since is ever reported done.
	Fatal func(error)

	// PadBatches pads every batch to 4 KiB, so that no write touches a block that holds durable bytes. For
	// devices that may tear bytes which were not written ("no power-safe overwrite").
	PadBatches bool

	// Logf hears of the rare events of the log's life: an event name in snake_case, then key-value pairs.
	Logf func(event string, keyvals ...any)

	// FreeSegments is how many finished segments wait for another life: default and most 4; negative: none,
	// every segment is removed and the next one pre-written from nothing.
	FreeSegments int

	// IdleMark is how long after the last batch a watermark record is written (without a sync), or up to twice as long;
	// default 25 ms, negative: at once when the queue is empty.
	IdleMark time.Duration

	// RetryEvery is the pause between attempts to create a segment on a full disk; default 1 s.
	RetryEvery time.Duration

	// StartPause is how long after Open no segment is written ahead, since what follows a start is what everybody waits
	// for; less if the active one is half full before. Default 500 ms; negative: none. Without a meaning for Manual.
	StartPause time.Duration

	// Manual runs no goroutine: nothing happens but in Open, Step and Close, so that with Rand and Now from a seed
	// and a deterministic FS, every life of the log is repeatable. See Step. Running out of file descriptors, which
	// is otherwise waited for, is fatal.
	Manual bool

	Rand func() uint64 // segment salts; default crypto/rand
	// Now is for Stalled, latencies and, with Manual, what is due. It must not go back: a retry would then be
	// due only when it has caught up. Default time.Now, whose differences do not follow a wall clock that is turned.
	Now func() time.Time
}

// MinSegmentBytes is the least SegmentBytes for a number of groups.
func MinSegmentBytes(groups int) int64 {
	worst := int64(groups)*int64(recordBound(kindCheckpoint, MaxMetaBytes)) + headerBytes
	return alignUp(2*worst, blockBytes)
}

func (o *Options) setDefaults() error {
	if o.FS == nil {
		o.FS = OS()
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SoftLimitBytes == 0 {
		o.SoftLimitBytes = DefaultSoftLimit
	}
	if o.HardLimitBytes == 0 {
		o.HardLimitBytes = max(DefaultHardLimit, 2*o.SoftLimitBytes)
	}
	if o.FreeSegments == 0 || o.FreeSegments > MaxFreeSegments {
		o.FreeSegments = MaxFreeSegments
	}
	if o.IdleMark == 0 {
		o.IdleMark = defaultIdleMark
	}
	if o.RetryEvery == 0 {
		o.RetryEvery = defaultRetryEvery
	}
	if o.StartPause == 0 {
		o.StartPause = defaultStartPause
	}
	if o.RequestSnapshot == nil {
		o.RequestSnapshot = func([]uint32) {}
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Rand == nil {
		o.Rand = cryptoRand
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o.check()
}

func (o *Options) check() error {
	switch {
	case o.Dir == "":
		return errors.New("wal: Options.Dir is empty")
	case o.Groups < 1 || o.Groups > MaxGroups:
		return fmt.Errorf("wal: Options.Groups is %d, want 1 to %d", o.Groups, MaxGroups)
	case o.SegmentBytes%blockBytes != 0 || o.SegmentBytes > maxSegmentBytes:
		return fmt.Errorf("wal: Options.SegmentBytes is %d, want a multiple of %d up to %d", o.SegmentBytes, blockBytes, int64(maxSegmentBytes))
	case o.SegmentBytes < MinSegmentBytes(o.Groups):
		return fmt.Errorf("wal: Options.SegmentBytes is %d, want at least %d for %d groups", o.SegmentBytes, MinSegmentBytes(o.Groups), o.Groups)
	case o.SoftLimitBytes < 0 || o.HardLimitBytes < o.SoftLimitBytes:
		return fmt.Errorf("wal: limits are soft %d, hard %d, want 0 <= soft <= hard", o.SoftLimitBytes, o.HardLimitBytes)
	}
	return nil
}

func cryptoRand() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails, by its documentation
	return binary.LittleEndian.Uint64(b[:])
}
