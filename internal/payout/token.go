package payout

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
)

// The operations on tokens take no notice of an idempotency key: its record
// would have to keep the token. A repeat issues another one, which costs nothing.

// PublicToken issues a token that opens widgets.
func (e *Engine) PublicToken(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	w := r.Tokens.Widgets
	if w.Acquiring != nil {
		if _, err := e.store.Session(ctx, c.key(w.Acquiring.Session)); err != nil {
			if fault.CodeOf(err) == fault.NotFound {
				err = fault.New(fault.Invalid, "acquiring_widget.session_id: no such session")
			}
			return Answer{}, err
		}
	}
	token := vault.NewToken()
	lookup, err := e.vault.LookUp(vault.PublicToken, token)
	if err != nil {
		return Answer{}, err
	}
	now := e.now()
	_, err = e.do(ctx, &issue{public: &vault.Public{
		Project: c.Project.ID, Lookup: lookup, Widgets: w, CreatedAt: now, EndsAt: c.Project.PublicTokenEnd(now),
	}})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Body: wire.PublicToken(token)}, nil
}

// Tokenize issues a token of an account.
func (e *Engine) Tokenize(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	item, token, err := e.newAccount(c.Project, r.Tokens.BIK, r.Tokens.Number)
	if err != nil {
		return Answer{}, err
	}
	if _, err := e.do(ctx, &issue{items: []vault.Item{item}}); err != nil {
		return Answer{}, err
	}
	return Answer{Body: wire.AccountToken(token, item.Shown)}, nil
}

// TokenizeElements issues tokens of card numbers, all or none:
// fault.Unauthorized for projects that may not.
func (e *Engine) TokenizeElements(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	if !e.sandbox && !c.Project.Elements {
		return Answer{}, fault.New(fault.Unauthorized, "tokenize/elements is not enabled for the project")
	}
	var (
		items []vault.Item
		made  []wire.ElementToken
	)
	for _, element := range r.Tokens.Elements {
		item, token, err := e.newCard(c.Project, vault.CardToken, element.PAN)
		if err != nil {
			return Answer{}, err
		}
		items = append(items, item)
		made = append(made, wire.ElementToken{Ref: element.Ref, Token: token, Shown: item.Shown, Digits: len(element.PAN)})
	}
	if _, err := e.do(ctx, &issue{items: items}); err != nil {
		return Answer{}, err
	}
	return Answer{Body: wire.ElementTokens(made)}, nil
}

// TokenInfo tells what is known of a token or hash of the partner, and of a
// public token of the project.
func (e *Engine) TokenInfo(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	asked := r.Spent[0]
	if asked.Kind == vault.PublicToken {
		p, err := e.public(ctx, asked.Token)
		if err == nil && p.Project != c.Project.ID {
			err = errNoPublicToken
		}
		if err != nil {
			if fault.CodeOf(err) == fault.NotFound {
				err = fault.New(fault.Invalid, "%s: no such public token", asked.Path)
			}
			return Answer{}, err
		}
		return Answer{Body: wire.PublicInfo(asked, p, e.now())}, nil
	}
	item, err := e.find(ctx, c.Project.Owner(), asked)
	if err != nil {
		return Answer{}, err
	}
	// Only a recurrent token says in its answer whether it is active.
	if how := e.ended(&item); how != "" && item.Kind != vault.RecurrentToken {
		return Answer{}, fault.New(fault.Invalid, "%s: the %s %s", asked.Path, nouns[item.Kind], how)
	}
	return Answer{Body: wire.TokenInfo(asked, item, e.now())}, nil
}

// newItem is one of a project's partner that is issued now.
func (e *Engine) newItem(p *partner.Project, k vault.Kind, now time.Time) vault.Item {
	return vault.Item{
		Partner: p.Owner(), ID: id.Token(e.ids.Next()), Kind: k, Project: p.ID, CreatedAt: now, EndsAt: p.TokenEnd(now),
	}
}

func (e *Engine) newCard(p *partner.Project, k vault.Kind, pan instrument.PAN) (vault.Item, vault.Token, error) {
	digits := []byte(pan)
	defer clear(digits)
	i, card := e.newItem(p, k, e.now()), pan.Shown()
	i.Shown = vault.Shown{BIN: card.BIN, Last4: card.Last4, Brand: card.Brand}
	return e.vault.Issue(i, digits)
}

func (e *Engine) newAccount(p *partner.Project, bik, number string) (vault.Item, vault.Token, error) {
	i := e.newItem(p, vault.AccountToken, e.now())
	i.Shown = vault.ShownAccount(number)
	return e.vault.Issue(i, []byte(bik+number))
}

