package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"fastpaca/cluster/place"

	"github.com/stretchr/testify/require"
)

// golden compares data with a file of testdata, or writes it with -update.
func golden(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, data, 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(data))
	return want
}

func testReports() *reports {
	all := new(reports)
	all[3] = groupReport{leader: 7, mapVersion: 9, settled: true, term: 2, commit: 100, applied: 99, members: []memberReport{
		{id: 1, match: 90, active: true}, {id: 7, match: 100, active: true}, {id: 8, match: 5, learner: true},
	}}
	all[place.Group] = groupReport{leader: 7, mapVersion: 9, term: 1, commit: 4, applied: 4, members: []memberReport{{id: 7, match: 4, active: true}}}
	return all
}

func TestReportGolden(t *testing.T) {
	want := testReports()
	var w reportWriter
	w.begin(nil, 9)
	for g := range want {
		if r := &want[g]; r.leader != 0 {
			w.group(uint32(g), r)
		}
	}
	data := golden(t, "report.v1.bin", w.end())
	got := new(reports)
	require.NoError(t, got.add(7, data))
	require.Equal(t, want, got)
	require.True(t, got[3].settledAt(9))
	require.False(t, got[3].settledAt(10), "compared with an older map")
	require.False(t, got[place.Group].settledAt(9))
	require.Equal(t, []uint64{1, 7}, got[3].voters())
	require.True(t, got[3].holds(8))
	require.Equal(t, uint64(95), got[3].lag())
}

// Of two that say they lead, the one with the later term does.
func TestReportsOfTwoLeaders(t *testing.T) {
	var old, late reportWriter
	old.begin(nil, 1)
	old.group(5, &groupReport{term: 3})
	late.begin(nil, 1)
	late.group(5, &groupReport{term: 4})
	for _, order := range [][]uint64{{1, 2}, {2, 1}} {
		all := new(reports)
		for _, id := range order {
			data := old.end()
			if id == 2 {
				data = late.end()
			}
			require.NoError(t, all.add(id, data))
		}
		require.Equal(t, uint64(2), all[5].leader)
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte{1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = new(reports).add(1, data) // any bytes: an error at most
		_ = decodeDecision(data)
		_ = listed(data, 1)
	})
}

func TestDecisions(t *testing.T) {
	for _, err := range []error{nil, errMoved, ErrNoSuchNode, ErrUnavailable, &refusedError{place.LastActive}} {
		require.Equal(t, err, decodeDecision(appendDecision(nil, err)))
	}
	require.ErrorIs(t, &refusedError{place.LastActive}, ErrTooFew)
	require.NotErrorIs(t, &refusedError{place.NotDraining}, ErrTooFew)
	require.Equal(t, ErrUnavailable, decodeDecision([]byte{decisionRefused, 255}), "of a newer version")
}

func TestExchangeGolden(t *testing.T) {
	g, err := newGenesis("cluster-1", []Seen{{"a", "inc-a", "h1:1"}, {"b", "inc-b", "h2:1"}})
	require.NoError(t, err)
	a := ask{
		Version: 1, From: Seen{"a", "inc-a", "h1:1"}, View: []Seen{{"a", "inc-a", "h1:1"}, {"b", "inc-b", "h2:1"}},
		Promised: "cluster-1", Offer: g,
	}
	got, err := decodeAsk(golden(t, "ask.v1.json", encodeExchange(&a)))
	require.NoError(t, err)
	require.Equal(t, a, got)
	r := reply{
		Version: 1, From: Seen{"b", "inc-b", "h2:1"}, ClusterID: "cluster-1", RaftID: 2, Verdict: verdictGo, Accepted: true,
		Standing: standingMember, Welcome: &welcome{ClusterID: "cluster-1", RaftID: 3, Genesis: g, Nodes: g.Nodes},
	}
	back, err := decodeReply(golden(t, "reply.v1.json", encodeExchange(&r)))
	require.NoError(t, err)
	require.Equal(t, r, back)
}
