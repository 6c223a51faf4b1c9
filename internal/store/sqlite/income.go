package sqlite

import (
	"context"
	"iter"
	"time"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	loadIncomes = `SELECT ` + codec.IncomeColumns + ` FROM json_each(?) k
		CROSS JOIN incomes i ON i.inn = k.value->>0 AND i.year = k.value->>1`
	loadReservations = `SELECT ` + codec.ReservationColumns + ` FROM json_each(?) k
		CROSS JOIN reservations c ON c.inn = k.value->>0 AND c.year = k.value->>1 AND c.payout = k.value->>2`

	selectIncome      = `SELECT ` + codec.IncomeColumns + ` FROM incomes i WHERE i.inn = ? AND i.year = ?`
	selectReservation = `SELECT ` + codec.ReservationColumns + ` FROM reservations c WHERE c.inn = ? AND c.year = ? AND c.payout = ?`
	selectEarned      = `SELECT ` + codec.ReservationColumns + ` FROM reservations c
		WHERE c.earned_at > 0 AND c.earned_at >= ? AND c.earned_at < ? ORDER BY c.inn, c.year, c.payout`

	insertIncome = `INSERT INTO incomes (inn, year, held, asked, registered, revision) VALUES (?, ?, ?, ?, ?, 1)`
	updateIncome = `UPDATE incomes SET held = ?, asked = ?, registered = ?, revision = revision + 1
		WHERE inn = ? AND year = ? AND revision = ?`
	upsertReservation = `INSERT INTO reservations (inn, year, payout, project, session, minor, state, earned_at, receipt)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (inn, year, payout) DO UPDATE SET state = excluded.state, earned_at = excluded.earned_at, receipt = excluded.receipt
		WHERE project = excluded.project AND session = excluded.session AND minor = excluded.minor`
)

func (w *writer) loadIncomes(reads store.Reads, into *store.Rows) error {
	if len(reads.Incomes) > 0 {
		keys, err := list(distinct(reads.Incomes, func(k store.IncomeKey) any { return [2]any{k.INN, k.Year} }))
		if err != nil {
			return err
		}
		rows, err := w.query(loadIncomes, keys)
		for i, err := range all(rows, err, codec.ScanIncome) {
			if err != nil {
				return err
			}
			into.Incomes[i.IncomeKey] = i
		}
	}
	if len(reads.Reservations) > 0 {
		keys, err := list(distinct(reads.Reservations, func(k store.ReservationKey) any { return [3]any{k.INN, k.Year, k.Payout} }))
		if err != nil {
			return err
		}
		rows, err := w.query(loadReservations, keys)
		for r, err := range all(rows, err, codec.ScanReservation) {
			if err != nil {
				return err
			}
			into.Reservations[r.ReservationKey] = r
		}
	}
	return nil
}

func (w *writer) writeIncome(i store.Income) (err error) {
	if i.Revision == 0 {
		_, err = w.exec(insertIncome, i.INN, i.Year, i.Held, i.Asked, i.Registered)
	} else {
		err = w.guarded(updateIncome, i.Held, i.Asked, i.Registered, i.INN, i.Year, i.Revision)
	}
	if err != nil {
		return failed(err, "write what somebody earns in %d at revision %d", i.Year, i.Revision)
	}
	return nil
}

func (w *writer) writeReservation(r store.Reservation) error {
	if err := w.guarded(upsertReservation, codec.ReservationRow(r)...); err != nil {
		return failed(err, "write the reservation of %s", r.Payout)
	}
	return nil
}

// Income implements store.Store.
func (s *Store) Income(ctx context.Context, k store.IncomeKey) (store.Income, error) {
	rows, err := s.readers.QueryContext(ctx, selectIncome, k.INN, k.Year)
	i, err := one(all(rows, err, codec.ScanIncome))
	if err != nil {
		return store.Income{}, s.failed(err, "read what somebody earns in %d", k.Year)
	}
	return i, nil
}

// Reservations implements store.Store.
func (s *Store) Reservations(ctx context.Context, from, to time.Time) ([]store.Reservation, error) {
	rows, err := s.readers.QueryContext(ctx, selectEarned, codec.Micros(from), codec.Micros(to))
	found, err := codec.Collect(all(rows, err, codec.ScanReservation))
	if err != nil {
		return nil, s.failed(err, "read the reservations from %s to %s", from, to)
	}
	return found, nil
}

func (s snapshot) Incomes(ctx context.Context) iter.Seq2[store.Income, error] {
	return stream(ctx, s.tx, codec.ScanIncome, `SELECT `+codec.IncomeColumns+` FROM incomes i ORDER BY i.inn, i.year`)
}

func (s snapshot) Reservations(ctx context.Context) iter.Seq2[store.Reservation, error] {
	return stream(ctx, s.tx, codec.ScanReservation, `SELECT `+codec.ReservationColumns+` FROM reservations c ORDER BY c.inn, c.year, c.payout`)
}

func (s snapshot) Reservation(ctx context.Context, k store.ReservationKey) (store.Reservation, error) {
	rows, err := s.tx.QueryContext(ctx, selectReservation, k.INN, k.Year, k.Payout)
	r, err := one(all(rows, err, codec.ScanReservation))
	if err != nil {
		return store.Reservation{}, failed(err, "read the reservation of %s", k.Payout)
	}
	return r, nil
}
