package shard

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"fastpaca/shard/history"
	"fastpaca/shard/jsonscan"
)

// healer fetches from other replicas what a damaged or lost history file of this node should hold, one shard at a time. A
// committed message is the same everywhere for ever, so that it does not matter which replica gives it, nor whether it lies
// in that one's memory or its files. Without others to ask the damage stays what it is: an error that names the file.
//
// Until a shard is whole again whatever is missing answers with an error, its merges stand still, and this node does not
// send its history to anybody. Nothing else of the shard is concerned.
//
// A heal lasts as long as the others take to answer, and holds the shard's files against writers all the while. So a group
// is claimed for it (group.healing), in turn with everybody else who would wait for the files: the spiller, which serves
// all shards, leaves the group alone, no snapshot is received, and Forget comes later; and a heal waits for them in the
// same way. That the machine stays the same from the claim on is needed for more: what has left the memory of a machine that
// takes its place is not what this one would ask for.
type healer struct {
	node *Node
	jobs worklist[hurt]
	background

	mu     sync.Mutex
	queued map[uint32]bool // shards in jobs, or being healed
}

// hurt is a shard whose history is damaged; file is nil where the store knows already.
type hurt struct {
	shard uint32
	file  *history.DamagedError
	tries int
}

// healPause is how long a heal that failed waits for its next try, twice as long each time and healPauseMax at most: the
// others may be away for a while. Other shards are healed meanwhile.
const (
	healPause    = time.Second
	healPauseMax = time.Minute
)

// healPage is how much is asked of another replica at a time, in bytes of messages.
const healPage = 1 << 20

func newHealer(n *Node) *healer {
	h := &healer{node: n, queued: map[uint32]bool{}}
	h.background.init(n)
	h.jobs.init()
	return h
}

func (h *healer) run() { h.jobs.run(h.step, h.stop, h.done) }

// damaged notes damage. It does not block; any goroutine.
func (h *healer) damaged(shard uint32, file *history.DamagedError) {
	h.mu.Lock()
	known := h.queued[shard]
	h.queued[shard] = true
	h.mu.Unlock()
	if !known {
		h.jobs.push(hurt{shard: shard, file: file})
	}
}

// step heals the shard that waits longest. False: there is none, or with Manual, none that may be healed now.
func (h *healer) step() bool {
	job, ok := h.jobs.pop()
	if !ok {
		return false
	}
	err := h.heal(job)
	switch {
	case err == nil, errors.Is(err, errAlone), errors.Is(err, history.ErrClosed):
		h.forget(job.shard) // until it is met again
	case history.SyncFailed(err):
		h.node.fatal(err)
	case errors.Is(err, ErrBusy):
		return h.later(job, healPause)
	default:
		// Another file of the shard may have been found damaged by this. job's own is out of use by now.
		errors.As(err, &job.file)
		h.node.stats.historyErrors.Add(1)
		h.node.opt.Logf("history_not_healed", "shard", job.shard, "error", err.Error())
		pause := min(healPause<<min(job.tries, 10), healPauseMax)
		job.tries++
		return h.later(job, pause)
	}
	return true
}

// later puts the job back on the list after a pause; with Manual at once, as there is no clock to go by. The timer needs nobody to
// stop it: after the end of the node nobody looks at the list.
func (h *healer) later(job hurt, pause time.Duration) bool {
	if h.node.opt.Manual {
		h.jobs.push(job)
		return false
	}
	time.AfterFunc(pause, func() { h.jobs.push(job) })
	return true
}

func (h *healer) forget(shard uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.queued, shard)
}

// errAlone: there is nobody to ask.
var errAlone = errors.New("shard: no other replica")

// heal makes the history of a shard whole.
func (h *healer) heal(job hurt) error {
	n := h.node
	g := n.groups[job.shard]
	m, err := h.claim(g)
	if err != nil {
		return err
	}
	defer func() { _ = g.loop.call(func() { g.healing = false }) }()
	if job.file != nil && n.history.Condemn(job.shard, job.file) {
		n.opt.Logf("history_damaged", "shard", job.shard, "file", job.file.Path, "offset", job.file.Offset, "error", job.file.Reason)
	}
	if n.history.Damage(job.shard) == nil {
		return nil // a merge or an earlier heal has replaced the file
	}
	runs, err := m.evicted()
	if err != nil {
		return err
	}
	w, err := n.history.Heal(job.shard)
	if err != nil {
		return err
	}
	fetched := 0
	for _, r := range runs {
		got, err := h.fill(w, job.shard, r)
		if err != nil {
			w.Abort()
			return err
		}
		fetched += got
	}
	if err := w.Commit(); err != nil {
		return err
	}
	n.stats.healed.Add(1)
	n.opt.Logf("history_healed", "shard", job.shard, "messages", fetched)
	return nil
}

