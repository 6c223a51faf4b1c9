// Package railtest is the suite that every connector passes before money goes
// through it. It asks for one thing in many ways: that a reference pays once,
// and that nothing the rail says makes payoutd pay it again.
package railtest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/rail"
)

// copies is how many requests of one reference are sent at the same time.
const copies = 64

// Bounds of what a connector may promise and take.
const (
	deadlineMax   = 5 * time.Minute
	visibilityMax = 72 * time.Hour
	soon          = time.Second            // after its context has ended, a call is back
	settleMax     = time.Minute            // a final answer of the outside's test environment
	settlePause   = 100 * time.Millisecond // between two questions
)

// Payout is an order of which the suite sends copies under references of its
// own, and the opener of its card number; nil for other methods.
type Payout struct {
	Order rail.Order
	Open  rail.Opener
}

// Harness is one connector with an outside world that behaves: no answer is
// lost unless the suite loses it.
type Harness struct {
	Rail rail.Rail
	// Restart closes the rail and opens it again on the same durable state. nil
	// leaves out what only a restart shows, for a connector that keeps nothing.
	Restart func(t *testing.T) rail.Rail
	// Pays succeeds, Fails is declined by Send or later, Refused is refused by
	// Check. Fails and Refused may be nil if the outside has no such payout.
	Pays           Payout
	Fails, Refused *Payout
	// Executions counts how often money moved for a reference, in the outside
	// world's own books. nil leaves the count to the rail's word.
	Executions func(t *testing.T, reference string) int
	// Returned makes the outside give a payment back that succeeded; nil for a
	// rail that is no rail.Returner.
	Returned func(t *testing.T, reference string)
	// Numbers are the card numbers of the payouts: nothing the rail says holds one.
	Numbers []string
}

// Run checks one connector. Each case gets a harness of its own from open,
// which closes it by t.Cleanup.
func Run(t *testing.T, open func(*testing.T) Harness) {
	cases := []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"NameAndTerms", nameAndTerms},
		{"CheckHasNoEffect", checkHasNoEffect},
		{"CheckRefuses", checkRefuses},
		{"UnknownReferenceWasNeverSeen", unknownReference},
		{"SendTwicePaysOnce", sendTwice},
		{"ManyAtOncePayOnce", sendMany},
		{"SendAgainAfterRestartPaysOnce", sendAfterRestart},
		{"OtherAmountPaysNothing", otherAmount},
		{"OtherReferencePaysAgain", otherReference},
		{"QueryAgreesWithSend", queryAgrees},
		{"FailedStaysFailed", failedStays},
		{"EndedContext", endedContext},
		{"LeftInTheMiddle", leftInTheMiddle},
		{"NumberThatDoesNotOpen", numberDoesNotOpen},
		{"ReturnsAreGivenUntilTaken", returnsAreGiven},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := open(t)
			s := &suite{Harness: h, bare: h.Rail}
			s.Rail = &listener{t, h.Rail, h.Numbers}
			c.run(t, s)
		})
	}
}

// suite is one case's harness.
type suite struct {
	Harness
	bare rail.Rail // without the listener
}

var references atomic.Int64

// order returns a copy of a payout's order under a reference that nobody used.
func (p Payout) order() rail.Order {
	o := p.Order
	o.Reference = fmt.Sprintf("railtest-%d-%d", time.Now().UnixMilli(), references.Add(1))
	return o
}

// restart opens the rail again; false if the harness cannot.
func (s *suite) restart(t *testing.T) bool {
	t.Helper()
	if s.Restart == nil {
		return false
	}
	s.bare = s.Restart(t)
	s.Rail = &listener{t, s.bare, s.Numbers}
	return true
}

// send sends and, where the answer is not final, asks until one is.
func (s *suite) send(t *testing.T, o rail.Order, open rail.Opener) rail.Outcome {
	t.Helper()
	out, err := s.Rail.Send(t.Context(), o, open)
	if err == nil && final(out.Status) {
		return out
	}
	return s.settle(t, o.Reference)
}

