package payout

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/rail"
)

const (
	accountBIK    = "044000777"
	accountNumber = "40817810900001234567"
)

// as is a call of another project.
func (l *lab) as(p id.Project) Call {
	l.Helper()
	c, ok := l.engine.Caller(p)
	if !ok {
		l.Fatalf("no project %s", p)
	}
	return Call{Project: c.Project, Version: 2}
}

// join makes another project.
func (l *lab) join(p partner.Project) Call {
	l.Helper()
	p.Methods = instrument.Kinds
	if err := l.engine.CreateProject(l.Context(), p); err != nil {
		l.Fatal(err)
	}
	return l.as(p.ID)
}

// answered is what the operations on tokens answer.
type answered struct {
	Status      string
	PublicToken string `json:"public_token"`
	Token       string
	Data        map[string]json.RawMessage
	Info        map[string]any
}

func (l *lab) asked(c Call, op wire.Op, body string) (answered, error) {
	l.Helper()
	r, err := wire.Parse(op, 1, c.Project, []byte(body))
	if err != nil {
		l.Fatalf("%s %s: %v", op, body, err)
	}
	do := map[wire.Op]func(context.Context, Call, wire.Request) (Answer, error){
		wire.OpToken: l.engine.PublicToken, wire.OpInfo: l.engine.TokenInfo, wire.OpTokenize: l.engine.Tokenize, wire.OpElements: l.engine.TokenizeElements,
	}[op]
	a, err := do(l.Context(), c, r)
	if err != nil {
		return answered{}, err
	}
	var out answered
	if err := json.Unmarshal(a.Body, &out); err != nil {
		l.Fatalf("%s: %v", a.Body, err)
	}
	return out, nil
}

// public issues a public token for the tokenize widget.
func (l *lab) public() vault.Token {
	l.Helper()
	a, err := l.asked(l.call(), wire.OpToken, `{"tokenize_widget":{"access":true}}`)
	if err != nil {
		l.Fatal(err)
	}
	return vault.Token(a.PublicToken)
}

// hash tokenizes the card by the widget.
func (l *lab) hash() CardHashes {
	l.Helper()
	h, err := l.engine.TokenizeCard(l.Context(), l.public(), CardInput{Number: []byte(cardNumber), Expiry: "0930", Holder: "M SOKOLOVA"})
	if err != nil {
		l.Fatal(err)
	}
	return h
}

// issued is a token of the card, or of the account, of the lab's project.
func (l *lab) issued(k vault.Kind) (vault.Token, id.Token) {
	l.Helper()
	project := l.call().Project
	var (
		item  vault.Item
		token vault.Token
		err   error
	)
	if k == vault.AccountToken {
		item, token, err = l.engine.newAccount(project, accountBIK, accountNumber)
	} else {
		item, token, err = l.engine.newCard(project, k, cardNumber)
	}
	if err == nil {
		_, err = l.engine.do(l.Context(), &issue{items: []vault.Item{item}})
	}
	if err != nil {
		l.Fatal(err)
	}
	return token, item.ID
}

// tokenBody is a request for a payout of 100 roubles by a token.
func tokenBody(k vault.Kind, t vault.Token) string {
	method := map[vault.Kind]string{
		vault.CardHash:       `{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":%q}}}`,
		vault.CardToken:      `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":%q}}}`,
		vault.RecurrentToken: `{"type":"recurrent","recurrent":{"token":%q}}`,
		vault.AccountToken: `{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"token":%q,"full_name":"Гусев Пётр",` +
			`"description":"Выплата"}}}`,
	}[k]
	return fmt.Sprintf(`{"payout_details":`+method+`,"amount_details":{"amount":10000,"currency":"rub"},`+
		`"participant_details":{"recipient":{"full_name":"Соколова Марина"}}}`, string(t))
}

// reached makes the rails tell what they were to pay to.
func (l *lab) reached() *atomic.Value {
	var got atomic.Value
	got.Store("")
	for _, r := range l.rails {
		r.set(func(ctx context.Context, o rail.Order, open rail.Opener) (rail.Outcome, error) {
			to := ""
			if a := o.Destination.Account; a != nil {
				to = a.BIK + a.Number + a.Token
			} else {
				digits, err := open(ctx)
				if err != nil {
					return rail.Outcome{}, err
				}
				to = string(digits)
			}
			got.Store(to)
			return rail.Outcome{Status: rail.Succeeded}, nil
		})
	}
	return &got
}

