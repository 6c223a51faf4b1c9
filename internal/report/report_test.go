package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
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
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/money"
)

// shelf is a Source in memory, of one project.
type shelf struct {
	project  partner.Project
	book     ledger.Book
	own      *ledger.OwnAccount // that is posted to; nil: the wallet
	entries  []ledger.Entry
	sessions map[id.Session]*session.Session
	items    map[store.ItemKey]vault.Item
	reads    int   // entries read
	broken   error // of reading sessions
}

func newShelf() *shelf {
	return &shelf{
		project:  partner.Project{ID: "acme", Contract: "131/7", CreatedAt: at("2026-11-20 12:00:00")},
		book:     ledger.Book{Project: "acme", Credit: math.MaxInt64},
		sessions: map[id.Session]*session.Session{}, items: map[store.ItemKey]vault.Item{},
	}
}

func (s *shelf) Projects(context.Context) ([]partner.Project, error) {
	return []partner.Project{s.project}, nil
}

func (s *shelf) Book(_ context.Context, p id.Project) (*ledger.Book, error) {
	if p != s.project.ID {
		return nil, fault.New(fault.NotFound, "no project %s", p)
	}
	return &s.book, nil
}

func (s *shelf) Entries(_ context.Context, _ id.Project, after int64, limit int) ([]ledger.Entry, error) {
	page := s.entries[min(int(after), len(s.entries)):]
	page = page[:min(limit, len(page))]
	s.reads += len(page)
	return page, nil
}

func (s *shelf) SessionsByID(_ context.Context, _ id.Project, ids []id.Session) ([]*session.Session, error) {
	var found []*session.Session
	for _, name := range ids {
		if one, ok := s.sessions[name]; ok {
			found = append(found, one)
		}
	}
	return found, s.broken
}

func (s *shelf) Item(_ context.Context, k store.ItemKey) (vault.Item, error) {
	item, ok := s.items[k]
	if !ok {
		return item, fault.New(fault.NotFound, "no token")
	}
	return item, nil
}

