package arch

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityDocumentNamesTests: a rule that docs/security.md ascribes to a test
// is held by one of that name.
func TestSecurityDocumentNamesTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	fuzzed := map[string]bool{} // as the document names them, by package
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test() {
				declared[f.Name.Name] = true
				fuzzed[s.room()+" "+f.Name.Name] = true
			}
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 40 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !declared[m[1]] {
			t.Errorf("%s is no test", m[1])
		}
	}
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\| `(Fuzz[A-Za-z]+)` ").FindAllStringSubmatch(string(text), -1) {
		rows[m[1]+" "+m[2]] = true
		if !fuzzed[m[1]+" "+m[2]] {
			t.Errorf("%s has no %s", m[1], m[2])
		}
	}
	for target := range fuzzed {
		if _, name, _ := strings.Cut(target, " "); strings.HasPrefix(name, "Fuzz") && !rows[target] {
			t.Errorf("the target %s has no row", target)
		}
	}
}
