// Package statement reads and writes the statements of a rail: what it says of
// itself that it has booked in a period, line by line. Two forms are known, a
// simple CSV and camt.053 of ISO 20022; docs/statements.md tells both.
//
// A statement comes from outside. Reading it is bounded in bytes, depth, lines
// and the length of every value, resolves no entity, and refuses with the place
// of the fault what it does not understand, since a line that is passed over
// would look like money that never moved.
package statement

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/payoutd/payoutd/money"
)

// Bounds of what is read.
const (
	BytesMax = 512 << 20 // of a file
	LinesMax = 500_000   // of a statement
	valueMax = 1024      // bytes of one value
	idMax    = 64        // bytes of a name: of a rail, a statement, a movement
	yearMin  = 1970      // of a time, first and last
	yearMax  = 9999
)

// Statement is what a rail says that it has booked in a period.
type Statement struct {
	// Rail is the name of the rail; "" where the file does not tell it.
	Rail string
	// ID is the rail's name of the statement: the same statement has the same,
	// however often it is sent. 1 to 64 characters.
	ID string
	// From and To are the period: not before From, and before To. In UTC.
	From, To time.Time
	// Opening and Closing are what was on the account before and after it; nil
	// where the file does not tell. They may be below zero.
	Opening, Closing *money.Amount
	Lines            []Line
}

// Line is one movement of money.
type Line struct {
	Kind Kind
	// Reference is ours of the payment, as Send had it. Only Other may have none.
	Reference string
	// RailID is the rail's own name of the movement: of a return the one that
	// rail.Return.Reference has. "" where there is none.
	RailID    string
	Amount    money.Amount // above zero
	Direction Direction
	At        time.Time // when it was booked, in UTC
	Text      string    // for people, on one line
}

// Kind is what a movement is.
type Kind string

// The kinds.
const (
	Payout Kind = "payout" // a debit: a payment of ours
	Return Kind = "return" // a credit: a payment of ours that came back
	Other  Kind = "other"  // anything else: a top-up, a fee of the rail's
)

// Direction is which way the money went, seen from our account.
type Direction string

// The directions.
const (
	Debit  Direction = "debit"  // it left
	Credit Direction = "credit" // it came
)

// Format is the form of a file.
type Format string

// The forms.
const (
	CSV  Format = "csv"
	Camt Format = "camt053"
)

// ErrFormat says that a file has none of the forms that are known.
var ErrFormat = errors.New("neither a CSV of payoutd's nor camt.053: see docs/statements.md")

// Read reads a statement in a form; "" guesses it by the content. An error tells
// where in the file the fault is.
func Read(r io.Reader, f Format) (*Statement, error) {
	b := bufio.NewReader(r)
	if f == "" {
		f = guess(b)
	}
	m := &meter{r: b, total: BytesMax, lines: LinesMax}
	var s *Statement
	var err error
	switch f {
	case CSV:
		s, err = readCSV(m)
	case Camt:
		s, err = readCamt(m)
	default:
		err = ErrFormat
	}
	if err != nil {
		return nil, err
	}
	return s, s.Check()
}

// guess tells the form by the first bytes; "" if it is none.
func guess(b *bufio.Reader) Format {
	head, _ := b.Peek(512) // a shorter file is an error later
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(bom)), " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("<")):
		return Camt
	case bytes.HasPrefix(head, []byte(csvName)):
		return CSV
	}
	return ""
}

// bom is the mark that some programs put before UTF-8.
const bom = "\ufeff"

// Check finds what no statement may have. The readers call it; it is for those
// who make one by hand.
func (s *Statement) Check() error {
	switch {
	case s.Rail != "" && !name(s.Rail, idMax):
		return fmt.Errorf("rail: want 1 to %d characters in one line", idMax)
	case !name(s.ID, idMax):
		return fmt.Errorf("id: want 1 to %d characters in one line", idMax)
	case !instant(s.From) || !instant(s.To) || !s.From.Before(s.To):
		return errors.New("period: it must end after it begins")
	case len(s.Lines) > LinesMax:
		return errLines
	}
	for i := range s.Lines {
		if err := s.Lines[i].check(); err != nil {
			return fmt.Errorf("line %d of the statement: %w", i+1, err)
		}
	}
	return nil
}

