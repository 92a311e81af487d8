package peer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The handshake, one frame each:
//
//	dialer                                       acceptor
//	hello      greeting with a fresh nonce  -->
//	                                        <--  challenge  | magic | version u8 | nonce |
//	proof      HMAC(secret, "dialer", hello, challenge)  -->
//	                                        <--  welcome    | verdict u8 | greeting | HMAC(secret, "acceptor", hello, challenge,
//	                                                          verdict and greeting) |
//
// The dialer proves first: whoever does not know the secret has got a nonce and nothing else when the connection closes,
// not even whether this node belongs to a cluster. The acceptor's proof covers its verdict, so that nobody in between can
// make a node believe that it was refused by its own cluster. Both nonces are in both proofs: neither can be replayed. The labels
// keep a proof of one direction from being used in the other.
//
// A secret that can be guessed can be tried offline by whoever sees a handshake: use a random one of 16 bytes or more.

// verdict is what an acceptor makes of a dialer that has proved the secret. The numbers are on the wire.
type verdict uint8

const (
	welcome        verdict = 0
	refusedSelf    verdict = 1 // the dialer is this very node
	refusedCluster verdict = 2 // it belongs to another cluster
	refusedEarly   verdict = 3 // this node has no cluster yet, and the lane needs one
	refusedUnknown verdict = 4 // its id or incarnation is not among the nodes of the cluster, as far as this node knows
	refusedBusy    verdict = 5 // as many of these connections as allowed
)

// refusedError is a verdict as the dialer gets it.
type refusedError verdict

func (e refusedError) Error() string {
	switch verdict(e) {
	case refusedSelf:
		return "peer: refused: that is this node itself"
	case refusedCluster:
		return "peer: refused: the other node belongs to another cluster"
	case refusedEarly:
		return "peer: refused: the other node belongs to no cluster yet"
	case refusedUnknown:
		return "peer: refused: the other node does not know this node's id or incarnation (yet)"
	case refusedBusy:
		return "peer: refused: the other node has as many of these connections as it takes"
	}
	return fmt.Sprintf("peer: refused with code %d", byte(e))
}

var (
	errSecret    = errors.New("peer: the other node does not know the secret (FASTPACA_CLUSTER_SECRET)")
	errNoWelcome = errors.New("peer: the other node closed the connection when it got the proof: the secrets differ (FASTPACA_CLUSTER_SECRET), or it is shutting down")
	errHandshake = errors.New("peer: not the frame that the handshake expects")
)

// party is one end of a handshake.
type party struct {
	self    Hello
	secret  []byte
	entropy io.Reader
}

// proof computes the HMAC over the label and the parts, each preceded by its length.
func (p *party) proof(label string, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, p.secret)
	var n [4]byte
	for _, part := range append([][]byte{[]byte(label)}, parts...) {
		binary.LittleEndian.PutUint32(n[:], uint32(len(part)))
		mac.Write(n[:])
		mac.Write(part)
	}
	return mac.Sum(nil)
}

func (p *party) greeting(l lane) (*greeting, error) {
	g := &greeting{Hello: p.self, lane: l}
	if _, err := io.ReadFull(p.entropy, g.nonce[:]); err != nil {
		return nil, fmt.Errorf("peer: no random numbers for a nonce: %w", err)
	}
	return g, nil
}

// expect reads a frame of the handshake.
func expect(c io.Reader, want byte) ([]byte, error) {
	kind, body, err := readFrame(c, nil, maxHandshakeFrame)
	if err != nil {
		return nil, err
	}
	if kind != want {
		return nil, errHandshake
	}
	return body, nil
}

// dial does the dialer's part on c for a connection of lane l. The acceptor's Hello is returned whenever it proved the
// secret, also with a refusedError.
func (p *party) dial(c io.ReadWriter, l lane) (Hello, error) {
	g, err := p.greeting(l)
	if err != nil {
		return Hello{}, err
	}
	hello := g.append(nil)
	if _, err := c.Write(appendFrame(nil, kindHello, hello)); err != nil {
		return Hello{}, err
	}
	challenge, err := expect(c, kindChallenge)
	if err != nil {
		return Hello{}, err
	}
	if err := checkMagic(challenge); err != nil {
		return Hello{}, err
	}
	if _, err := c.Write(appendFrame(nil, kindProof, p.proof("dialer", hello, challenge))); err != nil {
		return Hello{}, err
	}
	body, err := expect(c, kindWelcome)
	if err == io.EOF {
		return Hello{}, errNoWelcome
	}
	if err != nil {
		return Hello{}, err
	}
	if len(body) < 1+proofSize {
		return Hello{}, errHandshake
	}
	said, mac := body[:len(body)-proofSize], body[len(body)-proofSize:]
	if !hmac.Equal(mac, p.proof("acceptor", hello, challenge, said)) {
		return Hello{}, errSecret
	}
	var other greeting
	if err := other.decode(said[1:]); err != nil {
		return Hello{}, err
	}
	if v := verdict(said[0]); v != welcome {
		return other.Hello, refusedError(v)
	}
	return other.Hello, nil
}

// accept does the acceptor's part on c. judge decides about a dialer that proved the secret; its verdict is returned as a
// refusedError.
func (p *party) accept(c io.ReadWriter, judge func(Hello, lane) verdict) (Hello, lane, error) {
	hello, err := expect(c, kindHello)
	if err != nil {
		return Hello{}, 0, err
	}
	var g greeting
	derr := g.decode(hello)
	var old errVersion
	if derr != nil && !errors.As(derr, &old) {
		return Hello{}, 0, derr
	}
	own, err := p.greeting(g.lane)
	if err != nil {
		return Hello{}, 0, err
	}
	challenge := append(append([]byte(magic), protocolVersion), own.nonce[:]...)
	if _, err := c.Write(appendFrame(nil, kindChallenge, challenge)); err != nil {
		return Hello{}, 0, err
	}
	if derr != nil {
		return Hello{}, 0, derr // after the challenge, which names our version to the other operator
	}
	proof, err := expect(c, kindProof)
	if err != nil {
		return Hello{}, 0, err
	}
	if !hmac.Equal(proof, p.proof("dialer", hello, challenge)) {
		return Hello{}, 0, errSecret
	}
	v := judge(g.Hello, g.lane)
	said := own.append([]byte{byte(v)})
	body := append(said[:len(said):len(said)], p.proof("acceptor", hello, challenge, said)...)
	if _, err := c.Write(appendFrame(nil, kindWelcome, body)); err != nil {
		return Hello{}, 0, err
	}
	if v != welcome {
		return g.Hello, g.lane, refusedError(v)
	}
	return g.Hello, g.lane, nil
}
