package peer

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// askMax bounds the question and the answer of an exchange, in bytes: a genesis or a placement map of some hundred nodes.
	askMax = 1 << 20
	// askTimeout bounds an exchange after the handshake, on both sides.
	askTimeout = 5 * time.Second
)

var errAsk = errors.New("peer: not the frame that an exchange expects")

// Ask makes one exchange with whoever listens at addr and proves the secret: its Hello, and its answer. It works between
// nodes that belong to no cluster or to different ones. ErrSelf: it is this node. Bounded by ctx and some seconds. Only
// where the other node proved the secret is its Hello not empty.
func (t *Transport) Ask(ctx context.Context, addr string, req []byte) (Hello, []byte, error) {
	if len(req) > askMax-1 {
		return Hello{}, nil, ErrTooLarge
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stopped := context.AfterFunc(t.ctx, cancel)
	defer stopped()
	c, h, err := t.connect(ctx, addr, laneAsk, nil)
	if err != nil {
		switch {
		case errors.Is(err, refusedError(refusedSelf)):
			err = ErrSelf
		case t.ctx.Err() != nil:
			err = ErrClosed
		}
		return h, nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(appendFrame(nil, kindAsk, req)); err != nil {
		return h, nil, err
	}
	kind, answer, err := readFrame(c, nil, askMax)
	if err == nil && kind != kindTold {
		err = errAsk
	}
	if err != nil {
		return h, nil, unexpected(err)
	}
	return h, answer, nil
}

// serveAsk answers one exchange.
func (t *Transport) serveAsk(c net.Conn, h Hello) {
	t.mu.Lock()
	ok := t.asking < exchangesMax
	if ok {
		t.asking++
	}
	t.mu.Unlock()
	if !ok {
		t.refused(c, h, ReasonBusy, refusedError(refusedBusy))
		return
	}
	defer func() {
		t.mu.Lock()
		t.asking--
		t.mu.Unlock()
	}()
	if c.SetDeadline(t.cfg.Now().Add(askTimeout)) != nil {
		return
	}
	kind, req, err := readFrame(c, nil, askMax)
	if err == nil && kind != kindAsk {
		err = errAsk
	}
	if err != nil {
		t.refused(c, h, ReasonProtocol, err)
		return
	}
	answer := t.cfg.Exchange(h, req)
	if len(answer) > askMax-1 {
		t.cfg.Logf("peer_answer_too_large", "bytes", len(answer), "limit", askMax-1)
		return
	}
	t.counters.exchanges.Add(1)
	_, _ = c.Write(appendFrame(nil, kindTold, answer))
}
