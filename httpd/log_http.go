package httpd

import (
	"errors"
	"fmt"
	"strings"
)

// The lines that the request path writes. Every one names its route and context, none any content.

// appended logs a successful append, at debug: one line per write would cost more than the write. id is not
// kept.
func (l *Logger) appended(id []byte, firstSeq uint64, count int, version uint64) {
	l.Line(LevelDebug, "append").Bytes("context_id", id).Uint("seq", firstSeq).Int("count", int64(count)).
		Uint("version", version).Send("appended")
}

// failed logs an answer of 500 and above, at warn: all but 500 are the node protecting itself.
func (l *Logger) failed(r route, id []byte, status int, code string) {
	l.Line(LevelWarn, "request_failed").Str("route", r.String()).Bytes("context_id", id).
		Int("status", int64(status)).Str("error", code).Send("a request was answered with an error of the server's")
}

// historyUnreadable logs that old messages could not be read from disk or archive; err names the file.
func (l *Logger) historyUnreadable(id []byte, seq uint64, err error) {
	if err == nil {
		err = errors.New("they are neither in a history file of this node nor in an archive")
	}
	l.Line(LevelError, "history_unreadable").Bytes("context_id", id).Uint("seq", seq).Str("error", err.Error()).
		Send("older messages of a context cannot be read; restore the history file from a backup or replace this node's data")
}

// panicked logs a bug with its stack.
func (l *Logger) panicked(r route, id []byte, value any, stack []byte) {
	l.Line(LevelError, "panic").Str("route", r.String()).Bytes("context_id", id).
		Str("panic", fmt.Sprint(value)).Bytes("stack", stack).Send("a request met a bug; please report it with the stack")
}

// Printf takes what fasthttp has to say about single connections, at debug. Its errors quote what they could
// not parse, which may be a header with the API key or, where lengths do not fit, a piece of a body: they are
// cut at the first quote.
func (l *Logger) Printf(format string, args ...any) {
	if !l.Enabled(LevelDebug) {
		return
	}
	shown := make([]any, len(args))
	for i, arg := range args {
		if err, ok := arg.(error); ok {
			arg, _, _ = strings.Cut(err.Error(), `"`)
		}
		shown[i] = arg
	}
	l.Line(LevelDebug, "http").Send(fmt.Sprintf(format, shown...))
}
