package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"fastpaca/bench/load"
	"fastpaca/bench/proc"
	"fastpaca/bench/report"
)

// Kinds of server, as they appear in the results.
const (
	kindOurs    = "ours"
	kindFloor   = "floor"
	kindDurable = "durable"
	kindCluster = "cluster"
)

// bench is the state of one run.
type bench struct {
	ctx   context.Context
	opt   options
	self  string // this program
	bin   string // fastpaca
	dir   string // temporary, removed at the end
	rep   *report.Report
	prog  *report.Progress
	http  *http.Client
	alive []*server
	notes []string
	seq   int // numbers data directories and logs

	cur       scenario
	stepShare float64 // of the current scenario's seconds, not yet given to steps

	// Findings of one scenario that another one needs.
	acked       map[*server]uint64 // writes acknowledged by measured runs
	gosched     bool               // the durable floor is faster with a yield
	calibrated  bool
	appendsAt64 float64 // ours, requests a second; 0: not measured
}

// server is a process under measurement.
type server struct {
	*proc.Child
	kind string
	data string        // ours: the data directory
	took time.Duration // ours: from the start of the process to ready
	log  string
	rest []*server // the other nodes of a cluster whose first node this is
}

// nodes are all processes that serve together.
func (s *server) nodes() []*server { return append([]*server{s}, s.rest...) }

// addrs are the addresses of all nodes.
func (s *server) addrs() (list []netip.AddrPort) {
	for _, n := range s.nodes() {
		list = append(list, n.Addr)
	}
	return list
}

// cpu is the processor time of all nodes so far.
func (s *server) cpu() (sum time.Duration, err error) {
	for _, n := range s.nodes() {
		d, err := proc.CPU(n.PID())
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

func newBench(ctx context.Context, o options, seconds float64) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.dir, "run-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	b := &bench{
		ctx: ctx, opt: o, self: self, dir: dir, rep: &report.Report{}, acked: map[*server]uint64{},
		prog: report.NewProgress(os.Stderr, seconds),
		http: &http.Client{Timeout: 60 * time.Second},
	}
	if proc.InMemory(dir) {
		b.note("%s is in memory: fdatasync costs nothing there and the append figures mean nothing; use -dir", o.dir)
	}
	return b, nil
}

func (b *bench) close() {
	b.stopAll()
	b.prog.Close()
	if b.opt.keep {
		fmt.Fprintln(os.Stderr, "kept:", b.dir)
		return
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench: cannot remove", b.dir, err)
	}
}

// note keeps a remark for the result file and shows it.
func (b *bench) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	b.notes = append(b.notes, s)
	fmt.Fprintln(os.Stderr, "note:", s)
}

func (b *bench) begin(s scenario) { b.cur, b.stepShare = s, s.seconds }

// step tells the progress bar what comes next and how long it should take.
func (b *bench) step(label string, seconds float64) {
	if b.cur.name != "" {
		label = b.cur.name + ": " + label
	}
	b.prog.Step(label, seconds)
}

// stepOf is step for a share of the scenario's expected time.
func (b *bench) stepOf(share float64, format string, args ...any) {
	b.step(fmt.Sprintf(format, args...), share*b.cur.seconds)
}

// pickInt is full in a full run, quick in a quick one.
func (b *bench) pickInt(full, quick int) int {
	if b.opt.quick {
		return quick
	}
	return full
}

// pickTime is full in a full run, quick in a quick one.
func (b *bench) pickTime(full, quick time.Duration) time.Duration {
	if b.opt.quick {
		return quick
	}
	return full
}

// build makes the fastpaca binary.
func (b *bench) build() error {
	if b.opt.bin != "" {
		bin, err := filepath.Abs(b.opt.bin)
		b.bin = bin
		return err
	}
	b.bin = filepath.Join(b.dir, "fastpaca")
	cmd := exec.CommandContext(b.ctx, "go", "build", "-o", b.bin, "./cmd/fastpaca")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build ./cmd/fastpaca (run from the repository's root): %w\n%s", err, out)
	}
	return nil
}

// path names a new file or directory of this run.
func (b *bench) path(name string) string {
	b.seq++
	return filepath.Join(b.dir, fmt.Sprintf("%03d-%s", b.seq, name))
}

func (b *bench) maxprocs() string { return fmt.Sprintf("GOMAXPROCS=%d", b.opt.maxprocs) }

const startTimeout = 120 * time.Second

// startOurs starts fastpaca on data (empty: a fresh directory) and waits until it is ready.
func (b *bench) startOurs(data string, env ...string) (*server, error) {
	if data == "" {
		data = b.path("data")
	}
	addr, err := proc.FreeAddr()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	s, err := b.launch(data, addr, env...)
	if err != nil {
		return nil, err
	}
	return s, b.awaitReady(s, start)
}

