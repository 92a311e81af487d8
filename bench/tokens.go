package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tiktoken-go/tokenizer"

	"fastpaca/bench/hist"
	"fastpaca/bench/report"
	"fastpaca/tokenize"
)

const (
	corpusBytes = 2 << 20
	pieceBytes  = 1 << 10 // texts are counted in pieces of about this size, as messages are
)

// tokens: our counter against the reference library, in this process, on the same pieces of text. The counts must be
// equal.
func tokens(b *bench) error {
	b.stepOf(0.2, "gathering a corpus")
	english, err := os.ReadFile(filepath.Join(goroot(), "src", "testdata", "Isaac.Newton-Opticks.txt"))
	if err != nil {
		return fmt.Errorf("an English book that comes with Go: %w", err)
	}
	docs, code, err := corpus(b.pickInt(corpusBytes, corpusBytes/4))
	if err != nil {
		return err
	}
	w := newWriter(3)
	var words []byte
	for len(words) < len(english)/2 {
		words = append(words, w.message(nil)[len(messageHead):messageBytes-len(messageTail)]...)
	}
	texts := []struct {
		name string
		text []byte
	}{
		{"English (Newton, Opticks)", english},
		{"documentation (comments of Go's library)", docs},
		{"code (Go's library)", code},
		{"words of the messages above", words},
	}
	b.rep.Table("Token counting, one core (MB/s; counts are equal)", "text", "library o200k", "ours", "ratio", "library cl100k", "ours", "ratio")
	models := []struct {
		model    string
		encoding tokenizer.Encoding
	}{{"gpt-4o", tokenizer.O200kBase}, {"gpt-4", tokenizer.Cl100kBase}}
	for ti, t := range texts {
		row := []string{t.name}
		for _, m := range models {
			b.stepOf(0.1, "%s, %s", t.name, m.encoding)
			ours, err := tokenize.New("tiktoken:" + m.model)
			if err != nil {
				return err
			}
			lib, err := tokenizer.Get(m.encoding)
			if err != nil {
				return err
			}
			l, o, err := countDuel(ours, lib, pieces(t.text), b.pickTime(250*time.Millisecond, 120*time.Millisecond))
			if err != nil {
				return fmt.Errorf("%s, %s: %w", t.name, m.encoding, err)
			}
			ratios := hist.Ratios(o, l)
			row = append(row, num(l), num(o), report.Number(hist.Median(ratios), "x"))
			id := fmt.Sprintf("tokens.%s.%d", m.encoding, ti)
			if ti == 0 {
				b.claim(id, fmt.Sprintf("token counting, English, %s, against the library", m.encoding), ratios, "x", atLeast(10))
			} else {
				b.rep.Fact(id, fmt.Sprintf("token counting, %s, %s, against the library", t.name, m.encoding), hist.Median(ratios), "x")
			}
			for r := range l {
				b.rep.Rounds = append(b.rep.Rounds,
					report.Round{Scenario: b.cur.name, Case: t.name + ", " + string(m.encoding), Server: "library", Round: r, PerSecond: l[r] * 1e6},
					report.Round{Scenario: b.cur.name, Case: t.name + ", " + string(m.encoding), Server: kindOurs, Round: r, PerSecond: o[r] * 1e6})
			}
		}
		b.rep.Row(row...)
	}
	return b.worstCases()
}

