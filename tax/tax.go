// Package tax is the contract between payoutd and the tax service for
// self-employed people, who pay the tax on professional income (NPD): a partner
// of the service asks about a person, is linked to them by their consent, and
// then registers their income and gets a receipt for it. Package taxtest holds
// every connector to it.
//
// The service answers later: a question is handed over and gets the name of a
// message, under which the answer is fetched once it is there. A time-out, a
// broken connection or an unreadable answer is unknown, never a refusal: the
// same question is asked again. Registering income and cancelling a receipt
// change something, so they carry an operation of ours, chosen and committed
// before the first call, and the same operation twice counts once.
package tax

import (
	"context"
	"errors"
	"time"

	"github.com/payoutd/payoutd/money"
)

// Service is a connector to the tax service. Its methods are safe for
// concurrent use, and end soon after ctx does.
type Service interface {
	// Ask hands a question over. An error means that it may have arrived or not.
	Ask(ctx context.Context, q Question) (Message, error)
	// Answer fetches the answer to a message: ErrPending as long as there is
	// none, ErrNoMessage if the service does not know the message, or no longer.
	Answer(ctx context.Context, m Message) (Answer, error)
}

// Errors of Answer.
var (
	ErrPending   = errors.New("the tax service has not answered yet")
	ErrNoMessage = errors.New("the tax service does not know the message")
)

// IncomeMax is what a self-employed person may earn in a calendar year (Federal
// Law 422-FZ of 27 November 2018, article 4).
var IncomeMax = money.Amount{Minor: 2_400_000_00, Currency: money.RUB}

// Moscow is the zone by which the service counts days and years.
var Moscow = time.FixedZone("MSK", 3*60*60)

// YearOf is the calendar year to which an income belongs.
func YearOf(t time.Time) int { return t.In(Moscow).Year() }

// Message is the service's name of a question: 1 to 64 printable characters.
type Message string

// Kind is what a question asks for. The comments name the members of Question
// that it takes, and those of Answer that it fills.
type Kind string

// The kinds.
const (
	// GetStatus: is the person self-employed, and linked to us? INN.
	// SelfEmployed, Linked.
	GetStatus Kind = "status"
	// Link asks a person, by INN or Phone, for their consent, which they give in
	// an app of the service. Request; or Refused AlreadyLinked or NotTaxpayer.
	Link Kind = "link"
	// GetLink: what has the person answered? Request. Link, INN; or Refused
	// NoRequest.
	GetLink Kind = "link_status"
	// Unlink gives the consent back. INN. It is no fault if there is none.
	Unlink Kind = "unlink"
	// GetIncome: what has the person earned in the Year, in all registered
	// receipts less the cancelled ones, whoever has registered them? INN, Year.
	// Income; or Refused NotTaxpayer or NotLinked.
	GetIncome Kind = "income"
	// Register registers income and makes its receipt. INN, Operation, Receipt.
	// Registered; or Refused NotTaxpayer, NotLinked or LimitExceeded. The same
	// Operation again gives the same receipt, whatever else it says and whatever
	// the person has become since, and also once it is cancelled: a question may be
	// late. One that was refused so has made nothing, and is judged anew.
	Register Kind = "register"
	// Cancel cancels a receipt. INN, Operation, ReceiptID, Reason. It is no
	// fault if it is cancelled already. Refused NoReceipt if the INN has none of
	// that ID.
	Cancel Kind = "cancel"
	// ComparePerson: do name and phone fit the INN? INN, Person. Mismatched; or
	// Refused NotTaxpayer.
	ComparePerson Kind = "personal_data"
	// CountNotices: how many notifications has each person not read? INNs. Notices
	// with Count, one for each INN; who is not linked to us has none.
	CountNotices Kind = "notifications_count"
	// ReadNotices: what do they say? INNs. Notices with Texts, one for each INN.
	ReadNotices Kind = "notifications"
	// DeliverNotices says that the texts were shown to the person, and
	// AcknowledgeNotices that they were read, which takes them off the count.
	// Delivered. An identifier that is not the person's is passed over.
	DeliverNotices     Kind = "notifications_delivered"
	AcknowledgeNotices Kind = "notifications_acknowledged"
	// ListReceipts: the receipts that we have registered with an income of the
	// 24 hours that begin at Day, cancelled ones as well. Day. Receipts.
	ListReceipts Kind = "receipts"
)

// Question is one question or instruction. What its Kind does not take is zero.
type Question struct {
	Kind      Kind                `json:"kind"`
	INN       string              `json:"tax_reference,omitempty"` // 12 digits
	Phone     string              `json:"phone,omitempty"`         // 11 digits, the first is 7
	Request   string              `json:"request,omitempty"`       // of Link, as its answer named it
	Year      int                 `json:"year,omitempty"`          // calendar year in Moscow
	Operation string              `json:"operation,omitempty"`     // ours, 1 to 64 characters
	Receipt   *Income             `json:"receipt,omitempty"`
	ReceiptID string              `json:"receipt_id,omitempty"`
	Reason    Reason              `json:"reason,omitempty"`
	Person    *Person             `json:"person,omitempty"`
	INNs      []string            `json:"tax_references,omitempty"`
	Delivered map[string][]string `json:"delivered,omitempty"` // identifiers of notices, by INN
	Day       time.Time           `json:"day,omitzero"`
}

