package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMixture: two or three faults, no two of one class, none that wants to be alone; all others are drawn.
func TestMixture(t *testing.T) {
	n := &nemesis{dice: rand.New(rand.NewPCG(1, 2))}
	seen, sizes := map[string]bool{}, map[int]int{}
	for range 5000 {
		mix := n.mixture(kinds)
		sizes[len(mix)]++
		var classes []class
		for _, f := range mix {
			require.NotEqual(t, alone, f.class, f.kind)
			require.NotContains(t, classes, f.class)
			classes = append(classes, f.class)
			seen[f.kind] = true
		}
	}
	require.Positive(t, sizes[2])
	require.Positive(t, sizes[3])
	require.Len(t, sizes, 2, "%v", sizes)
	for _, f := range kinds {
		require.Equal(t, f.class != alone, seen[f.kind], f.kind)
	}
	only := []fault{{kind: "x", class: alone}}
	require.Equal(t, "x", n.mixture(only)[0].kind, "nothing to be mixed")
}

// TestDeck: what cannot be had is left out aloud, what does not exist is an error, names are in the order given, and each is a kind.
func TestDeck(t *testing.T) {
	said := 0
	n := &nemesis{logf: func(string, ...any) { said++ },
		c: &cluster{nodes: []*node{{name: "n1", socket: filepath.Join(t.TempDir(), "none")}}}}
	deck, err := n.deck([]string{"loss", "kill-one", "hang-disk", "ring", "pg-kill", "full-disk"})
	require.NoError(t, err)
	require.Len(t, deck, 2)
	require.Equal(t, "loss", deck[0].kind)
	require.Equal(t, 4, said)
	_, err = n.deck([]string{"loss", "earthquake"})
	require.ErrorContains(t, err, "earthquake")
	_, err = n.deck([]string{"ring"})
	require.Error(t, err, "nothing is left")
	for _, k := range shortKinds {
		require.True(t, slices.ContainsFunc(kinds, func(f fault) bool { return f.kind == k }), k)
	}
}

// TestInflict: a mixture is blind for as long as what harms clients lasts, and not for what goes on aside.
func TestInflict(t *testing.T) {
	lasts := func(d time.Duration, err error) action {
		return func(n *nemesis, ctx context.Context, _ time.Duration) (string, error) {
			time.Sleep(d)
			return "done", err
		}
	}
	n := &nemesis{dice: rand.New(rand.NewPCG(1, 2)), cl: newClients(nil, time.Now()), c: &cluster{}, patience: 1}
	long, short := fault{kind: "long", class: aside, do: lasts(80*time.Millisecond, nil)}, fault{kind: "short", do: lasts(10*time.Millisecond, nil)}
	p := n.inflict(context.Background(), []fault{short, long}, 0)
	require.Empty(t, p.Error)
	require.False(t, p.Blind)
	require.Equal(t, "short + long", p.Kind)
	require.EqualValues(t, silenceBound, p.bound(1))
	link := fault{kind: "link", class: onNetwork, do: lasts(20*time.Millisecond, nil)}
	p = n.inflict(context.Background(), []fault{short, link, long}, 0)
	require.True(t, p.Blind, "two that harm clients")
	require.Less(t, p.BlindEnd, p.End)
	require.Equal(t, p.BlindEnd-p.Start+int64(afterBlind), p.bound(1))
	link.do = lasts(0, errors.New("broken"))
	require.Contains(t, n.inflict(context.Background(), []fault{link}, 0).Error, "link: broken")
}

// TestHiccups: what the harness slept through is added to the faults around it.
func TestHiccups(t *testing.T) {
	l := newClients(nil, time.Now())
	const s = int64(time.Second)
	l.hiccups.list = []hiccup{{at: 30 * s, late: 2 * s}, {at: 200 * s, late: s}}
	periods := []period{{Start: 5 * s, End: 10 * s}, {Start: 25 * s, End: 31 * s}, {Start: 40 * s, End: 45 * s}}
	require.Equal(t, 3*s, l.blame(periods))
	require.Equal(t, []int64{0, 2 * s, 2 * s}, []int64{periods[0].Hiccup, periods[1].Hiccup, periods[2].Hiccup})
}
