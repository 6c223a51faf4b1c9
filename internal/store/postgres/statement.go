package postgres

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

// The first parameter is the rail of each row.
var upsertStatements = guarded(`INSERT INTO statements AS s (` + codec.StatementColumns + `)
	SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bigint[])
	ON CONFLICT (rail, id) DO UPDATE SET state = excluded.state, summary = excluded.summary
	WHERE s.number = excluded.number AND s.print = excluded.print`)

const (
	insertLines = `INSERT INTO statement_lines (project, rail, reference, statement, no, kind, rail_id, minor, currency, at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::text[], $10::bigint[])
		ON CONFLICT DO NOTHING`
	insertDifferences = `INSERT INTO statement_differences (` + codec.DifferenceColumns + `)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
			$10::bigint[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::bigint[])`

	selectStatement   = `SELECT ` + codec.StatementColumns + ` FROM statements WHERE number = $1`
	statementsOfRail  = `SELECT ` + codec.StatementColumns + ` FROM statements WHERE rail = $1 ORDER BY from_at, to_at, number LIMIT $2`
	newestStatements  = `SELECT ` + codec.StatementColumns + ` FROM statements ORDER BY number DESC LIMIT $1`
	selectDifferences = `SELECT ` + codec.DifferenceColumns + ` FROM statement_differences WHERE statement = $1 ORDER BY no`
	linesAbout        = `SELECT ` + codec.LineColumns + ` FROM unnest($1::text[], $2::text[], $3::text[]) k (project, rail, reference)
		JOIN statement_lines l ON l.project = k.project AND l.rail = k.rail AND l.reference = k.reference
		ORDER BY l.project, l.reference, l.statement, l.no`
	selectMovements = codec.Movements + ` WHERE e.project = $1 AND e.no >= $2 AND e.no < $3
		AND e.rail = $4 AND e.clearing <> 0 AND e.at >= $5 AND e.at < $6 ORDER BY e.no`
)

func writeStatements(b *pgx.Batch, list []store.Statement) error {
	if len(list) == 0 {
		return nil
	}
	type key struct{ rail, id string }
	list = last(list, func(s store.Statement) key { return key{s.Rail, s.ID} }, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.rail, b.rail), cmp.Compare(a.id, b.id))
	})
	rows := make([][]any, len(list))
	for i, s := range list {
		var err error
		if rows[i], err = codec.StatementRow(s); err != nil {
			return failed(err, "write %s", s.Number)
		}
	}
	b.Queue(upsertStatements, of[string](rows, 0), of[string](rows, 1), of[int64](rows, 2), of[[]byte](rows, 3), of[int64](rows, 4),
		of[int64](rows, 5), of[string](rows, 6), of[string](rows, 7), of[int64](rows, 8))
	return nil
}

func writeLines(b *pgx.Batch, lines []store.StatementLine) {
	if len(lines) == 0 {
		return
	}
	lines = slices.SortedStableFunc(slices.Values(lines), func(a, b store.StatementLine) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Rail, b.Rail), cmp.Compare(a.Reference, b.Reference),
			cmp.Compare(a.Statement, b.Statement), cmp.Compare(a.No, b.No))
	})
	rows := column(lines, codec.LineRow)
	b.Queue(insertLines, of[string](rows, 0), of[string](rows, 1), of[string](rows, 2), of[int64](rows, 3), of[int64](rows, 4),
		of[string](rows, 5), of[string](rows, 6), of[int64](rows, 7), of[string](rows, 8), of[int64](rows, 9))
}

func writeDifferences(b *pgx.Batch, list []store.Difference) {
	if len(list) == 0 {
		return
	}
	rows := column(list, codec.DifferenceRow)
	b.Queue(insertDifferences, of[int64](rows, 0), of[int64](rows, 1), of[string](rows, 2), of[string](rows, 3), of[int64](rows, 4),
		of[int64](rows, 5), of[int64](rows, 6), of[string](rows, 7), of[string](rows, 8), of[int64](rows, 9), of[string](rows, 10),
		of[int64](rows, 11), of[string](rows, 12), of[string](rows, 13), of[int64](rows, 14))
}