// launch starts the process of a node without waiting for it.
func (b *bench) launch(data string, addr netip.AddrPort, env ...string) (*server, error) {
	s := &server{kind: kindOurs, data: data, log: b.path("fastpaca.log")}
	var err error
	s.Child, err = proc.Start(proc.Spec{
		Name: "fastpaca", Log: s.log, Addr: addr,
		Args: []string{b.bin, "server"},
		Env:  append([]string{b.maxprocs(), "FASTPACA_LISTEN=" + addr.String(), "FASTPACA_RAFT_DATA_DIR=" + data}, env...),
	})
	if err != nil {
		return nil, err
	}
	b.alive = append(b.alive, s)
	return s, nil
}

func (b *bench) awaitReady(s *server, start time.Time) (err error) {
	if s.took, err = s.WaitReady(b.ctx, "/health/ready", start, startTimeout); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(s.log))
	}
	return nil
}

// startCluster starts three nodes that find one another, each with so many processors, and waits until all are ready.
// Where that is what they choose by themselves (docs/operations.md, "Several nodes on one machine"), nobody tells them.
func (b *bench) startCluster(procs int) (*server, error) {
	var addrs [clusterNodes]netip.AddrPort
	var seeds []string
	for i := range addrs {
		var err error
		if addrs[i], err = proc.FreeAddr(); err != nil {
			return nil, err
		}
		seeds = append(seeds, addrs[i].String())
	}
	told := fmt.Sprintf("GOMAXPROCS=%d", procs)
	if b.opt.maxprocs == runtime.NumCPU() && procs == b.share() {
		told = "GOMAXPROCS="
	}
	start := time.Now()
	var all []*server
	for i, addr := range addrs {
		s, err := b.launch(b.path("data"), addr, told,
			"FASTPACA_CLUSTER_SEED="+strings.Join(seeds, ","), fmt.Sprintf("FASTPACA_NODE_NAME=bench-%d", i+1))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	for _, s := range all {
		if err := b.awaitReady(s, start); err != nil {
			return nil, err
		}
	}
	for _, s := range all { // not above, where the time to ready is measured
		m, err := b.call(s, http.MethodGet, "/metrics", nil, http.StatusOK)
		if err != nil {
			return nil, err
		}
		if got, ok := sampleSum(string(m), "go_gomaxprocs"); !ok || int(got) != procs {
			return nil, fmt.Errorf("a node of the cluster runs with GOMAXPROCS=%v, not %d, as the table would say", got, procs)
		}
	}
	all[0].kind, all[0].rest = kindCluster, all[1:]
	return all[0], nil
}

const clusterNodes = 3

// share is what each of the nodes has of the processors.
func (b *bench) share() int { return max(1, b.opt.maxprocs/clusterNodes) }

// startFloor starts the plain floor.
func (b *bench) startFloor() (*server, error) { return b.floor(kindFloor) }

// startDurable starts the durable floor.
func (b *bench) startDurable(gosched bool) (*server, error) {
	return b.floor(kindDurable, "-log", b.path("floor.wal"), fmt.Sprintf("-gosched=%v", gosched))
}

func (b *bench) floor(kind string, args ...string) (*server, error) {
	s := &server{kind: kind, log: b.path(kind + ".log")}
	var err error
	s.Child, err = proc.Start(proc.Spec{
		Name: kind, Log: s.log, Args: append([]string{b.self, floorCommand}, args...), Env: []string{b.maxprocs()},
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(s.log))
	}
	b.alive = append(b.alive, s)
	return s, nil
}

// stop kills s and removes its data.
func (b *bench) stop(s *server) {
	for _, other := range s.rest {
		b.stop(other)
	}
	s.Kill()
	if s.data != "" && !b.opt.keep {
		_ = os.RemoveAll(s.data) // the run's directory is removed at the end, and complains then
	}
}

// stopAll ends every server that still runs.
func (b *bench) stopAll() {
	for _, s := range b.alive {
		b.stop(s)
	}
	b.alive = nil
}

// tail is the end of a log file, for error messages.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data[max(0, len(data)-2000):])
}

// call is one request off the hot path; it fails unless the status is want.
func (b *bench) call(s *server, method, path string, body []byte, want int) ([]byte, error) {
	req, err := http.NewRequestWithContext(b.ctx, method, "http://"+s.Addr.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %s, want %d: %.400s", method, path, resp.Status, want, got)
	}
	return got, nil
}

// answerWith makes floor s answer everything with status and body.
func (b *bench) answerWith(s *server, status int, body []byte) error {
	_, err := b.call(s, http.MethodPut, fmt.Sprintf("/_floor?status=%d", status), body, http.StatusOK)
	return err
}

// lastSeq is the last_seq of a context of ours.
func (b *bench) lastSeq(s *server, id string) (uint64, error) {
	body, err := b.call(s, http.MethodGet, contextPath(id), nil, http.StatusOK)
	if err != nil {
		return 0, err
	}
	var c struct {
		LastSeq uint64 `json:"last_seq"`
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return 0, fmt.Errorf("context %s: %w", id, err)
	}
	return c.LastSeq, nil
}

