package payout

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/rail/statement"
)

const account = "bank_account" // the rail of accounts in these tests

// statementLab has payouts to accounts that are paid at once, by a rail that
// books what it has told at once.
func statementLab(t *testing.T) *lab {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.start()
	return l
}

// pay makes so many paid payouts of 10 roubles and more to accounts.
func (l *lab) pay(n int) []session.Payout {
	l.Helper()
	var paid []session.Payout
	for i := range n {
		s := l.init(accountBody(accountNumber, 10_00+int64(i)))
		l.receive(session.PaymentFinished, s)
		paid = append(paid, l.session(s).Payouts[0])
	}
	return paid
}

// payLine is the line of a payout as its bank has it.
func payLine(p *session.Payout) statement.Line {
	return statement.Line{
		Kind: statement.Payout, Reference: p.Reference, RailID: "B-" + p.Reference, Amount: *p.Amount(), Direction: statement.Debit, At: p.SentAt,
	}
}

// backLine is the line of its return.
func backLine(p *session.Payout, name string) statement.Line {
	return statement.Line{
		Kind: statement.Return, Reference: p.Reference, RailID: name, Amount: *p.Amount(), Direction: statement.Credit, At: p.SentAt,
	}
}

// upToNow is a statement of the last hour with the lines of payouts.
func (l *lab) upToNow(name string, paid ...session.Payout) *statement.Statement {
	now := l.engine.now()
	s := &statement.Statement{ID: name, From: now.Add(-time.Hour), To: now}
	for i := range paid {
		s.Lines = append(s.Lines, payLine(&paid[i]))
	}
	return s
}

func (l *lab) import_(s *statement.Statement) StatementReport {
	l.Helper()
	r, err := l.engine.TakeStatement(l.Context(), account, s)
	if err != nil {
		l.Fatalf("statement %s: %v", s.ID, err)
	}
	return r
}

// mismatch is a difference in short.
type mismatch struct {
	Kind      store.DifferenceKind
	Line      int
	Reference string
}

func inShort(list []store.Difference) []mismatch {
	short := []mismatch{}
	for _, d := range list {
		short = append(short, mismatch{d.Kind, d.Line, d.Reference})
	}
	return short
}

func (l *lab) wantDifferences(r StatementReport, want ...mismatch) {
	l.Helper()
	if got := inShort(r.Differences); !slices.Equal(got, want) && len(got)+len(want) > 0 {
		l.Errorf("found %+v, want %+v", r.Differences, want)
	}
	if r.Summary.Differences != len(want) || r.State != store.StatementDone {
		l.Errorf("the statement is %s with %d differences, want %d", r.State, r.Summary.Differences, len(want))
	}
}

// statementAlarms are the kinds of the alarms about statements.
func (l *lab) statementAlarms() []string {
	l.Helper()
	return slices.DeleteFunc(l.alarms(), func(kind string) bool { return !strings.HasPrefix(kind, "statement_") })
}

func TestStatementThatAgrees(t *testing.T) {
	l := statementLab(t)
	paid := l.pay(3)
	before := l.balance()
	r := l.import_(l.upToNow("S-1", paid...))
	l.wantDifferences(r)
	if s := r.Summary; s.Lines != 3 || s.Matched != 3 || s.Due != 3 || s.Proved+s.Returned != 0 || r.Repeated {
		t.Errorf("found %+v", r)
	}
	if got := l.alarms(); len(got) != 0 {
		t.Errorf("alarms %q", got)
	}
	if l.balance() != before {
		t.Errorf("balance %+v, was %+v", l.balance(), before)
	}
	l.clean()
}

