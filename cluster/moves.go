package cluster

import "sync/atomic"

// Moves counts what the node did to keep the cluster in shape, since it started.
type Moves struct {
	Decided   uint64 // changes of the map that this node asked for as coordinator, its own address included
	Steps     uint64 // changes of the membership of groups that it led
	Transfers uint64 // leaderships that it began to hand over, for evenness or because it stops
	Forgotten uint64 // groups that it had left and dropped
}

type moves struct{ decided, steps, transfers, forgotten atomic.Uint64 }

// Moves fills dst.
func (n *Node) Moves(dst *Moves) {
	*dst = Moves{n.moves.decided.Load(), n.moves.steps.Load(), n.moves.transfers.Load(), n.moves.forgotten.Load()}
}
