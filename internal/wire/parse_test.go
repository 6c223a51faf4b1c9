package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
)

// Parts of bodies, right as they stand.
const (
	cardPart    = `"payout_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":"4242424242424242"}}}`
	amountPart  = `"amount_details":{"amount":100,"currency":"rub"}`
	namePart    = `"participant_details":{"recipient":{"full_name":"Anna Berg"}}`
	sessionPart = `"session_id":"ps_7300451"`
	hash        = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

func object(parts ...string) string { return "{" + strings.Join(parts, ",") + "}" }

func cardOf(member string) string {
	return `"payout_details":{"type":"card","card":` + member + `}`
}

func accountOf(members ...string) string {
	return `"payout_details":{"type":"bank_account","bank_account":{"system_type":"ru","ru":` + object(members...) + `}}`
}

// accountBut is a right account but for one member, which is replaced, or
// dropped where its value is "".
func accountBut(name, value string) string {
	members := []struct{ name, value string }{
		{"bik", `"044525225"`}, {"account", `"40817810500000012345"`}, {"full_name", `"Anna Berg"`}, {"description", `"Pay"`},
	}
	var parts []string
	for _, m := range members {
		if m.name != name {
			parts = append(parts, fmt.Sprintf("%q:%s", m.name, m.value))
		}
	}
	if value != "" {
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	return accountOf(parts...)
}

func phoneOf(system string, members ...string) string {
	return fmt.Sprintf(`"payout_details":{"type":"bank_account","bank_account":{"system_type":%q,%q:%s}}`, system, system, object(members...))
}

func walletOf(kind, members string) string {
	return fmt.Sprintf(`"payout_details":{"type":"wallet","wallet":{"type":%q,%q:%s}}`, kind, kind, members)
}

const (
	inCard    = "payout_details.card.bank_card."
	inAccount = "payout_details.bank_account.ru."
	inFPS     = "payout_details.bank_account.faster_payment_system."
	noName    = "participant_details.recipient.full_name: required, or first_name and last_name"
)

func TestParseRefuses(t *testing.T) {
	strict := &partner.Project{ControlKey: partner.Reject, INNCheck: partner.Reject, AccountPrefix: partner.Reject}
	tests := []struct {
		name    string
		op      Op
		version session.Version // 0 is 2
		project *partner.Project
		body    string
		want    string
	}{
		{name: "tax receipt", op: OpCreate, body: `{"fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"x"}}}`, want: "fiscalization_details: is taken by session/start/payout/fiscalization and session/init/payout/fiscalization"},
		{name: "tax receipt of no object", op: OpCreate, body: `{"fiscalization_details":1}`, want: "fiscalization_details: must be an object"},
		// A receipt.
		{name: "receipt missing", op: OpFiscal, body: `{"session_id":"ps_1"}`, want: "fiscalization_details: required"},
		{name: "receipt of no object", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":7}`, want: "fiscalization_details: must be an object"},
		{name: "receipt of nobody", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{}}`, want: "fiscalization_details.professional_income_taxpayer: required"},
		{name: "receipt of a text", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":"x"}}`, want: "fiscalization_details.professional_income_taxpayer: must be an object"},
		{name: "receipt without a session", op: OpFiscal, body: `{"fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "session_id: required"},
		{name: "receipt in dollars", op: OpFiscal, body: `{"session_id":"ps_1","amount_details":{"amount":1,"currency":"usd"},"fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "amount_details.currency: must be rub: a receipt is in roubles"},
		{name: "receipt, no INN", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.tax_reference: required"},
		{name: "receipt, INN of 10 digits", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"7704123450","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.tax_reference: must be 12 digits"},
		{name: "receipt, INN a number", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":772912345698,"services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.tax_reference: must be a string"},
		{name: "receipt, no services", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698"}}}`, want: "fiscalization_details.professional_income_taxpayer.services: required"},
		{name: "receipt, empty services", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[]}}}`, want: "fiscalization_details.professional_income_taxpayer.services: must be 1 to 6 services"},
		{name: "receipt, services an object", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":{}}}}`, want: "fiscalization_details.professional_income_taxpayer.services: must be an array"},
		{name: "receipt, seven services", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}},{"name":"a","amount_details":{"amount":1,"currency":"rub"}},{"name":"a","amount_details":{"amount":1,"currency":"rub"}},{"name":"a","amount_details":{"amount":1,"currency":"rub"}},{"name":"a","amount_details":{"amount":1,"currency":"rub"}},{"name":"a","amount_details":{"amount":1,"currency":"rub"}},{"name":"a","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services: must be 1 to 6 services"},
		{name: "receipt, service a text", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":["a"]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0]: must be an object"},
		{name: "receipt, service without anything", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"quantity":1}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].name: required; fiscalization_details.professional_income_taxpayer.services[0].amount_details: required"},
		{name: "receipt, blank name", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":" ","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].name: must not be blank"},
		{name: "receipt, second service in euros", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}},{"name":"b","amount_details":{"amount":1,"currency":"eur"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[1].amount_details.currency: must be rub: a receipt is in roubles"},
		{name: "receipt, price of nothing", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"b","amount_details":{"amount":0,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].amount_details.amount: must be greater than 0"},
		{name: "receipt, quantity 0", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"b","quantity":0,"amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].quantity: must be an integer from 1 to 1000000"},
		{name: "receipt, quantity -1", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"b","quantity":-1,"amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].quantity: must be an integer from 1 to 1000000"},
		{name: "receipt, quantity 1.5", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"b","quantity":1.5,"amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].quantity: must be an integer from 1 to 1000000"},
		{name: "receipt, quantity 2", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"b","quantity":"2","amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].quantity: must be an integer from 1 to 1000000"},
		{name: "receipt, quantity 1000001", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"b","quantity":1000001,"amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].quantity: must be an integer from 1 to 1000000"},
		{name: "receipt, quantity 1e2", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"b","quantity":1e2,"amount_details":{"amount":1,"currency":"rub"}}]}}}`, want: "fiscalization_details.professional_income_taxpayer.services[0].quantity: must be an integer from 1 to 1000000"},
		{name: "receipt, unknown payer", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}],"payer_type":"bank"}}}`, want: "fiscalization_details.professional_income_taxpayer.payer_type: must be legal, individual or foreign"},
		{name: "receipt, legal payer without anything", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}],"payer_type":"legal"}}}`, want: "fiscalization_details.professional_income_taxpayer.payer_tax_number: required; fiscalization_details.professional_income_taxpayer.payer_name: required"},
		{name: "receipt, legal payer's INN", op: OpFiscal, body: `{"session_id":"ps_1","fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"772912345698","services":[{"name":"a","amount_details":{"amount":1,"currency":"rub"}}],"payer_type":"legal","payer_tax_number":"77041234500","payer_name":"a"}}}`, want: "fiscalization_details.professional_income_taxpayer.payer_tax_number: must be 10 or 12 digits"},
		// The body.
		{name: "null", op: OpCreate, body: `null`, want: "body: must be a JSON object"},
		{name: "string", op: OpCreate, body: `"{}"`, want: "body: must be a JSON object"},
		{name: "array of something", op: OpCreate, body: `[1]`, want: "body: must be a JSON object"},
		{name: "trailing object", op: OpCreate, body: `{} {}`, want: "body: goes on after its end"},
		{name: "trailing garbage", op: OpCreate, body: `{}x`, want: "body: not valid JSON in UTF-8 at byte 2"},
		{name: "trailing after []", op: OpCreate, body: `[]]`, want: "body: not valid JSON in UTF-8 at byte 2"},
		{name: "cut off", op: OpCreate, body: `{"metadata":{"a`, want: "body: ends too early"},
		{name: "cut off between", op: OpCreate, body: `{"metadata"`, want: "body: ends too early"},
		{name: "repeated name", op: OpCreate, body: `{"customer":null,"customer":null}`, want: "body: a name is repeated at byte 17"},
		{name: "repeated name, escaped", op: OpCreate, body: `{"metadata":1,"met\u0061data":1}`, want: "body: a name is repeated at byte 14"},
		{name: "repeated name, ignored member", op: OpCreate, body: `{"x":{"a":1,"a":2}}`, want: "body: a name is repeated at byte 12"},
		{name: "repeated name in metadata", op: OpCreate, body: `{"metadata":{"a":1,"a":2}}`, want: "body: a name is repeated at byte 19"},
		{name: "not UTF-8", op: OpCreate, body: "{\"metadata\":\"\xff\"}", want: "body: not valid JSON in UTF-8 at byte 13"},
		{name: "lone surrogate", op: OpCreate, body: `{"metadata":"\ud83d"}`, want: "body: not valid JSON in UTF-8 at byte 13"},
		{name: "lone low surrogate", op: OpCreate, body: `{"metadata":"\udc00"}`, want: "body: not valid JSON in UTF-8 at byte 13"},
		{name: "byte order mark", op: OpCreate, body: "\ufeff{}", want: "body: not valid JSON in UTF-8 at byte 0"},
		{name: "comment", op: OpCreate, body: `{/**/}`, want: "body: not valid JSON in UTF-8 at byte 1"},
		{name: "trailing comma", op: OpCreate, body: `{"metadata":1,}`, want: "body: not valid JSON in UTF-8 at byte 13"},
		{name: "broken within what is looked into", op: OpCreate, body: `{"customer":[1,}`, want: "body: not valid JSON in UTF-8 at byte 14"},
		{name: "broken name", op: OpCreate, body: `{"customer":{1:2}}`, want: "body: not valid JSON in UTF-8 at byte 13"},
		{name: "broken within what is ignored", op: OpCreate, body: `{"x":{"a":[}}`, want: "body: not valid JSON in UTF-8 at byte 11"},
		{name: "NaN", op: OpCreate, body: `{"metadata":NaN}`, want: "body: not valid JSON in UTF-8 at byte 12"},
		{name: "deep metadata", op: OpCreate, body: `{"metadata":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}", want: "body: nested deeper than 32"},
		{name: "deep participants", op: OpCreate, body: `{"participant_details":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}", want: "body: nested deeper than 32"},
		{name: "deep ignored member", op: OpCreate, body: `{"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}", want: "body: nested deeper than 32"},
		{name: "endless depth", op: OpCreate, body: strings.Repeat(`{"x":`, 100_000), want: "body: nested deeper than 32"},
		{name: "members without end", op: OpCreate, body: `{"customer":[` + strings.Repeat("0,", 5000) + "0]}", want: "body: more than 4096 members"},
		{name: "garbage where no body is wanted", op: OpBanks, body: `hello`, want: "body: not valid JSON in UTF-8 at byte 0"},

		// The session.
		{name: "no session", op: OpStatus, body: ``, want: "session_id: required"},
		{name: "no session, null", op: OpConfirm, body: `{"session_id":null}`, want: "session_id: required"},
		{name: "no session, []", op: OpCancel, body: `[]`, want: "session_id: required"},
		{name: "session is a number", op: OpStatus, body: `{"session_id":7300451}`, want: "session_id: must be a string"},
		{name: "session without prefix", op: OpStatus, body: `{"session_id":"7300451"}`, want: "session_id: must be ps_ and decimal digits"},
		{name: "another kind of id", op: OpStatus, body: `{"session_id":"po_7300451"}`, want: "session_id: must be ps_ and decimal digits"},
		{name: "session too long", op: OpStatus, body: `{"session_id":"ps_99999999999999999999"}`, want: "session_id: must be ps_ and decimal digits"},
		{name: "session in other digits", op: OpStatus, body: `{"session_id":"ps_٣"}`, want: "session_id: must be ps_ and decimal digits"},
		{name: "session to start", op: OpStart, body: object(cardPart, amountPart, namePart), want: "session_id: required"},

		// What is missing.
		{name: "nothing, v2", op: OpInit, body: `[]`, want: "payout_details: required; amount_details: required"},
		{name: "nothing, v1", op: OpInit, version: 1, body: `{"payment_method":null}`, want: "payment_method: required; amount_details: required"},
		{name: "no amount", op: OpInit, body: object(cardPart, namePart), want: "amount_details: required"},
		{name: "no name for a card", op: OpInit, body: object(cardPart, amountPart), want: noName},
		{name: "half a name for a card", op: OpInit, body: object(cardPart, amountPart, `"participant_details":{"recipient":{"first_name":"Anna"}}`), want: noName},
		{name: "blank name for a card", op: OpInit, body: object(cardPart, amountPart, `"participant_details":{"recipient":{"full_name":"  "}}`), want: noName},
		{name: "the sender's name for a card", op: OpInit, body: object(cardPart, amountPart, `"participant_details":{"sender":{"full_name":"Anna Berg"}}`), want: noName},
		{name: "both names", op: OpInit, body: object(cardPart, `"payment_method":{}`, amountPart, namePart), want: "payment_method: must not be sent together with payout_details"},

		// Methods.
		{name: "no type", op: OpCreate, body: `{"payout_details":[]}`, want: "payout_details.type: required"},
		{name: "method is no object", op: OpCreate, body: `{"payout_details":"card"}`, want: "payout_details: must be an object"},
		{name: "method is an array", op: OpCreate, body: `{"payout_details":[{}]}`, want: "payout_details: must be an object"},
		{name: "type is no string", op: OpCreate, body: `{"payout_details":{"type":1}}`, want: "payout_details.type: must be a string"},
		{name: "unknown type is not repeated", op: OpCreate, body: `{"payout_details":{"type":"4242424242424242"}}`, want: "payout_details.type: is not a known type"},
		{name: "crypto", op: OpCreate, body: `{"payout_details":{"type":"crypto_wallet","crypto_wallet":{}}}`, want: "payout_details.type: crypto_wallet is not supported by this server"},
		{name: "tax", op: OpCreate, body: `{"payment_method":{"type":"tax"}}`, want: "payment_method.type: tax is not supported by this server"},
		{name: "no member of the type", op: OpCreate, body: `{"payout_details":{"type":"card","bank_account":{}}}`, want: "payout_details.card: required"},
		{name: "member of the type is no object", op: OpCreate, body: `{"payout_details":{"type":"card","card":true}}`, want: "payout_details.card: must be an object"},

		// Cards.
		{name: "card without type", op: OpCreate, body: object(cardOf(`{"bank_card":{}}`)), want: "payout_details.card.type: required"},
		{name: "empty card", op: OpCreate, body: object(cardOf(`{"type":"bank_card","bank_card":[]}`)), want: inCard + "number: required"},
		{name: "Luhn", op: OpCreate, body: object(cardOf(`{"type":"bank_card","bank_card":{"number":"4242424242424243"}}`)), want: inCard + "number: fails the Luhn check"},
		{name: "Luhn, v1", op: OpCreate, version: 1, body: `{"payment_method":{"type":"card","card":{"type":"bank_card","bank_card":{"number":"4242424242424243"}}}}`, want: "payment_method.card.bank_card.number: fails the Luhn check"},
		{name: "spaces", op: OpCreate, body: object(cardOf(`{"type":"bank_card","bank_card":{"number":"4242 4242 4242 4242"}}`)), want: inCard + "number: must be 14 to 19 digits"},
		{name: "short number", op: OpCreate, body: object(cardOf(`{"type":"bank_card","bank_card":{"number":"4222222222222"}}`)), want: inCard + "number: must be 14 to 19 digits"},
		{name: "long number", op: OpCreate, body: object(cardOf(`{"type":"bank_card","bank_card":{"number":"42424242424242424242"}}`)), want: inCard + "number: must be 14 to 19 digits"},
		{name: "number as a number", op: OpCreate, body: object(cardOf(`{"type":"bank_card","bank_card":{"number":4242424242424242}}`)), want: inCard + "number: must be a string"},
		{
			name: "the rest of a card", op: OpCreate, body: object(cardOf(`{"type":"bank_card","bank_card":{"number":"4242424242424242","expiration_month":"13","expiration_year":"2030","security_code":"12","cardholder_name":"A\nB"}}`)),
			want: inCard + "expiration_month: must be a month as MM; " + inCard + "expiration_year: must be a year as YY; " + inCard + "security_code: must be 3 or 4 digits; " + inCard + "cardholder_name: must not contain control characters or line breaks",
		},
		{name: "no hash", op: OpCreate, body: object(cardOf(`{"type":"encrypted_card","encrypted_card":{"token":"` + hash + `"}}`)), want: "payout_details.card.encrypted_card.number_hash: required"},
		{
			name: "badly hashed card", op: OpCreate, body: object(cardOf(`{"type":"encrypted_card","encrypted_card":{"number_hash":"4242424242424242","security_code_hash":1}}`)),
			want: "payout_details.card.encrypted_card.number_hash: must be 64 lower-case hexadecimal digits; payout_details.card.encrypted_card.security_code_hash: must be a string",
		},
		{name: "no token", op: OpCreate, body: object(cardOf(`{"type":"tokenized_card","tokenized_card":{"number_hash":"` + hash + `"}}`)), want: "payout_details.card.tokenized_card.token: required"},
		{
			name: "token in capitals", op: OpCreate, body: object(cardOf(`{"type":"tokenized_card","tokenized_card":{"token":"` + strings.ToUpper(hash) + `"}}`)),
			want: "payout_details.card.tokenized_card.token: must be 64 lower-case hexadecimal digits",
		},
		{
			name: "recurrent token", op: OpInit, body: object(`"payout_details":{"type":"recurrent","recurrent":{"token":"`+hash+`","initiator":"bank"}}`, amountPart),
			want: "payout_details.recurrent.initiator: must be merchant or client; " + noName,
		},

		// Accounts.
		{name: "empty account", op: OpCreate, body: object(accountOf()), want: inAccount + "bik: required; " + inAccount + "account: required; " + inAccount + "full_name: required; " + inAccount + "description: required"},
		{name: "bik", op: OpCreate, body: object(accountBut("bik", `"04452522"`)), want: inAccount + "bik: must be 9 digits"},
		{name: "account in other digits", op: OpCreate, body: object(accountBut("account", `"4081781050000001234٣"`)), want: inAccount + "account: must be 20 digits"},
		{name: "blank name", op: OpCreate, body: object(accountBut("full_name", `" "`)), want: inAccount + "full_name: must not be blank"},
		{name: "empty purpose", op: OpCreate, body: object(accountBut("description", `""`)), want: inAccount + "description: must be 1 to 210 characters"},
		{name: "long purpose", op: OpCreate, body: object(accountBut("description", `"`+strings.Repeat("ы", 211)+`"`)), want: inAccount + "description: must be 1 to 210 characters"},
		{name: "question in the purpose", op: OpCreate, body: object(accountBut("description", `"Pay?"`)), want: inAccount + "description: must not contain ? or !"},
		{name: "escaped ! in the purpose", op: OpCreate, body: object(accountBut("description", `"Pay\u0021"`)), want: inAccount + "description: must not contain ? or !"},
		{name: "new line in the purpose", op: OpCreate, body: object(accountBut("description", `"Pay\nme"`)), want: inAccount + "description: must not contain control characters or line breaks"},
		{name: "NUL in the name", op: OpCreate, body: object(accountBut("full_name", `"Anna\u0000"`)), want: inAccount + "full_name: must not contain control characters or line breaks"},
		{name: "line separator in the name", op: OpCreate, body: object(accountBut("full_name", `"Anna\u2028"`)), want: inAccount + "full_name: must not contain control characters or line breaks"},
		{name: "inn", op: OpCreate, body: object(accountBut("inn", `"77000001311"`)), want: inAccount + "inn: must be 10 or 12 digits"},
		{name: "kpp", op: OpCreate, body: object(accountBut("kpp", `""`)), want: inAccount + "kpp: must be 9 digits"},
		{name: "is_fast as a number", op: OpCreate, body: object(accountBut("is_fast", `1`)), want: inAccount + "is_fast: must be true or false"},
		{name: "is_fast in capitals", op: OpCreate, body: object(accountBut("is_fast", `"TRUE"`)), want: inAccount + "is_fast: must be true or false"},
		{name: "account token", op: OpCreate, body: object(accountOf(`"token":"4242"`, `"full_name":"A"`, `"description":"B"`)), want: inAccount + "token: must be 64 lower-case hexadecimal digits"},
		{name: "account, prefix", op: OpCreate, project: strict, body: object(accountBut("account", `"30101810000000000777"`)), want: inAccount + "account: does not begin as an account that may be paid to; " + inAccount + "account: fails the control key of the bank"},
		{name: "account, key", op: OpCreate, project: strict, body: object(accountBut("account", `"40817810500000012345"`)), want: inAccount + "account: fails the control key of the bank"},
		{name: "inn, check digits", op: OpCreate, project: &partner.Project{INNCheck: partner.Reject}, body: object(accountBut("inn", `"7700000131"`)), want: inAccount + "inn: fails the check digits"},
		{name: "bank account without its member", op: OpCreate, body: `{"payout_details":{"type":"bank_account"}}`, want: "payout_details.bank_account: required"},
		{name: "account without its member", op: OpCreate, body: `{"payout_details":{"type":"bank_account","bank_account":{"system_type":"ru"}}}`, want: "payout_details.bank_account.ru: required"},
		{name: "iban", op: OpCreate, body: object(phoneOf("iban")), want: "payout_details.bank_account.system_type: iban is not supported by this server"},
		{name: "upi", op: OpCreate, body: `{"payout_details":{"type":"bank_account","bank_account":{"system_type":"upi","upi":[]}}}`, want: "payout_details.bank_account.system_type: upi is not supported by this server"},

		// Phones.
		{name: "empty phone", op: OpCreate, body: object(phoneOf("faster_payment_system")), want: inFPS + "phone: required; " + inFPS + "bank_id: required; " + inFPS + "description: required"},
		{name: "phone with plus", op: OpCreate, body: object(phoneOf("faster_payment_system", `"phone":"+79990001310"`, `"bank_id":"100000000131"`, `"description":"x"`)), want: inFPS + "phone: must be 10 to 15 digits without a plus"},
		{name: "bank id", op: OpCreate, body: object(phoneOf("faster_payment_system", `"phone":"79990001310"`, `"bank_id":"131"`, `"description":"x"`)), want: inFPS + "bank_id: must be 12 digits"},
		{name: "long message", op: OpCreate, body: object(phoneOf("faster_payment_system", `"phone":"79990001310"`, `"bank_id":"100000000131"`, `"description":"`+strings.Repeat("ы", 141)+`"`)), want: inFPS + "description: must be 1 to 140 characters"},
		{
			name: "verification as a payout", op: OpInit, body: object(phoneOf(verification, `"phone":"79990001310"`, `"bank_id":"100000000131"`), amountPart),
			want: "payout_details.bank_account.system_type: faster_payment_system_verification is only possible as a customer verification",
		},

		// Verifications.
		{name: "nothing to verify", op: OpVerify, version: 1, body: `{}`, want: "payment_method: required"},
		{name: "verification of a card", op: OpVerify, body: object(cardPart, namePart), want: "payout_details.type: must be bank_account in a customer verification"},
		{name: "verification of an account", op: OpVerify, body: object(accountBut("", ""), namePart), want: "payout_details.bank_account.system_type: must be faster_payment_system_verification in a customer verification"},
		{name: "verification of a payout", op: OpVerify, body: object(phoneOf("faster_payment_system"), namePart), want: "payout_details.bank_account.system_type: must be faster_payment_system_verification in a customer verification"},
		{name: "verification of nobody", op: OpVerify, body: object(phoneOf(verification, `"phone":"79990001310"`, `"bank_id":"100000000131"`)), want: noName},

		// Wallets.
		{name: "qiwi", op: OpCreate, body: object(walletOf("qiwi", `{}`)), want: "payout_details.wallet.type: qiwi is not supported by this server"},
		{name: "short wallet", op: OpCreate, body: object(walletOf("yoomoney", `{"account":"4100110000"}`)), want: "payout_details.wallet.yoomoney.account: must be 11 to 20 digits"},
		{name: "no wallet", op: OpCreate, body: object(walletOf("yoomoney", `[]`)), want: "payout_details.wallet.yoomoney.account: required"},

		{name: "wallet's message of two lines", op: OpCreate, body: object(walletOf("yoomoney", `{"account":"4100110000131","description":"a\nb"}`)), want: "payout_details.wallet.yoomoney.description: must not contain control characters or line breaks"},
		{name: "wallet without its member", op: OpCreate, body: `{"payout_details":{"type":"wallet"}}`, want: "payout_details.wallet: required"},

		// Amounts.
		{name: "empty amount", op: OpCreate, body: `{"amount_details":[]}`, want: "amount_details.amount: required; amount_details.currency: required"},
		{name: "amount as a number", op: OpCreate, body: `{"amount_details":100}`, want: "amount_details: must be an object"},
		{name: "zero", op: OpCreate, body: `{"amount_details":{"amount":0,"currency":"rub"}}`, want: "amount_details.amount: must be greater than 0"},
		{name: "minus zero", op: OpCreate, body: `{"amount_details":{"amount":-0,"currency":"rub"}}`, want: "amount_details.amount: must be greater than 0"},
		{name: "negative", op: OpCreate, body: `{"amount_details":{"amount":-99999999999999999999,"currency":"rub"}}`, want: "amount_details.amount: must be greater than 0"},
		{name: "too large", op: OpCreate, body: `{"amount_details":{"amount":9007199254740992,"currency":"rub"}}`, want: "amount_details.amount: must be less than 2^53"},
		{name: "far too large", op: OpCreate, body: `{"amount_details":{"amount":18446744073709551716,"currency":"rub"}}`, want: "amount_details.amount: must be less than 2^53"},
		{name: "fraction", op: OpCreate, body: `{"amount_details":{"amount":100.0,"currency":"rub"}}`, want: "amount_details.amount: must be an integer, in minor units"},
		{name: "exponent", op: OpCreate, body: `{"amount_details":{"amount":1e3,"currency":"rub"}}`, want: "amount_details.amount: must be an integer, in minor units"},
		{name: "amount in quotes", op: OpCreate, body: `{"amount_details":{"amount":"100","currency":"rub"}}`, want: "amount_details.amount: must be an integer, in minor units"},
		{name: "amount is an array", op: OpCreate, body: `{"amount_details":{"amount":[],"currency":"rub"}}`, want: "amount_details.amount: must be an integer, in minor units"},
		{name: "unknown currency", op: OpCreate, body: `{"amount_details":{"amount":1,"currency":"RUR"}}`, want: "amount_details.currency: is not a known currency"},
		{name: "nothing to calculate", op: OpCalculate, body: `{}`, want: "amounts: required"},
		{name: "amounts as a list", op: OpCalculate, body: `{"amounts":[1]}`, want: "amounts: must be an object"},
		{name: "one side alone", op: OpCalculate, body: `{"amounts":{"source":{"amount":1,"currency":"RUB"}}}`, want: "amounts.destination: required"},
		{name: "both amounts", op: OpCalculate, body: `{"amounts":{"source":{"amount":1,"currency":"RUB"},"destination":{"amount":1,"currency":"USD"}}}`, want: "amounts: must have the amount of source or of destination, and null for the other"},
		{name: "neither amount", op: OpCalculate, body: `{"amounts":{"source":{"amount":null,"currency":"RUB"},"destination":{"currency":"USD"}}}`, want: "amounts: must have the amount of source or of destination, and null for the other"},
		{name: "nothing for something", op: OpCalculate, body: `{"amounts":{"source":{"amount":0,"currency":"RUB"},"destination":{"currency":"USD"}}}`, want: "amounts.source.amount: must be greater than 0"},
		{name: "a part of a kopeck", op: OpCalculate, body: `{"amounts":{"source":{"amount":1.5,"currency":"RUB"},"destination":{"currency":"USD"}}}`, want: "amounts.source.amount: must be an integer, in minor units"},
		{name: "no currency", op: OpCalculate, body: `{"amounts":{"source":{"amount":1},"destination":{"currency":"TRY"}}}`, want: "amounts.source.currency: required; amounts.destination.currency: is not a known currency"},
		{name: "currency as its number", op: OpCreate, body: `{"amount_details":{"amount":1,"currency":643}}`, want: "amount_details.currency: must be a string"},

		// People.
		{name: "participants", op: OpCreate, body: `{"participant_details":7}`, want: "participant_details: must be an object"},
		{name: "recipient", op: OpCreate, body: `{"participant_details":{"sender":"x","recipient":["x"]}}`, want: "participant_details.sender: must be an object; participant_details.recipient: must be an object"},
		{name: "name as a number, of a payout that needs one", op: OpInit, body: object(cardPart, amountPart, `"participant_details":{"recipient":{"full_name":5}}`), want: "participant_details.recipient.full_name: must be a string"},
		{name: "name as a number", op: OpCreate, body: `{"participant_details":{"recipient":{"full_name":4242424242424242}}}`, want: "participant_details.recipient.full_name: must be a string"},
		{name: "name of two lines", op: OpCreate, body: `{"participant_details":{"recipient":{"last_name":"Berg\r"}}}`, want: "participant_details.recipient.last_name: must not contain control characters or line breaks"},
		{name: "name without end", op: OpCreate, body: `{"participant_details":{"recipient":{"full_name":"` + strings.Repeat("ы", 256) + `"}}}`, want: "participant_details.recipient.full_name: must be at most 255 characters"},
		{name: "NUL in a text", op: OpCreate, body: `{"participant_details":{"sender":{"city":"\u0000"}}}`, want: "participant_details.sender.city: must be at most 1000 characters, none of them NUL"},
		{
			name: "dates", op: OpCreate, body: `{"participant_details":{"recipient":{"date_of_birth":"1990-02-30"},"sender":{"date_of_incorporation":"01.02.2003"}}}`,
			want: "participant_details.sender.date_of_incorporation: must be a date as YYYY-MM-DD; participant_details.recipient.date_of_birth: must be a date as YYYY-MM-DD",
		},
		{
			name: "addresses", op: OpCreate, body: `{"participant_details":{"sender":{"ipv4":"::1","ipv6":"10.0.0.1"},"recipient":{"ipv4":"10.0.0.256","ipv6":"fe80::1%eth0"}}}`,
			want: "participant_details.sender.ipv4: must be an IPv4 address; participant_details.sender.ipv6: must be an IPv6 address; participant_details.recipient.ipv4: must be an IPv4 address; participant_details.recipient.ipv6: must be an IPv6 address",
		},
		{
			name: "passport", op: OpCreate, body: `{"participant_details":{"recipient":{"identity_document":{"issue_date":"2003-2-1","id_number":4510}}}}`,
			want: "participant_details.recipient.identity_document.issue_date: must be a date as YYYY-MM-DD; participant_details.recipient.identity_document.id_number: must be a string",
		},
		{name: "passport is a string", op: OpCreate, body: `{"participant_details":{"recipient":{"identity_document":"4510"}}}`, want: "participant_details.recipient.identity_document: must be an object"},
		{name: "customer without reference", op: OpCreate, body: `{"customer":[]}`, want: "customer.reference: required"},
		{name: "empty reference", op: OpCreate, body: `{"customer":{"reference":""}}`, want: "customer.reference: must be 1 to 255 characters"},
		{name: "contacts", op: OpCreate, body: `{"customer":{"reference":"r","contacts":{"email":"a@b.example"}}}`, want: "customer.contacts: must be an array"},
		{
			name: "contact by contact", op: OpCreate, body: `{"customer":{"reference":"r","contacts":[{"email":"a@b.example"},{"email":"a"},{},{"phone":1},"x"]}}`,
			want: "customer.contacts[1].email: must be an e-mail address; customer.contacts[2]: must have email or phone; customer.contacts[3].phone: must be a string; customer.contacts[4]: must be an object",
		},
		{name: "e-mail with a name", op: OpCreate, body: `{"customer":{"reference":"r","contacts":[{"email":"Anna <a@b.example>"}]}}`, want: "customer.contacts[0].email: must be an e-mail address"},
		{name: "metadata", op: OpCreate, body: `{"metadata":"` + strings.Repeat("x", 64<<10) + `"}`, want: "metadata: must be at most 64 KiB"},

		// The balance.
		{name: "no time", op: OpBalance, body: `[]`, want: "request_datetime: required"},
		{name: "time without zone", op: OpBalance, body: `{"request_datetime":"2026-03-02T12:20:00"}`, want: "request_datetime: must be a time in ISO 8601 with an offset or Z"},
		{name: "Unix time", op: OpBalance, body: `{"request_datetime":1772443200}`, want: "request_datetime: must be a string"},

		// All at once, in a fixed order.
		{
			name: "everything is wrong", op: OpStart,
			body: object(`"customer":1`, `"participant_details":1`, `"amount_details":1`, `"payment_method":1`, `"session_id":1`),
			want: "session_id: must be a string; payment_method: must be an object; amount_details: must be an object; participant_details: must be an object; customer: must be an object",
		},
		{
			name: "more than anyone reads", op: OpCreate,
			body: `{"customer":{"reference":"r","contacts":[` + strings.TrimSuffix(strings.Repeat("1,", 25), ",") + `]}}`,
			want: func() string {
				var b strings.Builder
				for i := range 20 {
					fmt.Fprintf(&b, "customer.contacts[%d]: must be an object; ", i)
				}
				return b.String() + "and 5 more"
			}(),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := test.version
			if v == 0 {
				v = 2
			}
			r, err := Parse(test.op, v, test.project, []byte(test.body))
			wantInvalid(t, err, test.want)
			if r.PAN != "" || r.Details.Instrument != nil {
				t.Error("a refused request is returned")
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	lenient := &partner.Project{ControlKey: partner.Warn, INNCheck: partner.Warn, AccountPrefix: partner.Warn}
	card := &instrument.Instrument{Card: &instrument.Card{BIN: "424242", Last4: "4242", Brand: instrument.Visa}}
	tests := []struct {
		name    string
		op      Op
		project *partner.Project
		body    string
		want    Request
	}{
		{name: "no body", op: OpCreate, body: "", want: Request{}},
		{name: "white space", op: OpCreate, body: " \r\n", want: Request{}},
		{name: "{}", op: OpCreate, body: "{}", want: Request{}},
		{name: "[]", op: OpBanks, body: " [ ] ", want: Request{}},
		{name: "nulls", op: OpCreate, body: `{"payment_method":null,"payout_details":null,"amount_details":null,"participant_details":null,"customer":null,"metadata":null}`, want: Request{}},
		{name: "members of others", op: OpCreate, body: `{"session_id":5,"payment_options":{"recurrent":true},"custom_routing":{"tags":[{"root_tag":"x","values":[1,null]}]},"fiscalization_details":[]}`, want: Request{Details: session.Details{Extra: session.Extra{
			Options: []byte(`{"recurrent":true}`), Routing: []byte(`{"tags":[{"root_tag":"x","values":[1]}]}`),
		}}}},
		{name: "confirm_information on cancel", op: OpCancel, body: `{"session_id":"ps_1","confirm_information":{"account_details":[]}}`, want: Request{Session: 1}},
		{name: "greatest session", op: OpStatus, body: `{"session_id":"ps_9223372036854775807"}`, want: Request{Session: 9223372036854775807}},
		{name: "only the session", op: OpStart, body: object(sessionPart), want: Request{Session: 7300451}},
		{
			name: "card, all else forgotten", op: OpInit,
			body: object(`"session_id":"stray"`, cardOf(`{"bank_card":{"number":"4242424242424242","expiration_month":"03","expiration_year":"30","security_code":"123","cardholder_name":"ANNA BERG"},"type":"bank_card"}`), amountPart, namePart),
			want: Request{PAN: "4242424242424242", Details: session.Details{
				Instrument: card, Amount: roubles(100), Recipient: "Anna Berg",
				Participants: json.RawMessage(`{"recipient":{"full_name":"Anna Berg"}}`),
			}},
		},
		{
			name: "the other version's name, escaped", op: OpCreate, body: `{"payment\u005fmethod":{"type":"c\u0061rd","card":{"type":"bank_card","bank_card":{"number":"\u0034242424242424242"}}}}`,
			want: Request{PAN: "4242424242424242", Details: session.Details{Instrument: card}},
		},
		{
			name: "account, warned of", op: OpInit, project: lenient,
			body: object(accountOf(`"bik":"044525225"`, `"account":"30101810000000000777"`, `"full_name":"Anna \"A\" Berg"`, `"description":"Pay"`, `"inn":"7700000131"`, `"kpp":"770001001"`, `"is_fast":"true"`), amountPart),
			want: Request{
				Details: session.Details{
					Amount: roubles(100),
					Instrument: &instrument.Instrument{Account: &instrument.Account{
						BIK: "044525225", Number: "30101810000000000777", FullName: `Anna "A" Berg`, Description: "Pay",
						INN: "7700000131", KPP: "770001001", Fast: true, FastSent: true,
					}},
				},
				Warnings: []string{
					inAccount + "account: does not begin as an account that may be paid to",
					inAccount + "account: fails the control key of the bank",
					inAccount + "inn: fails the check digits",
				},
			},
		},
		{
			name: "account of any prefix", op: OpCreate, body: object(accountBut("account", `"30101810000000000777"`)),
			want: Request{Details: session.Details{Instrument: &instrument.Instrument{Account: &instrument.Account{
				BIK: "044525225", Number: "30101810000000000777", FullName: "Anna Berg", Description: "Pay",
			}}}},
		},
		{
			name: "FPS test phone", op: OpInit, body: object(phoneOf("faster_payment_system", `"phone":"0070009210197"`, `"bank_id":"100000000197"`, `"description":"`+strings.Repeat("ы", 140)+`"`), amountPart),
			want: Request{Details: session.Details{Amount: roubles(100), Instrument: &instrument.Instrument{FPS: &instrument.FPS{
				Phone: "0070009210197", BankID: "100000000197", Description: strings.Repeat("ы", 140),
			}}}},
		},
		{
			name: "verification without session, by name and surname", op: OpVerify,
			body: object(phoneOf(verification, `"phone":"79990001310"`, `"bank_id":"100000000131"`), amountPart, `"participant_details":{"recipient":{"first_name":"Anna","last_name":" Berg "}}`),
			want: Request{Details: session.Details{
				Instrument:   &instrument.Instrument{FPS: &instrument.FPS{Phone: "79990001310", BankID: "100000000131", Verify: true}},
				Participants: json.RawMessage(`{"recipient":{"first_name":"Anna","last_name":" Berg "}}`), Recipient: "Berg Anna",
			}},
		},
		{
			name: "verification of whom the session names", op: OpVerify, body: object(sessionPart, phoneOf(verification, `"phone":"79990001310"`, `"bank_id":"100000000131"`)),
			want: Request{Session: 7300451, Details: session.Details{
				Instrument: &instrument.Instrument{FPS: &instrument.FPS{Phone: "79990001310", BankID: "100000000131", Verify: true}},
			}},
		},
		{
			name: "wallet", op: OpInit, body: object(walletOf("yoomoney", `{"account":"4100110000131","description":null}`), `"amount_details":{"amount":9007199254740991,"currency":"Rub"}`),
			want: Request{Details: session.Details{Amount: roubles(money.MinorMax), Instrument: &instrument.Instrument{Wallet: &instrument.Wallet{Account: "4100110000131"}}}},
		},
		{
			name: "participants without nulls and what is empty", op: OpCreate,
			body: `{"participant_details": {"sender": {"a": {"b": [null, {}, []]}}, "x": [ {"y": null}, 1.50, "\u0416\/" ], "recipient": {"middle_name": "", "ipv4": "10.0.0.1", "ipv6": "::1", "full_name": null, "identity_document": {"id_type": "p", "issue_date": "2003-02-01"}}}}`,
			want: Request{Details: session.Details{
				Participants: json.RawMessage(`{"x":[1.50,"\u0416\/"],"recipient":{"middle_name":"","ipv4":"10.0.0.1","ipv6":"::1","identity_document":{"id_type":"p","issue_date":"2003-02-01"}}}`),
			}},
		},
		{
			name: "an address of two lines", op: OpCreate, body: `{"participant_details":{"recipient":{"address_line":"a\nb"}}}`,
			want: Request{Details: session.Details{Participants: json.RawMessage(`{"recipient":{"address_line":"a\nb"}}`)}},
		},
		{name: "nobody", op: OpCreate, body: `{"participant_details":{"sender":[],"recipient":{"full_name":null}}}`, want: Request{}},
		{
			name: "customer", op: OpCreate, body: `{"customer":{"reference":"r <1>","contacts":[null,{"email":"a@b.example","phone":null}, {"phone":"+7 999"}]}}`,
			want: Request{Details: session.Details{Customer: json.RawMessage(`{"reference":"r <1>","contacts":[{"email":"a@b.example"},{"phone":"+7 999"}]}`)}},
		},
		{
			name: "metadata, to the digit", op: OpCreate, body: `{"metadata": {"n": 12345678901234567890.10, "z": [ null, {} ], "s": "\u0000\/<\ud83d\ude00"}}`,
			want: Request{Details: session.Details{Metadata: json.RawMessage(`{"n":12345678901234567890.10,"z":[null,{}],"s":"\u0000\/<\ud83d\ude00"}`)}},
		},
		{name: "metadata is false", op: OpCreate, body: `{"metadata":false}`, want: Request{Details: session.Details{Metadata: json.RawMessage(`false`)}}},
		{name: "metadata is empty", op: OpCreate, body: `{"metadata":[]}`, want: Request{Details: session.Details{Metadata: json.RawMessage(`[]`)}}},
		{
			name: "metadata of 64 KiB", op: OpCreate, body: `{"metadata":  "` + strings.Repeat("x", 64<<10-2) + `"}`,
			want: Request{Details: session.Details{Metadata: json.RawMessage(`"` + strings.Repeat("x", 64<<10-2) + `"`)}},
		},
		{
			name: "depth of 32", op: OpCreate, body: `{"metadata":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + "}",
			want: Request{Details: session.Details{Metadata: json.RawMessage(strings.Repeat("[", 31) + strings.Repeat("]", 31))}},
		},
		{name: "UTC", op: OpBalance, body: `{"request_datetime":"2026-03-02T12:20:00.120031Z"}`, want: Request{}},
		{name: "offset without colon", op: OpBalance, body: `{"request_datetime":"2026-03-02T12:20:00+0300"}`, want: Request{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.op, 2, test.project, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if got.PAN != test.want.PAN {
				t.Error("another card number")
			}
			wantBytes(t, marshal(t, got), marshal(t, test.want))
			wantBytes(t, got.Details.Participants, test.want.Details.Participants) // marshal would hide white space
			wantBytes(t, got.Details.Customer, test.want.Details.Customer)
			wantBytes(t, got.Details.Metadata, test.want.Details.Metadata)
		})
	}
}

// The body belongs to the caller, who may use its bytes for the next one.
func TestParseKeepsNothingOfTheBody(t *testing.T) {
	body := []byte(object(cardPart, amountPart, namePart, `"customer":{"reference":"r"}`, `"metadata":{"a":1}`))
	r, err := Parse(OpInit, 2, nil, body)
	if err != nil {
		t.Fatal(err)
	}
	before := marshal(t, r)
	for i := range body {
		body[i] = 'x'
	}
	wantBytes(t, marshal(t, r), before)
	if r.PAN != "4242424242424242" {
		t.Error("the card number changed with the body")
	}
}

func TestRecipient(t *testing.T) {
	tests := []struct{ name, recipient, want string }{
		{"full name", `{"full_name":"Соколова Марина"}`, "Соколова Марина"},
		{"full name before the others", `{"first_name":"A","last_name":"B","full_name":" C "}`, "C"},
		{"in order", `{"first_name":"Марина","last_name":"Соколова","middle_name":"Игоревна"}`, "Соколова Марина Игоревна"},
		{"no patronymic", `{"first_name":"Anna","last_name":"Berg"}`, "Berg Anna"},
		{"blank full name", `{"first_name":"Anna","last_name":"Berg","full_name":" "}`, "Berg Anna"},
		{"no surname", `{"first_name":"Anna","middle_name":"M"}`, ""},
		{"a company", `{"company_name":"Berg AG"}`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := Parse(OpCreate, 2, nil, []byte(`{"participant_details":{"recipient":`+test.recipient+`}}`))
			if err != nil || r.Details.Recipient != test.want {
				t.Errorf("%q, %v; want %q", r.Details.Recipient, err, test.want)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	card := &instrument.Instrument{Card: &instrument.Card{}}
	account := &instrument.Instrument{Account: &instrument.Account{}}
	phone := &instrument.Instrument{FPS: &instrument.FPS{}}
	verify := &instrument.Instrument{FPS: &instrument.FPS{Verify: true}}
	tests := []struct {
		name    string
		version session.Version
		details session.Details
		want    string // "" if nothing is missing
	}{
		{"nothing, v1", 1, session.Details{}, "payment_method: required; amount_details: required"},
		{"nothing, v2", 2, session.Details{}, "payout_details: required; amount_details: required"},
		{"card alone", 2, session.Details{Instrument: card}, "amount_details: required; " + noName},
		{"card without a name", 2, session.Details{Instrument: card, Amount: roubles(1)}, noName},
		{"card", 2, session.Details{Instrument: card, Amount: roubles(1), Recipient: "A"}, ""},
		{"account without an amount", 1, session.Details{Instrument: account}, "amount_details: required"},
		{"account", 1, session.Details{Instrument: account, Amount: roubles(1)}, ""},
		{"phone", 1, session.Details{Instrument: phone, Amount: roubles(1)}, ""},
		{"verification of nobody", 1, session.Details{Instrument: verify}, noName},
		{"verification", 1, session.Details{Instrument: verify, Recipient: "A"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Complete(test.version, test.details)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantInvalid(t, err, test.want)
		})
	}
}

func roubles(minor int64) *money.Amount { return &money.Amount{Minor: minor, Currency: money.RUB} }

func wantInvalid(t *testing.T, err error, text string) {
	t.Helper()
	want := fault.New(fault.Invalid, "%s", text)
	if err == nil || err.Error() != want.Error() {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}
