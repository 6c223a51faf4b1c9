package instrument

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Brand is a card brand as the wire prints it: lower case.
type Brand string

// The brands.
const (
	Mir        Brand = "mir"
	Visa       Brand = "visa"
	Mastercard Brand = "mastercard"
	Maestro    Brand = "maestro"
	UnionPay   Brand = "unionpay"
	JCB        Brand = "jcb"
	Amex       Brand = "amex"
	Unbranded  Brand = "unknown"
)

// Lengths of a card number (ISO/IEC 7812-1, and wire reference, core §4.1).
const (
	panDigitsMin = 14
	panDigitsMax = 19
)

// What ParsePAN refuses; neither error quotes the number.
var (
	ErrPANDigits = errors.New("want 14 to 19 digits")
	ErrPANLuhn   = errors.New("fails the Luhn check")
)

// PAN is an open card number: only digits. It prints as "[secret]" everywhere;
// string(pan) is the only way to the digits. Two places ask a type for no
// methods, so it must not stand there: the keys of a map that is written as
// JSON, and unexported fields of a struct that fmt prints.
type PAN string

// ParsePAN takes 14 to 19 ASCII digits, without spaces, that pass the Luhn
// check: else ErrPANDigits or ErrPANLuhn.
func ParsePAN(s string) (PAN, error) {
	switch {
	case !digits(s, panDigitsMin, panDigitsMax):
		return "", ErrPANDigits
	case !luhn(s):
		return "", ErrPANLuhn
	}
	return PAN(s), nil
}

func (PAN) String() string   { return "[secret]" }
func (PAN) GoString() string { return "[secret]" }

// Format keeps the number out of every verb of fmt, the wrong ones too.
func (PAN) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue keeps the number out of logs.
func (PAN) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText keeps the number out of JSON.
func (PAN) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Shown is what may be shown of the number.
func (p PAN) Shown() Card {
	return Card{BIN: string(p[:6]), Last4: string(p[len(p)-4:]), Brand: BrandOf(p)}
}

// luhn is the check digit of ISO/IEC 7812-1, annex B: from the right, every
// second digit counts double, with the digits of the double added up.
func luhn[T string | []byte](digits T) bool {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// brands are the ranges of the first four digits that the networks publish;
// the first that fits holds, so that narrow ranges stand before wide ones.
// Discover shares 6 with Maestro and UnionPay, and is none of ours.
var brands = []struct {
	low, high int
	brand     Brand
}{
	{2200, 2204, Mir},
	{2221, 2720, Mastercard},
	{3400, 3499, Amex},
	{3528, 3589, JCB},
	{3700, 3799, Amex},
	{4000, 4999, Visa},
	{5000, 5099, Maestro},
	{5100, 5599, Mastercard},
	{5600, 5899, Maestro},
	{6011, 6011, Unbranded}, // Discover
	{6200, 6299, UnionPay},
	{6440, 6599, Unbranded}, // Discover
	{6000, 6999, Maestro},
	{8100, 8199, UnionPay},
}

// BrandOf tells the brand by the issuer ranges that the networks publish;
// Unbranded if none has the number.
func BrandOf(p PAN) Brand { return brandOf(p) }

func brandOf[T ~string | ~[]byte](number T) Brand {
	if len(number) < 4 {
		return Unbranded
	}
	first := 0
	for _, c := range []byte(number[:4]) {
		first = first*10 + int(c-'0')
	}
	for _, b := range brands {
		if b.low <= first && first <= b.high {
			return b.brand
		}
	}
	return Unbranded
}
