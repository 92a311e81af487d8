package httpd

import "fastpaca/shard/jsonscan"

// member is a name that means something to the server, somewhere in a body.
type member uint8

const (
	memberOther member = iota
	memberMessage
	memberMessages
	memberReplacement
	memberIfVersion
	memberRole
	memberParts
	memberMetadata
	memberTokenCount
	memberSeq
	memberInsertedAt
	memberType
	memberText
	memberTokenBudget
	memberTriggerRatio
	memberPolicy
	memberStrategy
	memberConfig
	memberLimit
	memberSkipKinds
	// The names under which tool calls and their results carry the id that ties them together, in the
	// order in which they are looked for.
	memberToolCallID
	memberToolCallIDCamel
	memberToolUseID
	memberCallID
	memberID
	memberCount
)

var memberNames = [memberCount]string{
	memberMessage: "message", memberMessages: "messages", memberReplacement: "replacement", memberIfVersion: "if_version",
	memberRole: "role", memberParts: "parts", memberMetadata: "metadata", memberTokenCount: "token_count",
	memberSeq: "seq", memberInsertedAt: "inserted_at", memberType: "type", memberText: "text",
	memberTokenBudget: "token_budget", memberTriggerRatio: "trigger_ratio", memberPolicy: "policy",
	memberStrategy: "strategy", memberConfig: "config", memberLimit: "limit", memberSkipKinds: "skip_kinds",
	memberToolCallID: "tool_call_id", memberToolCallIDCamel: "toolCallId", memberToolUseID: "tool_use_id",
	memberCallID: "call_id", memberID: "id",
}

const memberNameMax = len("trigger_ratio")

func (m member) String() string { return memberNames[m] }

// member looks up a raw name. Names may be escaped: "ro\u006ce" is role.
func (p *parser) member(raw []byte) member {
	name := raw[1 : len(raw)-1]
	if jsonscan.HasEscapes(name) {
		if len(name) > 6*memberNameMax {
			return memberOther
		}
		name = p.unescape(raw)
	}
	switch string(name) { // compiles to a search by length and bytes
	case "message":
		return memberMessage
	case "messages":
		return memberMessages
	case "replacement":
		return memberReplacement
	case "if_version":
		return memberIfVersion
	case "role":
		return memberRole
	case "parts":
		return memberParts
	case "metadata":
		return memberMetadata
	case "token_count":
		return memberTokenCount
	case "seq":
		return memberSeq
	case "inserted_at":
		return memberInsertedAt
	case "type":
		return memberType
	case "text":
		return memberText
	case "token_budget":
		return memberTokenBudget
	case "trigger_ratio":
		return memberTriggerRatio
	case "policy":
		return memberPolicy
	case "strategy":
		return memberStrategy
	case "config":
		return memberConfig
	case "limit":
		return memberLimit
	case "skip_kinds":
		return memberSkipKinds
	case "tool_call_id":
		return memberToolCallID
	case "toolCallId":
		return memberToolCallIDCamel
	case "tool_use_id":
		return memberToolUseID
	case "call_id":
		return memberCallID
	case "id":
		return memberID
	}
	return memberOther
}

// seen remembers which members an object had.
type seen uint32

// twice notes m and says whether it was noted before.
func (s *seen) twice(m member) bool {
	was := s.has(m)
	*s |= 1 << m
	return was
}

func (s seen) has(m member) bool { return s>>m&1 != 0 }