var payable = []vault.Kind{vault.CardHash, vault.CardToken, vault.RecurrentToken, vault.AccountToken}

func contentOf(k vault.Kind) string {
	if k == vault.AccountToken {
		return accountBIK + accountNumber
	}
	return cardNumber
}

// Each kind of token pays to what it stands for, as often as it is named.
func TestPayoutsByToken(t *testing.T) {
	l := newLab(t)
	got := l.reached()
	l.start()
	for _, kind := range payable {
		token, _ := l.issued(kind)
		for range 2 {
			got.Store("")
			s := l.init(tokenBody(kind, token))
			ready := l.receive(session.ReadyToConfirm, s)
			if strings.Contains(string(ready.body), accountNumber) || strings.Contains(string(ready.body), cardNumber) {
				t.Errorf("%s: the webhook tells what the token stands for: %s", kind, ready.body)
			}
			if shown := strings.Contains(string(ready.body), string(token)); shown != (kind == vault.AccountToken) {
				t.Errorf("%s: the token is echoed: %v\n%s", kind, shown, ready.body)
			}
			if err := l.confirm(s); err != nil {
				t.Fatal(err)
			}
			l.receive(session.PaymentFinished, s)
			if l.session(s).State != session.Paid || got.Load() != contentOf(kind) {
				t.Errorf("%s: it is %s, and the rail was given something else: %v", kind, l.session(s).State, got.Load() != contentOf(kind))
			}
		}
	}
	l.clean()
}

