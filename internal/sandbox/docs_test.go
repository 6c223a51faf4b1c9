package sandbox

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/rail"
)

var update = flag.Bool("update", false, "write the table of docs/sandbox.md")

const (
	docs       = "../../docs/sandbox.md"
	tableBegin = "<!-- The table is written by go test ./internal/sandbox -update. -->\n"
	tableEnd   = "<!-- End of the table. -->\n"
)

// table prints one row for each outcome and code of the plan, with its value in each kind.
func table() string {
	var b strings.Builder
	b.WriteString("\n| Outcome | Error code | Card | Account | FPS phone | YooMoney wallet | Amount, kopecks | What happens |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	for _, p := range plan {
		cells := map[string][]string{}
		var errorCode fault.Code
		for _, v := range Values() {
			familiar := p.number == 1 && v.Outcome == Succeeded
			if familiar || slices.Contains(p.kinds, v.Kind) && v.Value == valueOf(v.Kind, p.number) {
				cells[v.Kind] = append(cells[v.Kind], code(v.Value))
				errorCode = v.ErrorCode
			}
		}
		fmt.Fprintf(&b, "| %s | %s |", code(string(p.script.outcome)), code(string(errorCode)))
		for _, kind := range allKinds {
			fmt.Fprintf(&b, " %s |", strings.Join(cells[kind], ", "))
		}
		fmt.Fprintf(&b, " %s |\n", p.description)
	}
	b.WriteString("\n")
	return b.String()
}

func TestDocsListEveryValue(t *testing.T) {
	data, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(data), tableBegin)
	old, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", docs)
	}
	if old == table() {
		return
	}
	if !*update {
		t.Fatalf("%s is not current: run go test ./internal/sandbox -update", docs)
	}
	if err := os.WriteFile(docs, []byte(before+tableBegin+table()+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestValuesHaveTheirForm(t *testing.T) {
	forms := map[string]func(string) bool{
		"card": func(s string) bool {
			pan, err := instrument.ParsePAN(s)
			return err == nil && instrument.BrandOf(pan) != instrument.Unbranded
		},
		"bank_account": instrument.AllowedPrefix,
		"fps":          instrument.Phone,
		"wallet":       instrument.WalletNumber,
		"amount":       func(s string) bool { return strings.HasPrefix(s, "1310") && len(s) == 6 },
	}
	seen := map[string]bool{}
	for _, v := range Values() {
		if form := forms[v.Kind]; form == nil || !form(v.Value) {
			t.Errorf("%s %s does not have the form of its kind", v.Kind, v.Value)
		}
		if seen[v.Kind+v.Value] {
			t.Errorf("%s %s is listed twice", v.Kind, v.Value)
		}
		seen[v.Kind+v.Value] = true
		if v.Description == "" {
			t.Errorf("%s %s is not described", v.Kind, v.Value)
		}
		if v.ErrorCode != "" && !fault.Known(v.ErrorCode) {
			t.Errorf("%s %s: %q is not a code of the wire", v.Kind, v.Value, v.ErrorCode)
		}
	}
}

func TestEveryCodeAndOutcomeHasAValue(t *testing.T) {
	for _, code := range rail.Codes {
		if !slices.ContainsFunc(Values(), func(v Value) bool { return v.Outcome == Declined && v.ErrorCode == fault.Code(code) }) {
			t.Errorf("no value is declined with %s", code)
		}
	}
	for outcome := range lives {
		kinds := allKinds
		if outcome == Returned {
			kinds = onlyAccount // nothing else comes back
		}
		for _, kind := range kinds {
			if !slices.ContainsFunc(Values(), func(v Value) bool { return v.Outcome == outcome && v.Kind == kind }) {
				t.Errorf("no %s has the outcome %s", kind, outcome)
			}
		}
	}
}
