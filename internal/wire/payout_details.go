package wire

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/vault"
)

// A choice is a member that names the variant of the object in which it
// stands, {"type": "card", "card": {…}}, with the variants that this server
// takes and those of the wire that it does not (wire reference, core §4).
type choice struct {
	tag     string
	taken   []string
	refused []string
}

const verification = "faster_payment_system_verification"

var (
	methods = choice{
		tag: "type", taken: []string{"card", "bank_account", "wallet", "recurrent"},
		refused: []string{"crypto_wallet", "tax", "moneysend", "internal_transfer"},
	}
	cards = choice{tag: "type", taken: []string{"bank_card", "encrypted_card", "tokenized_card"}}
	banks = choice{
		tag: "system_type", taken: []string{"ru", "faster_payment_system", verification},
		refused: []string{"iban", "upi", "global"},
	}
	wallets = choice{tag: "type", taken: []string{"yoomoney"}, refused: []string{"qiwi", "moneta", "steam"}}
)

// variant reads a choice: its name, "" if it is none that is taken, and its
// object, absent if that is missing or no object.
func (d *document) variant(of ref, c choice) (string, ref) {
	if !d.object(of) {
		return "", absent
	}
	tag := d.member(of, c.tag)
	if tag == absent {
		d.missing(of, c.tag)
		return "", absent
	}
	name, ok := d.text(tag)
	switch {
	case !ok:
		return "", absent
	case slices.Contains(c.refused, name):
		d.refuse(tag, name+" "+isUnsupported)
		return "", absent
	case !slices.Contains(c.taken, name):
		d.refuse(tag, "is not a known type")
		return "", absent
	}
	at := d.member(of, name)
	if at == absent {
		d.missing(of, name)
		return name, absent
	}
	if !d.object(at) {
		return name, absent
	}
	return name, at
}

// instrument reads where the payout goes, under either version's name. What it
// returns has its kind even where members of it are wrong, so that the checks
// that go by the kind are made too.
func (d *document) instrument(of ref, op Op, p *partner.Project, r *Request) (*instrument.Instrument, instrument.PAN) {
	one, other := d.member(of, "payout_details"), d.member(of, "payment_method")
	if one != absent && other != absent {
		d.refuse(other, "must not be sent together with payout_details")
		return nil, ""
	}
	at := max(one, other)
	if at == absent {
		return nil, ""
	}
	method, inner := d.variant(at, methods)
	if op == OpVerify && method != "bank_account" {
		if method != "" {
			d.refuse(d.member(at, "type"), "must be bank_account in a customer verification")
		}
		return nil, ""
	}
	if r.Details.Source != "" && method != "bank_account" {
		if method != "" {
			d.refuse(d.member(at, "type"), "must be bank_account in a payout from a settlement or escrow account")
		}
		return nil, ""
	}
	switch method {
	case "card":
		card, pan := d.card(inner, r)
		return &instrument.Instrument{Card: card}, pan
	case "recurrent":
		if inner != absent {
			r.Spent = append(r.Spent, *d.spent(inner, "token", vault.RecurrentToken))
			d.optional(inner, "initiator", initiator)
			d.optional(inner, "security_code", codeForm)
		}
		return &instrument.Instrument{Card: &instrument.Card{}}, ""
	case "bank_account":
		return d.bankAccount(inner, op, p, r), ""
	case "wallet":
		return &instrument.Instrument{Wallet: d.wallet(inner)}, ""
	}
	return nil, ""
}

// card reads a card (wire reference, core §4.1). All but the number is of no
// use to a payout: it is checked and forgotten, the security code above all
// (PCI DSS 3.3.1.2).
func (d *document) card(at ref, r *Request) (*instrument.Card, instrument.PAN) {
	if at == absent {
		return &instrument.Card{}, ""
	}
	switch variant, inner := d.variant(at, cards); {
	case inner == absent:
	case variant == "bank_card":
		number := d.required(inner, "number", cardNumber)
		d.optional(inner, "expiration_month", monthForm)
		d.optional(inner, "expiration_year", yearForm)
		d.optional(inner, "security_code", codeForm)
		d.optional(inner, "cardholder_name", nameForm)
		if number != "" {
			pan := instrument.PAN(number)
			card := pan.Shown()
			return &card, pan
		}
	case variant == "encrypted_card":
		r.Spent = append(r.Spent, *d.spent(inner, "number_hash", vault.CardHash))
		for _, other := range otherHashes {
			if d.member(inner, other.name) != absent {
				r.Spent = append(r.Spent, *d.spent(inner, other.name, other.kind))
			}
		}
		d.optional(inner, "security_code_hash", hashForm) // none is issued here
	case variant == "tokenized_card":
		r.Spent = append(r.Spent, *d.spent(inner, "token", vault.CardToken))
	}
	return &instrument.Card{}, ""
}

