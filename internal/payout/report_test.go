package payout

import (
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	reports "github.com/payoutd/payoutd/internal/report"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
)

// The report of what the engine has done over several days: payouts, and one
// that came back days later with our fee, told of twice.
func TestDailyReport(t *testing.T) {
	l := returnLab(t, func(p *partner.Project) { p.ReturnFee = true })
	pay := func(body string, want session.State) *session.Session {
		t.Helper()
		s := l.init(body)
		return l.until(s, want)
	}
	account := "40817810200000000017"
	first := pay(accountBody(account, 100_00), session.Paid)
	pay(cardBody(50_01), session.Paid)
	day := reports.DayOf(first.Payouts[0].FinishedAt)
	l.advance(3 * 24 * time.Hour)
	pay(accountBody(account, 7), session.Paid)
	l.take(first.Payouts[0].Rail, back(&first.Payouts[0], "r1", 100_00))
	l.until(first.ID, session.Returned)
	l.take(first.Payouts[0].Rail, back(&first.Payouts[0], "r2", 100_00)) // told twice under two names: booked once

	var entries []ledger.Entry
	if err := l.store.Snapshot(t.Context(), func(s store.Snapshot) error {
		for e, err := range s.Entries(t.Context(), l.project) {
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[reports.Day]int{day - 1: 0, day: 2, day + 1: 0, day + 3: 2, day + 4: 0} {
		var booked, reported int64
		for _, e := range entries {
			if (e.Kind == ledger.KindSettle || e.Kind == ledger.KindReturn) && reports.DayOf(e.At) == d {
				booked += e.Change.Clearing + e.Change.Fees
			}
		}
		rows := 0
		for r, err := range reports.Rows(t.Context(), l.store, l.call().Project, d) {
			if err != nil {
				t.Fatal(err)
			}
			rows++
			p := l.session(r.Session).Payouts[0]
			if r.Type == reports.Refund {
				reported -= r.Payment + r.Fees
				if r.Refund != p.Refund().ID || r.Fees != p.Fee || r.Fees == 0 {
					t.Errorf("%+v, of %+v", r, p)
				}
			} else {
				reported += r.Payment + r.Fees
				if !r.BookedAt.Equal(p.FinishedAt) {
					t.Errorf("%s was finished at %s, in the report at %s", p.ID, p.FinishedAt, r.BookedAt)
				}
			}
			if r.Payout != p.ID || r.Payment != p.Minor() {
				t.Errorf("%+v, of %+v", r, p)
			}
		}
		if rows != want || reported != booked {
			t.Errorf("%s: %d rows of %s, want %d of %s", d, rows, roubles(reported), want, roubles(booked))
		}
	}
	l.clean()
}

func roubles(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.RUB} }
