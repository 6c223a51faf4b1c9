package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
)

// bearer is a token that a partner wants for a card or an account.
type bearer struct {
	*world
	name        string
	of          id.Project // that it is issued for
	kind        vault.Kind
	destination string
	token       vault.Token // "" until the partner has it
	number      id.Token    // of what it stands for; 0 until then
}

// partnerOf is whom the tokens of a shop belong to: some share a partner.
func (w *world) partnerOf(i int) id.Partner {
	name := fmt.Sprintf("shop%d", i+1)
	if w.roll("partner of "+name).IntN(2) == 0 {
		return "acme"
	}
	return id.Partner(name)
}

// mint makes what tokens there will be, before anybody wants to pay by them.
func (w *world) mint() {
	var err error
	if w.vault, err = vault.New(secrets().vault); err != nil {
		w.t.Fatal(err)
	}
	for i := range w.shopsN {
		for n := range 1 + w.roll(fmt.Sprintf("tokens of shop%d", i+1)).IntN(3) {
			b := &bearer{world: w, name: fmt.Sprintf("shop%d token%d", i+1, n+1), of: id.Project(fmt.Sprintf("shop%d", i+1))}
			r := w.roll(b.name)
			b.kind, b.destination = vault.AccountToken, accounts[r.IntN(len(accounts))]
			if kind := r.IntN(3); kind > 0 {
				b.kind, b.destination = []vault.Kind{vault.CardToken, vault.CardHash}[kind-1], numbers[r.IntN(len(numbers))]
			}
			w.bearers = append(w.bearers, b)
			for n := range 2 { // again, if the partner has not got it
				name := fmt.Sprintf("%s: issue #%d", b.name, n+1)
				w.plan(w.between(name, time.Duration(n)*5*time.Second, time.Duration(n+1)*5*time.Second), name, func() { b.issue(name) })
			}
			w.happens(b.name, "token deleted", func() { b.delete(b.name + ": delete") })
		}
	}
}

// owns makes a shop share its tokens, which may end soon.
func (s *shop) owns(i int) {
	r, p := s.roll("tokens last "+string(s.project.ID)), &s.project
	if p.Elements = true; s.partnerOf(i) == "acme" {
		p.Partner = "acme"
	}
	if r.IntN(3) == 0 {
		p.TokenLife = partner.Duration(time.Duration(5+r.IntN(40)) * time.Second)
	}
	if r.IntN(3) == 0 {
		p.PublicTokenLife = partner.Duration(time.Duration(1+r.IntN(2000)) * time.Millisecond)
	}
}

// pays gives an item a token in place of an open number, mostly one that it may
// be paid by.
func (i *item) pays() {
	w := i.charge.world
	r := w.roll("token of " + i.label)
	if i.kind != instrument.KindCard && i.kind != instrument.KindAccount || r.IntN(2) == 0 {
		return
	}
	var may []*bearer
	for _, b := range w.bearers {
		if account := b.kind == vault.AccountToken; account == (i.kind == instrument.KindAccount) && (r.IntN(5) == 0 || b.owner() == i.charge.project.Owner()) {
			may = append(may, b)
		}
	}
	if len(may) > 0 {
		i.by = may[r.IntN(len(may))]
		i.destination = i.by.destination
	}
}

func (b *bearer) owner() id.Partner {
	var i int
	_, _ = fmt.Sscanf(string(b.of), "shop%d", &i)
	return b.partnerOf(i - 1)
}

// shows is the token, or one that nobody has issued.
func (b *bearer) shows() string {
	if b.token == "" {
		return strings.Repeat("0", 64)
	}
	return string(b.token)
}

// issue asks for the token, in the way of its kind.
func (b *bearer) issue(name string) {
	switch {
	case b.token != "":
	case b.kind == vault.AccountToken:
		b.ask(name, wire.OpTokenize, fmt.Sprintf(`{"type":"bank_account_ru","bank_account_ru":{"bik":"044000777","account":%q}}`, b.destination),
			(*payout.Engine).Tokenize, func(a answer) { b.has(a.Token) })
	case b.kind == vault.CardToken:
		b.ask(name, wire.OpElements, fmt.Sprintf(`{"elements":[{"ref":"number","type":"card_number","card_number":%q}]}`, b.destination),
			(*payout.Engine).TokenizeElements, func(a answer) { b.has(a.Data.Number.Token) })
	default:
		b.ask(name, wire.OpToken, `{"tokenize_widget":{"access":true}}`, (*payout.Engine).PublicToken, func(a answer) {
			b.types(name+" by its widget", vault.Token(a.PublicToken))
		})
	}
}