// otherHashes are the members of an encrypted card that say nothing to a payout
// and must be right all the same.
var otherHashes = []struct {
	name string
	kind vault.Kind
}{{"expiration_date_hash", vault.ExpiryHash}, {"cardholder_name_hash", vault.HolderHash}}

// bankAccount reads an account or a phone; nil if it cannot be told which.
func (d *document) bankAccount(at ref, op Op, p *partner.Project, r *Request) *instrument.Instrument {
	if at == absent {
		return nil
	}
	system, inner := d.variant(at, banks)
	if system == "" {
		return nil
	}
	if (system == verification) != (op == OpVerify) {
		reason := "must be " + verification + " in a customer verification"
		if op != OpVerify {
			reason = verification + " is only possible as a customer verification"
		}
		d.refuse(d.member(at, banks.tag), reason)
		return nil
	}
	if system == "ru" {
		return &instrument.Instrument{Account: d.account(inner, p, r)}
	}
	fps := &instrument.FPS{Verify: system == verification}
	if inner != absent {
		fps.Phone = d.required(inner, "phone", phoneForm)
		fps.BankID = d.required(inner, "bank_id", bankIDForm)
		if !fps.Verify {
			fps.Description = d.required(inner, "description", messageForm)
		}
	}
	return &instrument.Instrument{FPS: fps}
}

// account reads an account at a Russian bank (wire reference, core §4.2).
func (d *document) account(at ref, p *partner.Project, r *Request) *instrument.Account {
	var a instrument.Account
	if at == absent {
		return &a
	}
	if d.member(at, "token") != absent {
		spent := d.spent(at, "token", vault.AccountToken)
		a.Token, r.Spent = string(spent.Token), append(r.Spent, *spent)
	} else {
		a.BIK = d.required(at, "bik", bikForm)
		a.Number = d.required(at, "account", accountForm)
	}
	a.FullName = d.required(at, "full_name", holderForm)
	a.Description = d.required(at, "description", purposeForm)
	a.INN = d.optional(at, "inn", innForm)
	a.KPP = d.optional(at, "kpp", kppForm)
	a.Fast, a.FastSent = d.flag(at, "is_fast")

	d.accountBy(p, d.member(at, "account"), a.BIK, a.Number)
	if a.INN != "" {
		d.by(p.INNCheck, d.member(at, "inn"), instrument.INN(a.INN), "fails the check digits")
	}
	return &a
}

// accountBy makes the checks on an account that the project has switched on.
func (d *document) accountBy(p *partner.Project, at ref, bik, number string) {
	if number == "" {
		return
	}
	d.by(p.AccountPrefix, at, instrument.AllowedPrefix(number), "does not begin as an account that may be paid to")
	if bik != "" {
		d.by(p.ControlKey, at, instrument.AccountKey(bik, number), "fails the control key of the bank")
	}
}

// flag reads a boolean, which may be in quotes (wire reference, core §7 no. 13).
func (d *document) flag(of ref, name string) (value, sent bool) {
	at := d.member(of, name)
	if at == absent {
		return false, false
	}
	switch n := &d.nodes[at]; {
	case n.kind == jsontext.KindTrue, n.kind == jsontext.KindString && string(unquote(n.raw)) == "true":
		return true, true
	case n.kind == jsontext.KindFalse, n.kind == jsontext.KindString && string(unquote(n.raw)) == "false":
		return false, true
	}
	d.refuse(at, "must be true or false")
	return false, false
}

// wallet reads a YooMoney wallet (wire reference, core §4.4).
func (d *document) wallet(at ref) *instrument.Wallet {
	var w instrument.Wallet
	if at == absent {
		return &w
	}
	if _, inner := d.variant(at, wallets); inner != absent {
		w.Account = d.required(inner, "account", walletForm)
		w.Description = d.optional(inner, "description", noteForm)
	}
	return &w
}
