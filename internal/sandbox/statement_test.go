package sandbox

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/rail/statement"
)

// paidWorld has three payouts to accounts, the first of which comes back after
// three days, one that was declined, and one to a card.
func paidWorld(t *testing.T) (*World, http.Handler) {
	t.Helper()
	clock, err := OpenClock(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := Open(filepath.Join(t.TempDir(), "sim"), clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, w) })
	send := func(kind instrument.Kind, reference, value string, want rail.Status) {
		t.Helper()
		o, opener := payTo(kind, value)
		o.Reference = reference
		got, err := w.Rails()[kind].Send(t.Context(), o, opener)
		if err != nil || got.Status != want {
			t.Fatalf("%s: %+v, error %v", reference, got, err)
		}
	}
	send(instrument.KindAccount, "po_10", valueOf(string(instrument.KindAccount), 33), rail.Succeeded)
	send(instrument.KindAccount, "po_11", ordinary[instrument.KindAccount], rail.Succeeded)
	send(instrument.KindAccount, "po_12", valueOf(string(instrument.KindAccount), 20), rail.Failed)
	send(instrument.KindAccount, "po_13", ordinary[instrument.KindAccount], rail.Succeeded)
	send(instrument.KindCard, "po_14", ordinary[instrument.KindCard], rail.Succeeded)
	return w, Handler(Site{Clock: clock, Inbox: NewInbox(clock.Now), World: w})
}

// shortly is a line in short: its sign, reference and kopecks.
func shortly(s *statement.Statement) (lines []string) {
	for _, l := range s.Lines {
		lines = append(lines, strings.Join([]string{string(l.Kind), l.Reference, l.Amount.Major()}, " "))
	}
	return lines
}

func TestStatementHasWhatTheBooksHave(t *testing.T) {
	w, _ := paidWorld(t)
	day := w.clock.Now().UTC().Truncate(24 * time.Hour)
	s, err := w.Statement(t.Context(), "account", day, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"payout po_10 125.50", "payout po_11 125.50", "payout po_13 125.50"}
	if got := shortly(s); !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	if s.Opening.Minor != 0 || s.Closing.Minor != -3*125_50 || !s.To.After(s.Lines[2].At) {
		t.Errorf("from %s to %s, in %s to %s", s.Opening, s.Closing, s.From, s.To)
	}
	if err := w.clock.Advance(4 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	back, err := w.Statement(t.Context(), "account", day.AddDate(0, 0, 3), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := shortly(back); !slices.Equal(got, []string{"return po_10 125.50"}) || back.Lines[0].RailID != returnReference("po_10") {
		t.Errorf("three days later: %+v", back.Lines)
	}
	if back.Opening.Minor != -3*125_50 || back.Closing.Minor != -2*125_50 || back.ID != "account-"+day.AddDate(0, 0, 3).Format("20060102") {
		t.Errorf("%s: from %s to %s", back.ID, back.Opening, back.Closing)
	}
}

func TestStatementFaults(t *testing.T) {
	w, _ := paidWorld(t)
	for _, c := range []struct {
		faults []Fault
		want   []string
		off    int64 // of the closing balance from the lines
	}{
		{[]Fault{FaultMissing}, []string{"payout po_11 125.50", "payout po_13 125.50"}, 0},
		{[]Fault{FaultExtra}, []string{"payout po_10 125.50", "payout po_131 125.50", "payout po_11 125.50", "payout po_13 125.50"}, 0},
		{[]Fault{FaultOtherAmount}, []string{"payout po_10 126.50", "payout po_11 125.50", "payout po_13 125.50"}, 0},
		{[]Fault{FaultDoubled}, []string{"payout po_10 125.50", "payout po_10 125.50", "payout po_11 125.50", "payout po_13 125.50"}, 0},
		{[]Fault{FaultOtherSum}, []string{"payout po_10 125.50", "payout po_11 125.50", "payout po_13 125.50"}, -rouble},
		{[]Fault{FaultMissing, FaultOtherAmount, FaultDoubled}, []string{"payout po_11 126.50", "payout po_13 125.50", "payout po_13 125.50"}, 0},
	} {
		s, err := w.Statement(t.Context(), "account", w.clock.Now(), c.faults)
		if err != nil {
			t.Fatal(err)
		}
		if got := shortly(s); !slices.Equal(got, c.want) {
			t.Errorf("%q: lines %q, want %q", c.faults, got, c.want)
		}
		sum := s.Opening.Minor
		for _, l := range s.Lines {
			sum -= l.Amount.Minor
		}
		if s.Closing.Minor-sum != c.off {
			t.Errorf("%q: closing %s, the lines make %d", c.faults, s.Closing, sum)
		}
		if err := s.Check(); err != nil {
			t.Errorf("%q: %v", c.faults, err)
		}
	}
}

func TestStatementOverHTTP(t *testing.T) {
	_, handler := paidWorld(t)
	for _, c := range []struct {
		name, query string
		status      int
		kind, want  string
	}{
		{"CSV", "?rail=account", 200, "text/csv; charset=utf-8", "payout,po_10,payment-1,125.50,RUB,debit,"},
		{"camt.053", "?rail=card&format=camt053", 200, "application/xml", "<EndToEndId>po_14</EndToEndId>"},
		{"with faults", "?rail=account&differences=missing,extra", 200, "text/csv; charset=utf-8", "payout,po_131,"},
		{"no rail", "", 400, "", "rail: want one of account, card, fps, wallet"},
		{"another rail", "?rail=pigeons", 400, "", "rail: want one of"},
		{"no day", "?rail=account&date=today", 400, "", "date: want a day"},
		{"tomorrow", "?rail=account&date=2099-01-01", 400, "", "date: the day has not begun"},
		{"another form", "?rail=account&format=pdf", 400, "", "format: want csv or camt053"},
		{"another fault", "?rail=account&differences=gift", 400, "", "differences: want"},
		{"too many faults", "?rail=account&differences=" + strings.Repeat("missing,", 10) + "missing", 400, "", "differences: want at most 10"},
		{"too few payouts", "?rail=card&differences=missing,extra", 400, "", "1 too few were paid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(handler, http.MethodGet, "/sandbox/statement"+c.query, "", nil)
			if r.Code != c.status || !strings.Contains(r.Body.String(), c.want) {
				t.Fatalf("%d %s", r.Code, r.Body)
			}
			if c.status != 200 {
				return
			}
			if got := r.Header().Get("Content-Type"); got != c.kind {
				t.Errorf("content type %q", got)
			}
			if !strings.HasPrefix(r.Header().Get("Content-Disposition"), "attachment; filename=") {
				t.Errorf("disposition %q", r.Header().Get("Content-Disposition"))
			}
			if _, err := statement.Read(r.Body, ""); err != nil {
				t.Errorf("it can't be read: %v", err)
			}
		})
	}
	if r := request(handler, http.MethodPost, "/sandbox/statement?rail=account", "", nil); r.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.Code)
	}
}

func TestDocsListEveryFault(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Faults {
		if !strings.Contains(string(text), "| `"+string(f)+"` |") {
			t.Errorf("%s has no row about %s", docs, f)
		}
	}
}
