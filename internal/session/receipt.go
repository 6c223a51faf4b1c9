package session

import (
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// Fiscal is what the partner says of the receipt that a payout is to have
// (wire reference, extensions §3.7).
type Fiscal struct {
	INN      string     `json:"tax_reference"`
	Services []tax.Item `json:"services"` // 1 to 6, in roubles
	Payer    tax.Payer  `json:"payer,omitzero"`
	// Alone says that no money is moved: the receipt is all there is.
	Alone bool `json:"alone,omitempty"`
}

// Total is the income that the receipt is about: the sum of its services.
// money.ErrOverflow if that does not fit.
func (f *Fiscal) Total() (money.Amount, error) {
	sum := money.Amount{Currency: money.RUB}
	for _, s := range f.Services {
		if s.Quantity > 0 && s.Amount.Minor > money.MinorMax/int64(s.Quantity) {
			return money.Amount{}, money.ErrOverflow
		}
		sum.Minor += s.Amount.Minor * int64(s.Quantity)
		if sum.Minor > money.MinorMax {
			return money.Amount{}, money.ErrOverflow
		}
	}
	return sum, nil
}

// Minor is the income in kopecks; it was found to fit when it was read.
func (f *Fiscal) Minor() int64 {
	sum, err := f.Total()
	if err != nil {
		return money.MinorMax
	}
	return sum.Minor
}

// ReceiptState is where the receipt of a payout stands; the comment says who
// acts next.
type ReceiptState string

// The states. From Reserved on, the income may be counted against the person's
// yearly limit; from Released on it is not.
const (
	Reserved    ReceiptState = "reserved"    // the payout has not ended
	Due         ReceiptState = "due"         // us: commit the intent to register
	Registering ReceiptState = "registering" // tax service: answer
	Refused     ReceiptState = "refused"     // operators: the income was paid and can't be registered
	Registered  ReceiptState = "registered"  // nobody, unless the money comes back
	Undoing     ReceiptState = "undoing"     // tax service: answer, so that the receipt can be cancelled
	Cancelling  ReceiptState = "cancelling"  // us: have the receipt cancelled
	Annulled    ReceiptState = "annulled"    // nobody: the receipt is cancelled
	Releasing   ReceiptState = "releasing"   // us: give back what is counted
	Released    ReceiptState = "released"    // nobody
)

// ReceiptStates lists all states in the order of a receipt's life.
var ReceiptStates = []ReceiptState{
	Reserved, Due, Registering, Refused, Registered, Undoing, Cancelling, Annulled, Releasing, Released,
}

// ReceiptEvent is what happens to a receipt.
type ReceiptEvent string

// The events; the comment says who brings them.
const (
	Earn     ReceiptEvent = "earn"     // payout: it was paid, or, without one, everything was checked
	End      ReceiptEvent = "end"      // payout: it ended without success
	Ask      ReceiptEvent = "ask"      // us: the intent to register is committed
	Register ReceiptEvent = "register" // tax service: registered
	Deny     ReceiptEvent = "deny"     // tax service: not registered
	Retry    ReceiptEvent = "retry"    // operator, or clock: ask once more
	Undo     ReceiptEvent = "undo"     // payout: the money came back; partner: fiscalization/cancel
	Annul    ReceiptEvent = "annul"    // tax service: the receipt is cancelled
	Free     ReceiptEvent = "free"     // us: nothing is counted any more
)

// ReceiptEvents lists all events in the order of a receipt's life.
var ReceiptEvents = []ReceiptEvent{Earn, End, Ask, Register, Deny, Retry, Undo, Annul, Free}

// receiptSteps is the whole life of a receipt; a pair that is not here is
// refused. Once the service was asked nobody can say that there is no receipt
// before it has answered: what is to be undone then is registered first, and
// cancelled.
var receiptSteps = map[ReceiptState]map[ReceiptEvent]ReceiptState{
	Reserved:    {Earn: Due, End: Releasing},
	Due:         {Ask: Registering, Undo: Releasing},
	Registering: {Register: Registered, Deny: Refused, Undo: Undoing, End: Releasing},
	Refused:     {Retry: Registering, Undo: Releasing},
	Registered:  {Undo: Cancelling},
	Undoing:     {Register: Cancelling, Deny: Releasing},
	Cancelling:  {Annul: Annulled},
	Releasing:   {Free: Released},
}

// NextReceipt returns where the event takes a receipt; fault.WrongState if the
// table has no such step. It is the only reader of the table.
func NextReceipt(s ReceiptState, e ReceiptEvent) (ReceiptState, error) {
	to, ok := receiptSteps[s][e]
	if !ok {
		return "", fault.New(fault.WrongState, "%s is not possible while the receipt is %s", e, s)
	}
	return to, nil
}

// Open reports whether there is something left to do for a receipt in this
// state, once its payout has ended or moves no money.
func (s ReceiptState) Open() bool {
	switch s {
	case Due, Registering, Refused, Undoing, Cancelling, Releasing:
		return true
	}
	return false
}

// Owed reports whether an income was paid that is not registered: the law wants
// that by a day.
func (s ReceiptState) Owed() bool { return s == Due || s == Registering || s == Refused }

// Receipt is what has become of the receipt of a payout.
type Receipt struct {
	State ReceiptState
	// Cleared says that the person's status, link and limit were checked, and
	// that the income is counted against the limit.
	Cleared bool
	// Reserved is the calendar year in which the income was counted first; 0
	// before it was. Year is the one in which it was earned; 0 before that.
	Reserved, Year int
	// EarnedAt is when the person got the money; zero before.
	EarnedAt time.Time
	// Message is the question that the service has taken and not answered; ""
	// if there is none.
	Message tax.Message
	// Denied is why the service last refused to register or to cancel; "" if it
	// has not, or not since it was asked anew.
	Denied tax.Refusal
	Reason tax.Reason // why it is cancelled
	ID     string     // of the receipt at the service; "" before
	Link   string     // where it is to be seen
	// Withheld says that payment_finished waits for the receipt.
	Withheld bool
	// Alarms counts what people were told of the deadline: that it comes near,
	// and that it has passed.
	Alarms int
}

// Step takes the receipt through an event.
func (r *Receipt) Step(e ReceiptEvent) error {
	to, err := NextReceipt(r.State, e)
	if err == nil {
		r.State = to
	}
	return err
}

// Valid reports whether there is a receipt that holds.
func (r *Receipt) Valid() bool { return r != nil && r.State == Registered }

// receiptDay is the day of the next month until whose end the law wants an
// income registered that was paid in a month (wire reference, extensions §3.1).
const receiptDay = 9

// Deadline is when the day is over, in Moscow, until which the income must be
// registered; zero as long as it was not earned.
func (r *Receipt) Deadline() time.Time {
	if r.EarnedAt.IsZero() {
		return time.Time{}
	}
	at := r.EarnedAt.In(tax.Moscow)
	return time.Date(at.Year(), at.Month()+1, receiptDay+1, 0, 0, 0, 0, tax.Moscow).UTC()
}

// Operation is how the registration of a payout's income is known to the tax
// service. It is chosen with the payout, so before the first call.
func (p *Payout) Operation() string { return p.ID.String() }

// Alone reports whether the payout is a receipt and no more: no money, no
// confirmation.
func (p *Payout) Alone() bool { return p.Details.Fiscal != nil && p.Details.Fiscal.Alone }

// Moves reports whether the payout moves money.
func (p *Payout) Moves() bool { return !p.Verification() && !p.Alone() }
