package cluster

import (
	"encoding/json"
	"errors"
	"fmt"

	"fastpaca/cluster/place"
)

// identityFile lies in the root of the data directory.
const identityFile = "node.json"

// identityVersion is the format of node.json that is written. A version never changes its meaning; a new format gets a new
// number. Version 1 had no raft id and no genesis: it is a cluster of one.
const identityVersion = 2

// Identity is what a data directory is: {cluster, node, incarnation} (DESIGN.md, "raft"). A directory that was wiped
// comes back with a new incarnation and gets a new raft id, so that it can never vote in the name of its former self.
//
// A directory is in one of three states, and moves only down this list but for the way back from the second to the first:
//
//	no cluster   ClusterID "", Pending nil
//	promised     ClusterID "", Pending set: it has said yes to this genesis and will say yes to no other
//	member       ClusterID set, Pending nil, for ever
type Identity struct {
	Version     int            `json:"version"`
	Name        string         `json:"name"`
	Incarnation string         `json:"incarnation"`
	ClusterID   string         `json:"cluster_id,omitempty"`
	RaftID      uint64         `json:"raft_id,omitempty"` // never given twice in a cluster
	Joined      bool           `json:"joined,omitempty"`  // came later: no founder, its groups begin without members
	Genesis     *place.Genesis `json:"genesis,omitempty"` // of the cluster, also where Joined: it is the map's first state
	Pending     *place.Genesis `json:"pending,omitempty"`
	// LogBegun: a member's log was begun beside this file. Where it is gone, so is what this node acknowledged and whom it
	// voted for, and the directory is refused: with an empty log the node would vote under its old identity.
	LogBegun bool `json:"log_begun,omitempty"`
}

func encodeIdentity(id *Identity) ([]byte, error) {
	data, err := json.MarshalIndent(id, "", "  ")
	return append(data, '\n'), err
}

// decodeIdentity reads what any version so far wrote and checks that it makes sense. Version stays what the file says: a
// version 1 becomes a 2 when the node opens and knows its address.
func decodeIdentity(data []byte) (Identity, error) {
	var id Identity
	if err := json.Unmarshal(data, &id); err != nil {
		return id, fmt.Errorf("the file is damaged (%w): restore it from a backup; without it the directory's owner is unknown", err)
	}
	if id.Version != 1 && id.Version != identityVersion {
		return id, fmt.Errorf("it was written by another version of fastpaca: format %d, this one reads 1 and %d", id.Version, identityVersion)
	}
	if err := id.check(); err != nil {
		return id, fmt.Errorf("the file is damaged (%w): restore it from a backup", err)
	}
	return id, nil
}

func (id *Identity) check() error {
	switch {
	case id.Name == "" || id.Incarnation == "":
		return errors.New("it lacks a name or an incarnation")
	case id.Version == 1 && id.ClusterID == "":
		return errors.New("it lacks a cluster id")
	case id.Version == 1:
		return nil
	case id.ClusterID == "" && (id.RaftID != 0 || id.Joined || id.Genesis != nil || id.LogBegun):
		return errors.New("it has a raft id, a genesis or a log, but no cluster")
	case id.ClusterID == "":
	case id.RaftID == 0 || id.Genesis == nil || id.Pending != nil || id.Genesis.ClusterID != id.ClusterID:
		return errors.New("it has a cluster, but its raft id or genesis is missing or another's")
	}
	for _, g := range []*place.Genesis{id.Genesis, id.Pending} {
		if g == nil {
			continue
		}
		if err := g.Validate(); err != nil {
			return err
		}
		if own := among(g, id.Incarnation); (own == nil || own.Name != id.Name) && !id.Joined {
			return errors.New("its genesis does not name this node")
		} else if own != nil && id.Joined {
			return errors.New("it says that it joined, but its genesis names it a founder")
		} else if own != nil && g == id.Genesis && own.ID != id.RaftID {
			return errors.New("its raft id is not the one that its genesis gives")
		}
	}
	return nil
}

// identity, promise, abandon and enter make Directory the identities of discovery.
func (d *Directory) identity() Identity { return d.Identity }

// promise moves from no cluster to promised.
func (d *Directory) promise(g *place.Genesis) error {
	next := d.Identity
	if next.ClusterID != "" || next.Pending != nil {
		panic("cluster: a second promise: this node's word would be worth nothing; mend discovery")
	}
	next.Pending = g
	return d.store(next)
}

// abandon moves from promised to no cluster.
func (d *Directory) abandon() error {
	next := d.Identity
	next.Pending = nil
	return d.store(next)
}

// enter moves to member.
func (d *Directory) enter(raftID uint64, joined bool, g *place.Genesis) error {
	old := &d.Identity
	if old.ClusterID != "" && old.Version == identityVersion {
		panic("cluster: a member enters a cluster; mend discovery")
	}
	return d.store(Identity{
		Version: identityVersion, Name: old.Name, Incarnation: old.Incarnation,
		ClusterID: g.ClusterID, RaftID: raftID, Joined: joined, Genesis: g,
	})
}

// begun notes that the log of a member was begun, once. Not by a start whose disk had no room for it.
func (d *Directory) begun() error {
	if d.Identity.LogBegun {
		return nil
	}
	if has, err := d.hasSegments(); err != nil || !has {
		return err
	}
	next := d.Identity
	next.LogBegun = true
	return d.store(next)
}

// upgrade makes a directory of version 1 what it always was: a cluster of one whose only node has id 1.
func (d *Directory) upgrade(address string) error {
	if d.Identity.Version != 1 {
		return nil
	}
	g, err := newGenesis(d.Identity.ClusterID, []Seen{{d.Identity.Name, d.Identity.Incarnation, address}})
	if err != nil {
		return err
	}
	return d.enter(1, false, g)
}
