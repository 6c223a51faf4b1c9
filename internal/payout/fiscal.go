package payout

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/tax"
)

const (
	taxTimeout  = 10 * time.Second // of one call of the tax service
	taxGapFirst = 10 * time.Millisecond
	taxGapMax   = time.Second     // between two calls of one task
	receiptWait = 2 * time.Second // of one task for an answer; then it lets others have its place
)

// clear asks the tax service whether a person may be paid: status, link and
// yearly limit, of which it reserves the income. It goes on until the payout's
// deadline, in one task: an answer that takes long is not asked for twice.
func (w *taskWorker) clear(ctx context.Context, with errand, p *session.Payout) error {
	refuse := func(code fault.Code) error {
		return w.report(ctx, &checked{errand: with, refused: code, text: fault.Lookup(code).Text})
	}
	left := p.CreatedAt.Add(checkDeadline).Sub(w.now())
	if left <= 0 || w.tax == nil {
		return refuse(taxFailed)
	}
	limited, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	code, err := w.clears(limited, with, p)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && limited.Err() != nil:
		w.log.Warn("the tax service has not answered in time", "payout", p.ID, "error", err)
		return refuse(taxFailed)
	case err != nil:
		return err
	case code == codePast:
		return fault.New(fault.Stale, "the payout has ended")
	case code != "":
		return refuse(code)
	}
	return w.report(ctx, &cleared{with})
}

// codePast says that somebody else has ended the payout meanwhile.
const codePast fault.Code = "past"

// errUnclear says that whether an income fits was not to be found out in time.
var errUnclear = errors.New("the income of the person was in motion all the time")

// clears returns why a person may not be paid; "" if he may, and the income is
// reserved.
func (w *taskWorker) clears(ctx context.Context, with errand, p *session.Payout) (fault.Code, error) {
	status, err := w.inquire(ctx, tax.Question{Kind: tax.GetStatus, INN: p.Details.Fiscal.INN})
	switch {
	case err != nil:
		return "", err
	case status.Refused != "":
		return codeOfTax(status.Refused), nil
	case !status.SelfEmployed:
		return fault.Code(tax.NotTaxpayer), nil
	case !status.Linked:
		return fault.Code(tax.NotLinked), nil
	}
	year := p.Receipt.Reserved
	r := &reserve{want: reservation(with.task.SessionKey, p, year, store.ReservationHeld)}
	for gap := taxGapFirst; ; gap = min(2*gap, taxGapMax) {
		before, err := w.store.Income(ctx, r.want.IncomeKey)
		if err != nil && fault.CodeOf(err) != fault.NotFound {
			return "", err
		}
		r.seen = before.Registered
		income, err := w.inquire(ctx, tax.Question{Kind: tax.GetIncome, INN: p.Details.Fiscal.INN, Year: year})
		switch {
		case err != nil:
			return "", err
		case income.Refused != "":
			return codeOfTax(income.Refused), nil
		}
		r.income = income.Income.Minor
		if err := w.report(ctx, r); err != nil {
			return "", err
		}
		switch r.verdict {
		case fits:
			return "", nil
		case full:
			return fault.Code(tax.LimitExceeded), nil
		case past:
			return codePast, nil
		}
		select {
		case <-time.After(gap):
		case <-ctx.Done():
			return "", errUnclear
		}
	}
}

// codeOfTax is a refusal in the words of payouts.
func codeOfTax(r tax.Refusal) fault.Code {
	if code := fault.Code(r); fault.Known(code) {
		return code
	}
	return taxFailed
}

// inquire asks until there is an answer or ctx ends.
func (w *taskWorker) inquire(ctx context.Context, q tax.Question) (tax.Answer, error) {
	var m tax.Message
	for gap := taxGapFirst; ; gap = min(2*gap, taxGapMax) {
		answer, open, err := w.question(ctx, q, m)
		if err == nil {
			return answer, nil
		}
		m = open
		select {
		case <-time.After(gap):
		case <-ctx.Done():
			return tax.Answer{}, err
		}
	}
}

