package shard

import (
	"math"
	"testing"
)

// TestStoredFacts reads back what appendStored writes.
func TestStoredFacts(t *testing.T) {
	for _, flags := range []uint16{0, FlagNoMetadata} {
		for _, tokens := range []uint32{0, 7, 10, 1234567890, math.MaxUint32} {
			for _, ms := range []int64{0, 1737720915120, maxTimeMs} {
				m := Message{Fields: []byte(`"role":"user","parts":[{"type":"text","text":",\"token_count\":9"}]`), Tokens: tokens, Flags: flags}
				json := appendStored(nil, 12, &m, appendTime(nil, ms))
				if gotTokens, gotMs, ok := StoredFacts(json); !ok || gotTokens != tokens || gotMs != ms {
					t.Errorf("%s: %d, %d, %v", json, gotTokens, gotMs, ok)
				}
				for i := range json {
					StoredFacts(json[:i]) // no panic
					StoredFacts(json[i:])
				}
			}
		}
	}
	for _, bad := range []string{"", "{}", `{"seq":1,"role":"x","parts":[],"token_count":,"inserted_at":"2025-01-24T12:00:15.120Z"}`,
		`{"token_count":1,"inserted_at":"2025-13-24T12:00:15.120Z"}`, `{"seq":1,"inserted_at":"2025-01-24T12:00:15.120Z"}`,
		`{"seq":1,"token_count":99999999999,"inserted_at":"2025-01-24T12:00:15.120Z"}`} {
		if _, _, ok := StoredFacts([]byte(bad)); ok {
			t.Errorf("%s is no stored message", bad)
		}
	}
}
