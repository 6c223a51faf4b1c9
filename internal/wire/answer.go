package wire

import (
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
)

// timeLayout is RFC 3339 in UTC with six fractional digits (core §2.1).
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Bytes that an answer takes: without its payouts, and for each.
const (
	sessionBytes = 256
	payoutBytes  = 1024
)

// Answer writes {"status":"ok","session":{…}} in the names of the version, with
// confirm_information where the session awaits one. The
// project decides what is shown; nil takes the defaults.
func Answer(s *session.Session, v session.Version, p *partner.Project) []byte {
	b := make([]byte, 0, sessionBytes+payoutBytes*len(s.Payouts))
	b = append(b, `{"status":"ok","session":`...)
	b = appendSession(b, s, v, p)
	b = appendInformation(b, s, v)
	return append(b, '}')
}

// Hook writes the body of a webhook: {"type":…,"session":{…}}.
func Hook(h session.Hook, s *session.Session, v session.Version, p *partner.Project) []byte {
	b := make([]byte, 0, sessionBytes+payoutBytes*len(s.Payouts))
	b = append(b, `{"type":`...)
	b = appendText(b, h)
	b = append(b, `,"session":`...)
	b = appendSession(b, s, v, p)
	b = appendInformation(b, s, v)
	return append(b, '}')
}

// Balance writes the answer of wallet/balance: what may be paid out, in
// kopecks, which may be 0 or, on credit, below (core §3.7).
func Balance(wallet string, minor int64) []byte {
	b := append([]byte(nil), `{"status":"ok","wallets":[{"id":`...)
	b = appendText(b, wallet)
	b = appendAmount(b, "amount_details", money.Amount{Minor: minor, Currency: money.RUB})
	return append(b, "}]}"...)
}

// Error writes the envelope of a refused request (core §1.5), with the wire's
// code for one of our own. Without a text it says what the code means.
func Error(code fault.Code, text string) []byte {
	b := append([]byte(nil), `{"status":"error"`...)
	b = appendError(b, code, text)
	return append(b, '}')
}

// Banks writes the answer of fps/banks (core §3.8). The caller must not change it.
func Banks() []byte { return banksAnswer() }

var banksAnswer = sync.OnceValue(func() []byte {
	b := append([]byte(nil), `{"status":"ok","banks":[`...)
	for i, bank := range instrument.Banks {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":`...)
		b = appendText(b, bank.ID)
		b = appendMember(b, "eng_name", bank.Eng)
		b = appendMember(b, "ru_name", bank.Rus)
		b = append(b, '}')
	}
	return append(b, "]}"...)
})

