package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "fastpaca"

// layer is the height of each package in the house (DESIGN.md, "The house"): a package may import only
// packages that stand lower. Equal heights may not import one another.
var layer = map[string]int{
	// Bugs to be built in by a tag, for the simulation to find: constant false otherwise, and imports nothing.
	"jepsen/planted": -1,
	// Pauses for a copy of the product, which imports it from everywhere.
	"jepsen/perturb/delay": -1,
	// The machine that the harness breaks, below a build with the tag faults.
	"jepsen/faults": 5,

	"wal": 0, "raft": 0, "ring": 0, "tokenize": 0, "shard/jsonscan": 0, "shard/pulse": 0,
	"shard/history": 5, // history is files of shard, on walfs
	"shard":         10, "cluster/peer": 15, "cluster/place": 15, "archive": 15, "cluster": 20, "httpd": 30, "cmd/fastpaca": 40,
	"bench": 50, "jepsen": 60, "cmd/lint": 60, "deploy": 60,
}

// pure lists the packages that must be step functions over plain values: no clock, no random source,
// no goroutine, no map iteration, no I/O. The simulator depends on it.
var pure = map[string]bool{"raft": true, "cluster/place": true}

// impureImports may not be imported by a pure package's product code.
var impureImports = map[string]bool{
	"time": true, "math/rand": true, "math/rand/v2": true, "crypto/rand": true, "os": true,
	"net": true, "sync": true, "sync/atomic": true, "io": true, "log": true, "runtime": true, "context": true,
}

type source struct {
	pkg  string // directory below the module root
	path string
	test bool
	file *ast.File
}

func load(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var all []source
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "priv") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		all = append(all, source{pkg: filepath.ToSlash(rel), path: path, test: strings.HasSuffix(name, "_test.go"), file: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files found below %s: the walk is broken", len(all), root)
	}
	return fset, all
}

// TestImportsPointDown keeps the package graph of DESIGN.md.
func TestImportsPointDown(t *testing.T) {
	_, all := load(t)
	for _, s := range all {
		height, known := layerOf(s.pkg)
		if !known {
			t.Errorf("%s: package %q has no layer: add it to cmd/lint with a reason", s.path, s.pkg)
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			rest, ours := strings.CutPrefix(path, module+"/")
			if !ours || rest == s.pkg {
				continue
			}
			below, known := layerOf(rest)
			if s.test && known && below <= height {
				continue // a test may use what stands beside it
			}
			if !known || (below >= height && top(rest) != top(s.pkg)) {
				t.Errorf("%s imports %s: imports point down only", s.path, path)
			}
		}
	}
}

func top(pkg string) string { p, _, _ := strings.Cut(pkg, "/"); return p }

// layerOf finds the layer of pkg or of the nearest parent that has one.
func layerOf(pkg string) (int, bool) {
	for {
		if h, ok := layer[pkg]; ok {
			return h, true
		}
		i := strings.LastIndexByte(pkg, '/')
		if i < 0 {
			return 0, false
		}
		pkg = pkg[:i]
	}
}

// TestPurePackages forbids in pure packages what would make a simulated run differ from its replay.
func TestPurePackages(t *testing.T) {
	fset, all := load(t)
	seen := 0
	for _, s := range all {
		if !pure[s.pkg] || s.test {
			continue
		}
		seen++
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if impureImports[path] {
				t.Errorf("%s imports %s: a pure package takes clock, disk, network and randomness from its caller", s.path, path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: goroutine in a pure package", fset.Position(n.Pos()))
			case *ast.ChanType, *ast.SelectStmt:
				t.Errorf("%s: channel in a pure package", fset.Position(n.Pos()))
			case *ast.MapType:
				// Without a map there is nothing to iterate over in random order.
				t.Errorf("%s: map in a pure package; use a sorted slice", fset.Position(n.Pos()))
			}
			return true
		})
	}
	if seen == 0 {
		t.Fatal("no file of a pure package was checked")
	}
}

// selfEvident methods implement interfaces that every Go programmer knows.
var selfEvident = map[string]bool{"String": true, "Error": true}

// TestExportedAreDocumented wants a doc comment on every exported top-level function and type of the
// product packages.
func TestExportedAreDocumented(t *testing.T) {
	fset, all := load(t)
	for _, s := range all {
		if s.test || s.pkg == "bench" {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !selfEvident[d.Name.Name] {
					t.Errorf("%s: exported %s has no doc comment", fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				if d.Tok != token.TYPE {
					continue
				}
				for _, sp := range d.Specs {
					ts := sp.(*ast.TypeSpec)
					if ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						t.Errorf("%s: exported type %s has no doc comment", fset.Position(ts.Pos()), ts.Name.Name)
					}
				}
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// TestOnlyFixedTopLevel keeps the top level as the user fixed it.
func TestOnlyFixedTopLevel(t *testing.T) {
	allowed := map[string]bool{}
	for _, n := range strings.Fields("raft wal shard ring httpd tokenize cmd bench jepsen cluster archive docs sdk deploy " +
		"go.mod go.sum Makefile PERF.md README.md CHANGELOG.md LICENSE .gitignore .git .ci bin priv") {
		allowed[n] = true
	}
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !allowed[e.Name()] {
			t.Errorf("%s stands at the top level: the layout is fixed, put it where DESIGN.md says", e.Name())
		}
	}
}