// Each kind of difference is found, is told once, and books nothing away.
func TestStatementDifferences(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*statement.Statement, []session.Payout)
		want   func([]session.Payout) []mismatch
	}{
		{
			"missing",
			func(s *statement.Statement, _ []session.Payout) { s.Lines = s.Lines[1:] },
			func(p []session.Payout) []mismatch { return []mismatch{{store.Missing, 0, p[0].Reference}} },
		},
		{
			"extra: a payment of nobody",
			func(s *statement.Statement, p []session.Payout) {
				l := payLine(&p[0])
				l.Reference = "po_1"
				s.Lines = append(s.Lines, l, l)
			},
			func([]session.Payout) []mismatch {
				return []mismatch{{store.Extra, 4, "po_1"}, {store.Extra, 5, "po_1"}}
			},
		},
		{
			"extra: a fee of the rail",
			func(s *statement.Statement, p []session.Payout) {
				l := payLine(&p[0])
				l.Kind, l.Reference = statement.Other, ""
				s.Lines = append(s.Lines, l)
			},
			func([]session.Payout) []mismatch { return []mismatch{{store.Extra, 4, ""}} },
		},
		{
			"other amount",
			func(s *statement.Statement, _ []session.Payout) { s.Lines[1].Amount.Minor++ },
			func(p []session.Payout) []mismatch { return []mismatch{{store.OtherAmount, 2, p[1].Reference}} },
		},
		{
			"other currency",
			func(s *statement.Statement, _ []session.Payout) { s.Lines[1].Amount.Currency = money.USD },
			func(p []session.Payout) []mismatch { return []mismatch{{store.OtherAmount, 2, p[1].Reference}} },
		},
		{
			"doubled",
			func(s *statement.Statement, _ []session.Payout) {
				again := s.Lines[0]
				again.RailID += "-2"
				s.Lines = append(s.Lines, again)
			},
			func(p []session.Payout) []mismatch { return []mismatch{{store.DoubledLine, 4, p[0].Reference}} },
		},
		{
			"doubled under the same name",
			func(s *statement.Statement, _ []session.Payout) { s.Lines = append(s.Lines, s.Lines[0]) },
			func(p []session.Payout) []mismatch { return []mismatch{{store.DoubledLine, 4, p[0].Reference}} },
		},
		{
			"balances",
			func(s *statement.Statement, _ []session.Payout) {
				s.Opening, s.Closing = &money.Amount{Minor: 100_00, Currency: money.RUB}, &money.Amount{Minor: 69_98, Currency: money.RUB}
			},
			func([]session.Payout) []mismatch { return []mismatch{{store.OtherSum, 0, ""}} },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := statementLab(t)
			paid := l.pay(3)
			before := l.balance()
			s := l.upToNow("S-1", paid...)
			c.change(s, paid)
			want := c.want(paid)
			first := l.import_(s)
			l.wantDifferences(first, want...)
			again := l.import_(s)
			l.wantDifferences(again, want...)
			if !again.Repeated || first.Repeated {
				t.Errorf("repeated: first %v, again %v", first.Repeated, again.Repeated)
			}
			var kinds []string
			for _, d := range want {
				kinds = append(kinds, "statement_"+string(d.Kind))
			}
			if got := l.alarms(); !slices.Equal(got, kinds) {
				t.Errorf("alarms %q, want %q", got, kinds)
			}
			alarms, err := l.store.Alarms(t.Context(), 9)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range alarms { // the newest first
				d := want[len(want)-1-i]
				about := d.Reference
				if d.Line != 0 {
					about = fmt.Sprintf("line %d, %s", d.Line, d.Reference)
				}
				if !strings.Contains(a.Text, " ("+first.Number.String()+"): "+about) || strings.Contains(a.Text, ": :") || strings.Contains(a.Text, "  ") {
					t.Errorf("alarm %q", a.Text)
				}
			}
			if l.balance() != before {
				t.Errorf("balance %+v, was %+v", l.balance(), before)
			}
			for _, p := range paid {
				if now := l.session(l.sessionOfPayout(p)).Payouts[0]; !reflect.DeepEqual(now, p) {
					t.Errorf("the payout is %+v, was %+v", now, p)
				}
			}
			if r := l.clean(); r.Statements != 1 || r.Differences != len(want) {
				t.Errorf("checked %d statements and %d differences", r.Statements, r.Differences)
			}
		})
	}
}

func (l *lab) sessionOfPayout(p session.Payout) id.Session {
	l.Helper()
	a, err := l.store.FindAttempt(l.Context(), p.Rail, p.Reference)
	if err != nil {
		l.Fatal(err)
	}
	return a.Session
}

// unclear is a payout whose outcome the rail does not tell.
func (l *lab) unclear() (id.Session, session.Payout) {
	l.Helper()
	r := l.rails[instrument.KindAccount]
	r.query = func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.Unknown}, nil }
	r.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{}, errNoAnswer
	})
	s := l.init(accountBody(accountNumber, 100_00))
	return s, l.until(s, session.Unclear).Payouts[0]
}

