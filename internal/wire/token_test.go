package wire

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/vault"
)

const secret = "b41fb41fb41fb41fb41fb41fb41fb41fb41fb41fb41fb41fb41fb41fb41fb41f"

func TestParseTokensAccepts(t *testing.T) {
	for _, c := range []struct {
		name, body string
		op         Op
		want       Request
	}{
		{name: "tokenize widget", op: OpToken, body: `{"tokenize_widget":{"access":true,"locale":"en"}}`, want: Request{
			Tokens: Tokens{Widgets: vault.Widgets{Tokenize: &vault.TokenizeWidget{Locale: "en"}}},
		}},
		{name: "self-employed widget", op: OpToken, body: `{"self_employed_widget":{"tax_reference":"772912345698"}}`, want: Request{
			Tokens: Tokens{Widgets: vault.Widgets{SelfEmployed: &vault.SelfEmployedWidget{INN: "772912345698"}}},
		}},
		{
			name: "all three", op: OpToken, body: `{"tokenize_widget":{"access":true},"self_employed_widget":{"tax_reference":"772912345698"},` +
				`"acquiring_widget":{"session_id":"ps_7","success_return_url":"https://shop.example/a","failure_return_url":"https://shop.example/b",` +
				`"show_recurrent_checkbox":"true","success_on_hold":true,"locale":"ru"}}`,
			want: Request{Tokens: Tokens{Widgets: vault.Widgets{
				Tokenize: &vault.TokenizeWidget{}, SelfEmployed: &vault.SelfEmployedWidget{INN: "772912345698"},
				Acquiring: &vault.AcquiringWidget{
					Session: 7, Success: "https://shop.example/a", Failure: "https://shop.example/b", Locale: "ru",
					ShowRecurrentCheckbox: true, SuccessOnHold: true,
				},
			}}},
		},
		{name: "account", op: OpTokenize, body: `{"type":"bank_account_ru","bank_account_ru":{"bik":"044525974","account":"40817810900001234567"}}`, want: Request{
			Tokens: Tokens{BIK: "044525974", Number: "40817810900001234567"},
		}},
		{
			name: "elements", op: OpElements, body: `{"elements":[{"ref":"number","type":"card_number","card_number":"4242424242424242"},` +
				`{"ref":"other","type":"card_number","card_number":"2200000000001317"}]}`,
			want: Request{Tokens: Tokens{Elements: []Element{{"number", "4242424242424242"}, {"other", "2200000000001317"}}}},
		},
		{name: "about a hash", op: OpInfo, body: `{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"` + secret + `"}}}`, want: Request{
			Spent: []Spent{{vault.CardHash, secret, "card.encrypted_card.number_hash"}},
		}},
		{name: "about a card token", op: OpInfo, body: `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"` + secret + `"}}}`, want: Request{
			Spent: []Spent{{vault.CardToken, secret, "card.tokenized_card.token"}},
		}},
		{name: "about a public token", op: OpInfo, body: `{"type":"public_token","public_token":{"token":"` + secret + `"}}`, want: Request{
			Spent: []Spent{{vault.PublicToken, secret, "public_token.token"}},
		}},
		{name: "about a recurrent token", op: OpInfo, body: `{"type":"recurrent_token","recurrent_token":{"token":"` + secret + `"}}`, want: Request{
			Spent: []Spent{{vault.RecurrentToken, secret, "recurrent_token.token"}},
		}},
		{name: "about an account", op: OpInfo, body: `{"type":"bank_account_ru","bank_account_ru":{"token":"` + secret + `"}}`, want: Request{
			Spent: []Spent{{vault.AccountToken, secret, "bank_account_ru.token"}},
		}},
		{name: "about an account by its other name", op: OpInfo, body: `{"type":"bank_account","bank_account":{"token":"` + secret + `"}}`, want: Request{
			Spent: []Spent{{vault.AccountToken, secret, "bank_account.token"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.op, 1, nil, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// What a payout is to be paid to is found by the token; the rest is read here.
func TestParseSpent(t *testing.T) {
	other := strings.Repeat("0a", 32)
	for _, c := range []struct {
		name, body string
		want       []Spent
		instrument instrument.Instrument
	}{
		{
			name: "hash", body: cardOf(`{"type":"encrypted_card","encrypted_card":{"number_hash":"` + secret + `","security_code_hash":"` + other + `"}}`),
			want: []Spent{{vault.CardHash, secret, "payout_details.card.encrypted_card.number_hash"}}, instrument: instrument.Instrument{Card: &instrument.Card{}},
		},
		{
			name: "all hashes", body: cardOf(`{"type":"encrypted_card","encrypted_card":{"cardholder_name_hash":"` + other + `","number_hash":"` + secret + `","expiration_date_hash":"` + other + `"}}`),
			want: []Spent{
				{vault.CardHash, secret, "payout_details.card.encrypted_card.number_hash"},
				{vault.ExpiryHash, vault.Token(other), "payout_details.card.encrypted_card.expiration_date_hash"},
				{vault.HolderHash, vault.Token(other), "payout_details.card.encrypted_card.cardholder_name_hash"},
			}, instrument: instrument.Instrument{Card: &instrument.Card{}},
		},
		{
			name: "card token", body: cardOf(`{"type":"tokenized_card","tokenized_card":{"token":"` + secret + `"}}`),
			want: []Spent{{vault.CardToken, secret, "payout_details.card.tokenized_card.token"}}, instrument: instrument.Instrument{Card: &instrument.Card{}},
		},
		{
			name: "recurrent", body: `"payment_method":{"type":"recurrent","recurrent":{"token":"` + secret + `","initiator":"merchant","security_code":"123"}}`,
			want: []Spent{{vault.RecurrentToken, secret, "payment_method.recurrent.token"}}, instrument: instrument.Instrument{Card: &instrument.Card{}},
		},
		{
			name: "account", body: accountOf(`"token":"`+secret+`"`, `"full_name":"A"`, `"description":"B"`, `"bik":"stray"`),
			want:       []Spent{{vault.AccountToken, secret, "payout_details.bank_account.ru.token"}},
			instrument: instrument.Instrument{Account: &instrument.Account{Token: secret, FullName: "A", Description: "B"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(OpInit, 2, &partner.Project{ControlKey: partner.Reject, AccountPrefix: partner.Reject}, []byte(object(c.body, amountPart, namePart)))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Spent, c.want) || !reflect.DeepEqual(*got.Details.Instrument, c.instrument) || got.PAN != "" {
				t.Errorf("got %+v for %+v", got.Spent, got.Details.Instrument)
			}
		})
	}
}

func TestParseTokensRefuses(t *testing.T) {
	strict := &partner.Project{ControlKey: partner.Reject, AccountPrefix: partner.Reject}
	many := strings.TrimSuffix(strings.Repeat(`{"ref":"r","type":"card_number","card_number":"4242424242424242"},`, elementsMax+1), ",")
	for _, c := range []struct {
		name, body string
		op         Op
		project    *partner.Project
		want       string
	}{
		{name: "no widget", op: OpToken, body: `{"widget":{}}`, want: "tokenize_widget: required, or self_employed_widget or acquiring_widget"},
		{name: "null widget", op: OpToken, body: `{"tokenize_widget":null}`, want: "tokenize_widget: required, or self_employed_widget or acquiring_widget"},
		{name: "widget is no object", op: OpToken, body: `{"tokenize_widget":true}`, want: "tokenize_widget: must be an object"},
		{name: "no access", op: OpToken, body: `{"tokenize_widget":{}}`, want: "tokenize_widget.access: required"},
		{name: "access denied", op: OpToken, body: `{"tokenize_widget":{"access":false}}`, want: "tokenize_widget.access: must be true; leave tokenize_widget out where it is not wanted"},
		{name: "access is no boolean", op: OpToken, body: `{"tokenize_widget":{"access":1}}`, want: "tokenize_widget.access: must be true or false"},
		{name: "INN of a company", op: OpToken, body: `{"self_employed_widget":{"tax_reference":"7729123456"}}`, want: "self_employed_widget.tax_reference: must be 12 digits"},
		{name: "no INN", op: OpToken, body: `{"self_employed_widget":{}}`, want: "self_employed_widget.tax_reference: required"},
		{name: "no session", op: OpToken, body: `{"acquiring_widget":{}}`, want: "acquiring_widget.session_id: required"},
		{name: "session and URLs", op: OpToken, body: `{"acquiring_widget":{"session_id":"7","success_return_url":"/back","failure_return_url":"javascript:alert(1)"}}`, want: "acquiring_widget.session_id: must be ps_ and decimal digits; " +
			"acquiring_widget.success_return_url: must be an absolute http or https URL; acquiring_widget.failure_return_url: must be an absolute http or https URL"},
		{name: "every fault of several widgets", op: OpToken, body: `{"tokenize_widget":{},"self_employed_widget":{}}`, want: "tokenize_widget.access: required; self_employed_widget.tax_reference: required"},

		{name: "no type", op: OpTokenize, body: `{}`, want: "type: required"},
		{name: "another type", op: OpTokenize, body: `{"type":"card","card":{}}`, want: "type: is not a known type"},
		{name: "no account", op: OpTokenize, body: `{"type":"bank_account_ru"}`, want: "bank_account_ru: required"},
		{name: "half an account", op: OpTokenize, body: `{"type":"bank_account_ru","bank_account_ru":{"bik":"04452597","account":"4081781090000123456"}}`, want: "bank_account_ru.bik: must be 9 digits; bank_account_ru.account: must be 20 digits"},
		{name: "kind of account", op: OpTokenize, project: strict, body: `{"type":"bank_account_ru","bank_account_ru":{"bik":"044525974","account":"40101810900001234567"}}`, want: "bank_account_ru.account: does not begin as an account that may be paid to; " +
			"bank_account_ru.account: fails the control key of the bank"},

		{name: "no elements", op: OpElements, body: `{}`, want: "elements: required"},
		{name: "empty elements", op: OpElements, body: `{"elements":[]}`, want: "elements: must be an array with at least one element"},
		{name: "elements are no array", op: OpElements, body: `{"elements":{"ref":"a"}}`, want: "elements: must be an array with at least one element"},
		{name: "too many", op: OpElements, body: `{"elements":[` + many + `]}`, want: "elements: must have at most 100 elements"},
		{name: "an element is no object", op: OpElements, body: `{"elements":["4242424242424242"]}`, want: "elements[0]: must be an object"},
		{name: "an element without all", op: OpElements, body: `{"elements":[{}]}`, want: "elements[0].ref: required; elements[0].type: required"},
		{name: "an element of another type", op: OpElements, body: `{"elements":[{"ref":"a","type":"cvv","cvv":"123"}]}`, want: "elements[0].type: is not a known type"},
		{name: "no card number", op: OpElements, body: `{"elements":[{"ref":"a","type":"card_number","card_number":"4242424242424243"}]}`, want: "elements[0].card_number: fails the Luhn check"},
		{name: "the same reference twice", op: OpElements, body: `{"elements":[{"ref":"a","type":"card_number","card_number":"4242424242424242"},{"ref":"a","type":"card_number","card_number":"4242424242424242"}]}`, want: "elements[1].ref: is repeated"},

		{name: "about nothing", op: OpInfo, body: `{}`, want: "type: required"},
		{name: "about an unknown type", op: OpInfo, body: `{"type":"iban","iban":{}}`, want: "type: is not a known type"},
		{name: "about an open card", op: OpInfo, body: `{"type":"card","card":{"type":"bank_card","bank_card":{"number":"4242424242424242"}}}`, want: "card.type: bank_card is not supported by this server"},
		{name: "about a card of no type", op: OpInfo, body: `{"type":"card","card":{}}`, want: "card.type: required"},
		{name: "about no token", op: OpInfo, body: `{"type":"public_token","public_token":{}}`, want: "public_token.token: required"},
		{name: "about a token in capitals", op: OpInfo, body: `{"type":"bank_account_ru","bank_account_ru":{"token":"` + strings.ToUpper(secret) + `"}}`, want: "bank_account_ru.token: must be 64 lower-case hexadecimal digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Parse(c.op, 1, c.project, []byte(c.body))
			if fault.CodeOf(err) != fault.Invalid {
				t.Fatalf("got %+v and %v", r, err)
			}
			got := strings.TrimPrefix(err.Error(), "invalid_request: ")
			if c.name == "too many" { // each of them has the same reference, too
				got = got[strings.LastIndex(got, "; ")+2:]
				if !strings.Contains(err.Error(), "more") && got != c.want {
					t.Errorf("got %q", err)
				}
				return
			}
			if got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestTokenAnswers(t *testing.T) {
	at := time.Date(2026, 3, 2, 9, 15, 4, 120031000, time.UTC)
	item := func(k vault.Kind) vault.Item {
		return vault.Item{
			Kind: k, CreatedAt: at, EndsAt: at.AddDate(10, 0, 0),
			Shown: vault.Shown{BIN: "220000", Last4: "1317", Brand: instrument.Mir, Masked: "40817***4567"},
		}
	}
	public := vault.Public{CreatedAt: at, EndsAt: at.Add(24 * time.Hour), Widgets: vault.Widgets{Tokenize: &vault.TokenizeWidget{}}}
	const life = `"created_at":"2026-03-02T09:15:04+00:00","finished_at":"2036-03-02T09:15:04+00:00"`
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"public token", PublicToken(secret), `{"status":"ok","public_token":"` + secret + `"}`},
		{"account token", AccountToken(secret, item(vault.AccountToken).Shown), `{"status":"ok","token":"` + secret + `","data":{"masked_account":"40817***4567"}}`},
		{
			"elements", ElementTokens([]ElementToken{
				{"number", secret, item(vault.CardToken).Shown, 16}, {`"`, secret, vault.Shown{BIN: "622000", Last4: "0001", Brand: instrument.UnionPay}, 19},
			}),
			`{"status":"ok","data":{"number":{"token":"` + secret + `","info":{"masked_card_number":"220000******1317","card_network":"mir"}},` +
				`"\"":{"token":"` + secret + `","info":{"masked_card_number":"622000*********0001","card_network":"unionpay"}}}}`,
		},
		{"about a hash", TokenInfo(Spent{Token: secret}, item(vault.CardHash), at), `{"status":"ok","info":{"number_hash":"` + secret + `","brand":"mir","last4":"1317","type":"card"}}`},
		{"about a card token", TokenInfo(Spent{Token: secret}, item(vault.CardToken), at), `{"status":"ok","info":{"token":"` + secret + `","brand":"mir","last4":"1317","type":"card"}}`},
		{"about an account", TokenInfo(Spent{Token: secret}, item(vault.AccountToken), at), `{"status":"ok","info":{` + life + `,"masked_account":"40817***4567"}}`},
		{"about a recurrent token", TokenInfo(Spent{Token: secret}, item(vault.RecurrentToken), at), `{"status":"ok","info":{"token":"` + secret + `",` + life + `,"is_active":true,"initiator":"merchant"}}`},
		{"about one that has ended", TokenInfo(Spent{Token: secret}, item(vault.RecurrentToken), at.AddDate(10, 0, 0)), `{"status":"ok","info":{"token":"` + secret + `",` + life + `,"is_active":false,"initiator":"merchant"}}`},
		{"about a public token", PublicInfo(Spent{Token: secret}, public, at), `{"status":"ok","info":{"token":"` + secret + `","created_at":"2026-03-02T09:15:04+00:00","finished_at":"2026-03-03T09:15:04+00:00","is_active":true}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if string(c.got) != c.want {
				t.Errorf("got  %s\nwant %s", c.got, c.want)
			}
			wantNoNulls(t, c.got)
		})
	}
}

// Nothing of a request prints its tokens.
func TestSpentPrintsNoToken(t *testing.T) {
	r, err := Parse(OpInfo, 1, nil, []byte(`{"type":"public_token","public_token":{"token":"`+secret+`"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v", r, r, r); strings.Contains(text, secret) {
		t.Errorf("it prints: %s", text)
	}
}

// FuzzParseTokens: no body makes Parse panic or repeat a token or a number from it.
func FuzzParseTokens(f *testing.F) {
	for n := range 4 {
		for _, body := range []string{
			`{"tokenize_widget":{"access":true},"self_employed_widget":{"tax_reference":"772912345698"},"acquiring_widget":{"session_id":"ps_1"}}`,
			`{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"` + secret + `"}}}`,
			`{"type":"bank_account_ru","bank_account_ru":{"bik":"044525974","account":"40817810900001234567","token":"` + secret + `"}}`,
			`{"elements":[{"ref":"number","type":"card_number","card_number":"4242424242424242"},[],null]}`,
		} {
			f.Add(uint8(n), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		r, err := Parse([]Op{OpToken, OpInfo, OpTokenize, OpElements}[n%4], 1, nil, body)
		if err != nil {
			if fault.CodeOf(err) != fault.Invalid || longDigits.MatchString(err.Error()) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		for _, s := range r.Spent {
			if len(s.Token) != 64 || s.Path == "" {
				t.Fatalf("took %d characters for a token at %q", len(s.Token), s.Path)
			}
		}
		for _, e := range r.Tokens.Elements {
			if _, err := instrument.ParsePAN(string(e.PAN)); err != nil || e.Ref == "" {
				t.Fatalf("took no card number: %v", err)
			}
		}
	})
}