// at reads a time in Moscow.
func at(s string) time.Time {
	t, err := time.ParseInLocation(timeForm, s, Moscow)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func day(s string) Day {
	d, err := ParseDay(s)
	if err != nil {
		panic(err)
	}
	return d
}

func (s *shelf) post(t interface{ Fatal(...any) }, e ledger.Entry, p *session.Payout, when time.Time) {
	if p != nil {
		e.Session, e.Payout = id.Session(p.ID)+1000, p.ID
	}
	var posted ledger.Entry
	var err error
	if s.own != nil {
		posted, err = s.book.PostTo(s.own, e, when)
	} else {
		posted, err = s.book.Post(e, when)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.entries = append(s.entries, posted)
}

// pay adds a payout that was asked for an hour before it was paid.
func (s *shelf) pay(t interface{ Fatal(...any) }, when time.Time, minor, fee int64, d session.Details) *session.Payout {
	n := id.Payout(len(s.sessions) + 1)
	if d.Instrument == nil {
		d.Instrument = &instrument.Instrument{Card: &instrument.Card{BIN: "424242", Last4: "4242"}}
	}
	if d.Amount == nil {
		d.Amount = &money.Amount{Minor: minor, Currency: money.RUB}
	}
	one := &session.Session{Project: "acme", ID: id.Session(n) + 1000, Payouts: []session.Payout{{
		ID: n, State: session.Paid, Details: d, Fee: fee, CreatedAt: when.Add(-time.Hour), FinishedAt: when,
	}}}
	s.sessions[one.ID] = one
	p := &one.Payouts[0]
	s.post(t, ledger.Hold(minor, fee), p, when.Add(-30*time.Minute))
	s.post(t, ledger.Settle(minor, fee, "cards"), p, when)
	return p
}

// back returns a payout.
func (s *shelf) back(t interface{ Fatal(...any) }, p *session.Payout, when time.Time, minor, fee int64) {
	p.State = session.Returned
	p.Refunds = append(p.Refunds,
		session.Refund{ID: 70, Status: session.RefundRefused, Amount: money.Amount{Minor: 1, Currency: money.RUB}},
		session.Refund{ID: 71, Status: session.RefundBooked, Amount: money.Amount{Minor: minor, Currency: money.RUB}, Fee: fee, At: when.Add(-time.Minute)})
	s.post(t, ledger.Return(minor, fee, "cards"), p, when)
}

func (s *shelf) csv(t *testing.T, d string) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, CSV, Rows(t.Context(), s, &s.project, day(d))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReport(t *testing.T) {
	s := newShelf()
	s.post(t, ledger.Deposit(1_000_000_00, "d1"), nil, at("2026-11-26 09:00:00"))
	s.pay(t, at("2026-11-26 23:59:59").Add(999_999*time.Microsecond), 1, 0, session.Details{}) // a moment too early
	s.pay(t, at("2026-11-27 00:00:00"), 100_00, 10_00, session.Details{Metadata: json.RawMessage(`"order-17"`)})
	account := &instrument.Instrument{Account: &instrument.Account{Number: "40817810500000012345", Fast: true}}
	p := s.pay(t, at("2026-11-27 10:00:00"), 1, 0, session.Details{Instrument: account, Metadata: json.RawMessage(`{"a": 1}`)})
	p.Info.RRN = "123456789012"
	usd := s.pay(t, at("2026-11-27 11:00:00"), 8125_01, 7, session.Details{
		Instrument: &instrument.Instrument{FPS: &instrument.FPS{Phone: "79001234567"}}, Amount: &money.Amount{Minor: 100_00, Currency: money.USD},
	})
	price, err := rate.ParsePrice("81.2501")
	if err != nil {
		t.Fatal(err)
	}
	usd.Quote = &session.Quote{Amount: money.Amount{Minor: 8125_01, Currency: money.RUB}, Rate: rate.Rate{Price: price}}
	sealed := store.ItemKey{Partner: "acme", Token: 9}
	s.items[sealed] = vault.Item{Shown: vault.ShownAccount("40817810500000054321")}
	s.pay(t, at("2026-11-27 12:00:00"), 5, 0, session.Details{Instrument: &instrument.Instrument{Account: &instrument.Account{Sealed: 9, Partner: "acme"}}})
	s.pay(t, at("2026-11-27 12:00:00"), 5, 0, session.Details{Instrument: &instrument.Instrument{Account: &instrument.Account{Sealed: 10, Partner: "acme"}}})
	s.pay(t, at("2026-11-27 13:00:00"), 6, 0, session.Details{Instrument: &instrument.Instrument{Wallet: &instrument.Wallet{Account: "41001123456789"}}})
	s.post(t, ledger.Suspend(3, "cards"), p, at("2026-11-27 14:00:00")) // neither paid nor returned to the partner
	s.post(t, ledger.Stray(3, "cards"), p, at("2026-11-27 14:00:00"))
	s.own = &ledger.OwnAccount{Project: "acme", Number: "40702810900000000131", Balance: ledger.Accounts{Available: 8, Deposits: -8}}
	own := s.pay(t, at("2026-11-27 22:00:00"), 7, 1, session.Details{})
	s.back(t, own, at("2026-11-27 23:00:00"), 7, 0)
	s.own = nil
	s.back(t, p, at("2026-11-27 23:59:59"), 1, 0)
	s.pay(t, at("2026-11-28 00:00:00"), 2, 0, session.Details{}) // a moment too late

	want := strings.Join([]string{
		"operationId,transactionDate,finishedAt,typeOfPayment,paymentFast,paymentSessionId,contract,paymentSessionMerchantMetadata,paymentMethodIdentity,product,grossLocalAmount,paymentLocalAmount,feesLocalAmount,currency,originalAmount,originalCurrency,exchangeRate,rrn,refundId,account",
		"po_2,2026-11-26 23:00:00,2026-11-27 00:00:00,Advice,0,ps_1002,131/7,order-17,****4242,card,110.00,100.00,10.00,RUB,,,,,,",
		`po_3,2026-11-27 09:00:00,2026-11-27 10:00:00,Advice,1,ps_1003,131/7,"{""a"":1}",40817***2345,bank_account,0.01,0.01,0.00,RUB,,,,123456789012,,`,
		"po_4,2026-11-27 10:00:00,2026-11-27 11:00:00,Advice,0,ps_1004,131/7,,7900***4567,fps,8125.08,8125.01,0.07,RUB,100.00,USD,81.2501,,,",
		"po_5,2026-11-27 11:00:00,2026-11-27 12:00:00,Advice,0,ps_1005,131/7,,40817***4321,bank_account,0.05,0.05,0.00,RUB,,,,,,",
		"po_6,2026-11-27 11:00:00,2026-11-27 12:00:00,Advice,0,ps_1006,131/7,,,bank_account,0.05,0.05,0.00,RUB,,,,,,",
		"po_7,2026-11-27 12:00:00,2026-11-27 13:00:00,Advice,0,ps_1007,131/7,,41001***6789,wallet,0.06,0.06,0.00,RUB,,,,,,",
		"po_8,2026-11-27 21:00:00,2026-11-27 22:00:00,Advice,0,ps_1008,131/7,,****4242,card,0.08,0.07,0.01,RUB,,,,,,40702810900000000131",
		"po_8,2026-11-27 22:59:00,2026-11-27 23:00:00,Refund,0,ps_1008,131/7,,****4242,card,0.07,0.07,0.00,RUB,,,,,rf_71,40702810900000000131",
		`po_3,2026-11-27 23:58:59,2026-11-27 23:59:59,Refund,1,ps_1003,131/7,"{""a"":1}",40817***2345,bank_account,0.01,0.01,0.00,RUB,,,,123456789012,rf_71,`,
		"",
	}, "\n")
	if got := s.csv(t, "2026-11-27"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, d := range []string{"2026-11-25", "2026-11-29", "2020-01-01", "2036-01-01"} {
		if got := s.csv(t, d); got != "" {
			t.Errorf("%s: got %q, want an empty file", d, got)
		}
	}
}

func TestReportOfAnEmptyBook(t *testing.T) {
	if got := newShelf().csv(t, "2026-11-27"); got != "" {
		t.Errorf("got %q, want an empty file", got)
	}
}

// What a report is read from may be out of order or out of reach: it ends with
// an error and never with a row left out.
func TestReportFails(t *testing.T) {
	noon := at("2026-11-27 12:00:00")
	for name, spoil := range map[string]func(*shelf){
		"sessions can't be read": func(s *shelf) { s.broken = errors.New("no") },
		"a session is missing":   func(s *shelf) { delete(s.sessions, 1002) },
		"a refund is missing":    func(s *shelf) { s.sessions[1003].Payouts[0].Refunds = nil },
		"no instrument":          func(s *shelf) { s.sessions[1002].Payouts[0].Details.Instrument = nil },
		"entries are missing":    func(s *shelf) { s.book.Entries *= 2; s.entries = s.entries[:1] },
		"another project":        func(s *shelf) { s.project.ID = "other"; s.book.Project = "acme" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf()
			asked := s.project
			for range 3 {
				s.pay(t, noon, 1_00, 0, session.Details{})
			}
			s.back(t, &s.sessions[1003].Payouts[0], noon, 1_00, 0)
			spoil(s)
			for _, f := range []Format{CSV, XLSX} {
				var b strings.Builder
				if err := Write(&b, f, Rows(t.Context(), s, &asked, day("2026-11-27"))); err == nil {
					t.Errorf("%s: no error; got\n%s", f, b.String())
				}
			}
		})
	}
}

// Whatever was booked in whatever order of times, a day's report has exactly
// that day's settlements and returns, and their sums.
func TestReportIsTheLedgers(t *testing.T) {
	defer func(n int) { pageEntries = n }(pageEntries)
	pageEntries = 3
	rapid.Check(t, func(t *rapid.T) {
		s, now := newShelf(), at("2026-11-20 00:00:00")
		var paid []*session.Payout
		for range rapid.IntRange(0, 300).Draw(t, "entries") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "later")))
			when := now.Add(-time.Duration(rapid.Int64Range(0, int64(skewMax)-1).Draw(t, "skew")))
			minor, fee := rapid.Int64Range(1, 1e12).Draw(t, "minor"), rapid.Int64Range(0, 1e9).Draw(t, "fee")
			if len(paid) > 0 && rapid.Bool().Draw(t, "return") {
				p := paid[0]
				paid = paid[1:]
				s.back(t, p, when, p.Minor(), p.Fee)
				continue
			}
			n := id.Payout(len(s.sessions) + 1)
			one := &session.Session{Project: "acme", ID: id.Session(n) + 1000, Payouts: []session.Payout{{
				ID: n, Fee: fee, Details: session.Details{
					Instrument: &instrument.Instrument{Card: &instrument.Card{Last4: "4242"}}, Amount: &money.Amount{Minor: minor, Currency: money.RUB},
				},
			}}}
			s.sessions[one.ID] = one
			s.post(t, ledger.Hold(minor, fee), &one.Payouts[0], when)
			s.post(t, ledger.Settle(minor, fee, "cards"), &one.Payouts[0], when)
			paid = append(paid, &one.Payouts[0])
		}
		rows := 0
		for d := day("2026-11-19"); d <= DayOf(now)+1; d++ {
			var want, got ledger.Accounts
			var order, found []id.Payout
			for _, e := range s.entries {
				if (e.Kind == ledger.KindSettle || e.Kind == ledger.KindReturn) && !e.At.Before(d.Start()) && e.At.Before((d + 1).Start()) {
					want.Clearing, want.Fees, order = want.Clearing+e.Change.Clearing, want.Fees+e.Change.Fees, append(order, e.Payout)
				}
			}
			for r, err := range Rows(context.Background(), s, &s.project, d) {
				if err != nil {
					t.Fatal(err)
				}
				sign := int64(1)
				if r.Type == Refund {
					sign = -1
				}
				got.Clearing, got.Fees, found = got.Clearing+sign*r.Payment, got.Fees+sign*r.Fees, append(found, r.Payout)
				rows++
			}
			if got != want || !slices.Equal(found, order) {
				t.Fatalf("%s: got %v %v, want %v %v", d, got, found, want, order)
			}
		}
		total := 0
		for _, e := range s.entries {
			if e.Kind != ledger.KindHold {
				total++
			}
		}
		if rows != total {
			t.Fatalf("%d rows in all days, %d entries", rows, total)
		}
	})
}

