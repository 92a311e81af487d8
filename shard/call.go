package shard

import "errors"

// ErrClosed answers what came too late.
var ErrClosed = errors.New("shard: the node is closed")

// call runs f on the loop and waits until it has run. In manual mode the caller is the loop.
func (l *loop) call(f func()) error {
	if l.node.opt.Manual {
		l.box.do(f)
		l.token.Lock()
		l.pass()
		l.token.Unlock()
		return nil
	}
	ran := make(chan struct{})
	l.box.do(func() { f(); close(ran) })
	select {
	case <-ran:
		return nil
	case <-l.done:
	}
	select {
	case <-ran: // in the last pass
		return nil
	default:
		return ErrClosed
	}
}
