package payout

import (
	"testing"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// What is registered or cancelled while the tax service is asked is no
// difference; what is open is.
func TestCompareWhileReceiptsMove(t *testing.T) {
	row := func(state store.ReservationState) []store.Reservation {
		r := store.Reservation{Project: "demo", Session: 1, Minor: 100, State: state, Receipt: "abc"}
		r.Payout, r.INN, r.Year = 1, "771310005300", 2026
		return []store.Reservation{r}
	}
	has := []tax.Receipt{{INN: "771310005300", Operation: row("")[0].Payout.String(), ID: "abc", Amount: money.Amount{Minor: 100, Currency: money.RUB}}}
	for _, c := range []struct {
		before, now store.ReservationState
		theirs      []tax.Receipt
		want        DifferenceKind
	}{
		{store.ReservationAsked, store.ReservationRegistered, nil, ""},
		{store.ReservationRegistered, store.ReservationAnnulled, has, ""},
		{store.ReservationHeld, store.ReservationAsked, nil, ReceiptOpen},
		{store.ReservationRegistered, store.ReservationRegistered, nil, ReceiptMissing},
		{store.ReservationAnnulled, store.ReservationAnnulled, has, ReceiptStands},
		{store.ReservationRegistered, store.ReservationRegistered, has, ""},
	} {
		var got DifferenceKind
		if found := compare(row(c.before), row(c.now), c.theirs); len(found) > 0 {
			got = found[0].Kind
		}
		if got != c.want {
			t.Errorf("%s, then %s, theirs %v: %q, want %q", c.before, c.now, c.theirs, got, c.want)
		}
	}
}
