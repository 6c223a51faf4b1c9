package session

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
)

// The golden file is the map of our states to the wire's.
func TestShow(t *testing.T) {
	var b bytes.Buffer
	line := func(name string, p Payout) {
		v := p.Show()
		s := (&Session{State: p.State, Payouts: []Payout{p}}).Show()
		fmt.Fprintf(&b, "%s: session %s, payout %s, next_action %s\n", name, s.Session, orNone(v.Payout), orNone(s.NextAction))
		if s.Payout != "" {
			t.Errorf("%s: a session shows the payout status %s", name, s.Payout)
		}
		if v.Session != s.Session && p.State != Created { // a payout leaves created in the step that makes it
			t.Errorf("%s: shown alone as %s, in its session as %s", name, v.Session, s.Session)
		}
	}
	for _, state := range States {
		line(string(state), Payout{State: state})
	}
	line("disputed after failed", Payout{State: Disputed, Failure: &Failure{Code: fault.AccountNotFound}})
	golden(t, filepath.Join("testdata", "show.golden"), b.Bytes())
}

func TestShowOfSessions(t *testing.T) {
	const unset = ""
	tests := []struct {
		name    string
		state   State // of a session without payouts
		payouts []State
		session string
		action  string
	}{
		{"created", Created, nil, "created", unset},
		{"cancelled before the start", Cancelled, nil, "cancelled", unset},
		{"one waits, one is checked", unset, []State{Awaiting, Checking}, "in_progress", unset},
		{"both wait", unset, []State{Awaiting, Awaiting}, "in_progress", "confirm"},
		{"one waits, one has failed", unset, []State{Failed, Awaiting}, "in_progress", "confirm"},
		{"one waits, one is sent", unset, []State{Sent, Awaiting}, "in_progress", unset},
		{"one is paid, one unclear", unset, []State{Paid, Unclear}, "in_progress", unset},
		{"one is paid, one has failed", unset, []State{Failed, Paid}, "accepted", unset},
		{"one is returned, one has failed", unset, []State{Returned, Failed}, "accepted", unset},
		{"all have failed", unset, []State{Failed, Cancelled}, "cancelled", unset},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &Session{State: test.state}
			for _, state := range test.payouts {
				s.Payouts = append(s.Payouts, Payout{State: state})
			}
			if got, want := s.Show(), (Shown{Session: test.session, NextAction: test.action}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// What a partner reads as failed he pays again: only what can no longer be
// paid may look so.
func TestOnlyTheEndLooksLikeOne(t *testing.T) {
	for _, s := range States {
		v := (&Payout{State: s}).Show()
		if over := v.Payout == "failed" || v.Payout == "succeeded"; over != s.Final() {
			t.Errorf("%s is shown as %q", s, v.Payout)
		}
	}
}

func TestSettled(t *testing.T) {
	tests := []struct {
		name    string
		hook    Hook
		payouts []State
		want    bool
	}{
		{"all wait", ReadyToConfirm, []State{Awaiting, Awaiting}, true},
		{"one is still checked", ReadyToConfirm, []State{Awaiting, Checking}, false},
		{"all have ended", PaymentFinished, []State{Paid, Failed}, true},
		{"one is unclear", PaymentFinished, []State{Paid, Unclear}, false},
		{"one is returned while another is sent", PaymentRefunded, []State{Returned, Sent}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s Session
			for _, state := range test.payouts {
				s.Payouts = append(s.Payouts, Payout{State: state})
			}
			if got := s.Settled(test.hook); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestClone(t *testing.T) {
	s := &Session{State: Checking, Payouts: []Payout{{State: Checking}}}
	c := s.Clone()
	c.State, c.Payouts[0].State = Awaiting, Awaiting
	if s.State != Checking || s.Payouts[0].State != Checking {
		t.Error("a change of the copy is one of the session")
	}
}

func TestVerificationMovesNoMoney(t *testing.T) {
	tests := []struct {
		name       string
		instrument *instrument.Instrument
		want       bool
		minor      int64
	}{
		{"nothing yet", nil, false, 100},
		{"card", &instrument.Instrument{Card: &instrument.Card{}}, false, 100},
		{"phone", &instrument.Instrument{FPS: &instrument.FPS{}}, false, 100},
		{"verification", &instrument.Instrument{FPS: &instrument.FPS{Verify: true}}, true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := Payout{Details: Details{Instrument: test.instrument, Amount: &money.Amount{Minor: 100, Currency: money.RUB}}}
			if p.Verification() != test.want || p.Minor() != test.minor {
				t.Errorf("verification %t, %d kopecks", p.Verification(), p.Minor())
			}
		})
	}
}