// What a bank has in its book is the strongest proof that it has paid.
func TestStatementProvesAnUnclearPayout(t *testing.T) {
	l := statementLab(t)
	s, p := l.unclear()
	r := l.import_(l.upToNow("S-1", p))
	l.wantDifferences(r)
	if r.Summary.Proved != 1 || r.Summary.Matched != 1 {
		t.Errorf("found %+v", r.Summary)
	}
	l.receive(session.PaymentFinished, s)
	if got, want := l.balance(), (ledger.Accounts{Available: 900_00, Clearing: 100_00, Deposits: -1000_00}); got != want {
		t.Errorf("balance %+v, want %+v", got, want)
	}
	l.wantDifferences(l.import_(l.upToNow("S-2", p))) // told again
	l.silent(s, 1)
	l.clean()
}

// Another amount proves nothing: the rail is asked on.
func TestStatementOfAnUnclearPayoutWithAnotherAmount(t *testing.T) {
	l := statementLab(t)
	s, p := l.unclear()
	st := l.upToNow("S-1", p)
	st.Lines[0].Amount.Minor--
	l.wantDifferences(l.import_(st), mismatch{store.OtherAmount, 1, p.Reference})
	if now := l.session(s); now.State != session.Unclear || l.balance().Held != 100_00 {
		t.Errorf("session %s, balance %+v", now.State, l.balance())
	}
	l.clean()
}

// A payout that failed and has left all the same is in suspense, and stays a
// difference.
func TestStatementOfAFailedPayout(t *testing.T) {
	l := statementLab(t)
	l.rails[instrument.KindAccount].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Failed, Code: rail.AccountNotFound}, nil
	})
	s := l.init(accountBody(accountNumber, 100_00))
	l.receive(session.PaymentFinished, s)
	p := l.session(s).Payouts[0]
	st := l.upToNow("S-1", p)
	l.wantDifferences(l.import_(st), mismatch{store.Extra, 1, p.Reference})
	if got := l.alarms(); !slices.Equal(got, []string{"paid_after_failed", "statement_extra"}) {
		t.Errorf("alarms %q", got)
	}
	if got, want := l.balance(), (ledger.Accounts{Available: 1000_00, Clearing: 100_00, Suspense: -100_00, Deposits: -1000_00}); got != want {
		t.Errorf("balance %+v, want %+v", got, want)
	}
	// The bank books it back: all is as before, and the two statements say why.
	next := l.upToNow("S-2")
	next.Lines = []statement.Line{backLine(&p, "R-1")}
	l.wantDifferences(l.import_(next), mismatch{store.Extra, 1, p.Reference})
	if got, want := l.balance(), (ledger.Accounts{Available: 1000_00, Deposits: -1000_00}); got != want {
		t.Errorf("balance %+v, want %+v", got, want)
	}
	l.silent(s, 1)
	l.clean()
}

// A return is booked once, whichever comes first, and is no difference.
func TestReturnByStatementAndByNotification(t *testing.T) {
	for _, c := range []struct {
		name   string
		tell   func(l *lab, st *statement.Statement, notify rail.Return)
		booked int // by the statement
	}{
		{"statement first", func(l *lab, st *statement.Statement, notify rail.Return) {
			l.wantDifferences(l.import_(st))
			if got := l.take(account, notify); !got.Repeated {
				l.Errorf("the notification did %+v", got)
			}
		}, 1},
		{"notification first", func(l *lab, st *statement.Statement, notify rail.Return) {
			l.take(account, notify)
			l.wantDifferences(l.import_(st))
		}, 0},
		{"statement alone, twice", func(l *lab, st *statement.Statement, _ rail.Return) {
			l.wantDifferences(l.import_(st))
			again := *st
			again.ID = "S-2"
			r := l.import_(&again)
			l.wantDifferences(r)
			if r.Summary.Returned != 0 {
				l.Errorf("the second statement has %+v", r.Summary)
			}
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := returnLab(t)
			s, p := l.paidAccount()
			st := l.upToNow("S-1", *p)
			b := backLine(p, "R-1")
			b.At = p.CreatedAt.Add(time.Hour).UTC().Truncate(time.Microsecond)
			st.Lines = append(st.Lines, b)
			c.tell(l, st, back(p, "R-1", 100_00))
			l.receive(session.PaymentRefunded, s)
			if got, want := l.balance(), (ledger.Accounts{Available: 997_00, Fees: 3_00, Deposits: -1000_00}); got != want {
				t.Errorf("balance %+v, want %+v", got, want)
			}
			if r, err := l.engine.Statements(t.Context(), 9); err != nil || r[len(r)-1].Summary.Returned != c.booked {
				t.Errorf("statements %+v, error %v", r, err)
			}
			if got := l.alarms(); len(got) != 0 {
				t.Errorf("alarms %q", got)
			}
			l.silent(s, 2)
			l.clean()
		})
	}
}

