package client_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/payoutd/payoutd/client"
)

func TestReceiptRequests(t *testing.T) {
	request := client.Request{
		Amount: &client.Amount{Minor: 450000, Currency: "rub"},
		Fiscal: &client.Fiscalization{Taxpayer: client.Taxpayer{
			INN: "772912345698", PayerType: client.PayerLegal, PayerTaxNumber: "7704123450", PayerName: "OOO Sever",
			Services: []client.Service{{Name: "Courier service, May", Amount: client.Amount{Minor: 225000, Currency: "rub"}, Quantity: 2}},
		}},
	}
	const fiscal = `"fiscalization_details":{"professional_income_taxpayer":{"services":[{"name":"Courier service, May",` +
		`"amount_details":{"amount":225000,"currency":"rub"},"quantity":2}],"tax_reference":"772912345698","payer_type":"legal",` +
		`"payer_tax_number":"7704123450","payer_name":"OOO Sever"`
	answer := `{"status":"ok","session":{"id":"ps_1","status":"accepted","payments":[{"id":"po_1","status":"succeeded",` + fiscal +
		`,"receipt":{"id":"20a1b2c3d4","link":"https://tax.example/20a1b2c3d4"}}}}]}}`
	for _, tt := range []struct {
		name, path, body string
		call             func(context.Context, *client.Client) (client.Session, error)
	}{
		{
			"start", "/api/v2/session/start/payout/fiscalization", `{"session_id":"ps_1","amount_details":{"amount":450000,"currency":"rub"},` + fiscal + `}}}`,
			func(ctx context.Context, c *client.Client) (client.Session, error) {
				return c.StartPayoutWithReceipt(ctx, "ps_1", request)
			},
		},
		{
			"init", "/api/v2/session/init/payout/fiscalization", `{"amount_details":{"amount":450000,"currency":"rub"},` + fiscal + `}}}`,
			func(ctx context.Context, c *client.Client) (client.Session, error) {
				return c.InitPayoutWithReceipt(ctx, request)
			},
		},
		{
			"alone", "/api/v1/fiscalization", `{"session_id":"ps_1","amount_details":{"amount":450000,"currency":"rub"},` + fiscal + `}}}`,
			func(ctx context.Context, c *client.Client) (client.Session, error) {
				return c.RegisterIncome(ctx, "ps_1", request)
			},
		},
		{
			"cancel", "/api/v1/fiscalization/cancel", `{"session_id":"ps_1"}`,
			func(ctx context.Context, c *client.Client) (client.Session, error) {
				return c.CancelReceipt(ctx, "ps_1")
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, got := serve(t, 200, answer)
			s, err := tt.call(t.Context(), open(t, url))
			if err != nil {
				t.Fatal(err)
			}
			want := &client.Receipt{ID: "20a1b2c3d4", Link: "https://tax.example/20a1b2c3d4"}
			if len(s.Payouts) != 1 || !reflect.DeepEqual(s.Payouts[0].Receipt(), want) {
				t.Errorf("read %+v, want the receipt %+v", s, want)
			}
			r := got()
			if r.path != tt.path || r.body != tt.body {
				t.Errorf("sent %s %s\nwant %s %s", r.path, r.body, tt.path, tt.body)
			}
		})
	}
	if (&client.Payout{}).Receipt() != nil {
		t.Error("a payout without fiscalization_details has a receipt")
	}
}
