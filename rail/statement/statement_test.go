package statement

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/money"
)

func rub(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.RUB} }

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func pointer(a money.Amount) *money.Amount { return &a }

func TestRead(t *testing.T) {
	for _, c := range []struct {
		file string
		want Statement
	}{
		{"day.csv", Statement{
			Rail: "account", ID: "ST-20260301", From: at("2026-02-28T21:00:00Z"), To: at("2026-03-01T21:00:00Z"),
			Opening: pointer(rub(1000_00)), Closing: pointer(rub(-749_50)),
			Lines: []Line{
				{Payout, "po_1", "B-1", rub(200_50), Debit, at("2026-03-01T12:00:00Z"), `Выплата, "март"`},
				{Return, "po_2", "B-2", rub(100_00), Credit, at("2026-03-01T15:00:00.000001Z"), ""},
				{Other, "", "", rub(50_00), Debit, at("2026-03-01T17:00:00Z"), "monthly fee"},
			},
		}},
		{"v02.xml", Statement{
			ID: "ST-20260301", From: at("2026-02-28T21:00:00Z"), To: at("2026-03-01T21:00:00Z"),
			Opening: pointer(rub(1000_00)), Closing: pointer(rub(749_50)),
			Lines: []Line{
				{Payout, "po_1", "B-77/1", rub(200_50), Debit, at("2026-02-28T21:00:00Z"), "Выплата & вознаграждение"},
				{Payout, "po_2", "B-79", rub(100_00), Debit, at("2026-02-28T21:00:00Z"), ""},
				{Return, "po_2", "B-80", rub(100_00), Credit, at("2026-03-01T15:00:00Z"), "closed account"},
				{Other, "", "", rub(50_00), Debit, at("2026-02-28T21:00:00Z"), "monthly fee"},
			},
		}},
		{"v08.xml", Statement{
			ID: "ST-8", From: at("2026-02-28T21:00:00Z"), To: at("2026-03-01T21:00:00Z"),
			Opening: pointer(rub(-10_00)), Closing: pointer(rub(-12_00)),
			Lines: []Line{
				{Payout, "po_1", "", rub(5_00), Debit, at("2026-02-28T21:00:00Z"), ""},
				{Return, "po_1", "", rub(3_00), Credit, at("2026-02-28T21:00:00Z"), ""},
			},
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			for _, prefix := range []string{"", bom} {
				got, err := Read(strings.NewReader(prefix+string(b)), "")
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(*got, c.want) {
					t.Errorf("got  %+v\nwant %+v", *got, c.want)
				}
			}
		})
	}
}

const (
	csvAbout = "payoutd-statement,1\nid,S\nfrom,2026-03-01\nto,2026-03-02\n"
	csvTable = "kind,reference,rail_id,amount,currency,direction,booked,text\n"
	csvGood  = "payout,po_1,B-1,1.00,RUB,debit,2026-03-01,\n"
)

