package httpd

import "encoding/binary"

// WebSocket frames as a server sends them (RFC 6455, 5.2): never masked, and never longer than wsFragment, so
// that the length is in the first byte or in the two that follow it.
//
//	 0               1               2               3
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|  0  | opcode|0| len or 126  | 16-bit length if 126          | payload ...
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//
// An event longer than that is a message of several fragments: the first has the opcode text, the others the
// opcode continuation, the last one FIN. Control frames may stand between them, so that a close frame never
// has to wait for more than one fragment.
const (
	wsFragment = 48 << 10
	wsHead     = 4 // bytes of a head with a 16-bit length

	wsFin          = 0x80
	wsContinuation = 0x0
	wsText         = 0x1
	wsClose        = 0x8
	wsPong         = 0xa

	wsControlMax = 125 // payload of a control frame
)

// appendFrame appends a frame of at most wsFragment bytes of payload.
func appendFrame(dst []byte, head byte, payload []byte) []byte {
	return append(appendFrameHead(dst, head, len(payload)), payload...)
}

func appendFrameHead(dst []byte, head byte, n int) []byte {
	if n <= 125 {
		return append(dst, head, byte(n))
	}
	return binary.BigEndian.AppendUint16(append(dst, head, 126), uint16(n))
}

// frameText makes a text message of what dst holds from offset at+wsHead on, in place; the wsHead bytes at at are
// room for the head. spare is scratch memory, returned as it has grown.
func frameText(dst []byte, at int, spare []byte) (out, scratch []byte) {
	n := len(dst) - at - wsHead
	switch {
	case n <= 125: // the head is two bytes shorter
		copy(dst[at+2:], dst[at+wsHead:])
		dst[at], dst[at+1] = wsFin|wsText, byte(n)
		return dst[:at+2+n], spare
	case n <= wsFragment:
		dst[at], dst[at+1] = wsFin|wsText, 126
		binary.BigEndian.PutUint16(dst[at+2:], uint16(n))
		return dst, spare
	}
	spare = append(spare[:0], dst[at+wsHead:]...)
	dst = dst[:at]
	op := byte(wsText)
	for rest := spare; len(rest) > 0; op = wsContinuation {
		part := rest[:min(len(rest), wsFragment)]
		rest = rest[len(part):]
		if len(rest) == 0 {
			op |= wsFin
		}
		dst = appendFrame(dst, op, part)
	}
	return dst, spare
}

// frameEnd is the first end of a frame at or after offset n of buf, which holds whole frames.
func frameEnd(buf []byte, n int) int {
	end := 0
	for end < n {
		size, head := int(buf[end+1]), 2
		if size == 126 {
			size, head = int(binary.BigEndian.Uint16(buf[end+2:])), wsHead
		}
		end += head + size
	}
	return end
}

// appendClose appends a close frame. Code 1005 (RFC 6455: "no status") sends none.
func appendClose(dst []byte, code uint16, reason string) []byte {
	if code == wsNoStatus {
		return append(dst, wsFin|wsClose, 0)
	}
	dst = append(dst, wsFin|wsClose, byte(2+len(reason)))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

const wsNoStatus = 1005
