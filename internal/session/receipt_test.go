package session

import (
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// Every state is reached, every open one is left, and what is not in the table
// is refused.
func TestReceiptSteps(t *testing.T) {
	reached := map[ReceiptState]bool{Reserved: true}
	for range ReceiptStates {
		for _, s := range ReceiptStates {
			for _, e := range ReceiptEvents {
				if to, err := NextReceipt(s, e); err == nil && reached[s] {
					reached[to] = true
				}
			}
		}
	}
	for _, s := range ReceiptStates {
		if !reached[s] {
			t.Errorf("%s is never reached", s)
		}
		exits := 0
		for _, e := range ReceiptEvents {
			to, err := NextReceipt(s, e)
			switch {
			case err == nil:
				exits++
			case fault.CodeOf(err) != fault.WrongState || to != "":
				t.Errorf("%s in %s: %q, %v", e, s, to, err)
			}
		}
		if s.Open() && exits == 0 {
			t.Errorf("%s is open and nothing ends it", s)
		}
	}
	// What the service was asked to do is never taken for not done.
	for _, s := range []ReceiptState{Registering, Undoing} {
		if to, err := NextReceipt(s, Undo); err == nil && to != Undoing {
			t.Errorf("undo in %s leads to %s: the service may have made the receipt", s, to)
		}
	}
}

func TestFiscalTotal(t *testing.T) {
	item := func(minor int64, quantity int) tax.Item {
		return tax.Item{Amount: money.Amount{Minor: minor, Currency: money.RUB}, Quantity: quantity}
	}
	for _, c := range []struct {
		name  string
		items []tax.Item
		want  int64 // 0 for an overflow
	}{
		{"one", []tax.Item{item(5, 1)}, 5},
		{"quantity", []tax.Item{item(500_000, 2), item(500_000, 1)}, 1_500_000},
		{"the most", []tax.Item{item(money.MinorMax-1, 1), item(1, 1)}, money.MinorMax},
		{"above the most", []tax.Item{item(money.MinorMax, 1), item(1, 1)}, 0},
		{"above int64", []tax.Item{item(money.MinorMax, 1_000_000)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&Fiscal{Services: c.items}).Total()
			if (err != nil) != (c.want == 0) || got.Minor != c.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