// worstCases: texts that defeat careless tokenizers. Time must grow with the length, not with its square.
func (b *bench) worstCases() error {
	c, err := tokenize.New("tiktoken:gpt-4o")
	if err != nil {
		return err
	}
	const short, long = 16 << 10, 512 << 10
	b.rep.Table("Token counting of hard texts, o200k_base, ours (MB/s)", "text", fmt.Sprintf("%d KiB", short>>10), fmt.Sprintf("%d KiB", long>>10))
	worst := 1e18
	for _, t := range []struct{ name, unit string }{
		{"aaaa", "a"}, {"spaces", " "}, {"!!!!", "!"}, {"one Chinese character", "中"}, {"digits", "7"}, {"newlines", "\n"},
		{"Chinese", "天地玄黄宇宙洪荒日月盈昃辰宿列张"}, {"emoji", "👩‍👩‍👧‍👦🏳️‍🌈"},
	} {
		speed := func(n int) float64 {
			text := []byte(strings.Repeat(t.unit, n/len(t.unit)))
			start, done := time.Now(), 0
			for time.Since(start) < 30*time.Millisecond || done == 0 {
				c.Count(text)
				done += len(text)
			}
			return float64(done) / time.Since(start).Seconds() / 1e6
		}
		s, l := speed(short), speed(long)
		worst = min(worst, l/s)
		b.rep.Row(t.name, report.Number(s, ""), report.Number(l, ""))
	}
	b.rep.Fact("tokens.linear", "token counting, hardest text: speed at 32 times the length", 100*worst, "%")
	return nil
}

// countDuel counts all pieces by the library and by ours in turn for about window each, three rounds, in MB/s.
func countDuel(ours *tokenize.Counter, lib tokenizer.Codec, pieces [][]byte, window time.Duration) (l, o []float64, err error) {
	strs := make([]string, len(pieces))
	for i, p := range pieces {
		strs[i] = string(p)
	}
	for range 3 {
		// The library decides how many pieces fit into the window; ours counts the same ones, as often as needed.
		start, n, bytes, want := time.Now(), 0, 0, 0
		for n < len(strs) && time.Since(start) < window {
			k, err := lib.Count(strs[n])
			if err != nil {
				return nil, nil, err
			}
			want += k
			bytes += len(strs[n])
			n++
		}
		l = append(l, float64(bytes)/time.Since(start).Seconds()/1e6)
		start, passes := time.Now(), 0
		for passes == 0 || time.Since(start) < window/2 {
			got := 0
			for _, p := range pieces[:n] {
				got += ours.Count(p)
			}
			if got != want {
				return nil, nil, fmt.Errorf("%d tokens in %d bytes, the library counts %d", got, bytes, want)
			}
			passes++
		}
		o = append(o, float64(bytes*passes)/time.Since(start).Seconds()/1e6)
	}
	return l, o, nil
}

// pieces cuts text at spaces into pieces of about pieceBytes.
func pieces(text []byte) [][]byte {
	var out [][]byte
	for len(text) > pieceBytes {
		at := bytes.IndexByte(text[pieceBytes:], ' ')
		if at < 0 {
			break
		}
		out = append(out, text[:pieceBytes+at])
		text = text[pieceBytes+at:]
	}
	return append(out, text)
}

// corpus gathers n bytes each of documentation and of code from the sources of Go's library, which every machine that
// runs this has: the text of comments, and the files as they are.
func corpus(n int) (docs, code []byte, err error) {
	root := filepath.Join(goroot(), "src")
	for _, dir := range []string{"net", "os", "encoding", "database", "crypto", "html", "text", "reflect", "time", "sync", "runtime", "go"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if len(docs) >= n && len(code) >= n {
				return filepath.SkipAll
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if len(code) < n {
				code = append(code, src...)
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil // a file for another version of Go
			}
			ast.Inspect(f, func(node ast.Node) bool {
				if doc, ok := node.(*ast.CommentGroup); ok && len(doc.Text()) > 80 && !strings.HasPrefix(doc.Text(), "Copyright") {
					docs = append(docs, doc.Text()...)
				}
				return true
			})
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("gather a corpus from %s: %w", root, err)
		}
	}
	if len(docs) < n/4 || len(code) < n/4 {
		return nil, nil, fmt.Errorf("gather a corpus from %s: only %d bytes of docs and %d of code", root, len(docs), len(code))
	}
	return docs[:min(n, len(docs))], code[:min(n, len(code))], nil
}

// goroot is where Go is installed, "" where that cannot be found out.
func goroot() string { return output("go", "env", "GOROOT") }
