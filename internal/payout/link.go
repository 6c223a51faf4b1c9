package payout

import (
	"context"
	"errors"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/tax"
)

// linkTimeout bounds how long a person waits in front of the widget.
const linkTimeout = 5 * time.Second

// Links reports whether people can be linked at all.
func (e *Engine) Links() bool { return e.tax != nil }

// Link asks the tax service to link the person of a public token, and keeps its
// name of the request with the token. Who is linked already uses the token up.
// Errors as of TokenizeCard; fault.TaxFailed if the service does not say,
// fault.TaxpayerUnknown if the person is not self-employed.
func (e *Engine) Link(ctx context.Context, t vault.Token, inn string) (tax.LinkState, error) {
	p, err := e.linkable(ctx, t)
	if err != nil {
		return "", err
	}
	a, err := e.askTax(ctx, linkTimeout, tax.Question{Kind: tax.Link, INN: inn})
	switch {
	case err != nil:
		return "", err
	case a.Refused == tax.AlreadyLinked:
		return tax.LinkConfirmed, e.UseWidget(ctx, t, WidgetSelfEmployed)
	case a.Refused != "":
		return "", refusal(a)
	}
	_, err = e.do(ctx, &use{key: store.PublicKey{Project: p.Project, Lookup: p.Lookup}, widget: WidgetSelfEmployed, link: a.Request})
	return tax.LinkRequested, err
}

// LinkState asks the tax service what the person has said; "" if nobody has
// asked them by this token. Who is linked uses the token up. Errors as of Link.
func (e *Engine) LinkState(ctx context.Context, t vault.Token) (tax.LinkState, error) {
	p, err := e.linkable(ctx, t)
	if err != nil {
		return "", err
	}
	w := p.Widgets.SelfEmployed
	if w.Request == "" {
		return "", nil
	}
	a, err := e.askTax(ctx, linkTimeout, tax.Question{Kind: tax.GetLink, Request: w.Request})
	switch {
	case err != nil:
		return "", err
	case a.Refused == tax.NoRequest: // too old; it can be made again
		return "", nil
	case a.Refused != "":
		return "", refusal(a)
	case a.Link == tax.LinkConfirmed:
		_, err = e.do(ctx, &use{key: store.PublicKey{Project: p.Project, Lookup: p.Lookup}, widget: WidgetSelfEmployed, linked: a.INN})
	}
	return a.Link, err
}

// linkable is a public token that links somebody.
func (e *Engine) linkable(ctx context.Context, t vault.Token) (vault.Public, error) {
	p, err := e.public(ctx, t)
	if err != nil {
		return p, err
	}
	if e.tax == nil {
		return p, errNoTax
	}
	return p, usable(&p, WidgetSelfEmployed, e.now())
}

// askTax asks the tax service and waits a bounded time for the answer:
// fault.TaxFailed if there is none.
func (e *Engine) askTax(ctx context.Context, within time.Duration, q tax.Question) (tax.Answer, error) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	a, err := tax.Call(limited, e.tax, q)
	switch {
	case errors.Is(err, tax.ErrPending):
		return a, fault.Wrap(fault.TaxFailed, err, "the tax service has not answered in time")
	case err != nil:
		return a, fault.Wrap(fault.TaxFailed, err, "the tax service does not answer")
	}
	return a, nil
}

// refusal is a refusal of the tax service as an error.
func refusal(a tax.Answer) error {
	code := fault.Code(a.Refused)
	if !fault.Known(code) {
		code = fault.TaxFailed
	}
	return fault.New(code, "%s", fault.Lookup(code).Text)
}
