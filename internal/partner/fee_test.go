package partner_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/money"
)

func TestFeeOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		fee  partner.Fee
		of   int64
		want int64
	}{
		{"none", partner.Fee{}, 245000, 0},
		{"the reference's example", partner.Fee{PPM: 15000}, 245000, 3675},
		{"fixed", partner.Fee{Fixed: 1000}, 245000, 1000},
		{"fixed and part", partner.Fee{Fixed: 1000, PPM: 15000}, 245000, 4675},
		{"of nothing", partner.Fee{Fixed: 1000, PPM: 15000}, 0, 1000},
		{"a half goes up", partner.Fee{PPM: 500_000}, 1, 1},
		{"a half goes up, again", partner.Fee{PPM: 15000}, 100, 2},  // 1.5
		{"below a half goes down", partner.Fee{PPM: 14999}, 100, 1}, // 1.4999
		{"a millionth below a half", partner.Fee{PPM: 499_999}, 1, 0},
		{"above a half goes up", partner.Fee{PPM: 500_001}, 1, 1},
		{"whole stays whole", partner.Fee{PPM: 10_000}, 100, 1},
		{"below the minimum", partner.Fee{PPM: 15000, Minimum: 3000}, 245, 3000},
		{"at the minimum", partner.Fee{PPM: 15000, Minimum: 3675}, 245000, 3675},
		{"above the minimum", partner.Fee{PPM: 15000, Minimum: 3000}, 245000, 3675},
		{"fixed counts towards the minimum", partner.Fee{Fixed: 2000, PPM: 10_000, Minimum: 3000}, 200000, 4000},
		{"as much as the largest amount leaves", partner.Fee{PPM: 1_000_000}, money.MinorMax / 2, money.MinorMax / 2},
		{"fixed, as much as the amount leaves", partner.Fee{Fixed: money.MinorMax - 1}, 1, money.MinorMax - 1},
		{"none of the largest amount", partner.Fee{}, money.MinorMax, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := tt.fee.Of(tt.of); got != tt.want || err != nil {
				t.Errorf("%d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

func TestFeeOfRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		fee  partner.Fee
		of   int64
		want error // nil: any
	}{
		{"the sum is too large", partner.Fee{Fixed: 1, PPM: 1_000_000}, math.MaxInt64, money.ErrOverflow},
		{"with the amount it is too large", partner.Fee{Fixed: money.MinorMax}, 1, money.ErrOverflow},
		{"with the amount the minimum is too large", partner.Fee{Minimum: money.MinorMax}, 1, money.ErrOverflow},
		{"with the amount the part is too large", partner.Fee{PPM: 1_000_000}, money.MinorMax/2 + 1, money.ErrOverflow},
		{"with the amount it wraps", partner.Fee{Fixed: math.MaxInt64}, 1, money.ErrOverflow},
		{"with the amount the minimum wraps", partner.Fee{Minimum: math.MaxInt64}, math.MaxInt64, money.ErrOverflow},
		{"the part is too large", partner.Fee{PPM: 1_000_001}, math.MaxInt64, money.ErrOverflow},
		{"the part is far too large", partner.Fee{PPM: math.MaxInt64}, math.MaxInt64, money.ErrOverflow},
		{"the part is 2^64", partner.Fee{PPM: 4_000_000}, 1 << 62, money.ErrOverflow},
		{"negative amount", partner.Fee{PPM: 1}, -1, nil},
		{"negative part", partner.Fee{PPM: -1}, 1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.fee.Of(tt.of)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%d, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// Of agrees with arithmetic without bounds, floor(minor × ppm / 10^6 + 1/2), and
// refuses where amount and fee together are above the bound of all amounts.
func TestFeeOfIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fees().Draw(t, "fee")
		minor := rapid.OneOf(rapid.Int64Range(0, money.MinorMax), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "minor")
		want := new(big.Int).Mul(big.NewInt(minor), big.NewInt(f.PPM))
		want.Add(want, big.NewInt(500_000)).Div(want, big.NewInt(1_000_000)).Add(want, big.NewInt(f.Fixed))
		if minimum := big.NewInt(f.Minimum); want.Cmp(minimum) < 0 {
			want = minimum
		}
		fits := new(big.Int).Add(want, big.NewInt(minor)).Cmp(big.NewInt(money.MinorMax)) <= 0
		got, err := f.Of(minor)
		switch {
		case fits && (err != nil || got != want.Int64()):
			t.Fatalf("%s of %d is %d, %v; want %s", f, minor, got, err, want)
		case !fits && !errors.Is(err, money.ErrOverflow):
			t.Fatalf("%s of %d is %d, %v; want an overflow", f, minor, got, err)
		}
	})
}

// fees draws what ParseFee can say.
func fees() *rapid.Generator[partner.Fee] {
	amount := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 100_000), rapid.Int64Range(0, money.MinorMax))
	return rapid.Custom(func(t *rapid.T) partner.Fee {
		return partner.Fee{
			Fixed:   amount.Draw(t, "fixed"),
			PPM:     rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1_000_000)).Draw(t, "ppm"),
			Minimum: amount.Draw(t, "minimum"),
		}
	})
}

