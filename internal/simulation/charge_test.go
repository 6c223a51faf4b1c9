package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
)

// charge is one session that a partner wants: how often it asks for it is
// another matter.
type charge struct {
	*shop
	label   string
	items   []*item // what it is to pay, in the order of the request
	source  instrument.Source
	account string // own account, with a source
	key     string // idempotency key of the request that makes it; "" for none
	session id.Session
	first   []byte          // the first answer to the request that makes it
	told    json.RawMessage // what is to be confirmed, as the partner was told

	created   bool     // it is made by create and start
	revisited bool     // it was archived, and its partner may come back to it
	asks      int      // requests that make it, so far
	asked     bool     // confirm was asked for
	confirmed bool     // and the answer was that it is
	cancelled bool     // the same of cancel
	annuls    bool     // cancelling the receipt was asked for
	annulled  bool     // and the answer was that it is
	shown     []string // amounts of its payouts when it could be confirmed
	ends      []string // as the partner was told by webhook
}

// item is one payout of a charge. No two have the same recipient, amount and
// destination together.
type item struct {
	charge      *charge
	label       string // the recipient
	kind        instrument.Kind
	destination string
	verify      bool // it asks who somebody is, and moves no money
	minor       int64
	currency    money.Currency
	fiscal      *fiscal
	by          *bearer // nil for an open number
	news        news
	paid        int // by the books of the rails
}

// fiscal is the receipt that a payout is to have.
type fiscal struct {
	who   *person
	minor int64
	alone bool // and there is no payout
}

// shape gives a charge what it has beside one plain payout. What is left out of
// a history is not drawn, so that the rest stays as it is.
func (c *charge) shape() {
	r := c.roll("shape of " + c.label)
	one, kind := c.items[0], r.IntN(100)
	c.shop.cents(one)
	switch {
	case kind < 25 && c.multi:
		for n := range 1 + r.IntN(3) {
			next, _ := c.shop.item(fmt.Sprintf("%s.%d", c.label, n+2))
			next.charge = c
			c.shop.cents(next)
			c.items = append(c.items, next)
		}
		one.label += ".1" // whose recipient is told from the others' by it
	case kind < 65 && c.taxed:
		one.fiscal = &fiscal{who: c.office.people[r.IntN(len(c.office.people))], minor: one.minor}
		switch {
		case one.currency != money.RUB:
			one.fiscal.minor = int64(100 + r.IntN(20_000))
		case r.IntN(5) == 0:
			one.fiscal.alone = true
		}
	case kind < 80 && len(c.accounts) > 0:
		for _, number := range c.numbers() {
			if c.source == "" || r.IntN(2) == 0 {
				c.source, c.account = c.accounts[number], number
			}
		}
		one.kind, one.destination, one.currency = instrument.KindAccount, accounts[r.IntN(len(accounts))], money.RUB
	case kind < 95 && c.phones:
		one.kind, one.destination = instrument.KindFPS, phoneNumbers[r.IntN(len(phoneNumbers))]
		if one.verify = r.IntN(3) == 0; one.verify {
			one.currency = money.RUB
		}
	}
	if c.tokens {
		for _, i := range c.items {
			i.pays()
		}
	}
}

// cents makes some amounts foreign.
func (s *shop) cents(i *item) {
	r := s.roll("currency of " + i.label)
	if s.foreign && r.IntN(3) == 0 {
		i.minor, i.currency = int64(1+r.IntN(250)), money.USD
	}
}

