// Package arch holds the source to rules that the compiler does not know: which
// room may import which, and who may read the clock and the environment. It
// consists of tests only.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/payoutd/payoutd"
	root   = "../.." // of the module, seen from here
)

// A source is one parsed file of the module.
type source struct {
	path string // slash-separated, from the module's root
	ast  *ast.File
	fset *token.FileSet
}

// room is the package's folder from the module's root, "" for the root itself.
func (s *source) room() string { return strings.TrimPrefix(path.Dir(s.path), ".") }

func (s *source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// in reports whether the file lies in one of the rooms or below it.
func (s *source) in(rooms ...string) bool {
	for _, r := range rooms {
		if s.room() == r || strings.HasPrefix(s.room(), r+"/") {
			return true
		}
	}
	return false
}

// at is the place of a node, for messages.
func (s *source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// imports lists the import paths of the file.
func (s *source) imports() []string {
	var paths []string
	for _, spec := range s.ast.Imports {
		paths = append(paths, importPath(spec))
	}
	return paths
}

// selected returns the nodes that name a member of the package, such as
// time.Now, whatever the file calls the package.
func (s *source) selected(pkg string, members ...string) []*ast.SelectorExpr {
	var local string
	for _, spec := range s.ast.Imports {
		if importPath(spec) != pkg {
			continue
		}
		local = path.Base(pkg)
		if spec.Name != nil {
			local = spec.Name.Name
		}
	}
	var found []*ast.SelectorExpr
	ast.Inspect(s.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		// A name that the parser could resolve is a variable of the file, not
		// the package.
		if x, ok := sel.X.(*ast.Ident); ok && x.Obj == nil && x.Name == local && local != "" {
			for _, m := range members {
				if sel.Sel.Name == m {
					found = append(found, sel)
				}
			}
		}
		return true
	})
	return found
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic("the parser let an import path through: " + spec.Path.Value)
	}
	return p
}

// sources parses every Go file of the module.
func sources(t *testing.T) []*source {
	t.Helper()
	var files []*source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")) {
				return filepath.SkipDir
			}
			return nil
		case filepath.Ext(name) != ".go":
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			return err
		}
		files = append(files, &source{path: filepath.ToSlash(rel), ast: file, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no source found")
	}
	return files
}

// parse makes a source of text, for tests of the rules themselves.
func parse(t *testing.T, name, text string) *source {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &source{path: name, ast: file, fset: fset}
}

// wantNone fails for every breach of a rule in the real source.
func wantNone(t *testing.T, rule func(*source) []string) {
	t.Helper()
	for _, s := range sources(t) {
		for _, breach := range rule(s) {
			t.Error(breach)
		}
	}
}

// A planted is a file that a rule must or must not complain about.
type planted struct {
	name   string
	file   string
	text   string
	breach string // part of the only message; "" for none
}

// wantFound proves that a rule sees what it is there for, and no more.
func wantFound(t *testing.T, rule func(*source) []string, rows []planted) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := rule(parse(t, row.file, row.text))
			switch {
			case row.breach == "" && len(got) == 0:
			case row.breach != "" && len(got) == 1 && strings.Contains(got[0], row.breach):
			default:
				t.Errorf("got %q, want %q", got, row.breach)
			}
		})
	}
}
