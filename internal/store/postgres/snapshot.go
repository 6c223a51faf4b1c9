package postgres

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/webhook"
)

// pageRows is how many rows of a stream are in memory.
const pageRows = 512

// Snapshot implements store.Store. While it lasts the server can't clear away
// what was changed or removed since.
func (s *Store) Snapshot(ctx context.Context, read func(store.Snapshot) error) error {
	conn, err := s.acquire(ctx, s.snapshots)
	if err != nil {
		return failed(err, "begin a snapshot")
	}
	defer conn.Release()
	t := &transaction{conn: conn.Conn(), store: s}
	defer t.end(ctx) // there is nothing to commit
	b := new(pgx.Batch)
	b.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	b.Queue("SET LOCAL idle_in_transaction_session_timeout = 0") // a reader may take its time
	b.Queue("SELECT 1")                                          // the view is taken at the first query, not at BEGIN
	if err := s.checked(ctx, conn, t.send(ctx, b)); err != nil {
		return failed(err, "begin a snapshot")
	}
	return read(&snapshot{conn: conn.Conn()})
}

// snapshot is one transaction that reads.
type snapshot struct {
	conn    *pgx.Conn
	streams int // begun so far
}

// stream walks the result of a query page by page, so that several can be
// walked side by side on the one connection. No statement is kept prepared: the
// name of a cursor stands for other columns in the next snapshot.
func stream[T any](ctx context.Context, s *snapshot, scan func(codec.Row) (T, error), query string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		s.streams++
		cursor := fmt.Sprintf("stream_%d", s.streams)
		fail := func(err error) {
			if s.conn.IsClosed() {
				err = &brokenError{err}
			}
			var none T
			yield(none, failed(err, "read a snapshot"))
		}
		args := append([]any{pgx.QueryExecModeExec}, args...)
		if _, err := s.conn.Exec(ctx, "DECLARE "+cursor+" NO SCROLL CURSOR FOR "+query, args...); err != nil {
			fail(err)
			return
		}
		// It fails only where all that follows does.
		defer func() { _, _ = s.conn.Exec(ctx, "CLOSE "+cursor, pgx.QueryExecModeExec) }()
		fetch := fmt.Sprintf("FETCH %d FROM %s", pageRows, cursor)
		for {
			rows, err := s.conn.Query(ctx, fetch, pgx.QueryExecModeDescribeExec)
			page, err := codec.Collect(all(rows, err, scan))
			if err != nil {
				fail(err)
				return
			}
			for _, row := range page {
				if !yield(row, nil) {
					return
				}
			}
			if len(page) < pageRows {
				return
			}
		}
	}
}

func (s *snapshot) Projects(ctx context.Context) ([]partner.Project, error) {
	return codec.Collect(stream(ctx, s, codec.ScanProject, selectProjects))
}

func (s *snapshot) Books(ctx context.Context) ([]ledger.Book, error) {
	return codec.Collect(stream(ctx, s, func(row codec.Row) (ledger.Book, error) {
		b, err := codec.ScanBook(row)
		return *b, err
	}, `SELECT `+codec.BookColumns+` FROM books b ORDER BY b.project`))
}

func (s *snapshot) Accounts(ctx context.Context, p id.Project) ([]store.Account, error) {
	return codec.Collect(stream(ctx, s, codec.ScanAccount, selectAccounts, text(p)))
}

func (s *snapshot) Moved(ctx context.Context, k store.AccountKey) (int64, error) {
	return one(stream(ctx, s, func(row codec.Row) (sum int64, err error) {
		err = row.Scan(&sum)
		return sum, err
	}, selectMoved, text(k.Project), k.Number))
}

func (s *snapshot) Entries(ctx context.Context, p id.Project) iter.Seq2[ledger.Entry, error] {
	return stream(ctx, s, codec.ScanEntry, `SELECT `+codec.EntryColumns+` FROM entries WHERE project = $1 ORDER BY no`, text(p))
}

func (s *snapshot) EntriesBySession(ctx context.Context, p id.Project) iter.Seq2[ledger.Entry, error] {
	return stream(ctx, s, codec.ScanEntry, `SELECT `+codec.EntryColumns+` FROM entries WHERE project = $1 AND session <> 0
		ORDER BY session, payout, no`, text(p))
}

func (s *snapshot) Sessions(ctx context.Context, p id.Project) iter.Seq2[*session.Session, error] {
	return codec.Sessions(stream(ctx, s, codec.ScanSessionWithPayout, codec.SessionsWithPayouts+` WHERE s.project = $1 ORDER BY s.id, p.no`, text(p)))
}

func (s *snapshot) Attempts(ctx context.Context, p id.Project) iter.Seq2[store.Attempt, error] {
	return stream(ctx, s, codec.ScanAttempt, `SELECT `+codec.AttemptColumns+`
		FROM attempts WHERE project = $1 ORDER BY session, payout, no`, text(p))
}

func (s *snapshot) Events(ctx context.Context, p id.Project) iter.Seq2[webhook.Event, error] {
	return stream(ctx, s, func(row codec.Row) (webhook.Event, error) {
		e, err := codec.ScanEvent(row)
		e.Body = nil
		return e, err
	}, `SELECT e.project, e.session, e.n, e.id, e.seq, e.type, '', e.signature, e.status, e.attempts, e.created_at, e.due, e.owner, e.lease
		FROM events e WHERE e.project = $1 ORDER BY e.session, e.n`, text(p))
}

func (s *snapshot) Tasks(ctx context.Context, p id.Project) iter.Seq2[store.Task, error] {
	return stream(ctx, s, codec.ScanTask, `SELECT `+codec.TaskColumns+` FROM tasks t WHERE t.project = $1
		ORDER BY t.session, t.payout, t.kind`, text(p))
}
