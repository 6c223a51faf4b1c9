package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/webhook"
)

const (
	// An empty list of kinds is all of them.
	dueTasks = `SELECT ` + codec.TaskColumns + ` FROM tasks t
		WHERE t.due <= ?1 AND t.lease <= ?2 AND (?3 = '[]' OR t.kind IN (SELECT value FROM json_each(?3)))
		ORDER BY t.due, t.project, t.session, t.payout, t.kind LIMIT ?4`
	leaseTask  = `UPDATE tasks SET owner = ?, lease = ? WHERE project = ? AND session = ? AND payout = ? AND kind = ?`
	raiseFence = `UPDATE sessions SET fence = fence + 1, revision = revision + 1 WHERE project = ? AND id = ? RETURNING fence`

	dueEvents = `SELECT ` + codec.EventColumns + ` FROM events e
		WHERE e.status = 'pending' AND e.due <= ? AND e.lease <= ?
		ORDER BY e.due, e.project, e.session, e.n LIMIT ?`
	leaseEvent = `UPDATE events SET owner = ?, lease = ? WHERE project = ? AND session = ? AND n = ?`

	renewTask  = `UPDATE tasks SET lease = max(lease, ?) WHERE project = ? AND session = ? AND payout = ? AND kind = ? AND owner = ?`
	renewEvent = `UPDATE events SET lease = max(lease, ?) WHERE project = ? AND session = ? AND n = ? AND owner = ?`

	releaseTask  = `UPDATE tasks SET owner = '', lease = 0 WHERE project = ? AND session = ? AND payout = ? AND kind = ? AND owner = ?`
	releaseEvent = `UPDATE events SET owner = '', lease = 0 WHERE project = ? AND session = ? AND n = ? AND owner = ?`
)

// ClaimTasks implements store.Store. The fence of a session with several due
// tasks rises once, and its revision with it, as in each write.
func (s *Store) ClaimTasks(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int, kinds ...store.TaskKind,
) ([]store.Task, error) {
	if limit <= 0 {
		return nil, nil
	}
	wanted := "[]"
	if len(kinds) > 0 {
		var err error
		if wanted, err = list(kinds); err != nil {
			return nil, failed(err, "claim tasks")
		}
	}
	until := now.Add(lease).UTC().Truncate(time.Microsecond)
	var tasks []store.Task
	err := s.writer.transact(ctx, func() (_ bool, err error) {
		rows, err := s.writer.query(dueTasks, codec.Micros(due), codec.Micros(now), wanted, limit)
		if tasks, err = codec.Collect(all(rows, err, codec.ScanTask)); err != nil {
			return false, err
		}
		fences := make(map[store.SessionKey]int64)
		for i := range tasks {
			t := &tasks[i]
			t.Owner, t.Lease = node, until
			if err := s.writer.guarded(leaseTask, node, codec.Micros(until), t.Project, t.Session, t.Payout, t.Kind); err != nil {
				return false, err
			}
			if _, raised := fences[t.SessionKey]; !raised {
				if fences[t.SessionKey], err = s.writer.raiseFence(t.SessionKey); err != nil {
					return false, err
				}
			}
			t.Fence = fences[t.SessionKey]
		}
		return len(tasks) > 0, nil
	})
	if err != nil {
		return nil, failed(err, "claim tasks for %s", node)
	}
	return tasks, nil
}

// raiseFence returns the new fence; 0 where there is no such session, which
// must not keep the other tasks from being claimed.
func (w *writer) raiseFence(k store.SessionKey) (int64, error) {
	rows, err := w.query(raiseFence, k.Project, k.Session)
	fence, err := one(all(rows, err, func(row codec.Row) (fence int64, err error) {
		return fence, row.Scan(&fence)
	}))
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return fence, err
}

// ClaimEvents implements store.Store.
func (s *Store) ClaimEvents(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int,
) ([]webhook.Event, error) {
	if limit <= 0 {
		return nil, nil
	}
	until := now.Add(lease).UTC().Truncate(time.Microsecond)
	var events []webhook.Event
	err := s.writer.transact(ctx, func() (_ bool, err error) {
		rows, err := s.writer.query(dueEvents, codec.Micros(due), codec.Micros(now), limit)
		if events, err = codec.Collect(all(rows, err, codec.ScanEvent)); err != nil {
			return false, err
		}
		for i := range events {
			e := &events[i]
			e.Owner, e.Lease = node, until
			if err := s.writer.guarded(leaseEvent, node, codec.Micros(until), e.Project, e.Session, e.N); err != nil {
				return false, err
			}
		}
		return len(events) > 0, nil
	})
	if err != nil {
		return nil, failed(err, "claim events for %s", node)
	}
	return events, nil
}

// Renew implements store.Store. A lease that has ended and that nobody took
// since is still the node's.
func (s *Store) Renew(ctx context.Context, node string, until time.Time, tasks []store.TaskKey, events []store.EventKey) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		for _, t := range tasks {
			if _, err := s.writer.exec(renewTask, codec.Micros(until), t.Project, t.Session, t.Payout, t.Kind, node); err != nil {
				return false, err
			}
		}
		for _, e := range events {
			if _, err := s.writer.exec(renewEvent, codec.Micros(until), e.Project, e.Session, e.N, node); err != nil {
				return false, err
			}
		}
		return len(tasks)+len(events) > 0, nil
	})
	if err != nil {
		return failed(err, "renew the leases of %s", node)
	}
	return nil
}

// Release implements store.Store.
func (s *Store) Release(ctx context.Context, node string, tasks []store.TaskKey, events []store.EventKey) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		for _, t := range tasks {
			if _, err := s.writer.exec(releaseTask, t.Project, t.Session, t.Payout, t.Kind, node); err != nil {
				return false, err
			}
		}
		for _, e := range events {
			if _, err := s.writer.exec(releaseEvent, e.Project, e.Session, e.N, node); err != nil {
				return false, err
			}
		}
		return len(tasks)+len(events) > 0, nil
	})
	if err != nil {
		return failed(err, "release the leases of %s", node)
	}
	return nil
}

// Nudge implements store.Store: there is no other node.
func (s *Store) Nudge(context.Context) error { return nil }

// Listen implements store.Store.
func (s *Store) Listen(ctx context.Context, _ func()) {
	select {
	case <-ctx.Done():
	case <-s.writer.closed:
	}
}

// Recover implements store.Store: the file has one owner, so leases that stand
// in it are of an earlier run.
func (s *Store) Recover(ctx context.Context, now time.Time) (bool, error) {
	err := s.writer.transact(ctx, func() (bool, error) {
		for _, step := range []struct {
			query string
			args  []any
		}{
			{`UPDATE tasks SET owner = '', lease = 0 WHERE owner <> '' OR lease <> 0`, nil},
			{`UPDATE events SET owner = '', lease = 0 WHERE status = 'pending' AND (owner <> '' OR lease <> 0)`, nil},
			{`UPDATE nodes SET owner = '', lease = min(lease, ?1) WHERE owner <> ''`, []any{codec.Micros(now)}},
			{`UPDATE tasks SET due = ?1 WHERE kind = ?2 AND due > ?1`, []any{codec.Micros(now), store.TaskQuery}},
		} {
			if _, err := s.writer.exec(step.query, step.args...); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		return false, failed(err, "recover")
	}
	return true, nil
}
