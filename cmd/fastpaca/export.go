package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
)

const (
	// exportPage is how many contexts stand between two cursors, at most: what a resumed export looks at again.
	exportPage = 100
	// measurePage is how many contexts are counted at a time.
	measurePage = 1000
	// messagePage is how many messages are asked for at a time.
	messagePage = 1000
	// exportAhead is how many contexts are read at the same time, each a page of messages ahead of the file.
	exportAhead = 4
)

// names is a flag that may be given several times.
type names []string

func (n *names) String() string { return strings.Join(*n, ",") }
func (n *names) Set(s string) error {
	if !slices.Contains(*n, s) {
		*n = append(*n, s)
	}
	return nil
}

// export writes contexts with their histories as NDJSON.
func export(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("fastpaca export", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: fastpaca export [flags]\n\nWrites contexts with their whole histories as lines of JSON, for fastpaca import or any other program. "+
			"Any node can be asked.\nAn export that was interrupted goes on where it was when it is called again with the same -o.\n\n")
		fs.PrintDefaults()
	}
	flags := newClientFlags(fs)
	var only names
	fs.Var(&only, "context", "`ID` of a context to export; may be given several times; default: all")
	file := fs.String("o", "-", "`FILE` to write, or to go on with; - is standard output")
	if _, code, done := parseArgs(fs, args, 0); done {
		return code
	}
	c, err := flags.client()
	if err != nil {
		fmt.Fprintf(stderr, "fastpaca export: %v\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	bar := newProgress(stderr, "export")
	x := &exporter{api: newTransferAPI(c, bar.say), bar: bar, only: only}
	defer x.api.close()
	bar.start()
	if *file == "-" {
		err = x.stream(ctx, stdout)
	} else {
		err = x.file(ctx, *file)
	}
	bar.close()
	switch {
	case err != nil && ctx.Err() != nil && *file != "-":
		fmt.Fprintf(stderr, "fastpaca export: interrupted; the same command goes on with %s\n", *file)
		return 1
	case err != nil:
		fmt.Fprintf(stderr, "fastpaca export: %v\n", err)
		return 1
	}
	fmt.Fprintf(stderr, "exported %d contexts with %d messages\n", bar.contexts.Load(), bar.messages.Load())
	return 0
}

// exporter is one run of export.
type exporter struct {
	api  *transferAPI
	bar  *progress
	only []string // nil: all

	w    *bufio.Writer
	buf  []byte // a line
	from resumePoint
}

// stream exports from the beginning.
func (x *exporter) stream(ctx context.Context, w io.Writer) error {
	x.w = bufio.NewWriterSize(w, 1<<20)
	x.buf = appendHeaderLine(x.buf[:0], x.only)
	if _, err := x.w.Write(x.buf); err != nil {
		return err
	}
	return errors.Join(x.walk(ctx), x.w.Flush())
}

// file exports into a file, or goes on with one.
func (x *exporter) file(ctx context.Context, name string) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) // conversations are nobody else's business
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if x.from, err = readExport(f, x.only); err != nil {
		return fmt.Errorf("%s cannot be gone on with and was not touched: %w", name, err)
	}
	x.bar.contexts.Store(x.from.contexts)
	x.bar.messages.Store(x.from.messages)
	x.bar.before.Store(x.from.messages)
	x.bar.done.Store(int64(x.from.contexts + x.from.messages))
	if x.from.ended {
		x.api.say(name + " is complete already")
		return nil
	}
	if err := x.from.verify(ctx, x.api); err != nil {
		return fmt.Errorf("%s cannot be gone on with and was not touched: %w", name, err)
	}
	// A process that was killed leaves part of a line at most.
	if err := f.Truncate(x.from.size); err != nil {
		return err
	}
	if _, err := f.Seek(x.from.size, io.SeekStart); err != nil {
		return err
	}
	if x.from.size == 0 {
		err = x.stream(ctx, f)
	} else {
		x.w = bufio.NewWriterSize(f, 1<<20)
		err = errors.Join(x.walk(ctx), x.w.Flush())
	}
	return errors.Join(err, f.Sync())
}

// piece is what the walk hands to the file, in order: a context with messages to come, or a cursor.
type piece struct {
	context *contextEntry
	begun   bool              // the context's line is in the file already
	from    uint64            // first seq to write
	pages   chan messagesPage // closed at the end

	cursor string
}

type messagesPage struct {
	messages [][]byte
	err      error
}

