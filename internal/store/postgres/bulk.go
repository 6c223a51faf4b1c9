package postgres

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

var _ store.Bulk = (*Store)(nil)

// Dump implements store.Bulk.
func (s *Store) Dump(ctx context.Context, read func(store.Dump) error) error {
	// SHARE lets everybody read and nobody write.
	return s.alone(ctx, "SHARE", func(_ *transaction, of *bulk) error { return read(of) })
}

// Load implements store.Bulk.
func (s *Store) Load(ctx context.Context, write func(store.Load) error) error {
	// A node that starts on the database meanwhile must not read it as empty,
	// and make keys and settings of its own.
	return s.alone(ctx, "ACCESS EXCLUSIVE", func(t *transaction, into *bulk) error {
		if err := into.empty(ctx); err != nil {
			return err
		}
		if err := write(into); err != nil {
			return err
		}
		_, err := t.conn.Exec(context.WithoutCancel(ctx), "COMMIT")
		switch {
		case err == nil:
			t.open = false
			return nil
		case t.conn.IsClosed() && !pgconn.SafeToRetry(err):
			return fmt.Errorf("fill %s: %w: %w", s.name, store.ErrUnknown, err)
		}
		return failed(err, "fill %s", s.name)
	})
}

// alone runs do in a transaction that has all tables locked in a mode, so that
// every statement sees the same.
func (s *Store) alone(ctx context.Context, mode string, do func(*transaction, *bulk) error) error {
	conn, err := s.acquire(ctx, s.snapshots)
	if err != nil {
		return failed(err, "connect to %s", s.name)
	}
	defer conn.Release()
	t := &transaction{conn: conn.Conn(), store: s}
	defer t.end(ctx)
	b := new(pgx.Batch)
	b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	b.Queue("SET LOCAL idle_in_transaction_session_timeout = 0")
	b.Queue("SET LOCAL statement_timeout = 0")
	b.Queue("SET LOCAL lock_timeout = '10s'") // a vacuum makes room within a second
	if err := s.checked(ctx, conn, t.send(ctx, b)); err != nil {
		return failed(err, "read %s", s.name)
	}
	of := &bulk{snapshot{conn: conn.Conn()}}
	tables, err := of.everything(ctx)
	if err != nil {
		return failed(err, "read the schema of %s", s.name)
	}
	b = new(pgx.Batch)
	b.Queue("LOCK TABLE " + strings.Join(tables, ", ") + " IN " + mode + " MODE")
	if err := s.checked(ctx, conn, t.send(ctx, b)); err != nil {
		if sqlState(err) == lockNotAvailable {
			return fault.Wrap(fault.Busy, err, "%s is in use: stop all nodes and commands first", s.name)
		}
		return failed(err, "lock the tables of %s", s.name)
	}
	var leases int64
	if err := of.conn.QueryRow(ctx, selectLeases).Scan(&leases); err != nil {
		return failed(err, "look for nodes at work with %s", s.name)
	}
	if leases > 0 {
		return fault.New(fault.Busy, "%s is in use: nodes hold %d leases; stop them; a node that was killed holds some for 10 seconds, and its number for an hour", s.name, leases)
	}
	return do(t, of)
}

const (
	// Leases go by the real time, as the nodes have it; that of the server is
	// near enough for a question that is asked when all nodes have stopped.
	selectLeases = `SELECT count(*) FROM (
			SELECT lease FROM tasks UNION ALL SELECT lease FROM events WHERE status = 'pending' UNION ALL SELECT lease FROM nodes
		) l WHERE l.lease > extract(epoch FROM clock_timestamp()) * 1000000`
	selectTables = `SELECT c.relname, a.attname, coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)
		FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		ORDER BY c.relname COLLATE "C", a.attname COLLATE "C"`
)

// bulk is a transaction that has the database to itself.
type bulk struct{ snapshot }

// everything is all tables, those that are no part of the data among them.
func (b *bulk) everything(ctx context.Context) ([]string, error) {
	rows, err := b.conn.Query(ctx, `SELECT quote_ident(c.relname) FROM pg_class c
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		ORDER BY c.relname`)
	return codec.Collect(all(rows, err, func(row codec.Row) (name string, err error) { return name, row.Scan(&name) }))
}

// Tables implements store.Dump.
func (b *bulk) Tables(ctx context.Context) ([]store.Table, error) {
	var schema codec.Schema
	rows, err := b.conn.Query(ctx, selectTables)
	for _, err := range all(rows, err, func(row codec.Row) (_ struct{}, err error) {
		var (
			table, column string
			key           int
		)
		if err = row.Scan(&table, &column, &key); err == nil && !slices.Contains(codec.Apart, table) {
			schema.Add(table, column, key)
		}
		return struct{}{}, err
	}) {
		if err != nil {
			return nil, failed(err, "read the schema")
		}
	}
	return schema.Tables(), nil
}

// Rows implements store.Dump.
func (b *bulk) Rows(ctx context.Context, t store.Table) iter.Seq2[[]any, error] {
	return stream(ctx, &b.snapshot, func(row codec.Row) ([]any, error) {
		values := make([]any, len(t.Columns))
		into := make([]any, len(values))
		for i := range values {
			into[i] = &values[i]
		}
		err := row.Scan(into...)
		for i, v := range values {
			if small, ok := v.(int16); ok {
				values[i] = int64(small)
			}
		}
		return values, err
	}, fmt.Sprintf("SELECT %s FROM %s ORDER BY %s", names(t.Columns), pgx.Identifier{t.Name}.Sanitize(), names(t.Key)))
}

// names are those of columns as a statement takes them.
func names(list []string) string {
	return strings.Join(column(list, func(name string) string { return pgx.Identifier{name}.Sanitize() }), ", ")
}

// empty refuses a database with anything in it, and makes room in the tables
// that have rows from the start.
func (b *bulk) empty(ctx context.Context) error {
	tables, err := b.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		name := pgx.Identifier{t.Name}.Sanitize()
		if slices.Contains(codec.Seeded, t.Name) {
			if _, err := b.conn.Exec(ctx, "DELETE FROM "+name); err != nil {
				return failed(err, "empty the table %s", t.Name)
			}
		}
		var filled bool
		if err := b.conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+name+")").Scan(&filled); err != nil {
			return failed(err, "read the table %s", t.Name)
		}
		if filled {
			return fault.New(fault.WrongState, "the database is not empty: the table %s has rows", t.Name)
		}
	}
	return nil
}

// Append implements store.Load. What the planner knows of the table is brought
// up, so that reading it afterwards is not planned for an empty one.
func (b *bulk) Append(ctx context.Context, t store.Table, rows iter.Seq2[[]any, error]) error {
	next, stop := iter.Pull2(rows)
	defer stop()
	var refused error // COPY keeps the words of it only
	_, err := b.conn.CopyFrom(ctx, pgx.Identifier{t.Name}, t.Columns, pgx.CopyFromFunc(func() ([]any, error) {
		row, err, ok := next()
		if !ok {
			return nil, nil
		}
		refused = err
		return row, err
	}))
	if refused != nil {
		err = refused
	}
	if err == nil {
		_, err = b.conn.Exec(ctx, "ANALYZE "+pgx.Identifier{t.Name}.Sanitize())
	}
	if err != nil {
		return failed(err, "fill the table %s", t.Name)
	}
	return nil
}
