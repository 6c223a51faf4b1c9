// Package wire is the JSON of the API, both ways: requests read and checked
// field by field, sessions, webhooks and errors written in the names of either
// version. It knows nothing of HTTP. Every fact in it comes from the wire
// reference.
package wire

import (
	"encoding/json"
	"strings"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/tax"
)

// Op is an operation of the API, by its path.
type Op string

// The operations that take a body of their own.
const (
	OpCreate  Op = "session/create"
	OpStart   Op = "session/start/payout"
	OpInit    Op = "session/init/payout"
	OpStatus  Op = "session/status"
	OpConfirm Op = "session/confirm"
	OpCancel  Op = "session/cancel"
	OpVerify  Op = "fps/customer_verification"
	OpBalance Op = "wallet/balance"
	OpBanks   Op = "fps/banks"

	OpToken    Op = "token"
	OpInfo     Op = "token/info"
	OpTokenize Op = "tokenize"
	OpElements Op = "tokenize/elements"

	OpCalculate Op = "calculate"

	OpNPDCheck  Op = "npd/check"
	OpNPDPerson Op = "npd/taxpayer/check_personal_info"
	OpNPDStatus Op = "npd/request/status"
	OpNotices   Op = "npd/notifications/count"
	OpRead      Op = "npd/notifications/read"
	OpDelivered Op = "npd/notifications/mark_as_delivered"
	OpUpdate    Op = "npd/notifications/update"

	OpStartFiscal    Op = "session/start/payout/fiscalization"
	OpInitFiscal     Op = "session/init/payout/fiscalization"
	OpFiscal         Op = "fiscalization"
	OpFiscalCancel   Op = "fiscalization/cancel"
	OpMulti          Op = "session/multi/init"
	OpCreateRKO      Op = "session/create/rko"
	OpStartRKO       Op = "session/start/payout/rko"
	OpInitRKO        Op = "session/init/payout/rko"
	OpCreateNominal  Op = "session/create/nominal"
	OpStartNominal   Op = "session/start/payout/nominal"
	OpInitNominal    Op = "session/init/payout/nominal"
	OpAccountBalance Op = "report/account_balance"
	OpStatement      Op = "report/account_statement"
)

// Ops lists all operations.
var Ops = []Op{
	OpCreate, OpStart, OpInit, OpStatus, OpConfirm, OpCancel, OpVerify, OpBalance, OpBanks, OpToken, OpInfo, OpTokenize,
	OpElements, OpCalculate, OpNPDCheck, OpNPDPerson, OpNPDStatus, OpNotices, OpRead, OpDelivered, OpUpdate, OpStartFiscal,
	OpInitFiscal, OpFiscal, OpFiscalCancel,
	OpMulti, OpCreateRKO, OpStartRKO, OpInitRKO, OpCreateNominal, OpStartNominal, OpInitNominal, OpAccountBalance, OpStatement,
}

// Keyed reports whether an idempotency key has an effect on the operation:
// whether it changes a session.
func (op Op) Keyed() bool {
	switch base, _ := op.source(); base {
	case OpCreate, OpStart, OpInit, OpConfirm, OpCancel, OpVerify, OpMulti, OpStartFiscal, OpInitFiscal, OpFiscal, OpFiscalCancel:
		return true
	default:
		return false
	}
}

// source splits off what the payouts of an operation are paid from: its last
// word, for accounts of the project's own.
func (op Op) source() (Op, instrument.Source) {
	for _, s := range instrument.Sources {
		if base, ok := strings.CutSuffix(string(op), "/"+string(s)); ok {
			return Op(base), s
		}
	}
	return op, ""
}

// Request is what a body said, checked.
type Request struct {
	Session id.Session // 0 where none was sent
	Details session.Details
	// Items are the payouts of session/multi/init, each with the members of a
	// request that a payout needs.
	Items []Request
	// Information is confirm_information as session/confirm sends it back; nil
	// where none was sent.
	Information json.RawMessage
	// Report is of the reports on accounts alone.
	Report Report
	// PAN is the open card number of Details.Instrument.Card, to be sealed
	// before anything is written; "" for other instruments.
	PAN instrument.PAN
	// Spent is the token by which the instrument is to be found, and what else
	// was sent beside it that was issued by this server; of token/info, what is
	// asked about. Empty for other instruments.
	Spent []Spent
	// Tokens is of the operations on tokens alone.
	Tokens Tokens
	// Exchange is of calculate alone.
	Exchange Exchange
	// Question is for the tax service, of the operations on self-employed people,
	// but for npd/request/status, which names an earlier one by NPD.
	Question tax.Question
	NPD      id.NPDRequest
	// Warnings are checks that failed in a mode that only warns; for the log.
	Warnings []string
}

// names are the words in which the versions differ (wire reference, core §1.2).
type names struct {
	details string // a payout's instrument
	list    string // a session's payouts
}

var namesOf = map[session.Version]names{
	1: {details: "payment_method", list: "payments"},
	2: {details: "payout_details", list: "payout_list"},
}

// Members of a request that more than one file speaks of.
const (
	amountDetails      = "amount_details"
	participantDetails = "participant_details"
	fiscalization      = "fiscalization_details"
	recipientName      = participantDetails + ".recipient.full_name"
	SenderAccount      = participantDetails + ".sender.account"
	confirmInformation = "confirm_information"
	PayoutList         = "payout_list"
	paymentList        = "payment_list"
	accountNumber      = "account_number"
)

// Reasons that more than one check gives.
const (
	isRequired    = "required"
	nameRequired  = "required, or first_name and last_name"
	mustBeObject  = "must be an object"
	mustBeText    = "must be a string"
	isUnsupported = "is not supported by this server"
)
