package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

const (
	// importBytes and importCount bound a batch: it is one entry of the shard's log, and the node takes 1000 messages at most.
	importBytes = 1 << 20
	importCount = 1000
	// importWorkers is how many contexts are written at the same time: each waits for the disks of its shard's quorum.
	importWorkers = 8
)

// importFile reads an export and writes it into a store.
func importFile(args []string, _, stderr io.Writer) int {
	fs := flag.NewFlagSet("fastpaca import", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: fastpaca import [flags]\n\nWrites what fastpaca export wrote into a store: contexts, their configuration and metadata, and their histories byte for byte. "+
			"Any node can be asked.\nAn import that was interrupted goes on where it was when it is called again: what is there already is compared and skipped.\n\n")
		fs.PrintDefaults()
	}
	flags := newClientFlags(fs)
	file := fs.String("i", "-", "`FILE` to read; - is standard input")
	if _, code, done := parseArgs(fs, args, 0); done {
		return code
	}
	c, err := flags.client()
	if err != nil {
		fmt.Fprintf(stderr, "fastpaca import: %v\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	bar := newProgress(stderr, "import")
	var in io.Reader = os.Stdin
	if *file != "-" {
		f, err := os.Open(*file)
		if err != nil {
			fmt.Fprintf(stderr, "fastpaca import: %v\n", err)
			return 1
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err == nil {
			bar.total.Store(info.Size())
		}
		in = f
	}
	m := &importer{api: newTransferAPI(c, bar.say), bar: bar}
	defer m.api.close()
	bar.start()
	err = m.run(ctx, in)
	bar.close()
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(stderr, "fastpaca import: interrupted; the same command goes on")
		return 1
	case err != nil:
		fmt.Fprintf(stderr, "fastpaca import: %v\n", err)
		return 1
	}
	fmt.Fprintf(stderr, "imported %d contexts with %d messages; %d of them were there already\n", bar.contexts.Load(), bar.messages.Load(), m.skipped.Load())
	return 0
}

// run imports r. It reads in order and writes several contexts at a time, each in order; what it holds in memory is two
// batches for each of them.
func (m *importer) run(parent context.Context, r io.Reader) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	lines := newLineReader(r)
	header, err := lines.header()
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errNoExport
	case err != nil:
		return err
	case header == nil:
		return errNoExport
	}
	jobs := make(chan *target)
	var group sync.WaitGroup
	for range importWorkers {
		group.Add(1)
		go func() {
			defer group.Done()
			for t := range jobs {
				if err := t.run(ctx); err != nil {
					cancel(fmt.Errorf("context %q: %w", t.entry.ID, err))
				}
			}
		}()
	}
	f := &feed{m: m, ctx: ctx, lines: lines, jobs: jobs}
	err = f.run()
	close(jobs)
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx) // the first thing that went wrong, or the interruption; what followed is of no interest
	}
	return err
}

// feed reads the file for the workers.
type feed struct {
	m     *importer
	ctx   context.Context
	lines *lineReader
	jobs  chan<- *target

	open  *target // gets the messages that follow
	next  uint64  // seq of the next one
	batch batch
	ended bool
}

// errIncomplete: everything that is there was imported.
var errIncomplete = errors.New("the file is an export that was interrupted: what it holds is imported; complete it with the command that wrote it, then import it again")

func (f *feed) run() error {
	defer f.close(false)
	for {
		b, err := f.lines.next()
		switch {
		case errors.Is(err, io.EOF) && f.ended:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			f.flush()
			return errIncomplete
		case err != nil:
			return err
		case f.ended:
			return f.lines.wrong(errors.New("it stands behind the end"))
		}
		f.m.bar.done.Store(f.lines.offset)
		if err := f.line(b); err != nil {
			return f.lines.wrong(err)
		}
		if f.ctx.Err() != nil {
			return f.ctx.Err()
		}
	}
}

func (f *feed) line(b []byte) error {
	l, err := parseLine(b)
	if err != nil {
		return err
	}
	switch l.Type {
	case "message":
		return f.message(l)
	case "context":
		entry, err := parseContext(l.Context)
		if err != nil {
			return err
		}
		if err := f.close(true); err != nil {
			return err
		}
		t := &target{m: f.m, entry: entry, batches: make(chan batch, 1)}
		select {
		case f.jobs <- t:
			f.open, f.next = t, 1
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	case "end":
		f.ended = true
		return f.close(true)
	}
	return nil
}

func (f *feed) message(l *line) error {
	if f.open == nil || l.ContextID != f.open.entry.ID {
		return fmt.Errorf("it is a message of %q, whose context does not stand before it", l.ContextID)
	}
	seq, err := seqOf(l.Message)
	if err != nil {
		return err
	}
	if seq != f.next {
		return fmt.Errorf("it is message %d of %q where message %d follows; the file is damaged", seq, l.ContextID, f.next)
	}
	f.next++
	if f.batch.size > 0 && f.batch.size+len(l.Message) > importBytes {
		f.flush()
	}
	f.batch.add(seq, l.Message)
	if len(f.batch.messages) == importCount {
		f.flush()
	}
	return nil
}

// flush hands the batch to its worker, or drops it where that has failed.
func (f *feed) flush() {
	if len(f.batch.messages) == 0 {
		return
	}
	select {
	case f.open.batches <- f.batch:
	case <-f.ctx.Done():
	}
	f.batch = batch{}
}

// close ends the open context, if there is one. whole: it is to have all its messages; where it does not, the file is damaged.
func (f *feed) close(whole bool) error {
	t := f.open
	if t == nil {
		return nil
	}
	f.flush()
	f.open = nil
	t.whole = f.next > t.entry.LastSeq
	close(t.batches)
	if whole && !t.whole {
		return fmt.Errorf("context %q has %d messages, and %d are there before it; the file is damaged", t.entry.ID, t.entry.LastSeq, f.next-1)
	}
	return nil
}
