package wire

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/partner"
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

// noTokens is the answer to a token that may be right elsewhere.
const noTokens = "is not accepted: this server does not issue tokens and card hashes yet"

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
func (d *document) instrument(op Op, p *partner.Project) (*instrument.Instrument, instrument.PAN) {
	one, other := d.member(root, "payout_details"), d.member(root, "payment_method")
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
	switch method {
	case "card":
		card, pan := d.card(inner)
		return &instrument.Instrument{Card: card}, pan
	case "recurrent":
		if inner != absent {
			d.required(inner, "token", hashForm)
			d.optional(inner, "initiator", initiator)
			d.optional(inner, "security_code", codeForm)
			d.refuse(inner, noTokens)
		}
		return &instrument.Instrument{Card: &instrument.Card{}}, ""
	case "bank_account":
		return d.bankAccount(inner, op, p), ""
	case "wallet":
		return &instrument.Instrument{Wallet: d.wallet(inner)}, ""
	}
	return nil, ""
}

// card reads a card (wire reference, core §4.1). All but the number is of no
// use to a payout: it is checked and forgotten, the security code above all
// (PCI DSS 3.3.1.2).
func (d *document) card(at ref) (*instrument.Card, instrument.PAN) {
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
		d.required(inner, "number_hash", hashForm)
		d.optional(inner, "expiration_date_hash", hashForm)
		d.optional(inner, "security_code_hash", hashForm)
		d.optional(inner, "cardholder_name_hash", hashForm)
		d.refuse(inner, noTokens)
	case variant == "tokenized_card":
		d.required(inner, "token", hashForm)
		d.refuse(inner, noTokens)
	}
	return &instrument.Card{}, ""
}

// bankAccount reads an account or a phone; nil if it cannot be told which.
func (d *document) bankAccount(at ref, op Op, p *partner.Project) *instrument.Instrument {
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
		return &instrument.Instrument{Account: d.account(inner, p)}
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
func (d *document) account(at ref, p *partner.Project) *instrument.Account {
	var a instrument.Account
	if at == absent {
		return &a
	}
	if token := d.member(at, "token"); token != absent {
		d.checked(token, hashForm)
		d.refuse(token, noTokens)
	} else {
		a.BIK = d.required(at, "bik", bikForm)
		a.Number = d.required(at, "account", accountForm)
	}
	a.FullName = d.required(at, "full_name", holderForm)
	a.Description = d.required(at, "description", purposeForm)
	a.INN = d.optional(at, "inn", innForm)
	a.KPP = d.optional(at, "kpp", kppForm)
	a.Fast, a.FastSent = d.flag(at, "is_fast")

	if number := d.member(at, "account"); a.Number != "" {
		d.by(p.AccountPrefix, number, instrument.AllowedPrefix(a.Number), "does not begin as an account that may be paid to")
		if a.BIK != "" {
			d.by(p.ControlKey, number, instrument.AccountKey(a.BIK, a.Number), "fails the control key of the bank")
		}
	}
	if a.INN != "" {
		d.by(p.INNCheck, d.member(at, "inn"), instrument.INN(a.INN), "fails the check digits")
	}
	return &a
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
