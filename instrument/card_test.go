package instrument

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePAN(t *testing.T) {
	for _, tt := range []struct {
		name, number string
		want         error
	}{
		{"Visa test card", "4242424242424242", nil},
		{"Mir of the reference", "2200000000001317", nil},
		{"Mastercard test card", "5555555555554444", nil},
		{"Amex of 15 digits", "378282246310005", nil},
		{"14 digits", "30569309025904", nil},
		{"19 digits", "6304000000000000000", nil},
		{"nothing", "", ErrPANDigits},
		{"13 digits", "4222222222222", ErrPANDigits},
		{"20 digits", "42424242424242424242", ErrPANDigits},
		{"spaces", "4242 4242 4242 4242", ErrPANDigits},
		{"a space after", "4242424242424242 ", ErrPANDigits},
		{"a sign", "+424242424242424", ErrPANDigits},
		{"letters", "424242424242424a", ErrPANDigits},
		{"Arabic digits", strings.Repeat("٤", 8), ErrPANDigits},
		{"a NUL", "424242424242424\x00", ErrPANDigits},
		{"one digit wrong", "4242424242424241", ErrPANLuhn},
		{"two digits exchanged", "2400000000001317", ErrPANLuhn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParsePAN(tt.number)
			if !errors.Is(err, tt.want) || err == nil && string(p) != tt.number {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if err != nil && tt.number != "" && strings.Contains(err.Error(), tt.number) {
				t.Errorf("the error quotes the number: %v", err)
			}
		})
	}
}

// The check digit finds every single wrong digit.
func TestLuhnFindsOneWrongDigit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := []byte(pans().Draw(t, "number"))
		at := rapid.IntRange(0, len(number)-1).Draw(t, "at")
		number[at] = '0' + (number[at]-'0'+byte(rapid.IntRange(1, 9).Draw(t, "more")))%10
		if _, err := ParsePAN(string(number)); !errors.Is(err, ErrPANLuhn) {
			t.Fatalf("%s: %v", number, err)
		}
	})
}

// pans draws card numbers of known brands.
func pans() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		head := rapid.SampledFrom([]string{"2200", "2204", "4", "5105", "2221", "2720", "6762", "6222", "3530", "3782"}).Draw(t, "head")
		length := rapid.IntRange(panDigitsMin, panDigitsMax).Draw(t, "length")
		b := []byte(head)
		for len(b) < length-1 {
			b = append(b, byte('0'+rapid.IntRange(0, 9).Draw(t, "digit")))
		}
		for check := byte('0'); ; check++ {
			if number := append(b, check); luhn(number) {
				return string(number)
			}
		}
	})
}

