package simulation

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

// What rails have sent as statements, what the tax service was asked, and what
// people have earned.

type statementKey struct{ rail, id string }

type lineKey struct {
	project         id.Project
	rail, reference string
	statement       id.Statement
	no              int
}

type differenceKey struct {
	statement id.Statement
	no        int
}

func (w *writing) statement(s store.Statement) error {
	s.From, s.To, s.At = cut(s.From), cut(s.To), cut(s.At)
	k := statementKey{s.Rail, s.ID}
	if old, there := w.statements[k]; there {
		if old.Number != s.Number || old.Print != s.Print {
			return guard("the statement %s is another one", s.Number)
		}
		old.State, old.Summary = s.State, s.Summary
		s = old
	}
	put(w, w.statements, k, s)
	return nil
}

func (w *writing) line(l store.StatementLine) error {
	l.At, l.RailID = cut(l.At), codec.Plain(l.RailID)
	k := lineKey{l.Project, l.Rail, l.Reference, l.Statement, l.No}
	if _, there := w.lines[k]; !there {
		put(w, w.lines, k, l)
	}
	return nil
}

func (w *writing) difference(d store.Difference) error {
	d.At, d.Reference, d.RailID, d.Text = cut(d.At), codec.Plain(d.Reference), codec.Plain(d.RailID), codec.Plain(d.Text)
	return add(w, w.differences, "difference", differenceKey{d.Statement, d.No}, d)
}

func (w *writing) npdRequest(r store.NPDRequest) error {
	old, there := w.npd[r.Key()]
	switch {
	case r.Revision == 0:
		r.CreatedAt, r.EndsAt, r.Revision = cut(r.CreatedAt), cut(r.EndsAt), 1
		return add(w, w.npd, "request", r.Key(), r)
	case !there || old.Revision != r.Revision:
		return guard("%s is not at revision %d", r.ID, r.Revision)
	}
	old.Message, old.Answer, old.Revision = r.Message, r.Answer, old.Revision+1
	put(w, w.npd, r.Key(), old)
	return nil
}

// wipeNPD removes up to limit requests that have ended, the oldest first.
func (w *writing) wipeNPD(now time.Time, limit int) (wiped int) {
	for _, r := range sorted(w.npd, func(a, b store.NPDRequest) int {
		return cmp.Or(a.EndsAt.Compare(b.EndsAt), cmp.Compare(a.Project, b.Project), cmp.Compare(a.ID, b.ID))
	}) {
		if !r.EndsAt.After(now) && wiped < limit {
			drop(w, w.npd, r.Key())
			wiped++
		}
	}
	return wiped
}

func (m *memory) NPDRequest(ctx context.Context, k store.NPDKey) (store.NPDRequest, error) {
	return find(m, ctx, m.npd, "request", k)
}

func (m *memory) Statement(ctx context.Context, n id.Statement) (store.Statement, error) {
	return read(m, ctx, func() (store.Statement, error) {
		for _, s := range m.statements {
			if s.Number == n {
				return s, nil
			}
		}
		return store.Statement{}, missing("statement")
	})
}

func (m *memory) StatementsOf(ctx context.Context, rail string, limit int) ([]store.Statement, error) {
	return read(m, ctx, func() ([]store.Statement, error) {
		list := sorted(m.statements, func(a, b store.Statement) int {
			if rail == "" {
				return cmp.Compare(b.Number, a.Number)
			}
			return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.Number, b.Number))
		})
		return newest(slices.DeleteFunc(list, func(s store.Statement) bool { return rail != "" && s.Rail != rail }), limit), nil
	})
}

func (m *memory) Differences(ctx context.Context, n id.Statement) ([]store.Difference, error) {
	return read(m, ctx, func() (list []store.Difference, _ error) {
		for _, d := range sorted(m.differences, byDifference) {
			if d.Statement == n {
				list = append(list, d)
			}
		}
		return list, nil
	})
}

func byDifference(a, b store.Difference) int {
	return cmp.Or(cmp.Compare(a.Statement, b.Statement), cmp.Compare(a.No, b.No))
}

func byLine(a, b store.StatementLine) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Rail, b.Rail), cmp.Compare(a.Reference, b.Reference),
		cmp.Compare(a.Statement, b.Statement), cmp.Compare(a.No, b.No))
}

