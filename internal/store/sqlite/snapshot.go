package sqlite

import (
	"context"
	"database/sql"
	"iter"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Snapshot implements store.Store. While it lasts the log can't be written
// back beyond the state it sees, and grows.
func (s *Store) Snapshot(ctx context.Context, read func(store.Snapshot) error) error {
	return s.snapshot(ctx, func(of snapshot) error { return read(of) })
}

func (s *Store) snapshot(ctx context.Context, read func(snapshot) error) error {
	tx, err := s.snapshots.BeginTx(ctx, nil)
	if err != nil {
		return s.failed(err, "begin a snapshot")
	}
	defer func() { _ = tx.Rollback() }() // there is nothing to commit
	// SQLite takes its view at the first read, not at BEGIN.
	var revision int64
	if err := tx.QueryRowContext(ctx, `SELECT revision FROM projects_revision`).Scan(&revision); err != nil {
		return s.failed(err, "begin a snapshot")
	}
	return read(snapshot{tx})
}

// snapshot is one transaction that reads.
type snapshot struct{ tx querier }

// querier is a *sql.Tx, or the connection of the writer in its transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// stream is the result of a query as the contract gives it out.
func stream[T any](ctx context.Context, tx querier, scan func(codec.Row) (T, error), query string, args ...any) iter.Seq2[T, error] {
	return mapped(func() iter.Seq2[T, error] {
		rows, err := tx.QueryContext(ctx, query, args...)
		return all(rows, err, scan)
	})
}

// mapped starts a sequence when it is walked, and maps its errors.
func mapped[T any](start func() iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for row, err := range start() {
			if err != nil {
				err = failed(err, "read a snapshot")
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

func (s snapshot) Projects(ctx context.Context) ([]partner.Project, error) {
	return codec.Collect(stream(ctx, s.tx, codec.ScanProject, selectProjects))
}

func (s snapshot) Books(ctx context.Context) ([]ledger.Book, error) {
	return codec.Collect(stream(ctx, s.tx, func(row codec.Row) (ledger.Book, error) {
		b, err := codec.ScanBook(row)
		return *b, err
	}, `SELECT `+codec.BookColumns+` FROM books b ORDER BY b.project`))
}

func (s snapshot) Accounts(ctx context.Context, p id.Project) ([]store.Account, error) {
	return codec.Collect(stream(ctx, s.tx, codec.ScanAccount, selectAccounts, p))
}

func (s snapshot) Moved(ctx context.Context, k store.AccountKey) (int64, error) {
	return one(stream(ctx, s.tx, func(row codec.Row) (sum int64, err error) {
		err = row.Scan(&sum)
		return sum, err
	}, selectMoved, k.Project, k.Number))
}

func (s snapshot) Entries(ctx context.Context, p id.Project) iter.Seq2[ledger.Entry, error] {
	return stream(ctx, s.tx, codec.ScanEntry, `SELECT `+codec.EntryColumns+` FROM entries WHERE project = ? ORDER BY no`, p)
}

func (s snapshot) EntriesBySession(ctx context.Context, p id.Project) iter.Seq2[ledger.Entry, error] {
	return stream(ctx, s.tx, codec.ScanEntry, `SELECT `+codec.EntryColumns+` FROM entries WHERE project = ? AND session <> 0
		ORDER BY session, payout, no`, p)
}

func (s snapshot) Sessions(ctx context.Context, p id.Project) iter.Seq2[*session.Session, error] {
	return mapped(func() iter.Seq2[*session.Session, error] {
		rows, err := s.tx.QueryContext(ctx, codec.SessionsWithPayouts+` WHERE s.project = ? ORDER BY s.id, p.no`, p)
		return codec.Sessions(all(rows, err, codec.ScanSessionWithPayout))
	})
}

func (s snapshot) Attempts(ctx context.Context, p id.Project) iter.Seq2[store.Attempt, error] {
	return stream(ctx, s.tx, codec.ScanAttempt, `SELECT `+codec.AttemptColumns+`
		FROM attempts WHERE project = ? ORDER BY session, payout, no`, p)
}

func (s snapshot) Events(ctx context.Context, p id.Project) iter.Seq2[webhook.Event, error] {
	return stream(ctx, s.tx, func(row codec.Row) (webhook.Event, error) {
		e, err := codec.ScanEvent(row)
		e.Body = nil
		return e, err
	}, `SELECT e.project, e.session, e.n, e.id, e.seq, e.type, '', e.signature, e.status, e.attempts, e.created_at, e.due, e.owner, e.lease
		FROM events e WHERE e.project = ? ORDER BY e.session, e.n`, p)
}

func (s snapshot) Tasks(ctx context.Context, p id.Project) iter.Seq2[store.Task, error] {
	return stream(ctx, s.tx, codec.ScanTask, `SELECT `+codec.TaskColumns+` FROM tasks t WHERE t.project = ?
		ORDER BY t.session, t.payout, t.kind`, p)
}