// accountToken issues a token of the account that a payout has gone to, in the
// transaction that says so; "" where the project does not ask for it, or came
// with a token.
func (t *tx) accountToken(p *session.Payout, project *partner.Project) (vault.Token, error) {
	a := p.Details.Instrument.Account
	if !project.AccountTokens || a == nil || a.Sealed != 0 || p.Failure != nil {
		return "", nil
	}
	item, token, err := t.newAccount(project, a.BIK, a.Number)
	if err != nil {
		return "", err
	}
	t.own.Items = append(t.own.Items, item)
	return token, nil
}

// issue writes new tokens.
type issue struct {
	items  []vault.Item
	public *vault.Public
	act    *store.Act
}

func (*issue) reads(*store.Reads) {}

func (i *issue) decide(t *tx) (Answer, error) {
	t.own.Items = append(t.own.Items, i.items...)
	if i.public != nil {
		t.own.Public = append(t.own.Public, i.public)
	}
	if i.act != nil {
		t.own.Acts = append(t.own.Acts, *i.act)
	}
	return Answer{}, nil
}

// acceptPublic writes a public token once, however many commands of the batch
// change it, and shows it to those that follow.
func (b *batch) acceptPublic(p *vault.Public) {
	k := store.PublicKey{Project: p.Project, Lookup: p.Lookup}
	b.rows.Public[k] = p
	if i, ok := b.public[k]; ok {
		b.changes.Public[i] = p
		return
	}
	b.public[k] = len(b.changes.Public)
	b.changes.Public = append(b.changes.Public, p)
}

// acceptItem does the same for what a token stands for.
func (b *batch) acceptItem(i vault.Item) {
	k := store.ItemKey{Partner: i.Partner, Token: i.ID}
	b.rows.Items[k] = i
	if at, ok := b.items[k]; ok {
		b.changes.Items[at] = i
		return
	}
	b.items[k] = len(b.changes.Items)
	b.changes.Items = append(b.changes.Items, i)
}

// Widget is one of those that a public token opens.
type Widget string

// The widgets.
const (
	WidgetTokenize     Widget = "tokenize_widget"
	WidgetSelfEmployed Widget = "self_employed_widget"
	WidgetAcquiring    Widget = "acquiring_widget"
)

// used is where the widget of a token says that it is used up; nil if the token
// does not open it.
func (w Widget) used(p *vault.Public) *bool {
	switch {
	case w == WidgetTokenize && p.Widgets.Tokenize != nil:
		return &p.Widgets.Tokenize.Used
	case w == WidgetSelfEmployed && p.Widgets.SelfEmployed != nil:
		return &p.Widgets.SelfEmployed.Used
	case w == WidgetAcquiring && p.Widgets.Acquiring != nil:
		return &p.Widgets.Acquiring.Used
	}
	return nil
}

var errNoPublicToken = fault.New(fault.NotFound, "no such public token")

// OpenWidgets reads a public token, whether it has come to its end or not:
// fault.NotFound if nobody issued it.
func (e *Engine) OpenWidgets(ctx context.Context, t vault.Token) (vault.Public, error) {
	return e.public(ctx, t)
}

func (e *Engine) public(ctx context.Context, t vault.Token) (vault.Public, error) {
	lookup, err := e.vault.LookUp(vault.PublicToken, t)
	if err != nil {
		return vault.Public{}, err
	}
	p, err := e.store.FindPublic(ctx, lookup)
	if err != nil && fault.CodeOf(err) == fault.NotFound {
		err = errNoPublicToken
	}
	return p, err
}

// CardInput is what a person has typed into the card widget. The memory is the
// caller's, who clears it.
type CardInput struct {
	Number []byte
	Expiry string // "MMYY", "" if it was not asked for
	Holder string // "" if it was not asked for
}

// CardHashes are what the partner gets for a card (wire reference, extensions
// §8 no. 2). There is no hash of a security code: see vault.Kind.
type CardHashes struct {
	Number vault.Token
	Expiry vault.Token // "" where none was given
	Holder vault.Token // "" where none was given
	Shown  vault.Shown
}

// TokenizeCard turns a card into hashes by a public token, and uses it up for
// that: fault.NotFound, TokenExpired, TokenUsed, TooMany, or Unauthorized where
// the token does not open the widget; fault.Invalid, with the name of the field,
// costs an attempt.
func (e *Engine) TokenizeCard(ctx context.Context, t vault.Token, in CardInput) (CardHashes, error) {
	var hashes CardHashes
	err := e.useUp(ctx, t, WidgetTokenize, func(p *partner.Project) (items []vault.Item, err error) {
		pan, err := instrument.ParsePAN(string(in.Number))
		if err != nil {
			return nil, fault.New(fault.Invalid, "number: %v", err)
		}
		item, token, err := e.newCard(p, vault.CardHash, pan)
		if err != nil {
			return nil, err
		}
		hashes.Number, hashes.Shown, items = token, item.Shown, append(items, item)
		for _, other := range []struct {
			kind vault.Kind
			text string
			into *vault.Token
		}{{vault.ExpiryHash, in.Expiry, &hashes.Expiry}, {vault.HolderHash, strings.TrimSpace(in.Holder), &hashes.Holder}} {
			if other.text == "" {
				continue
			}
			item, token, err := e.vault.Issue(e.newItem(p, other.kind, e.now()), []byte(other.text))
			if err != nil {
				return nil, err
			}
			*other.into, items = token, append(items, item)
		}
		return items, nil
	})
	if err != nil {
		return CardHashes{}, err
	}
	return hashes, nil
}

