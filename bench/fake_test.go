package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"
)

// The tests execute this test binary as the servers: as a floor with the subcommand of the benchmark, and as a fake
// fastpaca with "server". The fake knows as much of the API as the benchmark uses, keeps its messages in one file
// per context, and is neither fast nor durable.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case floorCommand:
			err = floorMain(os.Args[2:])
		case "server":
			err = fakeMain(os.Getenv("FASTPACA_LISTEN"), os.Getenv("FASTPACA_RAFT_DATA_DIR"))
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type fake struct {
	mu   sync.Mutex
	dir  string
	seqs map[string][]string // context -> messages
}

func fakeMain(addr, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f := &fake{dir: dir, seqs: map[string][]string{}}
	if b, err := os.ReadFile(dir + "/state"); err == nil {
		if err := json.Unmarshal(b, &f.seqs); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		return err
	}
	return (&fasthttp.Server{Handler: f.serve}).Serve(ln)
}

func (f *fake) serve(ctx *fasthttp.RequestCtx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := string(ctx.Path())
	if path == "/health/ready" || path == "/metrics" {
		ctx.SetBodyString("fastpaca_wal_fsyncs_total 7\n")
		return
	}
	id, call, _ := strings.Cut(strings.TrimPrefix(path, "/v1/contexts/"), "/")
	msgs := f.seqs[id]
	last := len(msgs)
	page := func(from, to int) {
		fmt.Fprintf(ctx, `{"messages":[%s]}`, strings.Join(msgs[max(from, 0):min(to, last)], ","))
	}
	switch method := string(ctx.Method()); {
	case method == "PUT":
		ctx.SetStatusCode(201)
		f.seqs[id] = nil
		fmt.Fprint(ctx, `{}`)
	case method == "POST":
		ctx.SetStatusCode(201)
		var in struct {
			Message  json.RawMessage
			Messages []json.RawMessage
		}
		if err := json.Unmarshal(ctx.PostBody(), &in); err != nil {
			ctx.Error(err.Error(), 400)
			return
		}
		if in.Message != nil {
			in.Messages = append(in.Messages, in.Message)
		}
		for _, m := range in.Messages {
			if len(m) != messageBytes {
				ctx.Error("a message of the wrong size", 400)
				return
			}
			last++
			f.seqs[id] = append(f.seqs[id], fmt.Sprintf(`{"seq":%d,%s`, last, m[1:]))
		}
		fmt.Fprintf(ctx, `{"seq":%d}`, last)
		if len(in.Messages) > 1 { // only batches outlive a restart: enough for the restart scenario
			b, _ := json.Marshal(f.seqs)
			_ = os.WriteFile(f.dir+"/state", b, 0o644)
		}
	case call == "":
		fmt.Fprintf(ctx, `{"last_seq":%d}`, last)
	case call == "messages":
		from, n := ctx.QueryArgs().GetUintOrZero("from_seq"), ctx.QueryArgs().GetUintOrZero("limit")
		page(from-1, from-1+n)
	default: // context, tail
		page(last-windowMessages, last)
	}
}
