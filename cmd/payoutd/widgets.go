package main

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/shop"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/widget"
	"github.com/payoutd/payoutd/tax"
)

// widgetDesk is the back end of the widgets: the engine, for tokens and for
// links.
type widgetDesk struct {
	engine *payout.Engine
	now    func() time.Time
}

// Open implements widget.Desk.
func (d *widgetDesk) Open(ctx context.Context, token string) (widget.Grant, error) {
	p, err := d.engine.OpenWidgets(ctx, vault.Token(token))
	if err != nil {
		return widget.Grant{}, err
	}
	project, ok := d.engine.Caller(p.Project)
	if !ok {
		return widget.Grant{}, fault.New(fault.NotFound, "no such public token")
	}
	door := func(opens, used bool) widget.Door {
		switch {
		case !opens:
			return widget.Shut
		case used || p.Spent():
			return widget.Used
		}
		return widget.Open
	}
	g := widget.Grant{Origins: project.WidgetOrigins, EndsAt: p.EndsAt}
	if w := p.Widgets.Tokenize; w != nil {
		g.Tokenize = door(true, w.Used)
	}
	if w := p.Widgets.SelfEmployed; w != nil {
		g.SelfEmployed, g.Person = door(d.engine.Links(), w.Used), w.INN
	}
	if w := p.Widgets.Acquiring; w != nil {
		g.Acquiring = door(true, w.Used)
	}
	return g, nil
}

// Card implements widget.Desk.
func (d *widgetDesk) Card(ctx context.Context, token string, number []byte) (widget.Card, error) {
	hashes, err := d.engine.TokenizeCard(ctx, vault.Token(token), payout.CardInput{Number: number})
	if err != nil {
		return widget.Card{}, err
	}
	return widget.Card{NumberHash: string(hashes.Number), Brand: hashes.Shown.Brand, Last4: hashes.Shown.Last4}, nil
}

// Account implements widget.Desk.
func (d *widgetDesk) Account(ctx context.Context, token, bik, account string) (widget.Account, error) {
	made, shown, err := d.engine.TokenizeAccount(ctx, vault.Token(token), bik, account)
	if err != nil {
		return widget.Account{}, err
	}
	return widget.Account{Token: string(made), Masked: shown.Masked}, nil
}

// Link implements widget.Desk. The person may name themselves by a phone
// instead; the token says all the same whom it links.
func (d *widgetDesk) Link(ctx context.Context, token, person string) (widget.LinkState, error) {
	inn, err := d.person(ctx, token)
	if err != nil {
		return "", err
	}
	phone := len(person) == 11 && person[0] == '7' && instrument.Phone(person)
	if person != inn && !phone {
		if err := d.engine.CountAttempt(ctx, vault.Token(token), payout.WidgetSelfEmployed); err != nil {
			return "", err
		}
		return "", fault.New(fault.Invalid, "tax_reference_or_phone: not the person of this token")
	}
	return widgetLink(d.engine.Link(ctx, vault.Token(token), inn))
}

// LinkState implements widget.Desk.
func (d *widgetDesk) LinkState(ctx context.Context, token string) (widget.LinkState, error) {
	if _, err := d.person(ctx, token); err != nil {
		return "", err
	}
	return widgetLink(d.engine.LinkState(ctx, vault.Token(token)))
}

// person is whom a token links: fault.TokenExpired, TokenUsed, TooMany or
// Unauthorized if it links nobody, or nobody any more.
func (d *widgetDesk) person(ctx context.Context, token string) (string, error) {
	g, err := d.Open(ctx, token)
	switch {
	case err != nil:
		return "", err
	case g.SelfEmployed == widget.Shut:
		return "", fault.New(fault.Unauthorized, "the public token does not link anybody")
	case g.SelfEmployed == widget.Used:
		return "", fault.New(fault.TokenUsed, "the public token has been used")
	case g.Expired(d.now()):
		return "", fault.New(fault.TokenExpired, "the public token has expired")
	}
	return g.Person, nil
}

// widgetLink says in the widget's words how a request to link stands.
func widgetLink(state tax.LinkState, err error) (widget.LinkState, error) {
	switch {
	case err != nil:
		return "", err
	case state == tax.LinkConfirmed:
		return widget.Linked, nil
	case state == tax.LinkRejected:
		return widget.LinkRejected, nil
	case state == tax.LinkRequested:
		return widget.LinkSent, nil
	}
	return widget.LinkNone, nil
}

// newForms is the widgets' server of this node.
func (s *server) newForms() (*widget.Server, error) {
	proxies, err := networks("--widget-proxy", s.flags.WidgetProxy)
	if err != nil {
		return nil, err
	}
	return widget.New(&widgetDesk{engine: s.engine, now: s.clock.Now}, widget.Options{
		Log: s.log, Metrics: s.metrics, Now: s.clock.Now, Proxies: proxies, Loopback: s.world != nil,
	}), nil
}

// openShop makes the demo partner's page, which hears of its webhooks from the
// inbox.
func (s *server) openShop(d *demo) {
	s.shop = shop.New(shop.Options{
		API: s.url, Widget: s.widgetURL, Digests: s.forms.Digests(), Project: demoProject, Key: d.key,
		Decide: s.world.DecideLink, Log: s.log,
	})
	s.inbox.OnReceive(func(h sandbox.Delivery) {
		if h.Inbox == demoProject {
			s.shop.Webhook(h.Type, h.Verified, h.Body)
		}
	})
}
