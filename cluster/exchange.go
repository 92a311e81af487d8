package cluster

import (
	"encoding/json"
	"fmt"

	"fastpaca/cluster/place"
)

// Exchanges are what nodes say to one another before they share a cluster: one question, one answer, over a connection of
// its own whose both ends proved the secret (peer.Transport.Ask). They are JSON: rare, small, and read by people when
// something is wrong. A field that one end does not know is ignored; a field that changes its meaning gets a new version.
const exchangeVersion = 1

// viewMax bounds the nodes in one view, and seenMax those that a node remembers: more do not start at once.
const (
	viewMax = place.MaxNodes
	seenMax = 4 * place.MaxNodes
)

// ask is the question.
type ask struct {
	Version   int    `json:"v"`
	From      Seen   `json:"from"`
	ClusterID string `json:"cluster_id,omitempty"` // of the asker; empty: none
	RaftID    uint64 `json:"raft_id,omitempty"`
	View      []Seen `json:"view,omitempty"` // nodes without a cluster that answered the asker lately
	// Promised is the cluster id of the genesis that the asker has said yes to and waits for.
	Promised string `json:"promised,omitempty"`
	// Offer asks for a yes to this genesis. Only its founder sends it.
	Offer *place.Genesis `json:"offer,omitempty"`
	// Join asks for a place in the cluster of the asked.
	Join bool `json:"join,omitempty"`
}

// reply is the answer.
type reply struct {
	Version   int    `json:"v"`
	From      Seen   `json:"from"`
	ClusterID string `json:"cluster_id,omitempty"`
	RaftID    uint64 `json:"raft_id,omitempty"`
	View      []Seen `json:"view,omitempty"`
	Promised  string `json:"promised,omitempty"`
	// Elsewhere: the answerer has no cluster but sees one, which it is going to join: it founds nothing.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// Verdict is about ask.Promised.
	Verdict verdict `json:"verdict,omitempty"`
	// Accepted: the answerer has promised ask.Offer, durably.
	Accepted bool `json:"accepted,omitempty"`
	// Standing is what the asker is in the answerer's cluster, if they are in the same one.
	Standing standing `json:"standing,omitempty"`
	// Welcome or Refused answers ask.Join.
	Welcome *welcome `json:"welcome,omitempty"`
	Refused string   `json:"refused,omitempty"`
}

// verdict is what the answerer knows of a genesis.
type verdict string

const (
	verdictGo   verdict = "go"   // it is founded
	verdictWait verdict = "wait" // the answerer is its founder and has not decided
	// verdictNone: the answerer knows nothing of it. From its founder that means: given up, for ever. From anybody else
	// it means nothing.
	verdictNone verdict = "none"
)

// standing is what a node is in a cluster.
type standing string

const (
	standingMember  standing = "member"
	standingRemoved standing = "removed" // drained and removed, or replaced: its raft id is void
)

// welcome is a place in a cluster.
type welcome struct {
	ClusterID string         `json:"cluster_id"`
	RaftID    uint64         `json:"raft_id"`
	Genesis   *place.Genesis `json:"genesis"`
	Nodes     []place.Node   `json:"nodes"` // the others as of now, to be reachable for the first messages
}

func (w *welcome) check() error {
	if w.ClusterID == "" || w.RaftID == 0 || w.Genesis == nil || w.Genesis.ClusterID != w.ClusterID || len(w.Nodes) == 0 {
		return fmt.Errorf("the answer to a join lacks a field")
	}
	return w.Genesis.Validate()
}

func encodeExchange(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: an exchange that cannot be encoded: %v: mend the type", err)) // strings and numbers only
	}
	return data
}

func decodeAsk(data []byte) (ask, error) {
	var a ask
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("exchange: %w", err)
	}
	if err := checkExchange(a.Version, a.From, a.View); err != nil {
		return a, err
	}
	if a.Offer != nil {
		return a, a.Offer.Validate()
	}
	return a, nil
}

func decodeReply(data []byte) (reply, error) {
	var r reply
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("exchange: %w", err)
	}
	if err := checkExchange(r.Version, r.From, r.View); err != nil {
		return r, err
	}
	if r.Welcome != nil {
		return r, r.Welcome.check()
	}
	return r, nil
}

func checkExchange(version int, from Seen, view []Seen) error {
	if version != exchangeVersion {
		return fmt.Errorf("exchange: the other node speaks version %d, this one %d: upgrade the older one", version, exchangeVersion)
	}
	if len(view) > viewMax {
		return fmt.Errorf("exchange: a view of %d nodes, at most %d are allowed", len(view), viewMax)
	}
	if err := from.check(); err != nil {
		return err
	}
	for _, s := range view {
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}
