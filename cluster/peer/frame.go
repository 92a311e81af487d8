package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// After the HTTP upgrade everything is frames, both ways, on every lane but a stream once it is open:
//
//	 0        4        8      9
//	| length | crc32c | kind | body ... |
//
//	length   u32 LE: bytes of kind and body, 1 to maxFrame
//	crc32c   u32 LE: over length, kind and body
//	kind     see the constants; a kind that does not belong on the lane closes the connection, as does a bad checksum
//
// A new kind or another body is a new protocolVersion.
const frameHeader = 9

const (
	// maxFrame bounds kind and body of a frame. The largest entry that any configuration allows must fit: half a segment
	// of 1 GiB. The receiver's memory grows as bytes arrive, not by what a length claims.
	maxFrame = 513 << 20
	// maxHandshakeFrame bounds what is read of somebody who has proved nothing: a hello has four strings.
	maxHandshakeFrame = 2 << 10
)

// Kinds of frames. Never reuse a number.
const (
	kindHello     = 1  // handshake.go
	kindChallenge = 2  // "
	kindProof     = 3  // "
	kindWelcome   = 4  // "
	kindMessages  = 10 // codec.go: raft messages
	kindPing      = 11 // empty
	kindCall      = 13 // call.go
	kindAnswer    = 14 // "
	kindOffer     = 20 // snapshot_send.go
	kindAccept    = 21 // "
	kindChunk     = 22 // "
	kindAck       = 23 // "
	kindEnd       = 24 // "
	kindDone      = 25 // "
	kindOpen      = 30 // stream.go
	kindAsk       = 40 // ask.go
	kindTold      = 41 // "
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errFrameLength   = errors.New("peer: frame length out of bounds")
	errFrameChecksum = errors.New("peer: frame checksum does not match: damaged on the way, or not this protocol")
)

// beginFrame appends the header of a frame whose body follows; endFrame(dst, at) with at = len(dst) before it completes it.
func beginFrame(dst []byte, kind byte) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, kind)
}

// endFrame fills in length and checksum of the frame that began at offset at.
func endFrame(dst []byte, at int) []byte {
	f := dst[at:]
	binary.LittleEndian.PutUint32(f, uint32(len(f)-frameHeader+1))
	binary.LittleEndian.PutUint32(f[4:], frameSum(f))
	return dst
}

// appendFrame appends a whole frame.
func appendFrame(dst []byte, kind byte, body []byte) []byte {
	at := len(dst)
	return endFrame(append(beginFrame(dst, kind), body...), at)
}

// frameSum is the checksum of a whole frame.
func frameSum(f []byte) uint32 {
	return crc32.Update(crc32.Checksum(f[:4], castagnoli), castagnoli, f[8:])
}

// parseFrame looks for a whole frame at the start of b, of limit bytes of kind and body at most. n is the frame's
// length with its header, 0 if b does not hold all of it yet; need is then how many bytes it takes to know more.
func parseFrame(b []byte, limit int) (kind byte, body []byte, n, need int, err error) {
	if len(b) < frameHeader {
		return 0, nil, 0, frameHeader, nil
	}
	length := binary.LittleEndian.Uint32(b)
	if length == 0 || length > uint32(limit) {
		return 0, nil, 0, 0, fmt.Errorf("%w: %d, limit %d", errFrameLength, length, limit)
	}
	total := int(length) + frameHeader - 1
	if len(b) < total {
		return 0, nil, 0, total, nil
	}
	f := b[:total:total]
	if frameSum(f) != binary.LittleEndian.Uint32(f[4:]) {
		return 0, nil, 0, 0, errFrameChecksum
	}
	return f[8], f[frameHeader:], total, 0, nil
}

// readFrame reads exactly one frame from r. It is for the slow paths, where somebody else may read from r next. mem, if
// not nil, is memory for it, grown where it is too small: body is then valid until the next call.
func readFrame(r io.Reader, mem *[]byte, limit int) (kind byte, body []byte, err error) {
	var own []byte
	if mem == nil {
		mem = &own
	}
	if cap(*mem) < frameHeader {
		*mem = make([]byte, 512)
	}
	b := (*mem)[:frameHeader]
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, nil, err
	}
	kind, body, n, need, err := parseFrame(b, limit)
	for err == nil && n == 0 {
		// As much again as has arrived, and not what the length says.
		have := len(b)
		more := min(need, max(2*have, 64<<10))
		if cap(*mem) < more {
			*mem = append(make([]byte, 0, more), b...)
		}
		b = (*mem)[:more]
		if _, err := io.ReadFull(r, b[have:]); err != nil {
			return 0, nil, unexpected(err)
		}
		kind, body, n, need, err = parseFrame(b, limit)
	}
	return kind, body, err
}

// unexpected turns the end of a connection within something into what it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
