package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"fastpaca/httpd"
)

// TestEveryEventHasItsSentence reads the source of the packages that log: a kind of event without a sentence tells an
// operator nothing, and a sentence for an event that is gone tells it to nobody.
func TestEveryEventHasItsSentence(t *testing.T) {
	logged := regexp.MustCompile(`(?:(?:[lL]ogf|\.warn)\(|\.said\([^"\n]*)"([a-z]+(?:_[a-z]+)+)"`)
	table, found, all := eventTable(), 0, ""
	for _, dir := range []string{"archive", "cluster", "shard", "wal"} {
		err := filepath.WalkDir("../../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			all += string(source)
			for _, m := range logged.FindAllStringSubmatch(string(source), -1) {
				found++
				if _, ok := table[m[1]]; !ok {
					t.Errorf("%s: the event %q has no sentence: add it to eventTable in events.go", path, m[1])
				}
			}
			return err
		})
		require.NoError(t, err)
	}
	require.Greater(t, found, 30, "the source is read the wrong way")
	for typ, e := range table {
		require.NotEmpty(t, e.text, typ)
		if !strings.Contains(all, `"`+typ+`"`) {
			t.Errorf("no package logs %q any more: take it out of eventTable in events.go", typ)
		}
	}
}

func TestEventsAreLogged(t *testing.T) {
	type line struct {
		level    httpd.Level
		typ, msg string
		kv       []any
	}
	var got line
	log := logEvents(func(level httpd.Level, typ, msg string, kv ...any) { got = line{level, typ, msg, kv} })
	text := eventTable()["peer_lost"].text
	log("peer_lost", "id", 7)
	require.Equal(t, line{httpd.LevelWarn, "peer_lost", text, []any{"id", 7}}, got)
	log("peer_lost", "level", "debug", "id", 7)
	require.Equal(t, line{httpd.LevelDebug, "peer_lost", text, []any{"id", 7}}, got)
	log("new_kind", "level", "loud")
	require.Equal(t, line{httpd.LevelInfo, "new_kind", "", []any{"level", "loud"}}, got)
}
