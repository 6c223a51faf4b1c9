package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	takeNode = `UPDATE nodes n SET owner = $1, lease = $3 FROM (
			SELECT number FROM nodes WHERE lease <= $2 ORDER BY lease, number LIMIT 1 FOR UPDATE SKIP LOCKED
		) free WHERE n.number = free.number RETURNING n.number`
	keepNode = `UPDATE nodes SET lease = greatest(lease, $3) WHERE number = $1 AND owner = $2`
	freeNode = `UPDATE nodes SET owner = '', lease = least(lease, $3) WHERE number = $1 AND owner = $2`
)

// TakeNode implements store.Store. If its answer is lost, the number stays
// taken until the lease ends.
func (s *Store) TakeNode(ctx context.Context, owner string, now time.Time, lease time.Duration) (number int, err error) {
	err = s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, takeNode, owner, codec.Micros(now), codec.Micros(now.Add(lease))).Scan(&number)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fault.New(fault.Busy, "all node numbers of %s are taken", s.name)
	}
	if err != nil {
		return 0, failed(err, "take a node number")
	}
	return number, nil
}

// KeepNode implements store.Store.
func (s *Store) KeepNode(ctx context.Context, owner string, number int, until time.Time) error {
	kept := int64(0)
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, keepNode, number, owner, codec.Micros(until))
		kept = tag.RowsAffected()
		return err
	})
	switch {
	case err != nil:
		return failed(err, "keep node number %d", number)
	case kept == 0:
		return fault.New(fault.Stale, "node number %d belongs to another run", number)
	}
	return nil
}

// FreeNode implements store.Store.
func (s *Store) FreeNode(ctx context.Context, owner string, number int, now time.Time) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, freeNode, number, owner, codec.Micros(now))
		return err
	})
	if err != nil {
		return failed(err, "free node number %d", number)
	}
	return nil
}