// walk reads contexts ahead, several at a time, and writes them in order.
func (x *exporter) walk(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	var group sync.WaitGroup
	if x.bar.shown && x.only == nil {
		group.Add(1)
		go func() {
			defer group.Done()
			x.measure(ctx)
		}()
	}
	pieces := make(chan *piece, exportAhead)
	var listed error
	group.Add(1)
	go func() {
		defer group.Done()
		defer close(pieces)
		listed = x.list(ctx, func(p *piece) bool {
			if p.context != nil {
				p.pages = make(chan messagesPage)
				group.Add(1)
				go func() {
					defer group.Done()
					defer close(p.pages)
					x.read(ctx, p)
				}()
			}
			select {
			case pieces <- p:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	err := x.write(pieces)
	cancel()
	group.Wait()
	switch {
	case parent.Err() != nil:
		return context.Cause(parent)
	case err != nil:
		return err
	case listed != nil:
		return listed
	}
	_, err = x.w.Write(appendEndLine(x.buf[:0], x.bar.contexts.Load(), x.bar.messages.Load()))
	return err
}

// list finds what is to be written, from where the file ends on. give returns false when the walk is over.
func (x *exporter) list(ctx context.Context, give func(*piece) bool) error {
	rest := x.from
	piecesOf := func(c *contextEntry) (*piece, error) {
		if rest.complete[c.ID] {
			delete(rest.complete, c.ID)
			return nil, nil
		}
		if rest.open == nil {
			return &piece{context: c, from: 1}, nil
		}
		// The first that is not complete is the one in whose middle the file ends. It ends where it was to end then: what came
		// since is for the next export.
		if rest.open.ID != c.ID || len(rest.complete) > 0 {
			return nil, fmt.Errorf("the node lists context %q where the file has %q; the file is of another store", c.ID, rest.open.ID)
		}
		p := &piece{context: rest.open, begun: true, from: rest.openSeq + 1}
		rest.open = nil
		return p, nil
	}
	if x.only != nil {
		for _, id := range x.only {
			c, err := x.api.context(ctx, id)
			if err != nil {
				return fmt.Errorf("context %q: %w", id, err)
			}
			x.bar.total.Add(1 + int64(c.LastSeq))
			if p, err := piecesOf(c); err != nil {
				return err
			} else if p != nil && !give(p) {
				return nil
			}
		}
		return nil
	}
	for cursor := rest.cursor; ; {
		contexts, next, err := x.api.list(ctx, cursor, exportPage)
		if err != nil {
			return err
		}
		for _, c := range contexts {
			if p, err := piecesOf(c); err != nil {
				return err
			} else if p != nil && !give(p) {
				return nil
			}
		}
		if next == "" {
			if rest.open != nil || len(rest.complete) > 0 {
				return errors.New("the node does not list contexts that the file has; the file is of another store")
			}
			return nil
		}
		if cursor = next; len(rest.complete) == 0 && rest.open == nil && !give(&piece{cursor: cursor}) {
			return nil
		}
	}
}

// measure counts what there is to do, for the bar. Where that fails there is no bar, and the walk says why.
func (x *exporter) measure(ctx context.Context) {
	total := int64(0)
	for cursor := ""; ; {
		contexts, next, err := x.api.list(ctx, cursor, measurePage)
		if err != nil {
			return
		}
		for _, c := range contexts {
			total += 1 + int64(c.LastSeq)
		}
		if cursor = next; next == "" {
			x.bar.total.Store(total)
			return
		}
	}
}

// read fetches the messages of a piece.
func (x *exporter) read(ctx context.Context, p *piece) {
	for next := p.from; next <= p.context.LastSeq; {
		messages, err := x.api.messages(ctx, p.context.ID, next, int(min(messagePage, p.context.LastSeq-next+1)))
		if err != nil {
			err = fmt.Errorf("context %q, messages from %d on: %w", p.context.ID, next, err)
		}
		page := messagesPage{err: err}
		for _, m := range messages {
			page.messages = append(page.messages, m)
		}
		select {
		case p.pages <- page:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		next += uint64(len(messages))
	}
}

// write writes pieces until there are no more.
func (x *exporter) write(pieces <-chan *piece) error {
	for p := range pieces {
		if p.context == nil {
			x.buf = appendCursorLine(x.buf[:0], p.cursor)
			if _, err := x.w.Write(x.buf); err != nil {
				return err
			}
			continue
		}
		if err := x.writeContext(p); err != nil {
			return err
		}
		x.bar.contexts.Add(1)
		x.bar.done.Add(1)
	}
	return nil
}

func (x *exporter) writeContext(p *piece) error {
	if !p.begun {
		x.buf = appendContextLine(x.buf[:0], p.context)
		if _, err := x.w.Write(x.buf); err != nil {
			return err
		}
	}
	next := p.from
	for page := range p.pages {
		if page.err != nil {
			return page.err
		}
		for _, m := range page.messages {
			x.buf = appendMessageLine(x.buf[:0], p.context.ID, m)
			if _, err := x.w.Write(x.buf); err != nil {
				return err
			}
		}
		next += uint64(len(page.messages))
		x.bar.messages.Add(uint64(len(page.messages)))
		x.bar.done.Add(int64(len(page.messages)))
	}
	if next <= p.context.LastSeq {
		return errInterrupted
	}
	return nil
}

// errInterrupted: the walk was ended from outside.
var errInterrupted = errors.New("interrupted")