func TestBrandOf(t *testing.T) {
	for _, tt := range []struct {
		head string
		want Brand
	}{
		{"2199", Unbranded},
		{"2200", Mir},
		{"2204", Mir},
		{"2205", Unbranded},
		{"2220", Unbranded},
		{"2221", Mastercard},
		{"2720", Mastercard},
		{"2721", Unbranded},
		{"3399", Unbranded},
		{"3400", Amex},
		{"3499", Amex},
		{"3500", Unbranded},
		{"3527", Unbranded},
		{"3528", JCB},
		{"3589", JCB},
		{"3590", Unbranded},
		{"3656", Unbranded}, // Diners Club
		{"3782", Amex},
		{"3800", Unbranded},
		{"4000", Visa},
		{"4999", Visa},
		{"5018", Maestro},
		{"5099", Maestro},
		{"5100", Mastercard},
		{"5599", Mastercard},
		{"5600", Maestro},
		{"5899", Maestro},
		{"5900", Unbranded},
		{"6011", Unbranded}, // Discover
		{"6199", Maestro},
		{"6200", UnionPay},
		{"6299", UnionPay},
		{"6304", Maestro},
		{"6440", Unbranded}, // Discover
		{"6599", Unbranded},
		{"6759", Maestro},
		{"6799", Maestro},
		{"7000", Unbranded},
		{"8100", UnionPay},
		{"8199", UnionPay},
		{"8200", Unbranded},
		{"0000", Unbranded},
		{"220", Unbranded},
		{"", Unbranded},
	} {
		t.Run(tt.head, func(t *testing.T) {
			if got := BrandOf(PAN(tt.head + strings.Repeat("0", 12*min(1, len(tt.head)/4)))); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestShown(t *testing.T) {
	got := PAN("2200000000001317").Shown()
	if want := (Card{BIN: "220000", Last4: "1317", Brand: Mir}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestPANIsNotPrinted(t *testing.T) {
	const number = "4242424242424242"
	p := PAN(number)
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(handler).Info("request", "card", p, "cards", []PAN{p})
	}
	text, err := json.Marshal(map[string]any{"card": p, "cards": []PAN{p}})
	if err != nil {
		t.Fatal(err)
	}
	printed := log.String() + string(text) + p.String() + p.GoString() + fmt.Sprint(p, &p, []PAN{p}) +
		fmt.Sprintf("%v %+v %#v %s %q %x %X %d %t %5.3s", p, p, p, p, p, p, p, p, p, p) +
		fmt.Sprintf("%v %#v", struct{ Card PAN }{p}, struct{ Card PAN }{p}) +
		fmt.Errorf("card %v", p).Error()
	if strings.Contains(printed, number) || strings.Contains(printed, fmt.Sprintf("%x", number)) || strings.Contains(printed, "424") {
		t.Errorf("printed: %s", printed)
	}
	if !strings.Contains(printed, "[secret]") {
		t.Errorf("nothing in place of the number: %s", printed)
	}
}

func TestFindPANs(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"alone", "4242424242424242", []string{"4242424242424242"}},
		{"within words", `{"number":"2200000000001317","x":1}`, []string{"2200000000001317"}},
		{"beside letters", "card4242424242424242x", []string{"4242424242424242"}},
		{"after an underscore", "card_4242424242424242", []string{"4242424242424242"}},
		{"between bytes", "\x00\x104242424242424242\xff", []string{"4242424242424242"}},
		{"spaces", "pay 4242 4242 4242 4242 now", []string{"4242424242424242"}},
		{"dashes", "4242-4242-4242-4242", []string{"4242424242424242"}},
		{"as on an Amex card", "3782 822463 10005", []string{"378282246310005"}},
		{"a number before", "17 4242 4242 4242 4242", []string{"4242424242424242"}},
		{"a number after", "4242 4242 4242 4242 2026", []string{"4242424242424242"}},
		{"a long number before", "40817810500000012345 4242424242424242", []string{"4242424242424242"}},
		{"two", "4242424242424242, 5555555555554444", []string{"4242424242424242", "5555555555554444"}},
		{"two with a space", "4242424242424242 5555555555554444", []string{"4242424242424242", "5555555555554444"}},
		{"two in groups", "4242 4242 4242 4242 4242 4242 4242 4242", []string{"4242424242424242", "4242424242424242"}},
		{"twice", "4242424242424242\n4242424242424242", []string{"4242424242424242", "4242424242424242"}},
		{"19 digits", "6304000000000000000", []string{"6304000000000000000"}},
		{"in a word that ends like an id", "xps_4242424242424242", []string{"4242424242424242"}},
		{"in a short hexadecimal word", "ab4242424242424242cd", []string{"4242424242424242"}},

		{"nothing", "", nil},
		{"no digits", "card number", nil},
		{"fails Luhn", "4242424242424241", nil},
		{"no such brand", "9999999999999995", nil},
		{"13 digits", "4222222222222", nil},
		{"an account", "40817810500000012345", nil},
		{"in a longer number", "14242424242424242999", nil},
		{"masked", "424242******4242", nil},
		{"two spaces", "4242  4242  4242  4242", nil},
		{"dots", "4242.4242.4242.4242", nil},
		{"a session", "session ps_4242424242424242", nil},
		{"a payout at the start", "po_4242424242424242", nil},
		{"a hash", "ab" + strings.Repeat("c", 20) + "4242424242424242ff", nil},
		{"a time", "2026-03-02T09:15:04.120031Z", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := FindPANs([]byte(tt.text)); !slices.Equal(got, tt.want) {
				t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestMaskText(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing to mask", "declined for ps_4242424242424242", "declined for ps_4242424242424242"},
		{"alone", "2200000000001317", "220000******1317"},
		{"14 digits of Maestro", "67620000000005", "676200****0005"},
		{"grouped", "card 4242 4242-4242 4242.", "card 4242 42**-**** 4242."},
		{"two", "4242424242424242/5555555555554444", "424242******4242/555555******4444"},
		{"beside Cyrillic", "карта 4242424242424242отклонена", "карта 424242******4242отклонена"},
		{"not UTF-8", "\xff4242424242424242\xfe", "\xff424242******4242\xfe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := MaskText(tt.text); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// A card number is found and masked whatever stands around it, as long as that
// is neither digits nor the look of an id or hash.
func TestFindAndMaskAny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := pans().Draw(t, "number")
		around := rapid.StringMatching(`[A-Zg-z ,:"{}\n]*[:"{,]`)
		text := around.Draw(t, "before") + number + `"` + around.Draw(t, "after")
		if got := FindPANs([]byte(text)); !slices.Contains(got, number) {
			t.Fatalf("%q: %q", text, got)
		}
		if masked := MaskText(text); len(masked) != len(text) || strings.Contains(masked, number) || len(FindPANs([]byte(masked))) > 0 {
			t.Fatalf("masked %q", masked)
		}
	})
}

func FuzzFindPANs(f *testing.F) {
	f.Add([]byte("4242 4242 4242 4242 2026"))
	f.Add([]byte("ps_4242424242424242 2200000000001317-17"))
	f.Add([]byte("4242424242424242 5555555555554444"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		found := FindPANs(b)
		for _, number := range found {
			if _, err := ParsePAN(number); err != nil {
				t.Errorf("%q: found what is no card number: %v", number, err)
			}
		}
		masked := MaskText(string(b))
		if !bytes.Equal(b, before) {
			t.Error("the text was changed")
		}
		if len(masked) != len(b) || (masked == string(b)) != (len(found) == 0) {
			t.Errorf("%q masked as %q, with %d numbers in it", b, masked, len(found))
		}
	})
}

func BenchmarkMaskText(b *testing.B) {
	line := `{"time":"2026-03-02T09:15:04.120031Z","msg":"request","route":"session/init/payout","session":"ps_118000000000000001"}`
	for b.Loop() {
		MaskText(line)
	}
}