func TestNoCSV(t *testing.T) {
	for _, c := range []struct{ name, file, says string }{
		{"nothing", "", "neither"},
		{"something else", "date;sum\n1;2\n", "neither"},
		{"another version", "payoutd-statement,2\n", `row 1: payoutd-statement: version "2"`},
		{"cut before the table", csvAbout, "row 4: the file ends"},
		{"cut within the table", csvAbout + csvTable + csvGood, "row 6: the file ends"},
		{"a line lost", csvAbout + csvTable + csvGood + "end,2\n", "row 7: end: there are 1 lines"},
		{"more behind the end", csvAbout + csvTable + "end,0\n" + csvGood, "end: there is more"},
		{"no id", "payoutd-statement,1\nfrom,2026-03-01\nto,2026-03-02\n" + csvTable, "row 4: id: missing"},
		{"no period", "payoutd-statement,1\nid,S\nto,2026-03-02\n" + csvTable, "from: missing"},
		{"twice", "payoutd-statement,1\nid,S\nid,T\n", "row 3: id: it stands here twice"},
		{"an unknown name", "payoutd-statement,1\ncolour,red\n", "row 2: colour: no such name"},
		{"no value", "payoutd-statement,1\nid\n", "id: it has no value"},
		{"no time", "payoutd-statement,1\nfrom,yesterday\n", `row 2: from: "yesterday" is no time`},
		{"a balance without a currency", "payoutd-statement,1\nopening,5\n", "opening: want an amount and a currency"},
		{"backwards", "payoutd-statement,1\nid,S\nfrom,2026-03-02\nto,2026-03-01\n" + csvTable + "end,0\n", "period"},
		{"other columns", csvAbout + "kind,reference\n", "row 5: the head of the table"},
		{"too few values", csvAbout + csvTable + "payout,po_1\n", "row 6: want 8 values, not 2"},
		{"another kind", csvAbout + csvTable + "gift,po_1,B-1,1.00,RUB,debit,2026-03-01,\n", "row 6: kind"},
		{"a payout that comes", csvAbout + csvTable + "payout,po_1,B-1,1.00,RUB,credit,2026-03-01,\n", "direction"},
		{"a return that leaves", csvAbout + csvTable + "return,po_1,B-1,1.00,RUB,debit,2026-03-01,\n", "direction"},
		{"a payout of nobody", csvAbout + csvTable + "payout,,B-1,1.00,RUB,debit,2026-03-01,\n", "reference: missing"},
		{"a long reference", csvAbout + csvTable + "payout," + strings.Repeat("p", 65) + ",B-1,1.00,RUB,debit,2026-03-01,\n", "reference"},
		{"a reference on two lines", csvAbout + csvTable + "payout,\"po\n1\",B-1,1.00,RUB,debit,2026-03-01,\n", "reference"},
		{"nothing paid", csvAbout + csvTable + "payout,po_1,B-1,0.00,RUB,debit,2026-03-01,\n", "amount"},
		{"less than nothing", csvAbout + csvTable + "payout,po_1,B-1,-1.00,RUB,debit,2026-03-01,\n", "amount"},
		{"half a kopeck", csvAbout + csvTable + "payout,po_1,B-1,1.005,RUB,debit,2026-03-01,\n", `amount: "1.005" is no amount`},
		{"an exponent", csvAbout + csvTable + "payout,po_1,B-1,1e2,RUB,debit,2026-03-01,\n", "amount"},
		{"an unknown currency", csvAbout + csvTable + "payout,po_1,B-1,1.00,CNY,debit,2026-03-01,\n", `currency "CNY"`},
		{"no time of a line", csvAbout + csvTable + "payout,po_1,B-1,1.00,RUB,debit,,\n", "row 6: booked"},
		{"a broken quote", csvAbout + csvTable + "payout,\"po_1,B-1\n", "row"},
		{"a long value", csvAbout + csvTable + "payout,po_1,B-1,1.00,RUB,debit,2026-03-01," + strings.Repeat("x", valueMax+1) + "\n", "row 6: a value is longer"},
		{"a row without end", csvAbout + csvTable + "payout,\"" + strings.Repeat("x\n", pieceMax), "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.file, CSV, c.says) })
	}
}

func refused(t *testing.T, file string, f Format, says string) {
	t.Helper()
	s, err := Read(strings.NewReader(file), f)
	if err == nil {
		t.Fatalf("it was read as %+v", s)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("error %q, want one that says %q", err, says)
	}
}

// camt is a document with what stands in its statement.
func camt(inner string) string {
	return `<Document xmlns="` + camtNamespace + `02"><BkToCstmrStmt><Stmt><Id>S</Id>` +
		`<FrToDt><FrDtTm>2026-03-01T00:00:00Z</FrDtTm><ToDtTm>2026-03-02T00:00:00Z</ToDtTm></FrToDt>` + inner + `</Stmt></BkToCstmrStmt></Document>`
}

// entry is an Ntry of 3 roubles with what stands in its details.
func entry(details string) string {
	return camt(`<Ntry><Amt Ccy="RUB">3.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><BookgDt><Dt>2026-03-01</Dt></BookgDt><NtryDtls>` + details + `</NtryDtls></Ntry>`)
}

func TestNoCamt(t *testing.T) {
	const of = "Document/BkToCstmrStmt/Stmt/Ntry[1]"
	for _, c := range []struct{ name, file, says string }{
		{"another document", `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.03"><CstmrCdtTrfInitn/></Document>`, "neither"},
		{"the oldest version", `<Document xmlns="` + camtNamespace + `01"></Document>`, "neither"},
		{"a page of the web", `<html><body/></html>`, "neither"},
		{"no statement", `<Document><BkToCstmrStmt></BkToCstmrStmt></Document>`, "neither"},
		{"cut short", camt("")[:200], "line 1: unexpected EOF"},
		{"an entity of its own", `<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + camt("&e;"), "document type"},
		{"an entity of nobody", camt("&e;"), "invalid character entity"},
		{"another encoding", `<?xml version="1.0" encoding="windows-1251"?>` + camt(""), "encoding"},
		{"deep", camt(strings.Repeat("<a>", 100)), "more than 32 deep"},
		{"a long value", camt("<Ntry><NtryRef>" + strings.Repeat("x", valueMax*4+1) + "</NtryRef></Ntry>"), of + "/NtryRef: a value is longer"},
		{"a token without end", camt("<Ntry a='" + strings.Repeat("x", 2*pieceMax)), "longer than"},
		{"a long name", camt("<" + strings.Repeat("x", 100) + "/>"), "so long a name"},
		{"two statements", strings.Replace(camt(""), "</BkToCstmrStmt>", "<Stmt></Stmt></BkToCstmrStmt>", 1), "more than one statement"},
		{"no id", strings.Replace(camt(""), "<Id>S</Id>", "", 1), "id: want"},
		{"no period", strings.NewReplacer("FrDtTm", "X", "ToDtTm", "X").Replace(camt("")), "FrToDt: missing"},
		{"the first of two pages", camt("<StmtPgntn><PgNb>1</PgNb><LastPgInd>false</LastPgInd></StmtPgntn>"), "several pages"},
		{"the second page", camt("<StmtPgntn><PgNb>2</PgNb><LastPgInd>true</LastPgInd></StmtPgntn>"), "several pages"},
		{"a balance of no side", camt(`<Bal><Amt Ccy="RUB">1</Amt></Bal>`), "Stmt/Bal: CdtDbtInd"},
		{"no amount", strings.Replace(entry(""), `<Amt Ccy="RUB">3.00</Amt>`, "", 1), of + ": no Amt"},
		{"no currency", strings.Replace(entry(""), ` Ccy="RUB"`, "", 1), of + `/Amt: currency ""`},
		{"no time", strings.Replace(entry(""), "BookgDt", "X", 2), of + ": BookgDt: missing"},
		{"a time that is none", strings.Replace(entry(""), "2026-03-01<", "today<", 1), `/BookgDt/Dt: "today" is no time`},
		{"no side", strings.Replace(entry(""), "DBIT", "?", 1), of + ": TxDtls[1]: CdtDbtInd"},
		{"a flag that is none", strings.Replace(entry(""), "<BookgDt>", "<RvslInd>maybe</RvslInd><BookgDt>", 1), "RvslInd: want true or false"},
		{"details without amounts", entry("<TxDtls/><TxDtls/>"), of + ": TxDtls[1]: no Amt"},
		{
			"details that do not add up", entry(`<TxDtls><Amt Ccy="RUB">1.00</Amt></TxDtls><TxDtls><Amt Ccy="RUB">1.00</Amt></TxDtls>`),
			of + ": its Amt is 3.00 RUB and its details make 2.00 RUB",
		},
		{
			"details in two currencies", entry(`<TxDtls><Amt Ccy="RUB">1.00</Amt></TxDtls><TxDtls><Amt Ccy="USD">2.00</Amt></TxDtls>`),
			"TxDtls[2]: its Amt can't be added up",
		},
		{"a long reference", entry("<TxDtls><Refs><EndToEndId>" + strings.Repeat("p", 65) + "</EndToEndId></Refs></TxDtls>"), of + ": TxDtls[1]: reference"},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.file, Camt, c.says) })
	}
}

func TestReadNamesTheLine(t *testing.T) {
	refused(t, strings.Replace(entry("<TxDtls/><TxDtls/>"), "</Ntry>", "\n\n\n</Ntry>", 1), Camt, "line 4: Document/")
}

// A file of any length is read within bounds.
func TestReadIsBounded(t *testing.T) {
	endless := func(head, row string) io.Reader {
		return io.MultiReader(strings.NewReader(head), &repeated{row: row})
	}
	for _, c := range []struct {
		name string
		file io.Reader
		read func(*meter) (*Statement, error)
		want error
	}{
		{"lines of a CSV", endless(csvAbout+csvTable, csvGood), readCSV, errLines},
		{"entries", endless(camt("")[:strings.Index(camt(""), "</Stmt>")],
			`<Ntry><Amt Ccy="RUB">3</Amt><CdtDbtInd>DBIT</CdtDbtInd><BookgDt><Dt>2026-03-01</Dt></BookgDt></Ntry>`), readCamt, errLines},
		{"details", endless(entry("")[:strings.Index(entry(""), "</NtryDtls>")], "<TxDtls/>"), readCamt, errLines},
		{"bytes of a document", endless(camt("")[:strings.Index(camt(""), "</Stmt>")], "<a/>"), readCamt, errBytes},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.read(&meter{r: c.file, total: 1 << 20, lines: 500})
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// repeated is a row without end.
type repeated struct {
	row  string
	rest string
}

func (r *repeated) Read(b []byte) (int, error) {
	if r.rest == "" {
		r.rest = r.row
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// drawn is a statement that may be written.
func drawn(t *rapid.T) *Statement {
	name := rapid.StringMatching(`[a-zA-Zа-я0-9<&"',;/_.-]{1,20}`)
	when := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(1e12, 4e15).Draw(t, "micros")).UTC()
	})
	from := when.Draw(t, "from")
	s := &Statement{ID: name.Draw(t, "id"), From: from, To: from.Add(time.Duration(rapid.Int64Range(1, 1e9).Draw(t, "length")) * time.Microsecond)}
	if rapid.Bool().Draw(t, "balances") {
		s.Opening = pointer(rub(rapid.Int64Range(-1e9, 1e9).Draw(t, "opening")))
		s.Closing = pointer(rub(rapid.Int64Range(-1e9, 1e9).Draw(t, "closing")))
	}
	for range rapid.IntRange(0, 5).Draw(t, "lines") {
		l := Line{
			Kind: rapid.SampledFrom([]Kind{Payout, Return, Other}).Draw(t, "kind"), Reference: name.Draw(t, "reference"),
			Amount: rub(rapid.Int64Range(1, money.MinorMax).Draw(t, "minor")), At: when.Draw(t, "at"), Text: plain(rapid.String().Draw(t, "text")),
			RailID: name.Draw(t, "rail's id"),
		}
		switch l.Kind {
		case Payout:
			l.Direction = Debit
		case Return:
			l.Direction = Credit
		default:
			l.Direction = rapid.SampledFrom([]Direction{Debit, Credit}).Draw(t, "direction")
			if rapid.Bool().Draw(t, "nobody's") {
				l.Reference = ""
			}
		}
		s.Lines = append(s.Lines, l)
	}
	return s
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for f, write := range map[Format]func(io.Writer, *Statement) error{CSV: WriteCSV, Camt: WriteCamt} {
		t.Run(string(f), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := drawn(t)
				var b bytes.Buffer
				if err := write(&b, s); err != nil {
					t.Fatal(err)
				}
				got, err := Read(&b, "")
				if err != nil {
					t.Fatalf("%v: %s", err, b.String())
				}
				if !reflect.DeepEqual(got, s) {
					t.Fatalf("got  %+v\nwant %+v", got, s)
				}
			})
		})
	}
}

