package shard

import (
	"strconv"

	"fastpaca/ring"
)

// AppendContext appends the JSON object that describes the context (API.md, "Contexts").
func (v *View) AppendContext(dst []byte) []byte {
	e, h := v.Ext, &v.Header
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, v.ctx.id)
	if e.Tombstoned {
		dst = append(dst, `,"status":"tombstoned"`...)
	} else {
		dst = append(dst, `,"status":"active"`...)
	}
	dst = append(dst, `,"token_budget":`...)
	dst = strconv.AppendUint(dst, e.Config.TokenBudget, 10)
	dst = append(dst, `,"trigger_ratio":`...)
	dst = appendRatio(dst, e.Config.RatioPPB)
	dst = append(dst, `,"policy":{"strategy":"`...)
	dst = append(dst, e.Config.Policy.Strategy.String()...)
	dst = append(dst, `","config":`...)
	dst = appendObject(dst, e.Config.Policy.Config)
	dst = append(dst, `},"metadata":`...)
	dst = appendObject(dst, e.Metadata)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendUint(dst, h.Version, 10)
	dst = append(dst, `,"last_seq":`...)
	dst = strconv.AppendUint(dst, h.Last, 10)
	dst = append(dst, `,"archived_seq":`...)
	dst = strconv.AppendUint(dst, h.Archived, 10)
	dst = append(dst, `,"used_tokens":`...)
	dst = strconv.AppendUint(dst, h.Used, 10)
	dst = append(dst, `,"created_at":"`...)
	dst = appendTime(dst, v.ctx.createdMs)
	dst = append(dst, `","updated_at":"`...)
	dst = appendTime(dst, h.UpdatedMs)
	return append(dst, `"}`...)
}

// AppendWindow appends the JSON of the LLM context: the window, cut to ceiling tokens for this call.
// ceiling 0 means the context's budget. used_tokens counts what is returned; needs_compaction compares
// what the whole window uses, before the cut, with ceiling x trigger ratio.
func (v *View) AppendWindow(dst []byte, ceiling uint64) []byte {
	e, h := v.Ext, &v.Header
	if ceiling == 0 {
		ceiling = e.Config.TokenBudget
	}
	plan := ring.Fit(&v.View, ring.Window{Head: e.Head, LiveFrom: h.LiveFrom, Used: h.Used}, ceiling)
	dst = append(dst, `{"version":`...)
	dst = strconv.AppendUint(dst, h.Version, 10)
	dst = append(dst, `,"messages":[`...)
	dst = plan.Append(dst)
	dst = append(dst, `],"used_tokens":`...)
	dst = strconv.AppendUint(dst, plan.Used, 10)
	dst = append(dst, `,"needs_compaction":`...)
	dst = strconv.AppendBool(dst, above(h.Used, ceiling, e.Config.RatioPPB))
	if plan.Truncated > 0 {
		dst = append(dst, `,"truncated":`...)
		dst = strconv.AppendUint(dst, uint64(plan.Truncated), 10)
	}
	dst = append(dst, `,"segments":[`...)
	dst = appendSegments(dst, plan.Segments())
	return append(dst, `]}`...)
}

// AppendTail appends the page of at most limit messages that ends offset messages before the newest, in
// chronological order: {"messages":[...]}. Beyond the oldest message in memory the page is empty.
func (v *View) AppendTail(dst []byte, limit, offset uint64) []byte {
	h := &v.Header
	dst = append(dst, `{"messages":[`...)
	if offset < h.Last && limit > 0 {
		to := h.Last - offset
		from := uint64(1)
		if to > limit {
			from = to - limit + 1
		}
		if from = max(from, h.First); from <= to {
			dst = v.AppendMessages(dst, from, to)
		}
	}
	return append(dst, `]}`...)
}

// AppendHistory appends a page of at most limit messages forwards from fromSeq, with the cursor of the
// next page. A negative fromSeq counts back from the end (-1 is the newest message); 0 is 1. Messages
// older than the oldest in memory are left out.
func (v *View) AppendHistory(dst []byte, fromSeq int64, limit uint64) []byte {
	h := &v.Header
	from := uint64(fromSeq)
	if fromSeq <= 0 {
		from = 1
		if back := uint64(-fromSeq); fromSeq < 0 && back <= h.Last {
			from = h.Last - back + 1
		}
	}
	from = max(from, h.First, 1)
	dst = append(dst, `{"messages":[`...)
	next := uint64(0)
	if from <= h.Last && limit > 0 {
		to := h.Last
		if h.Last-from >= limit {
			to = from + limit - 1
			next = to + 1
		}
		dst = v.AppendMessages(dst, from, to)
	}
	return v.AppendHistoryEnd(dst, next)
}

// AppendHistoryEnd appends what follows the messages of a GET .../messages: the version, and where to go on; next 0
// means at the end.
func (v *View) AppendHistoryEnd(dst []byte, next uint64) []byte {
	dst = append(dst, `],"version":`...)
	dst = strconv.AppendUint(dst, v.Version, 10)
	if next == 0 {
		return append(dst, `,"next_seq":null}`...)
	}
	dst = append(dst, `,"next_seq":`...)
	dst = strconv.AppendUint(dst, next, 10)
	return append(dst, '}')
}

func appendSegments(dst []byte, segments []ring.Segment) []byte {
	for i, s := range segments {
		if i > 0 {
			dst = append(dst, ',')
		}
		if s.Summary {
			dst = append(dst, `{"type":"summary","from_seq":`...)
		} else {
			dst = append(dst, `{"type":"live","from_seq":`...)
		}
		dst = strconv.AppendUint(dst, s.FromSeq, 10)
		dst = append(dst, `,"to_seq":`...)
		dst = strconv.AppendUint(dst, s.ToSeq, 10)
		dst = append(dst, '}')
	}
	return dst
}

// appendRatio writes parts per billion as a decimal fraction without trailing zeros: 0.7, 1.
func appendRatio(dst []byte, ppb uint64) []byte {
	dst = strconv.AppendUint(dst, ppb/RatioOne, 10)
	frac := ppb % RatioOne
	if frac == 0 {
		return dst
	}
	var b [9]byte
	digits(b[:], uint32(frac))
	n := len(b)
	for b[n-1] == '0' {
		n--
	}
	dst = append(dst, '.')
	return append(dst, b[:n]...)
}

func appendObject(dst, object []byte) []byte {
	if len(object) == 0 {
		return append(dst, emptyObject...)
	}
	return append(dst, object...)
}

// appendString appends s, valid UTF-8, as a JSON string.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
