package wire

import (
	"strconv"

	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
)

// Exchange is what calculate asks: how much of one currency is so much of
// another. The amount of one of the two is 0, and is to be found.
type Exchange struct {
	Source, Destination money.Amount
}

// Paths of the currencies of an exchange, for refusals.
const (
	SourceCurrency      = "amounts.source.currency"
	DestinationCurrency = "amounts.destination.currency"
)

// knownToCalculate are the members that calculate looks into.
var knownToCalculate = map[string]look{"amounts": inside}

// exchange reads amounts (wire reference, extensions §4.2).
func (d *document) exchange() (e Exchange) {
	at := d.member(root, "amounts")
	if at == absent {
		d.missing(root, "amounts")
		return e
	}
	if !d.object(at) {
		return e
	}
	var asked, named bool
	e.Source, asked = d.side(at, "source")
	e.Destination, named = d.side(at, "destination")
	if asked == named {
		d.refuse(at, "must have the amount of source or of destination, and null for the other")
	}
	return e
}

// side reads one side of an exchange, and whether its amount is given.
func (d *document) side(of ref, name string) (a money.Amount, given bool) {
	at := d.member(of, name)
	if at == absent {
		d.missing(of, name)
		return a, false
	}
	if !d.object(at) {
		return a, false
	}
	if given = d.member(at, "amount") != absent; given {
		a.Minor = d.minor(at)
	}
	a.Currency = d.currency(at)
	return a, given
}

// Calculated writes the answer of calculate: what was asked and what was found,
// without a status, the fees as nothing, and what is to be paid as the source's
// amount with them (wire reference, extensions §4.2, §8 no. 25 to 27). The fee
// of a payout depends on its method, which nobody has named here.
func Calculated(asked, found Exchange, price rate.Price) []byte {
	fee := money.Amount{Currency: found.Source.Currency}
	b := append([]byte(nil), `{"amounts":{`...)
	b = appendUpper(b, "source", found.Source)
	b = appendUpper(b, "destination", found.Destination)
	b = appendUpper(b, "transfer_fee", fee)
	b = appendUpper(b, "sms_fee", fee)
	b = appendUpper(b, "payment", found.Source)
	b = append(b, `},"exchanges":{`...)
	b = appendAsked(b, "source", asked.Source)
	b = appendAsked(b, "destination", asked.Destination)
	b = append(b, `,"rate":{"fx_rate":`...)
	b = append(b, price.String()...)
	return append(b, `,"quantity":1}}}`...)
}

// appendUpper appends an amount with its currency in capital letters, as
// calculate and reports have it.
func appendUpper(b []byte, name string, a money.Amount) []byte {
	b = append(appendName(b, name), `{"amount":`...)
	b = strconv.AppendInt(b, a.Minor, 10)
	b = appendMember(b, "currency", a.Currency)
	return append(b, '}')
}

// appendAsked is appendUpper for what the request said. The amount that it asks
// for is null, the one null that the API sends.
func appendAsked(b []byte, name string, a money.Amount) []byte {
	if a.Minor != 0 {
		return appendUpper(b, name, a)
	}
	b = append(appendName(b, name), `{"amount":null`...)
	b = appendMember(b, "currency", a.Currency)
	return append(b, '}')
}

// appendQuote appends exchange, which is ours, with the names that the wire has
// for such a thing in confirm_information (wire reference, extensions §4.3).
func appendQuote(b []byte, asked money.Amount, q *session.Quote) []byte {
	b = append(appendName(b, "exchange"), '{')
	b = appendAmount(b, "source", asked)
	b = appendAmount(b, "destination", q.Amount)
	b = appendMember(b, "fx_rate", q.Rate.Price.String())
	b = appendMember(b, "rate_source", q.Rate.Source)
	b = appendTime(b, "rate_time", q.Rate.At)
	b = appendTime(b, "reserved_to", q.Until)
	return append(b, '}')
}