// A day costs what it has, not what was booked before and after it.
func TestReportReadsItsDayOnly(t *testing.T) {
	s := newShelf()
	for n := range 20_000 {
		s.post(t, ledger.Deposit(1, ""), nil, at("2026-01-01 00:00:00").Add(time.Duration(n)*24*time.Minute)) // 60 a day
	}
	s.pay(t, at("2026-11-30 12:00:00"), 1, 0, session.Details{})
	s.reads = 0
	s.csv(t, "2026-06-01")
	if s.reads > 20+pageEntries {
		t.Errorf("%d of %d entries were read", s.reads, len(s.entries))
	}
}

func TestRowsEndWhereTheReaderEnds(t *testing.T) {
	s := newShelf()
	for range 3 {
		s.pay(t, at("2026-11-27 12:00:00"), 1, 0, session.Details{})
	}
	for range Rows(t.Context(), s, &s.project, day("2026-11-27")) {
		break
	}
}

// formulas are texts that some spreadsheet takes for a formula, or splits before one.
var formulas = []string{
	`=HYPERLINK("http://evil.example","click")`, "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", ";=1", "a;=1", "a\t=1", "a\n=1",
	"|calc", "%0A=1", "'=1", `"=1`, `";=1`, `a";=1;"`, "＝1", "\u00a0=1", "a,=1", `{"a":";=1"}`, `[";=1"]`, "\x00=1", "\xff=1", "{;=1", "a\u2028=1",
}

