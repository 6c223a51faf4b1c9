package session

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/internal/fault"
)

var update = flag.Bool("update", false, "rewrite the golden files and docs/states.md")

// The golden file has a line for every state and event, so that a new edge in
// the table is one changed line, and so is one that was lost.
func TestSteps(t *testing.T) {
	var b bytes.Buffer
	for _, s := range States {
		for _, e := range Events {
			step, err := Next(s, e)
			switch {
			case err == nil:
				fmt.Fprintf(&b, "%s %s -> %s %s %s\n", s, e, step.To, orNone(step.Move), orNone(step.Hook))
			case fault.CodeOf(err) == fault.WrongState:
				fmt.Fprintf(&b, "%s %s refused\n", s, e)
			default:
				t.Errorf("%s %s: %v; want %s", s, e, err, fault.WrongState)
			}
		}
	}
	golden(t, filepath.Join("testdata", "steps.golden"), b.Bytes())
}

func TestNextRefusesWhatIsNotInTheTable(t *testing.T) {
	tests := []struct {
		name  string
		state State
		event Event
	}{
		{"no state", "", Start},
		{"no such state", "paid ", Return},
		{"no event", Created, ""},
		{"no such event", Created, "START"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if step, err := Next(test.state, test.event); fault.CodeOf(err) != fault.WrongState || step != (Step{}) {
				t.Errorf("%v, %v", step, err)
			}
		})
	}
}

func TestEveryStateIsReachedAndEnds(t *testing.T) {
	from := func(start State) map[State]bool {
		seen, queue := map[State]bool{start: true}, []State{start}
		for len(queue) > 0 {
			s := queue[0]
			queue = queue[1:]
			for _, e := range Events {
				if step, err := Next(s, e); err == nil && !seen[step.To] {
					seen[step.To] = true
					queue = append(queue, step.To)
				}
			}
		}
		return seen
	}
	reached := from(Created)
	if len(reached) != len(States) {
		t.Errorf("%d states are reached, States lists %d", len(reached), len(States))
	}
	for _, s := range States {
		if !reached[s] {
			t.Errorf("%s is never reached", s)
		}
		ends := false
		for next := range from(s) {
			ends = ends || next.Final()
		}
		if !ends {
			t.Errorf("%s has no way to an end", s)
		}
	}
	for s, events := range steps {
		for e := range events {
			if !slices.Contains(States, s) || !slices.Contains(Events, e) {
				t.Errorf("%s %s: not listed in States and Events", s, e)
			}
		}
	}
}

// What the partner asks for comes too late once he has been told the end: a
// confirmation that crosses a time-out must not pay.
func TestFinalStatesAcceptNothingFromThePartner(t *testing.T) {
	for _, s := range States {
		for _, e := range []Event{Start, Confirm, Cancel} {
			if _, err := Next(s, e); s.Final() && err == nil {
				t.Errorf("%s is possible while the payout is %s", e, s)
			}
		}
	}
}

// Only the rail's word ends a payout that may have left: no partner, clock or
// decision of ours can give its money back before.
func TestOnlyTheRailEndsWhatWasSent(t *testing.T) {
	for _, s := range []State{Sent, Unclear} {
		for _, e := range Events {
			step, err := Next(s, e)
			if err == nil && step.To != Sent && step.To != Unclear && e != Accept && e != Decline {
				t.Errorf("%s ends a payout that is %s", e, s)
			}
		}
	}
}

// life is the money and the promises of one payout.
type life struct {
	amount, fee                                int64 // 0 for a verification
	state                                      State
	available, held, clearing, fees, suspended int64
	holds, settles, releases, refunds          int
	finished, refundedTold                     int
}

func (l *life) book(m Movement) {
	switch m {
	case Hold:
		l.holds++
		l.available -= l.amount + l.fee
		l.held += l.amount + l.fee
	case Settle:
		l.settles++
		l.held -= l.amount + l.fee
		l.clearing += l.amount
		l.fees += l.fee
	case Release:
		l.releases++
		l.held -= l.amount + l.fee
		l.available += l.amount + l.fee
	case Restore:
		l.refunds++
		l.clearing -= l.amount
		l.available += l.amount
	case Suspend:
		l.suspended -= l.amount
		l.clearing += l.amount
	}
}

// Whatever happens to a payout in whatever order: money is held in just the
// states that say so, each hold is settled or released once, nothing is paid
// twice, and the partner is told the end once.
func TestMoneyFollowsTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, never := life{state: Created, amount: 10_000, fee: 150}, []Event{Verified}
		if rapid.Bool().Draw(t, "verification") {
			l, never = life{state: Created}, []Event{Ready, Proceed}
		}
		started := false
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := rapid.SampledFrom(Events).Draw(t, "event")
			if possible := possibleIn(l.state); len(possible) > 0 && rapid.Bool().Draw(t, "possible") {
				e = rapid.SampledFrom(possible).Draw(t, "event that is possible")
			}
			step, err := Next(l.state, e)
			if err != nil || slices.Contains(never, e) {
				continue
			}
			started = started || e == Start
			l.book(step.Move)
			l.state = step.To
			switch step.Hook {
			case PaymentFinished:
				l.finished++
			case PaymentRefunded:
				l.refundedTold++
			}

			held := int64(0)
			if l.state.Holds() {
				held = l.amount + l.fee
			}
			ended := 0
			if l.state.Final() && started {
				ended = 1
			}
			switch {
			case l.held != held:
				t.Fatalf("%d held while %s, want %d", l.held, l.state, held)
			case l.available+l.held+l.clearing+l.fees+l.suspended != 0:
				t.Fatalf("the book does not sum to zero: %+v", l)
			case l.holds > 1 || l.settles+l.releases > l.holds:
				t.Fatalf("%d holds, %d settled and %d released", l.holds, l.settles, l.releases)
			case l.state.Final() && l.settles+l.releases != l.holds:
				t.Fatalf("%s with a hold that nobody ended: %+v", l.state, l)
			case l.clearing < 0 || l.clearing > l.amount || l.refunds > 1:
				t.Fatalf("paid or returned twice: %+v", l)
			case l.finished != ended:
				t.Fatalf("%s and the end was told %d times, want %d", l.state, l.finished, ended)
			case l.refundedTold != l.refunds:
				t.Fatalf("%d returns, told of %d", l.refunds, l.refundedTold)
			}
		}
	})
}

func possibleIn(s State) []Event {
	var all []Event
	for _, e := range Events {
		if _, err := Next(s, e); err == nil {
			all = append(all, e)
		}
	}
	return all
}

func orNone[T ~string](s T) string {
	if s == "" {
		return "-"
	}
	return string(s)
}

// golden compares with a file, or rewrites it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
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
	if bytes.Equal(got, want) {
		return
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s:%d is not current, go test -update rewrites it\ngot  %s\nwant %s", file, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%s has %d lines, want %d; go test -update rewrites it", file, len(w), len(g))
}
