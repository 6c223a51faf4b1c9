// Package rail is the contract between payoutd and whoever moves the money: a
// card network, a bank, the faster payment system, a wallet. Package railtest
// holds every connector to it.
//
// The rule behind all of it: money must not leave twice. Send takes a reference
// that payoutd chose and committed before the call, and the same reference pays
// once however often it is sent. A time-out, a broken connection or an
// unreadable answer is Unknown, never Failed: payoutd then asks, and does not
// send again before the rail's own window has passed.
package rail

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/money"
)

// Rail moves money of one or more methods. Its methods are safe for concurrent
// use, and end soon after ctx does.
type Rail interface {
	// Name is its name in the ledger and the settings: short, lower case.
	Name() string
	// Terms are what payoutd must know to be patient with it.
	Terms() Terms
	// Check says before confirmation whether the destination is possible. An
	// error means that it could not be found out; payoutd asks again.
	Check(ctx context.Context, o Order, open Opener) (Verdict, error)
	// Send pays, once per reference. An error is the same as Unknown.
	Send(ctx context.Context, o Order, open Opener) (Outcome, error)
	// Query says what became of a reference. An error is the same as Unknown.
	Query(ctx context.Context, reference string) (Outcome, error)
}

// Returner is a rail whose payments may come back after they were paid,
// because the recipient's bank does not take them.
type Returner interface {
	Rail
	// Returns gives every return to take, those of the past first that were
	// never taken, and goes on until ctx ends. One that take has an error for is
	// given again later; one that was taken may be. It returns nil when ctx ends;
	// after an error it is called again.
	Returns(ctx context.Context, take func(context.Context, Return) error) error
}

// Return is money that came back.
type Return struct {
	// Reference is the rail's own name of the return, the same whenever and
	// wherever it is told: by Returns and in a statement. 1 to 64 characters.
	Reference string
	// Payment is our reference of the payment, as Send had it.
	Payment string
	Amount  money.Amount
	At      time.Time // when it came back, in UTC
}

// Terms are the promises of a rail about time.
type Terms struct {
	// SendDeadline is how long Send may take before payoutd stops waiting.
	SendDeadline time.Duration
	// Visibility is how long after SendDeadline a payment may still be
	// invisible to Query: only after that does NeverSeen mean anything.
	Visibility time.Duration
	// Booking is how long after its final answer a movement may come into a
	// statement: what is not in the statement of a period may be in the next one
	// if it was told no longer than this before the period's end.
	Booking time.Duration
}

// Order is one payout as the rail sees it.
type Order struct {
	Reference   string // ours, at most 35 characters
	Destination instrument.Instrument
	Amount      money.Amount // zero for an FPS verification
	Recipient   string       // name on one line; may be empty
}

// Opener opens the sealed card number for this one call; nil for other
// methods. The caller must not keep what it returns.
type Opener func(ctx context.Context) (digits []byte, err error)

// Verdict is the answer of Check.
type Verdict struct {
	// Refused is "" if the payout is possible, else the code to fail it with.
	Refused Code
	// Text says why in words, for the partner.
	Text string
	// Bank is the recipient's, of a possible payout to an account; empty where the
	// rail does not know it.
	Bank Bank
}

// Bank is a bank of a recipient.
type Bank struct {
	Name          string
	Correspondent string // its account with the Bank of Russia, 20 digits
}

// Status is what is known of a payment.
type Status string

// The statuses.
const (
	Unknown   Status = "unknown"    // it cannot be told now
	Accepted  Status = "accepted"   // under way; the final answer comes later
	Succeeded Status = "succeeded"  // paid
	Failed    Status = "failed"     // not paid, and never will be under this reference
	NeverSeen Status = "never_seen" // Query only: no such reference
)

// Outcome is the answer of Send and Query.
type Outcome struct {
	Status Status
	Code   Code   // of Failed
	Text   string // of Failed, in words, for the partner
	Info   Info   // of Succeeded
}

// Info is what a rail tells of a payment; what it does not know is empty.
type Info struct {
	RRN         string // retrieval reference number, 12 digits
	ARN         string // acquirer reference number
	AuthCode    string // 6 characters
	FPMessageID string // FPS message
}

// Code is why a payment was refused, in the wire's words (core §1.7).
type Code string

// The codes that rails give.
const (
	OperationRejected Code = "operation_rejected"
	CardExpired       Code = "bank_card_expired"
	CardUnknown       Code = "card_number_does_not_exist"
	CardInactive      Code = "binding_is_deactivated"
	ActivityExceeded  Code = "activity_count_exceeded"
	IssuerDeclined    Code = "declined_by_issuer_bank"
	IssuerForbids     Code = "not_permitted_by_issuer_bank"
	AccountNotFound   Code = "account_not_found"
	AmountTooSmall    Code = "amount_less_allowed_provider"
	AmountTooLarge    Code = "provider_exceeds_amount_limit"
	ForeignProhibited Code = "provider_foreign_transfer_prohibited"
	IssuerUnavailable Code = "provider_issuer_unavailable"
	ProviderInternal  Code = "provider_internal_error"
)

// Codes lists all of them.
var Codes = []Code{
	OperationRejected, CardExpired, CardUnknown, CardInactive, ActivityExceeded, IssuerDeclined, IssuerForbids,
	AccountNotFound, AmountTooSmall, AmountTooLarge, ForeignProhibited, IssuerUnavailable, ProviderInternal,
}