func TestTextsAreInert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wantInert(t, rapid.OneOf(
			rapid.SampledFrom(formulas), rapid.StringOf(rapid.SampledFrom([]rune("=+-@;,\"'\\\t\r\n a{}[]:\u00a0"))), rapid.String(),
		).Draw(t, "text"))
	})
}

// FuzzTexts puts any text where partners and rails may write it: the CSV holds no
// formula, and the XLSX is a workbook whose cells are texts.
func FuzzTexts(f *testing.F) {
	for _, text := range formulas {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wantInert(t, text)
		var b bytes.Buffer
		if err := Write(&b, XLSX, one(Row{Metadata: json.RawMessage(text), Contract: text, RRN: text})); err != nil {
			t.Fatal(err)
		}
		if rows := open(t, b.Bytes()).sheets()[0]; len(rows) != 2 {
			t.Errorf("%d rows of %q", len(rows), text)
		}
	})
}

// one is a report of one row.
func one(r Row) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) { yield(r, nil) }
}

// wantInert reads a text in a CSV as spreadsheets do, split by commas or by
// semicolons: no cell may begin a formula.
func wantInert(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, text string,
) {
	for _, raw := range []string{mustJSON(text), mustJSON(map[string]string{"m": text}), mustJSON([]string{text}), text} {
		var b strings.Builder
		if err := Write(&b, CSV, one(Row{Payout: 1, Session: 2, Metadata: json.RawMessage(raw), Contract: text, RRN: text, Identity: "****4242"})); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
		if err != nil || len(records) != 2 {
			t.Fatalf("%q: %d records, %v", b.String(), len(records), err)
		}
		cells := records[1]
		for _, line := range strings.FieldsFunc(b.String(), func(r rune) bool { return r == '\r' || r == '\n' }) {
			cells = append(cells, strings.FieldsFunc(line, func(r rune) bool { return r == ';' || r == '\t' })...)
		}
		for _, c := range cells {
			if strings.HasPrefix(strings.TrimLeft(c, " \u00a0"), "=") || strings.ContainsRune("+-@\t\r\n", rune((c + "x")[0])) {
				t.Fatalf("%q has the cell %q, from %q", b.String(), c, raw)
			}
		}
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestTextsAreKept(t *testing.T) {
	for text, want := range map[string]string{
		"":              "",
		"order-17":      "order-17",
		"Заказ № 17/3":  "Заказ № 17/3",
		"****4242":      "****4242",
		"=1+1":          `"=1+1"`,
		"a;b":           `"a\u003bb"`,
		`{"a":"b;c"}`:   `{"a":"b\u003bc"}`,
		`{"a":"<b>&c"}`: `{"a":"<b>&c"}`,
		"a\nb":          `"a\nb"`,
		"\x7f":          `"\u007f"`,
	} {
		if got := inert(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
		var back any
		if got := inert(text); got != text {
			if err := json.Unmarshal([]byte(got), &back); err != nil {
				t.Errorf("%q: %s is no JSON", text, got)
			}
			if s, ok := back.(string); ok && s != text {
				t.Errorf("%q is read back as %q", text, s)
			}
		}
	}
}

// What is escaped is read by people, and stays the same JSON.
func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`{"\u043a":"\u003cb\u003e \u0430\n\"\\"}`: `{"к":"<b> а\n\"\\"}`,
		`[1.0,1e2,-0,"",{}]`:                      `[1.0,1e2,-0,"",{}]`,
		`"\ud83d\ude00"`:                          `"😀"`,
		`"\u0000\u001f"`:                          `"\u0000\u001f"`,
		`"cut off`:                                `"cut off`,
		`"cut off\`:                               `"cut off\`,
		``:                                        ``,
	} {
		if got := string(Unescape([]byte(in))); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := map[string]string{rapid.String().Draw(t, "key"): rapid.String().Draw(t, "value")}
		text := mustJSON(v)
		var back map[string]string
		if err := json.Unmarshal(Unescape([]byte(text)), &back); err != nil || !maps.Equal(back, v) {
			t.Fatalf("%s: got %v, %v", text, back, err)
		}
	})
}

