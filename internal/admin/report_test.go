package admin

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/report"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

// settle books n payouts of a rouble each; those behind lost have no session.
func settle(t *testing.T, s store.Store, n, lost int, at time.Time) {
	t.Helper()
	reads := store.Reads{Books: []id.Project{"acme"}}
	if err := s.Commit(t.Context(), reads, func(rows *store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: 1}
		book := rows.Books["acme"]
		post := func(e ledger.Entry, n int) error {
			e.Session, e.Payout = id.Session(n), id.Payout(n)
			e, err := book.Post(e, at)
			c.Entries = append(c.Entries, e)
			return err
		}
		if err := post(ledger.Deposit(int64(n)*100, "all"), 0); err != nil {
			return nil, err
		}
		for i := 1; i <= n; i++ {
			if err := errors.Join(post(ledger.Hold(100, 0), i), post(ledger.Settle(100, 0, "cards"), i)); err != nil {
				return nil, err
			}
			if i <= lost {
				c.Sessions = append(c.Sessions, &session.Session{Project: "acme", ID: id.Session(i), Version: 2, State: session.Paid, Payouts: []session.Payout{{
					ID: id.Payout(i), State: session.Paid, Details: session.Details{Instrument: &instrument.Instrument{Card: &instrument.Card{Last4: "4242"}}},
				}}})
			}
		}
		c.Books = append(c.Books, book)
		return c, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A report comes whole or ends with an error, beside a server and without one.
func TestReport(t *testing.T) {
	for _, test := range []struct {
		name    string
		n, lost int
		whole   bool
	}{
		{"none", 0, 0, true},
		{"several pages", 700, 700, true},
		{"broken in the first page", 3, 1, false},
		{"broken in a later page", 700, 699, false},
	} {
		for _, beside := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				h, _, s := newDeskOn(t)
				p := place(t, h)
				if beside {
					serve(t, p, h)
				}
				c := connect(t, p)
				made(t, c)
				settle(t, s, test.n, test.lost, now)
				day := report.DayOf(now)
				r, err := c.Report(t.Context(), ReportRequest{Project: "acme", Day: &day, Format: report.CSV})
				var text []byte
				if err == nil {
					text, err = io.ReadAll(r.Body)
					if err := r.Body.Close(); err != nil {
						t.Error(err)
					}
				}
				if (err == nil) != test.whole {
					t.Fatalf("error %v after %d bytes, want whole %t", err, len(text), test.whole)
				}
				if !test.whole {
					return
				}
				lines := strings.Count(string(text), "\n")
				if test.n > 0 && lines != test.n+1 || test.n == 0 && lines != 0 {
					t.Errorf("%d lines of %d payouts", lines, test.n)
				}
				if r.Name != report.FileName("acme", day, report.CSV) || !r.Unfinished {
					t.Errorf("%+v", r)
				}
				acts, err := s.Audit(t.Context(), 1)
				if err != nil || len(acts) != 1 || acts[0].What != "report_download" || acts[0].Text != r.Name {
					t.Errorf("%+v, %v", acts, err)
				}
			})
		}
	}
}

func TestReportRefusals(t *testing.T) {
	h, _, _ := newDeskOn(t)
	c := connect(t, place(t, h))
	made(t, c)
	tomorrow := report.DayOf(now) + 1
	for _, test := range []struct {
		name string
		in   ReportRequest
		code fault.Code
		text string
	}{
		{"no project", ReportRequest{Project: "nobody", Format: report.CSV}, fault.NotFound, "no project nobody"},
		{"no format", ReportRequest{Project: "acme"}, fault.Invalid, "format: want csv or xlsx"},
		{"tomorrow", ReportRequest{Project: "acme", Format: report.XLSX, Day: &tomorrow}, fault.Invalid, "has not begun"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.Report(t.Context(), test.in)
			wantCode(t, err, test.code, test.text)
		})
	}
	r, err := c.Report(t.Context(), ReportRequest{Project: "acme", Format: report.CSV})
	if err != nil || r.Unfinished || r.Name != report.FileName("acme", tomorrow-2, report.CSV) {
		t.Errorf("without a day: %+v, %v; want yesterday's", r, err)
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
