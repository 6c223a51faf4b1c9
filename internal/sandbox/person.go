package sandbox

import (
	"fmt"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
)

// Outcomes of self-employed people: what the tax service makes of a question
// about them.
const (
	LinkConfirmed   Outcome = "link_confirmed"
	LinkRejected    Outcome = "link_rejected"
	LinkBroken      Outcome = "link_broken"
	PersonFailing   Outcome = "failing"
	NotSelfEmployed Outcome = "not_self_employed"
	NotLinked       Outcome = "not_linked"
	PersonLinked    Outcome = "linked"
	NearLimit       Outcome = "near_limit"
	LimitLater      Outcome = "limit_later"
	UnlinkedLater   Outcome = "unlinked_later"
	Mismatched      Outcome = "mismatched"
	Notified        Outcome = "notified"
	ReceiptLate     Outcome = "receipt_late"
	ReceiptLost     Outcome = "receipt_lost"
	ReceiptNever    Outcome = "receipt_never"
)

// The times and sums of the simulated tax service.
const (
	answerDelay  = 3 * time.Second  // of a slow answer
	receiptDelay = 10 * time.Second // for which the service is away when a late receipt is asked for
	messageLife  = 7 * 24 * time.Hour
)

// earned is what the person near the limit has earned in any year by other ways.
var earned = money.Amount{Minor: 2_399_000_00, Currency: money.RUB}

// kindINN is the Kind of magic INNs.
const kindINN = "inn"

// person is what a magic INN stands for.
type person struct {
	number      int // before the check digits
	outcome     Outcome
	code        fault.Code
	linked      bool // from the beginning
	description string
}

// people says what magic INNs do. All are self-employed but one.
var people = []person{
	{41, LinkConfirmed, "", false, "a request to link is confirmed when it is asked about"},
	{42, LinkRejected, "", false, "a request to link is declined when it is asked about"},
	{43, LinkBroken, "npd_service_internal_error", false, "the tax service does not answer"},
	{44, PersonFailing, "npd_service_internal_error", false, "the tax service answers that it has failed"},
	{51, NotSelfEmployed, "taxpayer_unknown", false, "not self-employed"},
	{52, NotLinked, "taxpayer_not_bound", false, "self-employed, and not linked until somebody links them"},
	{53, PersonLinked, "", true, "self-employed and linked"},
	{54, Slow, "", true, "linked; each answer takes 3 s"},
	{55, NearLimit, "taxpayer_income_exceeds_amount_limit", true, "linked; has earned 2,399,000.00 roubles in the year, whichever it is"},
	{56, LimitLater, "taxpayer_income_exceeds_amount_limit", true, "linked; has earned nothing when asked about, and too much when a receipt is made"},
	{57, UnlinkedLater, "taxpayer_not_bound", true, "linked until a receipt is asked for, and then no more"},
	{58, Mismatched, "", true, "linked; last name and phone are not those that the tax service knows"},
	{59, Notified, "", true, "linked; has two notifications to read"},
	{60, ReceiptLate, "", true, "linked; the tax service is away for 10 s when a receipt is asked for"},
	{61, ReceiptLost, "", true, "linked; a receipt is made, and the answer is lost"},
	{62, ReceiptNever, "npd_service_internal_error", true, "linked; the tax service answers that it has failed whenever a receipt is asked for, so none is ever made"},
}

var (
	byINN   = map[string]person{}
	byPhone = map[string]string{} // INNs
)

func init() {
	for _, p := range people {
		byINN[p.inn()], byPhone[p.phone()] = p, p.inn()
	}
}

// inn is the person's; its check digits are right.
func (p person) inn() string {
	for digits := range 100 {
		if s := fmt.Sprintf("77131000%02d%02d", p.number, digits); instrument.INN(s) {
			return s
		}
	}
	panic(fmt.Sprintf("no check digits fit the INN with number %d", p.number))
}

// phone is what the tax service knows of them.
func (p person) phone() string { return fmt.Sprintf("799900031%02d", p.number) }

// PersonValues lists the magic INNs.
func PersonValues() []Value {
	var values []Value
	for _, p := range people {
		values = append(values, Value{kindINN, p.inn(), p.outcome, p.code, p.description})
	}
	return values
}
