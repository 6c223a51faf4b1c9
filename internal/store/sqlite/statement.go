package sqlite

import (
	"context"
	"iter"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	upsertStatement = `INSERT INTO statements (` + codec.StatementColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (rail, id) DO UPDATE SET state = excluded.state, summary = excluded.summary
		WHERE number = excluded.number AND print = excluded.print`
	insertLine = `INSERT INTO statement_lines (project, rail, reference, statement, no, kind, rail_id, minor, currency, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
	insertDifference = `INSERT INTO statement_differences (` + codec.DifferenceColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	selectStatement   = `SELECT ` + codec.StatementColumns + ` FROM statements WHERE number = ?`
	statementsOfRail  = `SELECT ` + codec.StatementColumns + ` FROM statements WHERE rail = ? ORDER BY from_at, to_at, number LIMIT ?`
	newestStatements  = `SELECT ` + codec.StatementColumns + ` FROM statements ORDER BY number DESC LIMIT ?`
	selectDifferences = `SELECT ` + codec.DifferenceColumns + ` FROM statement_differences WHERE statement = ? ORDER BY no`
	linesAbout        = `SELECT ` + codec.LineColumns + ` FROM json_each(?) k
		CROSS JOIN statement_lines l ON l.project = k.value->>0 AND l.rail = ? AND l.reference = k.value->>1
		ORDER BY l.project, l.reference, l.statement, l.no`
	selectMovements = codec.Movements + ` WHERE e.project = ? AND e.no >= ? AND e.no < ?
		AND e.rail = ? AND e.clearing <> 0 AND e.at >= ? AND e.at < ? ORDER BY e.no`
)

func (w *writer) writeStatement(s store.Statement) error {
	row, err := codec.StatementRow(s)
	if err == nil {
		err = w.guarded(upsertStatement, row...)
	}
	if err != nil {
		return failed(err, "write %s", s.Number)
	}
	return nil
}

func (w *writer) writeLine(l store.StatementLine) error {
	if _, err := w.exec(insertLine, codec.LineRow(l)...); err != nil {
		return failed(err, "write line %d of %s", l.No, l.Statement)
	}
	return nil
}

func (w *writer) writeDifference(d store.Difference) error {
	if _, err := w.exec(insertDifference, codec.DifferenceRow(d)...); err != nil {
		return failed(err, "write difference %d of %s", d.No, d.Statement)
	}
	return nil
}

// Statement implements store.Store.
func (s *Store) Statement(ctx context.Context, n id.Statement) (store.Statement, error) {
	rows, err := s.readers.QueryContext(ctx, selectStatement, n)
	found, err := one(all(rows, err, codec.ScanStatement))
	if err != nil {
		return store.Statement{}, s.failed(err, "read %s", n)
	}
	return found, nil
}

// StatementsOf implements store.Store.
func (s *Store) StatementsOf(ctx context.Context, rail string, limit int) ([]store.Statement, error) {
	query, args := statementsOfRail, []any{rail, max(limit, 0)}
	if rail == "" {
		query, args = newestStatements, args[1:]
	}
	rows, err := s.readers.QueryContext(ctx, query, args...)
	list, err := codec.Collect(all(rows, err, codec.ScanStatement))
	if err != nil {
		return nil, s.failed(err, "read the statements of %q", rail)
	}
	return list, nil
}

// Differences implements store.Store.
func (s *Store) Differences(ctx context.Context, n id.Statement) ([]store.Difference, error) {
	rows, err := s.readers.QueryContext(ctx, selectDifferences, n)
	list, err := codec.Collect(all(rows, err, codec.ScanDifference))
	if err != nil {
		return nil, s.failed(err, "read the differences of %s", n)
	}
	return list, nil
}

// LinesAbout implements store.Store.
func (s *Store) LinesAbout(ctx context.Context, rail string, payments []store.PaymentKey) ([]store.StatementLine, error) {
	keys, err := list(distinct(payments, func(k store.PaymentKey) any { return [2]any{k.Project, k.Reference} }))
	if err != nil {
		return nil, failed(err, "read lines of statements of %s", rail)
	}
	rows, err := s.readers.QueryContext(ctx, linesAbout, keys, rail)
	lines, err := codec.Collect(all(rows, err, codec.ScanLine))
	if err != nil {
		return nil, s.failed(err, "read lines of statements of %s", rail)
	}
	return lines, nil
}

func (s snapshot) AllStatements(ctx context.Context) iter.Seq2[store.Statement, error] {
	return stream(ctx, s.tx, codec.ScanStatement, `SELECT `+codec.StatementColumns+` FROM statements ORDER BY rail, id`)
}

func (s snapshot) AllDifferences(ctx context.Context) iter.Seq2[store.Difference, error] {
	return stream(ctx, s.tx, codec.ScanDifference, `SELECT `+codec.DifferenceColumns+` FROM statement_differences ORDER BY statement, no`)
}

func (s snapshot) StatementLines(ctx context.Context, p id.Project) iter.Seq2[store.StatementLine, error] {
	return stream(ctx, s.tx, codec.ScanLine, `SELECT `+codec.LineColumns+` FROM statement_lines l WHERE l.project = ?
		ORDER BY l.rail, l.reference, l.statement, l.no`, p)
}

func (s snapshot) Movements(ctx context.Context, p id.Project, rail string, from, to time.Time) iter.Seq2[store.Movement, error] {
	return func(yield func(store.Movement, error) bool) {
		first, err := s.firstEntry(ctx, p, from)
		var end int64
		if err == nil {
			end, err = s.firstEntry(ctx, p, to.Add(2*codec.Skew))
		}
		if err != nil {
			yield(store.Movement{}, failed(err, "find the entries of %s in a period", p))
			return
		}
		stream(ctx, s.tx, codec.ScanMovement, selectMovements, p, first, end, rail, codec.Micros(from), codec.Micros(to))(yield)
	}
}

func (s snapshot) firstEntry(ctx context.Context, p id.Project, from time.Time) (int64, error) {
	number := func(query string, args ...any) (int64, error) {
		rows, err := s.tx.QueryContext(ctx, query, args...)
		return one(all(rows, err, func(row codec.Row) (n int64, err error) { return n, row.Scan(&n) }))
	}
	last, err := number(`SELECT coalesce(max(no), 0) FROM entries WHERE project = ?`, p)
	if err != nil {
		return 0, err
	}
	return codec.FirstEntry(last, from, func(no int64) (time.Time, error) {
		micros, err := number(`SELECT at FROM entries WHERE project = ? AND no = ?`, p, no)
		return codec.Instant(micros), err
	})
}
