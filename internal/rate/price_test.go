package rate_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/money"
)

func usd(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.USD} }

func rub(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.RUB} }

func price(t interface{ Fatal(...any) }, s string) rate.Price {
	p, err := rate.ParsePrice(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParsePrice(t *testing.T) {
	for _, tt := range []struct {
		text, shown string
		want        rate.Price
	}{
		{"81.25", "81.25", 8_125_000_000},
		{"80", "80", 8_000_000_000},
		{"80.50000000", "80.5", 8_050_000_000},
		{"0.00000001", "0.00000001", 1},
		{"007.1", "7.1", 710_000_000},
		{"1000000", "1000000", 100_000_000_000_000},
	} {
		t.Run(tt.text, func(t *testing.T) {
			got, err := rate.ParsePrice(tt.text)
			if err != nil || got != tt.want || got.String() != tt.shown {
				t.Errorf("%d, printed %q, %v; want %d, printed %q", got, got, err, tt.want, tt.shown)
			}
		})
	}
}

func TestParsePriceRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"nothing", ""},
		{"zero", "0"},
		{"zero with decimals", "0.00"},
		{"negative", "-81.25"},
		{"plus", "+81.25"},
		{"a comma", "81,25"},
		{"nine decimals", "0.000000001"},
		{"dot without decimals", "81."},
		{"decimals without a whole", ".5"},
		{"two dots", "81.2.5"},
		{"a sign after the dot", "81.-5"},
		{"an exponent", "8e1"},
		{"a space", "81.25 "},
		{"other digits", "٨١"},
		{"above a million", "1000000.00000001"},
		{"far above", "99999999999999999999"},
		{"not a number", "NaN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := rate.ParsePrice(tt.text); !errors.Is(err, rate.ErrPrice) || got != 0 {
				t.Errorf("%q reads as %d, %v", tt.text, got, err)
			}
		})
	}
}

func TestRoubles(t *testing.T) {
	for _, tt := range []struct {
		name, price string
		of, want    int64
	}{
		{"the reference's example", "80.5", 25_000, 2_012_500},
		{"the published sample", "80", 10_000, 800_000},
		{"a half goes up", "0.5", 1, 1},
		{"a half goes up above one", "1.5", 1, 2},
		{"a hundred-millionth below a half goes down", "0.49999999", 1, 0},
		{"a hundred-millionth above a half goes up", "1.50000001", 1, 2},
		{"a third of a kopeck goes down", "80.3333", 1, 80},
		{"nothing", "80.5", 0, 0},
		{"the largest that fits", "1", math.MaxInt64, math.MaxInt64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := price(t, tt.price).Roubles(usd(tt.of)); err != nil || got != rub(tt.want) {
				t.Errorf("%s, %v; want %s", got, err, rub(tt.want))
			}
		})
	}
	if got, err := price(t, "1.00000001").Roubles(usd(math.MaxInt64)); !errors.Is(err, money.ErrOverflow) {
		t.Errorf("what does not fit is %s, %v", got, err)
	}
	if got, err := price(t, "80").Roubles(usd(-1)); err == nil {
		t.Errorf("a negative amount costs %s", got)
	}
}

// No price and no amount give anything but the nearest whole kopeck, halves up,
// either way.
func TestExchangeIsExact(t *testing.T) {
	one := big.NewInt(100_000_000)
	nearest := func(a, b, c *big.Int) *big.Int {
		n := new(big.Int).Mul(a, b)
		n.Mul(n, big.NewInt(2)).Add(n, c)
		return n.Div(n, new(big.Int).Mul(c, big.NewInt(2)))
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rate.Price(rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, 1_000_000*100_000_000)).Draw(t, "price"))
		minor := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "minor")
		for name, way := range map[string]struct {
			got  func() (money.Amount, error)
			want *big.Int
		}{
			"roubles": {func() (money.Amount, error) { return p.Roubles(usd(minor)) }, nearest(big.NewInt(minor), big.NewInt(int64(p)), one)},
			"buys":    {func() (money.Amount, error) { return p.Buys(rub(minor), money.USD) }, nearest(big.NewInt(minor), one, big.NewInt(int64(p)))},
		} {
			got, err := way.got()
			switch {
			case way.want.IsInt64() && (err != nil || got.Minor != way.want.Int64()):
				t.Fatalf("%s of %d at %s: %d, %v; want %s", name, minor, p, got.Minor, err, way.want)
			case !way.want.IsInt64() && !errors.Is(err, money.ErrOverflow):
				t.Fatalf("%s of %d at %s: %d, %v; want an overflow", name, minor, p, got.Minor, err)
			}
		}
	})
}

func FuzzParsePrice(f *testing.F) {
	for _, s := range []string{"81.25", "0.00000001", "1000000", "-1", "81,25", "1.", "0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := rate.ParsePrice(s)
		if err != nil {
			return
		}
		if p <= 0 || p > 1_000_000*100_000_000 {
			t.Errorf("%q reads as %d", s, p)
		}
		if again, err := rate.ParsePrice(p.String()); err != nil || again != p {
			t.Errorf("%q reads as %d, and %q as %d, %v", s, p, p, again, err)
		}
	})
}

func TestTermsWriteRead(t *testing.T) {
	for _, text := range []string{"daily", "81.25"} {
		terms, err := rate.ParseTerms(text)
		if err != nil || terms.String() != text {
			t.Errorf("%q reads as %q, %v", text, terms, err)
		}
	}
	for _, text := range []string{"", "weekly", "none", "0", "daily "} {
		if terms, err := rate.ParseTerms(text); err == nil {
			t.Errorf("%q reads as %q", text, terms)
		}
	}
}