// settle asks until the answer is final.
func (s *suite) settle(t *testing.T, reference string) rail.Outcome {
	t.Helper()
	end := time.After(settleMax)
	for {
		out, err := s.Rail.Query(t.Context(), reference)
		if err == nil && final(out.Status) {
			return out
		}
		select {
		case <-end:
			t.Fatalf("after %s the rail says %q, error %v: no final answer", settleMax, out.Status, err)
		case <-time.After(settlePause):
		}
	}
}

// wantStill asks once: a final answer is for ever, also across a restart.
func (s *suite) wantStill(t *testing.T, reference string, first rail.Outcome) {
	t.Helper()
	if out, err := s.Rail.Query(t.Context(), reference); err != nil || out != first {
		t.Errorf("Query says %+v, error %v; it was %+v", out, err, first)
	}
}

func final(s rail.Status) bool { return s == rail.Succeeded || s == rail.Failed }

// wantExecutions asks the outside world's own books.
func (s *suite) wantExecutions(t *testing.T, reference string, want int) {
	t.Helper()
	if s.Executions == nil {
		return
	}
	if n := s.Executions(t, reference); n != want {
		t.Errorf("the money of one reference moved %d times, want %d", n, want)
	}
}

func want(t *testing.T, out rail.Outcome, status rail.Status) {
	t.Helper()
	if out.Status != status {
		t.Errorf("the rail says %+v, want %s", out, status)
	}
}

var names = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

func nameAndTerms(t *testing.T, s *suite) {
	if name := s.Rail.Name(); !names.MatchString(name) {
		t.Errorf("name %q, want %s", name, names)
	}
	terms := s.Rail.Terms()
	if terms.SendDeadline <= 0 || terms.SendDeadline > deadlineMax {
		t.Errorf("SendDeadline %s, want above zero and at most %s", terms.SendDeadline, deadlineMax)
	}
	if terms.Visibility < 0 || terms.Visibility > visibilityMax {
		t.Errorf("Visibility %s, want zero to %s", terms.Visibility, visibilityMax)
	}
	name := s.Rail.Name()
	if s.restart(t) && (s.Rail.Name() != name || s.Rail.Terms() != terms) {
		t.Errorf("after a restart it is %s with %+v, was %s with %+v", s.Rail.Name(), s.Rail.Terms(), name, terms)
	}
}

func checkHasNoEffect(t *testing.T, s *suite) {
	o := s.Pays.order()
	for range 3 {
		v, err := s.Rail.Check(t.Context(), o, s.Pays.Open)
		if err != nil || v.Refused != "" {
			t.Fatalf("Check of a payout that succeeds: %+v, error %v", v, err)
		}
	}
	out, err := s.Rail.Query(t.Context(), o.Reference)
	if err != nil {
		t.Fatal(err)
	}
	want(t, out, rail.NeverSeen)
	s.wantExecutions(t, o.Reference, 0)
	want(t, s.send(t, o, s.Pays.Open), rail.Succeeded)
	if _, err := s.Rail.Check(t.Context(), o, s.Pays.Open); err != nil {
		t.Fatal(err)
	}
	s.wantExecutions(t, o.Reference, 1)
}

func checkRefuses(t *testing.T, s *suite) {
	if s.Refused == nil {
		t.Skip("no payout that Check refuses")
	}
	o := s.Refused.order()
	v, err := s.Rail.Check(t.Context(), o, s.Refused.Open)
	if err != nil || v.Refused == "" || v.Text == "" {
		t.Errorf("Check: %+v, error %v; want a code and a text", v, err)
	}
	s.wantExecutions(t, o.Reference, 0)
}

func unknownReference(t *testing.T, s *suite) {
	for range 2 {
		out, err := s.Rail.Query(t.Context(), s.Pays.order().Reference)
		if err != nil {
			t.Fatal(err)
		}
		want(t, out, rail.NeverSeen)
	}
}

func sendTwice(t *testing.T, s *suite) {
	o := s.Pays.order()
	first := s.send(t, o, s.Pays.Open)
	want(t, first, rail.Succeeded)
	if second := s.send(t, o, s.Pays.Open); second != first {
		t.Errorf("the second request got %+v, the first %+v", second, first)
	}
	s.wantExecutions(t, o.Reference, 1)
}

