package postgres

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

// The first parameter of those that are guarded is the person of each row.
var (
	updateIncomes = guarded(`UPDATE incomes i SET held = k.held, asked = k.asked, registered = k.registered, revision = i.revision + 1
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) k (inn, year, revision, held, asked, registered)
		WHERE i.inn = k.inn AND i.year = k.year AND i.revision = k.revision`)
	upsertReservations = guarded(`INSERT INTO reservations AS c (inn, year, payout, project, session, minor, state, earned_at, receipt)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::text[])
		ON CONFLICT (inn, year, payout) DO UPDATE SET state = excluded.state, earned_at = excluded.earned_at, receipt = excluded.receipt
		WHERE c.project = excluded.project AND c.session = excluded.session AND c.minor = excluded.minor`)
)

const (
	loadIncomes = `SELECT ` + codec.IncomeColumns + ` FROM unnest($1::text[], $2::bigint[]) k (inn, year)
		JOIN incomes i ON i.inn = k.inn AND i.year = k.year
		ORDER BY i.inn, i.year FOR UPDATE OF i`
	// Behind loadIncomes, whose lock keeps these rows as they are.
	loadReservations = `SELECT ` + codec.ReservationColumns + ` FROM unnest($1::text[], $2::bigint[], $3::bigint[]) k (inn, year, payout)
		JOIN reservations c ON c.inn = k.inn AND c.year = k.year AND c.payout = k.payout`

	insertIncomes = `INSERT INTO incomes (inn, year, held, asked, registered, revision)
		SELECT k.*, 1 FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) k`

	selectIncome      = `SELECT ` + codec.IncomeColumns + ` FROM incomes i WHERE i.inn = $1 AND i.year = $2`
	selectReservation = `SELECT ` + codec.ReservationColumns + ` FROM reservations c WHERE c.inn = $1 AND c.year = $2 AND c.payout = $3`
	selectEarned      = `SELECT ` + codec.ReservationColumns + ` FROM reservations c
		WHERE c.earned_at > 0 AND c.earned_at >= $1 AND c.earned_at < $2 ORDER BY c.inn, c.year, c.payout`
)

func compareIncomes(a, b store.IncomeKey) int {
	return cmp.Or(cmp.Compare(a.INN, b.INN), cmp.Compare(a.Year, b.Year))
}

func compareReservations(a, b store.ReservationKey) int {
	return cmp.Or(compareIncomes(a.IncomeKey, b.IncomeKey), cmp.Compare(a.Payout, b.Payout))
}

func queueIncomes(b *pgx.Batch, w *wanted, rows *store.Rows) {
	if len(w.incomes) > 0 {
		b.Queue(loadIncomes, column(w.incomes, func(k store.IncomeKey) string { return k.INN }),
			column(w.incomes, func(k store.IncomeKey) int64 { return int64(k.Year) })).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanIncome, func(i store.Income) { rows.Incomes[i.IncomeKey] = i })
		})
	}
	if len(w.reservations) > 0 {
		b.Queue(loadReservations, column(w.reservations, func(k store.ReservationKey) string { return k.INN }),
			column(w.reservations, func(k store.ReservationKey) int64 { return int64(k.Year) }),
			column(w.reservations, func(k store.ReservationKey) int64 { return int64(k.Payout) })).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanReservation, func(c store.Reservation) { rows.Reservations[c.ReservationKey] = c })
		})
	}
}

func writeIncomes(b *pgx.Batch, incomes []store.Income) {
	incomes = slices.SortedStableFunc(slices.Values(incomes), func(a, b store.Income) int { return compareIncomes(a.IncomeKey, b.IncomeKey) })
	var added, changed []store.Income
	for _, i := range incomes {
		if i.Revision == 0 {
			added = append(added, i)
		} else {
			changed = append(changed, i)
		}
	}
	inn := func(i store.Income) string { return i.INN }
	year := func(i store.Income) int64 { return int64(i.Year) }
	held := func(i store.Income) int64 { return i.Held }
	asked := func(i store.Income) int64 { return i.Asked }
	registered := func(i store.Income) int64 { return i.Registered }
	if len(added) > 0 {
		b.Queue(insertIncomes, column(added, inn), column(added, year), column(added, held), column(added, asked), column(added, registered))
	}
	if len(changed) > 0 {
		b.Queue(updateIncomes, column(changed, inn), column(changed, year),
			column(changed, func(i store.Income) int64 { return i.Revision }),
			column(changed, held), column(changed, asked), column(changed, registered))
	}
}

func writeReservations(b *pgx.Batch, list []store.Reservation) {
	if len(list) == 0 {
		return
	}
	list = last(list, func(r store.Reservation) store.ReservationKey { return r.ReservationKey }, compareReservations)
	b.Queue(upsertReservations,
		column(list, func(r store.Reservation) string { return r.INN }),
		column(list, func(r store.Reservation) int64 { return int64(r.Year) }),
		column(list, func(r store.Reservation) int64 { return int64(r.Payout) }),
		column(list, func(r store.Reservation) string { return text(r.Project) }),
		column(list, func(r store.Reservation) int64 { return int64(r.Session) }),
		column(list, func(r store.Reservation) int64 { return r.Minor }),
		column(list, func(r store.Reservation) string { return string(r.State) }),
		column(list, func(r store.Reservation) int64 { return codec.Micros(r.EarnedAt) }),
		column(list, func(r store.Reservation) string { return codec.Plain(r.Receipt) }),
	)
}

// Income implements store.Store.
func (s *Store) Income(ctx context.Context, k store.IncomeKey) (store.Income, error) {
	i, err := first(ctx, s, codec.ScanIncome, selectIncome, k.INN, int64(k.Year))
	if err != nil {
		return store.Income{}, failed(err, "read what somebody earns in %d", k.Year)
	}
	return i, nil
}

// Reservations implements store.Store.
func (s *Store) Reservations(ctx context.Context, from, to time.Time) ([]store.Reservation, error) {
	found, err := list(ctx, s, codec.ScanReservation, selectEarned, codec.Micros(from), codec.Micros(to))
	if err != nil {
		return nil, failed(err, "read the reservations from %s to %s", from, to)
	}
	return found, nil
}

func (s *snapshot) Incomes(ctx context.Context) iter.Seq2[store.Income, error] {
	return stream(ctx, s, codec.ScanIncome, `SELECT `+codec.IncomeColumns+` FROM incomes i ORDER BY i.inn, i.year`)
}

func (s *snapshot) Reservations(ctx context.Context) iter.Seq2[store.Reservation, error] {
	return stream(ctx, s, codec.ScanReservation, `SELECT `+codec.ReservationColumns+` FROM reservations c ORDER BY c.inn, c.year, c.payout`)
}

func (s *snapshot) Reservation(ctx context.Context, k store.ReservationKey) (store.Reservation, error) {
	rows, err := s.conn.Query(ctx, selectReservation, pgx.QueryExecModeExec, k.INN, int64(k.Year), int64(k.Payout))
	r, err := one(all(rows, err, codec.ScanReservation))
	if err != nil {
		return store.Reservation{}, failed(err, "read the reservation of %s", k.Payout)
	}
	return r, nil
}
