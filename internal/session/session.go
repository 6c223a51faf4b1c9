// Package session is the life of a payout session: its states, its events, the
// one table that says which event does what in which state, and what the wire
// shows of it. It is pure: it knows no clock, no database and no network.
package session

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/money"
)

// Version is the major version of the API, 1 or 2: it decides names only.
type Version int8

// Session is one payout session with its payouts.
type Session struct {
	Project id.Project
	ID      id.Session
	// Version created the session; its webhooks use that version's names.
	Version Version
	// State is that of the only payout, of several that of the leading one (Lead),
	// or Created or Cancelled while there is none.
	State State
	// Draft is what session/create gave; the start request may replace any of it.
	Draft Details
	// Payouts is empty until the session is started. Several stand only in a
	// multi-session.
	Payouts []Payout
	// Events counts the webhook events made so far; the next is number Events+1.
	Events int
	// Fence rises with each claim of a task of this session: a worker that
	// shows an older number has lost its lease.
	Fence int64
	// Revision rises with each write; the store refuses to write over another's.
	Revision  int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Details is what the partner says of a payout. Members not sent are nil or empty.
type Details struct {
	Instrument *instrument.Instrument `json:"instrument,omitempty"`
	Amount     *money.Amount          `json:"amount,omitempty"`
	// Recipient is the name as one line, for the rail; from
	// participant_details.recipient or, once Over has put the requests together,
	// from the account.
	Recipient string `json:"recipient,omitempty"`
	// The rest is echoed as it was sent, compact and without nulls, but for
	// metadata, which stays as it is.
	Participants json.RawMessage `json:"participants,omitempty"`
	Customer     json.RawMessage `json:"customer,omitempty"`
	Metadata     json.RawMessage `json:"metadata,omitempty"`
	// Fiscal is of a payout with a receipt, and nil for others.
	Fiscal *Fiscal `json:"fiscal,omitempty"`

	// Source is what the payout is paid from, and Account the number of the
	// project's own account that it names, unless that is the wallet.
	Source  instrument.Source `json:"source,omitempty"`
	Account string            `json:"account,omitempty"`
	Extra   Extra             `json:"extra,omitzero"`
}

// Extra is what a request may say that changes nothing here and is not echoed: it
// is kept as it was sent (wire reference, core §2.10).
type Extra struct {
	Routing  json.RawMessage `json:"custom_routing,omitempty"`
	Options  json.RawMessage `json:"payment_options,omitempty"`
	Metadata json.RawMessage `json:"payment_metadata,omitempty"`
	Split    json.RawMessage `json:"revenue_split_info,omitempty"`
}

func (e Extra) over(base Extra) Extra {
	return Extra{
		Routing: first(e.Routing, base.Routing), Options: first(e.Options, base.Options),
		Metadata: first(e.Metadata, base.Metadata), Split: first(e.Split, base.Split),
	}
}

func first(one, other json.RawMessage) json.RawMessage {
	if one == nil {
		return other
	}
	return one
}

// Over returns d with the members of base that d lacks: what a start request
// gives replaces what session/create gave. Where the participants name no
// recipient, the holder of the account is the recipient.
func (d Details) Over(base Details) Details {
	if d.Instrument == nil {
		d.Instrument = base.Instrument
	}
	if d.Amount == nil {
		d.Amount = base.Amount
	}
	if d.Participants == nil {
		d.Participants, d.Recipient, d.Account = base.Participants, base.Recipient, base.Account
	}
	d.Customer, d.Metadata = first(d.Customer, base.Customer), first(d.Metadata, base.Metadata)
	d.Extra = d.Extra.over(base.Extra)
	if d.Recipient == "" && d.Instrument != nil && d.Instrument.Account != nil {
		d.Recipient = d.Instrument.Account.FullName
	}
	return d
}

// Payout is one movement of money within a session, or one FPS verification,
// which moves none.
type Payout struct {
	ID      id.Payout
	State   State
	Details Details
	// Quote is the price of a payout in foreign currency; nil before it is made,
	// and for a payout in roubles.
	Quote *Quote
	// Transfer is what the partner has to confirm of a payout from an account of
	// its own; nil before it is checked, and for any other payout.
	Transfer *Transfer
	// Fee is ours, in minor units of roubles, fixed when the payout is started,
	// or quoted.
	Fee int64
	// Rail and Reference say who moves the money and what we call it there.
	Rail      string
	Reference string
	// Attempt counts the times the intent was committed; the reference stays.
	Attempt int
	// NeverSeen counts the rail's answers "never seen" since its window ended.
	NeverSeen int
	// UnclearAt is when the payout became unclear for the first time; zero before.
	// Alarmed says that people were told that it has been so for long.
	UnclearAt time.Time
	Alarmed   bool
	Info      TransactionInfo
	Failure   *Failure // on failed and cancelled
	// Refunds is every return that a rail has told of, in the order in which it
	// came, those that booked nothing as well.
	Refunds []Refund
	// Receipt is of a payout that is to have one; nil for others.
	Receipt *Receipt

	CreatedAt  time.Time
	SentAt     time.Time // when the intent was last committed; zero before
	FinishedAt time.Time // zero until final
}

// Verification reports whether the payout is an FPS verification: no money,
// no confirmation.
func (p *Payout) Verification() bool {
	i := p.Details.Instrument
	return i != nil && i.FPS != nil && i.FPS.Verify
}

// Foreign reports whether the payout was asked for in a foreign currency, so
// that it needs a quote before money is held.
func (p *Payout) Foreign() bool {
	return p.Details.Amount != nil && p.Details.Amount.Currency != money.RUB && p.Moves()
}

// Amount is what the payout is for: in roubles once a foreign amount has its
// quote, before that as it was asked for. Nil for a verification.
func (p *Payout) Amount() *money.Amount {
	switch {
	case p.Verification(): // session/create may have named an amount
		return nil
	case p.Quote != nil:
		return &p.Quote.Amount
	}
	return p.Details.Amount
}

// Minor is the rouble amount in kopecks that is moved; 0 where no money is, and
// for a foreign amount that has no quote yet.
func (p *Payout) Minor() int64 {
	a := p.Amount()
	if a == nil || a.Currency != money.RUB || p.Alone() {
		return 0
	}
	return a.Minor
}

// Quote is what a payout in foreign currency costs. It is made once, before the
// money is held, and never changed.
type Quote struct {
	Amount money.Amount // in roubles: what is held, sent and settled
	Rate   rate.Rate
	At     time.Time // when it was made
	Until  time.Time // when the rate is no longer locked
}

// Transfer is a payout from an account of the project's own as the bank books it.
// It is made once, before the money is held, and never changed.
type Transfer struct {
	Sender    Party  `json:"sender"`
	Recipient Party  `json:"recipient"`
	Purpose   string `json:"purpose,omitempty"`
}

// Party is one side of a transfer; members not known are empty.
type Party struct {
	Account       string `json:"account,omitempty"` // of a recipient known by a token, masked
	Name          string `json:"name,omitempty"`
	BankName      string `json:"bank_name,omitempty"`
	BIK           string `json:"bik,omitempty"`
	Correspondent string `json:"correspondent,omitempty"` // the bank's account with the Bank of Russia
	INN           string `json:"inn,omitempty"`
	KPP           string `json:"kpp,omitempty"`
}

// TransactionInfo is what the rail tells of a finished payout; members not
// known are empty (wire reference, core §2.6).
type TransactionInfo struct {
	RRN         string `json:"rrn,omitempty"`
	ARN         string `json:"arn,omitempty"`
	AuthCode    string `json:"auth_code,omitempty"`
	FPMessageID string `json:"fp_message_id,omitempty"`
	// BankAccountToken is a token of the account that was paid to, for projects
	// that ask for it.
	BankAccountToken string `json:"bank_account_ru_token,omitempty"`
}

// Failure is why a payout failed.
type Failure struct {
	Code fault.Code `json:"code"`
	Text string     `json:"description"`
}

// Informed is the payout whose transfer the partner has to confirm by sending it
// back; nil if there is none. Only one from an account of the project's own has
// one, and such a payout is alone in its session.
func (s *Session) Informed() *Payout {
	if len(s.Payouts) == 1 && s.Payouts[0].Transfer != nil {
		return &s.Payouts[0]
	}
	return nil
}

// Lead is the state of the payout that the session's end waits for: of the first
// that has not ended or, once all have, of the first that was paid, else of the
// first.
func (s *Session) Lead() State {
	paid := -1
	for i := range s.Payouts {
		p := &s.Payouts[i]
		switch {
		case !p.State.Final():
			return p.State
		case paid < 0 && p.Show().Payout == "succeeded":
			paid = i
		}
	}
	return s.Payouts[max(paid, 0)].State
}

// Clone returns a copy whose payouts can be changed without touching s.
func (s *Session) Clone() *Session {
	c := *s
	c.Payouts = append([]Payout(nil), s.Payouts...)
	for i := range c.Payouts {
		c.Payouts[i].Refunds = slices.Clone(c.Payouts[i].Refunds)
		if r := c.Payouts[i].Receipt; r != nil {
			own := *r
			c.Payouts[i].Receipt = &own
		}
	}
	return &c
}