// details are the members of a request that say what one payout is.
func (i *item) details() string {
	var to string
	switch {
	case i.fiscal != nil && i.fiscal.alone:
		return i.participants() + "," + i.receipt()
	case i.by != nil && i.kind == instrument.KindAccount:
		to = fmt.Sprintf(`"bank_account","bank_account":{"system_type":"ru","ru":{"token":%q,"full_name":%q,"description":"Pay"}}`, i.by.shows(), i.label)
	case i.by != nil && i.by.kind == vault.CardHash:
		to = fmt.Sprintf(`"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":%q}}`, i.by.shows())
	case i.by != nil:
		to = fmt.Sprintf(`"card","card":{"type":"tokenized_card","tokenized_card":{"token":%q}}`, i.by.shows())
	case i.kind == instrument.KindAccount:
		to = fmt.Sprintf(`"bank_account","bank_account":{"system_type":"ru","ru":{"bik":"044000777","account":%q,"full_name":%q,"description":"Pay"}}`,
			i.destination, i.label)
	case i.kind == instrument.KindFPS:
		system, about := "faster_payment_system", `,"description":"Pay"`
		if i.verify {
			system, about = system+"_verification", ""
		}
		to = fmt.Sprintf(`"bank_account","bank_account":{"system_type":%q,%q:{"phone":%q,"bank_id":"100000000131"%s}}`, system, system, i.destination, about)
	default:
		to = fmt.Sprintf(`"card","card":{"type":"bank_card","bank_card":{"number":%q}}`, i.destination)
	}
	text := fmt.Sprintf(`"payout_details":{"type":%s}`, to)
	if !i.verify {
		text += fmt.Sprintf(`,"amount_details":{"amount":%d,"currency":%q}`, i.minor, i.currency.Lower())
	}
	if i.kind != instrument.KindAccount || i.fiscal != nil || i.charge.source != "" {
		text += "," + i.participants()
	}
	if i.fiscal != nil {
		text += "," + i.receipt()
	}
	return text
}

func (i *item) participants() string {
	to := fmt.Sprintf(`"full_name":%q`, i.label)
	if i.charge.source == "" {
		return `"participant_details":{"recipient":{` + to + `}}`
	}
	return fmt.Sprintf(`"participant_details":{"sender":{"account":%q,"beneficiary_id":"7700000131"},"recipient":{%s,"beneficiary_id":"770000013100"}}`,
		i.charge.account, to)
}

// receipt names the item on it, so that the tax service's books tell whose it is.
func (i *item) receipt() string {
	return fmt.Sprintf(`"fiscalization_details":{"professional_income_taxpayer":{"tax_reference":%q,"services":[{"name":%q,`+
		`"amount_details":{"amount":%d,"currency":"rub"}}]}}`, i.fiscal.who.inn, i.label, i.fiscal.minor)
}

// creates, starts and inits are the operations by which a charge is made.
func (c *charge) creates() wire.Op {
	if c.source != "" {
		return wire.Op(c.source.Path(string(wire.OpCreate)))
	}
	return wire.OpCreate
}

func (c *charge) starts() wire.Op {
	switch one := c.items[0]; {
	case c.source != "":
		return wire.Op(c.source.Path(string(wire.OpStart)))
	case one.verify:
		return wire.OpVerify
	case one.fiscal != nil && one.fiscal.alone:
		return wire.OpFiscal
	case one.fiscal != nil:
		return wire.OpStartFiscal
	}
	return wire.OpStart
}

func (c *charge) inits() wire.Op {
	switch one := c.items[0]; {
	case len(c.items) > 1:
		return wire.OpMulti
	case c.source != "":
		return wire.Op(c.source.Path(string(wire.OpInit)))
	case one.verify:
		return wire.OpVerify
	case one.fiscal != nil:
		return wire.OpInitFiscal
	}
	return wire.OpInit
}

// steps says whether a charge is made by create and start: some can be made in
// no other way, and some never.
func (c *charge) steps(drawn bool) bool {
	one := c.items[0]
	alone := one.fiscal != nil && one.fiscal.alone
	return alone || drawn && len(c.items) == 1 && !one.verify
}

// body is that of the request that makes the charge.
func (c *charge) body(create bool) string {
	switch one := c.items[0]; {
	case create && one.fiscal != nil: // what create gives is no receipt
		return "{" + one.participants() + "}"
	case len(c.items) == 1:
		return "{" + one.details() + "}"
	}
	var list []string
	for _, i := range c.items {
		list = append(list, "{"+i.details()+"}")
	}
	return `{"payout_list":[` + strings.Join(list, ",") + "]}"
}

