package httpd

import (
	"strconv"

	"fastpaca/shard"
	"fastpaca/shard/jsonscan"
)

// Bounds of a policy's config.
const (
	maxPolicyLimit  = 1<<31 - 1
	maxSkipKinds    = 64
	maxSkipKindSize = 255 // bytes
)

// parsePut parses the body of PUT /v1/contexts/{id} into put, whose slices then refer to the body. An
// empty body means the same as {}.
func (p *parser) parsePut(body []byte, put *shard.Put) *requestError {
	if len(body) == 0 {
		return nil
	}
	p.begin(body)
	return p.settle(p.put(put))
}

func (p *parser) put(put *shard.Put) *requestError {
	m, err := p.object(errInvalidContextConfig)
	if err != nil {
		return err
	}
	var seen seen
	for m.Next() {
		name := p.member(m.Key())
		switch name {
		case memberTokenBudget, memberTriggerRatio, memberPolicy, memberMetadata:
			if seen.twice(name) {
				return duplicate(errInvalidContextConfig, name.String())
			}
		default:
			continue
		}
		v := m.Value()
		if v == nil {
			break // malformed; the end of the walk says how
		}
		switch name {
		case memberTokenBudget:
			n, ok := parseInteger(v, maxInteger)
			if !ok || n == 0 {
				return refuse(errInvalidContextConfig, `field "token_budget" must be a plain integer from 1 to 9007199254740991, without quotes, fraction or exponent`)
			}
			put.HasBudget, put.TokenBudget = true, n
		case memberTriggerRatio:
			ppb, ok := parseRatio(v)
			if !ok {
				return refuse(errInvalidContextConfig, `field "trigger_ratio" must be a number above 0 and at most 1, with steps of 0.000000001`)
			}
			put.HasRatio, put.RatioPPB = true, ppb
		case memberPolicy:
			policy, err := p.policy(v)
			if err != nil {
				return err
			}
			put.HasPolicy, put.Policy = true, policy
		case memberMetadata:
			if v[0] != '{' {
				return refuse(errInvalidMetadata, `field "metadata" must be an object`)
			}
			put.HasMetadata, put.Metadata = true, v
		}
	}
	return p.end(&m)
}

// policy parses {"strategy","config"}. v is valid JSON. The config that comes out names every setting of
// the strategy, with the default where the client gave none, and nothing else.
func (p *parser) policy(v []byte) (shard.Policy, *requestError) {
	bad := func(message string) (shard.Policy, *requestError) {
		return shard.Policy{}, refuse(errInvalidContextConfig, message)
	}
	if v[0] != '{' {
		return bad(`field "policy" must be an object with "strategy" and "config"`)
	}
	var (
		seen             seen
		strategy, config []byte
	)
	for m := jsonscan.Object(v, 0); m.Next(); {
		name := p.member(m.Key())
		if (name == memberStrategy || name == memberConfig) && seen.twice(name) {
			return bad(`field "policy.` + name.String() + `" is given twice; send it once`)
		}
		switch name {
		case memberStrategy:
			strategy = m.Value()
		case memberConfig:
			config = m.Value()
		}
	}
	const strategies = `field "policy.strategy" must be "last_n", "skip_parts" or "manual"`
	if strategy == nil || strategy[0] != '"' {
		return bad(strategies)
	}
	kind, ok := shard.ParseStrategy(string(p.unescape(strategy)))
	if !ok {
		return bad(strategies)
	}
	if config != nil && config[0] != '{' {
		return bad(`field "policy.config" must be an object`)
	}
	policy := shard.Policy{Strategy: kind}
	if kind == shard.Manual {
		policy.Config = []byte(`{}`)
		return policy, nil
	}
	policy.Limit = shard.DefaultLimit
	policy.SkipKinds = shard.DefaultSkipKinds()
	if config != nil {
		if err := p.policyConfig(config, &policy); err != nil {
			return policy, err
		}
	}
	if kind == shard.LastN {
		policy.SkipKinds = nil
		policy.Config = append(strconv.AppendUint([]byte(`{"limit":`), uint64(policy.Limit), 10), '}')
		return policy, nil
	}
	b := []byte(`{"skip_kinds":[`)
	for i, kind := range policy.SkipKinds {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, kind)
	}
	b = append(b, `],"limit":`...)
	policy.Config = append(strconv.AppendUint(b, uint64(policy.Limit), 10), '}')
	return policy, nil
}

// policyConfig reads limit and skip_kinds where they are given.
func (p *parser) policyConfig(config []byte, policy *shard.Policy) *requestError {
	var seen seen
	for m := jsonscan.Object(config, 0); m.Next(); {
		name := p.member(m.Key())
		if name != memberLimit && (name != memberSkipKinds || policy.Strategy != shard.SkipParts) {
			continue
		}
		if seen.twice(name) {
			return duplicate(errInvalidContextConfig, "policy.config."+name.String())
		}
		if name == memberLimit {
			n, ok := parseInteger(m.Value(), maxPolicyLimit)
			if !ok || n == 0 {
				return refuse(errInvalidContextConfig, `field "policy.config.limit" must be a plain integer from 1 to 2147483647`)
			}
			policy.Limit = uint32(n)
			continue
		}
		kinds, ok := p.skipKinds(m.Value())
		if !ok {
			return refuse(errInvalidContextConfig, `field "policy.config.skip_kinds" must be an array of at most 64 non-empty strings of at most 255 bytes, as in ["tool","reasoning"]`)
		}
		policy.SkipKinds = kinds
	}
	return nil
}

func (p *parser) skipKinds(v []byte) (kinds []string, ok bool) {
	if v[0] != '[' {
		return nil, false
	}
	for a := jsonscan.Array(v, 0); a.Next(); {
		if a.Kind() != '"' || len(kinds) == maxSkipKinds {
			return nil, false
		}
		kind := p.unescape(a.Value())
		if len(kind) == 0 || len(kind) > maxSkipKindSize {
			return nil, false
		}
		kinds = append(kinds, string(kind))
	}
	return kinds, true
}

// parsePatch parses the body of PATCH metadata and returns the object in it, a part of the body.
func (p *parser) parsePatch(body []byte) (patch []byte, err *requestError) {
	p.begin(body)
	patch, err = p.patch()
	return patch, p.settle(err)
}

func (p *parser) patch() ([]byte, *requestError) {
	m, err := p.object(errInvalidMetadata)
	if err != nil {
		return nil, err
	}
	var patch []byte
	for m.Next() {
		if p.member(m.Key()) != memberMetadata {
			continue
		}
		if patch != nil {
			return nil, duplicate(errInvalidMetadata, "metadata")
		}
		if patch = m.Value(); patch != nil && patch[0] != '{' {
			return nil, refuse(errInvalidMetadata, `field "metadata" must be an object; a member that is null removes that key`)
		}
	}
	if err := p.end(&m); err != nil {
		return nil, err
	}
	if patch == nil {
		return nil, refuse(errInvalidMetadata, `the body must have a field "metadata", an object; a member that is null removes that key`)
	}
	return patch, nil
}
