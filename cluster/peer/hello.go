package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// protocolVersion is raised by any change of what follows the magic. Both ends must speak the same one: nodes that are
// upgraded one by one need a release in between that speaks both.
const protocolVersion = 2

const (
	magic     = "FPCP"
	nonceSize = 32
	proofSize = 32 // HMAC-SHA256
	// stringMax bounds each string of a hello, in bytes: its length is one byte.
	stringMax = 255
)

var errHello = errors.New("peer: not a hello")

// errVersion: the other end speaks another protocol version.
type errVersion byte

func (e errVersion) Error() string {
	return fmt.Sprintf("peer: the other node speaks protocol version %d, this one %d: upgrade the older of the two", byte(e), protocolVersion)
}

// greeting is a Hello on the wire. Magic and version stay where they are in every version to come.
//
//	| magic "FPCP" | version u8 | lane u8 | id u64 LE | nonce 32 bytes |
//	| length u8, cluster id | length u8, name | length u8, incarnation | length u8, address |
type greeting struct {
	Hello
	lane  lane
	nonce [nonceSize]byte
}

func (g *greeting) append(dst []byte) []byte {
	dst = append(dst, magic...)
	dst = append(dst, protocolVersion, byte(g.lane))
	dst = binary.LittleEndian.AppendUint64(dst, g.ID)
	dst = append(dst, g.nonce[:]...)
	for _, s := range [...]string{g.ClusterID, g.Name, g.Incarnation, g.Address} {
		s = s[:min(len(s), stringMax)]
		dst = append(dst, byte(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

// checkMagic checks the first five bytes of a hello or a challenge.
func checkMagic(b []byte) error {
	if len(b) < len(magic)+1 || string(b[:len(magic)]) != magic {
		return errHello
	}
	if v := b[len(magic)]; v != protocolVersion {
		return errVersion(v)
	}
	return nil
}

func (g *greeting) decode(b []byte) error {
	if err := checkMagic(b); err != nil {
		return err
	}
	d := decoder{b: b[len(magic)+1:]}
	g.lane = lane(d.byte())
	if id := d.bytes(8); id != nil {
		g.ID = binary.LittleEndian.Uint64(id)
	}
	copy(g.nonce[:], d.bytes(nonceSize))
	for _, s := range [...]*string{&g.ClusterID, &g.Name, &g.Incarnation, &g.Address} {
		*s = string(d.bytes(uint64(d.byte())))
	}
	if d.bad || len(d.b) > 0 || g.lane == 0 || g.lane >= laneLimit {
		return errHello
	}
	return nil
}
