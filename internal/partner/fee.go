package partner

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/payoutd/payoutd/money"
)

// Fee is what a payout of one method costs: a fixed part and a part of the
// amount, together at least the minimum. The zero Fee is no fee.
type Fee struct {
	Fixed   int64 `json:"fixed,omitempty"`   // kopecks
	PPM     int64 `json:"ppm,omitempty"`     // millionths of the amount: 15000 is 1.5 %
	Minimum int64 `json:"minimum,omitempty"` // kopecks
}

const million = 1_000_000

// Of is the fee of an amount, both in kopecks, rounded half up; an error if the
// two together are more than money.MinorMax. So what is held for a payout fits
// wherever it is summed up.
func (f Fee) Of(minor int64) (int64, error) {
	part, err := money.ScaleHalfUp(minor, f.PPM, million)
	if err != nil {
		return 0, fmt.Errorf("fee of %d: %w", minor, err)
	}
	fee, fits := money.AddMinor(f.Fixed, part)
	fee = max(fee, f.Minimum)
	gross, sums := money.AddMinor(minor, fee)
	if !fits || !sums || gross > money.MinorMax {
		return 0, fmt.Errorf("fee of %d: %w", minor, money.ErrOverflow)
	}
	return fee, nil
}

// ParseFee reads "10.00+1.5%", "1.5%>=30.00", "10.00" or "none": a fixed part
// and a per cent of the amount, at least the minimum, in roubles. Neither is
// above money.MinorMax, as no amount is that partners may ask for.
func ParseFee(s string) (Fee, error) {
	if s == "none" {
		return Fee{}, nil
	}
	bad := func() (Fee, error) {
		return Fee{}, fmt.Errorf("fee %q: want such as 10.00+1.5%%>=30.00, or none", s)
	}
	terms, minimum, hasMinimum := strings.Cut(s, ">=")
	var f Fee
	hasPercent := false
	for i, term := range strings.Split(terms, "+") {
		percent, isPercent := strings.CutSuffix(term, "%")
		switch {
		case isPercent && !hasPercent:
			hasPercent = true
			whole, fraction, dot := strings.Cut(percent, ".")
			if whole == "" || dot && fraction == "" || len(fraction) > 4 {
				return bad()
			}
			n, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 4-len(fraction)), 10, 32)
			if err != nil || n > 100*10_000 {
				return bad()
			}
			f.PPM = int64(n)
		case !isPercent && i == 0:
			a, err := money.Parse(term, "rub")
			if err != nil || a.Minor < 0 {
				return bad()
			}
			f.Fixed = a.Minor
		default:
			return bad()
		}
	}
	if hasMinimum {
		a, err := money.Parse(minimum, "rub")
		if err != nil || a.Minor < 0 {
			return bad()
		}
		f.Minimum = a.Minor
	}
	if max(f.Fixed, f.Minimum) > money.MinorMax {
		return Fee{}, fmt.Errorf("fee %q: want at most %s roubles", s, money.Amount{Minor: money.MinorMax, Currency: money.RUB}.Major())
	}
	return f, nil
}

// String is the form that ParseFee reads.
func (f Fee) String() string {
	var b strings.Builder
	if f.Fixed != 0 || f.PPM == 0 {
		b.WriteString(money.Amount{Minor: f.Fixed, Currency: money.RUB}.Major())
	}
	if f.PPM != 0 {
		if b.Len() > 0 {
			b.WriteByte('+')
		}
		percent := strings.TrimRight(fmt.Sprintf("%d.%04d", f.PPM/10_000, f.PPM%10_000), "0")
		b.WriteString(strings.TrimSuffix(percent, ".") + "%")
	}
	if f.Minimum != 0 {
		b.WriteString(">=" + money.Amount{Minor: f.Minimum, Currency: money.RUB}.Major())
	}
	if f == (Fee{}) {
		return "none"
	}
	return b.String()
}