// answer is what the operations on tokens answer.
type answer struct {
	PublicToken string `json:"public_token"`
	Token       string
	Data        struct{ Number struct{ Token string } }
}

func (b *bearer) ask(
	name string, how wire.Op, body string, do func(*payout.Engine, context.Context, payout.Call, wire.Request) (payout.Answer, error), then func(answer),
) {
	s := b.shopBy(b.of)
	r, err := wire.Parse(how, 1, &s.project, []byte(body))
	if err != nil {
		b.breaks("answers", "%s %s: %v", how, body, err)
		return
	}
	call := s.call("", false, "")
	b.start(&op{name: name, what: string(how), by: s, do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		return do(e, ctx, call, r)
	}, then: func(a payout.Answer, err error) {
		if err != nil {
			return
		}
		var said answer
		if err := json.Unmarshal(a.Body, &said); err != nil {
			b.breaks("answers", "%s: %v", how, err)
		}
		then(said)
	}})
}

// types is somebody who enters the card into the widget, and may press its button
// twice: the public token is good for one card.
func (b *bearer) types(name string, public vault.Token) {
	made := 0
	for n := range 2 {
		name := fmt.Sprintf("%s #%d", name, n+1)
		do := func() {
			b.start(&op{
				name: name, what: "the card widget", may: []fault.Code{fault.TokenUsed, fault.TokenExpired},
				do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
					hashes, err := e.TokenizeCard(ctx, public, payout.CardInput{Number: []byte(b.destination)})
					return payout.Answer{Body: []byte(string(hashes.Number))}, err
				}, then: func(a payout.Answer, err error) {
					if err != nil {
						return
					}
					if made++; made > 1 {
						b.breaks("token", "the widget of %s took two cards", b.name)
					}
					b.has(string(a.Body))
				},
			})
		}
		if n == 0 || b.goesWrong("button pressed twice", name) {
			b.after(b.between(name, time.Millisecond, time.Second), name, do)
		}
	}
}

// has takes the token that was answered first: it must stand in the vault for the
// partner. Another one that comes late is not paid by: what was asked for by the
// first would be repeated as another request.
func (b *bearer) has(token string) {
	lookup, err := b.vault.LookUp(b.kind, vault.Token(token))
	for k, i := range b.store.items {
		if err == nil && i.Lookup == lookup && i.Kind == b.kind && k.Partner == b.owner() {
			if b.token == "" {
				b.token, b.number = vault.Token(token), i.ID
			}
			return
		}
	}
	b.breaks("answered", "%s was issued, and is not in the vault of %s", b.name, b.owner())
}

// delete is what an operator does.
func (b *bearer) delete(name string) {
	if b.number == 0 {
		return
	}
	b.start(&op{name: name, what: "delete", do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		return payout.Answer{}, e.DeleteToken(ctx, b.of, b.number, "operator")
	}, then: func(_ payout.Answer, err error) {
		if i := b.store.items[store.ItemKey{Partner: b.owner(), Token: b.number}]; err == nil && i.DeletedAt.IsZero() {
			b.breaks("answered", "%s was deleted, and stands", b.name)
		}
	}})
}

// end is when the token ends by the product's clock, as far as that is known.
func (b *bearer) end() time.Time {
	i := b.store.items[store.ItemKey{Partner: b.owner(), Token: b.number}]
	if !i.DeletedAt.IsZero() && i.DeletedAt.Before(i.EndsAt) {
		return i.DeletedAt
	}
	return i.EndsAt
}

// stands reports whether an item may be paid by its token at a time: it has none,
// or it is its partner's, known, and has not ended.
func (i *item) stands(at time.Time) bool {
	return i.by == nil || i.by.token != "" && i.by.owner() == i.charge.project.Owner() && at.Before(i.by.end())
}

