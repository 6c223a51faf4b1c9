package arch

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameTests: a rule or a promise that a document ascribes to a test
// or to a target of the Makefile is held by one of that name.
func TestDocumentsNameTests(t *testing.T) {
	declared := map[string]bool{}
	for name := range tests(t) {
		_, name, _ := strings.Cut(name, " ")
		declared[name] = true
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	for document, least := range map[string]int{"security.md": 40, "reliability.md": 40, "simulation.md": 2} {
		text := read(t, "docs", document)
		named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`").FindAllStringSubmatch(text, -1)
		if len(named) < least {
			t.Errorf("%s: only %d tests are named", document, len(named))
		}
		for _, m := range named {
			if !declared[m[1]] {
				t.Errorf("%s: %s is no test", document, m[1])
			}
		}
		for _, m := range regexp.MustCompile("`make ([a-z0-9-]+)").FindAllStringSubmatch(text, -1) {
			if !targets[m[1]] {
				t.Errorf("%s: make %s is no target", document, m[1])
			}
		}
	}
}

// TestSecurityDocumentHasEveryFuzzTarget: each target has its row in
// docs/security.md, and each row its target.
func TestSecurityDocumentHasEveryFuzzTarget(t *testing.T) {
	all := tests(t)
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\| `(Fuzz[A-Za-z]+)` ").FindAllStringSubmatch(read(t, "docs", "security.md"), -1) {
		rows[m[1]+" "+m[2]] = true
		if !all[m[1]+" "+m[2]] {
			t.Errorf("%s has no %s", m[1], m[2])
		}
	}
	for target := range all {
		if _, name, _ := strings.Cut(target, " "); strings.HasPrefix(name, "Fuzz") && !rows[target] {
			t.Errorf("the target %s has no row", target)
		}
	}
}

// tests are the functions of test files, each by its package and name.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test() {
				all[s.room()+" "+f.Name.Name] = true
			}
		}
	}
	return all
}

// read is a file, by its path from the module's root.
func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