func sendMany(t *testing.T, s *suite) {
	o := s.Pays.order()
	var wg sync.WaitGroup
	for range copies {
		wg.Go(func() {
			if out, _ := s.Rail.Send(t.Context(), o, s.Pays.Open); out.Status == rail.Failed {
				t.Errorf("a copy of a payout that succeeds got %+v", out)
			}
		})
	}
	wg.Wait()
	want(t, s.settle(t, o.Reference), rail.Succeeded)
	s.wantExecutions(t, o.Reference, 1)
}

func sendAfterRestart(t *testing.T, s *suite) {
	o := s.Pays.order()
	first := s.send(t, o, s.Pays.Open)
	if !s.restart(t) {
		t.Skip("no restart")
	}
	s.wantStill(t, o.Reference, first)
	if again := s.send(t, o, s.Pays.Open); again != first {
		t.Errorf("after a restart Send says %+v, before %+v", again, first)
	}
	s.wantExecutions(t, o.Reference, 1)
}

func otherAmount(t *testing.T, s *suite) {
	o := s.Pays.order()
	first := s.send(t, o, s.Pays.Open)
	other := o
	other.Amount.Minor++
	out, err := s.Rail.Send(t.Context(), other, s.Pays.Open)
	if err == nil && out.Status != rail.Failed && out.Status != rail.Unknown {
		t.Errorf("another amount under the same reference got %+v, want failed, unknown or an error", out)
	}
	s.wantExecutions(t, o.Reference, 1)
	s.wantStill(t, o.Reference, first)
}

// otherReference shows that a rail goes by the reference: two equal payouts
// are two payouts.
func otherReference(t *testing.T, s *suite) {
	for range 2 {
		o := s.Pays.order()
		want(t, s.send(t, o, s.Pays.Open), rail.Succeeded)
		s.wantExecutions(t, o.Reference, 1)
	}
}

func queryAgrees(t *testing.T, s *suite) {
	o := s.Pays.order()
	sent := s.send(t, o, s.Pays.Open)
	want(t, sent, rail.Succeeded)
	for range 3 {
		s.wantStill(t, o.Reference, sent)
		s.restart(t)
	}
}

func failedStays(t *testing.T, s *suite) {
	if s.Fails == nil {
		t.Skip("no payout that fails")
	}
	o := s.Fails.order()
	first := s.send(t, o, s.Fails.Open)
	want(t, first, rail.Failed)
	for range 3 {
		out, err := s.Rail.Send(t.Context(), o, s.Fails.Open)
		if err == nil && out.Status != rail.Failed && out.Status != rail.Unknown {
			t.Errorf("sent again, a failed payout got %+v", out)
		}
		s.wantStill(t, o.Reference, first)
		s.restart(t)
	}
	s.wantExecutions(t, o.Reference, 0)
}

func endedContext(t *testing.T, s *suite) {
	ended, end := context.WithCancel(t.Context())
	end()
	paid := s.Pays.order()
	want(t, s.send(t, paid, s.Pays.Open), rail.Succeeded)
	o := s.Pays.order()
	start := time.Now()
	if v, err := s.Rail.Check(ended, o, s.Pays.Open); err == nil || v.Refused != "" {
		t.Errorf("Check: %+v, error %v; want only an error", v, err)
	}
	for _, reference := range []string{paid.Reference, o.Reference} {
		if out, err := s.Rail.Query(ended, reference); err == nil && out.Status != rail.Unknown {
			t.Errorf("Query: %+v, want unknown or an error", out)
		}
	}
	if out, err := s.Rail.Send(ended, o, s.Pays.Open); err == nil && out.Status != rail.Unknown {
		t.Errorf("Send: %+v, want unknown or an error", out)
	}
	if took := time.Since(start); took > 10*soon { // a busy machine is late
		t.Errorf("four calls whose context had ended took %s, want a second for each", took)
	}
	want(t, s.send(t, o, s.Pays.Open), rail.Succeeded)
	s.wantExecutions(t, o.Reference, 1)
}

