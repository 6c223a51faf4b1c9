package payout

import (
	"context"
	"slices"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/tax"
)

// reservationsOf says how the income of a payout may be counted as long as its
// receipt stands in a state; "" is not at all. There are two ways where a crash
// may come between the two commits of a step. What the tax service has once said
// that it counts stays counted, even if it says something else when it is asked
// again; the comparison of the day then tells which.
var reservationsOf = map[session.ReceiptState][]store.ReservationState{
	session.Reserved:    {"", store.ReservationHeld},
	session.Due:         {store.ReservationHeld, store.ReservationAsked},
	session.Registering: {store.ReservationAsked, store.ReservationRegistered},
	session.Refused:     {store.ReservationAsked, store.ReservationRegistered},
	session.Registered:  {store.ReservationRegistered},
	session.Undoing:     {store.ReservationAsked, store.ReservationRegistered},
	session.Cancelling:  {store.ReservationRegistered, store.ReservationAnnulled},
	session.Annulled:    {store.ReservationAnnulled},
	session.Releasing:   {"", store.ReservationHeld, store.ReservationAsked, store.ReservationRegistered, store.ReservationReleased},
	session.Released:    {store.ReservationReleased, store.ReservationRegistered},
}

// receipt compares the receipt of a payout with its state, and with what is
// reserved for it.
func (c *checker) receipt(s *session.Session, p *session.Payout) error {
	r := p.Receipt
	if r == nil {
		if p.Details.Fiscal != nil {
			c.problem("payout %s is to have a receipt and nothing says what has become of it", p.ID)
		}
		return nil
	}
	if r.State == session.Reserved && p.State.Final() {
		c.problem("payout %s is %s and its receipt waits for that", p.ID, p.State)
	}
	if paid := p.State == session.Paid || p.State == session.Returned; paid != earned(r) && p.Moves() && p.State != session.Disputed {
		c.problem("payout %s is %s and its receipt is %s", p.ID, p.State, r.State)
	}
	if (r.State == session.Registered || r.State == session.Cancelling || r.State == session.Annulled) != (r.ID != "") {
		c.problem("payout %s has the receipt %q, which is %s", p.ID, r.ID, r.State)
	}
	if r.Withheld && p.State != session.Paid && p.State != session.Disputed {
		c.problem("payout %s is %s and payment_finished waits for its receipt", p.ID, p.State)
	}
	k := store.SessionKey{Project: s.Project, Session: s.ID}
	year := r.Reserved
	first, err := c.reservation(k, p, year)
	if err != nil {
		return err
	}
	if r.Year != 0 && r.Year != r.Reserved {
		moved, err := c.reservation(k, p, r.Year)
		if err != nil {
			return err
		}
		if moved != "" { // counted in the year in which it was earned
			if first != store.ReservationReleased {
				c.problem("payout %s counts in %d, where it was reserved, and in %d, where it was earned", p.ID, r.Reserved, r.Year)
			}
			first, year = moved, r.Year
		}
	}
	if !slices.Contains(reservationsOf[r.State], first) || r.Cleared && first == "" {
		c.problem("payout %s has a receipt that is %s and counts in %d as %q", p.ID, r.State, year, first)
	}
	return nil
}

// earned reports whether a receipt was owed once.
func earned(r *session.Receipt) bool { return !r.EarnedAt.IsZero() }

// reservation is how a payout counts in a year; "" if it does not.
func (c *checker) reservation(k store.SessionKey, p *session.Payout, year int) (store.ReservationState, error) {
	want := reservation(k, p, year, "")
	has, err := c.snapshot.Reservation(c.ctx, want.ReservationKey)
	switch {
	case fault.CodeOf(err) == fault.NotFound:
		return "", nil
	case err != nil:
		return "", err
	}
	c.reserved++
	if has.Project != want.Project || has.Session != want.Session || has.Minor != want.Minor {
		c.problem("payout %s of session %s earns %d, and %d is reserved for session %s", p.ID, k.Session, want.Minor, has.Minor, has.Session)
	}
	return has.State, nil
}

// incomes sees that the sums of each person and year are those of the
// reservations, of which payouts have so many.
func (r *Report) incomes(ctx context.Context, snapshot store.Snapshot, payouts int) error {
	reservations := newStream(snapshot.Reservations(ctx))
	defer reservations.stop()
	rows := 0
	for income, err := range snapshot.Incomes(ctx) {
		if err != nil {
			return err
		}
		sum := store.Income{IncomeKey: income.IncomeKey, Revision: income.Revision}
		for ; reservations.have && reservations.row.IncomeKey == income.IncomeKey; reservations.step() {
			rows++
			state := reservations.row.State
			if state == store.ReservationAnnulled { // what was registered never falls
				state = store.ReservationRegistered
			}
			if of := sumOf(&sum, state); of != nil {
				*of += reservations.row.Minor
			}
		}
		if sum != income {
			r.problem("in %d a person earns %+v by the sums, and %+v by the reservations", income.Year, income, sum)
		}
		if counted := income.Held; counted > tax.IncomeMax.Minor {
			r.problem("in %d more is reserved for a person than anybody may earn: %d", income.Year, counted)
		}
	}
	for ; reservations.have; reservations.step() {
		rows++
	}
	if reservations.err != nil {
		return reservations.err
	}
	if rows != payouts {
		r.problem("%d reservations, of which payouts have %d", rows, payouts)
	}
	return nil
}