func (c *charge) parse(op wire.Op, body string) (wire.Request, bool) {
	r, err := wire.Parse(op, 2, &c.project, []byte(body))
	if err != nil {
		c.breaks("answers", "%s %s: %v", op, body, err)
	}
	return r, err == nil
}

// ask makes the charge: create says without starting it.
func (c *charge) ask(create bool, name string, replay bool) {
	how, body := c.inits(), c.body(create)
	if create {
		how = c.creates()
	}
	r, ok := c.parse(how, body)
	if !ok {
		return
	}
	call := c.call(c.key, replay, string(how)+body)
	gone, before := c.isArchived(c.project.ID, c.session), c.first != nil
	c.asks++
	c.created = create
	may, judge := c.spends(body)
	c.world.start(&op{name: name, what: string(how), by: c.shop, may: may, do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		switch {
		case create:
			return e.Create(ctx, call, r)
		case how == wire.OpMulti:
			return e.MultiInit(ctx, call, r)
		case how == wire.OpVerify:
			return e.Verify(ctx, call, r)
		}
		return e.Init(ctx, call, r)
	}, then: func(a payout.Answer, err error) {
		if judge(a, err); gone {
			c.ofArchived(name, a, err)
		}
		switch {
		case before && fault.CodeOf(err) == fault.Invalid, before && replay && !c.remarked() && (err == nil && !a.Replayed || fault.CodeOf(err) == fault.KeyExists || fault.CodeOf(err) == fault.WrongState):
			c.breaks("key", "%s was answered, and asks for that again: %s %v", c.label, a.Body, err)
		case err == nil:
			c.made(a)
		case fault.CodeOf(err) == fault.KeyExists && c.asks == 1:
			c.breaks("own", "%s used its key once and is told that it exists", c.label)
		}
	}})
}

// remarked reports whether what a key stands for can't be compared any more.
func (c *charge) remarked() bool { return c.safe != nil && c.safe.marked }

// learns keeps what is to be confirmed, wherever it is shown.
func (c *charge) learns(body []byte) {
	var said struct {
		Information json.RawMessage `json:"confirm_information"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		c.breaks("answers", "%s: %v", body, err)
	}
	switch {
	case said.Information == nil:
	case c.source == "":
		c.breaks("consent", "%s is to be confirmed by %s, and is paid from the balance", c.label, said.Information)
	case c.told != nil && string(c.told) != string(said.Information):
		c.breaks("consent", "%s is to be confirmed first by %s, then by %s", c.label, c.told, said.Information)
	default:
		c.told = said.Information
	}
}

// informs gives confirm what it is about, where it must say so. Some partners
// err in that, which is told.
func (c *charge) informs(r *wire.Request, name string) (wrong bool) {
	if c.source == "" {
		return false
	}
	r.Information = c.told
	if c.told == nil {
		return true
	}
	if c.roll(name+" errs").IntN(5) > 0 || !c.may(name+" confirms something else") {
		return false
	}
	r.Information = json.RawMessage(strings.Replace(string(c.told), c.items[0].label, "Somebody Else", 1))
	return string(r.Information) != string(c.told)
}

// informed is the refusal of who confirms something else, or does not know yet
// what.
func (c *charge) informed() []fault.Code {
	if c.source == "" {
		return nil
	}
	return []fault.Code{fault.Invalid}
}

// awaits reports whether somebody must confirm the item: a payout in dollars
// that was refused lets the others of its session go without.
func (i *item) awaits() bool {
	return i.charge.source != "" || i.currency != money.RUB || !i.charge.shop.project.SingleRequest
}

// moves reports whether the item is a payment.
func (i *item) moves() bool { return !i.verify && (i.fiscal == nil || !i.fiscal.alone) }