func TestWriteTellsOfAFault(t *testing.T) {
	s := &Statement{ID: "S", From: at("2026-03-01T00:00:00Z"), To: at("2026-03-02T00:00:00Z")}
	for range 1000 {
		s.Lines = append(s.Lines, Line{Payout, "po_1", "B-1", rub(1), Debit, s.From, "text"})
	}
	for f, write := range map[Format]func(io.Writer, *Statement) error{CSV: WriteCSV, Camt: WriteCamt} {
		if err := write(full{}, s); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: error %v", f, err)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func FuzzCSV(f *testing.F)  { fuzz(f, CSV, WriteCSV) }
func FuzzCamt(f *testing.F) { fuzz(f, Camt, WriteCamt) }

// fuzz wants no panic, nothing that Check refuses, and, of what is read, that it
// is the same after it was written.
func fuzz(f *testing.F, format Format, write func(io.Writer, *Statement) error) {
	files, err := filepath.Glob(filepath.Join("testdata", map[Format]string{CSV: "*.csv", Camt: "*.xml"}[format]))
	if err != nil || len(files) == 0 {
		f.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(csvAbout + csvTable + csvGood + "end,1\n"))
	f.Add([]byte(entry("")))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Read(bytes.NewReader(b), format)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := write(&out, s); err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		again, err := Read(&out, format)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		if format == Camt { // it has the days of balances only, and no rail
			again.Rail = s.Rail
		}
		if !reflect.DeepEqual(s, again) {
			t.Fatalf("read %+v\nthen %+v", s, again)
		}
	})
}
