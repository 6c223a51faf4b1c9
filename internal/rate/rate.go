// Package rate says what foreign currencies cost in roubles: prices with exact
// decimal arithmetic, and the sources that they come from. When a price is
// asked for, and for how long it holds, is for others to decide.
package rate

import (
	"context"
	"errors"
	"time"

	"github.com/payoutd/payoutd/money"
)

// Rate is a price with where it comes from.
type Rate struct {
	Price  Price
	Source string    // such as "agreement" or "cbr.ru"
	At     time.Time // from when the source lets it hold
}

// Source says what a currency costs now. Its methods are safe for concurrent use.
type Source interface {
	// Rate is the rate of a currency against the rouble. ErrUnknown if the source
	// never has one; any other error may go away by itself.
	Rate(ctx context.Context, c money.Currency) (Rate, error)
}

var (
	// ErrUnknown says that a source has no rate of a currency.
	ErrUnknown = errors.New("the source has no rate of this currency")
	// ErrStale says that the newest rates of a source are too old to be used.
	ErrStale = errors.New("the newest rates are too old")
	// ErrEarly says that the rates of a source hold from a later time only.
	ErrEarly = errors.New("the rates do not hold yet")
)

// Table is a source of prices that hold until somebody changes the table.
type Table struct {
	Name   string
	Prices map[money.Currency]Price
	Now    func() time.Time
}

// Rate looks a price up; it holds from now.
func (t Table) Rate(_ context.Context, c money.Currency) (Rate, error) {
	p, ok := t.Prices[c]
	if !ok {
		return Rate{}, ErrUnknown
	}
	return Rate{Price: p, Source: t.Name, At: t.Now()}, nil
}

// Terms are where a project's rate of a currency comes from. The zero Terms
// take it from the installation's source.
type Terms struct {
	Agreed Price // by the agreement with the project; 0 for none
}

// daily is the word for the installation's source.
const daily = "daily"

// ParseTerms reads a price, or "daily" for the installation's source; ErrPrice
// for anything else.
func ParseTerms(s string) (Terms, error) {
	if s == daily {
		return Terms{}, nil
	}
	p, err := ParsePrice(s)
	return Terms{Agreed: p}, err
}

// String is the form that ParseTerms reads.
func (t Terms) String() string {
	if t.Agreed == 0 {
		return daily
	}
	return t.Agreed.String()
}

// MarshalText writes the form of String.
func (t Terms) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the form of ParseTerms.
func (t *Terms) UnmarshalText(b []byte) (err error) {
	*t, err = ParseTerms(string(b))
	return err
}