// leftInTheMiddle ends the contexts of requests that are under way.
func leftInTheMiddle(t *testing.T, s *suite) {
	o := s.Pays.order()
	var wg sync.WaitGroup
	for n := range copies {
		wg.Go(func() {
			ctx, leave := context.WithTimeout(t.Context(), time.Duration(n)*100*time.Microsecond)
			defer leave()
			if out, err := s.Rail.Send(ctx, o, s.Pays.Open); err == nil && out.Status == rail.Failed {
				t.Errorf("a request whose caller left got %+v", out)
			}
			<-ctx.Done()
		})
	}
	wg.Wait()
	want(t, s.send(t, o, s.Pays.Open), rail.Succeeded)
	s.wantExecutions(t, o.Reference, 1)
}

func numberDoesNotOpen(t *testing.T, s *suite) {
	if s.Pays.Open == nil {
		t.Skip("no card number")
	}
	locked := func(context.Context) ([]byte, error) { return nil, errors.New("the vault is locked") }
	o := s.Pays.order()
	if v, _ := s.Rail.Check(t.Context(), o, locked); v.Refused != "" { // it may do without the number
		t.Errorf("Check: %+v, want no refusal", v)
	}
	if out, err := s.Rail.Send(t.Context(), o, locked); err == nil && out.Status != rail.Unknown {
		t.Errorf("Send: %+v, want unknown or an error", out)
	}
	s.wantExecutions(t, o.Reference, 0)
	want(t, s.send(t, o, s.Pays.Open), rail.Succeeded)
	s.wantExecutions(t, o.Reference, 1)
}

// listener holds every answer of a rail to the rules that hold for all.
type listener struct {
	t       *testing.T
	rail    rail.Rail
	numbers []string
}

func (l *listener) Name() string      { return l.rail.Name() }
func (l *listener) Terms() rail.Terms { return l.rail.Terms() }

func (l *listener) Check(ctx context.Context, o rail.Order, open rail.Opener) (rail.Verdict, error) {
	l.t.Helper()
	v, err := l.rail.Check(ctx, o, open)
	if v.Refused != "" && !slices.Contains(rail.Codes, v.Refused) {
		l.t.Errorf("Check: %q is not one of rail.Codes", v.Refused)
	}
	l.wantNoNumber("Check", v, err)
	return v, err
}

func (l *listener) Send(ctx context.Context, o rail.Order, open rail.Opener) (rail.Outcome, error) {
	l.t.Helper()
	out, err := l.rail.Send(ctx, o, open)
	if err == nil {
		l.wantRules("Send", out, rail.Unknown, rail.Accepted, rail.Succeeded, rail.Failed)
	}
	l.wantNoNumber("Send", out, err)
	return out, err
}

func (l *listener) Query(ctx context.Context, reference string) (rail.Outcome, error) {
	l.t.Helper()
	out, err := l.rail.Query(ctx, reference)
	if err == nil {
		l.wantRules("Query", out, rail.Unknown, rail.Accepted, rail.Succeeded, rail.Failed, rail.NeverSeen)
	}
	l.wantNoNumber("Query", out, err)
	return out, err
}

func (l *listener) wantRules(call string, out rail.Outcome, statuses ...rail.Status) {
	l.t.Helper()
	if !slices.Contains(statuses, out.Status) {
		l.t.Errorf("%s: status %q, want one of %q", call, out.Status, statuses)
	}
	switch failed := out.Status == rail.Failed; {
	case failed && !slices.Contains(rail.Codes, out.Code):
		l.t.Errorf("%s: %q is not one of rail.Codes", call, out.Code)
	case failed && out.Text == "":
		l.t.Errorf("%s: failed with %s and no text", call, out.Code)
	case !failed && (out.Code != "" || out.Text != ""):
		l.t.Errorf("%s: %s with the code %q and the text %q of a failure", call, out.Status, out.Code, out.Text)
	}
	if out.Status != rail.Succeeded && out.Info != (rail.Info{}) {
		l.t.Errorf("%s: %s with the details of a payment", call, out.Status)
	}
}

// wantNoNumber looks for card numbers in the error and the answer, whatever
// stands between their digits.
func (l *listener) wantNoNumber(call string, answer any, err error) {
	l.t.Helper()
	said := strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, fmt.Sprintf("%+v|%v|%+v", answer, err, errors.Unwrap(err)))
	for _, n := range l.numbers {
		if strings.Contains(said, n) {
			l.t.Errorf("%s: the answer or its error holds a card number", call)
		}
	}
}
