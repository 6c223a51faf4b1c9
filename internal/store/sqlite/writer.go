package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
)

// errClosed answers calls after Close.
var errClosed = errors.New("the store is closed")

// writer is the one connection that writes. Transactions take turns in the
// order of asking.
type writer struct {
	db     *sql.DB
	log    *slog.Logger
	turn   chan struct{} // holds one token while somebody's turn lasts
	closed chan struct{}

	// These belong to whose turn it is.
	conn       *sql.Conn            // nil before the first use, and after a failure
	statements map[string]*sql.Stmt // prepared on conn, by their text
}

func newWriter(db *sql.DB, log *slog.Logger) *writer {
	return &writer{db: db, log: log, turn: make(chan struct{}, 1), closed: make(chan struct{})}
}

// errCommit marks an error of the COMMIT itself: what was written is unknown.
type errCommit struct{ error }

func (e errCommit) Unwrap() error { return e.error }

// transact runs do in a transaction, and commits if do says so. The context
// bounds the wait for the turn; what has begun is not interrupted, so that a
// caller who gives up leaves no half-known outcome behind.
func (w *writer) transact(ctx context.Context, do func() (write bool, err error)) (err error) {
	if w.stopped() {
		return errClosed
	}
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closed:
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		w.drop()
		return err
	}
	ended := false
	defer func() { // in a panic of do as well
		if !ended {
			w.rollback()
		}
	}()
	write, err := do()
	if err != nil || !write {
		return err
	}
	if _, err := w.exec("COMMIT"); err != nil {
		return errCommit{err}
	}
	ended = true
	return nil
}

// rollback ends the transaction. Some failures have ended it already and make
// ROLLBACK fail; a new connection is right then too.
func (w *writer) rollback() {
	if _, err := w.exec("ROLLBACK"); err != nil {
		w.log.Warn("connection to the database replaced", "error", err)
		w.drop()
	}
}

// exec runs one statement without a result and tells how many rows it changed.
func (w *writer) exec(query string, args ...any) (changed int64, err error) {
	stmt, err := w.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query runs one statement with a result.
func (w *writer) query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := w.prepare(query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(context.Background(), args...)
}

func (w *writer) prepare(query string) (*sql.Stmt, error) {
	if stmt, ok := w.statements[query]; ok {
		return stmt, nil
	}
	if w.conn == nil {
		conn, err := w.db.Conn(context.Background())
		if err != nil {
			return nil, err
		}
		w.conn, w.statements = conn, make(map[string]*sql.Stmt)
	}
	stmt, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	w.statements[query] = stmt
	return stmt, nil
}

// drop closes the connection for good, which rolls back what it had begun; the
// next statement opens another.
func (w *writer) drop() {
	if w.conn == nil {
		return
	}
	for _, stmt := range w.statements {
		_ = stmt.Close()
	}
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = w.conn.Close()
	w.conn, w.statements = nil, nil
}

// stop turns away all that have no turn yet.
func (w *writer) stop() { close(w.closed) }

func (w *writer) stopped() bool {
	select {
	case <-w.closed:
		return true
	default:
		return false
	}
}

// close, after stop, waits for the turn and keeps it.
func (w *writer) close() error {
	w.turn <- struct{}{}
	w.drop()
	return w.db.Close()
}