func TestStatementReturnDifferences(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines func(p *session.Payout) []statement.Line
		want  []mismatch
	}{
		{"another amount", func(p *session.Payout) []statement.Line {
			b := backLine(p, "R-1")
			b.Amount.Minor = 40_00
			return []statement.Line{b}
		}, []mismatch{{store.OtherAmount, 2, ""}}},
		{"twice, under two names", func(p *session.Payout) []statement.Line {
			return []statement.Line{backLine(p, "R-1"), backLine(p, "R-2")}
		}, []mismatch{{store.DoubledLine, 3, ""}}},
		{"twice, under one name", func(p *session.Payout) []statement.Line {
			return []statement.Line{backLine(p, "R-1"), backLine(p, "R-1")}
		}, []mismatch{{store.DoubledLine, 3, ""}}},
		{"one name for two amounts", func(p *session.Payout) []statement.Line {
			b := backLine(p, "R-1")
			b.Amount.Minor = 40_00
			return []statement.Line{backLine(p, "R-1"), b}
		}, []mismatch{{store.DoubledLine, 3, ""}}},
		{"without a name", func(p *session.Payout) []statement.Line {
			return []statement.Line{backLine(p, "")}
		}, []mismatch{{store.Extra, 2, ""}}},
		{"of nobody's payment", func(p *session.Payout) []statement.Line {
			b := backLine(p, "R-1")
			b.Reference = "po_1"
			return []statement.Line{b}
		}, []mismatch{{store.Extra, 2, "po_1"}}},
		{"in another currency", func(p *session.Payout) []statement.Line {
			b := backLine(p, "R-1")
			b.Amount.Currency = money.USD
			return []statement.Line{b}
		}, []mismatch{{store.OtherAmount, 2, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := returnLab(t)
			_, p := l.paidAccount()
			st := l.upToNow("S-1", *p)
			st.Lines = append(st.Lines, c.lines(p)...)
			want := slices.Clone(c.want)
			for i := range want {
				if want[i].Reference == "" {
					want[i].Reference = p.Reference
				}
			}
			l.wantDifferences(l.import_(st), want...)
			if got := l.statementAlarms(); len(got) != len(want) {
				t.Errorf("alarms %q", got)
			}
			l.clean()
		})
	}
	t.Run("missing", func(t *testing.T) {
		l := returnLab(t)
		_, p := l.paidAccount()
		l.take(account, back(p, "R-1", 100_00))
		l.wantDifferences(l.import_(l.upToNow("S-1", *p)), mismatch{store.Missing, 0, p.Reference})
		l.clean()
	})
	t.Run("of an unclear payout", func(t *testing.T) {
		l := statementLab(t)
		s, p := l.unclear()
		st := l.upToNow("S-1")
		st.Lines = []statement.Line{backLine(&p, "R-1")}
		l.wantDifferences(l.import_(st), mismatch{store.Extra, 1, p.Reference})
		if got := l.session(s).State; got != session.Unclear {
			t.Errorf("session %s", got)
		}
		// The statement that has both pays it and gives it back.
		both := l.upToNow("S-2", p)
		both.Lines = append([]statement.Line{backLine(&p, "R-1")}, both.Lines...)
		l.wantDifferences(l.import_(both))
		if got := l.until(s, session.Returned); got.Events != 2 {
			t.Errorf("%d events", got.Events)
		}
		l.clean()
	})
}

