package codec

import (
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"github.com/payoutd/payoutd/internal/store"
)

// The columns that the functions below read and write, in their order.
const (
	StatementColumns  = `rail, id, number, print, from_at, to_at, state, summary, at`
	LineColumns       = `l.project, l.rail, l.reference, l.statement, l.no, l.kind, l.rail_id, l.minor, l.currency, l.at`
	DifferenceColumns = `statement, no, kind, project, session, payout, line, reference, rail_id, ` +
		`theirs_minor, theirs_currency, ours_minor, ours_currency, text, at`
	// A payout has one attempt with a rail.
	MovementColumns = `e.project, e.session, e.payout, a.reference, e.clearing, a.sent_at, e.at`
	Movements       = `SELECT ` + MovementColumns + ` FROM entries e
		JOIN attempts a ON a.project = e.project AND a.session = e.session AND a.payout = e.payout AND a.rail = e.rail`
)

// StatementRow is a statement.
func StatementRow(s store.Statement) ([]any, error) {
	summary, err := json.Marshal(s.Summary)
	return []any{
		s.Rail, s.ID, int64(s.Number), s.Print[:], Micros(s.From), Micros(s.To), string(s.State), string(summary), Micros(s.At),
	}, err
}

func ScanStatement(row Row) (store.Statement, error) {
	var (
		s              store.Statement
		print, summary []byte
		from, to, at   int64
	)
	if err := row.Scan(&s.Rail, &s.ID, &s.Number, &print, &from, &to, &s.State, &summary, &at); err != nil {
		return s, err
	}
	copy(s.Print[:], print)
	s.From, s.To, s.At = Instant(from), Instant(to), Instant(at)
	if err := json.Unmarshal(summary, &s.Summary); err != nil {
		return s, fmt.Errorf("summary of %s: %w", s.Number, err)
	}
	return s, nil
}

// LineRow is a line of a statement.
func LineRow(l store.StatementLine) []any {
	return []any{
		string(l.Project), l.Rail, Plain(l.Reference), int64(l.Statement), int64(l.No), l.Kind, Plain(l.RailID),
		l.Amount.Minor, string(l.Amount.Currency), Micros(l.At),
	}
}

func ScanLine(row Row) (store.StatementLine, error) {
	var (
		l  store.StatementLine
		at int64
	)
	err := row.Scan(&l.Project, &l.Rail, &l.Reference, &l.Statement, &l.No, &l.Kind, &l.RailID, &l.Amount.Minor, &l.Amount.Currency, &at)
	l.At = Instant(at)
	return l, err
}

// DifferenceRow is a difference, whose text may quote somebody else's.
func DifferenceRow(d store.Difference) []any {
	return []any{
		int64(d.Statement), int64(d.No), string(d.Kind), string(d.Project), int64(d.Session), int64(d.Payout), int64(d.Line),
		Plain(d.Reference), Plain(d.RailID), d.Theirs.Minor, string(d.Theirs.Currency), d.Ours.Minor, string(d.Ours.Currency),
		Plain(d.Text), Micros(d.At),
	}
}

func ScanDifference(row Row) (store.Difference, error) {
	var (
		d  store.Difference
		at int64
	)
	err := row.Scan(&d.Statement, &d.No, &d.Kind, &d.Project, &d.Session, &d.Payout, &d.Line, &d.Reference, &d.RailID,
		&d.Theirs.Minor, &d.Theirs.Currency, &d.Ours.Minor, &d.Ours.Currency, &d.Text, &at)
	d.At = Instant(at)
	return d, err
}

func ScanMovement(row Row) (store.Movement, error) {
	var (
		m        store.Movement
		sent, at int64
	)
	err := row.Scan(&m.Project, &m.Session, &m.Payout, &m.Reference, &m.Minor, &sent, &at)
	m.SentAt, m.At = Instant(sent), Instant(at)
	return m, err
}

// Skew is what the times of a book may be out of order by: its entries are
// numbered in the order of their commits, and each has the time of the node
// that decided it.
const Skew = 10 * time.Minute

// FirstEntry is the number of the first entry of a book that may be of a time or
// later, of those from 1 to last: a few look-ups by key, whatever the book's
// length, in place of an index that every payout would have to write.
func FirstEntry(last int64, from time.Time, at func(no int64) (time.Time, error)) (int64, error) {
	var failed error
	n := sort.Search(int(last), func(i int) bool {
		if failed != nil {
			return true
		}
		t, err := at(int64(i) + 1)
		failed = err
		return !t.Before(from.Add(-Skew))
	})
	return int64(n) + 1, failed
}
