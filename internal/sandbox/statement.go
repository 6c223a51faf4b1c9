package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail/statement"
)

// Fault is a mistake that a rail makes in a statement on purpose.
type Fault string

// The faults. The first one in a request is made with the day's first payout,
// the next with the next one.
const (
	FaultMissing     Fault = "missing"      // its line is left out
	FaultExtra       Fault = "extra"        // behind it stands a line about a payment of nobody
	FaultOtherAmount Fault = "other_amount" // its line has one rouble more
	FaultDoubled     Fault = "doubled"      // its line stands there twice, under two names of the rail's
	FaultOtherSum    Fault = "other_sum"    // the closing balance is one rouble less than the lines make
)

// Faults are all of them.
var Faults = []Fault{FaultMissing, FaultExtra, FaultOtherAmount, FaultDoubled, FaultOtherSum}

// extraReference is the payment of nobody: no id is as low.
const extraReference = "po_131"

const rouble = 1_00

// Statement is what a rail has booked on a day in UTC, up to now if the day has
// not ended: payments and what came back of them. A statement that has faults
// says so in its ID, so that it is another one than the true one.
func (w *World) Statement(ctx context.Context, name string, day time.Time, faults []Fault) (*statement.Statement, error) {
	if !w.has(name) {
		return nil, fault.New(fault.Invalid, "rail: want one of %s", strings.Join(w.names(), ", "))
	}
	now := micro(w.clock.Now())
	from := day.UTC().Truncate(24 * time.Hour)
	to := from.AddDate(0, 0, 1)
	s := &statement.Statement{Rail: name, ID: name + from.Format("-20060102"), From: from, To: to}
	if now.Before(to) {
		s.To, s.ID = now, s.ID+now.Format("T150405.000000")
	}
	if !s.From.Before(s.To) {
		return nil, fault.New(fault.Invalid, "date: the day has not begun")
	}
	opening := money.Amount{Currency: money.RUB}
	booked := 0
	book := func(l statement.Line) {
		booked++
		switch {
		case l.At.Before(s.From) && l.Direction == statement.Debit:
			opening.Minor -= l.Amount.Minor
		case l.At.Before(s.From):
			opening.Minor += l.Amount.Minor
		case l.At.Before(s.To):
			s.Lines = append(s.Lines, l)
		}
	}
	for e, err := range w.Executions(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Rail == name {
			book(statement.Line{
				Kind: statement.Payout, Reference: e.Reference, RailID: fmt.Sprintf("payment-%d", booked+1), Amount: e.Amount,
				Direction: statement.Debit, At: e.At, Text: "payout",
			})
		}
	}
	back, err := w.Returns(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range back {
		if b.Rail == name {
			book(statement.Line{
				Kind: statement.Return, Reference: b.Payment, RailID: b.Reference, Amount: b.Amount,
				Direction: statement.Credit, At: b.At, Text: "the account is closed",
			})
		}
	}
	slices.SortStableFunc(s.Lines, func(a, b statement.Line) int { return a.At.Compare(b.At) })
	if err := spoil(s, faults); err != nil {
		return nil, err
	}
	closing := opening
	for i := range s.Lines {
		if l := &s.Lines[i]; l.Direction == statement.Debit {
			closing.Minor -= l.Amount.Minor
		} else {
			closing.Minor += l.Amount.Minor
		}
	}
	if slices.Contains(faults, FaultOtherSum) {
		closing.Minor -= rouble
	}
	s.Opening, s.Closing = &opening, &closing
	return s, nil
}

// spoil makes the faults.
func spoil(s *statement.Statement, faults []Fault) error {
	var lines []statement.Line
	left := slices.DeleteFunc(slices.Clone(faults), func(f Fault) bool { return f == FaultOtherSum })
	for _, l := range s.Lines {
		var f Fault
		if l.Kind == statement.Payout && len(left) > 0 {
			f, left = left[0], left[1:]
		}
		more := l
		switch f {
		case FaultMissing:
			continue
		case FaultOtherAmount:
			l.Amount.Minor += rouble
		case FaultExtra:
			more.Reference, more.RailID = extraReference, l.RailID+"-of-nobody"
		case FaultDoubled:
			more.RailID += "-again"
		}
		if lines = append(lines, l); more != l && f != FaultOtherAmount {
			lines = append(lines, more)
		}
	}
	if len(left) > 0 {
		return fault.New(fault.Invalid, "differences: each takes a payout of the day of its own, and %d too few were paid", len(left))
	}
	for _, f := range faults {
		s.ID += "-" + map[Fault]string{
			FaultMissing: "m", FaultExtra: "e", FaultOtherAmount: "a", FaultDoubled: "d", FaultOtherSum: "s",
		}[f]
	}
	s.Lines = lines
	return nil
}

func (w *World) has(name string) bool { return slices.Contains(w.names(), name) }

// names are those of the rails.
func (w *World) names() []string {
	names := map[string]bool{}
	for _, r := range w.rails {
		names[r.Name()] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// faultsMax bounds how many faults may be asked for: the ID has room for them.
const faultsMax = 10

// statement answers with a statement as its rail would send it.
func (s *server) statement(_ http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	day := s.clock.Now()
	if q.Has("date") {
		var err error
		if day, err = time.Parse(time.DateOnly, q.Get("date")); err != nil {
			return nil, fault.New(fault.Invalid, "date: want a day such as 2026-03-01")
		}
	}
	var faults []Fault
	if list := q.Get("differences"); list != "" {
		for _, f := range strings.Split(list, ",") {
			if !slices.Contains(Faults, Fault(f)) || len(faults) == faultsMax {
				return nil, fault.New(fault.Invalid, "differences: want at most %d of missing, extra, other_amount, doubled, other_sum", faultsMax)
			}
			faults = append(faults, Fault(f))
		}
	}
	var write func(io.Writer, *statement.Statement) error
	var kind string
	switch q.Get("format") {
	case "", string(statement.CSV):
		write, kind = statement.WriteCSV, "text/csv; charset=utf-8"
	case string(statement.Camt):
		write, kind = statement.WriteCamt, "application/xml"
	default:
		return nil, fault.New(fault.Invalid, "format: want csv or camt053")
	}
	made, err := s.world.Statement(r.Context(), q.Get("rail"), day, faults)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := write(&b, made); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "write a statement")
	}
	return file{made.ID + map[bool]string{true: ".xml", false: ".csv"}[kind == "application/xml"], kind, b.Bytes()}, nil
}
