package shard

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"fastpaca/wal/walfs"
)

// parker writes contexts that nobody touches to parking files, one batch at a time for the whole node, so that it costs a
// bounded share of the disk and the processor. It goes by steps, like the spiller: a loop says what, the parker writes it,
// the loop lets go of it.
type parker struct {
	node  *Node
	queue worklist[*group] // a group is queued at most once (group.parking)
	background
	names uint64 // parking files made in this life

	mu  sync.Mutex // for what follows, which loops change
	job *parkJob   // under way; nil: none
	old []string   // parking files to be removed
}

// parkJob is one batch on its way.
type parkJob struct {
	group   *group
	machine *Machine
	batch   *ParkBatch
	ready   bool // it is the parker's turn
}

func newParker(n *Node) *parker {
	p := &parker{node: n}
	p.background.init(n)
	p.queue.init()
	return p
}

// pressure is the share of Options.MemoryBytes from which on contexts are parked sooner, after pressureTicks and not after
// Options.ParkAfter: what nobody has touched for two seconds or so makes room for what would be refused otherwise.
const (
	pressureNum, pressureDen = 3, 4
	pressureTicks            = 20
)

// sweepMax bounds the contexts that one tick of one shard looks at: some microseconds.
const sweepMax = 512

// sweep moves the hand of the clock on, such that it goes around once in Options.ParkAfter. On the loop, once a tick.
func (g *group) sweep() {
	n := g.loop.node
	period := int64(n.opt.ParkAfter / tickInterval)
	if g.machine == nil || period == 0 {
		return
	}
	if limit := n.opt.MemoryBytes; limit > 0 && n.stats.memoryBytes.Load() > limit/pressureDen*pressureNum {
		period = min(period, pressureTicks)
	}
	g.sweepDue += int64(g.machine.Len())
	looks := g.sweepDue / period
	g.sweepDue -= looks * period
	due := g.machine.Sweep(int(min(looks, sweepMax)))
	// While a snapshot is on its way nothing is added to the parking file, which it makes superfluous.
	if due && !g.parking && !g.snap.busy && !g.receiving {
		g.parking = true
		n.parks.queue.push(g)
	}
}

func (p *parker) run() { p.queue.run(p.retrying(p.step), p.stop, p.done) }

// step does the next piece of work. False: there is none now.
func (p *parker) step() bool {
	p.pause = false
	if name := p.unused(); name != "" {
		_ = p.node.opt.FS.Remove(name) // or else the next start does
		return true
	}
	p.mu.Lock()
	j := p.job
	ready := j != nil && j.ready
	p.mu.Unlock()
	switch {
	case j == nil:
		g, ok := p.queue.pop()
		if ok {
			p.collect(g)
		}
		return ok
	case ready:
		p.write(j)
		return true
	}
	return false
}

// collect has the loop say what is to be written. Nothing, if a snapshot has begun since the group was queued: a context that goes
// into the parking file now keeps all of the file, whose length makes the next snapshot due at once.
func (p *parker) collect(g *group) {
	j := &parkJob{group: g}
	p.set(j, false)
	g.loop.box.do(func() {
		j.machine = g.machine
		if !g.receiving && !g.snap.busy {
			j.batch = g.machine.BeginPark()
		}
		if j.batch == nil {
			g.parking = false
			p.set(nil, false)
			return
		}
		p.set(j, true)
	})
}

// write makes the batch records, and has the loop let go of the contexts.
func (p *parker) write(j *parkJob) {
	g := j.group
	err := j.batch.Write(func() (*scratchFile, error) { return p.create(g.id) })
	p.set(j, false)
	g.loop.box.do(func() {
		b := j.batch
		// A snapshot from the leader may have replaced the machine; then there is nothing to park.
		if err == nil && g.machine == j.machine {
			p.node.stats.parks.Add(uint64(g.machine.EndPark(b)))
		} else if b.fresh {
			p.remove(b.file.path)
		}
		if b.file != nil {
			b.file.release()
		}
		g.parking = false
		p.set(nil, false)
	})
	p.failed(g.id, err)
}

// set gives the job to whose turn it is now; nil ends it.
func (p *parker) set(j *parkJob, ready bool) {
	p.mu.Lock()
	if p.job = j; j != nil {
		j.ready = ready
	}
	p.mu.Unlock()
	p.queue.signal()
}

// remove has a parking file removed that nothing points to any more. "" is none.
func (p *parker) remove(name string) {
	if name == "" {
		return
	}
	p.mu.Lock()
	p.old = append(p.old, name)
	p.mu.Unlock()
	p.queue.signal()
}

// unused is the next file to remove.
func (p *parker) unused() (name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.old); n > 0 {
		name, p.old = p.old[n-1], p.old[:n-1]
	}
	return name
}

// failed counts and tells of what went wrong: the contexts stay in memory and are tried again. A sync that failed ends the
// process, as any other does: nothing that the page cache says can be believed any more.
func (p *parker) failed(shard uint32, err error) {
	if err == nil {
		return
	}
	if unsynced := (*parkSyncError)(nil); errors.As(err, &unsynced) && !walfs.UsedUp(unsynced.err) {
		p.node.fatal(err)
	}
	p.pause = true
	p.node.stats.parkErrors.Add(1)
	p.node.opt.Logf("park_failed", "shard", shard, "error", err.Error())
}

// create makes a parking file.
func (p *parker) create(shard uint32) (*scratchFile, error) {
	p.names++
	path := filepath.Join(parkDir(p.node.opt.Dir), fmt.Sprintf("%03d-%d%s", shard, p.names, parkSuffix))
	f, err := p.node.opt.FS.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating parking file %s: %w", path, err)
	}
	return &scratchFile{recordFile: newRecordFile(f, path)}, nil
}

func parkDir(dir string) string { return filepath.Join(dir, "park") }

const parkSuffix = ".park"

// clearParking removes the parking files of the life before.
func (n *Node) clearParking() error {
	disk, dir := n.opt.FS, parkDir(n.opt.Dir)
	if err := disk.MkdirAll(dir); err != nil {
		return err
	}
	names, err := disk.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := disk.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// preload sees to it that the context of cmd is in memory, so that the loop does not wait for the disk when it applies it.
// Called by who brings the request.
func (g *group) preload(cmd []byte) Code {
	if _, id := g.mayBeParked(cmd); id != nil {
		if _, code := g.lookup(id); code != CodeNotFound {
			return code
		}
	}
	return CodeOK // in memory, about to be made, or Apply says so
}

// mayBeParked returns the machine of the group and the id of cmd's context; a nil id where that is surely not on disk only, or is not
// this node's business, or where cmd has none: decode says what is wrong with it. Any goroutine.
func (g *group) mayBeParked(cmd []byte) (m *Machine, id []byte) {
	m = g.live.Load()
	if m == nil || m.parking.count.Load() == 0 || !g.leads.Load() {
		return nil, nil
	}
	return m, commandID(cmd)
}

// unread handles an error of a context that was to be read from disk.
func (n *Node) unread(g *group, err error) Code {
	if !errors.Is(err, errDropped) {
		n.fatal(fmt.Errorf("%s: %w", groupName(g.id), err))
	}
	return CodeUnavailable
}
