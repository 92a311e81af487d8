package place

import (
	"encoding/binary"
	"fmt"
)

// A command is an entry of the placement group:
//
//	| version u8 = 1 | kind u8 | fields |
//
//	1 join         name str, incarnation str, address str, replaces u64
//	2 set address  id u64, from str, to str
//	3 drain        id u64
//	4 undrain      id u64
//	5 remove       id u64
//	6 set replicas group u16, from set, to set
//
// The numbers are in logs: never reuse one. A command that this version does not understand stops the node
// (Apply's error); skipping it would make this node's map differ from the others'.
const commandVersion = 1

const (
	kindJoin        = 1
	kindSetAddress  = 2
	kindDrain       = 3
	kindUndrain     = 4
	kindRemove      = 5
	kindSetReplicas = 6
)

// Command is a change of the map: Join, SetAddress, Drain, Undrain, Remove or SetReplicas. All of them compare
// before they set, and applying one twice in a row changes nothing the second time.
type Command interface {
	check() error
	append(dst []byte) []byte
	apply(m *Map) Outcome
}

// Join makes a node a member and gives it an id. The same name and incarnation again: the same id. The same name
// with a new incarnation is a wiped disk: Replaces must be the id that has the name now; that node is removed,
// and the new one takes its place in every set. Whether the old one is really gone is the proposer's to know.
type Join struct {
	Name, Incarnation, Addr string
	Replaces                uint64 // the member of that name and another incarnation; 0: there is none
}

// SetAddress changes where a node is reached, if it is From now.
type SetAddress struct {
	ID       uint64
	From, To string
}

// Drain asks that a node be emptied. Refused for the last active one.
type Drain struct{ ID uint64 }

// Undrain takes a Drain back.
type Undrain struct{ ID uint64 }

// Remove takes a draining node out of the cluster for good. Refused while a set names it.
type Remove struct{ ID uint64 }

// SetReplicas changes the desired voters of a group, if they are From now. Who is new in To must be active.
type SetReplicas struct {
	Group    uint32
	From, To []uint64 // ascending
}

// Append appends the encoding of c to dst. It fails where a limit is passed.
func Append(dst []byte, c Command) ([]byte, error) {
	if err := c.check(); err != nil {
		return dst, err
	}
	return c.append(append(dst, commandVersion)), nil
}

// Decode is the inverse of Append. It keeps nothing of b.
func Decode(b []byte) (Command, error) {
	r := &reader{b: b}
	version, kind := r.u8(), r.u8()
	if r.err == nil && version != commandVersion {
		return nil, fmt.Errorf("place: command of version %d, this node reads %d: upgrade this node", version, commandVersion)
	}
	var c Command
	switch kind {
	case kindJoin:
		c = &Join{Name: r.string(), Incarnation: r.string(), Addr: r.string(), Replaces: r.u64()}
	case kindSetAddress:
		c = &SetAddress{ID: r.u64(), From: r.string(), To: r.string()}
	case kindDrain:
		c = &Drain{ID: r.u64()}
	case kindUndrain:
		c = &Undrain{ID: r.u64()}
	case kindRemove:
		c = &Remove{ID: r.u64()}
	case kindSetReplicas:
		c = &SetReplicas{Group: uint32(r.u16()), From: r.set(), To: r.set()}
	default:
		r.fail(fmt.Errorf("unknown kind %d", kind))
	}
	if err := r.end("command"); err != nil {
		return nil, err
	}
	return c, c.check()
}

func (c *Join) check() error { return checkStrings(c.Name, c.Incarnation, c.Addr) }

func (c *SetAddress) check() error {
	if err := checkString("address", c.From, MaxAddr); err != nil {
		return err
	}
	return checkString("address", c.To, MaxAddr)
}

func (*Drain) check() error   { return nil }
func (*Undrain) check() error { return nil }
func (*Remove) check() error  { return nil }

func (c *SetReplicas) check() error {
	if c.Group > Group {
		return fmt.Errorf("place: there is no group %d", c.Group)
	}
	for _, set := range [...][]uint64{c.From, c.To} {
		if len(set) == 0 || len(set) > MaxReplicas || !ascending(set) {
			return fmt.Errorf("place: set %v of group %d: use 1 to %d ascending ids", set, c.Group, MaxReplicas)
		}
	}
	return nil
}

func (c *Join) append(dst []byte) []byte {
	dst = appendString(append(dst, kindJoin), c.Name)
	dst = appendString(appendString(dst, c.Incarnation), c.Addr)
	return binary.LittleEndian.AppendUint64(dst, c.Replaces)
}

func (c *SetAddress) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(append(dst, kindSetAddress), c.ID)
	return appendString(appendString(dst, c.From), c.To)
}

func (c *Drain) append(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, kindDrain), c.ID)
}

func (c *Undrain) append(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, kindUndrain), c.ID)
}

func (c *Remove) append(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, kindRemove), c.ID)
}

func (c *SetReplicas) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(append(dst, kindSetReplicas), uint16(c.Group))
	return appendSet(appendSet(dst, c.From), c.To)
}