// TokenizeAccount does the same for a Russian bank account.
func (e *Engine) TokenizeAccount(ctx context.Context, t vault.Token, bik, number string) (token vault.Token, shown vault.Shown, err error) {
	err = e.useUp(ctx, t, WidgetTokenize, func(p *partner.Project) ([]vault.Item, error) {
		switch {
		case !instrument.BIK(bik):
			return nil, fault.New(fault.Invalid, "bik: must be 9 digits")
		case !instrument.AccountNumber(number):
			return nil, fault.New(fault.Invalid, "account: must be 20 digits")
		case p.AccountPrefix == partner.Reject && !instrument.AllowedPrefix(number):
			return nil, fault.New(fault.Invalid, "account: does not begin as an account that may be paid to")
		case p.ControlKey == partner.Reject && !instrument.AccountKey(bik, number):
			return nil, fault.New(fault.Invalid, "account: fails the control key of the bank")
		}
		item, made, err := e.newAccount(p, bik, number)
		token, shown = made, item.Shown
		return []vault.Item{item}, err
	})
	if err != nil {
		return "", vault.Shown{}, err
	}
	return token, shown, nil
}

// UseWidget uses a public token up for a widget whose operation was done
// elsewhere. Errors as of TokenizeCard.
func (e *Engine) UseWidget(ctx context.Context, t vault.Token, w Widget) error {
	return e.useUp(ctx, t, w, func(*partner.Project) ([]vault.Item, error) { return nil, nil })
}

// CountAttempt counts something that was tried with a public token elsewhere
// and refused: fault.TooMany if there were enough of those already, and the
// other errors of TokenizeCard.
func (e *Engine) CountAttempt(ctx context.Context, t vault.Token, w Widget) error {
	p, err := e.public(ctx, t)
	if err != nil {
		return err
	}
	_, err = e.do(ctx, &use{key: store.PublicKey{Project: p.Project, Lookup: p.Lookup}, widget: w, refused: true})
	return err
}

// useUp does the one operation of a widget: make issues what comes of it, or
// refuses the input, which is counted. The token is looked at before, so that
// nothing is made for one that is no good, and decides again in the commit.
func (e *Engine) useUp(ctx context.Context, t vault.Token, w Widget, make func(*partner.Project) ([]vault.Item, error)) error {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	p, err := e.public(ctx, t)
	if err != nil {
		return err
	}
	if err := usable(&p, w, e.now()); err != nil {
		return err
	}
	project, ok := e.Caller(p.Project)
	if !ok {
		return errNoPublicToken
	}
	u := &use{key: store.PublicKey{Project: p.Project, Lookup: p.Lookup}, widget: w}
	var refusal error
	if u.items, refusal = make(project.Project); refusal != nil {
		if fault.CodeOf(refusal) != fault.Invalid {
			return refusal
		}
		u.refused = true
	}
	if _, err := e.do(ctx, u); err != nil {
		return err
	}
	return refusal
}

// usable checks a public token for one widget.
func usable(p *vault.Public, w Widget, now time.Time) error {
	used := w.used(p)
	switch {
	case p.Expired(now):
		return fault.New(fault.TokenExpired, "the public token has expired")
	case used == nil:
		return fault.New(fault.Unauthorized, "the public token does not open %s", w)
	case *used:
		return fault.New(fault.TokenUsed, "the public token has been used")
	case p.Spent():
		return fault.New(fault.TooMany, "too many attempts with this public token")
	}
	return nil
}

// use is one operation by a public token: the first that succeeds uses it up.
type use struct {
	key     store.PublicKey
	widget  Widget
	items   []vault.Item // what came of it
	refused bool         // it did not succeed, and is counted
	link    string       // it has come to a request to link, and is not at its end
	linked  string       // the INN of who has confirmed that request
}

func (u *use) reads(names *store.Reads) {
	names.Public = append(names.Public, u.key)
	if u.linked != "" {
		names.Keys = append(names.Keys, acquaintance(u.key.Project, u.linked))
	}
}

