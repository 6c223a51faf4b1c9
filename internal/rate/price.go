package rate

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/payoutd/payoutd/money"
)

// Price is what one unit of a currency costs, in hundred-millionths of a
// rouble: 81.25 roubles are 8_125_000_000. Eight decimals hold what the Bank of
// Russia states for 10,000 units. The zero Price is no price.
type Price int64

// The scale of a Price, and the highest one: a million roubles. A larger one is
// a mistake in the source.
const (
	decimals         = 8
	one        Price = 100_000_000
	priceMax         = 1_000_000 * one
	wholeDigit       = 7 // of priceMax
)

// ErrPrice says that a text is no price above zero and up to a million roubles
// with at most eight decimals.
var ErrPrice = errors.New("not a price in roubles such as 81.25")

// ParsePrice reads decimal digits with at most eight decimals after a dot:
// "81.25", "80". ErrPrice for anything else.
func ParsePrice(s string) (Price, error) {
	whole, fraction, dot := strings.Cut(s, ".")
	if whole == "" || len(whole) > wholeDigit || len(fraction) > decimals || dot && fraction == "" ||
		strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, ErrPrice
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", decimals-len(fraction)), 10, 64)
	if p := Price(n); err == nil && p > 0 && p <= priceMax {
		return p, nil
	}
	return 0, ErrPrice
}

// String is the form that ParsePrice reads, without zeros at the end: "81.25".
func (p Price) String() string {
	s := strings.TrimRight(fmt.Sprintf("%d.%08d", p/one, p%one), "0")
	return strings.TrimSuffix(s, ".")
}

// MarshalText writes the form of String.
func (p Price) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the form of ParsePrice.
func (p *Price) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePrice(string(b))
	return err
}

// Roubles is what an amount costs at the price, rounded half up to kopecks;
// money.ErrOverflow if that does not fit. Every currency here has a hundred
// minor units, as the rouble has, so that cents times the price are kopecks.
func (p Price) Roubles(a money.Amount) (money.Amount, error) {
	minor, err := money.ScaleHalfUp(a.Minor, int64(p), int64(one))
	return money.Amount{Minor: minor, Currency: money.RUB}, err
}

// Buys is how much of a currency so many roubles pay for, rounded half up to
// its minor unit; money.ErrOverflow if that does not fit.
func (p Price) Buys(roubles money.Amount, c money.Currency) (money.Amount, error) {
	minor, err := money.ScaleHalfUp(roubles.Minor, int64(one), int64(p))
	return money.Amount{Minor: minor, Currency: c}, err
}
