package check

// Event is what a subscriber got, in order.
type Event struct {
	Type    string `json:"type"` // message, context, compaction, gap, reset; connect for a new connection
	Version uint64 `json:"version,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
	Text    string `json:"text,omitempty"`
}

// Streams demands of one subscriber, that began at the context's start and resumed by Last-Event-ID, that it saw every message of the
// log once and in order, except behind a gap or reset that was announced, that versions never went back, and that no connection was told of one twice.
func Streams(v *Verdict, name string, events []Event, log []Entry) {
	next, version := uint64(1), uint64(0)
	told := uint64(0) // the version that this connection was told of last by a context event
	announced := false
	for _, e := range events {
		switch e.Type {
		case "connect":
			told = 0
		case "context":
			v.Checked++
			if e.Version <= told {
				v.Add("%s: version %d was told after version %d on one connection", name, e.Version, told)
			}
			told = e.Version
		case "gap", "reset":
			announced = true
		case "message":
			v.Checked++
			switch {
			case e.Seq < next:
				v.Add("%s: seq %d again or out of order, %d was due", name, e.Seq, next)
				continue
			case e.Seq > next && !announced:
				v.Add("%s: seqs %d to %d are missing, and no gap was announced", name, next, e.Seq-1)
			}
			if e.Seq > uint64(len(log)) || log[e.Seq-1].Text != e.Text {
				v.Add("%s: saw %q at seq %d, which the log does not have", name, e.Text, e.Seq)
			}
			next, announced = e.Seq+1, false
		}
		if e.Version != 0 && e.Type != "gap" && e.Type != "reset" {
			if e.Version < version {
				v.Add("%s: version %d after version %d", name, e.Version, version)
			}
			version = max(version, e.Version)
		}
	}
	if next != uint64(len(log))+1 {
		v.Add("%s: at the end it has seen up to seq %d, the log ends at %d", name, next-1, len(log))
	}
}
