package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
)

// Commit implements store.Store. What this node has written last is not loaded:
// the batch is decided from memory, and the transaction that writes it proves
// that nobody has changed the rows since. If somebody has, they are loaded. It
// decides anew as well when another node came first, when the server chose this
// transaction to break a deadlock, and when the connection was lost before the
// COMMIT went out.
func (s *Store) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	var (
		w       = want(reads)
		refused error
	)
	try := func(m *memory, enough bool) error {
		return s.transact(ctx, func(t *transaction) (err error) {
			refused, err = t.run(ctx, &w, m, enough, decide)
			return err
		})
	}
	m, enough := s.recent.take(&w)
	err := s.repeat(ctx, outrun, func() error {
		if enough {
			enough = false
			err := try(m, true)
			overtaken := sqlState(err) == uniqueViolation || sqlState(err) == divisionByZero
			if overtaken || err == nil {
				s.recent.judge(!overtaken)
			}
			if !overtaken {
				return err
			}
		}
		return try(m, false)
	})
	if refused != nil {
		return refused
	}
	if lost, ok := errors.AsType[*lostError](err); ok {
		return s.settle(lost)
	}
	if err != nil {
		return failed(err, "commit")
	}
	return nil
}

// transaction is one on a connection that is its own as long as it lasts.
type transaction struct {
	conn  *pgx.Conn
	store *Store
	open  bool // BEGIN was sent, and no end

	// What is there, and is changed where it is.
	payouts map[store.SessionKey]int // how many
	events  map[store.EventKey]struct{}

	// known is what was true of the rows before the batch, of those that may be
	// remembered. assumed says that this is still to be proved, and that free are
	// keys that nobody has burnt.
	known   *memory
	assumed bool
	free    []store.KeyRef
}

// run decides from memory if that is enough, or else from what it loads, and
// writes. Where nothing is to be written nothing would be proved: so it is decided
// again, from the rows.
func (t *transaction) run(
	ctx context.Context, w *wanted, m *memory, enough bool, decide func(*store.Rows) (*store.Changes, error),
) (refused, err error) {
	if enough && alive(t.conn) {
		changes, refused := decide(t.assume(m, w))
		if refused == nil && changes != nil && !changes.Empty() {
			return nil, t.write(ctx, changes)
		}
	}
	rows, err := t.load(ctx, w, m)
	if err != nil {
		return nil, err
	}
	changes, refused := decide(rows)
	if refused != nil || changes == nil || changes.Empty() {
		return refused, t.confirm(ctx)
	}
	return nil, t.write(ctx, changes)
}

// transact gives do a transaction, and rolls back what do leaves open, in a
// panic as well.
func (s *Store) transact(ctx context.Context, do func(*transaction) error) error {
	limited, cancel := context.WithTimeout(ctx, s.answerMax)
	conn, err := s.acquire(limited, s.writers)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Release()
	t := &transaction{conn: conn.Conn(), store: s}
	defer t.end(ctx)
	return s.checked(ctx, conn, do(t))
}

// begin starts a round trip; the first one begins the transaction with it. The
// level is named because a server may have another default.
func (t *transaction) begin() *pgx.Batch {
	b := new(pgx.Batch)
	if !t.open {
		b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	}
	return b
}

// send makes a round trip within the transaction.
func (t *transaction) send(ctx context.Context, b *pgx.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, t.store.answerMax)
	defer cancel()
	t.open = true
	return t.conn.SendBatch(ctx, b).Close()
}

// commit makes the last round trip. It goes on when ctx ends, because an answer
// that nobody waits for leaves the outcome open.
func (t *transaction) commit(ctx context.Context, b *pgx.Batch, of batch) error {
	b.Queue("COMMIT")
	warned(t.conn)
	err := t.send(context.WithoutCancel(ctx), b)
	switch {
	case err == nil && warned(t.conn):
		t.open = false
		return &lostError{batch: of, cause: errWarned}
	case err == nil:
		t.open = false
		if of != (batch{}) { // what archives sessions writes none
			t.store.last.Store(&of)
		}
		return nil
	case t.conn.IsClosed() && !pgconn.SafeToRetry(err):
		return &lostError{batch: of, cause: err}
	}
	return err
}

// standing makes a COMMIT wait until a synchronous standby has all that the
// transaction has seen, and makes it wait for nothing where there is none.
const standing = `SELECT CASE current_setting('synchronous_standby_names', true) WHEN '' THEN set_config('synchronous_commit', 'off', true)
	ELSE pg_logical_emit_message(true, 'payoutd', '')::text END`

// confirm ends a transaction that writes nothing, and whose answer is told all
// the same: what it has seen must not be lost with the server. A server that was
// restarted shows what its standby may lack.
func (t *transaction) confirm(ctx context.Context) error {
	if !t.open || !t.store.replicates {
		return nil
	}
	b := t.begin()
	b.Queue(standing)
	b.Queue("COMMIT")
	warned(t.conn)
	if err := t.send(ctx, b); err != nil {
		return err
	}
	t.open = false
	if warned(t.conn) {
		return &brokenError{errWarned}
	}
	return nil
}

