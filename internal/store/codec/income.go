package codec

import (
	"github.com/payoutd/payoutd/internal/store"
)

// The columns that the functions below read, in their order.
const (
	IncomeColumns      = `i.inn, i.year, i.held, i.asked, i.registered, i.revision`
	ReservationColumns = `c.inn, c.year, c.payout, c.project, c.session, c.minor, c.state, c.earned_at, c.receipt`
)

func ScanIncome(row Row) (store.Income, error) {
	var i store.Income
	err := row.Scan(&i.INN, &i.Year, &i.Held, &i.Asked, &i.Registered, &i.Revision)
	return i, err
}

func ScanReservation(row Row) (store.Reservation, error) {
	var (
		c      store.Reservation
		earned int64
	)
	err := row.Scan(&c.INN, &c.Year, &c.Payout, &c.Project, &c.Session, &c.Minor, &c.State, &earned, &c.Receipt)
	c.EarnedAt = Instant(earned)
	return c, err
}

// ReservationRow is a reservation.
func ReservationRow(c store.Reservation) []any {
	return []any{
		c.INN, int64(c.Year), int64(c.Payout), string(c.Project), int64(c.Session), c.Minor, string(c.State), Micros(c.EarnedAt), c.Receipt,
	}
}
