package codec

import (
	stdjson "encoding/json"

	"github.com/go-json-experiment/json"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// details is the stored form of session.Details. What the partner sent stands
// in strings, because JSON within JSON would be written anew and lose its bytes.
type details struct {
	Instrument   *instrument.Instrument `json:"instrument,omitzero"`
	Amount       *money.Amount          `json:"amount,omitzero"`
	Recipient    string                 `json:"recipient,omitzero"`
	Participants string                 `json:"participants,omitzero"`
	Customer     string                 `json:"customer,omitzero"`
	Metadata     string                 `json:"metadata,omitzero"`
	Fiscal       *session.Fiscal        `json:"fiscal,omitzero"`
	Source       instrument.Source      `json:"source,omitzero"`
	Account      string                 `json:"account,omitzero"`
	Routing      string                 `json:"custom_routing,omitzero"`
	Options      string                 `json:"payment_options,omitzero"`
	PaymentMeta  string                 `json:"payment_metadata,omitzero"`
	Split        string                 `json:"revenue_split_info,omitzero"`
}

// EncodeDetails returns "" for details that say nothing.
func EncodeDetails(d session.Details) (string, error) {
	doc := details{
		Instrument:   d.Instrument,
		Amount:       d.Amount,
		Recipient:    d.Recipient,
		Participants: string(d.Participants),
		Customer:     string(d.Customer),
		Metadata:     string(d.Metadata),
		Fiscal:       d.Fiscal,
		Source:       d.Source,
		Account:      d.Account,
		Routing:      string(d.Extra.Routing),
		Options:      string(d.Extra.Options),
		PaymentMeta:  string(d.Extra.Metadata),
		Split:        string(d.Extra.Split),
	}
	if doc == (details{}) {
		return "", nil
	}
	b, err := json.Marshal(&doc)
	return string(b), err
}

// DecodeDetails is the reverse of EncodeDetails.
func DecodeDetails(text []byte) (session.Details, error) {
	if len(text) == 0 {
		return session.Details{}, nil
	}
	var doc details
	if err := json.Unmarshal(text, &doc); err != nil {
		return session.Details{}, err
	}
	return session.Details{
		Instrument:   doc.Instrument,
		Amount:       doc.Amount,
		Recipient:    doc.Recipient,
		Participants: raw(doc.Participants),
		Customer:     raw(doc.Customer),
		Metadata:     raw(doc.Metadata),
		Fiscal:       doc.Fiscal,
		Source:       doc.Source,
		Account:      doc.Account,
		Extra: session.Extra{
			Routing: raw(doc.Routing), Options: raw(doc.Options), Metadata: raw(doc.PaymentMeta), Split: raw(doc.Split),
		},
	}, nil
}

func raw(s string) stdjson.RawMessage {
	if s == "" {
		return nil
	}
	return stdjson.RawMessage(s)
}

// progress is the stored form of what changes in a payout, but for its state.
// A new member of session.Payout that changes goes here and into the two
// functions below; rows written before lack it and read as zero.
type progress struct {
	Quote      *quote                  `json:"quote,omitzero"`
	Transfer   *session.Transfer       `json:"transfer,omitzero"`
	Fee        int64                   `json:"fee,omitzero"`
	Rail       string                  `json:"rail,omitzero"`
	Reference  string                  `json:"reference,omitzero"`
	Attempt    int                     `json:"attempt,omitzero"`
	NeverSeen  int                     `json:"never_seen,omitzero"`
	Info       session.TransactionInfo `json:"info,omitzero"`
	Failure    *session.Failure        `json:"failure,omitzero"`
	UnclearAt  int64                   `json:"unclear_at,omitzero"`
	Alarmed    bool                    `json:"alarmed,omitzero"`
	SentAt     int64                   `json:"sent_at,omitzero"`
	FinishedAt int64                   `json:"finished_at,omitzero"`
	Refunds    []refund                `json:"refunds,omitzero"`
	Receipt    *receipt                `json:"receipt,omitzero"`
}

// refund is the stored form of session.Refund.
type refund struct {
	ID         id.Refund            `json:"id"`
	Status     session.RefundStatus `json:"status"`
	Reference  string               `json:"reference"`
	Amount     money.Amount         `json:"amount"`
	Fee        int64                `json:"fee,omitzero"`
	At         int64                `json:"at"`
	CreatedAt  int64                `json:"created_at"`
	FinishedAt int64                `json:"finished_at,omitzero"`
}

// receipt is the stored form of session.Receipt.
type receipt struct {
	State    session.ReceiptState `json:"state"`
	Cleared  bool                 `json:"cleared,omitzero"`
	Reserved int                  `json:"reserved,omitzero"`
	Year     int                  `json:"year,omitzero"`
	EarnedAt int64                `json:"earned_at,omitzero"`
	Message  tax.Message          `json:"message,omitzero"`
	Denied   tax.Refusal          `json:"denied,omitzero"`
	Reason   tax.Reason           `json:"reason,omitzero"`
	ID       string               `json:"id,omitzero"`
	Link     string               `json:"link,omitzero"`
	Withheld bool                 `json:"withheld,omitzero"`
	Alarms   int                  `json:"alarms,omitzero"`
}

func encodeReceipt(r *session.Receipt) *receipt {
	if r == nil {
		return nil
	}
	return &receipt{
		r.State, r.Cleared, r.Reserved, r.Year, Micros(r.EarnedAt), r.Message, r.Denied, r.Reason, r.ID, r.Link, r.Withheld, r.Alarms,
	}
}

func (r *receipt) decode() *session.Receipt {
	if r == nil {
		return nil
	}
	return &session.Receipt{
		State: r.State, Cleared: r.Cleared, Reserved: r.Reserved, Year: r.Year, EarnedAt: Instant(r.EarnedAt), Message: r.Message,
		Denied: r.Denied, Reason: r.Reason, ID: r.ID, Link: r.Link, Withheld: r.Withheld, Alarms: r.Alarms,
	}
}

// quote is the stored form of session.Quote; times are in microseconds.
type quote struct {
	Amount money.Amount `json:"amount"`
	Price  int64        `json:"price"` // hundred-millionths of a rouble
	Source string       `json:"source"`
	RateAt int64        `json:"rate_at"`
	At     int64        `json:"at"`
	Until  int64        `json:"until"`
}

func encodeQuote(q *session.Quote) *quote {
	if q == nil {
		return nil
	}
	return &quote{
		Amount: q.Amount, Price: int64(q.Rate.Price), Source: q.Rate.Source, RateAt: Micros(q.Rate.At), At: Micros(q.At), Until: Micros(q.Until),
	}
}

func (q *quote) decode() *session.Quote {
	if q == nil {
		return nil
	}
	return &session.Quote{
		Amount: q.Amount, Rate: rate.Rate{Price: rate.Price(q.Price), Source: q.Source, At: Instant(q.RateAt)}, At: Instant(q.At), Until: Instant(q.Until),
	}
}

// EncodeProgress gives what changes in a payout, but for its state.
func EncodeProgress(p *session.Payout) (string, error) {
	var refunds []refund
	for _, r := range p.Refunds {
		refunds = append(refunds, refund{r.ID, r.Status, r.Reference, r.Amount, r.Fee, Micros(r.At), Micros(r.CreatedAt), Micros(r.FinishedAt)})
	}
	b, err := json.Marshal(&progress{
		Quote:      encodeQuote(p.Quote),
		Transfer:   p.Transfer,
		Fee:        p.Fee,
		Rail:       p.Rail,
		Reference:  p.Reference,
		Attempt:    p.Attempt,
		NeverSeen:  p.NeverSeen,
		Info:       p.Info,
		Failure:    p.Failure,
		UnclearAt:  Micros(p.UnclearAt),
		Alarmed:    p.Alarmed,
		SentAt:     Micros(p.SentAt),
		FinishedAt: Micros(p.FinishedAt),
		Refunds:    refunds,
		Receipt:    encodeReceipt(p.Receipt),
	})
	return string(b), err
}

// DecodeProgress is the reverse of EncodeProgress; it sets the members of p.
func DecodeProgress(text []byte, p *session.Payout) error {
	var doc progress
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	p.Quote, p.Transfer, p.Fee = doc.Quote.decode(), doc.Transfer, doc.Fee
	p.Rail, p.Reference = doc.Rail, doc.Reference
	p.Attempt, p.NeverSeen = doc.Attempt, doc.NeverSeen
	p.Info, p.Failure = doc.Info, doc.Failure
	p.UnclearAt, p.Alarmed = Instant(doc.UnclearAt), doc.Alarmed
	p.SentAt, p.FinishedAt = Instant(doc.SentAt), Instant(doc.FinishedAt)
	p.Receipt = doc.Receipt.decode()
	p.Refunds = nil
	for _, r := range doc.Refunds {
		p.Refunds = append(p.Refunds, session.Refund{
			ID: r.ID, Status: r.Status, Reference: r.Reference, Amount: r.Amount, Fee: r.Fee,
			At: Instant(r.At), CreatedAt: Instant(r.CreatedAt), FinishedAt: Instant(r.FinishedAt),
		})
	}
	return nil
}