// A created session keeps a token for its start, and may get another.
func TestTokensInEveryMethod(t *testing.T) {
	l := newLab(t)
	got := l.reached()
	l.start()
	card, _ := l.issued(vault.CardToken)
	account, _ := l.issued(vault.AccountToken)
	for _, c := range []struct{ name, create, start, want string }{
		{"named at create", tokenBody(vault.CardToken, card), `{}`, cardNumber},
		{"named at start", `{}`, tokenBody(vault.AccountToken, account), accountBIK + accountNumber},
		{"replaced at start", tokenBody(vault.CardToken, card), tokenBody(vault.AccountToken, account), accountBIK + accountNumber},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := l.engine.Create(l.Context(), l.call(), l.parse(wire.OpCreate, c.create))
			if err != nil {
				t.Fatal(err)
			}
			s := l.sessionOf(a)
			r := l.parse(wire.OpCreate, c.start)
			r.Session = s
			if _, err := l.engine.Start(l.Context(), l.call(), r); err != nil {
				t.Fatal(err)
			}
			l.receive(session.ReadyToConfirm, s)
			if err := l.confirm(s); err != nil {
				t.Fatal(err)
			}
			l.receive(session.PaymentFinished, s)
			if got.Load() != c.want {
				t.Error("it was paid to something else")
			}
		})
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.TokenLife = partner.Duration(time.Hour) })
	other := l.join(partner.Project{ID: "other"})
	hash, _ := l.issued(vault.CardHash)
	card, _ := l.issued(vault.CardToken)
	account, _ := l.issued(vault.AccountToken)
	recurrent, _ := l.issued(vault.RecurrentToken)
	deleted, gone := l.issued(vault.CardToken)
	if err := l.engine.DeleteToken(t.Context(), l.project, gone, "olga"); err != nil {
		t.Fatal(err)
	}
	hashed := l.hash()
	withOther := func(member string, t vault.Token) string {
		return strings.Replace(tokenBody(vault.CardHash, hash), `{"number_hash"`, fmt.Sprintf(`{%q:%q,"number_hash"`, member, string(t)), 1)
	}
	init := func(c Call, body string) error {
		t.Helper()
		_, err := l.engine.Init(t.Context(), c, l.parse(wire.OpInit, body))
		return err
	}
	const in = "payout_details.card."
	for _, c := range []struct {
		name, body, want string
		call             Call
	}{
		{"never issued", tokenBody(vault.CardHash, vault.NewToken()), in + "encrypted_card.number_hash: no such card hash", l.call()},
		{"a hash as a token", tokenBody(vault.CardToken, hash), in + "tokenized_card.token: no such card token", l.call()},
		{"a token as a hash", tokenBody(vault.CardHash, card), in + "encrypted_card.number_hash: no such card hash", l.call()},
		{"a recurrent token as a token", tokenBody(vault.CardToken, recurrent), in + "tokenized_card.token: no such card token", l.call()},
		{"a token as a recurrent one", tokenBody(vault.RecurrentToken, card), "payout_details.recurrent.token: no such recurrent token", l.call()},
		{"an account as a card", tokenBody(vault.CardToken, account), in + "tokenized_card.token: no such card token", l.call()},
		{"a card as an account", tokenBody(vault.AccountToken, card), "payout_details.bank_account.ru.token: no such account token", l.call()},
		{"a public token", tokenBody(vault.CardToken, l.public()), in + "tokenized_card.token: no such card token", l.call()},
		{"another partner's hash", tokenBody(vault.CardHash, hash), in + "encrypted_card.number_hash: no such card hash", other},
		{"another partner's account", tokenBody(vault.AccountToken, account), "payout_details.bank_account.ru.token: no such account token", other},
		{"deleted", tokenBody(vault.CardToken, deleted), in + "tokenized_card.token: the card token was deleted", l.call()},
		{"a hash of something else", withOther("expiration_date_hash", hash), in + "encrypted_card.expiration_date_hash: no such hash of an expiry date", l.call()},
		{"the expiry for the name", withOther("cardholder_name_hash", hashed.Expiry), in + "encrypted_card.cardholder_name_hash: no such hash of a cardholder's name", l.call()},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := init(c.call, c.body)
			if fault.CodeOf(err) != fault.Invalid || !strings.HasSuffix(fmt.Sprint(err), ": "+c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if err := init(l.call(), withOther("expiration_date_hash", hashed.Expiry)); err != nil {
		t.Errorf("with the hash of the expiry date: %v", err)
	}
	l.advance(time.Hour)
	err := init(l.call(), tokenBody(vault.CardHash, hash))
	if fault.CodeOf(err) != fault.Invalid || !strings.HasSuffix(fmt.Sprint(err), "the card hash has expired") {
		t.Errorf("expired: %v", err)
	}
}

// Projects of one partner share its tokens, wherever they were issued.
func TestPartnersShareTokens(t *testing.T) {
	l := newLab(t)
	sister := l.join(partner.Project{ID: "sister", Partner: "acme"})
	hash, _ := l.issued(vault.CardHash)
	if _, err := l.engine.Init(t.Context(), sister, l.parse(wire.OpInit, tokenBody(vault.CardHash, hash))); err != nil {
		t.Errorf("a project of the same partner: %v", err)
	}
	a, err := l.asked(sister, wire.OpTokenize, `{"type":"bank_account_ru","bank_account_ru":{"bik":"`+accountBIK+`","account":"`+accountNumber+`"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.engine.Init(t.Context(), l.call(), l.parse(wire.OpInit, tokenBody(vault.AccountToken, vault.Token(a.Token)))); err != nil {
		t.Errorf("issued for the sister: %v", err)
	}
	// Who leaves the partner leaves its tokens.
	if err := l.engine.UpdateProject(t.Context(), "sister", func(p *partner.Project) error { p.Partner = ""; return nil }); err != nil {
		t.Fatal(err)
	}
	_, err = l.engine.Init(t.Context(), l.as("sister"), l.parse(wire.OpInit, tokenBody(vault.CardHash, hash)))
	if fault.CodeOf(err) != fault.Invalid {
		t.Errorf("a project that left: %v", err)
	}
}

// What ends between the request and the sending fails the payout and gives the
// money back.
func TestTokenThatEndsBeforeItIsSent(t *testing.T) {
	for _, kind := range payable {
		for _, c := range []struct {
			name, how string
			end       func(*lab, id.Token)
		}{
			{"deleted", "was deleted", func(l *lab, i id.Token) {
				if err := l.engine.DeleteToken(l.Context(), l.project, i, "olga"); err != nil {
					l.Fatal(err)
				}
			}},
			{"expired", "has expired", func(l *lab, _ id.Token) { l.advance(time.Hour) }},
		} {
			t.Run(string(kind)+" "+c.name, func(t *testing.T) {
				l := newLab(t, func(p *partner.Project) { p.TokenLife = partner.Duration(time.Hour) })
				got := l.reached()
				l.start()
				token, item := l.issued(kind)
				before := l.available()
				s := l.init(tokenBody(kind, token))
				l.receive(session.ReadyToConfirm, s)
				c.end(l, item)
				if err := l.confirm(s); err != nil {
					t.Fatal(err)
				}
				l.receive(session.PaymentFinished, s)
				p := l.session(s).Payouts[0]
				want := fault.BindingInactive
				if kind == vault.AccountToken {
					want = fault.AccountNotFound
				}
				if p.State != session.Failed || p.Failure.Code != want || !strings.HasSuffix(p.Failure.Text, c.how) {
					t.Errorf("it is %s with %+v, want %s because it %s", p.State, p.Failure, want, c.how)
				}
				if got.Load() != "" || l.available() != before {
					t.Error("it was sent, or the money is still held")
				}
				l.clean()
			})
		}
	}
}

// A refusal may be long in coming to the database. The rail is not called
// meanwhile, nor taken for one that may have been.
func TestSlowRefusalOfAnEndedToken(t *testing.T) {
	l := newLab(t)
	l.close()
	shut := &closable{}
	shut.after.Store(1 << 40)
	l.wrap = func(s store.Store) store.Store { shut.Store = s; return shut }
	l.open()
	got := l.reached()
	l.start()
	token, item := l.issued(vault.CardToken)
	s := l.init(tokenBody(vault.CardToken, token))
	l.receive(session.ReadyToConfirm, s)
	l.deliveries(s, 1)
	if err := l.engine.DeleteToken(t.Context(), l.project, item, "olga"); err != nil {
		t.Fatal(err)
	}
	shut.after.Store(1)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.eventually("the refusal has not been written", func() bool { return shut.after.Load() < 0 })
	l.advance(time.Minute) // past the rail's window, in which "never seen" means nothing
	shut.after.Store(1 << 40)
	l.receive(session.PaymentFinished, s)
	if p := l.session(s).Payouts[0]; p.State != session.Failed || p.Failure.Code != fault.BindingInactive || got.Load() != "" {
		t.Errorf("it is %s with %+v, and the rail was given %q", p.State, p.Failure, got.Load())
	}
	l.clean()
}

// closable takes so many commits more.
type closable struct {
	store.Store
	after atomic.Int64
}

func (c *closable) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	if c.after.Add(-1) < 0 {
		return fault.New(fault.Busy, "no connection")
	}
	return c.Store.Commit(ctx, reads, decide)
}

// A request that was carried out is answered by its key, whatever has become of
// its token: a partner who is told that the token is no good pays in another way.
func TestKeyOutlivesTheToken(t *testing.T) {
	for _, replay := range []bool{false, true} {
		for name, op := range map[string]struct {
			do   func(*Engine, context.Context, Call, wire.Request) (Answer, error)
			kind wire.Op
			body func(string) string
		}{
			"create": {(*Engine).Create, wire.OpCreate, func(s string) string { return s }},
			"init":   {(*Engine).Init, wire.OpInit, func(s string) string { return s }},
			"multi":  {(*Engine).MultiInit, wire.OpMulti, func(s string) string { return multiBody(cardBody(1), s) }},
		} {
			t.Run(fmt.Sprintf("%s, replay=%t", name, replay), func(t *testing.T) {
				l := newLab(t)
				token, item := l.issued(vault.CardToken)
				ask := func(key string) (Answer, error) {
					c := l.call()
					c.Key, c.Replay = key, replay
					return op.do(l.engine, t.Context(), c, l.parse(op.kind, op.body(tokenBody(vault.CardToken, token))))
				}
				first, err := ask("k")
				if err != nil {
					t.Fatal(err)
				}
				if err := l.engine.DeleteToken(t.Context(), l.project, item, "olga"); err != nil {
					t.Fatal(err)
				}
				again, err := ask("k")
				if replay && (err != nil || !again.Replayed || string(again.Body) != string(first.Body)) {
					t.Errorf("again: %s, %v; want the first answer", again.Body, err)
				}
				if !replay && fault.CodeOf(err) != fault.KeyExists {
					t.Errorf("again: %v, want %s", err, fault.KeyExists)
				}
				for _, key := range []string{"", "free"} {
					if _, err := ask(key); fault.CodeOf(err) != fault.Invalid {
						t.Errorf("by the key %q: %v, want %s", key, err, fault.Invalid)
					}
				}
			})
		}
	}
}

// A token that has ended when the recipient is checked holds nothing.
func TestTokenThatEndsBeforeItIsChecked(t *testing.T) {
	l := newLab(t)
	token, item := l.issued(vault.CardHash)
	s := l.init(tokenBody(vault.CardHash, token)) // nobody works on it yet
	if err := l.engine.DeleteToken(t.Context(), l.project, item, "olga"); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.receive(session.PaymentFinished, s)
	if p := l.session(s).Payouts[0]; p.State != session.Failed || p.Failure.Code != fault.BindingInactive {
		t.Errorf("it is %s with %+v", p.State, p.Failure)
	}
	if r := l.clean(); r.Entries != 1 {
		t.Errorf("%d entries, want the deposit alone", r.Entries)
	}
}

// What was promised to a rail is carried out, even if its token is deleted
// before the rail is called again.
func TestDeletedTokenOfAPromisedPayout(t *testing.T) {
	l := newLab(t)
	token, item := l.issued(vault.CardToken)
	deleted := make(chan struct{})
	l.rails[instrument.KindCard].set(func(ctx context.Context, _ rail.Order, open rail.Opener) (rail.Outcome, error) {
		select {
		case <-deleted:
		default:
			close(deleted)
			if err := l.engine.DeleteToken(ctx, l.project, item, "olga"); err != nil {
				return rail.Outcome{}, err
			}
			return rail.Outcome{}, errNoAnswer
		}
		if digits, err := open(ctx); err != nil || string(digits) != cardNumber {
			return rail.Outcome{}, fmt.Errorf("not opened: %w", err)
		}
		return rail.Outcome{Status: rail.Succeeded}, nil
	})
	l.start()
	s := l.init(tokenBody(vault.CardToken, token))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.until(s, session.Unclear)
	l.advance(time.Minute) // past the rail's window, in which "never seen" means nothing
	l.receive(session.PaymentFinished, s)
	if state := l.session(s).State; state != session.Paid {
		t.Errorf("it is %s", state)
	}
}

// Of many who use a public token at once one succeeds.
func TestOneUseOfAPublicToken(t *testing.T) {
	l := newLab(t)
	token := l.public()
	const users = 1000
	var (
		wg        sync.WaitGroup
		won, lost atomic.Int64
		hash      atomic.Value
	)
	for n := range users {
		wg.Go(func() {
			var err error
			if n%2 == 0 {
				var h CardHashes
				if h, err = l.engine.TokenizeCard(t.Context(), token, CardInput{Number: []byte(cardNumber)}); err == nil {
					hash.Store(tokenBody(vault.CardHash, h.Number))
				}
			} else {
				var account vault.Token
				if account, _, err = l.engine.TokenizeAccount(t.Context(), token, accountBIK, accountNumber); err == nil {
					hash.Store(tokenBody(vault.AccountToken, account))
				}
			}
			switch {
			case err == nil:
				won.Add(1)
			case fault.CodeOf(err) == fault.TokenUsed:
				lost.Add(1)
			default:
				t.Errorf("use: %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != users-1 {
		t.Fatalf("%d succeeded and %d found it used", won.Load(), lost.Load())
	}
	if _, err := l.engine.Init(t.Context(), l.call(), l.parse(wire.OpInit, hash.Load().(string))); err != nil {
		t.Errorf("what the one got: %v", err)
	}
	items, err := l.engine.Tokens(t.Context(), l.project, 0, users)
	if err != nil || len(items) != 1 {
		t.Errorf("%d tokens stand in the vault: %v", len(items), err)
	}
}

func TestPublicTokens(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.PublicTokenLife = partner.Duration(time.Hour) })
	card := func(t vault.Token, number string) error {
		_, err := l.engine.TokenizeCard(l.Context(), t, CardInput{Number: []byte(number)})
		return err
	}
	want := func(name string, err error, code fault.Code) {
		t.Helper()
		if err == nil || fault.CodeOf(err) != code {
			t.Errorf("%s: got %v, want %s", name, err, code)
		}
	}
	active := func(token vault.Token) any {
		t.Helper()
		a, err := l.asked(l.call(), wire.OpInfo, `{"type":"public_token","public_token":{"token":"`+string(token)+`"}}`)
		if err != nil {
			t.Fatal(err)
		}
		return a.Info["is_active"]
	}

	want("one that nobody issued", card(vault.NewToken(), cardNumber), fault.NotFound)
	hash, _ := l.issued(vault.CardHash)
	want("a hash", card(hash, cardNumber), fault.NotFound)

	a, err := l.asked(l.call(), wire.OpToken, `{"self_employed_widget":{"tax_reference":"772912345698"}}`)
	if err != nil {
		t.Fatal(err)
	}
	person := vault.Token(a.PublicToken)
	want("one of another widget", card(person, cardNumber), fault.Unauthorized)
	if p, err := l.engine.OpenWidgets(t.Context(), person); err != nil || p.Widgets.SelfEmployed.INN != "772912345698" || p.Widgets.Tokenize != nil {
		t.Errorf("it opens %+v: %v", p.Widgets, err)
	}

	// Two widgets in one token are used up one by one.
	a, err = l.asked(l.call(), wire.OpToken, `{"tokenize_widget":{"access":true},"self_employed_widget":{"tax_reference":"772912345698"}}`)
	if err != nil {
		t.Fatal(err)
	}
	both := vault.Token(a.PublicToken)
	if err := card(both, cardNumber); err != nil || active(both) != true {
		t.Errorf("used for one of two widgets: %v, active %v", err, active(both))
	}
	want("used", card(both, cardNumber), fault.TokenUsed)
	if err := l.engine.UseWidget(t.Context(), both, WidgetSelfEmployed); err != nil || active(both) != false {
		t.Errorf("used for both: %v, active %v", err, active(both))
	}
	want("used twice", l.engine.UseWidget(t.Context(), both, WidgetSelfEmployed), fault.TokenUsed)

	// What is refused is counted, and a token has only so many attempts.
	tried := l.public()
	for range vault.AttemptsMax - 2 {
		want("a number that fails", card(tried, "4242424242424243"), fault.Invalid)
	}
	_, _, err = l.engine.TokenizeAccount(t.Context(), tried, "1", "2")
	want("an account that is none", err, fault.Invalid)
	if active(tried) != true {
		t.Error("it is spent one attempt too early")
	}
	if err := l.engine.CountAttempt(t.Context(), tried, WidgetTokenize); err != nil {
		t.Error(err)
	}
	want("tried too often", card(tried, cardNumber), fault.TooMany)
	want("counted too often", l.engine.CountAttempt(t.Context(), tried, WidgetTokenize), fault.TooMany)
	if active(tried) != false {
		t.Error("it is active after too many attempts")
	}

	fresh := l.public()
	l.advance(time.Hour)
	want("expired", card(fresh, cardNumber), fault.TokenExpired)
	if active(fresh) != false {
		t.Error("it is active after its end")
	}

	// An idempotency key keeps no token: a repeat gets another.
	keyed, tokens := l.call(), map[string]bool{}
	keyed.Key, keyed.Replay = "k", true
	for range 2 {
		a, err := l.asked(keyed, wire.OpToken, `{"tokenize_widget":{"access":true}}`)
		if err != nil {
			t.Fatal(err)
		}
		tokens[a.PublicToken] = true
	}
	if len(tokens) != 2 {
		t.Error("the same token twice")
	}

	// It belongs to its project and nobody else, not even to a sister.
	sister := l.join(partner.Project{ID: "sister", Partner: "acme"})
	_, err = l.asked(sister, wire.OpInfo, `{"type":"public_token","public_token":{"token":"`+string(fresh)+`"}}`)
	want("another project's", err, fault.Invalid)
	_, err = l.asked(l.call(), wire.OpToken, `{"acquiring_widget":{"session_id":"ps_1"}}`)
	want("a payment form without a session", err, fault.Invalid)
}

func TestTokenInfo(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.TokenLife = partner.Duration(time.Hour) })
	other := l.join(partner.Project{ID: "other"})
	body := map[vault.Kind]string{
		vault.CardHash:       `{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":%q}}}`,
		vault.CardToken:      `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":%q}}}`,
		vault.RecurrentToken: `{"type":"recurrent_token","recurrent_token":{"token":%q}}`,
		vault.AccountToken:   `{"type":"bank_account_ru","bank_account_ru":{"token":%q}}`,
	}
	for _, kind := range payable {
		token, item := l.issued(kind)
		about := fmt.Sprintf(body[kind], string(token))
		a, err := l.asked(l.call(), wire.OpInfo, about)
		if err != nil {
			t.Fatal(err)
		}
		shown := map[vault.Kind]any{
			vault.CardHash: a.Info["last4"], vault.CardToken: a.Info["last4"], vault.RecurrentToken: a.Info["is_active"], vault.AccountToken: a.Info["masked_account"],
		}[kind]
		if want := map[vault.Kind]any{vault.RecurrentToken: true, vault.AccountToken: "40817***4567"}[kind]; shown != want && shown != "1317" {
			t.Errorf("%s: %v", kind, a.Info)
		}
		if _, err := l.asked(other, wire.OpInfo, about); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: another partner is told: %v", kind, err)
		}
		if err := l.engine.DeleteToken(t.Context(), l.project, item, "olga"); err != nil {
			t.Fatal(err)
		}
		a, err = l.asked(l.call(), wire.OpInfo, about)
		if kind == vault.RecurrentToken {
			if err != nil || a.Info["is_active"] != false {
				t.Errorf("deleted: %v, %v", a.Info, err)
			}
		} else if fault.CodeOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), "was deleted") {
			t.Errorf("%s, deleted: %v", kind, err)
		}
	}
}

