package sqlite

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	takeNode = `UPDATE nodes SET owner = ?1, lease = ?3
		WHERE number = (SELECT number FROM nodes WHERE lease <= ?2 ORDER BY lease, number LIMIT 1) RETURNING number`
	keepNode = `UPDATE nodes SET lease = max(lease, ?3) WHERE number = ?1 AND owner = ?2`
	freeNode = `UPDATE nodes SET owner = '', lease = min(lease, ?3) WHERE number = ?1 AND owner = ?2`
)

// TakeNode implements store.Store.
func (s *Store) TakeNode(ctx context.Context, owner string, now time.Time, lease time.Duration) (number int, err error) {
	taken := false
	err = s.writer.transact(ctx, func() (_ bool, err error) {
		rows, err := s.writer.query(takeNode, owner, codec.Micros(now), codec.Micros(now.Add(lease)))
		if err != nil {
			return false, err
		}
		for rows.Next() {
			taken = true
			err = rows.Scan(&number)
		}
		return taken, firstError(err, firstError(rows.Err(), rows.Close()))
	})
	if err != nil {
		return 0, failed(err, "take a node number")
	}
	if !taken {
		return 0, fault.New(fault.Busy, "all node numbers of %s are taken", s.path)
	}
	return number, nil
}

// KeepNode implements store.Store.
func (s *Store) KeepNode(ctx context.Context, owner string, number int, until time.Time) error {
	kept, err := s.changeNode(ctx, keepNode, owner, number, until)
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
	if _, err := s.changeNode(ctx, freeNode, owner, number, now); err != nil {
		return failed(err, "free node number %d", number)
	}
	return nil
}

func (s *Store) changeNode(ctx context.Context, query, owner string, number int, lease time.Time) (changed int64, err error) {
	err = s.writer.transact(ctx, func() (bool, error) {
		changed, err = s.writer.exec(query, number, owner, codec.Micros(lease))
		return changed > 0, err
	})
	return changed, err
}