// Answer is what the service says. A refusal fills Refused and Text and nothing
// else.
type Answer struct {
	Refused Refusal `json:"refused,omitempty"`
	Text    string  `json:"text,omitempty"` // why, in words

	SelfEmployed bool         `json:"self_employed,omitempty"`
	Linked       bool         `json:"linked,omitempty"`
	Request      string       `json:"request,omitempty"` // 1 to 64 characters
	Link         LinkState    `json:"link,omitempty"`
	INN          string       `json:"tax_reference,omitempty"`
	Income       money.Amount `json:"income,omitzero"` // in roubles
	Registered   *Receipt     `json:"registered,omitempty"`
	Mismatched   []string     `json:"mismatched,omitempty"` // members of Person, by their wire names
	Notices      []Notices    `json:"notices,omitempty"`
	Receipts     []Receipt    `json:"receipts,omitempty"`
}

// Refusal is why the service will not do what was asked, in the wire's words
// (wire reference, extensions §3.10), but for the two that no partner can meet
// with. Whoever asks again is refused again as long as nothing has changed.
// Failed, a fault of the service, may go away by itself, and says nothing of what
// was done: an earlier question under the same operation may have been obeyed.
type Refusal string

// The refusals.
const (
	NotTaxpayer   Refusal = "taxpayer_unknown"
	NotLinked     Refusal = "taxpayer_not_bound"
	AlreadyLinked Refusal = "taxpayer_already_bound"
	LimitExceeded Refusal = "taxpayer_income_exceeds_amount_limit"
	Failed        Refusal = "npd_service_internal_error"
	NoRequest     Refusal = "link_request_unknown"
	NoReceipt     Refusal = "receipt_unknown"
)

// Unregistered lists those that say for sure that an operation has registered
// nothing.
var Unregistered = []Refusal{NotTaxpayer, NotLinked, LimitExceeded}

// Refusals lists all of them.
var Refusals = []Refusal{NotTaxpayer, NotLinked, AlreadyLinked, LimitExceeded, Failed, NoRequest, NoReceipt}

// LinkState is how a request for consent stands.
type LinkState string

// The states.
const (
	LinkRequested LinkState = "requested" // the person has not answered
	LinkConfirmed LinkState = "confirmed"
	LinkRejected  LinkState = "rejected"
)

// Income is what a receipt is made of.
type Income struct {
	At       time.Time `json:"at"`       // when the person got the money
	Services []Item    `json:"services"` // 1 to 6
	Payer    Payer     `json:"payer"`
}

// Item is one line of a receipt.
type Item struct {
	Name     string       `json:"name"`
	Amount   money.Amount `json:"amount"` // of one piece
	Quantity int          `json:"quantity"`
}

// Payer is who paid.
type Payer struct {
	Type PayerType `json:"type"`
	INN  string    `json:"tax_number,omitempty"` // 10 or 12 digits; of a legal payer
	Name string    `json:"name,omitempty"`
}

// PayerType is the kind of a payer.
type PayerType string

// The kinds of payers (wire reference, extensions §3.7).
const (
	PayerLegal      PayerType = "legal"
	PayerIndividual PayerType = "individual"
	PayerForeign    PayerType = "foreign"
)

// Reason is why a receipt is cancelled.
type Reason string

// The reasons that the service takes.
const (
	ReasonRefund  Reason = "refund"  // the money came back
	ReasonMistake Reason = "mistake" // the receipt should not have been made
)

// Receipt is a registered income.
type Receipt struct {
	INN       string       `json:"tax_reference"`
	Operation string       `json:"operation"`
	ID        string       `json:"id"`   // 10 lower-case letters and digits
	Link      string       `json:"link"` // where it is to be seen and printed
	Amount    money.Amount `json:"amount"`
	At        time.Time    `json:"at"` // of the income
	Cancelled bool         `json:"cancelled,omitempty"`
}

// Person is what the service is asked to compare.
type Person struct {
	LastName   string `json:"last_name,omitempty"`
	FirstName  string `json:"first_name,omitempty"`
	MiddleName string `json:"middle_name,omitempty"`
	Phone      string `json:"phone,omitempty"`
}

// Notices is what the service has to tell one person, which whoever is linked
// to them must pass on.
type Notices struct {
	INN   string   `json:"tax_reference"`
	Count int      `json:"count,omitempty"`
	Texts []Notice `json:"notifications,omitempty"`
}

// Notice is one notification.
type Notice struct {
	ID      string       `json:"id"`
	Title   string       `json:"title"`
	Message string       `json:"message"`
	Status  NoticeStatus `json:"status"`
	At      time.Time    `json:"created_at"`
}

// NoticeStatus is how far a notification has come.
type NoticeStatus string

// The statuses (wire reference, extensions §3.6).
const (
	NoticeNew          NoticeStatus = "NEW"
	NoticeAcknowledged NoticeStatus = "ACKNOWLEDGED"
	NoticeArchived     NoticeStatus = "ARCHIVED"
)
