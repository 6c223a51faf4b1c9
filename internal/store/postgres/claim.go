package postgres

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Claims and renewals wait for no lock: what somebody else is just changing is
// left to the next round. A commit, which has a session's lock and then writes
// its tasks, could otherwise wait for a claim that waits for the session.
//
// What is due at the same time comes as the index has it: to order it further
// would mean to read all that is due, however much has piled up.
const (
	claimTasks = `WITH due AS (
			SELECT t.project, t.session, t.payout, t.kind
			FROM tasks t JOIN sessions s ON s.project = t.project AND s.id = t.session
			WHERE t.due <= $1 AND t.lease <= $2 AND (cardinality($3::text[]) = 0 OR t.kind = ANY($3))
			ORDER BY t.due LIMIT $4
			FOR UPDATE OF t, s SKIP LOCKED
		), fenced AS (
			UPDATE sessions s SET fence = s.fence + 1, revision = s.revision + 1
			FROM (SELECT DISTINCT project, session FROM due) d
			WHERE s.project = d.project AND s.id = d.session
			RETURNING s.project, s.id, s.fence
		)
		UPDATE tasks t SET owner = $5, lease = $6
		FROM due d JOIN fenced f ON f.project = d.project AND f.id = d.session
		WHERE t.project = d.project AND t.session = d.session AND t.payout = d.payout AND t.kind = d.kind
		RETURNING ` + codec.TaskColumns + `, f.fence`
	// The revision tells a node that remembers the session that its outbox is
	// in other hands.
	claimEvents = `WITH due AS (
			SELECT e.project, e.session, e.n
			FROM events e JOIN sessions s ON s.project = e.project AND s.id = e.session
			WHERE e.status = 'pending' AND e.due <= $1 AND e.lease <= $2
			ORDER BY e.due LIMIT $3
			FOR UPDATE OF e, s SKIP LOCKED
		), raised AS (
			UPDATE sessions s SET revision = s.revision + 1
			FROM (SELECT DISTINCT project, session FROM due) d
			WHERE s.project = d.project AND s.id = d.session
		)
		UPDATE events e SET owner = $4, lease = $5 FROM due d
		WHERE e.project = d.project AND e.session = d.session AND e.n = d.n
		RETURNING ` + codec.EventColumns
	// What a node holds of the keys that are given; others leave it alone.
	heldTasks = ` FROM (
			SELECT t.project, t.session, t.payout, t.kind
			FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::text[]) k (project, session, payout, kind)
			JOIN tasks t ON t.project = k.project AND t.session = k.session AND t.payout = k.payout AND t.kind = k.kind
			WHERE t.owner = $2 AND t.lease < $1 FOR UPDATE OF t SKIP LOCKED
		) k WHERE t.project = k.project AND t.session = k.session AND t.payout = k.payout AND t.kind = k.kind`
	heldEvents = ` FROM (
			SELECT e.project, e.session, e.n
			FROM unnest($3::text[], $4::bigint[], $5::bigint[]) k (project, session, n)
			JOIN events e ON e.project = k.project AND e.session = k.session AND e.n = k.n
			WHERE e.owner = $2 AND e.lease < $1 FOR UPDATE OF e SKIP LOCKED
		) k WHERE e.project = k.project AND e.session = k.session AND e.n = k.n`
	renewTasks    = `UPDATE tasks t SET lease = $1` + heldTasks
	renewEvents   = `UPDATE events e SET lease = $1` + heldEvents
	releaseTasks  = `UPDATE tasks t SET owner = '', lease = 0` + heldTasks
	releaseEvents = `UPDATE events e SET owner = '', lease = 0` + heldEvents
)

// ClaimTasks implements store.Store. If its answer is lost, the leases of what
// it took come to an end.
func (s *Store) ClaimTasks(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int, kinds ...store.TaskKind,
) (tasks []store.Task, err error) {
	if limit <= 0 {
		return nil, nil
	}
	wanted := column(kinds, func(k store.TaskKind) string { return string(k) })
	err = s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, claimTasks, codec.Micros(due), codec.Micros(now), wanted, limit, node, codec.Micros(now.Add(lease)))
		tasks, err = codec.Collect(all(rows, err, codec.ScanClaim))
		return err
	})
	if err != nil {
		return nil, failed(err, "claim tasks for %s", node)
	}
	s.recent.forget(column(tasks, func(t store.Task) store.SessionKey { return t.SessionKey })...)
	slices.SortFunc(tasks, func(a, b store.Task) int {
		return cmp.Or(a.Due.Compare(b.Due), compareTasks(a.TaskKey, b.TaskKey))
	})
	return tasks, nil
}

// ClaimEvents implements store.Store, as ClaimTasks.
func (s *Store) ClaimEvents(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int,
) (events []webhook.Event, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, claimEvents, codec.Micros(due), codec.Micros(now), limit, node, codec.Micros(now.Add(lease)))
		events, err = codec.Collect(all(rows, err, codec.ScanEvent))
		return err
	})
	if err != nil {
		return nil, failed(err, "claim events for %s", node)
	}
	s.recent.forget(column(events, func(e webhook.Event) store.SessionKey { return eventKey(&e).SessionKey })...)
	slices.SortFunc(events, func(a, b webhook.Event) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Project, b.Project), cmp.Compare(a.Session, b.Session), cmp.Compare(a.N, b.N))
	})
	return events, nil
}

// Renew implements store.Store. A lease that has ended and that nobody took
// since is still the node's.
func (s *Store) Renew(ctx context.Context, node string, until time.Time, tasks []store.TaskKey, events []store.EventKey) error {
	if err := s.setLeases(ctx, renewTasks, renewEvents, codec.Micros(until), node, tasks, events); err != nil {
		return failed(err, "renew the leases of %s", node)
	}
	s.recent.renew(node, until, events)
	return nil
}

// Release implements store.Store.
func (s *Store) Release(ctx context.Context, node string, tasks []store.TaskKey, events []store.EventKey) error {
	defer s.recent.forget(column(events, func(k store.EventKey) store.SessionKey { return k.SessionKey })...)
	if err := s.setLeases(ctx, releaseTasks, releaseEvents, math.MaxInt64, node, tasks, events); err != nil {
		return failed(err, "release the leases of %s", node)
	}
	return nil
}

// setLeases changes those leases of node that end before a time.
func (s *Store) setLeases(
	ctx context.Context, ofTasks, ofEvents string, before int64, node string, tasks []store.TaskKey, events []store.EventKey,
) error {
	if len(tasks)+len(events) == 0 {
		return nil
	}
	return s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		b := new(pgx.Batch)
		if len(tasks) > 0 {
			b.Queue(ofTasks, append([]any{before, node}, taskColumnsOf(tasks)...)...)
		}
		if len(events) > 0 {
			projects, numbers := columns(column(events, func(k store.EventKey) store.SessionKey { return k.SessionKey }))
			b.Queue(ofEvents, before, node, projects, numbers, column(events, func(k store.EventKey) int64 { return int64(k.N) }))
		}
		return conn.SendBatch(ctx, b).Close()
	})
}

// Recover implements store.Store. Other nodes may be at work: leases stand, and
// end by themselves.
func (s *Store) Recover(context.Context, time.Time) (bool, error) { return false, nil }