func TestTokenizeElements(t *testing.T) {
	const body = `{"elements":[{"ref":"number","type":"card_number","card_number":"` + cardNumber + `"}]}`
	l := newLab(t)
	if _, err := l.asked(l.call(), wire.OpElements, body); fault.CodeOf(err) != fault.Unauthorized {
		t.Errorf("not enabled: %v", err)
	}
	allowed := l.join(partner.Project{ID: "pci", Partner: "acme", Elements: true, CardIDs: true})
	a, err := l.asked(allowed, wire.OpElements, body)
	if err != nil {
		t.Fatal(err)
	}
	var number struct {
		Token string
		Info  map[string]string
	}
	if err := json.Unmarshal(a.Data["number"], &number); err != nil || number.Info["masked_card_number"] != "220000******1317" {
		t.Errorf("%s: %v", a.Data["number"], err)
	}
	// The card has one identifier, however it comes.
	ids := map[string]bool{}
	for _, body := range []string{tokenBody(vault.CardToken, vault.Token(number.Token)), cardBody(100)} {
		answer, err := l.engine.Init(t.Context(), allowed, l.parse(wire.OpInit, body))
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.store.Session(t.Context(), store.SessionKey{Project: "pci", Session: l.sessionOf(answer)})
		if err != nil {
			t.Fatal(err)
		}
		ids[s.Payouts[0].Details.Instrument.Card.CardID] = true
	}
	if len(ids) != 1 || ids[""] {
		t.Errorf("identifiers %v, want one", ids)
	}
	if plain := l.session(l.init(cardBody(100))); plain.Payouts[0].Details.Instrument.Card.CardID != "" {
		t.Error("an identifier for a project that did not ask")
	}
}

