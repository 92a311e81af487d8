package httpd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"fastpaca/shard"
)

// A node without a replica of a context carries its streams from one that has it. The request (the open of
// Router.Remote), and then frames, from the replica to the relaying node only; little endian, golden files in testdata.
//
//	open     0         1       2                 10
//	        +---------+-------+-----------------+---------------
//	        | version | flags | cursor uint64   | context id ...       flags: 1 messages are included, 2 resume after cursor
//	        +---------+-------+-----------------+---------------
//
//	frame    0               4      5       6                14
//	        +---------------+------+-------+----------------+-----------
//	        | length uint32 | kind | flags | version uint64 | event ...  length: of the event
//	        +---------------+------+-------+----------------+-----------
//
//	hello  first, once: flags is the shard.Code of the open; with CodeOK version is where the stream begins
//	event  flags: 1 the last message of its version; version: with it, everything up to there is delivered
//	ping   the replica is alive
//
// The end of the connection is the end of what this node has to say: the relaying one goes on elsewhere.
const (
	relayVersion   = 1
	relayOpenHead  = 10
	relayFrameHead = 14
	// relayEventMax bounds an event: a message is smaller than a request body, of 16 MiB at most.
	relayEventMax = 20 << 20

	relayInclude = 1
	relayResume  = 2
	relayLast    = 1
)

type relayKind uint8

const (
	relayHello relayKind = iota
	relayEvent
	relayPing
)

var errRelay = errors.New("the other end of a relayed stream speaks another version")

func appendRelayOpen(dst, id []byte, p *streamParams) []byte {
	flags := byte(0)
	if p.include {
		flags |= relayInclude
	}
	if p.resume {
		flags |= relayResume
	}
	dst = append(dst, relayVersion, flags)
	return append(binary.LittleEndian.AppendUint64(dst, p.version), id...)
}

// parseRelayOpen returns a part of open as id.
func parseRelayOpen(open []byte) (id []byte, p streamParams, err error) {
	if len(open) < relayOpenHead || open[0] != relayVersion || open[1] > relayInclude|relayResume {
		return nil, p, errRelay
	}
	p = streamParams{include: open[1]&relayInclude != 0, resume: open[1]&relayResume != 0, version: binary.LittleEndian.Uint64(open[2:])}
	if id = open[relayOpenHead:]; len(id) == 0 || len(id) > maxID || p.version >= 1<<48 {
		return nil, p, errRelay
	}
	return id, p, nil
}

// appendRelayFrame appends a frame without its event, whose length n it names.
func appendRelayFrame(dst []byte, n int, kind relayKind, flags byte, version uint64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	dst = append(dst, byte(kind), flags)
	return binary.LittleEndian.AppendUint64(dst, version)
}

// relayFrame is the head of a frame.
type relayFrame struct {
	length  int
	kind    relayKind
	flags   byte
	version uint64
}

func parseRelayFrame(head []byte) (relayFrame, error) {
	f := relayFrame{
		length: int(binary.LittleEndian.Uint32(head)), kind: relayKind(head[4]), flags: head[5],
		version: binary.LittleEndian.Uint64(head[6:]),
	}
	if f.length > relayEventMax || f.kind > relayPing || f.version >= 1<<48 || f.kind != relayEvent && f.length > 0 {
		return f, fmt.Errorf("%w: a frame of kind %d, %d bytes, version %d", errRelay, f.kind, f.length, f.version)
	}
	return f, nil
}

// readRelayHello reads the first frame.
func readRelayHello(r io.Reader) (code shard.Code, version uint64, err error) {
	var head [relayFrameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	f, err := parseRelayFrame(head[:])
	if err != nil {
		return 0, 0, err
	}
	if f.kind != relayHello {
		return 0, 0, fmt.Errorf("%w: it begins with a frame of kind %d", errRelay, f.kind)
	}
	return shard.Code(f.flags), f.version, nil
}
