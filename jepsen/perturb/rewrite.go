package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

const importLine = `; import perturbDelay "fastpaca/jepsen/perturb/delay"`

// insertion is text that goes before the byte at offset.
type insertion struct {
	offset int
	text   string
}

// rewrite puts a pause before each statement of src in which another goroutine can be met (meets), numbers the
// places from first on, and returns the new source and how many they are. Lines keep their numbers, so that a
// stack trace of the copy fits the original.
func rewrite(name string, src []byte, first int) ([]byte, int, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, 0, err
	}
	var in []insertion
	list := func(stmts []ast.Stmt) {
		for _, s := range stmts {
			if meets(s) {
				in = append(in, insertion{fset.Position(s.Pos()).Offset, fmt.Sprintf("perturbDelay.P(%d); ", first+len(in))})
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return !directed(n)
		case *ast.BlockStmt:
			list(n.List)
		case *ast.CaseClause:
			list(n.Body)
		case *ast.CommClause:
			list(n.Body)
		}
		return true
	})
	if len(in) == 0 {
		return src, 0, nil
	}
	places := len(in)
	in = append(in, insertion{fset.Position(file.Name.End()).Offset, importLine})
	slices.SortFunc(in, func(a, b insertion) int { return a.offset - b.offset })
	var out bytes.Buffer
	at := 0
	for _, i := range in {
		out.Write(src[at:i.offset])
		out.WriteString(i.text)
		at = i.offset
	}
	out.Write(src[at:])
	return out.Bytes(), places, nil
}

// directed says whether the compiler has been told something about f (go:nosplit, go:norace, go:linkname):
// such a function may not call what it likes.
func directed(f *ast.FuncDecl) bool {
	if f.Doc == nil {
		return false
	}
	return slices.ContainsFunc(f.Doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:") })
}

// meets says whether something in s itself, not in blocks below it, can be the half of a race: a call, a
// channel, a goroutine's start, or a return, behind which a caller goes on.
func meets(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.LabeledStmt:
		return meets(s.Stmt)
	case *ast.ExprStmt, *ast.SendStmt, *ast.GoStmt, *ast.SelectStmt, *ast.ReturnStmt:
		return true
	case *ast.AssignStmt:
		return slices.ContainsFunc(s.Rhs, calls)
	case *ast.IfStmt:
		return s.Init != nil && meets(s.Init) || calls(s.Cond)
	case *ast.SwitchStmt:
		return s.Init != nil && meets(s.Init) || s.Tag != nil && calls(s.Tag)
	}
	return false
}

// calls says whether e calls something or receives from a channel when it is evaluated. A conversion counts as
// a call: the syntax does not tell them apart, and a pause too many does no harm.
func calls(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.CallExpr:
			found = true
		case *ast.UnaryExpr:
			found = found || n.Op == token.ARROW
		}
		return !found
	})
	return found
}
