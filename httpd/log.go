package httpd

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Level is how much a log line matters.
type Level int8

// The levels, and what is logged at each. What a client sends never appears at any level: a line names the
// context, the seq, sizes and times, not the contents.
//
//	debug  one line for each request and for each stream opened or closed
//	info   life cycle: started, ready, snapshot taken, shutting down
//	warn   something was refused or given up that an operator may want to know of: slow consumer, disk full
//	error  a bug, a panic, a failing disk
const (
	LevelDebug Level = iota
	LevelInfo
	LevelWarn
	LevelError
)

var levelNames = [...]string{"debug", "info", "warn", "error"}

// String is the level as FASTPACA_LOG_LEVEL and the lines spell it.
func (v Level) String() string { return levelNames[v] }

// ParseLevel reads the value of FASTPACA_LOG_LEVEL, in any case.
func ParseLevel(s string) (Level, error) {
	for i, name := range levelNames {
		if strings.EqualFold(s, name) {
			return Level(i), nil
		}
	}
	return 0, fmt.Errorf("log level %q: must be debug, info, warn or error", s)
}

// LogFunc is a logger as the packages below take it: a line of a type with a message and key-value pairs.
// It boxes its values, so it is for events, not for each request. kv alternates string keys and values;
// strings, []byte, integers, bools, durations and errors are written as such, the rest with %v.
type LogFunc func(level Level, typ, msg string, kv ...any)

const (
	// logQueue is how many lines may wait for the sink: at the longest line this holds 1024 * logLineMax = 8 MiB.
	logQueue = 1024
	// logLineMax bounds one line; fields that would overrun it are left out and "truncated":true says so.
	logLineMax = 8 << 10
	// logValueMax bounds one string value.
	logValueMax = 4 << 10
	// logBatch is how many bytes are gathered for one write to the sink.
	logBatch = 64 << 10
	// logCloseWait is how long Close waits for a sink that blocks.
	logCloseWait = time.Second
)

// Logger writes one JSON object per line to a sink, from a goroutine of its own. A caller never waits for the
// sink: when the queue is full the line is dropped and counted, and a line that says how many follows once
// there is room. (etcd #22214: a stalled stderr pipe stalled all linearizable reads.)
//
// All methods are safe for concurrent use and do nothing on a nil *Logger.
type Logger struct {
	level Level
	sink  io.Writer
	now   func() time.Time

	pool    sync.Pool // *LogLine
	queue   chan *LogLine
	dropped atomic.Uint64
	errors  atomic.Uint64 // writes that the sink refused

	once sync.Once
	stop chan struct{}
	done chan struct{}
}

// NewLogger starts a logger that writes lines of at least level to sink. Close it to flush.
func NewLogger(sink io.Writer, level Level) *Logger {
	l := &Logger{
		level: level, sink: sink, now: time.Now,
		queue: make(chan *LogLine, logQueue),
		stop:  make(chan struct{}), done: make(chan struct{}),
	}
	l.pool.New = func() any { return &LogLine{log: l, buf: make([]byte, 0, 256)} }
	go l.run()
	return l
}

// Enabled says whether lines of level are written.
func (l *Logger) Enabled(level Level) bool { return l != nil && level >= l.level }

// Dropped is how many lines were lost because the sink did not keep up.
func (l *Logger) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// Func returns l as a LogFunc, for the packages below.
func (l *Logger) Func() LogFunc {
	return func(level Level, typ, msg string, kv ...any) {
		if e := l.Line(level, typ); e != nil {
			for i := 0; i+1 < len(kv); i += 2 {
				key, _ := kv[i].(string)
				e.any(key, kv[i+1])
			}
			e.Send(msg)
		}
	}
}

// Line begins a line, or returns nil if level is not enabled; all methods of a nil *LogLine do nothing, so
// calls can be chained without a check. typ says what kind of event this is, in snake_case, for the log stack
// to filter by.
func (l *Logger) Line(level Level, typ string) *LogLine {
	if !l.Enabled(level) {
		return nil
	}
	e := l.pool.Get().(*LogLine)
	e.cut = false
	b := append(e.buf[:0], `{"time":"`...)
	b = l.now().UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","level":"`...)
	b = append(b, levelNames[level]...)
	b = append(b, `","type":`...)
	e.buf = appendLogString(b, typ)
	return e
}

// Close writes what is queued and stops. It gives up on a sink that blocks for longer than a second; lines
// sent after Close are lost.
func (l *Logger) Close() {
	if l == nil {
		return
	}
	l.once.Do(func() { close(l.stop) })
	t := time.NewTimer(logCloseWait)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}

// run is the only goroutine that touches the sink.
func (l *Logger) run() {
	defer close(l.done)
	buf := make([]byte, 0, logBatch)
	var told uint64
	for {
		select {
		case e := <-l.queue:
			buf = l.take(buf, e)
		case <-l.stop:
			buf = l.gather(buf)
			l.write(buf)
			return
		}
		buf = l.gather(buf)
		if n := l.dropped.Load(); n != told {
			buf = l.appendDropped(buf, n-told)
			told = n
		}
		l.write(buf)
		buf = buf[:0]
	}
}

// gather appends the lines that wait, up to about logBatch bytes, without blocking.
func (l *Logger) gather(buf []byte) []byte {
	for len(buf) < logBatch-logLineMax {
		select {
		case e := <-l.queue:
			buf = l.take(buf, e)
		default:
			return buf
		}
	}
	return buf
}

func (l *Logger) take(buf []byte, e *LogLine) []byte {
	buf = append(buf, e.buf...)
	l.pool.Put(e)
	return buf
}

func (l *Logger) appendDropped(buf []byte, n uint64) []byte {
	e := l.Line(LevelError, "log_dropped").Uint("count", n)
	e.finish("the log sink did not keep up, lines were dropped")
	return l.take(buf, e)
}

func (l *Logger) write(buf []byte) {
	if len(buf) == 0 {
		return
	}
	if _, err := l.sink.Write(buf); err != nil {
		l.errors.Add(1) // nowhere to say so; fastpaca_log_write_errors_total does
	}
}
