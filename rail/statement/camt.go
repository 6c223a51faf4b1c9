package statement

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/payoutd/payoutd/money"
)

// camt.053, BankToCustomerStatement of ISO 20022, in its versions 001.02 and
// newer. They differ in little that matters here: where the amount of a detail
// stands, and whether a status is a code within an element.
const (
	camtRoot      = "Document/BkToCstmrStmt"
	camtDepthMax  = 32
	camtNamespace = "urn:iso:std:iso:20022:tech:xsd:camt.053.001."
)

// noReference is how ISO 20022 says that a payment has no end-to-end reference.
const noReference = "NOTPROVIDED"

var camtName = regexp.MustCompile(`^` + regexp.QuoteMeta(camtNamespace) + `(0[2-9]|[1-9][0-9])$`)

// readCamt reads camt.053 token by token. Of an entry, what it says of itself
// and each of its details are kept until it ends.
func readCamt(m *meter) (*Statement, error) {
	d := xml.NewDecoder(m)
	c := &camtReader{tokens: d, meter: m, s: &Statement{}, page: "1", last: "true"}
	if err := c.read(); err != nil {
		if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
			return nil, fmt.Errorf("line %d: %s", syntax.Line, syntax.Msg)
		}
		line, _ := d.InputPos()
		return nil, fmt.Errorf("line %d: %s: %w", line, c.place(), err)
	}
	return c.s, nil
}

type camtReader struct {
	tokens     *xml.Decoder
	meter      *meter
	path       []string
	text       []byte // of the element that is open
	ccy        string // its attribute Ccy
	statements int
	entries    int
	s          *Statement
	page, last string // of a statement in pages
	balance    camtBalance
	first      *time.Time // of the opening and the closing balance
	end        *time.Time
	entry      camtEntry
}

type camtBalance struct {
	kind   string
	amount money.Amount
	side   string
	day    time.Time
}

// camtEntry is an Ntry; common are the values that stand in it and in a TxDtls.
type camtEntry struct {
	common
	status  string
	details []common
}

type common struct {
	servicer          string // AcctSvcrRef
	reference         string // EndToEndId
	amount, inner     *money.Amount
	side              string
	reversal, returns bool
	at                time.Time
	text              string
}

// place is where in the document the reader is.
func (c *camtReader) place() string {
	var b strings.Builder
	for i, name := range c.path {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(name)
		switch name {
		case "Ntry":
			fmt.Fprintf(&b, "[%d]", c.entries)
		case "TxDtls":
			fmt.Fprintf(&b, "[%d]", len(c.entry.details))
		}
	}
	if b.Len() == 0 {
		return "the document"
	}
	return b.String()
}

func (c *camtReader) read() error {
	for {
		c.meter.grant()
		token, err := c.tokens.Token()
		switch {
		case errors.Is(err, io.EOF) && c.statements == 0:
			return ErrFormat
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			err = c.start(t)
		case xml.EndElement:
			if err = c.leave(strings.Join(c.path, "/")); err == nil {
				c.path, c.text = c.path[:len(c.path)-1], c.text[:0]
			}
		case xml.CharData:
			if len(c.text)+len(t) > valueMax*4 {
				return fmt.Errorf("a value is longer than %d bytes", valueMax*4)
			}
			c.text = append(c.text, t...)
		case xml.Directive: // a document type, with it entities
			return errors.New("a document type has no place in a statement")
		}
		if err != nil {
			return err
		}
	}
}

func (c *camtReader) start(t xml.StartElement) error {
	if len(c.path) == camtDepthMax {
		return fmt.Errorf("elements stand in each other more than %d deep", camtDepthMax)
	}
	if len(t.Name.Local) > idMax {
		return errors.New("no element has so long a name")
	}
	c.path, c.text, c.ccy = append(c.path, t.Name.Local), c.text[:0], ""
	for _, a := range t.Attr {
		if a.Name.Local == "Ccy" {
			c.ccy = a.Value
		}
	}
	switch path := strings.Join(c.path, "/"); {
	case len(c.path) == 1:
		if path != "Document" || t.Name.Space != "" && !camtName.MatchString(t.Name.Space) {
			return ErrFormat
		}
	case len(c.path) == 2 && path != camtRoot:
		return ErrFormat
	case path == camtRoot+"/Stmt":
		if c.statements++; c.statements > 1 {
			return errors.New("there is more than one statement: take them one by one")
		}
	case path == camtRoot+"/Stmt/Bal":
		c.balance = camtBalance{}
	case path == camtRoot+"/Stmt/Ntry":
		c.entries++
		c.entry = camtEntry{}
	case path == camtTx:
		if len(c.s.Lines)+len(c.entry.details) >= c.meter.lines {
			return errLines
		}
		c.entry.details = append(c.entry.details, common{})
	case path == camtTx+"/RtrInf":
		c.detail().returns = true
	}
	return nil
}

