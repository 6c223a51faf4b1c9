package session

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

//go:generate go test -run TestDiagram . -update

// docs/states.md is written from the table and the comments of step.go.
func TestDiagram(t *testing.T) {
	who := comments(t, "step.go")
	var b bytes.Buffer
	b.WriteString(`# The life of a payout

Written by ` + "`go generate ./internal/session`" + ` from the table in step.go; a test keeps it current.

` + "```mermaid" + `
stateDiagram-v2
    [*] --> created
`)
	for _, s := range States {
		for _, e := range possibleIn(s) {
			step, _ := Next(s, e)
			fmt.Fprintf(&b, "    %s --> %s: %s\n", s, step.To, e)
		}
		if len(possibleIn(s)) == 0 {
			fmt.Fprintf(&b, "    %s --> [*]\n", s)
		}
	}
	b.WriteString("```" + `

## States

What a partner sees of a payout and its session, and whose turn it is.

| state | session | payout | next_action | money held | who acts next |
| --- | --- | --- | --- | --- | --- |
`)
	for _, s := range States {
		v, held := shown[s], ""
		if s == Disputed {
			v = Shown{"as before", "as before", ""}
		}
		if s.Holds() {
			held = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", s, cell(v.Session), cell(v.Payout), cell(v.NextAction), cell(held), who[key("State", s)])
	}
	b.WriteString(`
## Steps

What one event does: all of a row is committed together, and any pair of state
and event that has no row is refused with ` + "`session_wrong_state`" + `.

| state | event | next state | movement of money | webhook |
| --- | --- | --- | --- | --- |
`)
	for _, s := range States {
		for _, e := range possibleIn(s) {
			step, _ := Next(s, e)
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s, e, step.To, cell(string(step.Move)), cell(string(step.Hook)))
		}
	}
	b.WriteString(`
## Events

| event | who brings it, and what it is |
| --- | --- |
`)
	for _, e := range Events {
		fmt.Fprintf(&b, "| %s | %s |\n", e, who[key("Event", e)])
	}
	b.WriteString(`
## Movements

| movement | from → to |
| --- | --- |
`)
	for _, m := range []Movement{Hold, Settle, Release, Restore, Suspend} {
		fmt.Fprintf(&b, "| %s | %s |\n", m, who[key("Movement", m)])
	}
	receipts(t, &b)
	golden(t, filepath.Join("..", "..", "docs", "states.md"), b.Bytes())
}

// receipts writes the life of a receipt, from the table in receipt.go.
func receipts(t *testing.T, b *bytes.Buffer) {
	t.Helper()
	who := comments(t, "receipt.go")
	b.WriteString(`
# The life of a receipt

Of a payout to a self-employed person, beside its own life; from the table in receipt.go.

` + "```mermaid\nstateDiagram-v2\n    [*] --> reserved\n")
	for _, s := range ReceiptStates {
		for _, e := range ReceiptEvents {
			if to, err := NextReceipt(s, e); err == nil {
				fmt.Fprintf(b, "    %s --> %s: %s\n", s, to, e)
			}
		}
	}
	b.WriteString("```\n\n| state | owed | who acts next |\n| --- | --- | --- |\n")
	for _, s := range ReceiptStates {
		fmt.Fprintf(b, "| %s | %s | %s |\n", s, cell(map[bool]string{true: "yes"}[s.Owed()]), who[key("ReceiptState", s)])
	}
	b.WriteString("\n| event | who brings it, and what it is |\n| --- | --- |\n")
	for _, e := range ReceiptEvents {
		fmt.Fprintf(b, "| %s | %s |\n", e, who[key("ReceiptEvent", e)])
	}
}

// key names a constant by its type and value: there is an event return and a
// movement return.
func key[T ~string](kind string, value T) string { return kind + " " + string(value) }

// comments reads what a file says behind its constants, by their keys.
func comments(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || spec.Comment == nil {
			return true
		}
		kind, typed := spec.Type.(*ast.Ident)
		value, literal := spec.Values[0].(*ast.BasicLit)
		if typed && literal {
			if text, err := strconv.Unquote(value.Value); err == nil {
				texts[key(kind.Name, text)] = strings.TrimSpace(spec.Comment.Text())
			}
		}
		return true
	})
	if file == "receipt.go" {
		for _, s := range ReceiptStates {
			if texts[key("ReceiptState", s)] == "" {
				t.Errorf("%s: no comment says who acts next", s)
			}
		}
		for _, e := range ReceiptEvents {
			if texts[key("ReceiptEvent", e)] == "" {
				t.Errorf("%s: no comment says who brings it", e)
			}
		}
		return texts
	}
	for _, s := range States {
		if texts[key("State", s)] == "" {
			t.Errorf("%s: no comment says who acts next", s)
		}
	}
	for _, e := range Events {
		if texts[key("Event", e)] == "" {
			t.Errorf("%s: no comment says who brings it", e)
		}
	}
	return texts
}

// cell is the text of a table's cell.
func cell(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