// claim begins a heal of the group, and says for which machine. ErrBusy: its files are in somebody else's hands.
func (h *healer) claim(g *group) (m *Machine, err error) {
	n := h.node
	closed := g.loop.call(func() {
		switch {
		case n.opt.FetchMessages == nil || g.raft.SoleVoter():
			err = errAlone
		case g.receiving || n.spills.holds(g):
			err = ErrBusy
		default:
			g.healing, m = true, g.machine
		}
	})
	if closed != nil {
		return nil, errAlone // the node is being closed
	}
	return m, err
}

// checkHistory is about damage that the start has met: a file whose index cannot be read, or one that is missing. Where
// another replica has all of it, the node starts and asks there; a node that is alone says which file it is and stops.
func (n *Node) checkHistory(r *recovered) error {
	err := n.history.Damage(r.id)
	if err == nil {
		err = n.checkEvicted(r)
	}
	switch {
	case err == nil:
		return nil
	case n.opt.FetchMessages == nil || r.solo:
		return fmt.Errorf("shard %d: %w", r.id, err)
	}
	n.opt.Logf("history_damaged", "shard", r.id, "error", err.Error())
	n.history.Lost(r.id, err)
	n.heals.damaged(r.id, nil)
	return nil
}

// evictedRun is messages of a context that have left memory and are in no archive.
type evictedRun struct {
	id       string
	from, to uint64
}

// evicted lists them for all contexts, in the order of ids. Any goroutine: what leaves memory meanwhile goes to a whole
// file.
func (m *Machine) evicted() (runs []evictedRun, err error) {
	r := acquireRecords()
	defer releaseRecords(r)
	m.contexts.each(func(ordinal uint32, c *Context) bool {
		if c == nil {
			if c, err = m.fetchBy(r, ordinal, false); err != nil {
				return false
			}
		}
		var v View
		c.View(&v)
		if v.First > v.Archived+1 {
			runs = append(runs, evictedRun{c.id, v.Archived + 1, v.First - 1})
		}
		return true
	})
	slices.SortFunc(runs, func(a, b evictedRun) int { return cmp.Compare(a.id, b.id) })
	return runs, err
}

// fill writes what of r is not here, and returns how many messages that were.
func (h *healer) fill(w *history.Writer, shard uint32, r evictedRun) (fetched int, err error) {
	id := []byte(r.id)
	for seq := r.from; seq <= r.to; {
		select {
		case <-h.stop:
			return fetched, history.ErrClosed
		default:
		}
		last, err := h.node.history.Covered(shard, r.id, seq)
		if err != nil {
			return fetched, err
		}
		if last >= seq {
			seq = last + 1
			continue
		}
		page, next, err := h.node.opt.FetchMessages(id, seq, r.to, healPage)
		if err == nil && next <= seq {
			err = fmt.Errorf("no other replica has message %d of context %q", seq, r.id)
		}
		if err != nil {
			return fetched, err
		}
		if err := writePage(w, id, seq, next, r.to, page); err != nil {
			return fetched, err
		}
		fetched += int(next - seq)
		seq = next
	}
	return fetched, nil
}

// writePage writes messages from .. next-1 of a context, which another replica gave when it was asked for from .. to. What it
// gives has come through a frame with a checksum; this is about a replica that is wrong.
func writePage(w *history.Writer, id []byte, from, next, to uint64, page []byte) error {
	if next > to+1 {
		return fmt.Errorf("another replica gave messages up to %d of context %q, which it was not asked for", next-1, id)
	}
	at := 0
	for seq := from; seq < next; seq++ {
		end, err := jsonscan.Value(page, at)
		if err == nil && isMessage(page[at:end], seq) && (end == len(page)) == (seq == next-1) && (end == len(page) || page[end] == ',') {
			err = w.Message(id, seq, page[at:end])
			at = end + 1
		} else {
			err = fmt.Errorf("another replica gave something else for message %d of context %q", seq, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isMessage says whether json is a stored message with this seq.
func isMessage(json []byte, seq uint64) bool {
	var room [32]byte
	head := append(strconv.AppendUint(append(room[:0], storedSeq...), seq, 10), ',')
	_, _, ok := StoredFacts(json)
	return ok && bytes.HasPrefix(json, head)
}

// Messages appends the messages from .. to of a context to dst, as this node's replica has them in memory or in its history
// files, in the form of AppendHistory. What was read before an error is good, and the error is for whoever asks for the rest. It is
// the other end of Options.FetchMessages.
func (n *Node) Messages(dst []byte, id []byte, from, to uint64, maxBytes int) (_ []byte, next uint64, err error) {
	c, code := n.Replica(id)
	if code != CodeOK {
		return dst, from, fmt.Errorf("context %q: %v", id, code)
	}
	var v View
	c.View(&v)
	if from < v.First {
		dst, next, err = n.AppendHistory(dst, id, from, min(to, v.First-1), maxBytes)
		if next > from {
			err = nil
		}
		return dst, next, err
	}
	began := len(dst)
	for next = from; next <= min(to, v.Last); next++ {
		json, _, _ := v.Message(next)
		if len(dst)-began+len(json) > maxBytes && len(dst) > began {
			break
		}
		if len(dst) > began {
			dst = append(dst, ',')
		}
		dst = append(dst, json...)
	}
	return dst, next, nil
}