// checkSeqs fails unless the contexts of ours hold exactly want messages together: none lost, none twice.
func (b *bench) checkSeqs(s *server, prefix string, contexts int, want uint64) error {
	var sum uint64
	for i := range contexts {
		n, err := b.lastSeq(s, contextID(prefix, i))
		if err != nil {
			return err
		}
		sum += n
	}
	if sum != want {
		return fmt.Errorf("%d contexts hold %d messages, %d were acknowledged", contexts, sum, want)
	}
	return nil
}

// putContexts creates contexts 0..n-1 with configuration config (a JSON object).
func (b *bench) putContexts(s *server, prefix string, n int, config string) error {
	return b.send(s, &load.Plan{
		Conns: min(n, 64), Status: http.StatusCreated, Count: uint64(n),
		Build: func(i uint64, buf []byte) []byte {
			buf = requestHead(buf, s.Addr, http.MethodPut, contextPath(contextID(prefix, int(i))), len(config))
			return append(buf, config...)
		},
	})
}

// fill appends n*rounds batches of per messages to n contexts in turn.
func (b *bench) fill(s *server, prefix string, n, per, rounds, conns int) error {
	return b.fillBatches(s, prefix, n, per, n*rounds, conns)
}

// fillBatches appends that many batches of per messages, to n contexts in turn.
func (b *bench) fillBatches(s *server, prefix string, n, per, batches, conns int) error {
	w := newWriter(uint64(n))
	return b.send(s, &load.Plan{
		Conns: conns, Status: http.StatusCreated, Count: uint64(batches),
		Build: func(i uint64, buf []byte) []byte {
			return w.batch(buf, s.Addr, contextID(prefix, int(i%uint64(n))), per)
		},
		OnSent: func(done uint64) {
			if done%256 == 0 {
				b.prog.Note("%d of %d thousand messages", done*uint64(per)/1000, batches*per/1000)
			}
		},
	})
}

// send runs a plan whose latency does not matter.
func (b *bench) send(s *server, p *load.Plan) error {
	var res load.Result
	p.Addr, p.Stop = s.Addr, b.ctx.Done()
	return b.explain(s, load.Run(p, &res))
}

// explain adds to an error what the server said last, where it has died.
func (b *bench) explain(s *server, err error) error {
	if err == nil || errors.Is(err, load.ErrStopped) {
		return err
	}
	err = fmt.Errorf("%s: %w", s.Name, err)
	if time.Sleep(50 * time.Millisecond); !s.Alive() {
		err = fmt.Errorf("%w; the process has died:\n%s", err, tail(s.log))
	}
	return err
}

// measure runs p against s and records it as a round.
func (b *bench) measure(s *server, p load.Plan, name string, round int) (report.Round, error) {
	p.Addrs, p.Stop = s.addrs(), b.ctx.Done()
	before, err := s.cpu()
	if err != nil {
		return report.Round{}, err
	}
	var res load.Result
	if err := load.Run(&p, &res); err != nil {
		return report.Round{}, b.explain(s, err)
	}
	if p.Status == http.StatusCreated {
		b.acked[s] += res.Total
	}
	after, err := s.cpu()
	if err != nil {
		return report.Round{}, err
	}
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	r := report.Round{
		Scenario: b.cur.name, Case: name, Server: s.kind, Round: round, Conns: p.Conns,
		Requests: res.Requests, Seconds: res.Elapsed.Seconds(), PerSecond: res.PerSecond(), BodyBytes: res.BodyBytes,
		P50: us(res.Latency.Quantile(0.5)), P99: us(res.Latency.Quantile(0.99)), P999: us(res.Latency.Quantile(0.999)),
		Max:      us(res.Latency.Max()),
		OpenRate: p.Rate, OpenBehind: res.Backlog,
	}
	if res.Requests > 0 {
		r.ClientCPU = us(res.CPU) / float64(res.Requests)
		// The process's time covers warm-up and drain too, and so does Total.
		r.ServerCPU = us(after-before) / float64(res.Total)
	}
	b.rep.Rounds = append(b.rep.Rounds, r)
	return r, nil
}

// duel measures servers in turn, rounds times, and returns the rounds of each.
func (b *bench) duel(name string, rounds int, plans map[*server]load.Plan, order ...*server) (map[*server][]report.Round, error) {
	out := map[*server][]report.Round{}
	for i := range rounds {
		b.prog.Note("round %d of %d", i+1, rounds)
		for _, s := range order {
			r, err := b.measure(s, plans[s], name, i)
			if err != nil {
				return nil, err
			}
			out[s] = append(out[s], r)
		}
	}
	return out, nil
}

// metadata describes the machine and the code.
func metadata(o options) report.Meta {
	m := report.Meta{
		Date: time.Now().UTC().Format(time.RFC3339), GOMAXPROCS: o.maxprocs, Quick: o.quick,
	}
	describe(&m, o.dir)
	return m
}

// output runs a command and returns its trimmed output, "" where it fails.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
