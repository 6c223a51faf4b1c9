package wire

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// methodsShown is one instrument of each method, with all of its members.
var methodsShown = []struct {
	name       string
	instrument instrument.Instrument
}{
	{"card", instrument.Instrument{Card: &instrument.Card{BIN: "220000", Last4: "1317", Brand: instrument.Mir, Sealed: 77}}},
	{"account", instrument.Instrument{Account: &instrument.Account{
		BIK: "044000777", Number: "40817810500000012345", FullName: `ООО "Ромашка"`, Description: `<a href="x">\ & /`,
		INN: "7700000131", KPP: "770001001", Fast: true, FastSent: true,
	}}},
	{"phone", instrument.Instrument{FPS: &instrument.FPS{Phone: "79990001310", BankID: "100000000131", Description: "Выплата"}}},
	{"verification", instrument.Instrument{FPS: &instrument.FPS{Phone: "79990001310", BankID: "100000000131", Verify: true}}},
	{"wallet", instrument.Instrument{Wallet: &instrument.Wallet{Account: "4100110000131", Description: "Выплата"}}},
}

// full is a payout with everything there is to show.
func full(state session.State, i instrument.Instrument) session.Payout {
	p := session.Payout{
		ID: 4100982, State: state, Fee: 150, CreatedAt: at("09:15:09.790225"), FinishedAt: at("09:15:44.871105"),
		Info: session.TransactionInfo{RRN: "606109131310", ARN: "2442", AuthCode: "131A07", FPMessageID: "A6061"},
		Details: session.Details{
			Instrument: &i, Amount: roubles(10000), Recipient: "never shown",
			Participants: json.RawMessage(`{"recipient":{"full_name":"A"}}`),
			Customer:     json.RawMessage(`{"reference":"r"}`), Metadata: json.RawMessage(`{"a":[null,1.0]}`),
		},
	}
	if state == session.Failed || state == session.Cancelled {
		p.Failure = &session.Failure{Code: fault.AccountNotFound, Text: "нет <счёта>"}
	}
	return p
}

func fullSession(p session.Payout) *session.Session {
	return exampleSession(7300451, "09:15:04.120031", "09:15:44.902640", p)
}

// s0 is some moment.
var s0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// The golden file is every answer there is: of each state, each method, each
// setting that changes what is shown.
func TestAnswers(t *testing.T) {
	var b bytes.Buffer
	write := func(name string, answer []byte) {
		t.Helper()
		if bytes.ContainsRune(answer, '\n') || !utf8.Valid(answer) {
			t.Errorf("%s: not one line of UTF-8: %q", name, answer)
		}
		wantNoNulls(t, answer)
		fmt.Fprintf(&b, "%s\n%s\n\n", name, answer)
	}
	fees := &partner.Project{ShowFees: true}
	for _, state := range session.States[1:] { // a payout is started in the step that makes it
		write("state "+string(state), Answer(fullSession(full(state, methodsShown[0].instrument)), 2, nil))
	}
	for _, m := range methodsShown {
		write("method "+m.name, Answer(fullSession(full(session.Paid, m.instrument)), 1, nil))
		write("method "+m.name+", fees shown", Answer(fullSession(full(session.Paid, m.instrument)), 1, fees))
	}
	priced := full(session.Awaiting, methodsShown[0].instrument)
	priced.Details.Amount = &money.Amount{Minor: 25_000, Currency: money.USD}
	rates := &partner.Project{ShowRates: true, ShowFees: true}
	write("foreign, no quote yet, all shown", Answer(fullSession(priced), 2, rates))
	priced.Quote = &session.Quote{
		Amount: money.Amount{Minor: 2_012_500, Currency: money.RUB}, Until: s0.Add(time.Hour),
		Rate: rate.Rate{Price: 8_050_000_000, Source: "cbr.ru", At: s0}, At: s0.Add(time.Minute),
	}
	write("foreign, quoted", Answer(fullSession(priced), 2, nil))
	write("foreign, quoted, all shown", Answer(fullSession(priced), 1, rates))
	disputed := full(session.Disputed, methodsShown[0].instrument)
	disputed.Failure = &session.Failure{Code: "declined_by_issuer_bank"}
	write("disputed after failed, no text", Answer(fullSession(disputed), 2, nil))
	bare := session.Payout{ID: 1, State: session.Checking, Details: session.Details{Instrument: &instrument.Instrument{Wallet: &instrument.Wallet{Account: "4100110000131"}}, Amount: roubles(1)}}
	write("bare payout, no times", Answer(&session.Session{ID: 1, State: session.Checking, Payouts: []session.Payout{bare}}, 2, fees))
	two := fullSession(full(session.Awaiting, methodsShown[0].instrument))
	two.Payouts = append(two.Payouts, full(session.Failed, methodsShown[4].instrument))
	write("two payouts, one waits", Answer(two, 2, nil))
	write("hook", Hook(session.PaymentFinished, two, 1, nil))
	asked := Exchange{Source: money.Amount{Minor: 500_000, Currency: money.RUB}, Destination: money.Amount{Currency: money.USD}}
	found := asked
	found.Destination.Minor = 6211
	calculated := Calculated(asked, found, 8_050_000_000)
	fmt.Fprintf(&b, "calculated\n%s\n\n", calculated) // the one answer with a null
	write("balance on credit", Balance("4471", -5))
	write("balance of nothing", Balance("4471", 0))
	for _, code := range []fault.Code{fault.Invalid, fault.Internal, fault.Busy, fault.NotFound, "no such code"} {
		write("error "+string(code), Error(code, ""))
	}
	write("error with a text", Error(fault.Invalid, "a \"<b>\"\n\x00\xff"))
	golden(t, "answers.golden", b.Bytes())
}

