package shard

import "sync"

// Request is one write on its way through a shard: the encoded command going in, the Result coming out.
// It is pooled; between AcquireRequest and ReleaseRequest it belongs to the caller, except while Do runs.
type Request struct {
	// Cmd is the encoded command, appended to by the encoders of this package. The request owns it and
	// keeps its capacity for the next use.
	Cmd []byte
	// Result is valid when Do returns, or when Done is called.
	Result Result
	// Done is what Submit calls. Do does not look at it.
	Done func(*Request)

	group    *group
	deadline int64 // in loop ticks
	then     func(*Request)
	done     chan struct{} // used where then is nil
}

// requestRetain is the largest command buffer that goes back to the pool. The rare big batch would
// otherwise pin its size for ever.
const requestRetain = 256 << 10

var requestPool = sync.Pool{New: func() any { return &Request{done: make(chan struct{}, 1)} }}

// AcquireRequest returns an empty request from the pool.
func AcquireRequest() *Request { return requestPool.Get().(*Request) }

// ReleaseRequest gives r back. Nothing of r may be used afterwards, r.Result.View included.
func ReleaseRequest(r *Request) {
	if cap(r.Cmd) > requestRetain {
		r.Cmd = nil
	}
	r.Cmd = r.Cmd[:0]
	r.Result = Result{}
	r.group, r.then, r.Done = nil, nil, nil
	requestPool.Put(r)
}

// finish tells whoever waits. The loop must not touch r afterwards.
func (r *Request) finish() {
	if r.then != nil {
		r.then(r)
		return
	}
	r.done <- struct{}{}
}

// fail finishes r with a code of the runtime's own.
func (r *Request) fail(c Code) {
	r.Result.Code = c
	r.finish()
}