func TestParseFee(t *testing.T) {
	for _, tt := range []struct {
		text string
		want partner.Fee
	}{
		{"none", partner.Fee{}},
		{"0", partner.Fee{}},
		{"10.00", partner.Fee{Fixed: 1000}},
		{"10.00+1.5%", partner.Fee{Fixed: 1000, PPM: 15000}},
		{"1.5%>=30.00", partner.Fee{PPM: 15000, Minimum: 3000}},
		{"10+1.5%>=30", partner.Fee{Fixed: 1000, PPM: 15000, Minimum: 3000}},
		{"0.0001%", partner.Fee{PPM: 1}},
		{"100%", partner.Fee{PPM: 1_000_000}},
		{"0>=30.00", partner.Fee{Minimum: 3000}},
		{"90071992547409.91+1%>=90071992547409.91", partner.Fee{Fixed: money.MinorMax, PPM: 10_000, Minimum: money.MinorMax}},
	} {
		t.Run(tt.text, func(t *testing.T) {
			if got, err := partner.ParseFee(tt.text); got != tt.want || err != nil {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseFeeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"nothing", ""},
		{"only a sign", "%"},
		{"above all of it", "100.0001%"},
		{"five decimals", "0.00001%"},
		{"dot without decimals", "1.%"},
		{"decimals without a whole", ".5%"},
		{"negative part", "-1.5%"},
		{"negative fixed part", "-10.00"},
		{"negative minimum", "1%>=-1"},
		{"two parts", "1%+1%"},
		{"two parts, the first zero", "0%+1%"},
		{"two fixed parts", "10.00+10.00"},
		{"the other order", "1.5%+10.00"},
		{"three terms", "1+1%+1"},
		{"no minimum", "1%>="},
		{"two minimums", "1%>=1>=1"},
		{"only a minimum", ">=30.00"},
		{"a space", "10.00 + 1.5%"},
		{"a comma", "1,5%"},
		{"three decimals", "10.005"},
		{"none and a minimum", "none>=1"},
		{"a word", "free"},
		{"too large", "99999999999999999999"},
		{"a kopeck too large", "90071992547409.92"},
		{"too large a minimum", "1%>=90071992547409.92"},
		{"too large a part", "4294967296%"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := partner.ParseFee(tt.text); err == nil {
				t.Errorf("%q reads as %+v", tt.text, got)
			}
		})
	}
}

func TestFeeWriteRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fees().Draw(t, "fee")
		if got, err := partner.ParseFee(f.String()); err != nil || got != f {
			t.Fatalf("%+v prints as %q, which reads as %+v, %v", f, f, got, err)
		}
	})
}

func FuzzParseFee(f *testing.F) {
	for _, s := range []string{"none", "10.00+1.5%>=30.00", "0%+1%", "1.%", "100.0001%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fee, err := partner.ParseFee(s)
		if err != nil {
			return
		}
		if fee.Fixed < 0 || fee.Minimum < 0 || fee.PPM < 0 || fee.PPM > 1_000_000 || max(fee.Fixed, fee.Minimum) > money.MinorMax {
			t.Errorf("%q reads as %+v", s, fee)
		}
		if again, err := partner.ParseFee(fee.String()); err != nil || again != fee {
			t.Errorf("%q reads as %+v, and %q as %+v, %v", s, fee, fee, again, err)
		}
	})
}
