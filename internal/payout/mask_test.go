package payout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/rail"
)

// A rail that quotes the card in a refusal must not bring it into the database,
// nor before the partner.
func TestRailsTextIsMasked(t *testing.T) {
	l := newLab(t)
	l.rails[instrument.KindCard].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined, Text: "card 4242 4242 4242 4242 is blocked"}, nil
	}
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	h := l.receive(session.PaymentFinished, s)
	failure := l.session(s).Payouts[0].Failure
	if failure == nil || failure.Text != "card 4242 42** **** 4242 is blocked" {
		t.Errorf("stored %+v", failure)
	}
	if strings.Contains(string(h.body), "4242 4242 4242") {
		t.Errorf("told %s", h.body)
	}
}

// A rail's words are kept on one line, up to a length, and with no card number
// whole, wherever they stand.
func TestRailsWordsAreBounded(t *testing.T) {
	for said, want := range map[string]string{
		"declined, call the bank":                 "declined, call the bank",
		"4242424242424242":                        "424242******4242",
		"4242\n4242\t4242\u20284242":              "4242 42** **** 4242",
		"\x1b[2J\u202eno\xff":                     " [2J no\ufffd",
		"12345678901234567890123":                 "12345678901234567890123",
		"A0123456789ABCDEF4242424242424242":       "A0123456789ABCDEF4242424242424242",
		strings.Repeat("é", 1<<20):                strings.Repeat("é", infoMax-1) + "…",
		strings.Repeat("é", infoMax):              strings.Repeat("é", infoMax),
		strings.Repeat("4242424242424242 ", 1000): strings.Repeat("424242******4242 ", 1000)[:infoMax-1] + "…",
	} {
		if got := words(said, infoMax); got != want {
			t.Errorf("%.80q is kept as %.200q, want %.200q", said, got, want)
		}
	}
	loud := strings.Repeat("x", 1<<16) + "4242424242424242"
	l := newLab(t)
	l.rails[instrument.KindCard].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Succeeded, Info: rail.Info{RRN: "4242424242424242", ARN: loud, AuthCode: loud, FPMessageID: loud}}, nil
	}
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	h := l.receive(session.PaymentFinished, s)
	if info := l.session(s).Payouts[0].Info; info.RRN != "424242******4242" || len(h.body) > 4<<10 || strings.Contains(string(h.body), "4242424242424242") {
		t.Errorf("kept %.300q, told %.300q", fmt.Sprint(info), h.body)
	}
}

func TestRailsErrorIsMasked(t *testing.T) {
	answer, err := guarded(func() (int, error) { return 7, errors.New("POST /pay?pan=4242424242424242: timed out") })
	if answer != 7 || err == nil || err.Error() != "POST /pay?pan=424242******4242: timed out" {
		t.Errorf("%d, %v", answer, err)
	}
	if _, err := guarded(func() (int, error) { panic("4242424242424242") }); err == nil || strings.Contains(err.Error(), "4242424242424242") {
		t.Errorf("a panic: %v", err)
	}
	if answer, err := guarded(func() (int, error) { return 7, nil }); answer != 7 || err != nil {
		t.Errorf("%d, %v", answer, err)
	}
}
