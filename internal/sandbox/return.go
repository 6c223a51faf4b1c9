package sandbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/rail"
)

// returnsGap is how often the bank looks for returns that another process may
// have left; a clock that is moved makes it look at once.
const returnsGap = 500 * time.Millisecond

// bank is the rail of accounts: the only one whose payments come back.
type bank struct {
	simulated
	moved chan struct{} // has one place: the clock was moved
}

func newBank(r simulated) *bank {
	b := &bank{r, make(chan struct{}, 1)}
	r.world.clock.OnAdvance(func() {
		select {
		case b.moved <- struct{}{}:
		default:
		}
	})
	return b
}

var _ rail.Returner = (*bank)(nil)

// Returns implements rail.Returner. What was taken is written down, so that it
// is given once, unless the process ends between the two.
func (r *bank) Returns(ctx context.Context, take func(context.Context, rail.Return) error) error {
	look := time.NewTicker(returnsGap)
	defer look.Stop()
	for {
		due, err := r.world.books.returns(ctx, r.name, r.world.clock.Now(), true)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, back := range due {
			if err := take(ctx, back.Return); err != nil {
				continue // it comes again with the next look
			}
			if err := r.world.books.taken(context.WithoutCancel(ctx), back); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.moved:
		case <-look.C:
		}
	}
}

// Back is money that has come back, as the outside world has booked it.
type Back struct {
	Rail string
	rail.Return
}

// Returns lists all money that has come back by now, whether payoutd has taken
// the news or not.
func (w *World) Returns(ctx context.Context) ([]Back, error) {
	return w.books.returns(ctx, "", w.clock.Now(), false)
}

// returns lists what has come back by a time, the oldest first: of one rail, ""
// for all, and where onlyNew says so what was not taken.
func (b *books) returns(ctx context.Context, of string, by time.Time, onlyNew bool) (list []Back, err error) {
	rows, err := b.reader.QueryContext(ctx, `SELECT r.rail, r.reference, r.at, p.minor, p.currency
		FROM returns r JOIN payments p ON p.rail = r.rail AND p.reference = r.reference
		WHERE r.at <= ?1 AND (?2 = '' OR r.rail = ?2) AND r.taken <= ?3 ORDER BY r.at, r.reference`,
		by.UnixMicro(), of, map[bool]int{true: 0, false: 1}[onlyNew])
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the returns")
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var back Back
		var at int64
		if err := rows.Scan(&back.Rail, &back.Payment, &at, &back.Amount.Minor, &back.Amount.Currency); err != nil {
			return nil, fault.Wrap(fault.Internal, err, "list the returns")
		}
		back.Reference, back.At = returnReference(back.Payment), time.UnixMicro(at).UTC()
		list = append(list, back)
	}
	if err := rows.Err(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the returns")
	}
	return list, nil
}

// returnReference is the bank's name of the return of a payment.
func returnReference(payment string) string { return fmt.Sprintf("return-%s", payment) }

func (b *books) taken(ctx context.Context, back Back) error {
	return b.do(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE returns SET taken = 1 WHERE rail = ? AND reference = ?`, back.Rail, back.Payment)
		return err
	})
}