// stands reports whether all of the charge may be paid by its tokens now.
func (c *charge) stands() bool {
	return !slices.ContainsFunc(c.items, func(i *item) bool { return !i.stands(c.clock()) })
}

// spends are the refusals that a request may meet for its tokens. The func that
// it returns sees that they are met if and only if they must be.
func (c *charge) spends(body string) (may []fault.Code, judge func(payout.Answer, error)) {
	judge = func(payout.Answer, error) {}
	if !slices.ContainsFunc(c.items, func(i *item) bool { return i.by != nil && strings.Contains(body, i.by.shows()) }) {
		return nil, judge
	}
	before := c.stands()
	return []fault.Code{fault.Invalid}, func(a payout.Answer, err error) {
		switch {
		case c.world.jumped:
		case err == nil && !a.Replayed && !before:
			c.breaks("token", "%s is paid by a token that is not its partner's, or has ended", c.label)
		case fault.CodeOf(err) == fault.Invalid && before && c.stands():
			c.breaks("token", "%s is refused, and its tokens stand: %v", c.label, err)
		}
	}
}

// clock is the product's time, where no clock has jumped.
func (w *world) clock() time.Time { return w.bankTime() }

// checkToken sees that a payout names a token of its partner's and no other, and
// when it was confirmed.
func (w *world) checkToken(k store.SessionKey, p *session.Payout) {
	in := p.Details.Instrument
	switch {
	case in == nil:
		return
	case in.Card != nil && in.Card.Token != 0 && in.Card.Partner != w.shopBy(k.Project).project.Owner(),
		in.Account != nil && in.Account.Sealed != 0 && in.Account.Partner != w.shopBy(k.Project).project.Owner():
		w.breaks("token", "%s names a token of another partner", w.label(k))
	}
	switch p.State {
	case session.Created, session.Checking, session.Checked, session.Awaiting, session.Failed, session.Cancelled:
	default:
		if w.looked.confirmed[p.ID].IsZero() {
			w.looked.confirmed[p.ID] = w.clock()
		}
	}
}

// bears sees that a payout on its way to the rail has a token that stands.
func (i *item) bears(p id.Payout) bool {
	confirmed := i.charge.looked.confirmed[p]
	if i.by == nil || i.stands(confirmed) || i.charge.world.jumped && i.by.owner() == i.charge.project.Owner() {
		return true
	}
	i.charge.breaks("token", "%s of %s goes to the rail by the %s %s of %s, which had ended by %s, when it was confirmed at %s", i.label,
		i.charge.project.Owner(), i.by.kind, i.by.name, i.by.owner(), i.by.end(), confirmed)
	return false
}

// Item, FindItem, FindPublic and Wipe are what tokens ask of the database.
func (g *gated) Item(ctx context.Context, k store.ItemKey) (i vault.Item, err error) {
	err = g.ask(ctx, "token"+of(ctx), func() (err error) { i, err = g.memory.Item(ctx, k); return err })
	return i, err
}

func (g *gated) FindItem(ctx context.Context, p id.Partner, kind vault.Kind, lookup [32]byte) (i vault.Item, err error) {
	err = g.ask(ctx, "token"+of(ctx), func() (err error) { i, err = g.memory.FindItem(ctx, p, kind, lookup); return err })
	return i, err
}

func (g *gated) FindPublic(ctx context.Context, lookup [32]byte) (p vault.Public, err error) {
	err = g.ask(ctx, "public token"+of(ctx), func() (err error) { p, err = g.memory.FindPublic(ctx, lookup); return err })
	return p, err
}

func (g *gated) Wipe(ctx context.Context, now time.Time, limit int) (n int, err error) {
	if !g.n.tokens {
		_, err := g.idle(ctx, func() bool { return true })
		return 0, err
	}
	err = g.ask(ctx, "wiping", func() (err error) { n, err = g.memory.Wipe(ctx, now, limit); return err })
	return n, err
}

// of says for which request a call is: several may ask for the same at once.
func of(ctx context.Context) string {
	if name, ok := ctx.Value(opKey{}).(string); ok {
		return " for " + name
	}
	return ""
}