// of is one column of rows in the form of package codec.
func of[V any](rows [][]any, n int) []V {
	return column(rows, func(row []any) V { return row[n].(V) })
}

// Statement implements store.Store.
func (s *Store) Statement(ctx context.Context, n id.Statement) (store.Statement, error) {
	found, err := first(ctx, s, codec.ScanStatement, selectStatement, int64(n))
	if err != nil {
		return store.Statement{}, failed(err, "read %s", n)
	}
	return found, nil
}

// StatementsOf implements store.Store.
func (s *Store) StatementsOf(ctx context.Context, rail string, limit int) ([]store.Statement, error) {
	query, args := statementsOfRail, []any{rail, max(limit, 0)}
	if rail == "" {
		query, args = newestStatements, args[1:]
	}
	found, err := list(ctx, s, codec.ScanStatement, query, args...)
	if err != nil {
		return nil, failed(err, "read the statements of %q", rail)
	}
	return found, nil
}

// Differences implements store.Store.
func (s *Store) Differences(ctx context.Context, n id.Statement) ([]store.Difference, error) {
	found, err := list(ctx, s, codec.ScanDifference, selectDifferences, int64(n))
	if err != nil {
		return nil, failed(err, "read the differences of %s", n)
	}
	return found, nil
}

// LinesAbout implements store.Store.
func (s *Store) LinesAbout(ctx context.Context, rail string, payments []store.PaymentKey) ([]store.StatementLine, error) {
	keys := distinct(payments, func(a, b store.PaymentKey) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Reference, b.Reference))
	})
	lines, err := list(ctx, s, codec.ScanLine, linesAbout,
		column(keys, func(k store.PaymentKey) string { return text(k.Project) }),
		column(keys, func(store.PaymentKey) string { return rail }), // as a key, so that the planner looks up
		column(keys, func(k store.PaymentKey) string { return k.Reference }))
	if err != nil {
		return nil, failed(err, "read lines of statements of %s", rail)
	}
	return lines, nil
}

func (s *snapshot) AllStatements(ctx context.Context) iter.Seq2[store.Statement, error] {
	return stream(ctx, s, codec.ScanStatement, `SELECT `+codec.StatementColumns+` FROM statements ORDER BY rail, id`)
}

func (s *snapshot) AllDifferences(ctx context.Context) iter.Seq2[store.Difference, error] {
	return stream(ctx, s, codec.ScanDifference, `SELECT `+codec.DifferenceColumns+` FROM statement_differences ORDER BY statement, no`)
}

func (s *snapshot) StatementLines(ctx context.Context, p id.Project) iter.Seq2[store.StatementLine, error] {
	return stream(ctx, s, codec.ScanLine, `SELECT `+codec.LineColumns+` FROM statement_lines l WHERE l.project = $1
		ORDER BY l.rail, l.reference, l.statement, l.no`, text(p))
}

func (s *snapshot) Movements(ctx context.Context, p id.Project, rail string, from, to time.Time) iter.Seq2[store.Movement, error] {
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
		stream(ctx, s, codec.ScanMovement, selectMovements, text(p), first, end, rail, codec.Micros(from), codec.Micros(to))(yield)
	}
}

func (s *snapshot) firstEntry(ctx context.Context, p id.Project, from time.Time) (int64, error) {
	var last int64
	if err := s.conn.QueryRow(ctx, `SELECT coalesce(max(no), 0) FROM entries WHERE project = $1`,
		pgx.QueryExecModeExec, text(p)).Scan(&last); err != nil {
		return 0, err
	}
	return codec.FirstEntry(last, from, func(no int64) (time.Time, error) {
		var micros int64
		err := s.conn.QueryRow(ctx, `SELECT at FROM entries WHERE project = $1 AND no = $2`, pgx.QueryExecModeExec, text(p), no).Scan(&micros)
		return codec.Instant(micros), err
	})
}
