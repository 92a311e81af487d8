package shard

import (
	"bytes"
	"math/bits"
	"slices"
)

// Strategy names what happens to the window when an append lifts it above its trigger.
type Strategy uint8

const (
	LastN     Strategy = iota // keep the newest Limit messages
	SkipParts                 // drop parts by type, then as LastN
	Manual                    // leave everything; readers see needs_compaction
)

var strategyNames = [...]string{LastN: "last_n", SkipParts: "skip_parts", Manual: "manual"}

// String is the strategy's name in the API.
func (s Strategy) String() string {
	if int(s) < len(strategyNames) {
		return strategyNames[s]
	}
	return "unknown"
}

// ParseStrategy is the inverse of String.
func ParseStrategy(name string) (Strategy, bool) {
	i := slices.Index(strategyNames[:], name)
	return Strategy(max(i, 0)), i >= 0
}

// Defaults of a context's configuration (API.md, "Contexts" and "Policies").
const (
	RatioOne = 1_000_000_000 // trigger ratio 1.0 in parts per billion

	DefaultTokenBudget = 8000
	DefaultRatioPPB    = 700_000_000
	DefaultLimit       = 200
)

// DefaultSkipKinds are skip_parts' kinds where the config names none. The slice is new on each call.
func DefaultSkipKinds() []string { return []string{"tool", "reasoning"} }

// Policy is a validated policy. It is immutable once it is in a context.
type Policy struct {
	Strategy  Strategy
	Limit     uint32   // messages; > 0 except for Manual, which ignores it
	SkipKinds []string // SkipParts: prefixes of part types
	Config    []byte   // JSON object shown to clients: what they sent, with defaults filled in
}

// DefaultPolicy is last_n with a limit of 200.
func DefaultPolicy() Policy {
	return Policy{Strategy: LastN, Limit: DefaultLimit, Config: []byte(`{"limit":200}`)}
}

func (p *Policy) equal(o *Policy) bool {
	return p.Strategy == o.Strategy && p.Limit == o.Limit && slices.Equal(p.SkipKinds, o.SkipKinds) && bytes.Equal(p.Config, o.Config)
}

// Config is what a client configures on a context, other than its metadata. Immutable and shared by the
// contexts of a shard that have equal ones.
type Config struct {
	TokenBudget uint64
	RatioPPB    uint64
	Policy      Policy
}

func defaultConfig() *Config {
	return &Config{TokenBudget: DefaultTokenBudget, RatioPPB: DefaultRatioPPB, Policy: DefaultPolicy()}
}

func (c *Config) equal(o *Config) bool {
	return c == o || c.TokenBudget == o.TokenBudget && c.RatioPPB == o.RatioPPB && c.Policy.equal(&o.Policy)
}

// above says whether used tokens exceed budget x ratio. Both sides are scaled by 1e9 and compared in 128
// bits: no rounding, no overflow, the same answer on every machine.
func above(used, budget, ratioPPB uint64) bool {
	usedHi, usedLo := bits.Mul64(used, RatioOne)
	limitHi, limitLo := bits.Mul64(budget, ratioPPB)
	return usedHi > limitHi || usedHi == limitHi && usedLo > limitLo
}
