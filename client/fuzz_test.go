package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
)

// fixed is a server that answers all with one status and body.
type fixed struct {
	status int
	body   []byte
}

func (a fixed) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(a.body)), Request: r,
	}, nil
}

// FuzzAnswer lets a server answer with any bytes: each call returns what it
// could read, or an error.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"status":"ok","session":{"id":"ps_1","status":"created","created_at":"2026-03-02T09:15:04.120031Z"}}`))
	f.Add(200, []byte(`{"status":"ok","wallets":[{"id":"1","amount_details":{"amount":1,"currency":"rub"}}]}`))
	f.Add(400, []byte(`{"status":"error","error":{"code":"invalid_request","description":"x"}}`))
	f.Add(200, []byte(`{"status":"ok","data":{"number":{"token":"a"}},"token":"b","notifications":[{"tax_reference":"771310005942","count":1}]}`))
	f.Add(200, []byte(`{"status":"ok","request_id":"npd-1","account_balance":[{"amount":1.5}],"statement":null}`))
	f.Add(502, []byte(`<html>`))
	f.Add(200, []byte(`null`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		c, err := client.New("http://payoutd.example", "demo", key(), client.WithHTTPClient(&http.Client{Transport: fixed{status, body}}))
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		for _, err := range []error{
			second(c.Status(ctx, "ps_1")),
			second(c.Balance(ctx)),
			second(c.FPSBanks(ctx)),
			second(c.AccountBalance(ctx, "40702810900000000131")),
			second(c.AccountStatement(ctx, "40702810900000000131", time.Now())),
			second(c.Token(ctx, client.Widgets{})),
			second(c.TokenInfo(ctx, client.TokenQuery{})),
			second(c.Tokenize(ctx, "044525974", "40817810900001234567")),
			second(c.TokenizeElements(ctx, map[string]client.CardNumber{"number": "4242424242424242"})),
			second(c.NPDCheck(ctx, "771310005942")),
			second(c.NPDStatus(ctx, "npd-1")),
			second(c.NPDCountNotifications(ctx, "771310005942")),
			second(c.NPDReadNotifications(ctx, "771310005942")),
		} {
			refused, ok := errors.AsType[*client.Error](err)
			if status >= 400 && err == nil || ok && refused.Code == "" {
				t.Errorf("%d %q: %v", status, body, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// FuzzParseWebhook reads any body that the server has signed, and none that it
// has not.
func FuzzParseWebhook(f *testing.F) {
	f.Add([]byte(`{"type":"ready_to_confirm","session":{"id":"ps_1","status":"in_progress","next_action":"confirm"}}`))
	f.Add([]byte(`{"type":"payment_finished","session":{"id":"ps_1","payments":[{"id":"po_1","amount_details":{"amount":1e3}}]}}`))
	f.Add([]byte(`{"type":"","session":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		signature, err := key().Sign(body)
		if err != nil {
			t.Fatal(err)
		}
		event, err := client.ParseWebhook(body, signature, key().Public())
		if (err == nil) != (event.Type != "") {
			t.Errorf("%q: type %q, %v", body, event.Type, err)
		}
		if _, err := client.ParseWebhook(append(body, ' '), signature, key().Public()); err == nil {
			t.Error("an unsigned body was read")
		}
	})
}
