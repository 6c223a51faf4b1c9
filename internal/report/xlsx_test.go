package report

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
)

// opened is a workbook as a reader finds it: by its relationships alone.
type opened struct {
	*testing.T
	zip *zip.Reader
}

func open(t *testing.T, content []byte) opened {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return opened{t, z}
}

func (o opened) part(name string, into any) {
	o.Helper()
	f, err := o.zip.Open(strings.TrimPrefix(name, "/"))
	if err != nil {
		o.Fatalf("%s: %v", name, err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		o.Fatal(err)
	}
	if err := xml.Unmarshal(text, into); err != nil {
		o.Fatalf("%s: %v\n%s", name, err, text)
	}
}

type relations struct {
	Relationship []struct {
		ID     string `xml:"Id,attr"`
		Type   string `xml:"Type,attr"`
		Target string `xml:"Target,attr"`
	}
}

func (r relations) target(o opened, key string) string {
	o.Helper()
	for _, one := range r.Relationship {
		if one.ID == key || strings.HasSuffix(one.Type, key) {
			return one.Target
		}
	}
	o.Fatalf("no relationship %s in %+v", key, r)
	return ""
}

// cell is a cell with its type and the number format of its style.
type cell struct{ value, kind, format string }

// sheets reads all cells of all sheets.
func (o opened) sheets() [][][]cell {
	o.Helper()
	var (
		root, rels relations
		book       struct {
			Sheets []struct {
				Name string `xml:"name,attr"`
				ID   string `xml:"http://schemas.openxmlformats.org/officeDocument/2006/relationships id,attr"`
			} `xml:"sheets>sheet"`
		}
		styles struct {
			Formats []struct {
				Number string `xml:"numFmtId,attr"`
			} `xml:"cellXfs>xf"`
		}
		types struct {
			Override []struct {
				PartName    string `xml:",attr"`
				ContentType string `xml:",attr"`
			}
		}
	)
	o.part("_rels/.rels", &root)
	if got := root.target(o, "/officeDocument"); got != "xl/workbook.xml" {
		o.Fatalf("the workbook is %s", got)
	}
	o.part("xl/workbook.xml", &book)
	o.part("xl/_rels/workbook.xml.rels", &rels)
	o.part("xl/"+rels.target(o, "/styles"), &styles)
	o.part("[Content_Types].xml", &types)
	for _, t := range types.Override {
		if _, err := o.zip.Open(strings.TrimPrefix(t.PartName, "/")); err != nil || !strings.HasSuffix(t.ContentType, "+xml") {
			o.Errorf("%+v: %v", t, err)
		}
	}
	if len(types.Override) != len(o.zip.File)-2 { // but the types and the root's relationships; the book's go by their ending
		if len(types.Override) != len(o.zip.File)-3 {
			o.Errorf("%d parts have a type, of %d", len(types.Override), len(o.zip.File))
		}
	}
	var all [][][]cell
	for _, s := range book.Sheets {
		var in struct {
			Rows []struct {
				No    int `xml:"r,attr"`
				Cells []struct {
					Style   int     `xml:"s,attr"`
					Type    string  `xml:"t,attr"`
					Value   string  `xml:"v"`
					Text    string  `xml:"is>t"`
					Formula *string `xml:"f"`
				} `xml:"c"`
			} `xml:"sheetData>row"`
		}
		o.part("xl/"+rels.target(o, s.ID), &in)
		rows := [][]cell{}
		for n, r := range in.Rows {
			if r.No != n+1 {
				o.Errorf("row %d has the number %d", n+1, r.No)
			}
			var cells []cell
			for _, c := range r.Cells {
				if c.Formula != nil {
					o.Errorf("%+v is a formula", c)
				}
				cells = append(cells, cell{c.Value + c.Text, c.Type, styles.Formats[c.Style].Number})
			}
			rows = append(rows, cells)
		}
		all = append(all, rows)
	}
	return all
}

func (s *shelf) xlsx(t *testing.T, d string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, XLSX, Rows(t.Context(), s, &s.project, day(d))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestXLSX(t *testing.T) {
	s := newShelf()
	formula := `=HYPERLINK("http://evil.example","<click> & win")`
	s.pay(t, at("2026-11-27 10:00:00"), 1_234_567_89, 10, session.Details{Metadata: json.RawMessage(mustJSON(formula))})
	s.pay(t, at("2026-11-27 10:00:00"), 9_007_199_254_740_991, 0, session.Details{Metadata: json.RawMessage(mustJSON(" a\u0000\ufffe "))})
	s.own = &ledger.OwnAccount{Project: "acme", Number: "40702810900000000131", Balance: ledger.Accounts{Available: 1, Deposits: -1}}
	s.pay(t, at("2026-11-27 10:00:00"), 1, 0, session.Details{Metadata: json.RawMessage(mustJSON(strings.Repeat("я", 40_000)))})
	content := s.xlsx(t, "2026-11-27")
	if !bytes.Equal(content, s.xlsx(t, "2026-11-27")) {
		t.Error("the same rows give other bytes")
	}
	sheets := open(t, content).sheets()
	if len(sheets) != 1 || len(sheets[0]) != 4 {
		t.Fatalf("sheets %v", sheets)
	}
	byName := func(row int, name string) cell {
		return sheets[0][row][slices.IndexFunc(sheets[0][0], func(c cell) bool { return c.value == name })]
	}
	for _, test := range []struct {
		row  int
		name string
		want cell
	}{
		{1, "operationId", cell{"po_1", "inlineStr", ""}},
		{1, "paymentSessionMerchantMetadata", cell{formula, "inlineStr", ""}},
		{1, "grossLocalAmount", cell{"1234567.99", "", "2"}},
		{1, "paymentLocalAmount", cell{"1234567.89", "", "2"}},
		{1, "feesLocalAmount", cell{"0.10", "", "2"}},
		{1, "paymentFast", cell{"0", "", ""}},
		{1, "originalAmount", cell{"", "", ""}},
		{2, "grossLocalAmount", cell{"90071992547409.91", "inlineStr", ""}}, // no double is that exact in every program
		{2, "paymentSessionMerchantMetadata", cell{" a\ufffd\ufffd ", "inlineStr", ""}},
		{3, "paymentSessionMerchantMetadata", cell{strings.Repeat("я", textMax-1) + "…", "inlineStr", ""}},
		{1, "account", cell{"", "", ""}},
		{3, "account", cell{"40702810900000000131", "inlineStr", ""}},
	} {
		if got := byName(test.row, test.name); got != test.want {
			t.Errorf("row %d, %s: got %+v, want %+v", test.row, test.name, got, test.want)
		}
	}
}

func TestXLSXWithoutRows(t *testing.T) {
	sheets := open(t, newShelf().xlsx(t, "2026-11-27")).sheets()
	if len(sheets) != 1 || len(sheets[0]) != 0 {
		t.Errorf("sheets %v, want an empty one", sheets)
	}
}

func TestXLSXGoesOnInAnotherSheet(t *testing.T) {
	defer func(n int) { sheetRowsMax = n }(sheetRowsMax)
	sheetRowsMax = 3
	s := newShelf()
	for range 5 {
		s.pay(t, at("2026-11-27 10:00:00"), 1, 0, session.Details{})
	}
	var got []string
	for _, rows := range open(t, s.xlsx(t, "2026-11-27")).sheets() {
		for _, r := range rows {
			got = append(got, r[0].value)
		}
	}
	if want := []string{"operationId", "po_1", "po_2", "operationId", "po_3", "po_4", "operationId", "po_5"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriteStops(t *testing.T) {
	s := newShelf()
	for range 2000 {
		s.pay(t, at("2026-11-27 10:00:00"), 1, 0, session.Details{})
	}
	for _, f := range []Format{CSV, XLSX} {
		if err := Write(full{}, f, Rows(t.Context(), s, &s.project, day("2026-11-27"))); err == nil {
			t.Errorf("%s: no error of the writer", f)
		}
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
