package railtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/rail/railtest"
)

const (
	goodCard    = "4242424242424242"
	brokeCard   = "4000000000000002"
	refusedCard = "4000000000000069"
)

// bank is a rail and its outside world in memory, with at most one bug.
type bank struct {
	bug string

	mu    sync.Mutex
	known map[string]entry
	moved map[string]int
}

type entry struct {
	amount money.Amount
	out    rail.Outcome
}

func (b *bank) Name() string {
	if b.bug == "shouts its name" {
		return "BANK"
	}
	return "bank"
}

func (b *bank) Terms() rail.Terms {
	if b.bug == "promises no deadline" {
		return rail.Terms{}
	}
	return rail.Terms{SendDeadline: time.Second, Visibility: time.Second}
}

func (b *bank) Check(ctx context.Context, o rail.Order, open rail.Opener) (rail.Verdict, error) {
	if err := ctx.Err(); err != nil {
		if b.bug == "refuses when nobody waits" {
			return rail.Verdict{Refused: rail.ProviderInternal, Text: "nobody waits"}, nil
		}
		return rail.Verdict{}, err
	}
	if b.bug == "pays in Check" {
		return rail.Verdict{}, b.pay(o)
	}
	digits, err := open(ctx)
	if err != nil {
		return rail.Verdict{}, err
	}
	if string(digits) != refusedCard {
		return rail.Verdict{}, nil
	}
	switch b.bug {
	case "refuses without a text":
		return rail.Verdict{Refused: rail.CardUnknown}, nil
	case "refuses by a code of its own":
		return rail.Verdict{Refused: "code_51", Text: "no"}, nil
	}
	return rail.Verdict{Refused: rail.CardUnknown, Text: "no such card"}, nil
}

func (b *bank) pay(o rail.Order) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved[o.Reference]++
	return nil
}

func (b *bank) Send(ctx context.Context, o rail.Order, open rail.Opener) (rail.Outcome, error) {
	if err := ctx.Err(); err != nil {
		switch b.bug {
		case "fails when nobody waits":
			return rail.Outcome{Status: rail.Failed, Code: rail.ProviderInternal, Text: "nobody waits"}, nil
		case "hangs when nobody waits":
			<-time.After(15 * time.Second)
		}
		return rail.Outcome{}, err
	}
	digits, err := open(ctx)
	if err != nil && b.bug != "pays without the number" {
		return rail.Outcome{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e, found := b.known[o.Reference]
	switch {
	case found && e.amount != o.Amount && b.bug == "pays another amount":
		b.moved[o.Reference]++
	case found && e.amount != o.Amount && b.bug == "tells the number":
		return rail.Outcome{}, fmt.Errorf("card %s %s: another amount", digits[:8], digits[8:])
	case found && e.amount != o.Amount:
		return rail.Outcome{}, errors.New("another amount")
	case found && b.bug == "pays what had failed" && e.out.Status == rail.Failed:
		b.moved[o.Reference]++
	case found && b.bug == "pays twice":
		b.moved[o.Reference]++
	case found && b.bug == "takes a copy for a failure":
		return rail.Outcome{Status: rail.Failed, Code: rail.OperationRejected, Text: "a copy"}, nil
	case !found:
		e = entry{amount: o.Amount, out: rail.Outcome{Status: rail.Succeeded, Info: rail.Info{RRN: "606109131310"}}}
		if string(digits) == brokeCard {
			e.out = rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined, Text: "declined"}
		} else {
			b.moved[o.Reference]++
		}
		b.known[o.Reference] = e
	}
	if b.bug == "declines without a code" && e.out.Status == rail.Failed {
		return rail.Outcome{Status: rail.Failed, Text: "declined"}, nil
	}
	return e.out, nil
}

func (b *bank) Query(ctx context.Context, reference string) (rail.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return rail.Outcome{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.known[reference]
	switch {
	case !ok && b.bug == "calls unseen failed":
		return rail.Outcome{Status: rail.Failed, Code: rail.OperationRejected, Text: "unseen"}, nil
	case !ok:
		return rail.Outcome{Status: rail.NeverSeen}, nil
	case b.bug == "forgets the details":
		e.out.Info = rail.Info{}
	}
	return e.out, nil
}

func harness(bug string) railtest.Harness {
	b := &bank{bug: bug, known: map[string]entry{}, moved: map[string]int{}}
	card := func(number string) railtest.Payout {
		return railtest.Payout{
			Order: rail.Order{
				Destination: instrument.Instrument{Card: &instrument.Card{BIN: number[:6], Last4: number[12:]}},
				Amount:      money.Amount{Minor: 12550, Currency: money.RUB},
			},
			Open: func(context.Context) ([]byte, error) { return []byte(number), nil },
		}
	}
	fails, refused := card(brokeCard), card(refusedCard)
	return railtest.Harness{
		Rail: b,
		Restart: func(*testing.T) rail.Rail {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.bug == "forgets at a restart" {
				clear(b.known)
			}
			return b
		},
		Pays: card(goodCard), Fails: &fails, Refused: &refused,
		Executions: func(_ *testing.T, reference string) int {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.moved[reference]
		},
		Numbers: []string{goodCard, brokeCard, refusedCard},
	}
}

func TestGoodRailPasses(t *testing.T) {
	railtest.Run(t, func(*testing.T) railtest.Harness { return harness("") })
}

// TestBugsAreFound runs the suite on bad rails, in a process of its own since
// there it must fail.
func TestBugsAreFound(t *testing.T) {
	bugs := []struct{ bug, found string }{
		{"shouts its name", "NameAndTerms"},
		{"promises no deadline", "NameAndTerms"},
		{"pays in Check", "CheckHasNoEffect"},
		{"refuses without a text", "CheckRefuses"},
		{"refuses by a code of its own", "CheckRefuses"},
		{"calls unseen failed", "UnknownReferenceWasNeverSeen"},
		{"pays twice", "SendTwicePaysOnce"},
		{"takes a copy for a failure", "ManyAtOncePayOnce"},
		{"forgets at a restart", "SendAgainAfterRestartPaysOnce"},
		{"pays another amount", "OtherAmountPaysNothing"},
		{"tells the number", "OtherAmountPaysNothing"},
		{"forgets the details", "QueryAgreesWithSend"},
		{"pays what had failed", "FailedStaysFailed"},
		{"declines without a code", "FailedStaysFailed"},
		{"refuses when nobody waits", "EndedContext"},
		{"fails when nobody waits", "EndedContext"},
		{"hangs when nobody waits", "EndedContext"},
		{"pays without the number", "NumberThatDoesNotOpen"},
	}
	const variable = "RAILTEST_BUG"
	if bug := os.Getenv(variable); bug != "" {
		railtest.Run(t, func(*testing.T) railtest.Harness { return harness(bug) })
		return
	}
	for _, b := range bugs {
		t.Run(b.bug, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBugsAreFound$/^"+b.found+"$", "-test.v")
			cmd.Env = append(os.Environ(), variable+"="+b.bug)
			out, err := cmd.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("--- FAIL: TestBugsAreFound/"+b.found)) {
				t.Errorf("%s did not find a rail that %s:\n%s", b.found, b.bug, out)
			}
			if strings.Contains(string(out), "panic:") {
				t.Errorf("the suite panicked:\n%s", out)
			}
		})
	}
}