const (
	camtEntryPath = camtRoot + "/Stmt/Ntry"
	camtTx        = camtEntryPath + "/NtryDtls/TxDtls"
)

func (c *camtReader) detail() *common { return &c.entry.details[len(c.entry.details)-1] }

// leave takes the value of an element that ends.
func (c *camtReader) leave(path string) (err error) {
	of, ok := strings.CutPrefix(path, camtRoot+"/Stmt/")
	if !ok {
		switch path {
		case camtRoot + "/GrpHdr/MsgPgntn/PgNb":
			c.page = c.value()
		case camtRoot + "/GrpHdr/MsgPgntn/LastPgInd":
			c.last = c.value()
		case camtRoot + "/Stmt":
			return c.finish()
		}
		return nil
	}
	switch {
	case strings.HasPrefix(of, "Ntry/NtryDtls/TxDtls/"):
		return c.leaveDetail(strings.TrimPrefix(of, "Ntry/NtryDtls/TxDtls/"))
	case of == "Ntry":
		return c.leaveEntry()
	case strings.HasPrefix(of, "Ntry/"):
		return c.leaveOfEntry(strings.TrimPrefix(of, "Ntry/"))
	case strings.HasPrefix(of, "Bal"):
		return c.leaveBalance(strings.TrimPrefix(of, "Bal"))
	}
	switch of {
	case "Id":
		c.s.ID = c.value()
	case "FrToDt/FrDtTm":
		c.s.From, err = parseTime(c.value())
	case "FrToDt/ToDtTm":
		c.s.To, err = parseTime(c.value())
		if strings.Contains(c.value(), "T23:59:59") && c.s.To.Nanosecond() == 0 { // the last second of the day is within it
			c.s.To = c.s.To.Add(time.Second)
		}
	case "StmtPgntn/PgNb":
		c.page = c.value()
	case "StmtPgntn/LastPgInd":
		c.last = c.value()
	}
	return err
}

func (c *camtReader) value() string { return strings.TrimSpace(string(c.text)) }

func (c *camtReader) amount() (money.Amount, error) { return parseAmount(c.value(), c.ccy) }

func (c *camtReader) leaveBalance(of string) (err error) {
	b := &c.balance
	switch of {
	case "/Tp/CdOrPrtry/Cd":
		b.kind = c.value()
	case "/Amt":
		b.amount, err = c.amount()
	case "/CdtDbtInd":
		b.side = c.value()
	case "/Dt/Dt", "/Dt/DtTm":
		b.day, err = parseTime(c.value())
	case "":
		switch b.side {
		case "CRDT":
		case "DBIT":
			b.amount.Minor = -b.amount.Minor
		default:
			return errors.New("CdtDbtInd: want CRDT or DBIT")
		}
		amount, day := b.amount, b.day
		switch b.kind {
		case "OPBD":
			c.s.Opening, c.first = &amount, &day
		case "CLBD":
			c.s.Closing, c.end = &amount, &day
		}
	}
	return err
}

func (c *camtReader) leaveOfEntry(of string) (err error) {
	e := &c.entry
	switch of {
	case "AcctSvcrRef":
		e.servicer = c.value()
	case "Amt":
		var a money.Amount
		a, err = c.amount()
		e.amount = &a
	case "CdtDbtInd":
		e.side = c.value()
	case "RvslInd":
		e.reversal, err = c.flag()
	case "Sts", "Sts/Cd":
		if v := c.value(); v != "" {
			e.status = v
		}
	case "BookgDt/Dt", "BookgDt/DtTm":
		e.at, err = parseTime(c.value())
	case "BkTxCd/Domn/Fmly/SubFmlyCd":
		e.returns = e.returns || c.value() == "RRTN"
	case "AddtlNtryInf":
		e.text = c.value()
	}
	return err
}

