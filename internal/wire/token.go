package wire

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/vault"
)

// Spent is a token or hash that stands for the instrument of a payout.
type Spent struct {
	Kind  vault.Kind
	Token vault.Token
	Path  string // of the member that has it, for refusals
}

// Tokens is what the body of an operation on tokens said; members that belong
// to other operations are zero.
type Tokens struct {
	Widgets vault.Widgets // token
	// BIK and Number are an account to be tokenized.
	BIK, Number string
	Elements    []Element // tokenize/elements
}

// Element is one card number to be tokenized; its token is answered under Ref.
type Element struct {
	Ref string
	PAN instrument.PAN
}

// elementsMax bounds the card numbers of one request.
const elementsMax = 100

// knownToTokens are the members that operations on tokens look into.
var knownToTokens = map[string]look{
	"tokenize_widget": inside, "self_employed_widget": inside, "acquiring_widget": inside,
	"type": inside, "card": inside, "public_token": inside, "recurrent_token": inside, "bank_account_ru": inside, "bank_account": inside,
	"elements": inside,
}

var (
	accounts = choice{tag: "type", taken: []string{"bank_account_ru"}}
	// The name of an account's type is not shown anywhere; both are taken (wire
	// reference, extensions §8 no. 8).
	tokens  = choice{tag: "type", taken: []string{"card", "public_token", "recurrent_token", "bank_account_ru", "bank_account"}}
	hidden  = choice{tag: "type", taken: []string{"encrypted_card", "tokenized_card"}, refused: []string{"bank_card"}}
	element = choice{tag: "type", taken: []string{"card_number"}}

	personINN = matching(`\d{12}`, "must be 12 digits") // extensions §1; test INNs fail the check digits, §3.1
	urlForm   = form(isURL, "must be an absolute http or https URL")
	refForm   = line(1, 64)
)

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && len(s) <= 2048
}

// widgets reads what a public token is to open (wire reference, extensions §1).
func (d *document) widgets() (w vault.Widgets) {
	asked := false
	if at := d.member(root, "tokenize_widget"); at != absent {
		asked = true
		if d.object(at) {
			access, sent := d.flag(at, "access")
			if at := d.member(at, "access"); at != absent && sent && !access {
				d.refuse(at, "must be true; leave tokenize_widget out where it is not wanted")
			} else if at == absent {
				d.missing(d.member(root, "tokenize_widget"), "access")
			}
			w.Tokenize = &vault.TokenizeWidget{Locale: d.optional(at, "locale", noteForm)}
		}
	}
	if at := d.member(root, "self_employed_widget"); at != absent {
		asked = true
		if d.object(at) {
			w.SelfEmployed = &vault.SelfEmployedWidget{INN: d.required(at, "tax_reference", personINN)}
		}
	}
	if at := d.member(root, "acquiring_widget"); at != absent {
		asked = true
		if d.object(at) {
			w.Acquiring = d.acquiring(at)
		}
	}
	if !asked {
		d.violate("tokenize_widget", "required, or self_employed_widget or acquiring_widget")
	}
	return w
}

func (d *document) acquiring(at ref) *vault.AcquiringWidget {
	w := vault.AcquiringWidget{
		Session: d.sessionIn(at, true),
		Success: d.optional(at, "success_return_url", urlForm),
		Failure: d.optional(at, "failure_return_url", urlForm),
		Locale:  d.optional(at, "locale", noteForm),
	}
	w.ShowRecurrentCheckbox, _ = d.flag(at, "show_recurrent_checkbox")
	w.SuccessOnHold, _ = d.flag(at, "success_on_hold")
	return &w
}

// accountNumber reads an account that is to get a token (wire reference,
// extensions §2.4).
func (d *document) accountNumber(t *Tokens, p *partner.Project) {
	_, at := d.variant(root, accounts)
	if at == absent {
		return
	}
	t.BIK, t.Number = d.required(at, "bik", bikForm), d.required(at, "account", accountForm)
	d.accountBy(p, d.member(at, "account"), t.BIK, t.Number)
}

// elements reads card numbers that are to get tokens (wire reference,
// extensions §2.5).
func (d *document) elements() (list []Element) {
	at := d.member(root, "elements")
	switch {
	case at == absent:
		d.missing(root, "elements")
		return nil
	case d.nodes[at].kind != jsontext.KindBeginArray || d.nodes[at].first == absent:
		d.refuse(at, "must be an array with at least one element")
		return nil
	}
	for e := d.nodes[at].first; e != absent; e = d.nodes[e].next {
		if len(list) == elementsMax {
			d.refuse(at, "must have at most 100 elements")
			return list
		}
		if !d.object(e) {
			continue
		}
		ref := d.required(e, "ref", refForm)
		if ref != "" && slices.ContainsFunc(list, func(other Element) bool { return other.Ref == ref }) {
			d.refuse(d.member(e, "ref"), "is repeated")
		}
		kind := d.required(e, "type", form(func(s string) bool { return slices.Contains(element.taken, s) }, "is not a known type"))
		if kind != "" {
			list = append(list, Element{Ref: ref, PAN: instrument.PAN(d.required(e, kind, cardNumber))})
		}
	}
	return list
}

