package peer

import (
	"net"

	"fastpaca/raft"
)

type outgoing struct {
	queue   []raft.Message
	running int
}
type snapshots struct{}
type pace struct{}

func (p *pace) init(int64)             {}
func (s *snapshots) report(*Transport) {}
func (p *peer) dropSnapshots()         {}

// SendSnapshot x
func (t *Transport) SendSnapshot(m raft.Message) {
	t.view.Load().node.ReportSnapshot(m.Group, m.To, false)
}
func (t *Transport) receiveSnapshot(c net.Conn, h Hello) {}