// Times are cut to microseconds: a client compares them as text.
func TestAnswerTimes(t *testing.T) {
	s := exampleSession(1, "00:00:00", "23:59:59.9999999")
	want := `{"status":"ok","session":{"id":"ps_1","status":"created","created_at":"2026-03-02T00:00:00.000000Z","updated_at":"2026-03-02T23:59:59.999999Z"}}`
	wantBytes(t, Answer(s, 1, nil), []byte(want))
	s.CreatedAt = time.Time{}
	if got := string(Answer(s, 1, nil)); strings.Contains(got, "created_at") {
		t.Errorf("a time that is not known is shown: %s", got)
	}
}

func TestBanks(t *testing.T) {
	var got struct {
		Status string
		Banks  []struct {
			ID  string `json:"id"`
			Eng string `json:"eng_name"`
			Rus string `json:"ru_name"`
		}
	}
	if err := json.Unmarshal(Banks(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != "ok" || len(got.Banks) != len(instrument.Banks) {
		t.Fatalf("%d banks, %s", len(got.Banks), got.Status)
	}
	for i, b := range got.Banks {
		if want := instrument.Banks[i]; (instrument.Bank{ID: b.ID, Eng: b.Eng, Rus: b.Rus}) != want {
			t.Errorf("got %v, want %v", b, want)
		}
	}
}

// wantNoNulls checks that JSON is valid and that nothing in it outside
// metadata is null, or an object, array or text that is empty, but for what
// the partner himself left empty.
func wantNoNulls(t *testing.T, b []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case nil:
			t.Errorf("%s is null: %s", path, b)
		case map[string]any:
			if len(v) == 0 {
				t.Errorf("%s is empty: %s", path, b)
			}
			for name, member := range v {
				if name != metadata {
					walk(path+"."+name, member)
				}
			}
		case []any:
			if len(v) == 0 {
				t.Errorf("%s is empty: %s", path, b)
			}
			for _, element := range v {
				walk(path+"[]", element)
			}
		}
	}
	walk("", v)
}

// golden compares with a file in testdata, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs: see what go test -update changes in it\n%s", file, firstDifference(got, want))
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\ngot  %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// A payout that failed was charged nothing, so it shows no fee.
func TestFailureShowsNoFee(t *testing.T) {
	p := &partner.Project{ShowFees: true}
	o := session.Payout{
		ID: 1, State: session.Paid, Fee: 7, CreatedAt: time.Unix(0, 0),
		Details: session.Details{
			Instrument: &instrument.Instrument{Wallet: &instrument.Wallet{Account: "4100110000131"}},
			Amount:     &money.Amount{Minor: 100, Currency: money.RUB},
		},
	}
	for _, c := range []struct {
		name    string
		failure *session.Failure
		state   session.State
		shown   bool
	}{
		{"paid", nil, session.Paid, true},
		{"failed", &session.Failure{Code: fault.AccountNotFound, Text: "no"}, session.Failed, false},
	} {
		o.State, o.Failure = c.state, c.failure
		s := &session.Session{ID: 1, State: c.state, Payouts: []session.Payout{o}}
		if body := string(Answer(s, 2, p)); strings.Contains(body, "merchant_fee") != c.shown {
			t.Errorf("%s: %s", c.name, body)
		}
	}
}
