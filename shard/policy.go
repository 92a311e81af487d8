package shard

import "fastpaca/ring"

// runPolicy returns what an append that lifted the window above its trigger leaves of it. It is a function
// of the window, the log and the configuration: the clean mark only saves work.
func (m *Machine) runPolicy(ctx *Context, v *ring.View[Ext], w ring.Window, config *Config) ring.Window {
	p := &config.Policy
	switch p.Strategy {
	case LastN:
		return ring.CutNewest(v, w, limitOf(p))
	case SkipParts:
		w = m.skip.skipParts(v, w, p.SkipKinds, ctx.clean.through(config))
		ctx.clean = cleanMark{config: config, seq: v.Last}
		return ring.CutNewest(v, w, limitOf(p))
	default:
		return w
	}
}

func limitOf(p *Policy) int { return int(min(uint64(p.Limit), 1<<31-1)) }
