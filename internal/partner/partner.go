// Package partner says who may call: projects, their public keys and their
// settings.
package partner

import (
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
)

// Project is one partner project with its settings. It is stored as one JSON
// document; the zero value of each setting is its default.
type Project struct {
	ID id.Project `json:"id"`
	// Wallet is the number of its balance on the wire, decimal digits.
	Wallet string `json:"wallet"`
	Keys   []Key  `json:"keys"`

	Webhook              string `json:"webhook,omitempty"` // URL; "" sends none
	AllowPrivateWebhooks bool   `json:"allow_private_webhooks,omitempty"`
	// RetryShort takes the reference's short schedule: gaps up to 15 minutes,
	// given up after 30. The default keeps trying for 72 hours.
	RetryShort bool `json:"retry_short,omitempty"`
	// WebhookNames forces v1 or v2 names in webhooks; 0 takes the session's.
	WebhookNames int8 `json:"webhook_names,omitempty"`
	// ServerKey signs its webhooks.
	ServerKey KeyType `json:"server_key,omitempty"`

	SingleRequest bool `json:"single_request,omitempty"`
	// ConfirmTimeout is how long a payout awaits confirm; 0 means 240 minutes.
	ConfirmTimeout Duration `json:"confirm_timeout,omitempty"`

	// Methods that it may use; a sandbox allows all to everybody.
	Methods []instrument.Kind       `json:"methods,omitempty"`
	Fees    map[instrument.Kind]Fee `json:"fees,omitempty"`
	// ShowFees adds amounts to payouts.
	ShowFees bool `json:"show_fees,omitempty"`
	// Credit lets available go below zero, kopecks.
	Credit int64 `json:"credit,omitempty"`

	ControlKey    Mode `json:"control_key,omitempty"`    // Bank of Russia control key of accounts
	INNCheck      Mode `json:"inn_check,omitempty"`      // check digits of an INN
	AccountPrefix Mode `json:"account_prefix,omitempty"` // reject: invalid_request instead of a failed payout

	// WidgetOrigins are the pages that may show its widgets: "https://shop.example".
	WidgetOrigins []string `json:"widget_origins,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	// Revision rises with each change.
	Revision int64 `json:"revision"`
}

// Key is one public key of a project.
type Key struct {
	ID  string `json:"id"`  // first 16 hex digits of the SHA-256 of its DER form
	PEM string `json:"pem"` // SPKI
	// RetiredAt is when it stopped to be accepted; nil while active.
	RetiredAt *time.Time `json:"retired_at,omitempty"`
}

// KeyType is the kind of key that signs a project's webhooks.
type KeyType string

// The key types; "" is RSA.
const (
	RSA  KeyType = "rsa"
	P256 KeyType = "p256"
)

// Mode is what to do when an optional check fails; "" is Off.
type Mode string

// The modes.
const (
	Off    Mode = "off"
	Warn   Mode = "warn" // accept, and say so in the log
	Reject Mode = "reject"
)

// ConfirmTimeoutDefault is the reference's 240 minutes (core §6.3).
const ConfirmTimeoutDefault = 240 * time.Minute

// Timeout is how long its payouts await confirmation.
func (p *Project) Timeout() time.Duration {
	if p.ConfirmTimeout > 0 {
		return time.Duration(p.ConfirmTimeout)
	}
	return ConfirmTimeoutDefault
}

// Allows reports whether the project may use the method.
func (p *Project) Allows(k instrument.Kind) bool {
	for _, m := range p.Methods {
		if m == k {
			return true
		}
	}
	return false
}

// Duration is a time.Duration that reads and writes as "240m0s".
type Duration time.Duration

// MarshalText writes the form of time.Duration.String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the form of time.ParseDuration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}
