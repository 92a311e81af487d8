package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"fastpaca/shard"
)

// A node whose history files are damaged asks other replicas for the messages that were in them (shard/heal.go).

// KindMessages asks a replica for messages that have been committed. The number is on the wire, like those in answer.go; what
// follows is little endian.
//
//	request:  from u64 | to u64 | most bytes u32 | context id
//	answer:   next u64 | messages from .. next-1, their JSON, separated by commas
//
// next is from, and nothing follows, where the replica has not got the first. A node of an older version answers nothing.
const KindMessages uint8 = 8

const (
	messagesAsk    = 8 + 8 + 4
	messagesAnswer = 8
	// messagesMost bounds what one answer is asked for. A single message may be longer.
	messagesMost = 4 << 20
	// messagesWait bounds the wait for an answer. It is more than callWait: a message of 8 MiB must come over a slow line, too, and
	// nobody but the healer waits, and a node that is being closed.
	messagesWait = 5 * time.Second
)

// fetchMessages is shard.Options.FetchMessages: the first replica that has something gives it.
func (n *Node) fetchMessages(m *member, id []byte, from, to uint64, most int) (messages []byte, next uint64, err error) {
	req := binary.LittleEndian.AppendUint64(nil, from)
	req = binary.LittleEndian.AppendUint64(req, to)
	req = binary.LittleEndian.AppendUint32(req, uint32(min(most, messagesMost)))
	req = append(req, id...)
	err = errors.New("no other replica of the shard is there")
	for _, peer := range n.asked(m, shard.Of(id)) {
		if n.ctx.Err() != nil {
			break // the node is being closed
		}
		answer, cerr := n.transport.Call(peer, KindMessages, req, nil, messagesWait)
		switch {
		case cerr != nil:
			err = cerr
		case len(answer) < messagesAnswer || binary.LittleEndian.Uint64(answer) <= from:
			err = fmt.Errorf("node %d has not got message %d of context %q", peer, from, id)
		default:
			return answer[messagesAnswer:], binary.LittleEndian.Uint64(answer), nil
		}
	}
	return nil, from, err
}

// serveMessages answers KindMessages.
func (n *Node) serveMessages(req, dst []byte) []byte {
	m := n.member.Load()
	if m == nil || len(req) <= messagesAsk {
		return dst
	}
	from, to := binary.LittleEndian.Uint64(req), binary.LittleEndian.Uint64(req[8:])
	most := min(int(binary.LittleEndian.Uint32(req[16:])), messagesMost)
	at := len(dst)
	dst = append(dst, make([]byte, messagesAnswer)...)
	dst, next, err := m.store.Messages(dst, req[messagesAsk:], from, to, most)
	if err != nil {
		dst, next = dst[:at+messagesAnswer], from
	}
	binary.LittleEndian.PutUint64(dst[at:], next)
	return dst
}
