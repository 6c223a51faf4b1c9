package wire

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

const (
	taxpayer    = "professional_income_taxpayer"
	servicesMax = 6
	quantityMax = 1_000_000 // ours: the wire reference states no limit
	mustBeRub   = "must be rub: a receipt is in roubles"
)

var (
	payerForm   = matching(`legal|individual|foreign`, "must be legal, individual or foreign")
	foreignForm = line(1, 64) // tax numbers of other countries
	serviceForm = filled(line(1, 255))
)

// fiscal reads fiscalization_details (wire reference, extensions §3.7).
func (d *document) fiscal(p *partner.Project) *session.Fiscal {
	at := d.member(root, fiscalization)
	if at == absent {
		d.missing(root, fiscalization)
		return nil
	}
	if !d.object(at) {
		return nil
	}
	who := d.member(at, taxpayer)
	if who == absent {
		d.missing(at, taxpayer)
		return nil
	}
	if !d.object(who) {
		return nil
	}
	f := &session.Fiscal{INN: d.required(who, "tax_reference", personINN), Payer: d.payer(who, p)}
	if f.INN != "" {
		d.by(p.INNCheck, d.member(who, "tax_reference"), instrument.INN(f.INN), "fails the check digits")
	}
	f.Services = d.services(who)
	return f
}

// payer reads who pays, as far as that is asked of his kind (wire reference,
// extensions §3.7 and §8 no. 15).
func (d *document) payer(of ref, p *partner.Project) tax.Payer {
	who := tax.Payer{Type: tax.PayerType(d.optional(of, "payer_type", payerForm))}
	switch who.Type {
	case tax.PayerLegal:
		who.INN, who.Name = d.required(of, "payer_tax_number", innForm), d.required(of, "payer_name", holderForm)
	case tax.PayerForeign:
		who.INN, who.Name = d.optional(of, "payer_tax_number", foreignForm), d.optional(of, "payer_name", holderForm)
	case tax.PayerIndividual:
		who.Name = d.optional(of, "payer_name", holderForm)
		return who
	default:
		who.INN, who.Name = d.optional(of, "payer_tax_number", innForm), d.optional(of, "payer_name", holderForm)
	}
	if who.INN != "" && who.Type != tax.PayerForeign {
		d.by(p.INNCheck, d.member(of, "payer_tax_number"), instrument.INN(who.INN), "fails the check digits")
	}
	return who
}

// services reads the lines of a receipt.
func (d *document) services(of ref) []tax.Item {
	at := d.member(of, "services")
	if at == absent {
		d.missing(of, "services")
		return nil
	}
	if d.nodes[at].kind != jsontext.KindBeginArray {
		d.refuse(at, "must be an array")
		return nil
	}
	var items []tax.Item
	for line := d.nodes[at].first; line != absent; line = d.nodes[line].next {
		if len(items) == servicesMax {
			d.refuse(at, "must be 1 to 6 services")
			return nil
		}
		items = append(items, tax.Item{Quantity: 1})
		if !d.object(line) {
			continue
		}
		item := &items[len(items)-1]
		item.Name = d.required(line, "name", serviceForm)
		if price := d.member(line, amountDetails); price == absent {
			d.missing(line, amountDetails)
		} else if d.object(price) {
			item.Amount = money.Amount{Minor: d.minor(price), Currency: d.currency(price)}
			if c := item.Amount.Currency; c != "" && c != money.RUB {
				d.refuse(d.member(price, "currency"), mustBeRub)
			}
		}
		if count := d.member(line, "quantity"); count != absent {
			item.Quantity = d.quantity(count)
		}
	}
	if len(items) == 0 {
		d.refuse(at, "must be 1 to 6 services")
	}
	return items
}

// quantity reads how many pieces; 1 if it is wrong.
func (d *document) quantity(at ref) int {
	raw := string(d.nodes[at].raw)
	n, err := strconv.Atoi(raw)
	if d.nodes[at].kind != jsontext.KindNumber || strings.Trim(raw, "0123456789") != "" || err != nil || n < 1 || n > quantityMax {
		d.refuse(at, "must be an integer from 1 to 1000000")
		return 1
	}
	return n
}

// appendFiscal appends fiscalization_details: what was sent, and the receipt
// once there is one that holds (wire reference, extensions §3.7).
func appendFiscal(b []byte, f *session.Fiscal, r *session.Receipt) []byte {
	b = appendName(b, fiscalization)
	b = append(b, `{"`+taxpayer+`":{"services":[`...)
	for i, s := range f.Services {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendMember(b, "name", s.Name)
		b = appendAmount(b, amountDetails, s.Amount)
		b = strconv.AppendInt(appendName(b, "quantity"), int64(s.Quantity), 10)
		b = append(b, '}')
	}
	b = append(b, ']')
	b = appendMember(b, "tax_reference", f.INN)
	b = appendMember(b, "payer_type", f.Payer.Type)
	b = appendMember(b, "payer_tax_number", f.Payer.INN)
	b = appendMember(b, "payer_name", f.Payer.Name)
	if r.Valid() {
		b = append(appendName(b, "receipt"), '{')
		b = appendMember(b, "id", r.ID)
		b = appendMember(b, "link", r.Link)
		b = append(b, '}')
	}
	return append(b, "}}"...)
}