// A project that asks for it gets a token of each account that was paid to.
func TestAccountTokens(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.AccountTokens = true })
	got := l.reached()
	l.start()
	pay := func(body string) string {
		t.Helper()
		s := l.init(body)
		l.receive(session.ReadyToConfirm, s)
		if err := l.confirm(s); err != nil {
			t.Fatal(err)
		}
		h := l.receive(session.PaymentFinished, s)
		token := l.session(s).Payouts[0].Info.BankAccountToken
		if !strings.Contains(string(h.body), `"bank_account_ru_token":"`+token+`"`) && token != "" {
			t.Errorf("the webhook does not tell it: %s", h.body)
		}
		return token
	}
	token := pay(accountBody(accountNumber, 100))
	if token == "" {
		t.Fatal("no token")
	}
	if again := pay(tokenBody(vault.AccountToken, vault.Token(token))); again != "" {
		t.Error("a token of a token")
	}
	if got.Load() != accountBIK+accountNumber {
		t.Error("the token stands for another account")
	}
	if pay(cardBody(100)) != "" {
		t.Error("a token of a card")
	}
	l.rails[instrument.KindAccount].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined}, nil
	})
	if pay(accountBody(accountNumber, 100)) != "" {
		t.Error("a token of an account that was not paid to")
	}
	l.clean()
}

