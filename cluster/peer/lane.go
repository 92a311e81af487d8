package peer

// lane is what a connection is for. The numbers are on the wire: never reuse one.
type lane uint8

const (
	laneControl lane = 1
	laneData    lane = 2
	laneBulk    lane = 3
	laneStream  lane = 4
	laneAsk     lane = 5
	laneLimit   lane = 6
)

var laneNames = [laneLimit]string{"", "control", "data", "bulk", "stream", "ask"}

func (l lane) String() string {
	if l == 0 || l >= laneLimit {
		return "unknown"
	}
	return laneNames[l]
}
