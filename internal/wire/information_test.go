package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
)

// ownSession awaits confirm of a payout from an own account.
func ownSession(source instrument.Source) *session.Session {
	return &session.Session{ID: 1, State: session.Awaiting, Payouts: []session.Payout{{
		ID: 2, State: session.Awaiting,
		Details: session.Details{
			Source: source, Account: "40702810900000000131", Amount: roubles(350000),
			Instrument: &instrument.Instrument{Account: &instrument.Account{BIK: "044000777", Number: "40817810500000012345", FullName: "Гусев"}},
		},
		Transfer: &session.Transfer{
			Sender:    session.Party{Account: "40702810900000000131", Name: "ООО \"Ромашка\"", BankName: "Банк", BIK: "044000131", INN: "7700000136", KPP: "770001001"},
			Recipient: session.Party{Account: "40817810500000012345", Name: "Гусев", BIK: "044000777"},
			Purpose:   "Выплата",
		},
	}}}
}

func TestInformed(t *testing.T) {
	rko, nominal := ownSession(instrument.RKO), ownSession(instrument.Nominal)
	plain, ended := ownSession(""), ownSession(instrument.RKO)
	plain.Payouts[0].Transfer = nil
	ended.Payouts[0].State = session.Paid
	sender := `"sender":{"account_number":"40702810900000000131","name":"ООО \"Ромашка\"","bank_name":"Банк","bik":"044000131","inn":"7700000136","kpp":"770001001"}`
	recipient := `"recipient":{"account_number":"40817810500000012345","name":"Гусев","bik":"044000777"}`
	customer := `"customer":{"account_number":"40702810900000000131","name":"ООО \u0022Ромашка\"","bank_name":"Банк","bik":"044000131"}`
	account := func(members ...string) string { return `{"account_details":` + object(members...) + `}` }
	transfer := func(members ...string) string { return `{"transfer_details":` + object(members...) + `}` }
	const amount, purpose = `"amount":{"amount":350000,"currency":"rub"}`, `"purpose":"Выплата"`
	for _, c := range []struct {
		name    string
		session *session.Session
		sent    string
		want    string // "" if it is right
	}{
		{"as it was", rko, account(sender, recipient), ""},
		{"in another order", rko, account(recipient, sender), ""},
		{"with nulls", rko, `{"exchanges":null,"account_details":` + object(sender, strings.Replace(recipient, `{`, `{"inn":null,"kpp":[],"x":{},`, 1)) + `}`, ""},
		{"of an escrow account", nominal, transfer(customer, recipient, purpose, amount), ""},
		{"with the method of v1", nominal, transfer(customer, recipient, purpose, amount, `"payment_method":{"token":"x"}`), ""},
		{"with the method of v2", nominal, transfer(customer, recipient, purpose, amount, `"payout_details":7`), ""},
		{"amount as a fraction", nominal, transfer(customer, recipient, purpose, `"amount":{"amount":350000.0,"currency":"rub"}`), ""},
		{"of a payout from the balance", plain, `{"anything":"goes"}`, ""},
		{"of one that awaits no more", ended, `7`, ""},

		{"nothing", rko, "", "confirm_information: required"},
		{"no object", rko, `"x"`, "confirm_information: must be an object"},
		{"empty", rko, `{}`, "confirm_information.account_details: required"},
		{"emptied", rko, `{"account_details":[]}`, "confirm_information.account_details: required"},
		{"the other kind", rko, transfer(customer, recipient, purpose, amount), "confirm_information.account_details: required"},
		{"both kinds", rko, `{"account_details":` + object(sender, recipient) + `,"transfer_details":{"purpose":"x"}}`, "confirm_information: has a member"},
		{"no sender", rko, account(recipient), "confirm_information.account_details.sender: required"},
		{"another account", rko, account(strings.Replace(sender, "0131", "0132", 1), recipient), "confirm_information.account_details.sender.account_number: is not"},
		{"account as a number", rko, account(strings.Replace(sender, `"40702810900000000131"`, `40702810900000000131`, 1), recipient), "confirm_information.account_details.sender.account_number: is not"},
		{"no kpp", rko, account(strings.Replace(sender, `,"kpp":"770001001"`, "", 1), recipient), "confirm_information.account_details.sender.kpp: required"},
		{"one more", rko, account(sender, strings.Replace(recipient, `{`, `{"4242424242424242":"x",`, 1)), "confirm_information.account_details.recipient: has a member"},
		{"another amount", nominal, transfer(customer, recipient, purpose, `"amount":{"amount":350001,"currency":"rub"}`), "confirm_information.transfer_details.amount.amount: is not"},
		{"amount as text", nominal, transfer(customer, recipient, purpose, `"amount":{"amount":"350000","currency":"rub"}`), "confirm_information.transfer_details.amount.amount: is not"},
		{"amount beyond all", nominal, transfer(customer, recipient, purpose, `"amount":{"amount":1e999999999,"currency":"rub"}`), "confirm_information.transfer_details.amount.amount: is not"},
		{"another purpose", nominal, transfer(customer, recipient, `"purpose":"выплата"`, amount), "confirm_information.transfer_details.purpose: is not"},
	} {
		var sent json.RawMessage
		if c.sent != "" {
			sent = json.RawMessage(c.sent)
		}
		err := Informed(c.session, sent)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if e, _ := errors.AsType[*fault.Error](err); e == nil || e.Code != fault.Invalid || !strings.HasPrefix(e.Text, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// What goes out comes back, in either version; what does not is refused in our
// own words.
func FuzzInformed(f *testing.F) {
	for _, source := range instrument.Sources {
		for _, v := range []session.Version{1, 2} {
			var said map[string]json.RawMessage
			if err := json.Unmarshal(Answer(ownSession(source), v, nil), &said); err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(said[confirmInformation]))
			if err := Informed(ownSession(source), said[confirmInformation]); err != nil {
				f.Errorf("%s in version %d: %v", source, v, err)
			}
		}
	}
	f.Add([]byte(`{"account_details":{"sender":{"account_number":1e400}},"\u0000":[{}]}`))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if !json.Valid(sent) {
			return // the body as a whole was read before
		}
		for _, source := range instrument.Sources {
			err := Informed(ownSession(source), sent)
			if err == nil {
				continue
			}
			refusal, ok := errors.AsType[*fault.Error](err)
			if !ok || refusal.Code != fault.Invalid || !utf8.ValidString(refusal.Text) || longDigits.MatchString(refusal.Text) {
				t.Fatalf("refused with %#v", err)
			}
		}
	})
}

