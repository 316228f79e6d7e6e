package archtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// makers are the functions whose first string argument is a code, with its place among the arguments.
var makers = map[string]int{"New": 0, "plain": 1, "badRequest": 0, "notFound": 0}

// Every code that an error can carry has a section in the reference, and every section stands for a code.
func TestEveryErrorCodeIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs", "reference", "errors.md"))
	require.NoError(t, err)
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### ([a-z_0-9]+)$`).FindAllStringSubmatch(string(page), -1) {
		require.False(t, documented[m[1]], "%s has two sections", m[1])
		documented[m[1]] = true
	}
	used := codes(t)
	require.Greater(t, len(used), 80, "the code was read")
	for code, where := range used {
		if !documented[code] {
			t.Errorf("%s: code %q has no section in docs/reference/errors.md", where, code)
		}
		delete(documented, code)
	}
	for code := range documented {
		t.Errorf("docs/reference/errors.md describes %q, which nothing uses", code)
	}
}

// codes finds the literals that are given to makers, the values of constants named Code… or Stop…, and of variables named code.
func codes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, literal := range codeLiterals(n) {
				if text, err := strconv.Unquote(literal.Value); err == nil && regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)+$|^stopping$`).MatchString(text) {
					found[text] = set.Position(literal.Pos()).String()
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	return found
}

func codeLiterals(n ast.Node) []*ast.BasicLit {
	var all []*ast.BasicLit
	add := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			all = append(all, l)
		}
	}
	switch n := n.(type) {
	case *ast.CallExpr:
		name := ""
		switch f := n.Fun.(type) {
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok && x.Name == "problem" {
				name = f.Sel.Name
			}
		case *ast.Ident:
			name = f.Name
			if name == "asProblem" && len(n.Args) == 3 {
				add(n.Args[1])
			}
		}
		if at, ok := makers[name]; ok && at < len(n.Args) {
			add(n.Args[at])
		}
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if (strings.HasPrefix(name.Name, "Code") || strings.HasPrefix(name.Name, "StopDead")) && i < len(n.Values) {
				add(n.Values[i])
			}
		}
	case *ast.AssignStmt:
		for i, l := range n.Lhs {
			if id, ok := l.(*ast.Ident); ok && id.Name == "code" && i < len(n.Rhs) {
				add(n.Rhs[i])
			}
		}
	}
	return all
}
