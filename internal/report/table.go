package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"iter"
	"strconv"
	"strings"
	"unicode"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/money"
)

// Format is the form of a file.
type Format string

// The formats.
const (
	CSV  Format = "csv"
	XLSX Format = "xlsx"
)

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case CSV, XLSX:
		return f, nil
	}
	return "", fault.New(fault.Invalid, "format: want csv or xlsx, not %q", s)
}

// ContentType is the format's name on the web.
func (f Format) ContentType() string {
	if f == XLSX {
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	}
	return "text/csv; charset=utf-8"
}

// FileName is the name of a report, by the project and the first and the last
// day (wire reference, extensions §7.5), which are the same.
func FileName(p id.Project, d Day, f Format) string {
	return string(p) + "_" + d.String() + "_" + d.String() + "." + string(f)
}

// Write writes rows in a format; without any, the CSV is empty, and so is the
// sheet of the XLSX.
func Write(w io.Writer, f Format, rows iter.Seq2[Row, error]) error {
	if f == XLSX {
		return writeXLSX(w, rows)
	}
	c := csv.NewWriter(w)
	begun := false
	for r, err := range rows {
		if err != nil {
			return err
		}
		if !begun {
			begun = true
			if err := c.Write(names()); err != nil {
				return err
			}
		}
		record := make([]string, 0, len(columns))
		for _, col := range columns {
			v := col.value(&r)
			if !col.number {
				v = inert(v)
			}
			record = append(record, v)
		}
		if err := c.Write(record); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// column is one column of the table.
type column struct {
	name   string
	number bool // its values are decimal numbers
	value  func(*Row) string
}

// timeForm is the reference's YYYY-MM-DD HH:MM:SS, in Moscow time.
const timeForm = "2006-01-02 15:04:05"

// columns are the reference's up to currency, where its list is cut; those
// after it are ours.
var columns = []column{
	{"operationId", false, func(r *Row) string { return r.Payout.String() }},
	{"transactionDate", false, func(r *Row) string { return r.StartedAt.In(Moscow).Format(timeForm) }},
	{"finishedAt", false, func(r *Row) string { return r.BookedAt.In(Moscow).Format(timeForm) }},
	{"typeOfPayment", false, func(r *Row) string { return string(r.Type) }},
	{"paymentFast", true, func(r *Row) string {
		if r.Fast {
			return "1"
		}
		return "0"
	}},
	{"paymentSessionId", false, func(r *Row) string { return r.Session.String() }},
	{"contract", false, func(r *Row) string { return r.Contract }},
	{"paymentSessionMerchantMetadata", false, func(r *Row) string { return metadata(r.Metadata) }},
	{"paymentMethodIdentity", false, func(r *Row) string { return r.Identity }},
	{"product", false, func(r *Row) string { return string(r.Product) }},
	{"grossLocalAmount", true, func(r *Row) string { return major(r.Payment + r.Fees) }},
	{"paymentLocalAmount", true, func(r *Row) string { return major(r.Payment) }},
	{"feesLocalAmount", true, func(r *Row) string { return major(r.Fees) }},
	{"currency", false, func(*Row) string { return string(money.RUB) }},
	{"originalAmount", true, func(r *Row) string {
		if r.Original == nil {
			return ""
		}
		return r.Original.Major()
	}},
	{"originalCurrency", false, func(r *Row) string {
		if r.Original == nil {
			return ""
		}
		return string(r.Original.Currency)
	}},
	{"exchangeRate", true, func(r *Row) string { return r.Rate }},
	{"rrn", false, func(r *Row) string { return r.RRN }},
	{"refundId", false, func(r *Row) string {
		if r.Refund == 0 {
			return ""
		}
		return r.Refund.String()
	}},
	{"account", false, func(r *Row) string { return r.Account }},
}

// names are those of the columns.
func names() []string {
	var all []string
	for _, c := range columns {
		all = append(all, c.name)
	}
	return all
}

// major prints kopecks as roubles, exactly.
func major(minor int64) string { return money.Amount{Minor: minor, Currency: money.RUB}.Major() }

// metadata is a string as it is, and anything else as compact JSON.
func metadata(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s // also "" of null
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return ""
	}
	return string(Unescape(b.Bytes()))
}

// Unescape is the same JSON with its strings as people read them: some programs
// write every letter that is not English as \u and a number.
func Unescape(text []byte) []byte {
	var out []byte
	for len(text) > 0 {
		start := bytes.IndexByte(text, '"')
		if start < 0 {
			break
		}
		end := start + 1
		for end < len(text) && text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end+1, len(text))
		out = append(out, text[:start]...)
		out = append(out, readable(text[start:end])...)
		text = text[end:]
	}
	return append(out, text...)
}

// readable is a JSON string with no more escapes than it needs; one that is
// none is left as it is.
func readable(literal []byte) []byte {
	var s string
	if json.Unmarshal(literal, &s) != nil {
		return literal
	}
	return []byte(quoted(s))
}

// quoted is a text as a JSON string, in which what is no UTF-8 is U+FFFD.
func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string has a JSON form
	return strings.TrimSuffix(b.String(), "\n")
}

// inert makes a text one that no spreadsheet takes for a formula when it opens
// the CSV. A plain text stays as it is. Any other is written in JSON, which
// begins with a quote or a bracket and is read back without loss. A semicolon
// and control characters are escaped in it: some spreadsheets split lines there,
// and what follows would begin a cell of its own.
func inert(s string) string {
	if plain(s) {
		return s
	}
	text := s
	if !json.Valid([]byte(s)) || s[0] != '{' && s[0] != '[' {
		text = quoted(s)
	}
	var b strings.Builder
	for _, r := range text {
		if r == ';' || unicode.IsControl(r) {
			b.WriteString(`\u` + strconv.FormatInt(0x10000+int64(r), 16)[1:])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plain reports whether s may stand in a CSV as it is: it begins with a letter,
// a digit or the star of a mask, and splits nowhere.
func plain(s string) bool {
	for i, r := range s {
		letter := unicode.IsLetter(r) || unicode.IsDigit(r) || r == '*'
		if !letter && (i == 0 || !strings.ContainsRune(" -_.:/#№", r)) {
			return false
		}
	}
	return true
}
