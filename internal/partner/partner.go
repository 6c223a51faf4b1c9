// Package partner says who may call: projects, their public keys and their
// settings.
package partner

import (
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/money"
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
	// ReturnFee gives our fee back with a payout that the recipient's bank returns.
	ReturnFee bool `json:"return_fee,omitempty"`
	// ReturnWindow is how long after it was paid a payout may come back without
	// an alarm; 0 means 5 days or 7 business days, whichever is longer.
	ReturnWindow Duration `json:"return_window,omitempty"`
	// Credit lets available go below zero, kopecks.
	Credit int64 `json:"credit,omitempty"`

	// Rates are the foreign currencies in which payouts may be asked for, with
	// where their rates come from; a sandbox adds those that it has rates of.
	Rates map[money.Currency]rate.Terms `json:"rates,omitempty"`
	// RateLock is how long a quoted rate is kept for confirm; 0 means 30 minutes.
	RateLock Duration `json:"rate_lock,omitempty"`
	// ShowRates adds exchange to payouts in foreign currency.
	ShowRates bool `json:"show_rates,omitempty"`

	// RateLimit is how many requests a second it may send, up to RateLimitMax; 0
	// takes the server's, RateUnlimited is any number.
	RateLimit int `json:"rate_limit,omitempty"`

	// Contract is the number of the agreement with the partner, for reports.
	Contract string `json:"contract,omitempty"`

	// Partner owns the tokens that are issued for it, and shares them among all
	// its projects; "" is a partner of its own, under the project's name.
	Partner id.Partner `json:"partner,omitempty"`
	// PublicTokenLife is how long a public token opens widgets; 0 means 24 hours.
	PublicTokenLife Duration `json:"public_token_life,omitempty"`
	// TokenLife is how long other tokens can be used; 0 means ten years.
	TokenLife Duration `json:"token_life,omitempty"`
	// CardIDs adds card_id to cards.
	CardIDs bool `json:"card_ids,omitempty"`
	// AccountTokens adds a token to each account that was paid to.
	AccountTokens bool `json:"account_tokens,omitempty"`
	// Elements lets it tokenize card numbers that it has itself; a sandbox
	// allows that to everybody.
	Elements bool `json:"tokenize_elements,omitempty"`
	// SelfEmployed lets it ask the tax service about self-employed people; a
	// sandbox allows that to everybody.
	SelfEmployed bool `json:"self_employed,omitempty"`
	// KeepReceipts leaves the receipt of a payout that came back as it is; by
	// default it is cancelled.
	KeepReceipts bool `json:"keep_receipts,omitempty"`
	// StrictReceipts refuses services that do not make the amount of the payout.
	StrictReceipts bool `json:"strict_receipts,omitempty"`

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

// Bounds of Project.RateLimit.
const (
	RateLimitMax  = 1_000_000
	RateUnlimited = -1
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

// RateLockDefault is our choice: the wire reference states no life of a rate
// (extensions §4.1).
const RateLockDefault = 30 * time.Minute

// RateEnd is until when a rate is locked that is quoted now.
func (p *Project) RateEnd(now time.Time) time.Time {
	if p.RateLock > 0 {
		return now.Add(time.Duration(p.RateLock))
	}
	return now.Add(RateLockDefault)
}

// Owner is the partner that owns the project's tokens.
func (p *Project) Owner() id.Partner {
	if p.Partner != "" {
		return p.Partner
	}
	return id.Partner(p.ID)
}

// PublicTokenLifeDefault is the wire's (extensions §8 no. 3).
const PublicTokenLifeDefault = 24 * time.Hour

// PublicTokenEnd is when a public token ends that is issued now.
func (p *Project) PublicTokenEnd(now time.Time) time.Time {
	if p.PublicTokenLife > 0 {
		return now.Add(time.Duration(p.PublicTokenLife))
	}
	return now.Add(PublicTokenLifeDefault)
}

// TokenEnd is when another token ends that is issued now: after ten years, as
// in the one example that has both dates (wire reference, extensions §2.6).
func (p *Project) TokenEnd(now time.Time) time.Time {
	if p.TokenLife > 0 {
		return now.Add(time.Duration(p.TokenLife))
	}
	return now.AddDate(10, 0, 0)
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