// What is at the edge of a period is looked for in the statement before and in
// the one after, and is missing only when both are here.
func TestStatementEdges(t *testing.T) {
	const hour = time.Hour
	begin := func(t *testing.T) (*lab, session.Payout, time.Time) {
		l := statementLab(t)
		l.rails[instrument.KindAccount].terms.Booking = 10 * time.Minute
		paid := l.pay(1)[0] // in the last minutes of the first hour
		end := paid.FinishedAt.Add(time.Minute)
		l.advance(2 * hour)
		return l, paid, end
	}
	of := func(name string, from time.Time, lines ...statement.Line) *statement.Statement {
		return &statement.Statement{ID: name, From: from, To: from.Add(hour), Lines: lines}
	}
	t.Run("booked in the next", func(t *testing.T) {
		l, p, end := begin(t)
		late := payLine(&p)
		late.At = end.Add(time.Minute)
		l.wantDifferences(l.import_(of("S-1", end.Add(-hour))))
		l.wantDifferences(l.import_(of("S-2", end, late)))
	})
	t.Run("booked before it was told", func(t *testing.T) {
		l, p, end := begin(t)
		before := end.Add(-5 * time.Minute) // the period ends before we have learnt it
		l.wantDifferences(l.import_(of("S-1", before.Add(-hour), payLine(&p))))
		l.wantDifferences(l.import_(of("S-2", before)))
	})
	t.Run("never", func(t *testing.T) {
		l, p, end := begin(t)
		l.wantDifferences(l.import_(of("S-1", end.Add(-hour))))
		r := l.import_(of("S-2", end))
		l.wantDifferences(r, mismatch{store.Missing, 0, p.Reference})
		// A statement that comes later has it after all, and the report says so.
		late := payLine(&p)
		late.At = end.Add(2 * time.Minute)
		later := l.import_(&statement.Statement{ID: "S-3", From: end, To: end.Add(hour / 2), Lines: []statement.Line{late}})
		l.wantDifferences(later)
		again, err := l.engine.StatementReport(t.Context(), r.Number)
		if err != nil || again.Found[1] != later.Number {
			t.Errorf("found since: %v, error %v", again.Found, err)
		}
	})
	t.Run("never, and short ones follow", func(t *testing.T) {
		l, p, end := begin(t)
		l.wantDifferences(l.import_(of("S-1", end.Add(-hour))))
		short := of("S-2", end)
		short.To = end.Add(hour / 120)
		l.wantDifferences(l.import_(short), mismatch{store.Missing, 0, p.Reference})
		next := of("S-3", short.To)
		next.To = short.To.Add(hour / 120)
		l.wantDifferences(l.import_(next))
	})
	t.Run("the later one first", func(t *testing.T) {
		l, p, end := begin(t)
		l.wantDifferences(l.import_(of("S-2", end)))
		l.wantDifferences(l.import_(of("S-1", end.Add(-hour))), mismatch{store.Missing, 0, p.Reference})
	})
	t.Run("without the one before", func(t *testing.T) {
		l, p, _ := begin(t)
		// It was sent before the period and told within: the bank may have booked
		// it before.
		l.wantDifferences(l.import_(of("S-2", p.SentAt.Add(time.Microsecond))))
	})
	t.Run("doubled in the next", func(t *testing.T) {
		l, p, end := begin(t)
		l.wantDifferences(l.import_(of("S-1", end.Add(-hour), payLine(&p))))
		again := payLine(&p)
		again.At, again.RailID = end.Add(time.Minute), "B-2"
		l.wantDifferences(l.import_(of("S-2", end, again)), mismatch{store.DoubledLine, 1, p.Reference})
		l.wantDifferences(l.import_(of("S-1a", end.Add(-hour), payLine(&p)))) // issued again
		wrong := payLine(&p)
		wrong.Amount.Minor++
		l.wantDifferences(l.import_(of("S-1b", end.Add(-hour), wrong)), mismatch{store.OtherAmount, 1, p.Reference})
	})
}