func TestDays(t *testing.T) {
	for _, test := range []struct {
		at   string
		want string
	}{
		{"2026-11-26T20:59:59.999999Z", "2026-11-26"},
		{"2026-11-26T21:00:00Z", "2026-11-27"},
		{"2026-11-27T20:59:59.999999Z", "2026-11-27"},
		{"2024-02-29T12:00:00+03:00", "2024-02-29"},
		{"1969-12-31T20:00:00Z", "1969-12-31"},
	} {
		moment, err := time.Parse(time.RFC3339Nano, test.at)
		if err != nil {
			t.Fatal(err)
		}
		d := DayOf(moment)
		if d.String() != test.want || day(test.want) != d || moment.Before(d.Start()) || !moment.Before((d + 1).Start()) {
			t.Errorf("%s: day %s from %s, want %s", test.at, d, d.Start(), test.want)
		}
	}
	for _, s := range []string{"", "2026-11", "2026-02-30", "27.11.2026", "2026-11-27T00:00:00Z", "tomorrow"} {
		if _, err := ParseDay(s); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q: error %v, want a refusal", s, err)
		}
	}
}

func ExampleFileName() {
	fmt.Println(FileName("acme", day("2026-11-27"), CSV))
	// Output: acme_2026-11-27_2026-11-27.csv
}