func (m *memory) LinesAbout(ctx context.Context, rail string, payments []store.PaymentKey) ([]store.StatementLine, error) {
	return read(m, ctx, func() (list []store.StatementLine, _ error) {
		for _, l := range sorted(m.lines, byLine) {
			if l.Rail == rail && slices.Contains(payments, store.PaymentKey{Project: l.Project, Reference: l.Reference}) {
				list = append(list, l)
			}
		}
		return list, nil
	})
}

func (s snapshot) AllStatements(context.Context) iter.Seq2[store.Statement, error] {
	return stream(maps.Values(s.statements), func(store.Statement) bool { return true }, func(a, b store.Statement) int {
		return cmp.Or(cmp.Compare(a.Rail, b.Rail), cmp.Compare(a.ID, b.ID))
	})
}

func (s snapshot) AllDifferences(context.Context) iter.Seq2[store.Difference, error] {
	return stream(maps.Values(s.differences), func(store.Difference) bool { return true }, byDifference)
}

func (s snapshot) StatementLines(_ context.Context, p id.Project) iter.Seq2[store.StatementLine, error] {
	return stream(maps.Values(s.lines), func(l store.StatementLine) bool { return l.Project == p }, byLine)
}

func (s snapshot) Movements(_ context.Context, p id.Project, rail string, from, to time.Time) iter.Seq2[store.Movement, error] {
	return func(yield func(store.Movement, error) bool) {
		for _, e := range s.entries[p] {
			if e.Rail != rail || e.Change.Clearing == 0 || e.At.Before(from) || !e.At.Before(to) {
				continue
			}
			a := s.attemptOf(e)
			if !yield(store.Movement{
				Project: p, Session: e.Session, Payout: e.Payout, Reference: a.Reference, Minor: e.Change.Clearing, SentAt: a.SentAt, At: e.At,
			}, nil) {
				return
			}
		}
	}
}

// attemptOf is the last attempt of the payout of an entry.
func (s snapshot) attemptOf(e ledger.Entry) (last store.Attempt) {
	for k, a := range s.attempts {
		if k.SessionKey == (store.SessionKey{Project: e.Project, Session: e.Session}) && k.payout == e.Payout && a.No > last.No {
			last = a
		}
	}
	return last
}

func (w *writing) income(i store.Income) error {
	old, there := w.incomes[i.IncomeKey]
	if there != (i.Revision > 0) || old.Revision != i.Revision || min(i.Held, i.Asked, i.Registered) < 0 {
		return guard("what somebody earns is not at revision %d, or below zero", i.Revision)
	}
	i.Revision++
	put(w, w.incomes, i.IncomeKey, i)
	return nil
}

func (w *writing) reservation(r store.Reservation) error {
	r.EarnedAt = cut(r.EarnedAt)
	if old, there := w.reservations[r.ReservationKey]; there && (old.Project != r.Project || old.Session != r.Session || old.Minor != r.Minor) {
		return guard("the reservation of %s is another one", r.Payout)
	}
	put(w, w.reservations, r.ReservationKey, r)
	return nil
}

func (m *memory) Income(ctx context.Context, k store.IncomeKey) (store.Income, error) {
	return find(m, ctx, m.incomes, "income", k)
}

func byReservation(a, b store.Reservation) int {
	return cmp.Or(cmp.Compare(a.INN, b.INN), cmp.Compare(a.Year, b.Year), cmp.Compare(a.Payout, b.Payout))
}

func (m *memory) Reservations(ctx context.Context, from, to time.Time) ([]store.Reservation, error) {
	return read(m, ctx, func() (list []store.Reservation, _ error) {
		for _, r := range sorted(m.reservations, byReservation) {
			if !r.EarnedAt.IsZero() && !r.EarnedAt.Before(from) && r.EarnedAt.Before(to) {
				list = append(list, r)
			}
		}
		return list, nil
	})
}

func (s snapshot) Incomes(context.Context) iter.Seq2[store.Income, error] {
	return stream(maps.Values(s.incomes), func(store.Income) bool { return true }, func(a, b store.Income) int {
		return cmp.Or(cmp.Compare(a.INN, b.INN), cmp.Compare(a.Year, b.Year))
	})
}

func (s snapshot) Reservations(context.Context) iter.Seq2[store.Reservation, error] {
	return stream(maps.Values(s.reservations), func(store.Reservation) bool { return true }, byReservation)
}

func (s snapshot) Reservation(ctx context.Context, k store.ReservationKey) (store.Reservation, error) {
	return find(s.memory, ctx, s.reservations, "reservation", k)
}
