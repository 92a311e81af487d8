package faults

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Clock is the wall clock of a machine whose time is wrong. Durations stay right: they come from the monotonic clock, which nobody can
// turn. The zero value is right.
type Clock struct {
	offset atomic.Int64 // ns, at the time from
	rate   atomic.Int64 // ns per second that it gains
	from   atomic.Int64 // ns since 1970, by the real clock
}

// Set turns the clock by offset, and from now on it gains (or loses) rate per second.
func (c *Clock) Set(offset, rate time.Duration) {
	c.from.Store(time.Now().UnixNano())
	c.offset.Store(int64(offset))
	c.rate.Store(int64(rate))
}

func (c *Clock) error(now time.Time) time.Duration {
	gone := float64(now.UnixNano()-c.from.Load()) / 1e9
	return time.Duration(c.offset.Load()) + time.Duration(gone*float64(c.rate.Load()))
}

// NowMs is the time in ms since 1970.
func (c *Clock) NowMs() int64 {
	now := time.Now()
	return now.Add(c.error(now)).UnixMilli()
}

// Now is the time as a process of that machine gets it: a wrong wall clock together with a right monotonic one. No constructor of
// package time makes such a Time, so this one changes the seconds of the wall clock where Go keeps them (time.Time, "wall": 1 bit that
// says that there is a monotonic reading, 33 bits of seconds since 1885, 30 bits of ns). Errors below a second are dropped.
func (c *Clock) Now() time.Time {
	const secondsShift = 30
	now := time.Now()
	by := int64(c.error(now) / time.Second)
	(*struct {
		wall uint64
		ext  int64
		loc  uintptr
	})(unsafe.Pointer(&now)).wall += uint64(by << secondsShift)
	return now
}
