package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/sign"
)

const hook = `{"type":"ready_to_confirm","session":{"id":"ps_7300502","status":"in_progress",
"created_at":"2026-03-02T11:02:00.000201Z","updated_at":"2026-03-02T11:02:03.410222Z","next_action":"confirm",
"payments":[{"id":"po_4101021","status":"pending","created_at":"2026-03-02T11:02:01.007730Z"}]},
"confirm_information":{"account_details":{}}}`

func signed(t *testing.T, body string) string {
	t.Helper()
	s, err := key().Sign([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseWebhook(t *testing.T) {
	e, err := client.ParseWebhook([]byte(hook), signed(t, hook), key().Public())
	if err != nil {
		t.Fatal(err)
	}
	if e.Type != client.ReadyToConfirm || e.Session.ID != "ps_7300502" || !client.AwaitsConfirm(e.Session) ||
		len(e.Session.Payouts) != 1 || e.Session.Payouts[0].Status != client.PayoutPending ||
		string(e.Session.ConfirmInformation) != `{"account_details":{}}` {
		t.Errorf("%+v", e)
	}
}

// Nothing is read of a body that is not the server's.
func TestParseWebhookRefuses(t *testing.T) {
	other, err := sign.GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, body, signature string
		server                sign.PublicKey
		forged                bool
	}{
		{"no signature", hook, "", key().Public(), true},
		{"another key", hook, signed(t, hook), other.Public(), true},
		{"no key", hook, signed(t, hook), sign.PublicKey{}, true},
		{"another body", strings.Replace(hook, "ps_7300502", "ps_7300503", 1), signed(t, hook), key().Public(), true},
		{"not JSON and forged", "{", signed(t, hook), key().Public(), true},
		{"written anew", strings.ReplaceAll(hook, "\n", ""), signed(t, hook), key().Public(), true},
		{"not JSON", "{", signed(t, "{"), key().Public(), false},
		{"no type", "{}", signed(t, "{}"), key().Public(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := client.ParseWebhook([]byte(tt.body), tt.signature, tt.server)
			if err == nil || errors.Is(err, sign.ErrSignature) != tt.forged {
				t.Errorf("%v", err)
			}
			if e.Type != "" || e.Session.ID != "" {
				t.Errorf("read: %+v", e)
			}
		})
	}
}
