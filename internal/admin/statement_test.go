package admin

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail/statement"
)

// theirs is a statement with so many lines that nobody knows, as a file.
func theirs(t *testing.T, lines int) *bytes.Buffer {
	t.Helper()
	s := &statement.Statement{Rail: "account", ID: "ST-1", From: noon.Add(-time.Hour), To: noon}
	for n := range lines {
		s.Lines = append(s.Lines, statement.Line{
			Kind: statement.Other, RailID: fmt.Sprint("B-", n), Amount: money.Amount{Minor: 5, Currency: money.RUB},
			Direction: statement.Debit, At: s.From, Text: strings.Repeat("their fee ", 50),
		})
	}
	var b bytes.Buffer
	if err := statement.WriteCSV(&b, s); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestStatements(t *testing.T) {
	h, _ := newDesk(t)
	p := place(t, h)
	c := connect(t, p) // in this process
	serve(t, p, h)
	beside := connect(t, p)
	if list, err := c.Statements(t.Context(), 10); err != nil || len(list) != 0 {
		t.Errorf("statements of nobody: %+v, %v", list, err)
	}
	// More than any other command may bring.
	file := theirs(t, 3000)
	if file.Len() < requestBytesMax {
		t.Fatalf("the file has %d bytes", file.Len())
	}
	content := file.Bytes()
	got, err := beside.ImportStatement(t.Context(), "account", "", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if got.Repeated || got.State != "done" || got.ID != "ST-1" || got.Rail != "account" || got.Lines != 3000 || got.Differences != 3000 {
		t.Errorf("taken in as %+v", got)
	}
	if d := got.Found[0]; d.Kind != "extra" || d.Line != 1 || d.Theirs == nil || d.Theirs.Minor != 5 || d.Ours != nil || d.Session != "" || d.RailID != "B-0" {
		t.Errorf("the first difference: %+v", d)
	}
	again, err := c.ImportStatement(t.Context(), "account", statement.CSV, bytes.NewReader(content))
	if err != nil || !again.Repeated || again.Number != got.Number {
		t.Errorf("again: %v", err)
	}
	shown, err := c.Statement(t.Context(), got.Number)
	if err != nil || len(shown.Found) != 3000 || shown.Repeated {
		t.Errorf("shown with %d differences: %v", len(shown.Found), err)
	}
	list, err := beside.Statements(t.Context(), 10)
	if err != nil || len(list) != 1 || list[0].Number != got.Number || list[0].Found != nil {
		t.Errorf("%d statements: %v", len(list), err)
	}
}

func TestStatementRefusals(t *testing.T) {
	h, _ := newDesk(t)
	p := place(t, h)
	serve(t, p, h)
	c := connect(t, p)
	for _, tt := range []struct {
		name   string
		rail   string
		format statement.Format
		file   io.Reader
		says   string
	}{
		{"no rail", "", "", theirs(t, 1), "rail"},
		{"another rail", "card", "", theirs(t, 1), "the statement is of account"},
		{"another form than said", "account", statement.Camt, theirs(t, 1), "can't be read"},
		{"a form that is none", "account", "pdf", theirs(t, 1), "can't be read: neither"},
		{"nothing", "account", "", strings.NewReader(""), "can't be read: neither"},
		{"cut short", "account", "", strings.NewReader(theirs(t, 3).String()[:700]), "can't be read: row "},
		{"a card number in the way", "account", "", strings.NewReader("payoutd-statement,1\nfrom,2200000000001317\n"), `"220000******1317" is no time`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.ImportStatement(t.Context(), tt.rail, tt.format, tt.file)
			if fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
	for number, want := range map[string]fault.Code{"st_1": fault.NotFound, "1": fault.Invalid, "": fault.Invalid} {
		if _, err := c.Statement(t.Context(), number); fault.CodeOf(err) != want {
			t.Errorf("%q: %v, want code %s", number, err, want)
		}
	}
	if list, err := c.Statements(t.Context(), 10); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
