package payout

import (
	"context"
	"errors"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
)

// bikDigits is where the number begins in the sealed content of an account.
const bikDigits = 9

// nouns are the kinds of tokens in words, for refusals.
var nouns = map[vault.Kind]string{
	vault.CardHash: "card hash", vault.ExpiryHash: "hash of an expiry date", vault.HolderHash: "hash of a cardholder's name",
	vault.CardToken: "card token", vault.RecurrentToken: "recurrent token", vault.AccountToken: "account token",
	vault.PublicToken: "public token",
}

// find finds what a token of a partner stands for, whether it has ended or not:
// fault.Invalid, with the path, if nobody issued it to that partner as that
// kind. Which of the two is nobody's business.
func (e *Engine) find(ctx context.Context, p id.Partner, s wire.Spent) (vault.Item, error) {
	lookup, err := e.vault.LookUp(s.Kind, s.Token)
	if err != nil {
		return vault.Item{}, err
	}
	item, err := e.store.FindItem(ctx, p, s.Kind, lookup)
	if err != nil && fault.CodeOf(err) == fault.NotFound {
		return vault.Item{}, fault.New(fault.Invalid, "%s: no such %s", s.Path, nouns[s.Kind])
	}
	return item, err
}

// active is find for a token that is to be used: one that has ended is
// fault.Invalid too.
func (e *Engine) active(ctx context.Context, p id.Partner, s wire.Spent) (vault.Item, error) {
	item, err := e.find(ctx, p, s)
	if err != nil {
		return item, err
	}
	if how := e.ended(&item); how != "" {
		return item, fault.New(fault.Invalid, "%s: the %s %s", s.Path, nouns[s.Kind], how)
	}
	return item, nil
}

// ended says how a token ended; "" if it has not.
func (e *Engine) ended(i *vault.Item) string {
	switch {
	case i.Active(e.now()):
		return ""
	case !i.DeletedAt.IsZero():
		return "was deleted"
	}
	return "has expired"
}

// resolve puts what the tokens of a request stand for into its details.
func (e *Engine) resolve(ctx context.Context, c Call, r *wire.Request) error {
	owner := c.Project.Owner()
	item, err := e.active(ctx, owner, r.Spent[0])
	if sabotage == "tokens of all partners" {
		all, _ := e.store.Projects(ctx)
		for i := 0; i < len(all) && err != nil; i++ {
			owner = all[i].Owner()
			item, err = e.active(ctx, owner, r.Spent[0])
		}
	}
	if err != nil {
		return err
	}
	for _, other := range r.Spent[1:] {
		if _, err := e.active(ctx, owner, other); err != nil {
			return err
		}
	}
	if item.Kind == vault.AccountToken {
		account := *r.Details.Instrument.Account
		account.Sealed, account.Partner = item.ID, owner
		r.Details.Instrument = &instrument.Instrument{Account: &account}
		return nil
	}
	card := instrument.Card{
		BIN: item.Shown.BIN, Last4: item.Shown.Last4, Brand: item.Shown.Brand, Token: item.ID, Partner: owner,
	}
	if card.CardID, err = e.cardID(c.Project, item.Fingerprint); err != nil {
		return err
	}
	r.Details.Instrument = &instrument.Instrument{Card: &card}
	return nil
}

// cardID is the identifier of a card; "" for projects that do not ask for it.
func (e *Engine) cardID(p *partner.Project, fingerprint []byte) (string, error) {
	if !p.CardIDs {
		return "", nil
	}
	return e.vault.CardID(p.Owner(), fingerprint)
}

// token is what a payout's instrument is kept under in the vault; 0 if it is
// not a token.
func token(i *instrument.Instrument) store.ItemKey {
	switch {
	case i == nil:
	case i.Card != nil:
		return store.ItemKey{Partner: i.Card.Partner, Token: i.Card.Token}
	case i.Account != nil:
		return store.ItemKey{Partner: i.Account.Partner, Token: i.Account.Sealed}
	}
	return store.ItemKey{}
}

// impossible says why a payout that was not sent can't be any more, because its
// token has ended or its card is gone; nil if it can.
func (e *Engine) impossible(ctx context.Context, project id.Project, p *session.Payout) (*fault.Error, error) {
	key, card := token(p.Details.Instrument), p.Details.Instrument.Card
	switch {
	case key.Token != 0:
	case card == nil:
		return nil, nil
	default:
		_, err := e.card(ctx, store.CardKey{Project: project, Card: card.Sealed})
		if fault.CodeOf(err) == fault.NotFound {
			return fault.New(fault.Internal, "the card of the payout is missing"), nil
		}
		return nil, err
	}
	item, err := e.store.Item(ctx, key)
	if err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			return fault.New(fault.Internal, "the token of the payout is missing"), nil
		}
		return nil, err
	}
	how := e.ended(&item)
	if how == "" || sabotage == "ended tokens pay" {
		return nil, nil
	}
	code := fault.BindingInactive
	if item.Kind == vault.AccountToken {
		code = fault.AccountNotFound
	}
	return fault.New(code, "the %s %s", nouns[item.Kind], how), nil
}

// content opens what a token stands for, be it active or not: a payment that
// was promised to a rail is carried out.
func (e *Engine) content(ctx context.Context, p id.Partner, t id.Token) ([]byte, error) {
	item, err := e.store.Item(ctx, store.ItemKey{Partner: p, Token: t})
	if err != nil {
		return nil, err
	}
	return e.vault.OpenItem(item)
}

// account opens the account that a token stands for.
func (e *Engine) account(ctx context.Context, a *instrument.Account) (*instrument.Account, error) {
	digits, err := e.content(ctx, a.Partner, a.Sealed)
	if err != nil {
		return nil, err
	}
	if len(digits) < bikDigits {
		return nil, errors.New("what an account token stands for is no account")
	}
	open := *a
	open.BIK, open.Number = string(digits[:bikDigits]), string(digits[bikDigits:])
	open.Token, open.Sealed, open.Partner = "", 0, ""
	return &open, nil
}
