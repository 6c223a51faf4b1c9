package vault

import (
	"time"

	"github.com/payoutd/payoutd/internal/id"
)

// Public is a public token as the database sees it: it opens widgets of one
// project, each for one operation (wire reference, extensions §1).
type Public struct {
	Project id.Project
	// Lookup is a keyed hash of the token, as of an Item.
	Lookup  [32]byte
	Widgets Widgets
	// Attempts counts what was tried with it and refused.
	Attempts  int
	CreatedAt time.Time
	EndsAt    time.Time
	Revision  int64 // rises with each change
}

// AttemptsMax is how often a public token may be tried with something that is
// refused, so that nobody tests card numbers with it.
const AttemptsMax = 10

// Widgets are what a public token opens; those that it does not are nil.
type Widgets struct {
	Tokenize     *TokenizeWidget     `json:"tokenize,omitempty"`
	SelfEmployed *SelfEmployedWidget `json:"self_employed,omitempty"`
	Acquiring    *AcquiringWidget    `json:"acquiring,omitempty"`
}

// TokenizeWidget turns a card or an account into a hash or token.
type TokenizeWidget struct {
	Locale string `json:"locale,omitempty"`
	Used   bool   `json:"used,omitempty"`
}

// SelfEmployedWidget links the self-employed person with this INN.
type SelfEmployedWidget struct {
	INN string `json:"inn"` // 12 digits
	// Request is the tax service's name of the last request to link; "" before
	// one was made.
	Request string `json:"request,omitempty"`
	Used    bool   `json:"used,omitempty"`
}

// AcquiringWidget is a payment form. It is issued and opens nothing here: this
// server takes no payments.
type AcquiringWidget struct {
	Session id.Session `json:"session"`
	Success string     `json:"success_return_url,omitempty"`
	Failure string     `json:"failure_return_url,omitempty"`
	Locale  string     `json:"locale,omitempty"`

	ShowRecurrentCheckbox bool `json:"show_recurrent_checkbox,omitempty"`
	SuccessOnHold         bool `json:"success_on_hold,omitempty"`
	Used                  bool `json:"used,omitempty"`
}

// Expired reports whether the token has come to its end.
func (p *Public) Expired(now time.Time) bool { return !now.Before(p.EndsAt) }

// Spent reports whether it was tried too often.
func (p *Public) Spent() bool { return p.Attempts >= AttemptsMax }

// Active reports whether the token opens at least one widget still.
func (p *Public) Active(now time.Time) bool {
	if p.Expired(now) || p.Spent() {
		return false
	}
	w := p.Widgets
	return w.Tokenize != nil && !w.Tokenize.Used ||
		w.SelfEmployed != nil && !w.SelfEmployed.Used ||
		w.Acquiring != nil && !w.Acquiring.Used
}

// Clone returns a copy that can be changed without touching p.
func (p *Public) Clone() *Public {
	c := *p
	c.Widgets = Widgets{clone(p.Widgets.Tokenize), clone(p.Widgets.SelfEmployed), clone(p.Widgets.Acquiring)}
	return &c
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
