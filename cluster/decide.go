package cluster

import (
	"errors"
	"fmt"
	"time"

	"fastpaca/cluster/peer"
	"fastpaca/cluster/place"
	"fastpaca/shard"
)

// decideWait bounds how long a decision looks for the leader of the placement group: an election and some.
const decideWait = 4 * time.Second

// errNotPlacementLeader: nothing was decided; somebody else leads the placement group.
var errNotPlacementLeader = errors.New("this node does not lead the placement group")

// The first byte of an answer of the placement group's leader.
const (
	placementDone      byte = 0 // the kind's answer follows
	placementNotLeader byte = 1
)

// toPlacement has the leader of the placement group serve a request of that kind, here or there. Whatever is asked this
// way may be asked twice, since all commands of the map compare before they set.
func (n *Node) toPlacement(kind uint8, req []byte) ([]byte, error) {
	m := n.member.Load()
	if m == nil {
		return nil, ErrUnavailable
	}
	for deadline := n.opt.Now().Add(decideWait); ; {
		changed := m.store.LeaderChanged()
		switch leader, _ := m.store.Leader(shard.PlacementGroup); leader {
		case 0:
		case m.id:
			if answer := n.servePlacement(kind, req, nil); answer[0] == placementDone {
				return answer[1:], nil
			}
		default:
			answer, err := n.transport.Call(leader, kind, req, nil, callWait)
			if err == nil && len(answer) > 0 && answer[0] == placementDone {
				return answer[1:], nil
			}
			if errors.Is(err, peer.ErrTooLarge) {
				return nil, err
			}
		}
		if !n.opt.Now().Before(deadline) || n.ctx.Err() != nil {
			return nil, ErrUnavailable
		}
		n.pause(changed, retryPause)
	}
}

// pause waits for changed, and for d at most.
func (n *Node) pause(changed <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-n.ctx.Done():
	}
}

// servePlacement serves what only the leader of the placement group can.
func (n *Node) servePlacement(kind uint8, req, dst []byte) []byte {
	start := len(dst)
	m := n.member.Load()
	if m == nil {
		return append(dst, placementNotLeader)
	}
	var err error
	dst = append(dst, placementDone)
	switch kind {
	case KindJoin:
		dst, err = n.serveJoin(m, req, dst)
	case KindDrain:
		err = n.drain(m, req)
		dst = appendDecision(dst, err)
	default:
		var cmd place.Command
		if cmd, err = place.Decode(req); err == nil {
			err = n.decideHere(m, cmd)
		}
		dst = appendDecision(dst, err)
	}
	if errors.Is(err, errNotPlacementLeader) {
		return append(dst[:start], placementNotLeader)
	}
	return dst
}

// refusedError is the placement group's no, with its reason for people.
type refusedError struct{ reason place.Reason }

func (e *refusedError) Error() string { return e.reason.String() }

// Is makes a refused drain of the last active node an ErrTooFew.
func (e *refusedError) Is(target error) bool {
	return target == ErrTooFew && e.reason == place.LastActive
}

// errMoved: the map is not what the command was made for. Look again.
var errMoved = errors.New("the map has changed in the meantime")

// decideHere proposes a command as the leader of the placement group and waits until it is applied here. Errors:
// errNotPlacementLeader, errMoved, *refusedError, ErrUnavailable (outcome unknown: commands may be repeated).
func (n *Node) decideHere(m *member, cmd place.Command) error {
	r := shard.AcquireRequest()
	defer shard.ReleaseRequest(r)
	var err error
	if r.Cmd, err = place.Append(r.Cmd[:0], cmd); err != nil {
		return err
	}
	pm := m.machine.picture().Clone()
	m.store.Do(shard.PlacementGroup, r)
	switch code := r.Result.Code; code {
	case shard.CodeOK:
		return nil
	case shard.CodeNotLeader:
		return errNotPlacementLeader
	case shard.CodeConflict:
		if out, err := pm.Apply(r.Cmd); err == nil && out.Result == place.Refused {
			return &refusedError{out.Reason}
		}
		return errMoved
	default:
		return fmt.Errorf("%w (%s)", ErrUnavailable, code)
	}
}

// decide carries a command to the placement group's leader. Errors as of decideHere but for errNotPlacementLeader.
func (n *Node) decide(cmd place.Command) error {
	req, err := place.Append(nil, cmd)
	if err != nil {
		return err
	}
	answer, err := n.toPlacement(KindPropose, req)
	if err != nil {
		return err
	}
	return decodeDecision(answer)
}

// An answer to KindPropose and KindDrain:
//
//	| outcome u8 | reason u8 |      outcome 0 done, 1 refused (reason: place.Reason), 2 moved, 3 unavailable, 4 no such node
const (
	decisionDone = iota
	decisionRefused
	decisionMoved
	decisionUnavailable
	decisionNoSuchNode
)

func appendDecision(dst []byte, err error) []byte {
	var no *refusedError
	switch {
	case err == nil:
		return append(dst, decisionDone, 0)
	case errors.As(err, &no):
		return append(dst, decisionRefused, byte(no.reason))
	case errors.Is(err, errMoved):
		return append(dst, decisionMoved, 0)
	case errors.Is(err, ErrNoSuchNode):
		return append(dst, decisionNoSuchNode, 0)
	}
	return append(dst, decisionUnavailable, 0)
}

func decodeDecision(b []byte) error {
	if len(b) != 2 {
		return ErrUnavailable
	}
	switch b[0] {
	case decisionDone:
		return nil
	case decisionRefused:
		if b[1] > byte(place.BadSet) {
			return ErrUnavailable
		}
		return &refusedError{place.Reason(b[1])}
	case decisionMoved:
		return errMoved
	case decisionNoSuchNode:
		return ErrNoSuchNode
	}
	return ErrUnavailable
}

// Drain moves every replica off the node of that name, and then removes it from the cluster. It returns when the
// decision is durable; the move takes its time. Errors: ErrNoSuchNode, ErrTooFew, ErrUnavailable,
// anything else: refused, and why.
func (n *Node) Drain(name string) error { return n.setDraining(name, true) }

// Undrain takes a drain back, as far as the node is not removed yet. Errors as Drain's.
func (n *Node) Undrain(name string) error { return n.setDraining(name, false) }

func (n *Node) setDraining(name string, on bool) error {
	req := []byte{0}
	if on {
		req[0] = 1
	}
	answer, err := n.toPlacement(KindDrain, append(req, name...))
	if err != nil {
		return err
	}
	return decodeDecision(answer)
}

// drain is the leader's half of Drain and Undrain: its map is the newest there is.
func (n *Node) drain(m *member, req []byte) error {
	if len(req) < 2 {
		return ErrNoSuchNode
	}
	x := m.machine.picture().ByName(string(req[1:]))
	switch {
	case x == nil:
		return ErrNoSuchNode
	case req[0] == 1:
		return n.decideHere(m, &place.Drain{ID: x.ID})
	}
	return n.decideHere(m, &place.Undrain{ID: x.ID})
}
