package client

import "context"

// Fiscalization is what a payout to a self-employed person has beside it (wire
// reference, extensions §3.7).
type Fiscalization struct {
	Taxpayer Taxpayer `json:"professional_income_taxpayer"`
}

// Taxpayer is the person, and what the receipt says.
type Taxpayer struct {
	Services       []Service `json:"services"`      // 1 to 6
	INN            string    `json:"tax_reference"` // 12 digits
	PayerType      string    `json:"payer_type,omitempty"`
	PayerTaxNumber string    `json:"payer_tax_number,omitempty"` // of PayerLegal
	PayerName      string    `json:"payer_name,omitempty"`       // of PayerLegal
	// Receipt is in answers and webhooks, once the income is registered.
	Receipt *Receipt `json:"receipt,omitempty"`
}

// Kinds of payers (wire reference, extensions §3.7).
const (
	PayerLegal      = "legal"
	PayerIndividual = "individual"
	PayerForeign    = "foreign"
)

// Service is one line of a receipt.
type Service struct {
	Name     string `json:"name"`
	Amount   Amount `json:"amount_details"`     // of one piece, in roubles
	Quantity int    `json:"quantity,omitempty"` // 0 is 1
}

// Receipt is one that the tax service has made.
type Receipt struct {
	ID   string `json:"id"`
	Link string `json:"link,omitempty"` // where it is to be seen and printed
}

// Receipt finds the receipt of a payout; nil if there is none, or none yet.
func (p *Payout) Receipt() *Receipt {
	if p.Fiscal == nil {
		return nil
	}
	return p.Fiscal.Taxpayer.Receipt
}

// StartPayoutWithReceipt is StartPayout to a self-employed person: r.Fiscal says
// what the receipt is about. The person's status, link to the bank and yearly
// limit are checked before the money, and a failed check fails the payout. The
// receipt comes with payment_finished, or later and is in Status then.
func (c *Client) StartPayoutWithReceipt(ctx context.Context, session string, r Request, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/start/payout/fiscalization", c.body(session, r), options)
}

// InitPayoutWithReceipt is InitPayout as StartPayoutWithReceipt is StartPayout.
func (c *Client) InitPayoutWithReceipt(ctx context.Context, r Request, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/init/payout/fiscalization", c.body("", r), options)
}

// RegisterIncome asks for a receipt without a payout, in a created session: no
// money moves. Without r.Amount it is about the sum of the services. The answer
// has the names of version 1, which alone has this.
func (c *Client) RegisterIncome(ctx context.Context, session string, r Request, options ...CallOption) (Session, error) {
	b := c.body(session, r)
	b.Method, b.Details = r.Details, nil
	return c.sessionIn(ctx, 1, "fiscalization", b, options)
}

// CancelReceipt has the receipts of a session's payouts cancelled; the money
// stays where it is. It is an operation of payoutd, and other servers may not
// know it.
func (c *Client) CancelReceipt(ctx context.Context, session string, options ...CallOption) (Session, error) {
	return c.sessionIn(ctx, 1, "fiscalization/cancel", requestBody{Session: session}, options)
}
