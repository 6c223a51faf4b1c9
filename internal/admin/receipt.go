package admin

import (
	"context"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/tax"
)

// ReceiptsRequest selects receipts for which there is something left to do; ""
// is no bound.
type ReceiptsRequest struct {
	Project id.Project           `json:"project,omitempty"`
	State   session.ReceiptState `json:"state,omitempty"`
}

// Receipt is a receipt as operators see it.
type Receipt struct {
	Project  id.Project           `json:"project"`
	Session  string               `json:"session"`
	Payout   string               `json:"payout"`
	State    session.ReceiptState `json:"state"`
	INN      string               `json:"tax_reference"`
	Amount   string               `json:"amount"` // in major units, with its currency
	EarnedAt *time.Time           `json:"earned_at,omitempty"`
	Deadline *time.Time           `json:"deadline,omitempty"` // until when it must be registered
	Denied   tax.Refusal          `json:"denied,omitempty"`   // why the tax service last refused
	Attempt  int                  `json:"attempt"`
	Next     time.Time            `json:"next"` // when it is tried again
}

// RetryRequest names a payout whose receipt is to be tried at once.
type RetryRequest struct {
	Payout string `json:"payout"` // such as "po_1"
}

// CompareRequest names a day in Moscow, such as "2026-03-02".
type CompareRequest struct {
	Day string `json:"day"`
}

// ReceiptDifference is one that a comparison has found.
type ReceiptDifference struct {
	Kind      payout.DifferenceKind `json:"kind"`
	Project   id.Project            `json:"project,omitempty"`
	Session   string                `json:"session,omitempty"`
	Payout    string                `json:"payout,omitempty"`
	Operation string                `json:"operation"`
	Receipt   string                `json:"receipt,omitempty"`
	Ours      string                `json:"ours,omitempty"` // amounts in major units, with their currency
	Theirs    string                `json:"theirs,omitempty"`
}

func (d *desk) receipts(ctx context.Context, in ReceiptsRequest) ([]Receipt, error) {
	if in.State != "" && (!slices.Contains(session.ReceiptStates, in.State) || !in.State.Open()) {
		return nil, fault.New(fault.Invalid, "state: want due, registering, refused, undoing, cancelling or releasing")
	}
	if _, ok := d.engine.Caller(in.Project); in.Project != "" && !ok {
		return nil, fault.New(fault.NotFound, "no project %s", in.Project)
	}
	open, err := d.engine.OpenReceipts(ctx, in.Project, in.State)
	if err != nil {
		return nil, err
	}
	shown := make([]Receipt, len(open))
	for i, r := range open {
		shown[i] = showReceipt(r)
	}
	return shown, nil
}

func showReceipt(r payout.OpenReceipt) Receipt {
	return Receipt{
		Project: r.Project, Session: r.Session.String(), Payout: r.Payout.String(), State: r.State, INN: r.INN,
		Amount: r.Amount.String(), EarnedAt: known(r.EarnedAt), Deadline: known(r.Deadline), Denied: r.Denied,
		Attempt: r.Attempt, Next: r.Next,
	}
}

func (d *desk) retry(ctx context.Context, in RetryRequest) (Receipt, error) {
	p, err := id.ParsePayout(in.Payout)
	if err != nil {
		return Receipt{}, fault.Wrap(fault.Invalid, err, "payout: %v", err)
	}
	r, err := d.engine.RetryReceipt(ctx, p)
	if err != nil {
		return Receipt{}, err
	}
	d.log.InfoContext(ctx, "receipt tried again", "project", r.Project, "payout", p, "state", r.State)
	return showReceipt(r), nil
}

func (d *desk) compare(ctx context.Context, in CompareRequest) ([]ReceiptDifference, error) {
	day, err := time.ParseInLocation(time.DateOnly, in.Day, tax.Moscow)
	if err != nil {
		return nil, fault.New(fault.Invalid, "day: want a date in Moscow, such as 2026-03-02")
	}
	found, err := d.engine.CompareReceipts(ctx, day)
	if err != nil {
		return nil, err
	}
	shown := make([]ReceiptDifference, len(found))
	for i, f := range found {
		shown[i] = ReceiptDifference{Kind: f.Kind, Project: f.Project, Operation: f.Operation, Receipt: f.Receipt}
		if f.Payout != 0 {
			shown[i].Session, shown[i].Payout, shown[i].Ours = f.Session.String(), f.Payout.String(), f.Ours.String()
		}
		if f.Theirs.Currency != "" {
			shown[i].Theirs = f.Theirs.String()
		}
	}
	return shown, nil
}

// Receipts lists receipts for which there is something left to do, the most
// urgent first.
func (c *Client) Receipts(ctx context.Context, r ReceiptsRequest) ([]Receipt, error) {
	return call[[]Receipt](ctx, c, opReceipts, r)
}

// RetryReceipt tries a receipt at once; it returns it as it was before.
func (c *Client) RetryReceipt(ctx context.Context, r RetryRequest) (Receipt, error) {
	return call[Receipt](ctx, c, opRetry, r)
}

// CompareReceipts compares the receipts of a day with those of the tax service.
func (c *Client) CompareReceipts(ctx context.Context, r CompareRequest) ([]ReceiptDifference, error) {
	return call[[]ReceiptDifference](ctx, c, opCompare, r)
}