func TestNoStatement(t *testing.T) {
	l := statementLab(t)
	paid := l.pay(1)
	good := l.upToNow("S-1", paid...)
	l.import_(good)
	for _, c := range []struct {
		name   string
		rail   string
		change func(*statement.Statement)
		says   string
	}{
		{"of no rail", "", func(*statement.Statement) {}, "rail"},
		{"of a rail that is not there", "pigeons", func(*statement.Statement) {}, "rail: there is no rail pigeons, only bank_account, "},
		{"of another rail", account, func(s *statement.Statement) { s.Rail = "card" }, "rail: the statement is of card"},
		{"another content under the same name", account, func(s *statement.Statement) { s.Lines = nil }, "id: the statement S-1 of bank_account was taken in"},
		{"another period under the same name", account, func(s *statement.Statement) { s.From = s.From.Add(-time.Second) }, "id"},
		{"no name", account, func(s *statement.Statement) { s.ID = "" }, "id"},
		{"a period without end", account, func(s *statement.Statement) { s.To = s.From }, "period"},
		{"a period that lasts", account, func(s *statement.Statement) { s.To = s.To.Add(time.Hour) }, "period: it ends at"},
		{"a line of nothing", account, func(s *statement.Statement) { s.Lines[0].Amount.Minor = 0 }, "line 1 of the statement: amount"},
		{"of somebody else", account, func(s *statement.Statement) {
			s.ID = "S-9"
			for n := range differencesMax + 1 {
				other := s.Lines[0]
				other.Kind, other.Reference = statement.Other, fmt.Sprint("theirs-", n)
				s.Lines = append(s.Lines, other)
			}
		}, "the statement and the books differ in 10001 places"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *good
			s.Lines = slices.Clone(good.Lines)
			c.change(&s)
			_, err := l.engine.TakeStatement(t.Context(), c.rail, &s)
			if e, ok := errors.AsType[*fault.Error](err); !ok || e.Code != fault.Invalid || !strings.HasPrefix(e.Text, c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
	if list, err := l.engine.Statements(t.Context(), 9); err != nil || len(list) != 1 {
		t.Errorf("%d statements, error %v", len(list), err)
	}
	if got := l.alarms(); len(got) != 0 {
		t.Errorf("alarms %q", got)
	}
	if _, err := l.engine.StatementReport(t.Context(), 1); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a statement that nobody has taken in: %v", err)
	}
}

// Card numbers that a rail quotes are masked before they are written anywhere.
// What the rail calls its own stays: two returns must not become one.
func TestStatementMasksCardNumbers(t *testing.T) {
	l := statementLab(t)
	s := l.upToNow("S-1")
	s.Lines = []statement.Line{{
		Kind: statement.Other, Reference: cardNumber, RailID: "B-1", Direction: statement.Debit, Text: "to " + cardNumber,
		Amount: money.Amount{Minor: 1, Currency: money.RUB}, At: s.From,
	}}
	r := l.import_(s)
	alarms, err := l.store.Alarms(t.Context(), 9)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := l.store.LinesAbout(t.Context(), account, []store.PaymentKey{{Reference: instrument.MaskText(cardNumber)}})
	if err != nil || len(lines) != 1 {
		t.Errorf("%d lines, error %v", len(lines), err)
	}
	for _, a := range alarms {
		if a.Kind == "statement_extra" && !strings.Contains(a.Text, instrument.MaskText(cardNumber)) {
			t.Errorf("alarm %q", a.Text)
		}
	}
	if all := fmt.Sprintf("%+v %+v %+v", r, alarms, lines); strings.Contains(all, cardNumber) {
		t.Errorf("a card number in %s", all)
	}
}

// Names that a rail gives may look like card numbers, and masked like each other.
func TestReturnsWithNamesThatLookLikeCards(t *testing.T) {
	l := returnLab(t)
	_, one := l.paidAccount()
	_, other := l.paidAccount()
	const name, likeIt = "2200000000001317", "2200000000181317"
	if instrument.MaskText(name) == name || instrument.MaskText(likeIt) != instrument.MaskText(name) {
		t.Fatalf("%s and %s are masked as %s and %s", name, likeIt, instrument.MaskText(name), instrument.MaskText(likeIt))
	}
	s := l.upToNow("S-1", *one, *other)
	s.Lines = append(s.Lines, backLine(one, name), backLine(other, likeIt))
	l.wantDifferences(l.import_(s))
	if got, want := l.take(account, back(one, name, 100_00)), (Returned{Repeated: true}); got != want {
		t.Errorf("told by notification as well: %+v", got)
	}
	if got := l.balance().Clearing; got != 0 {
		t.Errorf("%d have not come back", got)
	}
	l.clean()
}

// A statement that was begun and not ended, because the program died, is gone on
// with by the same file.
func TestStatementThatWasCutOff(t *testing.T) {
	for name, died := range map[string]func(*reconciliation) error{
		"after it was begun": func(r *reconciliation) error { return r.begin() },
		"after it acted":     func(r *reconciliation) error { return errors.Join(r.begin(), r.act()) },
		"after the lines": func(r *reconciliation) error {
			return errors.Join(r.begin(), r.act(), r.report(r.ctx, &keepLines{r.some()}))
		},
		"before it could tell it": func(r *reconciliation) error { return errors.Join(r.begin(), r.act(), r.write()) },
	} {
		t.Run(name, func(t *testing.T) {
			l := statementLab(t)
			paid := l.pay(2)
			_, open := l.unclear()
			s := l.upToNow("S-1", paid[0], open)
			extra := backLine(&paid[1], "R-1")
			extra.Amount.Minor = 1
			s.Lines = append(s.Lines, extra)
			print, err := printOf(s)
			if err != nil {
				t.Fatal(err)
			}
			r := &reconciliation{
				Engine: l.engine, ctx: t.Context(), rail: account, statement: s, print: print, number: id.Statement(l.engine.ids.Next()),
				known: map[string]*payment{}, about: map[string]*payment{},
			}
			if err := errors.Join(r.read(), r.find()); err != nil {
				t.Fatal(err)
			}
			r.judge()
			if err := errors.Join(r.miss(), died(r)); err != nil {
				t.Fatal(err)
			}
			got := l.import_(s)
			if got.Number != r.number {
				t.Errorf("it is %s, was begun as %s", got.Number, r.number)
			}
			l.wantDifferences(got, mismatch{store.OtherAmount, 3, paid[1].Reference}, mismatch{store.Missing, 0, paid[1].Reference})
			if got := l.statementAlarms(); len(got) != 2 {
				t.Errorf("alarms %q", got)
			}
			l.clean()
		})
	}
}

// some are the first lines as they are written down.
func (r *reconciliation) some() []store.StatementLine {
	l := r.statement.Lines[0]
	return []store.StatementLine{{
		Project: r.about[l.Reference].Project, Rail: r.rail, Reference: l.Reference, Statement: r.number, No: 1, Kind: string(l.Kind),
		RailID: l.RailID, Amount: l.Amount, At: l.At,
	}}
}

// Payouts go on while a statement is taken in, and neither disturbs the other.
func TestStatementWhilePayoutsGoOn(t *testing.T) {
	l := statementLab(t)
	paid := l.pay(5)
	s := l.upToNow("S-1", paid...)
	const more = 30
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range more {
			if _, err := l.engine.Init(context.Background(), l.call(), l.parse("session/init/payout", accountBody(accountNumber, 10_00))); err != nil {
				t.Errorf("init: %v", err)
			}
		}
	}()
	for n := range 10 {
		next := *s
		next.ID = fmt.Sprint("S-", n+1)
		l.wantDifferences(l.import_(&next))
	}
	<-done
	for range more {
		select {
		case <-l.hooks:
		case <-time.After(patience):
			t.Fatal("a payout did not end")
		}
	}
	if got := l.alarms(); len(got) != 0 {
		t.Errorf("alarms %q", got)
	}
	l.clean()
}

// A statement made from the true books with k faults has those k differences.
func TestStatementFindsEveryFault(t *testing.T) {
	l := statementLab(t)
	const most = 12
	all := l.pay(most)
	l.stop() // the database changes under the engine: nobody else may use it
	l.stop = nil
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		s := l.upToNow(fmt.Sprint("S-", runs), all...)
		var want, missing []mismatch
		var lines []statement.Line
		opening := money.Amount{Minor: rapid.Int64Range(0, 1e6).Draw(rt, "opening"), Currency: money.RUB}
		for i := range s.Lines {
			good := s.Lines[i]
			switch fault := rapid.SampledFrom([]string{"", "", "missing", "amount", "doubled", "extra"}).Draw(rt, "fault"); fault {
			case "missing":
				missing = append(missing, mismatch{store.Missing, 0, good.Reference})
				continue
			case "amount":
				good.Amount.Minor += rapid.Int64Range(1, 1000).Draw(rt, "more")
				lines = append(lines, good)
				want = append(want, mismatch{store.OtherAmount, len(lines), good.Reference})
			case "doubled":
				lines = append(lines, good, good)
				want = append(want, mismatch{store.DoubledLine, len(lines), good.Reference})
			case "extra":
				other := good
				other.Reference = fmt.Sprint("po_", rapid.Int64Range(1, 1<<20).Draw(rt, "nobody"))
				lines = append(lines, good, other)
				want = append(want, mismatch{store.Extra, len(lines), other.Reference})
			default:
				lines = append(lines, good)
			}
		}
		s.Lines = lines
		want = append(want, missing...)
		closing := opening
		for i := range lines {
			closing.Minor -= lines[i].Amount.Minor
		}
		if rapid.Bool().Draw(rt, "balances") {
			s.Opening = &opening
			s.Closing = &closing
			if rapid.Bool().Draw(rt, "wrong") {
				closing.Minor++
				want = append(want, mismatch{store.OtherSum, 0, ""})
			}
		}
		defer beside(l, rt)()
		r, err := l.engine.TakeStatement(l.Context(), account, s)
		if err != nil {
			rt.Fatal(err)
		}
		if got := inShort(r.Differences); !slices.Equal(got, want) && len(got)+len(want) > 0 {
			rt.Fatalf("found %+v\nwant %+v", got, want)
		}
		if again, err := l.engine.TakeStatement(l.Context(), account, s); err != nil || !again.Repeated || !reflect.DeepEqual(again.Differences, r.Differences) {
			rt.Fatalf("again: %+v, error %v", again, err)
		}
	})
	l.clean()
}

