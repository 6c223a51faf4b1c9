package statement

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/payoutd/payoutd/money"
)

// The CSV begins with what is of the whole statement, a name and a value in
// each row, then has the head of the table and its rows, and ends with the
// number of them, so that a file that was cut short is known.
const (
	csvName    = "payoutd-statement"
	csvVersion = "1"
	csvEnd     = "end"
)

var csvHead = []string{"kind", "reference", "rail_id", "amount", "currency", "direction", "booked", "text"}

// readCSV reads our own form.
func readCSV(m *meter) (*Statement, error) {
	r := csv.NewReader(m)
	r.FieldsPerRecord, r.ReuseRecord = -1, true
	c := &csvReader{records: r, meter: m, s: &Statement{}}
	if err := c.read(); err != nil {
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, fmt.Errorf("row %d: %w", parse.Line, parse.Err)
		}
		row, _ := 0, 0
		if c.began {
			row, _ = r.FieldPos(0)
		}
		return nil, fmt.Errorf("row %d: %w", row, err)
	}
	return c.s, nil
}

type csvReader struct {
	records *csv.Reader
	meter   *meter
	began   bool // a record was read
	s       *Statement
}

// next reads a record; errCut where the file ends before it should.
func (c *csvReader) next() ([]string, error) {
	c.meter.grant()
	record, err := c.records.Read()
	if errors.Is(err, io.EOF) {
		return nil, errCut
	}
	if err == nil {
		c.began = true
		for _, v := range record {
			if len(v) > valueMax {
				return nil, fmt.Errorf("a value is longer than %d bytes", valueMax)
			}
		}
	}
	return record, err
}

var errCut = errors.New("the file ends before its last row, which tells the number of lines")

func (c *csvReader) read() error {
	first, err := c.next()
	switch {
	case errors.Is(err, errCut):
		return ErrFormat
	case err != nil:
		return err
	}
	if strings.TrimPrefix(first[0], bom) != csvName || len(first) < 2 {
		return ErrFormat
	}
	if first[1] != csvVersion {
		return fmt.Errorf("%s: version %q is not known, only %s", csvName, cut(first[1]), csvVersion)
	}
	if err := c.about(); err != nil {
		return err
	}
	for {
		record, err := c.next()
		switch {
		case err != nil:
			return err
		case record[0] == csvEnd:
			return c.end(record)
		case len(c.s.Lines) == c.meter.lines:
			return errLines
		}
		l, err := csvLine(record)
		if err != nil {
			return err
		}
		c.s.Lines = append(c.s.Lines, l)
	}
}

// about reads what is of the whole statement, up to the head of the table.
func (c *csvReader) about() error {
	seen := map[string]bool{}
	for {
		record, err := c.next()
		if err != nil {
			return err
		}
		key := record[0]
		if key == csvHead[0] {
			if !slices.Equal(record, csvHead) {
				return fmt.Errorf("the head of the table must be %s", strings.Join(csvHead, ","))
			}
			for _, key := range []string{"id", "from", "to"} {
				if !seen[key] {
					return fmt.Errorf("%s: missing before the table", key)
				}
			}
			return nil
		}
		if len(record) < 2 {
			return fmt.Errorf("%s: it has no value", cut(key))
		}
		if seen[key] {
			return fmt.Errorf("%s: it stands here twice", cut(key))
		}
		seen[key] = true
		switch value := record[1]; key {
		case "rail":
			c.s.Rail = value
		case "id":
			c.s.ID = value
		case "from":
			c.s.From, err = parseTime(value)
		case "to":
			c.s.To, err = parseTime(value)
		case "opening":
			c.s.Opening, err = csvBalance(record)
		case "closing":
			c.s.Closing, err = csvBalance(record)
		default:
			return fmt.Errorf("%s: no such name", cut(key))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
}

func csvBalance(record []string) (*money.Amount, error) {
	if len(record) != 3 {
		return nil, errors.New("want an amount and a currency")
	}
	a, err := parseAmount(record[1], record[2])
	return &a, err
}

func csvLine(record []string) (l Line, err error) {
	if len(record) != len(csvHead) {
		return l, fmt.Errorf("want %d values, not %d", len(csvHead), len(record))
	}
	l = Line{
		Kind: Kind(record[0]), Reference: record[1], RailID: record[2],
		Direction: Direction(record[5]), Text: plain(record[7]),
	}
	if l.Amount, err = parseAmount(record[3], record[4]); err != nil {
		return l, fmt.Errorf("amount: %w", err)
	}
	if l.At, err = parseTime(record[6]); err != nil {
		return l, fmt.Errorf("booked: %w", err)
	}
	return l, l.check()
}

// end compares the number of lines, after which there is nothing.
func (c *csvReader) end(record []string) error {
	if len(record) != 2 || record[1] != strconv.Itoa(len(c.s.Lines)) {
		return fmt.Errorf("%s: there are %d lines before it, which is not what it says", csvEnd, len(c.s.Lines))
	}
	c.meter.grant()
	if _, err := c.records.Read(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: there is more behind it", csvEnd)
	}
	return nil
}

// WriteCSV writes a statement in our own form.
func WriteCSV(w io.Writer, s *Statement) error {
	c := csv.NewWriter(w)
	rows := [][]string{{csvName, csvVersion}}
	if s.Rail != "" {
		rows = append(rows, []string{"rail", s.Rail})
	}
	rows = append(rows, []string{"id", s.ID}, []string{"from", csvTime(s.From)}, []string{"to", csvTime(s.To)})
	for _, b := range []struct {
		name string
		*money.Amount
	}{{"opening", s.Opening}, {"closing", s.Closing}} {
		if b.Amount != nil {
			rows = append(rows, []string{b.name, b.Major(), string(b.Currency)})
		}
	}
	if err := c.WriteAll(append(rows, csvHead)); err != nil {
		return err
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		if err := c.Write([]string{
			string(l.Kind), l.Reference, l.RailID, l.Amount.Major(), string(l.Amount.Currency), string(l.Direction), csvTime(l.At), l.Text,
		}); err != nil {
			return err
		}
	}
	return c.WriteAll([][]string{{csvEnd, strconv.Itoa(len(s.Lines))}})
}

func csvTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