func (u *use) decide(t *tx) (Answer, error) {
	row, ok := t.rows.Public[u.key]
	if !ok {
		return Answer{}, errNoPublicToken
	}
	p := row.Clone()
	if err := usable(p, u.widget, t.now); err != nil {
		return Answer{}, err
	}
	switch {
	case u.refused:
		p.Attempts++
	case u.link != "":
		p.Widgets.SelfEmployed.Request = u.link
	default:
		*u.widget.used(p) = true
		t.own.Items = append(t.own.Items, u.items...)
	}
	if u.linked != "" {
		t.acquaint(u.key.Project, u.linked)
	}
	t.own.Public = append(t.own.Public, p)
	return Answer{}, nil
}

// Tokens lists what the tokens of a project's partner stand for, oldest first;
// after is the last one seen. Nothing is opened.
func (e *Engine) Tokens(ctx context.Context, p id.Project, after id.Token, limit int) ([]vault.Item, error) {
	owner, err := e.owner(p)
	if err != nil {
		return nil, err
	}
	items, err := e.store.Items(ctx, store.ItemKey{Partner: owner, Token: after}, limit)
	for n := range items {
		if items[n].Partner != owner {
			return items[:n], err
		}
	}
	return items, err
}

func (e *Engine) owner(p id.Project) (id.Partner, error) {
	project, ok := e.Caller(p)
	if !ok {
		return "", fault.New(fault.NotFound, "no project %s", p)
	}
	return project.Owner(), nil
}

// IssueCard issues a token of a card at an operator's desk, in a sandbox only:
// fault.Unauthorized elsewhere, fault.Invalid for a kind that is not of cards
// or a number that is none.
func (e *Engine) IssueCard(ctx context.Context, p id.Project, k vault.Kind, number []byte, actor string) (vault.Item, vault.Token, error) {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	project, ok := e.Caller(p)
	switch {
	case !ok:
		return vault.Item{}, "", fault.New(fault.NotFound, "no project %s", p)
	case !e.sandbox:
		return vault.Item{}, "", fault.New(fault.Unauthorized, "only a sandbox issues tokens to operators")
	case !k.Card():
		return vault.Item{}, "", fault.New(fault.Invalid, "kind: want %s, %s or %s", vault.CardHash, vault.CardToken, vault.RecurrentToken)
	}
	pan, err := instrument.ParsePAN(string(bytes.TrimSpace(number)))
	if err != nil {
		return vault.Item{}, "", fault.New(fault.Invalid, "number: %v", err)
	}
	item, token, err := e.newCard(project.Project, k, pan)
	if err != nil {
		return vault.Item{}, "", err
	}
	act := e.act(p, actor, "token_issue", item.ID.String(), string(k))
	_, err = e.do(ctx, &issue{items: []vault.Item{item}, act: &act})
	return item, token, err
}

// DeleteToken ends a token of a project's partner at once: payouts that name it
// and were not sent fail. fault.NotFound if there is none; one that was deleted
// before stays as it is.
func (e *Engine) DeleteToken(ctx context.Context, p id.Project, t id.Token, actor string) error {
	owner, err := e.owner(p)
	if err != nil {
		return err
	}
	_, err = e.do(ctx, &deletion{key: store.ItemKey{Partner: owner, Token: t}, act: e.act(p, actor, "token_delete", t.String(), "")})
	return err
}

// deletion ends a token.
type deletion struct {
	key store.ItemKey
	act store.Act
}

func (d *deletion) reads(names *store.Reads) { names.Items = append(names.Items, d.key) }

func (d *deletion) decide(t *tx) (Answer, error) {
	item, ok := t.rows.Items[d.key]
	if !ok {
		return Answer{}, fault.New(fault.NotFound, "no %s of the project's partner", d.key.Token)
	}
	if !item.DeletedAt.IsZero() {
		return Answer{}, nil
	}
	item.Delete(t.now)
	t.own.Items = append(t.own.Items, item)
	t.own.Acts = append(t.own.Acts, d.act)
	return Answer{}, nil
}

// act is what an operator does now.
func (e *Engine) act(p id.Project, actor, what, subject, text string) store.Act {
	return store.Act{Project: p, ID: e.ids.Next(), At: e.now(), Actor: actor, What: what, Subject: subject, Text: text}
}

// Record writes down what an operator has done with the vault.
func (e *Engine) Record(ctx context.Context, p id.Project, actor, what, subject, text string) error {
	act := e.act(p, actor, what, subject, text)
	_, err := e.do(ctx, &issue{act: &act})
	return err
}

// Audit reads the newest acts of operators, newest first.
func (e *Engine) Audit(ctx context.Context, limit int) ([]store.Act, error) {
	return e.store.Audit(ctx, limit)
}