// flag reads a boolean of XML Schema.
func (c *camtReader) flag() (bool, error) {
	switch c.value() {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("want true or false")
}

func (c *camtReader) leaveDetail(of string) (err error) {
	if len(c.entry.details) == 0 {
		return nil
	}
	d := c.detail()
	switch of {
	case "Refs/EndToEndId":
		d.reference = c.value()
	case "Refs/AcctSvcrRef":
		d.servicer = c.value()
	case "Amt":
		var a money.Amount
		a, err = c.amount()
		d.amount = &a
	case "AmtDtls/TxAmt/Amt":
		var a money.Amount
		a, err = c.amount()
		d.inner = &a
	case "CdtDbtInd":
		d.side = c.value()
	case "BkTxCd/Domn/Fmly/SubFmlyCd":
		d.returns = d.returns || c.value() == "RRTN"
	case "RmtInf/Ustrd", "AddtlTxInf", "RtrInf/AddtlInf":
		d.text = strings.TrimSpace(d.text + " " + c.value())
	}
	return err
}

// leaveEntry makes the lines of an entry: one for each of its details, or one
// if it has none. What is not booked is no line.
func (c *camtReader) leaveEntry() error {
	e := &c.entry
	switch {
	case e.status != "" && e.status != "BOOK":
		return nil
	case e.amount == nil:
		return errors.New("no Amt")
	case e.at.IsZero():
		return errors.New("BookgDt: missing")
	}
	details := e.details
	if len(details) == 0 {
		details = []common{{}}
	}
	sum := money.Amount{Currency: e.amount.Currency}
	for i := range details {
		l, err := e.line(&details[i], i)
		if err != nil {
			return fmt.Errorf("TxDtls[%d]: %w", i+1, err)
		}
		signed := l.Amount
		if side := map[string]Direction{"DBIT": Debit, "CRDT": Credit}[e.side]; l.Direction != side {
			signed.Minor = -signed.Minor
		}
		if sum, err = sum.Add(signed); err != nil {
			return fmt.Errorf("TxDtls[%d]: its Amt can't be added up with the others: %w", i+1, err)
		}
		if len(c.s.Lines) == c.meter.lines {
			return errLines
		}
		c.s.Lines = append(c.s.Lines, l)
	}
	if sum != *e.amount {
		return fmt.Errorf("its Amt is %s and its details make %s", *e.amount, sum)
	}
	return nil
}

// line is a detail with what its entry says for all of them.
func (e *camtEntry) line(d *common, index int) (l Line, err error) {
	alone := len(e.details) < 2
	switch {
	case alone: // in whatever currency the payer ordered it, this is what moved
		l.Amount = *e.amount
	case d.amount != nil:
		l.Amount = *d.amount
	case d.inner != nil:
		l.Amount = *d.inner
	default:
		return l, errors.New("no Amt, and the entry has several details")
	}
	side := d.side
	if side == "" {
		side = e.side
	}
	switch side {
	case "DBIT":
		l.Direction = Debit
	case "CRDT":
		l.Direction = Credit
	default:
		return l, errors.New("CdtDbtInd: want CRDT or DBIT")
	}
	if l.Reference = d.reference; l.Reference == noReference {
		l.Reference = ""
	}
	switch back := e.reversal || e.returns || d.returns; {
	case l.Reference == "":
		l.Kind = Other
	case l.Direction == Credit && back:
		l.Kind = Return
	case l.Direction == Debit && !back:
		l.Kind = Payout
	default:
		l.Kind = Other
	}
	// NtryRef is no name: it may count the entries of this statement only, so that
	// another one has it for another movement, or another for the same.
	switch {
	case d.servicer != "":
		l.RailID = d.servicer
	case e.servicer != "" && !alone:
		l.RailID = e.servicer + "/" + strconv.Itoa(index+1)
	default:
		l.RailID = e.servicer
	}
	l.At, l.Text = e.at, plain(d.text)
	if l.Text == "" {
		l.Text = plain(e.text)
	}
	return l, l.check()
}

// finish sees that the statement is whole, and takes its period from the
// balances where it is not told.
func (c *camtReader) finish() error {
	if whole, err := strconv.ParseBool(c.last); c.page != "1" || err != nil || !whole {
		return errors.New("StmtPgntn: it is one of several pages: ask the rail for the whole")
	}
	if c.s.From.IsZero() && c.first != nil {
		c.s.From = *c.first
	}
	if c.s.To.IsZero() && c.end != nil && !c.end.IsZero() {
		c.s.To = c.end.Add(24 * time.Hour)
	}
	if c.s.From.IsZero() || c.s.To.IsZero() {
		return errors.New("FrToDt: missing, and no balances OPBD and CLBD tell the period")
	}
	return nil
}

// WriteCamt writes a statement as camt.053.001.02. The rail is not told in it.
func WriteCamt(w io.Writer, s *Statement) error {
	f := &camtWriter{w: w}
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	f.put(xml.Header + "<Document xmlns=\"" + camtNamespace + "02\"><BkToCstmrStmt>\n<GrpHdr>")
	f.leaf("MsgId", s.ID)
	f.leaf("CreDtTm", at(s.To))
	f.put("</GrpHdr>\n<Stmt>")
	f.leaf("Id", s.ID)
	f.leaf("CreDtTm", at(s.To))
	f.put("<FrToDt>")
	f.leaf("FrDtTm", at(s.From))
	f.leaf("ToDtTm", at(s.To))
	f.put("</FrToDt>\n")
	f.balance("OPBD", s.Opening, s.From)
	f.balance("CLBD", s.Closing, s.To)
	for i := range s.Lines {
		f.entry(&s.Lines[i])
	}
	f.put("</Stmt>\n</BkToCstmrStmt></Document>\n")
	return f.err
}

type camtWriter struct {
	w   io.Writer
	err error
}

func (f *camtWriter) put(text string) {
	if f.err == nil {
		_, f.err = io.WriteString(f.w, text)
	}
}

func (f *camtWriter) leaf(name, value string) {
	f.put("<" + name + ">")
	if f.err == nil {
		f.err = xml.EscapeText(f.w, []byte(value))
	}
	f.put("</" + name + ">")
}

func (f *camtWriter) amount(a money.Amount) {
	f.put(`<Amt Ccy="` + string(a.Currency) + `">` + a.Major() + "</Amt>")
}

func (f *camtWriter) balance(kind string, a *money.Amount, at time.Time) {
	if a == nil {
		return
	}
	side, shown := "CRDT", *a
	if a.Minor < 0 {
		side, shown.Minor = "DBIT", -a.Minor
	}
	f.put("<Bal><Tp><CdOrPrtry><Cd>" + kind + "</Cd></CdOrPrtry></Tp>")
	f.amount(shown)
	f.leaf("CdtDbtInd", side)
	f.put("<Dt>")
	f.leaf("Dt", at.In(moscow).Format(time.DateOnly))
	f.put("</Dt></Bal>\n")
}

func (f *camtWriter) entry(l *Line) {
	f.put("<Ntry>")
	f.amount(l.Amount)
	f.leaf("CdtDbtInd", map[Direction]string{Debit: "DBIT", Credit: "CRDT"}[l.Direction])
	if l.Kind == Return || l.Kind == Other && l.Direction == Debit && l.Reference != "" {
		f.leaf("RvslInd", "true")
	}
	f.put("<Sts>BOOK</Sts><BookgDt>")
	f.leaf("DtTm", l.At.UTC().Format(time.RFC3339Nano))
	f.put("</BookgDt><NtryDtls><TxDtls><Refs>")
	if l.RailID != "" {
		f.leaf("AcctSvcrRef", l.RailID)
	}
	reference := l.Reference
	if reference == "" {
		reference = noReference
	}
	f.leaf("EndToEndId", reference)
	f.put("</Refs>")
	if l.Text != "" {
		f.put("<RmtInf>")
		f.leaf("Ustrd", l.Text)
		f.put("</RmtInf>")
	}
	f.put("</TxDtls></NtryDtls></Ntry>\n")
}
