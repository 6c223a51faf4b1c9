package payout

import (
	"context"
	"errors"
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