func (l *Line) check() error {
	switch {
	case l.Kind != Payout && l.Kind != Return && l.Kind != Other:
		return fmt.Errorf("kind: want %s, %s or %s", Payout, Return, Other)
	case l.Direction != Debit && l.Direction != Credit:
		return fmt.Errorf("direction: want %s or %s", Debit, Credit)
	case l.Kind == Payout && l.Direction != Debit:
		return errors.New("direction: a payout is a debit")
	case l.Kind == Return && l.Direction != Credit:
		return errors.New("direction: a return is a credit")
	case l.Reference == "" && l.Kind != Other:
		return fmt.Errorf("reference: missing; what names no payment of ours is of the kind %s", Other)
	case l.Reference != "" && !name(l.Reference, idMax):
		return fmt.Errorf("reference: want at most %d characters in one line", idMax)
	case l.RailID != "" && !name(l.RailID, idMax):
		return fmt.Errorf("rail's id: want at most %d characters in one line", idMax)
	case l.Amount.Minor <= 0 || l.Amount.Minor > money.MinorMax:
		return errors.New("amount: must be above zero and below 2^53 minor units")
	case !instant(l.At):
		return errors.New("booked: there is no time")
	case len(l.Text) > valueMax || l.Text != plain(l.Text):
		return fmt.Errorf("text: want at most %d bytes in one line", valueMax)
	}
	return nil
}

// name reports whether s is 1 to most printable characters without spaces
// around them.
func name(s string, most int) bool {
	if s == "" || len(s) > most || strings.TrimSpace(s) != s {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}

func instant(t time.Time) bool { return t.Year() >= yearMin && t.Year() <= yearMax }

// plain puts words of others on one line, and cuts what is too long: what can't
// be printed is a space.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), " ")
	if len(s) > valueMax {
		s = strings.TrimSpace(strings.ToValidUTF8(s[:valueMax], ""))
	}
	return s
}

// parseTime reads a time as ISO 8601 has it, to the microsecond. One without a
// zone, and a day, are those of Moscow, where the rails' books are kept.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02Z07:00", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, moscow); err == nil {
			if t = t.UTC().Truncate(time.Microsecond); instant(t) {
				return t, nil
			}
			break
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: want one such as 2026-03-01T12:00:00Z", cut(s))
}

// moscow has had no other time since 2014.
var moscow = time.FixedZone("MSK", 3*60*60)

// parseAmount reads an amount in major units, exactly. Zeros behind the last
// digit that the currency has mean nothing.
func parseAmount(major, currency string) (money.Amount, error) {
	if whole, fraction, ok := strings.Cut(major, "."); ok {
		for len(fraction) > 2 && fraction[len(fraction)-1] == '0' {
			fraction = fraction[:len(fraction)-1]
		}
		major = whole + "." + fraction
	}
	a, err := money.Parse(major, currency)
	switch {
	case errors.Is(err, money.ErrUnknown):
		return a, fmt.Errorf("currency %q is none of ours", cut(currency))
	case err != nil:
		return a, fmt.Errorf("%q is no amount in %s", cut(major), cut(currency))
	}
	return a, nil
}

// cut shortens what an error quotes.
func cut(s string) string {
	const most = 40
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// meter bounds what a parser reads: in all, and for each of its pieces. Who
// parses grants the next piece before it is read; a parser that reads ahead has
// some of the piece after that as well.
type meter struct {
	r     io.Reader
	total int64
	left  int64
	lines int // how many a statement may have; its reader sees to it
}

// pieceMax is the most of one record or token: enough for all values of a line.
const pieceMax = 64 << 10

func (m *meter) grant() { m.left = pieceMax }

var (
	errPiece = fmt.Errorf("longer than %d bytes", pieceMax)
	errLines = fmt.Errorf("there are more than %d lines: ask the rail for shorter periods", LinesMax)
	errBytes = fmt.Errorf("the file is larger than %d MiB: ask the rail for shorter periods", BytesMax>>20)
)

func (m *meter) Read(b []byte) (int, error) {
	switch {
	case m.total <= 0:
		return 0, errBytes
	case m.left <= 0:
		return 0, errPiece
	}
	n, err := m.r.Read(b[:min(int64(len(b)), m.left, m.total)])
	m.left -= int64(n)
	m.total -= int64(n)
	return n, err
}
