package sandbox

import (
	"fmt"
	"slices"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// Outcome is what a magic value makes of a payout.
type Outcome string

// The outcomes.
const (
	Succeeded             Outcome = "succeeded"
	Declined              Outcome = "declined"
	CheckFailed           Outcome = "check_failed"
	CheckSlow             Outcome = "check_slow"
	AcceptedThenSucceeded Outcome = "accepted_then_succeeded"
	AcceptedThenDeclined  Outcome = "accepted_then_declined"
	UnclearThenSucceeded  Outcome = "unclear_then_succeeded"
	UnclearThenFailed     Outcome = "unclear_then_failed"
	LostBeforeSent        Outcome = "lost_before_sent"
	Doubled               Outcome = "doubled"
	Late                  Outcome = "late"
	Broken                Outcome = "broken"
	Slow                  Outcome = "slow"
	Returned              Outcome = "returned"
)

// The times of the simulated rails. They are short, since the rails are near;
// late lies between the deadline of Send and the end of the visibility window,
// where only a payoutd that waits for both pays once.
const (
	sendDeadline  = 2 * time.Second
	visibility    = 3 * time.Second
	acceptedDelay = time.Second
	slowDelay     = 3 * time.Second
	lateDelay     = 4 * time.Second
	checkDelay    = 2 * time.Minute // above the minute that a payout may spend in checking
	returnDelay   = 3 * 24 * time.Hour
	withheldMax   = 2 // questions without an answer of an unclear payment
)

// script is the outcome of one payment, and the code if it is not paid.
type script struct {
	outcome Outcome
	code    rail.Code
}

// pays reports whether the money moves.
func (s script) pays() bool { return s.code == "" }

// reached reports whether a request has reached the rail; the first one of a
// payment that is lost has not.
func (p payment) reached() bool { return p.script.outcome != LostBeforeSent || p.requests > 1 }

// withheld reports whether the next question stays without an answer.
func (p payment) withheld() bool {
	unclear := p.script.outcome == UnclearThenSucceeded || p.script.outcome == UnclearThenFailed
	return unclear && p.asked < withheldMax
}

// status is what the rail says of the payment at a time; slow is how long one
// that is slow stays under way. Once it is Succeeded
// or Failed it stays so.
func (p payment) status(now time.Time, slow time.Duration) rail.Status {
	age := now.Sub(p.reachedAt)
	switch p.script.outcome {
	case AcceptedThenSucceeded, AcceptedThenDeclined:
		if age < acceptedDelay {
			return rail.Accepted
		}
	case Slow:
		if age < slow {
			return rail.Accepted
		}
	case Late:
		if age < lateDelay {
			return rail.NeverSeen
		}
	case LostBeforeSent:
		if !p.reached() {
			return rail.NeverSeen
		}
	case UnclearThenSucceeded, UnclearThenFailed:
		if p.withheld() {
			return rail.Unknown
		}
	case Succeeded, Declined, CheckFailed, CheckSlow, Doubled, Broken, Returned: // known at once
	}
	if p.script.pays() {
		return rail.Succeeded
	}
	return rail.Failed
}

// text says a code in words.
func text(c rail.Code) string { return fault.Lookup(fault.Code(c)).Text }

// Value is one magic value: whoever pays it gets the outcome.
type Value struct {
	// Kind is a method, "amount" for the kopecks of any method, "inn" for a
	// self-employed person, or "widget" for the origin of the widgets.
	Kind string `json:"kind"`
	// Value is the field as the API takes it; an amount is its decimal digits.
	Value   string  `json:"value"`
	Outcome Outcome `json:"outcome,omitempty"`
	// ErrorCode is the code of the payout that fails by it, or by its time-out.
	ErrorCode   fault.Code `json:"error_code,omitempty"`
	Description string     `json:"description"`
}

// kindAmount is the Kind of magic amounts.
const kindAmount = "amount"

var (
	destinations = []string{string(instrument.KindCard), string(instrument.KindAccount), string(instrument.KindFPS), string(instrument.KindWallet)}
	allKinds     = append(slices.Clone(destinations), kindAmount)
	onlyCard     = destinations[:1]
	onlyAccount  = destinations[1:2]
)

// plan says which outcomes there are for which kinds. The number is the last
// two digits (before the check digit of a card) of each value, so that a value
// tells its outcome in every kind.
var plan = []struct {
	number      int
	script      script
	kinds       []string
	description string
}{
	{1, script{Succeeded, ""}, allKinds, "paid at once"},
	{2, script{AcceptedThenSucceeded, ""}, allKinds, "accepted, and paid 1 s later"},
	{3, script{AcceptedThenDeclined, rail.OperationRejected}, allKinds, "accepted, and declined 1 s later"},
	{4, script{UnclearThenSucceeded, ""}, allKinds, "paid, but the answer is lost, and the next two questions are not answered"},
	{5, script{UnclearThenFailed, rail.ProviderInternal}, allKinds, "declined, but the answer is lost, and the next two questions are not answered"},
	{6, script{LostBeforeSent, ""}, allKinds, "the first request never reaches the rail; paid when it is sent again"},
	{7, script{Doubled, ""}, allKinds, "the request reaches the rail twice; paid once"},
	{8, script{Late, ""}, allKinds, "paid, but the rail answers after 4 s and until then has never seen the payment"},
	{9, script{Broken, ""}, allKinds, "paid, but the answer cannot be read"},
	{10, script{Slow, ""}, allKinds, "paid, but the rail answers after 3 s and until then says that it is under way"},
	{11, script{CheckSlow, ""}, allKinds, "the check answers after 2 minutes: the payout fails before anything is sent"},
	{12, script{CheckFailed, rail.CardUnknown}, onlyCard, "refused by the check"},
	{12, script{CheckFailed, rail.AccountNotFound}, destinations[1:], "refused by the check; a phone is not registered in FPS"},
	{13, script{CheckFailed, rail.AmountTooSmall}, []string{kindAmount}, "refused by the check"},
	{14, script{CheckFailed, rail.AmountTooLarge}, []string{kindAmount}, "refused by the check"},
	{20, script{Declined, rail.OperationRejected}, allKinds, "declined"},
	{21, script{Declined, rail.CardExpired}, onlyCard, "declined"},
	{22, script{Declined, rail.CardUnknown}, onlyCard, "declined"},
	{23, script{Declined, rail.CardInactive}, onlyCard, "declined"},
	{24, script{Declined, rail.ActivityExceeded}, allKinds, "declined"},
	{25, script{Declined, rail.IssuerDeclined}, onlyCard, "declined"},
	{26, script{Declined, rail.IssuerForbids}, onlyCard, "declined"},
	{27, script{Declined, rail.AccountNotFound}, destinations[1:], "declined"},
	{28, script{Declined, rail.AmountTooSmall}, allKinds, "declined"},
	{29, script{Declined, rail.AmountTooLarge}, allKinds, "declined"},
	{30, script{Declined, rail.ForeignProhibited}, onlyCard, "declined"},
	{31, script{Declined, rail.IssuerUnavailable}, onlyCard, "declined"},
	{32, script{Declined, rail.ProviderInternal}, allKinds, "declined"},
	{33, script{Returned, ""}, onlyAccount, "paid at once, and given back by the recipient's bank 3 days later"},
}

// familiar are values from published examples; they succeed, and so does
// everything else that is not magic.
var familiar = []Value{
	{Kind: string(instrument.KindCard), Value: "4242424242424242"},
	{Kind: string(instrument.KindCard), Value: "2200000000001317"},
	{Kind: string(instrument.KindCard), Value: "5555555555554444"},
	{Kind: string(instrument.KindAccount), Value: "40817810500000012345"},
	{Kind: string(instrument.KindAccount), Value: "40817810100000270411"},
	{Kind: string(instrument.KindAccount), Value: "40817810400003869535"},
	{Kind: string(instrument.KindFPS), Value: "79990001310"},
	{Kind: string(instrument.KindFPS), Value: "79680000000"},
	{Kind: string(instrument.KindFPS), Value: "0070009210197"},
	{Kind: string(instrument.KindWallet), Value: "4100110000131"},
	{Kind: string(instrument.KindWallet), Value: "410012411727100"},
}

// scripts finds the script of a magic value by kind and value.
var scripts = func() map[string]map[string]script {
	m := map[string]map[string]script{}
	for _, kind := range allKinds {
		m[kind] = map[string]script{}
	}
	for _, p := range plan {
		for _, kind := range p.kinds {
			m[kind][valueOf(kind, p.number)] = p.script
		}
	}
	return m
}()

// Values lists all magic values by kind, each kind in the order of its numbers.
func Values() []Value {
	var values []Value
	for _, kind := range allKinds {
		for _, v := range familiar {
			if v.Kind == kind {
				v.Outcome, v.Description = Succeeded, "paid at once"
				values = append(values, v)
			}
		}
		for _, p := range plan {
			if !slices.Contains(p.kinds, kind) {
				continue
			}
			v := Value{kind, valueOf(kind, p.number), p.script.outcome, fault.Code(p.script.code), p.description}
			if v.Outcome == CheckSlow {
				v.ErrorCode = fault.ProviderTimeout // payoutd's own: the rail has not refused
			}
			values = append(values, v)
		}
	}
	return values
}

// bankBIK is the bank whose key the magic accounts bear, so that they pass
// where a project has keys checked.
const bankBIK = "044525974"

// valueOf makes the value of a kind with a number; check digits are right.
func valueOf(kind string, number int) string {
	switch kind {
	case string(instrument.KindCard):
		return checked("2200000000002%02d%d", number, func(s string) bool { _, err := instrument.ParsePAN(s); return err == nil })
	case string(instrument.KindAccount):
		return checked("40817810%[2]d131000000%02[1]d", number, func(s string) bool { return instrument.AccountKey(bankBIK, s) })
	case string(instrument.KindFPS):
		return fmt.Sprintf("799900020%02d", number)
	case string(instrument.KindWallet):
		return fmt.Sprintf("41001131000%02d", number)
	}
	return fmt.Sprintf("1310%02d", number)
}

// checked fills in the number and the one check digit that makes it right.
func checked(format string, number int, right func(string) bool) string {
	for digit := range 10 {
		if s := fmt.Sprintf(format, number, digit); right(s) {
			return s
		}
	}
	panic(fmt.Sprintf("no check digit fits %s with number %d", format, number))
}

// scriptOf finds what becomes of a payment. The destination decides first; an
// amount acts beside a destination that succeeds.
func scriptOf(kind instrument.Kind, destination []byte, amount money.Amount) script {
	if kind == instrument.KindAccount && !instrument.AllowedPrefix(string(destination)) {
		return script{CheckFailed, rail.AccountNotFound}
	}
	if s, ok := scripts[string(kind)][string(destination)]; ok && s.outcome != Succeeded {
		return s
	}
	if s, ok := scripts[kindAmount][fmt.Sprint(amount.Minor)]; ok {
		return s
	}
	return script{Succeeded, ""}
}