// The same on PostgreSQL, with all that a statement may bring at once.
func TestStatementOnPostgres(t *testing.T) {
	url := pgtest.URL(t)
	if err := postgres.Migrate(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	to, err := postgres.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := statementLab(t)
	paid := l.pay(5)
	_, open := l.unclear()
	l.stop() // from here on nobody writes but this test
	l.stop = nil
	if err := copyTo(l, to); err != nil {
		t.Fatal(err)
	}
	before := l.engine.store
	l.engine.store, l.store = to, to
	defer func() {
		l.engine.store, l.store = before, before
		_ = to.Close()
	}()
	s := l.upToNow("S-1", paid[1], paid[2], paid[3], paid[3], paid[4], open)
	s.Lines[1].Amount.Minor++
	nobody := payLine(&paid[4])
	nobody.Reference = "po_1"
	s.Lines = append(s.Lines, nobody, backLine(&paid[4], "R-1"))
	want := []mismatch{
		{store.OtherAmount, 2, paid[2].Reference},
		{store.DoubledLine, 4, paid[3].Reference},
		{store.Extra, 7, "po_1"},
		{store.Missing, 0, paid[0].Reference},
	}
	r := l.import_(s)
	l.wantDifferences(r, want...)
	if r.Summary.Proved != 1 || r.Summary.Returned != 1 || r.Summary.Matched != 5 || len(l.alarms()) != len(want) {
		t.Errorf("found %+v, alarms %q", r.Summary, l.alarms())
	}
	l.wantDifferences(l.import_(s), want...)
	next := l.upToNow("S-2", paid...)
	next.Lines = append(next.Lines, backLine(&paid[4], "R-1"), payLine(&open))
	l.wantDifferences(l.import_(next))
	again, err := l.engine.StatementReport(t.Context(), r.Number)
	if err != nil || len(again.Found) != 1 {
		t.Errorf("found since: %v, error %v", again.Found, err)
	}
	l.clean()
}

// beside gives the engine a copy of its database, so that no run knows what an
// earlier one was told, and returns how to go back.
func beside(l *lab, rt *rapid.T) func() {
	copied, err := sqlite.Open(l.Context(), filepath.Join(l.TempDir(), "copy.db"), nil)
	if err != nil {
		rt.Fatal(err)
	}
	if err := copyTo(l, copied); err != nil {
		rt.Fatal(err)
	}
	before := l.engine.store
	l.engine.store = copied
	return func() {
		l.engine.store = before
		_ = copied.Close()
	}
}

// copyTo copies the database of the lab as it stands.
func copyTo(l *lab, target store.Bulk) error {
	return l.store.(store.Bulk).Dump(l.Context(), func(d store.Dump) error {
		tables, err := d.Tables(l.Context())
		if err != nil {
			return err
		}
		return target.Load(l.Context(), func(to store.Load) error {
			for _, t := range tables {
				if err := to.Append(l.Context(), t, d.Rows(l.Context(), t)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