// question asks, unless that is done and m is open, and waits for the answer
// until ctx ends. An error leaves open what has become of it; the message then
// is the one that is open, if any is.
func (w *taskWorker) question(ctx context.Context, q tax.Question, m tax.Message) (tax.Answer, tax.Message, error) {
	call := func(do func(ctx context.Context) error) error {
		limited, cancel := context.WithTimeout(ctx, taxTimeout)
		defer cancel()
		var said error // guarded keeps the words of it only
		if _, err := guarded(func() (struct{}, error) { said = do(limited); return struct{}{}, nil }); err != nil {
			return err
		}
		return said
	}
	if m == "" {
		if err := call(func(ctx context.Context) (err error) { m, err = w.tax.Ask(ctx, q); return err }); err != nil {
			return tax.Answer{}, "", err
		}
		if m == "" || len(m) > 64 || !printable(string(m)) {
			return tax.Answer{}, "", errors.New("the tax service has named no message")
		}
	}
	for gap := taxGapFirst; ; gap = min(2*gap, taxGapMax) {
		var answer tax.Answer
		err := call(func(ctx context.Context) (err error) { answer, err = w.tax.Answer(ctx, m); return err })
		switch {
		case err == nil:
			return answer, "", nil
		case errors.Is(err, tax.ErrNoMessage):
			return tax.Answer{}, "", err
		case !errors.Is(err, tax.ErrPending):
			return tax.Answer{}, m, err
		}
		select {
		case <-time.After(gap):
		case <-ctx.Done():
			return tax.Answer{}, m, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// receipt does the next thing that a receipt needs. Each step ends with a commit
// that makes the next one.
func (w *taskWorker) receipt(ctx context.Context, with errand, p *session.Payout) error {
	r := p.Receipt
	if r == nil {
		return w.report(ctx, &receipted{errand: with})
	}
	wait := receiptWait
	if r.Withheld {
		left := p.FinishedAt.Add(receiptHold).Sub(w.now())
		if left <= 0 {
			return w.report(ctx, &receipted{errand: with, message: r.Message})
		}
		wait = min(wait, left)
	}
	counts := func(state store.ReservationState, receipt string) error {
		c := &recount{want: reservation(with.task.SessionKey, p, r.Reserved, state), before: r.Reserved}
		if r.Year != 0 {
			c.want.Year = r.Year
		}
		if state != store.ReservationReleased {
			c.want.EarnedAt = r.EarnedAt
		}
		c.want.Receipt = receipt
		return w.report(ctx, c)
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	switch {
	case r.State == session.Releasing:
		if sabotage == "reservation kept" {
			return w.report(ctx, &receipted{errand: with, event: session.Free})
		}
		if err := counts(store.ReservationReleased, ""); err != nil {
			return err
		}
		return w.report(ctx, &receipted{errand: with, event: session.Free})
	case r.State == session.Due:
		// From here on the service's figure may have the income or not.
		if err := counts(store.ReservationAsked, ""); err != nil {
			return err
		}
		return w.report(ctx, &receipted{errand: with, event: session.Ask})
	case r.State == session.Refused:
		return w.report(ctx, &receipted{errand: with, event: session.Retry})
	case w.tax == nil:
		return w.report(ctx, &receipted{errand: with, message: r.Message})
	case r.State == session.Registering, r.State == session.Undoing:
		answer, open, err := w.question(limited, registration(p), r.Message)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		made, err := accepted(p, answer, err)
		if err == nil && answer.Refused != "" {
			// What was counted once as registered is: a node has died before it was
			// written to the payout, and the service now denies it.
			if made.ID, err = w.registered(ctx, p); err != nil {
				return err
			}
			if made.ID != "" {
				answer.Refused, made.INN = "", p.Details.Fiscal.INN
			}
		}
		switch {
		case err != nil:
			w.log.Warn("income not registered yet", "payout", p.ID, "attempt", with.task.Attempt, "error", err)
			return w.report(ctx, &receipted{errand: with, message: open})
		case answer.Refused == tax.Failed && sabotage != "a failing service has refused": // says neither that there is a receipt nor that there is none
			return w.report(ctx, &receipted{errand: with, denied: answer.Refused, text: answer.Text})
		case answer.Refused != "":
			return w.report(ctx, &receipted{errand: with, event: session.Deny, denied: answer.Refused, text: answer.Text})
		}
		if err := counts(store.ReservationRegistered, made.ID); err != nil {
			return err
		}
		return w.report(ctx, &receipted{errand: with, event: session.Register, made: made})
	case r.State == session.Cancelling:
		answer, open, err := w.question(limited, tax.Question{
			Kind: tax.Cancel, INN: p.Details.Fiscal.INN, Operation: p.Operation() + ".cancel", ReceiptID: r.ID, Reason: r.Reason,
		}, r.Message)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			w.log.Warn("receipt not cancelled yet", "payout", p.ID, "attempt", with.task.Attempt, "error", err)
			return w.report(ctx, &receipted{errand: with, message: open})
		case answer.Refused != "":
			return w.report(ctx, &receipted{errand: with, denied: answer.Refused, text: answer.Text})
		}
		if err := counts(store.ReservationAnnulled, r.ID); err != nil {
			return err
		}
		return w.report(ctx, &receipted{errand: with, event: session.Annul})
	}
	return w.report(ctx, &receipted{errand: with})
}

// registered is the receipt that the yearly limit has of a payout; "" for none.
func (w *taskWorker) registered(ctx context.Context, p *session.Payout) (string, error) {
	day := dayOf(p.Receipt.EarnedAt)
	counted, err := w.store.Reservations(ctx, day, day.AddDate(0, 0, 1))
	for _, r := range counted {
		if r.Payout == p.ID && r.State == store.ReservationRegistered {
			return r.Receipt, err
		}
	}
	return "", err
}

// registration asks for the receipt of a payout: always the same, so that asking
// twice makes one.
func registration(p *session.Payout) tax.Question {
	f := p.Details.Fiscal
	payer := f.Payer
	if payer.Type == "" { // what the partner does not say is not shown to him; the service must know it
		if payer.Type = tax.PayerIndividual; payer.INN != "" {
			payer.Type = tax.PayerLegal
		}
	}
	operation := p.Operation()
	if sabotage == "another operation" && p.Receipt.Denied != "" {
		operation += ".again"
	}
	return tax.Question{
		Kind: tax.Register, INN: f.INN, Operation: operation,
		Receipt: &tax.Income{At: p.Receipt.EarnedAt, Services: f.Services, Payer: payer},
	}
}

// The longest link to a receipt that is taken.
const linkMax = 1000

// accepted is the receipt in an answer; the zero Receipt in a refusal. An answer
// that can't be to our question is an error: it says nothing, above all not that
// there is no receipt.
func accepted(p *session.Payout, a tax.Answer, err error) (tax.Receipt, error) {
	switch made := a.Registered; {
	case err != nil:
		return tax.Receipt{}, err
	case a.Refused == tax.Failed, slices.Contains(tax.Unregistered, a.Refused):
		return tax.Receipt{}, nil
	case a.Refused != "":
		return tax.Receipt{}, fmt.Errorf("the tax service refuses to register with %q", a.Refused)
	case made == nil || made.Operation != p.Operation() || made.INN != p.Details.Fiscal.INN:
		return tax.Receipt{}, errors.New("the tax service answers something else")
	case made.ID == "" || len(made.ID) > 64 || !printable(made.ID):
		return tax.Receipt{}, errors.New("the tax service names no receipt")
	case len(made.Link) > linkMax || !isLink(made.Link):
		return tax.Receipt{}, errors.New("the tax service names no page of the receipt")
	default:
		return *made, nil
	}
}

// isLink reports whether a text is the address of a page, or empty.
func isLink(s string) bool {
	u, err := url.Parse(s)
	return s == "" || err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && printable(s)
}
