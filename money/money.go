// Package money holds amounts: integers in the minor unit of a currency, with
// exact arithmetic that refuses to overflow. There are no floats in it.
package money

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Currency is an ISO 4217 alphabetic code in capital letters.
type Currency string

// The currencies that payoutd books or quotes.
const (
	RUB Currency = "RUB"
	USD Currency = "USD"
	EUR Currency = "EUR"
)

// exponents is the number of decimal digits of the minor unit (ISO 4217).
var exponents = map[Currency]int{RUB: 2, USD: 2, EUR: 2}

// Errors of the arithmetic.
var (
	ErrCurrency = errors.New("the currencies differ")
	ErrOverflow = errors.New("the amount does not fit")
	ErrFormat   = errors.New("not an amount")
	ErrUnknown  = errors.New("unknown currency")
)

// ParseCurrency takes a code in any letter case; ErrUnknown if it is not one of ours.
func ParseCurrency(s string) (Currency, error) {
	c := Currency(strings.ToUpper(s))
	// Some letters outside ASCII have a capital within it: "uſd" is not USD.
	if _, ok := exponents[c]; !ok || len(s) != len(c) {
		return "", fmt.Errorf("%q: %w", s, ErrUnknown)
	}
	return c, nil
}

// Lower is the code as the wire writes it in sessions: "rub".
func (c Currency) Lower() string { return strings.ToLower(string(c)) }

// MinorMax bounds what a request may ask for: 2^53 - 1, so that a client that
// reads numbers as IEEE 754 doubles loses nothing.
const MinorMax = 1<<53 - 1

// Amount is money in the minor unit of its currency: {12550, "RUB"} is 125.50
// roubles. The zero Amount is no money in no currency.
type Amount struct {
	Minor    int64    `json:"minor"`
	Currency Currency `json:"currency"`
}

// Add returns a+b: ErrCurrency if the currencies differ, ErrOverflow if the
// sum does not fit. It never wraps and never rounds.
func (a Amount) Add(b Amount) (Amount, error) {
	if a.Currency != b.Currency {
		return Amount{}, fmt.Errorf("%s + %s: %w", a, b, ErrCurrency)
	}
	minor, ok := AddMinor(a.Minor, b.Minor)
	if !ok {
		return Amount{}, fmt.Errorf("%s + %s: %w", a, b, ErrOverflow)
	}
	return Amount{minor, a.Currency}, nil
}

// AddMinor adds two numbers of minor units; false if the sum does not fit.
func AddMinor(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}

// ScaleHalfUp is minor·by/of in whole minor units, exact until its one rounding,
// where a half goes up. It is how fees and exchange rates are rounded.
// ErrOverflow if it does not fit, ErrFormat unless minor and by are zero or more
// and of is more than zero.
func ScaleHalfUp(minor, by, of int64) (int64, error) {
	if minor < 0 || by < 0 || of <= 0 {
		return 0, fmt.Errorf("%d·%d/%d: %w", minor, by, of, ErrFormat)
	}
	high, low := bits.Mul64(uint64(minor), uint64(by))
	low, carry := bits.Add64(low, uint64(of)/2, 0)
	high += carry
	if high >= uint64(of) { // the quotient would take more than 64 bits
		return 0, fmt.Errorf("%d·%d/%d: %w", minor, by, of, ErrOverflow)
	}
	scaled, _ := bits.Div64(high, low, uint64(of))
	if scaled > 1<<63-1 {
		return 0, fmt.Errorf("%d·%d/%d: %w", minor, by, of, ErrOverflow)
	}
	return int64(scaled), nil
}

// String prints the major unit with all decimals: "125.50 RUB".
func (a Amount) String() string {
	return a.Major() + " " + string(a.Currency)
}

// Major prints the number alone: "125.50", "-0.01".
func (a Amount) Major() string {
	digits := exponents[a.Currency]
	s := strconv.FormatInt(a.Minor, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if digits == 0 {
		return sign + s
	}
	if pad := digits + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	return sign + s[:len(s)-digits] + "." + s[len(s)-digits:]
}

// Parse reads an amount in major units, "1000000.00" or "15", and a currency
// in any letter case. ErrFormat if it is not a plain decimal number or has
// more decimals than the currency; ErrOverflow if it does not fit.
func Parse(major, currency string) (Amount, error) {
	c, err := ParseCurrency(currency)
	if err != nil {
		return Amount{}, err
	}
	whole, fraction, dot := strings.Cut(major, ".")
	digits := exponents[c]
	if whole == "" || whole == "-" || dot && fraction == "" || len(fraction) > digits || whole[0] == '+' ||
		strings.ContainsAny(fraction, "+-") {
		return Amount{}, fmt.Errorf("%q: %w in %s", major, ErrFormat, c)
	}
	minor, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", digits-len(fraction)), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return Amount{}, fmt.Errorf("%q: %w", major, ErrOverflow)
	case err != nil:
		return Amount{}, fmt.Errorf("%q: %w in %s", major, ErrFormat, c)
	}
	return Amount{minor, c}, nil
}
