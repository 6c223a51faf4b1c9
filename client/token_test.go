package client_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
)

// Operations on tokens are of version 1, whatever the client's version is.
func TestTokenRequests(t *testing.T) {
	for _, tt := range []struct {
		name   string
		call   func(context.Context, *client.Client) (any, error)
		path   string
		body   string
		answer string
		want   any
	}{
		{"for a card", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Token(ctx, client.ForCardOrAccount())
		}, "token", `{"tokenize_widget":{"access":true}}`, `"public_token":"7c1d"`, "7c1d"},
		{"for a person", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Token(ctx, client.ForSelfEmployed("772912345698"))
		}, "token", `{"self_employed_widget":{"tax_reference":"772912345698"}}`, `"public_token":"7c1d"`, "7c1d"},
		{"for all", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Token(ctx, client.Widgets{
				Tokenize:     &client.TokenizeWidget{Access: true, Locale: "en"},
				SelfEmployed: &client.SelfEmployedWidget{INN: "772912345698"},
				Acquiring:    &client.AcquiringWidget{Session: "ps_1", SuccessURL: "https://acme.example/paid"},
			})
		}, "token", `{"tokenize_widget":{"access":true,"locale":"en"},"self_employed_widget":{"tax_reference":"772912345698"},` +
			`"acquiring_widget":{"session_id":"ps_1","success_return_url":"https://acme.example/paid"}}`, `"public_token":"7c1d"`, "7c1d"},
		{
			"about a hash", func(ctx context.Context, c *client.Client) (any, error) {
				return c.TokenInfo(ctx, client.AboutCardHash("b41f"))
			}, "token/info", `{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"b41f"}}}`,
			`"info":{"number_hash":"b41f","brand":"mir","last4":"1317","country_iso3":"RUS","type":"card"}`,
			client.TokenInfo{NumberHash: "b41f", Brand: "mir", Last4: "1317", Country: "RUS", Type: "card"},
		},
		{
			"about a card token", func(ctx context.Context, c *client.Client) (any, error) {
				return c.TokenInfo(ctx, client.AboutCardToken("5e21"))
			}, "token/info", `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"5e21"}}}`,
			`"info":{"token":"5e21","brand":"visa","last4":"4242","type":"card"}`,
			client.TokenInfo{Token: "5e21", Brand: "visa", Last4: "4242", Type: "card"},
		},
		{
			"about a public token", func(ctx context.Context, c *client.Client) (any, error) {
				return c.TokenInfo(ctx, client.AboutPublicToken("7c1d"))
			}, "token/info", `{"type":"public_token","public_token":{"token":"7c1d"}}`,
			`"info":{"token":"7c1d","created_at":"2026-03-01T10:10:27+03:00","finished_at":"2026-03-02T10:10:27+03:00","is_active":false}`,
			client.TokenInfo{Token: "7c1d", CreatedAt: at(1), FinishedAt: at(2), Active: new(false)},
		},
		{
			"about a recurrent token", func(ctx context.Context, c *client.Client) (any, error) {
				return c.TokenInfo(ctx, client.AboutRecurrentToken("9a0b"))
			}, "token/info", `{"type":"recurrent_token","recurrent_token":{"token":"9a0b"}}`,
			`"info":{"token":"9a0b","created_at":"2026-03-01T10:10:27+03:00","finished_at":"2026-03-02T10:10:27+03:00","is_active":true,"initiator":"merchant"}`,
			client.TokenInfo{Token: "9a0b", CreatedAt: at(1), FinishedAt: at(2), Active: new(true), Initiator: "merchant"},
		},
		{
			"about an account", func(ctx context.Context, c *client.Client) (any, error) {
				return c.TokenInfo(ctx, client.AboutAccountToken("0f5c"))
			}, "token/info", `{"type":"bank_account_ru","bank_account_ru":{"token":"0f5c"}}`,
			`"info":{"created_at":"2026-03-01T10:10:27+03:00","finished_at":"2026-03-02T10:10:27+03:00","masked_account":"40817***0001"}`,
			client.TokenInfo{CreatedAt: at(1), FinishedAt: at(2), MaskedAccount: "40817***0001"},
		},
		{
			"an account", func(ctx context.Context, c *client.Client) (any, error) {
				return c.Tokenize(ctx, "044525974", "40817810913100000001")
			}, "tokenize", `{"type":"bank_account_ru","bank_account_ru":{"account":"40817810913100000001","bik":"044525974"}}`,
			`"token":"0f5c","data":{"masked_account":"40817***0001"}`,
			client.AccountToken{Token: "0f5c", Masked: "40817***0001"},
		},
		{
			"a card", func(ctx context.Context, c *client.Client) (any, error) {
				return c.TokenizeElements(ctx, map[string]client.CardNumber{"courier-5512": "2200000000001317"})
			}, "tokenize/elements", `{"elements":[{"ref":"courier-5512","type":"card_number","card_number":"2200000000001317"}]}`,
			`"data":{"courier-5512":{"token":"5e21","info":{"masked_card_number":"220000******1317","card_network":"mir"}}}`,
			map[string]client.CardToken{"courier-5512": {Token: "5e21", Info: client.CardTokenInfo{Masked: "220000******1317", Network: "mir"}}},
		},
		{"no card", func(ctx context.Context, c *client.Client) (any, error) {
			return c.TokenizeElements(ctx, nil)
		}, "tokenize/elements", `{"elements":[]}`, `"data":{}`, map[string]client.CardToken{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, last := serve(t, 200, `{"status":"ok",`+tt.answer+`}`)
			got, err := tt.call(t.Context(), open(t, url))
			if err != nil {
				t.Fatal(err)
			}
			if r := last(); r.method != "POST" || r.path != "/api/v1/"+tt.path || r.body != tt.body {
				t.Errorf("%s %s\n%s\nwant /api/v1/%s\n%s", r.method, r.path, r.body, tt.path, tt.body)
			}
			if !same(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// at is a day in March, as an answer names it.
func at(day int) *time.Time {
	return new(time.Date(2026, 3, day, 7, 10, 27, 0, time.UTC))
}

// same compares what was read, times by the moment that they name.
func same(got, want any) bool {
	utc := func(v any) any {
		info, ok := v.(client.TokenInfo)
		if ok && info.CreatedAt != nil {
			info.CreatedAt, info.FinishedAt = new(info.CreatedAt.UTC()), new(info.FinishedAt.UTC())
			return info
		}
		return v
	}
	return reflect.DeepEqual(utc(got), utc(want))
}

// An answer that says "ok" and lacks what was asked for is no success.
func TestTokenAnswersThatLackSomething(t *testing.T) {
	calls := map[string]func(context.Context, *client.Client) error{
		"token": func(ctx context.Context, c *client.Client) error {
			_, err := c.Token(ctx, client.ForCardOrAccount())
			return err
		},
		"info": func(ctx context.Context, c *client.Client) error {
			_, err := c.TokenInfo(ctx, client.AboutCardHash("b41f"))
			return err
		},
		"tokenize": func(ctx context.Context, c *client.Client) error {
			_, err := c.Tokenize(ctx, "044525974", "40817810913100000001")
			return err
		},
		"elements": func(ctx context.Context, c *client.Client) error {
			_, err := c.TokenizeElements(ctx, map[string]client.CardNumber{"a": "2200000000001317"})
			return err
		},
	}
	for name, call := range calls {
		for _, tt := range []struct{ name, answer, code string }{
			{"nothing", `{"status":"ok"}`, client.CodeUnreadable},
			{"another reference", `{"status":"ok","data":{"b":{"token":"5e21"}}}`, client.CodeUnreadable},
			{"data of another form", `{"status":"ok","token":"5e21","data":[]}`, client.CodeUnreadable},
			{"a refusal", `{"status":"error","error":{"code":"invalid_request","description":"no such card hash"}}`, client.CodeInvalid},
		} {
			t.Run(name+", "+tt.name, func(t *testing.T) {
				url, _ := serve(t, 200, tt.answer)
				err := call(t.Context(), open(t, url))
				if refusal, ok := errors.AsType[*client.Error](err); !ok || refusal.Code != tt.code {
					t.Errorf("got %v, want %s", err, tt.code)
				}
				if err != nil && strings.Contains(err.Error(), "2200000000001317") {
					t.Error("the error has the number")
				}
			})
		}
	}
}
