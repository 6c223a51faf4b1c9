package api

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
)

// TestDocument holds the tables of docs/wire.md to the code; -update rewrites them.
func TestDocument(t *testing.T) {
	const name = "../../docs/wire.md"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for section, table := range map[string]string{"operations": operationTable(), "request errors": requestErrorTable(), "payout errors": payoutErrorTable()} {
		start, end := fmt.Sprintf("<!-- %s: written by a test -->\n", section), fmt.Sprintf("<!-- end of %s -->\n", section)
		before, rest, ok := strings.Cut(text, start)
		_, after, also := strings.Cut(rest, end)
		if !ok || !also {
			t.Fatalf("%s has no section %q", name, section)
		}
		text = before + start + table + end + after
	}
	if text == string(b) {
		return
	}
	if !*update {
		t.Errorf("%s is not what the code says; rerun with -update", name)
		return
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func operationTable() string {
	var b strings.Builder
	b.WriteString("| operation | versions | methods |\n| --- | --- | --- |\n")
	for _, r := range routes(newFakeEngine()) {
		if r.op == "" {
			continue
		}
		versions := make([]string, 0, len(r.versions))
		for _, v := range r.versions {
			versions = append(versions, fmt.Sprintf("v%d", v))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.path, strings.Join(versions, ", "), strings.Join(r.verbs, ", "))
	}
	names := make([]string, 0, len(notOffered))
	for _, path := range notOffered {
		names = append(names, "`"+path+"`")
	}
	fmt.Fprintf(&b, "\nKnown and not offered (403 `authorization_error`): %s.\n", strings.Join(names, ", "))
	return b.String()
}

// requestErrorTable has a line for each cause, our own codes too: several of
// them share a code of the wire and differ in the status.
func requestErrorTable() string {
	return errorTable("| code | HTTP | meaning |\n| --- | --- | --- |\n", func(r fault.Row) (string, bool) {
		return fmt.Sprintf("| `%s` | %d | %s |\n", r.Wire, r.HTTP, r.Text), r.HTTP != 0
	})
}

func payoutErrorTable() string {
	return errorTable("| code | meaning |\n| --- | --- |\n", func(r fault.Row) (string, bool) {
		either := r.Wire == fault.TaxpayerUnknown || r.Wire == fault.TaxFailed
		return fmt.Sprintf("| `%s` | %s |\n", r.Wire, r.Text), r.HTTP == 0 || either
	})
}

func errorTable(head string, line func(fault.Row) (string, bool)) string {
	var all []string
	for _, code := range fault.Codes() {
		if text, ok := line(fault.Lookup(code)); ok {
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return head + strings.Join(slices.Compact(all), "")
}
