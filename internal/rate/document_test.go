package rate

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/money"
)

// The sample was written by hand in the form of the Bank of Russia's daily
// rates, in windows-1251 as that has it.
func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/cbr.xml")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseDocument(t *testing.T) {
	midnight := time.Date(2026, 3, 1, 21, 0, 0, 0, time.UTC) // of 2 March in Moscow
	both := map[money.Currency]Price{money.USD: 8_050_000_000, money.EUR: 9_375_250_000}
	for _, tt := range []struct {
		name, text string
		at         time.Time
		want       map[money.Currency]Price
	}{
		{"the sample", string(sample(t)), midnight, both},
		{
			"UTF-8, a mark before it", "\ufeff<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + valutes(usdValute), midnight,
			map[money.Currency]Price{money.USD: 8_050_000_000},
		},
		{"for ten units", valutes(`<Valute><CharCode>USD</CharCode><Nominal>10</Nominal><Value>805,0000</Value></Valute>`), midnight, map[money.Currency]Price{money.USD: 8_050_000_000}},
		{"another currency is of no interest", valutes(usdValute, `<Valute><CharCode>XAU</CharCode><Nominal>x</Nominal><Value>-1</Value></Valute>`), midnight, map[money.Currency]Price{money.USD: 8_050_000_000}},
		{
			"JSON", ` {"time":"2026-03-02T00:00:00+03:00","rates":{"usd":"80.5","EUR":"93.7525","xau":"?"},"more":[]}`, midnight, both,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if !got.at.Equal(tt.at) || len(got.prices) != len(tt.want) {
				t.Errorf("%v at %s, want %v at %s", got.prices, got.at, tt.want, tt.at)
			}
			for c, p := range tt.want {
				if got.prices[c] != p {
					t.Errorf("%s costs %s, want %s", c, got.prices[c], p)
				}
			}
		})
	}
}

const usdValute = `<Valute><CharCode>USD</CharCode><Nominal>1</Nominal><Value>80,5000</Value></Valute>`

func valutes(each ...string) string {
	return `<ValCurs Date="02.03.2026" name="Foreign Currency Market">` + strings.Join(each, "") + `</ValCurs>`
}

func TestParseDocumentRefuses(t *testing.T) {
	value := func(nominal, value string) string {
		return valutes(`<Valute><CharCode>USD</CharCode><Nominal>` + nominal + `</Nominal><Value>` + value + `</Value></Valute>`)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "EOF"},
		{"a page", "<html><body>Bad gateway</body></html>", "ValCurs"},
		{"cut off", valutes(usdValute)[:100], "EOF"},
		{"another charset", `<?xml version="1.0" encoding="koi8-r"?>` + valutes(usdValute), "koi8-r"},
		{"no date", "<ValCurs>" + usdValute + "</ValCurs>", "parsing time"},
		{"the American date", strings.Replace(valutes(usdValute), "02.03", "13/31", 1), "parsing time"},
		{"no currencies", valutes(), "none that is known"},
		{"none that is known", valutes(strings.Replace(usdValute, "USD", "XAU", 1)), "none that is known"},
		{"a currency twice", valutes(usdValute, usdValute), "USD stands there twice"},
		{"a currency twice, in two cases", valutes(usdValute, strings.Replace(usdValute, "USD", "usd", 1)), "twice"},
		{"zero", value("1", "0,0000"), "not a price"},
		{"negative", value("1", "-80,5"), "not a price"},
		{"two commas", value("1", "80,5,0"), "not a price"},
		{"no value", value("1", ""), "not a price"},
		{"a thousand times too much", value("1", "8050000,0"), "not a price"},
		{"for no units", value("0", "80,5"), "no exact price"},
		{"for a part of a unit", value("0,1", "80,5"), "no exact price"},
		{"for less than no units", value("-1", "80,5"), "no exact price"},
		{"a price that is not exact", value("3", "80,5"), "no exact price"},
		{"JSON number as a price", `{"time":"2026-03-02T00:00:00Z","rates":{"usd":80.5}}`, "unmarshal number"},
		{"JSON without a time", `{"rates":{"usd":"80.5"}}`, "time is missing"},
		{"JSON without an offset", `{"time":"2026-03-02T00:00:00","rates":{"usd":"80.5"}}`, "parsing time"},
		{"JSON without rates", `{"time":"2026-03-02T00:00:00Z"}`, "none that is known"},
		{"JSON with the currency twice", `{"time":"2026-03-02T00:00:00Z","rates":{"usd":"80.5","USD":"81"}}`, "twice"},
		{"two JSON objects", `{"time":"2026-03-02T00:00:00Z","rates":{"usd":"80.5"}}{}`, "follows"},
		{"a list", `[]`, "unmarshal array"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("reads as %v, %v; want an error with %q", got, err, tt.want)
			}
		})
	}
}

// FuzzParse: no document makes parse panic, and none gives a price that could
// not have been typed in.
func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(valutes(usdValute)))
	f.Add([]byte(`{"time":"2026-03-02T00:00:00+03:00","rates":{"usd":"80.5","eur":"93.7525"}}`))
	f.Add([]byte(`<?xml version="1.0" encoding="windows-1251"?><!DOCTYPE x [<!ENTITY a "b">]><ValCurs Date="&a;"/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parse(b)
		if err != nil {
			return
		}
		if len(got.prices) == 0 || got.at.IsZero() {
			t.Errorf("reads as %+v", got)
		}
		for c, p := range got.prices {
			if again, err := ParsePrice(p.String()); err != nil || again != p || c == money.RUB {
				t.Errorf("%s costs %d: %v", c, p, err)
			}
		}
	})
}