// asked reads the token that token/info is about (wire reference, extensions
// §2.6).
func (d *document) asked() *Spent {
	kind, at := d.variant(root, tokens)
	if at == absent {
		return nil
	}
	switch kind {
	case "card":
		switch variant, inner := d.variant(at, hidden); {
		case inner == absent:
			return nil
		case variant == "encrypted_card":
			return d.spent(inner, "number_hash", vault.CardHash)
		default:
			return d.spent(inner, "token", vault.CardToken)
		}
	case "public_token":
		return d.spent(at, "token", vault.PublicToken)
	case "recurrent_token":
		return d.spent(at, "token", vault.RecurrentToken)
	}
	return d.spent(at, "token", vault.AccountToken)
}

// spent reads a token that must be there.
func (d *document) spent(of ref, name string, kind vault.Kind) *Spent {
	path := name
	if of != root {
		path = d.path(of) + "." + name
	}
	return &Spent{Kind: kind, Token: vault.Token(d.required(of, name, hashForm)), Path: path}
}

// tokenTime is how the dates of tokens are printed: with an offset and without
// a fraction (wire reference, extensions §0).
const tokenTime = "2006-01-02T15:04:05-07:00"

func appendTokenTime(b []byte, name string, t time.Time) []byte {
	b = append(appendName(b, name), '"')
	return append(t.UTC().AppendFormat(b, tokenTime), '"')
}

// PublicToken writes the answer of token.
func PublicToken(t vault.Token) []byte {
	b := append([]byte(nil), `{"status":"ok"`...)
	b = appendMember(b, "public_token", string(t))
	return append(b, '}')
}

// AccountToken writes the answer of tokenize.
func AccountToken(t vault.Token, shown vault.Shown) []byte {
	b := append([]byte(nil), `{"status":"ok"`...)
	b = appendMember(b, "token", string(t))
	b = append(appendName(b, "data"), '{')
	b = appendMember(b, "masked_account", shown.Masked)
	return append(b, "}}"...)
}

// ElementToken is what became of one Element.
type ElementToken struct {
	Ref    string
	Token  vault.Token
	Shown  vault.Shown
	Digits int // of the number
}

// ElementTokens writes the answer of tokenize/elements. Whether a card is a
// debit one is not known here, so card_type is left out.
func ElementTokens(list []ElementToken) []byte {
	b := append([]byte(nil), `{"status":"ok","data":{`...)
	for _, e := range list {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(appendText(b, e.Ref), ":{"...)
		b = appendMember(b, "token", string(e.Token))
		b = append(appendName(b, "info"), '{')
		stars := max(e.Digits-len(e.Shown.BIN)-len(e.Shown.Last4), 0)
		b = appendMember(b, "masked_card_number", e.Shown.BIN+strings.Repeat("*", stars)+e.Shown.Last4)
		b = appendMember(b, "card_network", e.Shown.Brand)
		b = append(b, "}}"...)
	}
	return append(b, "}}"...)
}

// TokenInfo writes the answer of token/info about a hash or token. No more of a
// card is shown than its last four digits (wire reference, extensions §8 no. 7).
func TokenInfo(s Spent, i vault.Item, now time.Time) []byte {
	b := append([]byte(nil), `{"status":"ok","info":{`...)
	switch i.Kind {
	case vault.AccountToken:
		b = appendTokenTime(b, "created_at", i.CreatedAt)
		b = appendTokenTime(b, "finished_at", i.EndsAt)
		b = appendMember(b, "masked_account", i.Shown.Masked)
	case vault.RecurrentToken:
		b = appendTokenLife(b, s.Token, i.CreatedAt, i.EndsAt, i.Active(now))
		b = appendMember(b, "initiator", "merchant")
	default:
		name := "token"
		if i.Kind == vault.CardHash {
			name = "number_hash"
		}
		b = appendMember(b, name, string(s.Token))
		b = appendMember(b, "brand", i.Shown.Brand)
		b = appendMember(b, "last4", i.Shown.Last4)
		b = appendMember(b, "type", "card")
	}
	return append(b, "}}"...)
}

// PublicInfo writes the answer of token/info about a public token.
func PublicInfo(s Spent, p vault.Public, now time.Time) []byte {
	b := append([]byte(nil), `{"status":"ok","info":{`...)
	b = appendTokenLife(b, s.Token, p.CreatedAt, p.EndsAt, p.Active(now))
	return append(b, "}}"...)
}

func appendTokenLife(b []byte, t vault.Token, created, ends time.Time, active bool) []byte {
	b = appendMember(b, "token", string(t))
	b = appendTokenTime(b, "created_at", created)
	b = appendTokenTime(b, "finished_at", ends)
	b = appendName(b, "is_active")
	if active {
		return append(b, "true"...)
	}
	return append(b, "false"...)
}
