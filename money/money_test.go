package money_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/money"
)

var currencies = []money.Currency{money.RUB, money.USD, money.EUR}

func TestParse(t *testing.T) {
	rub := func(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.RUB} }
	for _, tt := range []struct {
		name, major, currency string
		want                  money.Amount
		err                   error
	}{
		{"two decimals", "1000000.00", "rub", rub(100_000_000), nil},
		{"no decimals", "15", "RUB", rub(1500), nil},
		{"one decimal", "15.5", "Rub", rub(1550), nil},
		{"kopeck", "0.01", "rub", rub(1), nil},
		{"minus kopeck", "-0.01", "rub", rub(-1), nil},
		{"zeros before", "007.10", "rub", rub(710), nil},
		{"zero", "0", "usd", money.Amount{Currency: money.USD}, nil},
		{"largest", "92233720368547758.07", "rub", rub(math.MaxInt64), nil},
		{"smallest", "-92233720368547758.08", "rub", rub(math.MinInt64), nil},

		{"above the largest", "92233720368547758.08", "rub", money.Amount{}, money.ErrOverflow},
		{"below the smallest", "-92233720368547758.09", "rub", money.Amount{}, money.ErrOverflow},
		{"far too large", strings.Repeat("9", 400), "rub", money.Amount{}, money.ErrOverflow},
		{"three decimals", "1.005", "rub", money.Amount{}, money.ErrFormat},
		{"three decimals of zero", "1.000", "rub", money.Amount{}, money.ErrFormat},
		{"nothing", "", "rub", money.Amount{}, money.ErrFormat},
		{"minus", "-", "rub", money.Amount{}, money.ErrFormat},
		{"plus", "+1", "rub", money.Amount{}, money.ErrFormat},
		{"two minuses", "--1", "rub", money.Amount{}, money.ErrFormat},
		{"dot", ".", "rub", money.Amount{}, money.ErrFormat},
		{"dot before", ".5", "rub", money.Amount{}, money.ErrFormat},
		{"minus and dot before", "-.5", "rub", money.Amount{}, money.ErrFormat},
		{"dot after", "5.", "rub", money.Amount{}, money.ErrFormat},
		{"two dots", "1.2.3", "rub", money.Amount{}, money.ErrFormat},
		{"minus in the decimals", "1.-5", "rub", money.Amount{}, money.ErrFormat},
		{"plus in the decimals", "1.+5", "rub", money.Amount{}, money.ErrFormat},
		{"comma", "1,50", "rub", money.Amount{}, money.ErrFormat},
		{"thousands", "1 000", "rub", money.Amount{}, money.ErrFormat},
		{"underscore", "1_000", "rub", money.Amount{}, money.ErrFormat},
		{"exponent", "1e3", "rub", money.Amount{}, money.ErrFormat},
		{"hexadecimal", "0x10", "rub", money.Amount{}, money.ErrFormat},
		{"space before", " 1", "rub", money.Amount{}, money.ErrFormat},
		{"new line after", "1\n", "rub", money.Amount{}, money.ErrFormat},
		{"Arabic digits", "١٢", "rub", money.Amount{}, money.ErrFormat},
		{"not a number", "NaN", "rub", money.Amount{}, money.ErrFormat},
		{"no currency", "1", "", money.Amount{}, money.ErrUnknown},
		{"other currency", "1", "xau", money.Amount{}, money.ErrUnknown},
		{"currency with a space", "1", "rub ", money.Amount{}, money.ErrUnknown},
		{"currency with a long s", "1", "uſd", money.Amount{}, money.ErrUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := money.Parse(tt.major, tt.currency)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%v, %v; want %v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestString(t *testing.T) {
	for _, tt := range []struct {
		name string
		a    money.Amount
		want string
	}{
		{"roubles", money.Amount{Minor: 12550, Currency: money.RUB}, "125.50 RUB"},
		{"kopeck", money.Amount{Minor: 1, Currency: money.RUB}, "0.01 RUB"},
		{"ten kopecks", money.Amount{Minor: 10, Currency: money.RUB}, "0.10 RUB"},
		{"minus kopeck", money.Amount{Minor: -1, Currency: money.RUB}, "-0.01 RUB"},
		{"zero", money.Amount{Currency: money.EUR}, "0.00 EUR"},
		{"smallest", money.Amount{Minor: math.MinInt64, Currency: money.USD}, "-92233720368547758.08 USD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.a.String(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestCurrency(t *testing.T) {
	for _, c := range currencies {
		if got, err := money.ParseCurrency(c.Lower()); got != c || err != nil {
			t.Errorf("%s: %s, %v", c, got, err)
		}
	}
	if got := money.RUB.Lower(); got != "rub" {
		t.Errorf("RUB in lower case is %q", got)
	}
}

func TestAddRefusesCurrencies(t *testing.T) {
	got, err := money.Amount{Minor: 1, Currency: money.RUB}.Add(money.Amount{Minor: 1, Currency: money.USD})
	if !errors.Is(err, money.ErrCurrency) || got != (money.Amount{}) {
		t.Errorf("%v, %v", got, err)
	}
}

// minors draws numbers of which many stand near the bounds.
func minors() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64(), rapid.Int64Range(-10, 10),
		rapid.Int64Range(math.MaxInt64-10, math.MaxInt64), rapid.Int64Range(math.MinInt64, math.MinInt64+10),
	)
}

// Add is exact or ErrOverflow, as arithmetic without bounds says.
func TestAddIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := money.Amount{Minor: minors().Draw(t, "a"), Currency: rapid.SampledFrom(currencies).Draw(t, "currency")}
		b := money.Amount{Minor: minors().Draw(t, "b"), Currency: a.Currency}
		want := new(big.Int).Add(big.NewInt(a.Minor), big.NewInt(b.Minor))
		sum, err := a.Add(b)
		switch {
		case want.IsInt64() && (err != nil || sum.Minor != want.Int64() || sum.Currency != a.Currency):
			t.Fatalf("%s + %s = %s, %v; want %s", a, b, sum, err, want)
		case !want.IsInt64() && (!errors.Is(err, money.ErrOverflow) || sum != (money.Amount{})):
			t.Fatalf("%s + %s = %s, %v; want an overflow", a, b, sum, err)
		}
	})
}

func TestWriteRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := money.Amount{Minor: minors().Draw(t, "minor"), Currency: rapid.SampledFrom(currencies).Draw(t, "currency")}
		got, err := money.Parse(a.Major(), a.Currency.Lower())
		if err != nil || got != a {
			t.Fatalf("%s reads as %s, %v", a, got, err)
		}
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var again money.Amount
		if err := json.Unmarshal(text, &again); err != nil || again != a {
			t.Fatalf("%s reads as %s, %v", text, again, err)
		}
	})
}

// MinorMax is the largest integer that JSON readers with doubles keep apart from
// the next (RFC 8259, section 6).
func TestMinorMax(t *testing.T) {
	var number json.Number
	if err := json.Unmarshal([]byte("9007199254740991"), &number); err != nil {
		t.Fatal(err)
	}
	if got, _ := number.Int64(); got != money.MinorMax {
		t.Errorf("%d", money.MinorMax)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1000000.00", "-0.01", "15", "1.-5", "92233720368547758.08", "٣", "+1", "-0"} {
		f.Add(s, "rub")
	}
	f.Add("1", "uſd")
	f.Fuzz(func(t *testing.T, major, currency string) {
		a, err := money.Parse(major, currency)
		if err != nil {
			if a != (money.Amount{}) {
				t.Errorf("%s beside %v", a, err)
			}
			return
		}
		if again, err := money.Parse(a.Major(), string(a.Currency)); err != nil || again != a {
			t.Errorf("%q reads as %s, and that as %s, %v", major, a, again, err)
		}
		// The value is that of the text, in arithmetic without bounds.
		exact, ok := new(big.Rat).SetString(major)
		if !ok || exact.Mul(exact, big.NewRat(100, 1)).Cmp(new(big.Rat).SetInt64(a.Minor)) != 0 {
			t.Errorf("%q reads as %s", major, a)
		}
	})
}
