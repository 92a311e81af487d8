package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// header is a segment's header, decoded.
type header struct {
	version       uint32
	groups        uint32
	id, salt      uint64
	prevSalt      uint64
	prevEnd       int64
	segmentBytes  int64
	checkpointOff int64
	preambleEnd   int64
}

func (h *header) life() life { return makeLife(h.version, h.id, h.salt) }

func (h *header) encode(b []byte) {
	b = b[:headerBytes]
	clear(b)
	le := binary.LittleEndian
	copy(b, formatMagic)
	le.PutUint32(b[8:], h.version)
	le.PutUint32(b[12:], h.groups)
	le.PutUint64(b[16:], h.id)
	le.PutUint64(b[24:], h.salt)
	le.PutUint64(b[32:], h.prevSalt)
	le.PutUint64(b[40:], uint64(h.prevEnd))
	le.PutUint64(b[48:], uint64(h.segmentBytes))
	le.PutUint64(b[56:], uint64(h.checkpointOff))
	le.PutUint64(b[64:], uint64(h.preambleEnd))
	le.PutUint32(b[headerCRCOffset:], crc32.Checksum(b[:headerCRCOffset], castagnoli))
}

// decode fills h from b and returns what is wrong with it, or "".
func (h *header) decode(b []byte) (reason string) {
	if len(b) < headerBytes {
		return "the file is shorter than a segment header"
	}
	le := binary.LittleEndian
	if string(b[:8]) != formatMagic {
		return "this is not a segment of the log (bad magic)"
	}
	version := le.Uint32(b[8:])
	if version < 1 || version > formatVersion {
		return fmt.Sprintf("format version is %d, this program reads 1 to %d", version, formatVersion)
	}
	if le.Uint32(b[headerCRCOffset:]) != crc32.Checksum(b[:headerCRCOffset], castagnoli) {
		return "the checksum of the segment header is wrong"
	}
	u63 := func(off int) int64 { return int64(le.Uint64(b[off:]) &^ (1 << 63)) }
	*h = header{
		version: version, groups: le.Uint32(b[12:]), id: le.Uint64(b[16:]), salt: le.Uint64(b[24:]), prevSalt: le.Uint64(b[32:]),
		prevEnd: u63(40), segmentBytes: u63(48), checkpointOff: u63(56), preambleEnd: u63(64),
	}
	switch {
	case h.groups < 1 || h.groups > MaxGroups,
		h.segmentBytes > maxSegmentBytes,
		h.prevEnd > maxSegmentBytes || h.prevEnd%alignBytes != 0,
		h.checkpointOff < headerBytes || h.checkpointOff%alignBytes != 0,
		h.preambleEnd < h.checkpointOff || h.preambleEnd > h.segmentBytes || h.preambleEnd%blockBytes != 0:
		return "the segment header makes no sense"
	}
	return ""
}
