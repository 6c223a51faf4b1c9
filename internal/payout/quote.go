package payout

import (
	"context"
	"errors"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
)

// agreement is the source of a rate that was agreed on with the project.
const agreement = "agreement"

// errNotEnabled says that a project has no rate of a currency.
var errNotEnabled = errors.New("the currency is not enabled for the project")

// source is where a project's rate of a currency comes from; errNotEnabled if
// the project may not use it, or no source is connected.
func (e *Engine) source(p *partner.Project, c money.Currency) (rate.Source, error) {
	terms, enabled := p.Rates[c]
	switch {
	case enabled && terms.Agreed != 0:
		return rate.Table{Name: agreement, Prices: map[money.Currency]rate.Price{c: terms.Agreed}, Now: e.now}, nil
	case e.rates != nil && (enabled || e.sandbox):
		return e.rates, nil
	}
	return nil, errNotEnabled
}

// exchangeable refuses an amount in a currency that is not enabled for the
// project. Whether there is a rate at the moment is for the check to find out.
func (e *Engine) exchangeable(p *partner.Project, a *money.Amount) error {
	if a == nil || a.Currency == money.RUB {
		return nil
	}
	if _, err := e.source(p, a.Currency); err != nil {
		return fault.Wrap(fault.Invalid, err, "amount_details.currency: %s is not enabled for the project", a.Currency.Lower())
	}
	return nil
}

// quote prices a payout in foreign currency and returns it as it is with the
// quote, which found then brings to the commit; found.refused if the payout is
// not possible. An error may go away by itself.
func (w *taskWorker) quote(ctx context.Context, with errand, p *session.Payout, found *checked) (*session.Payout, error) {
	refuse := func(code fault.Code) (*session.Payout, error) {
		found.refused, found.text = code, fault.Lookup(code).Text
		return p, nil
	}
	asked := *p.Details.Amount
	from, err := w.source(with.project, asked.Currency)
	if err != nil { // it was enabled when the payout was started
		return refuse(fault.RoutingInternal)
	}
	limited, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r, err := from.Rate(limited, asked.Currency)
	switch {
	case errors.Is(err, rate.ErrUnknown):
		return refuse(fault.RoutingInternal)
	case err != nil:
		return nil, err
	}
	r.At = r.At.UTC().Truncate(time.Microsecond)
	var code fault.Code
	if found.quote, found.fee, code = quoteAt(with.project, p, r, w.now()); code != "" {
		return refuse(code)
	}
	quoted := *p
	quoted.Quote, quoted.Fee = found.quote, found.fee
	return &quoted, nil
}

// quoteAt is a payout's quote at a rate, with its fee; or why there is none.
func quoteAt(project *partner.Project, p *session.Payout, r rate.Rate, now time.Time) (*session.Quote, int64, fault.Code) {
	roubles, err := r.Price.Roubles(*p.Details.Amount)
	switch {
	case err != nil || roubles.Minor > money.MinorMax:
		return nil, 0, fault.ProviderMaximum
	case roubles.Minor == 0:
		return nil, 0, fault.ProviderMinimum
	}
	fee, err := project.Fees[p.Details.Instrument.Kind()].Of(roubles.Minor)
	if err != nil {
		return nil, 0, fault.ProviderMaximum
	}
	return &session.Quote{Amount: roubles, Rate: r, At: now, Until: project.RateEnd(now)}, fee, ""
}

// Calculate tells what an exchange would cost the project now. It locks nothing.
func (e *Engine) Calculate(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	asked := r.Exchange
	foreign, path := asked.Destination.Currency, wire.DestinationCurrency
	if foreign == money.RUB {
		foreign, path = asked.Source.Currency, wire.SourceCurrency
	}
	if foreign == money.RUB || asked.Source.Currency != money.RUB && asked.Destination.Currency != money.RUB {
		return Answer{}, fault.New(fault.Invalid, "amounts: one of the currencies must be RUB, and the other one foreign")
	}
	unknown := func(err error) error {
		return fault.Wrap(fault.Invalid, err, "%s: there is no rate of %s for the project", path, foreign)
	}
	from, err := e.source(c.Project, foreign)
	if err != nil {
		return Answer{}, unknown(err)
	}
	now, err := from.Rate(ctx, foreign)
	switch {
	case errors.Is(err, rate.ErrUnknown):
		return Answer{}, unknown(err)
	case err != nil:
		return Answer{}, fault.Wrap(fault.Busy, err, "there is no rate of %s at the moment", foreign)
	}
	found := asked
	if found.Source.Minor == 0 {
		found.Source, err = exchanged(now.Price, found.Destination, found.Source.Currency)
	} else {
		found.Destination, err = exchanged(now.Price, found.Source, found.Destination.Currency)
	}
	if err != nil {
		return Answer{}, fault.Wrap(fault.Invalid, err, "amounts: too large, or too small to buy anything")
	}
	return Answer{Body: wire.Calculated(asked, found, now.Price)}, nil
}

// exchanged is what an amount is in another currency, one of the two roubles.
func exchanged(p rate.Price, have money.Amount, want money.Currency) (money.Amount, error) {
	var found money.Amount
	var err error
	if want == money.RUB {
		found, err = p.Roubles(have)
	} else {
		found, err = p.Buys(have, want)
	}
	if err == nil && (found.Minor == 0 || found.Minor > money.MinorMax) {
		err = money.ErrOverflow
	}
	return found, err
}