func TestOperatorsTokens(t *testing.T) {
	l := newLab(t)
	_, _, err := l.engine.IssueCard(t.Context(), l.project, vault.RecurrentToken, []byte(cardNumber), "olga")
	if fault.CodeOf(err) != fault.Unauthorized {
		t.Errorf("outside a sandbox: %v", err)
	}
	l.engine.sandbox = true
	for name, wrong := range map[string]func() error{
		"no card number": func() error {
			_, _, err := l.engine.IssueCard(t.Context(), l.project, vault.CardToken, []byte("4242"), "olga")
			return err
		},
		"not of cards": func() error {
			_, _, err := l.engine.IssueCard(t.Context(), l.project, vault.AccountToken, []byte(cardNumber), "olga")
			return err
		},
	} {
		if err := wrong(); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	item, token, err := l.engine.IssueCard(t.Context(), l.project, vault.RecurrentToken, []byte(cardNumber+"\n"), "olga")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.engine.Init(t.Context(), l.call(), l.parse(wire.OpInit, tokenBody(vault.RecurrentToken, token))); err != nil {
		t.Errorf("a payout by it: %v", err)
	}
	l.join(partner.Project{ID: "other"})
	if err := l.engine.DeleteToken(t.Context(), "other", item.ID, "igor"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("another partner's: %v", err)
	}
	for range 2 { // the second changes nothing
		if err := l.engine.DeleteToken(t.Context(), l.project, item.ID, "olga"); err != nil {
			t.Fatal(err)
		}
	}
	acts, err := l.engine.Audit(t.Context(), 10)
	if err != nil || len(acts) != 2 || acts[0].What != "token_delete" || acts[1].What != "token_issue" || acts[0].Actor != "olga" || acts[0].Subject != item.ID.String() {
		t.Errorf("the acts are %+v: %v", acts, err)
	}
	for _, a := range acts {
		if text := fmt.Sprintf("%+v", a); strings.Contains(text, string(token)) || strings.Contains(text, cardNumber) {
			t.Errorf("an act tells too much: %s", text)
		}
	}
}

// Nothing that a token stands for, and no token but those of accounts, is to be
// found in the database.
func TestDatabaseTellsNoTokens(t *testing.T) {
	l := newLab(t)
	l.start()
	public, hashed := l.public(), l.hash()
	secrets := []string{string(public), string(hashed.Number), string(hashed.Expiry), string(hashed.Holder), cardNumber, accountNumber, "SOKOLOVA"}
	for _, kind := range payable {
		token, _ := l.issued(kind)
		if kind != vault.AccountToken { // the wire shows it with each payout
			secrets = append(secrets, string(token))
		}
		s := l.init(tokenBody(kind, token))
		l.receive(session.ReadyToConfirm, s)
		if err := l.confirm(s); err != nil {
			t.Fatal(err)
		}
		l.receive(session.PaymentFinished, s)
	}
	l.close()
	files, err := filepath.Glob(filepath.Join(l.dir, "payoutd.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, secret := range secrets {
			if strings.Contains(string(b), secret) {
				t.Errorf("%s holds secret %d", filepath.Base(file), n)
			}
		}
	}
}

func TestCheckOpensTheVault(t *testing.T) {
	l := newLab(t)
	card, _ := l.issued(vault.CardToken)
	account, item := l.issued(vault.AccountToken)
	for _, body := range []string{cardBody(100), tokenBody(vault.CardToken, card), tokenBody(vault.AccountToken, account)} {
		l.init(body)
	}
	if r := l.clean(); r.Opened != 3 {
		t.Errorf("%d opened, want 3", r.Opened)
	}
	if err := l.engine.DeleteToken(t.Context(), l.project, item, "olga"); err != nil {
		t.Fatal(err)
	}
	l.clock.advance(vault.KeepAfterEnd)
	if err := l.engine.wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := l.clean(); r.Opened != 3 {
		t.Errorf("%d opened or knowingly wiped, want 3", r.Opened)
	}

	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.engine.vault.Use(keys); err != nil {
		t.Fatal(err)
	}
	r, err := l.engine.Check(t.Context())
	if err != nil || len(r.Problems) != 2 || !strings.Contains(r.Problems[0], "does not open") {
		t.Errorf("with another key: %q, %v", r.Problems, err)
	}
	if err := l.engine.vault.Use(l.keys); err != nil {
		t.Fatal(err)
	}
	l.close()
	l.sql(`DELETE FROM cards; DELETE FROM items WHERE kind = 'card_token'`)
	l.open()
	r, err = l.engine.Check(t.Context())
	if err != nil || len(r.Problems) != 2 || !strings.Contains(r.Problems[0], "missing") {
		t.Errorf("with rows missing: %q, %v", r.Problems, err)
	}
}

// sql changes the database behind the program's back; the store is closed.
func (l *lab) sql(statements string) {
	l.Helper()
	db, err := sql.Open("sqlite", filepath.Join(l.dir, "payoutd.db"))
	if err != nil {
		l.Fatal(err)
	}
	if _, err := db.ExecContext(l.Context(), statements); err != nil {
		l.Fatal(err)
	}
	if err := db.Close(); err != nil {
		l.Fatal(err)
	}
}