// end rolls back. A connection that can't do that is closed by its pool.
func (t *transaction) end(ctx context.Context) {
	if !t.open || t.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.store.answerMax)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.store.log.WarnContext(ctx, "connection to the database replaced", "error", err)
	}
}

// batch names the row of a batch.
type batch struct {
	project id.Project
	id      id.Batch
}

// lostError says that the connection was lost after the COMMIT had been sent,
// or part of it.
type lostError struct {
	batch
	cause error
}

func (e *lostError) Error() string {
	return fmt.Sprintf("the answer to the COMMIT was lost: %v", e.cause)
}
func (e *lostError) Unwrap() error { return e.cause }

// settle finds out what became of a batch whose COMMIT got no answer.
func (s *Store) settle(lost *lostError) error {
	s.mu.Lock()
	if len(s.unsettled) >= unsettledMax {
		delete(s.unsettled, slices.Min(slices.Collect(maps.Keys(s.unsettled)))) // the oldest: numbers go by time
	}
	s.unsettled[lost.id] = lost.project
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), s.settleMax)
	defer cancel()
	for gap := 10 * time.Millisecond; ; gap = min(2*gap, time.Second) {
		written, err := s.seal(ctx, lost.batch)
		switch {
		case err == nil && written:
			s.last.Store(&lost.batch)
			s.log.Warn("commit written, its answer lost", "batch", int64(lost.id), "error", lost.cause)
			return nil
		case err == nil:
			return fault.Wrap(fault.Busy, lost.cause, "commit: the connection to the database was lost, nothing was written")
		case !s.pause(ctx, gap):
			s.log.Error("outcome of a commit unknown", "batch", int64(lost.id), "error", lost.cause, "lookup_error", err)
			return fmt.Errorf("batch %d: %w: %w", lost.id, store.ErrUnknown, lost.cause)
		}
	}
}

const (
	// It waits for a transaction that is just writing the row. A row that is there
	// is written anew, so that the answer waits until a synchronous standby has it.
	sealBatch = `INSERT INTO batches AS b (project, id, written) VALUES ($1, $2, false)
		ON CONFLICT (project, id) DO UPDATE SET written = b.written RETURNING written`

	committedBatch = `SELECT EXISTS (SELECT 1 FROM batches WHERE id = $1 AND written)`
	lastBatch      = `SELECT coalesce(max(id), 0) FROM batches WHERE written`
	stillThere     = `SELECT EXISTS (SELECT 1 FROM batches WHERE project = $1 AND id = $2), coalesce((SELECT max(id) FROM batches), 0), pg_is_in_recovery()`
)

// errBehind is a server in recovery that lacks what this node knows to be
// committed: it may get it yet, or be promoted without it.
var errBehind = errors.New("the server is in recovery and lacks what was committed")

// stillThere refuses a new connection to a server that lacks what this node
// knows to be committed: one that was restored to an earlier state, or a standby
// that had not yet had it when it took over. No server goes back under a
// connection that stands.
func (s *Store) stillThere(ctx context.Context, conn *pgx.Conn) error {
	last := s.last.Load()
	if last == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.answerMax) // the pool itself would wait for ever
	defer cancel()
	var there, recovering bool
	var newest id.Batch
	if err := conn.QueryRow(ctx, stillThere, last.project, last.id).Scan(&there, &newest, &recovering); err != nil {
		return err
	}
	switch {
	case there, newest.At().Sub(last.id.At()) >= store.BatchesKept: // it may have been forgotten
		return nil
	case recovering:
		return errBehind
	}
	return store.ErrWentBack
}

// LastBatch implements store.Store.
func (s *Store) LastBatch(ctx context.Context) (last id.Batch, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, lastBatch).Scan(&last) })
	if err != nil {
		return 0, failed(err, "look up the last batch")
	}
	return last, nil
}

// seal decides for good whether a batch was written. That its row is not there
// proves nothing: the COMMIT may still be on its way, or stand in the queue of
// a server process that has not noticed the end of its connection. So the row
// is put there as not written; the batch itself begins with this row and can't
// come after that. That its row is there proves nothing either: the server may
// have come to its end, and shown the row, before a standby had it.
func (s *Store) seal(ctx context.Context, of batch) (written bool, err error) {
	err = s.on(ctx, s.writers, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sealBatch, of.project, of.id).Scan(&written)
	})
	if err == nil {
		s.mu.Lock()
		delete(s.unsettled, of.id)
		s.mu.Unlock()
	}
	return written, err
}

// Committed implements store.Store. For a batch of this store whose COMMIT got
// no answer, false is final.
func (s *Store) Committed(ctx context.Context, number id.Batch) (written bool, err error) {
	s.mu.Lock()
	project, unsettled := s.unsettled[number]
	s.mu.Unlock()
	if unsettled {
		written, err = s.seal(ctx, batch{project, number})
	} else {
		err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, committedBatch, number).Scan(&written)
		})
	}
	if err != nil {
		return false, failed(err, "look up batch %d", number)
	}
	return written, nil
}
