package client

import (
	"encoding/json"
	"fmt"

	"github.com/payoutd/payoutd/sign"
)

// Types of events (wire reference, core §5.2).
const (
	ReadyToConfirm  = "ready_to_confirm" // Confirm or Cancel it
	PaymentFinished = "payment_finished" // it has reached its end, good or bad
	PaymentRefunded = "payment_refunded" // the recipient's bank has returned it
)

// Event is a webhook. One may come more than once, and should be answered with
// HTTP 200 as soon as it is kept. Types that are not known are to be ignored.
type Event struct {
	Type    string  `json:"type"`
	Session Session `json:"session"` // as it was when the event was made
}

// ParseWebhook checks the signature, the value of the header
// sign.HeaderSign, over the body as it was received, and only then reads it:
// sign.ErrSignature if it is not the server's.
func ParseWebhook(body []byte, signature string, server sign.PublicKey) (Event, error) {
	if err := server.Verify(body, signature); err != nil {
		return Event{}, fmt.Errorf("webhook: %w", err)
	}
	var both struct {
		Event
		Information json.RawMessage `json:"confirm_information"`
	}
	if err := json.Unmarshal(body, &both); err != nil {
		return Event{}, fmt.Errorf("webhook: %w", err)
	}
	if both.Type == "" {
		return Event{}, fmt.Errorf("webhook: no type")
	}
	both.Session.ConfirmInformation = both.Information
	return both.Event, nil
}
