// Package fault is the only error vocabulary that crosses packages: an Error
// has a code of the wire, a text that is safe to show the partner, and a cause
// that only the log sees.
package fault

import (
	"errors"
	"fmt"
)

// Code is an error code of the wire (wire reference, core §1.7) or one of the
// few of our own that the API translates before a partner sees them.
type Code string

// Codes of refused requests.
const (
	Unidentified    Code = "identification_error"
	Unauthenticated Code = "authentication_error"
	Unauthorized    Code = "authorization_error"
	Invalid         Code = "invalid_request"
	KeyExists       Code = "idempotency_key_already_exists"
	WrongState      Code = "session_wrong_state"
	Internal        Code = "internal_error"
)

// Codes of our own: partners see the wire code that Wire gives.
const (
	Busy     Code = "busy"      // send the same request again later
	NotFound Code = "not_found" // no such row, or another project's
	NoRoute  Code = "no_route"  // no such path
	BadVerb  Code = "bad_verb"  // the path exists, the HTTP method does not
	TooLarge Code = "too_large" // the body is above the limit
	Stale    Code = "stale"     // a worker that has lost its lease; nobody outside sees it

	TokenExpired Code = "token_expired" // a public token past its end
	TokenUsed    Code = "token_used"    // a public token whose one operation is done
	TooMany      Code = "too_many"      // attempts: the public token is used up by them
	Throttled    Code = "throttled"     // too often: the caller may come back later
	Restoring    Code = "restoring"     // held back after a restore of the database; as Busy, and for longer
)

// Codes of operations that failed; they stand in a payout's error.
const (
	CancelledByPartner  Code = "session_cancelled_by_partner"
	ConfirmTimeout      Code = "confirm_timeout"
	InsufficientBalance Code = "insufficient_wallet_balance"
	ProviderTimeout     Code = "provider_timeout"
	ProviderInternal    Code = "provider_internal_error"
	RoutingInternal     Code = "routing_internal_error"
	AccountNotFound     Code = "account_not_found"
	BindingInactive     Code = "binding_is_deactivated"
	ProviderMinimum     Code = "amount_less_allowed_provider"
	ProviderMaximum     Code = "provider_exceeds_amount_limit"
)

// Codes of what the tax service says of self-employed people.
const (
	TaxpayerUnknown Code = "taxpayer_unknown"
	TaxpayerUnbound Code = "taxpayer_not_bound"
	TaxpayerBound   Code = "taxpayer_already_bound"
	TaxpayerLimit   Code = "taxpayer_income_exceeds_amount_limit"
	TaxFailed       Code = "npd_service_internal_error"
)

// An Error is a refusal or a failure with its code.
type Error struct {
	Code  Code
	Text  string // for the partner
	Cause error  // for the log; may be nil
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Text, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Text)
}

func (e *Error) Unwrap() error { return e.Cause }

// New returns an Error whose text is made as by fmt.Sprintf.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error with a cause for the log.
func Wrap(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...), Cause: cause}
}

// CodeOf finds the *Error inside err; an error without one is Internal.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
