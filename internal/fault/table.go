package fault

import "net/http"

// A Row says what a code means to the partner.
type Row struct {
	Wire Code   // the code that the partner sees
	HTTP int    // status of an answer that carries it; 0 where it is only ever a payout's error
	Text string // its meaning in a few words
}

// rows is every code of the wire (wire reference, core §1.5 and §1.7) and of
// our own. Codes may be added without notice, says the reference: add a row.
var rows = map[Code]Row{
	Unidentified:    {Unidentified, http.StatusUnauthorized, "the project could not be identified"},
	Unauthenticated: {Unauthenticated, http.StatusUnauthorized, "the signature check failed"},
	Unauthorized:    {Unauthorized, http.StatusForbidden, "the project lacks the right for this operation"},
	Invalid:         {Invalid, http.StatusBadRequest, "the request is malformed or a field is wrong"},
	KeyExists:       {KeyExists, http.StatusBadRequest, "a request with this idempotency key is already in progress or processed"},
	WrongState:      {WrongState, http.StatusBadRequest, "the operation is not possible in the present session status"},
	Internal:        {Internal, http.StatusInternalServerError, "internal failure; retry later"},

	Busy:     {Internal, http.StatusServiceUnavailable, "too busy; send the same request again later"},
	NotFound: {Invalid, http.StatusBadRequest, "no such session"},
	NoRoute:  {Invalid, http.StatusNotFound, "no such path"},
	BadVerb:  {Invalid, http.StatusMethodNotAllowed, "the path does not take this HTTP method"},
	TooLarge: {Invalid, http.StatusRequestEntityTooLarge, "the body is too large"},
	Stale:    {Internal, http.StatusInternalServerError, "internal failure; retry later"},

	TokenExpired: {Invalid, http.StatusBadRequest, "the public token has expired"},
	TokenUsed:    {Invalid, http.StatusBadRequest, "the public token has been used"},
	TooMany:      {Invalid, http.StatusBadRequest, "too many attempts with the public token"},
	Throttled:    {Internal, http.StatusTooManyRequests, "too many requests; come back later"},
	Restoring:    {Internal, http.StatusServiceUnavailable, "held back after a restore of the database; send the same request again later"},

	"session_cancelled":                    {"session_cancelled", 0, "the session was cancelled"},
	CancelledByPartner:                     {CancelledByPartner, 0, "the partner cancelled the session"},
	ConfirmTimeout:                         {ConfirmTimeout, 0, "no confirmation came in time"},
	"capture_timeout":                      {"capture_timeout", 0, "no capture came in time"},
	"operation_rejected":                   {"operation_rejected", 0, "rejected for security reasons"},
	RoutingInternal:                        {RoutingInternal, 0, "no route or terms for this payout"},
	"wallet_internal_error":                {"wallet_internal_error", 0, "the balance operation failed"},
	InsufficientBalance:                    {InsufficientBalance, 0, "the balance does not cover the payout and its fee"},
	"insufficient_funds":                   {"insufficient_funds", 0, "not enough money on the card"},
	"bank_card_expired":                    {"bank_card_expired", 0, "the card has expired"},
	"card_number_does_not_exist":           {"card_number_does_not_exist", 0, "no such card number"},
	BindingInactive:                        {BindingInactive, 0, "the card is not verified or its binding is switched off"},
	"activity_count_exceeded":              {"activity_count_exceeded", 0, "the activity limit is exceeded"},
	"declined_by_issuer_bank":              {"declined_by_issuer_bank", 0, "the issuer declined the operation"},
	"not_permitted_by_issuer_bank":         {"not_permitted_by_issuer_bank", 0, "the issuer does not permit the operation"},
	AccountNotFound:                        {AccountNotFound, 0, "the recipient's account was not found"},
	ProviderMinimum:                        {ProviderMinimum, 0, "the amount is below the provider's minimum"},
	ProviderMaximum:                        {ProviderMaximum, 0, "the amount is above the provider's limit"},
	"provider_foreign_transfer_prohibited": {"provider_foreign_transfer_prohibited", 0, "the provider does not transfer to foreign cards"},
	"provider_issuer_unavailable":          {"provider_issuer_unavailable", 0, "the provider cannot reach the issuer"},
	ProviderInternal:                       {ProviderInternal, 0, "the provider failed"},
	ProviderTimeout:                        {ProviderTimeout, 0, "the provider did not answer in time"},
	"refund_amount_too_large":              {"refund_amount_too_large", http.StatusBadRequest, "the refund is above the permitted maximum"},
	"3DS_error":                            {"3DS_error", 0, "3-D Secure failed"},
	TaxpayerUnknown:                        {TaxpayerUnknown, http.StatusBadRequest, "the INN does not belong to a self-employed person"},
	TaxpayerUnbound:                        {TaxpayerUnbound, 0, "the self-employed person is not linked"},
	TaxpayerBound:                          {TaxpayerBound, http.StatusBadRequest, "the self-employed person is already linked"},
	TaxpayerLimit:                          {TaxpayerLimit, 0, "the yearly income limit would be exceeded"},
	TaxFailed:                              {TaxFailed, http.StatusInternalServerError, "the tax service failed"},
}

// Lookup returns the row of a code; a code without one counts as Internal.
func Lookup(c Code) Row {
	if r, ok := rows[c]; ok {
		return r
	}
	return rows[Internal]
}

// Known reports whether the code has a row.
func Known(c Code) bool { _, ok := rows[c]; return ok }

// Codes returns all codes that have a row, in no order.
func Codes() []Code {
	all := make([]Code, 0, len(rows))
	for c := range rows {
		all = append(all, c)
	}
	return all
}