func TestParseMulti(t *testing.T) {
	item := object(strings.Replace(cardOf(`{"type":"bank_card","bank_card":{"number":"4242424242424242"}}`), "payment_method", "payout_details", 1), amountPart, namePart)
	many := func(n int) string {
		return `{"payout_list":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	r, err := Parse(OpMulti, 2, nil, []byte(many(payoutsMax)))
	if err != nil || len(r.Items) != payoutsMax {
		t.Fatalf("%d items, %v", len(r.Items), err)
	}
	for _, one := range r.Items {
		if one.PAN != "4242424242424242" || one.Details.Amount == nil || one.Details.Recipient == "" || one.Details.Source != "" {
			t.Fatalf("item %+v", one)
		}
	}
	with := func(change func(string) string) string { return `{"payout_list":[` + item + "," + change(item) + `]}` }
	for name, c := range map[string]struct{ body, want string }{
		"one too many":     {many(payoutsMax + 1), "payout_list: must have at most 100 payouts"},
		"no list":          {`{}`, "payout_list: required"},
		"null":             {`{"payout_list":null}`, "payout_list: required"},
		"an object":        {`{"payout_list":{"0":{}}}`, "payout_list: must be an array of payouts"},
		"none":             {`{"payout_list":[]}`, "payout_list: must be an array of payouts"},
		"null as the 2nd":  {with(func(string) string { return "null" }), "payout_list[1]: must be an object"},
		"array as the 2nd": {with(func(string) string { return "[1]" }), "payout_list[1]: must be an object"},
		"empty as the 2nd": {with(func(string) string { return "[]" }), "payout_list[1].payout_details: required; payout_list[1].amount_details: required"},
		"no amount":        {with(func(s string) string { return strings.Replace(s, "amount_details", "amount", 1) }), "payout_list[1].amount_details: required"},
		"no name":          {with(func(s string) string { return strings.Replace(s, "participant_details", "p", 1) }), "payout_list[1].participant_details.recipient.full_name: required, or first_name and last_name"},
		"wrong digit":      {with(func(s string) string { return strings.Replace(s, "4242424242424242", "4242424242424243", 1) }), "payout_list[1].payout_details.card.bank_card.number: fails the Luhn check"},
		"a verification": {
			with(func(string) string {
				return `{"payout_details":{"type":"bank_account","bank_account":{"system_type":"faster_payment_system_verification","faster_payment_system_verification":{}}},"amount_details":{"amount":1,"currency":"rub"}}`
			}),
			"payout_list[1].payout_details.bank_account.system_type: faster_payment_system_verification is only possible as a customer verification",
		},
		"payments":            {`{"payout_list":[` + item + `],"payment_list":[{}]}`, "payment_list: incoming payments are not offered by this server"},
		"payments of no list": {`{"payout_list":[` + item + `],"payment_list":{}}`, "payment_list: incoming payments are not offered by this server"},
		"members without end": {`{"payout_list":[{"customer":[` + strings.Repeat("0,", 40_000) + `0]}]}`, "body: more than 32768 members"},
		"too deep":            {`{"payout_list":[{"customer":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}]}`, "body: nested deeper than 32"},
		"a name twice":        {`{"payout_list":[{"customer":1,"customer":2}]}`, "body: a name is repeated at byte 30"},
	} {
		_, err := Parse(OpMulti, 2, nil, []byte(c.body))
		if e, _ := errors.AsType[*fault.Error](err); e == nil || e.Code != fault.Invalid || e.Text != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestParseReports(t *testing.T) {
	r, err := Parse(OpStatement, 1, nil, []byte(`{"account_number":"40702810900000000131","date_from":"2026-03-02","date_to":"2026-03-02"}`))
	if want := time.Date(2026, 3, 1, 21, 0, 0, 0, time.UTC); err != nil || !r.Report.Day.Equal(want) || r.Report.Account != "40702810900000000131" {
		t.Errorf("statement %+v, %v; want the day to begin at %v", r.Report, err, want)
	}
	for name, body := range map[string]string{
		"nothing": `{}`, "a number": `{"account_number":40702810900000000131,"date_from":"2026-03-02","date_to":"2026-03-02"}`,
		"no such day": `{"account_number":"40702810900000000131","date_from":"2026-02-30","date_to":"2026-02-30"}`,
		"two days":    `{"account_number":"40702810900000000131","date_from":"2026-03-02","date_to":"2026-03-03"}`,
		"a time":      `{"account_number":"40702810900000000131","date_from":"2026-03-02T00:00:00Z","date_to":"2026-03-02T00:00:00Z"}`,
	} {
		if _, err := Parse(OpStatement, 1, nil, []byte(body)); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v, want %s", name, err, fault.Invalid)
		}
	}
}
