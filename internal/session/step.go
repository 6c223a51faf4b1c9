package session

import (
	"github.com/payoutd/payoutd/internal/fault"
)

// State is where a payout stands; the comment says who acts next.
type State string

// The states. They are finer than the wire's: see Show.
const (
	Created   State = "created"          // partner: start or cancel
	Checking  State = "checking"         // us: check the recipient
	Checked   State = "checked"          // us: hold the money, once no other payout of the session is being checked
	Awaiting  State = "awaiting_confirm" // partner: confirm or cancel, until the time-out
	Confirmed State = "confirmed"        // us: commit the intent, then call the rail
	Sent      State = "sent"             // rail: answer
	Unclear   State = "unclear"          // us: ask the rail until it answers; never fail by time
	Paid      State = "paid"             // nobody, unless the bank returns the money
	Failed    State = "failed"           // nobody
	Cancelled State = "cancelled"        // nobody
	Returned  State = "returned"         // nobody
	Disputed  State = "disputed"         // two operators: the rail has contradicted itself
)

// States lists all states in the order of a payout's life.
var States = []State{Created, Checking, Checked, Awaiting, Confirmed, Sent, Unclear, Paid, Failed, Cancelled, Returned, Disputed}

// Event is what happens to a payout.
type Event string

// The events; the comment says who brings them.
const (
	Start    Event = "start"    // partner: session/start/payout
	Pass     Event = "pass"     // us: the check says yes
	Ready    Event = "ready"    // us: the money is held, the partner may confirm
	Proceed  Event = "proceed"  // us: the money is held in a project that does not confirm
	Verified Event = "verified" // rail: the FPS recipient is known; tax service: the receipt is made; no money is moved
	Refuse   Event = "refuse"   // us: the check, the balance or the deadline says no
	Confirm  Event = "confirm"  // partner: session/confirm
	Cancel   Event = "cancel"   // partner: session/cancel
	Expire   Event = "expire"   // clock: the confirm time-out
	Abort    Event = "abort"    // us: it became impossible before it was sent
	Send     Event = "send"     // us: the intent to send is committed
	Accept   Event = "accept"   // rail: paid
	Decline  Event = "decline"  // rail: not paid and never will be
	Lose     Event = "lose"     // rail: no answer, or none that can be read
	Resend   Event = "resend"   // us: never seen by the rail after its window; the same reference again
	Return   Event = "return"   // rail: the recipient's bank gave the money back
)

// Events lists all events in the order of a payout's life.
var Events = []Event{Start, Pass, Ready, Proceed, Verified, Refuse, Confirm, Cancel, Expire, Abort, Send, Accept, Decline, Lose, Resend, Return}

// Movement names the posting template that a step books; package ledger has
// the templates.
type Movement string

// The movements.
const (
	None    Movement = ""
	Hold    Movement = "hold"    // available → held: the amount and our fee
	Settle  Movement = "settle"  // held → clearing (amount) and fees (fee)
	Release Movement = "release" // held → available: all of it
	Restore Movement = "return"  // clearing → available, and the fee where the project gives it back
	Suspend Movement = "suspend" // suspense → clearing: paid after it was released
)

// Hook names the webhook event that a step promises to the partner.
type Hook string

// The hooks, by their wire names (wire reference, core §5.2).
const (
	Silent          Hook = ""
	ReadyToConfirm  Hook = "ready_to_confirm"
	PaymentFinished Hook = "payment_finished"
	PaymentRefunded Hook = "payment_refunded"
)

// A Step is what one event does, committed together or not at all.
type Step struct {
	To   State
	Move Movement
	Hook Hook
}

// steps is the whole life of a payout; a pair that is not here is refused.
var steps = map[State]map[Event]Step{
	Created: {
		Start:  {Checking, None, Silent},
		Cancel: {Cancelled, None, Silent},
	},
	Checking: {
		Pass:     {Checked, None, Silent},
		Verified: {Paid, None, PaymentFinished},
		Refuse:   {Failed, None, PaymentFinished},
	},
	Checked: {
		Ready:   {Awaiting, Hold, ReadyToConfirm},
		Proceed: {Confirmed, Hold, Silent},
		Refuse:  {Failed, None, PaymentFinished},
	},
	Awaiting: {
		Confirm: {Confirmed, None, Silent},
		Cancel:  {Cancelled, Release, PaymentFinished},
		Expire:  {Cancelled, Release, PaymentFinished},
	},
	Confirmed: {
		Send:  {Sent, None, Silent},
		Abort: {Failed, Release, PaymentFinished},
	},
	Sent: {
		Accept:  {Paid, Settle, PaymentFinished},
		Decline: {Failed, Release, PaymentFinished},
		Lose:    {Unclear, None, Silent},
	},
	Unclear: {
		Accept:  {Paid, Settle, PaymentFinished},
		Decline: {Failed, Release, PaymentFinished},
		Resend:  {Sent, None, Silent},
	},
	Paid: {
		Return:  {Returned, Restore, PaymentRefunded},
		Decline: {Disputed, None, Silent}, // paid, says the rail, and then not
	},
	Failed: {
		Accept: {Disputed, Suspend, Silent}, // declined, says the rail, and then paid
	},
}

// Next returns what the event does in the state; fault.WrongState if the table
// has no such step. It is the only reader of the table.
func Next(s State, e Event) (Step, error) {
	step, ok := steps[s][e]
	if !ok {
		return Step{}, fault.New(fault.WrongState, "%s is not possible while the payout is %s", e, s)
	}
	return step, nil
}

// Final reports whether the partner has been told the end.
func (s State) Final() bool {
	switch s {
	case Paid, Failed, Cancelled, Returned, Disputed:
		return true
	}
	return false
}

// Holds reports whether money is held for a payout in this state.
func (s State) Holds() bool {
	switch s {
	case Awaiting, Confirmed, Sent, Unclear:
		return true
	}
	return false
}