// appendSession appends a session (core §2.2). Members of it that nobody has
// said are left out, never null or empty: the published SDK misreads those
// (core §1.5).
func appendSession(b []byte, s *session.Session, v session.Version, p *partner.Project) []byte {
	shown := s.Show()
	b = append(b, `{"id":"ps_`...)
	b = strconv.AppendInt(b, int64(s.ID), 10)
	b = append(b, '"')
	b = appendMember(b, "status", shown.Session)
	b = appendTime(b, "created_at", s.CreatedAt)
	b = appendTime(b, "updated_at", s.UpdatedAt)
	b = appendMember(b, "next_action", shown.NextAction)
	for i := range s.Payouts {
		if i == 0 {
			b = appendName(b, namesOf[v].list)
			b = append(b, '[')
		} else {
			b = append(b, ',')
		}
		b = appendPayout(b, &s.Payouts[i], v, p)
	}
	if len(s.Payouts) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendPayout appends a payout (core §2.3).
func appendPayout(b []byte, o *session.Payout, v session.Version, p *partner.Project) []byte {
	shown := o.Show()
	b = append(b, `{"id":"po_`...)
	b = strconv.AppendInt(b, int64(o.ID), 10)
	b = append(b, '"')
	b = appendMember(b, "status", shown.Payout)
	b = appendTime(b, "created_at", o.CreatedAt)
	if o.State.Final() {
		b = appendTime(b, "finished_at", o.FinishedAt)
	}
	b = appendRaw(b, "customer", o.Details.Customer)
	if o.Details.Instrument != nil {
		b = appendName(b, namesOf[v].details)
		b = appendInstrument(b, o.Details.Instrument)
	}
	if o.Details.Fiscal != nil {
		b = appendFiscal(b, o.Details.Fiscal, o.Receipt)
	}
	if a := o.Amount(); a != nil {
		b = appendAmount(b, amountDetails, *a)
		if o.Quote != nil && p != nil && p.ShowRates {
			b = appendQuote(b, *o.Details.Amount, o.Quote)
		}
		if p != nil && p.ShowFees && o.Failure == nil && o.Moves() && a.Currency == money.RUB { // nobody is charged for a payout that failed
			b = appendFees(b, *a, o.Fee)
		}
	}
	b = appendRaw(b, participantDetails, o.Details.Participants)
	if o.Info != (session.TransactionInfo{}) {
		b = appendName(b, "transaction_info")
		b = append(b, '{')
		b = appendMember(b, "rrn", o.Info.RRN)
		b = appendMember(b, "arn", o.Info.ARN)
		b = appendMember(b, "auth_code", o.Info.AuthCode)
		b = appendMember(b, "fp_message_id", o.Info.FPMessageID)
		b = appendMember(b, "bank_account_ru_token", o.Info.BankAccountToken)
		b = append(b, '}')
	}
	b = appendRaw(b, metadata, o.Details.Metadata)
	if shown.Payout == "failed" && o.Failure != nil {
		b = appendError(b, o.Failure.Code, o.Failure.Text)
	}
	if r := o.Refund(); r != nil {
		b = appendRefund(b, r)
	}
	return append(b, '}')
}

// appendInstrument appends where a payout goes: a card masked, anything else
// as it was sent (core §4; §7 no. 15).
func appendInstrument(b []byte, i *instrument.Instrument) []byte {
	switch {
	case i.Card != nil:
		b = append(b, `{"type":"card","card":{`...)
		b = appendMember(b, "last4", i.Card.Last4)
		b = appendMember(b, "brand", i.Card.Brand)
		b = appendMember(b, "bin", i.Card.BIN)
		b = appendMember(b, "card_id", i.Card.CardID)
	case i.Account != nil:
		b = append(b, `{"type":"bank_account","bank_account":{"system_type":"ru","ru":{`...)
		b = appendMember(b, "token", i.Account.Token)
		b = appendMember(b, "bik", i.Account.BIK)
		b = appendMember(b, "account", i.Account.Number)
		b = appendMember(b, "full_name", i.Account.FullName)
		b = appendMember(b, "description", i.Account.Description)
		b = appendMember(b, "inn", i.Account.INN)
		b = appendMember(b, "kpp", i.Account.KPP)
		if i.Account.FastSent {
			b = strconv.AppendBool(appendName(b, "is_fast"), i.Account.Fast)
		}
		b = append(b, '}')
	case i.FPS != nil:
		system := "faster_payment_system"
		if i.FPS.Verify {
			system = verification
		}
		b = append(b, `{"type":"bank_account","bank_account":{`...)
		b = appendMember(b, "system_type", system)
		b = appendName(b, system)
		b = append(b, '{')
		b = appendMember(b, "phone", i.FPS.Phone)
		b = appendMember(b, "bank_id", i.FPS.BankID)
		b = appendMember(b, "description", i.FPS.Description)
		b = append(b, '}')
	case i.Wallet != nil:
		b = append(b, `{"type":"wallet","wallet":{"type":"yoomoney","yoomoney":{`...)
		b = appendMember(b, "account", i.Wallet.Account)
		b = appendMember(b, "description", i.Wallet.Description)
		b = append(b, '}')
	}
	return append(b, "}}"...)
}

// appendRefund appends refunds: the one that the partner has the money of again
// (core §2.9).
func appendRefund(b []byte, r *session.Refund) []byte {
	b = appendName(b, "refunds")
	b = append(b, `[{"id":"rf_`...)
	b = strconv.AppendInt(b, int64(r.ID), 10)
	b = append(b, `","status":"accepted"`...)
	b = appendTime(b, "created_at", r.CreatedAt)
	b = appendTime(b, "finished_at", r.FinishedAt)
	b = appendAmount(b, amountDetails, r.Amount)
	return append(b, "}]"...)
}

// appendFees appends amounts: net reaches the recipient, gross leaves the
// partner's balance (core §2.6).
func appendFees(b []byte, net money.Amount, fee int64) []byte {
	gross := money.Amount{Minor: net.Minor + fee, Currency: net.Currency} // it fits: partner.Fee.Of sees to it
	b = appendName(b, "amounts")
	b = append(b, '{')
	b = appendAmount(b, "net", net)
	b = appendAmount(b, "gross", gross)
	b = appendName(b, "fee")
	b = append(b, '{')
	b = appendAmount(b, "merchant_fee", money.Amount{Minor: fee, Currency: net.Currency})
	return append(b, "}}"...)
}

// appendError appends error: the wire's code for one of our own and, without a
// text, what it means.
func appendError(b []byte, code fault.Code, text string) []byte {
	row := fault.Lookup(code)
	if text == "" {
		text = row.Text
	}
	b = appendName(b, "error")
	b = append(b, '{')
	b = appendMember(b, "code", row.Wire)
	b = appendMember(b, "description", text)
	return append(b, '}')
}

func appendAmount(b []byte, name string, a money.Amount) []byte {
	b = appendName(b, name)
	b = append(b, `{"amount":`...)
	b = strconv.AppendInt(b, a.Minor, 10)
	b = appendMember(b, "currency", a.Currency.Lower())
	return append(b, '}')
}

func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = appendName(b, name)
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, timeLayout)
	return append(b, '"')
}

// appendRaw appends a member that is JSON already, unless it is empty.
func appendRaw(b []byte, name string, raw []byte) []byte {
	if len(raw) == 0 {
		return b
	}
	return append(appendName(b, name), raw...)
}

// appendMember appends a string, unless it is empty.
func appendMember[T ~string](b []byte, name string, value T) []byte {
	if value == "" {
		return b
	}
	return appendText(appendName(b, name), value)
}

// appendName appends the name of a member, with a comma before it unless it
// is the object's first.
func appendName(b []byte, name string) []byte {
	if last := b[len(b)-1]; last != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, `":`...)
}

// appendText appends a string in quotes, with no more escapes than JSON needs.
// What is not UTF-8 becomes the replacement character.
func appendText[T ~[]byte | ~string](b []byte, s T) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
