package sqlite

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

var _ store.Bulk = (*Store)(nil)

// Dump implements store.Bulk. Nobody else writes, since the file has one owner:
// this process, which is asked to leave it alone meanwhile.
func (s *Store) Dump(ctx context.Context, read func(store.Dump) error) error {
	return s.snapshot(ctx, func(of snapshot) error { return read(of) })
}

// Load implements store.Bulk. The transaction stands in the log until it ends:
// the disk needs room for twice the data.
func (s *Store) Load(ctx context.Context, write func(store.Load) error) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		into := load{snapshot: snapshot{tx: s.writer.conn}, writer: s.writer}
		if err := into.empty(ctx); err != nil {
			return false, err
		}
		return true, write(into)
	})
	if err != nil {
		return failed(err, "fill %s", s.path)
	}
	return nil
}

// Fill implements store.Bulk: a transaction as any other, but a large one.
func (s *Store) Fill(ctx context.Context, c *store.Changes) error {
	return s.Commit(ctx, store.Reads{}, func(*store.Rows) (*store.Changes, error) { return c, nil })
}

const selectTables = `SELECT t.name, c.name, c.pk FROM pragma_table_list t JOIN pragma_table_xinfo(t.name) c
	WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY t.name, c.name`

// Tables implements store.Dump.
func (s snapshot) Tables(ctx context.Context) ([]store.Table, error) {
	var schema codec.Schema
	rows, err := s.tx.QueryContext(ctx, selectTables)
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
func (s snapshot) Rows(ctx context.Context, t store.Table) iter.Seq2[[]any, error] {
	values := make([]any, len(t.Columns))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	return stream(ctx, s.tx, func(row codec.Row) ([]any, error) {
		err := row.Scan(into...)
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				values[i] = codec.Blob(b) // the driver has no empty one
			}
		}
		return values, err
	}, fmt.Sprintf(`SELECT "%s" FROM "%s" ORDER BY "%s"`, strings.Join(t.Columns, `", "`), t.Name, strings.Join(t.Key, `", "`)))
}

// load is a transaction that fills the file.
type load struct {
	snapshot
	writer *writer
}

// empty refuses a file with anything in it, and makes room in the tables that
// have rows from the start.
func (l load) empty(ctx context.Context) error {
	tables, err := l.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if slices.Contains(codec.Seeded, t.Name) {
			if _, err := l.writer.exec(`DELETE FROM "` + t.Name + `"`); err != nil {
				return err
			}
		}
		for _, err := range l.Rows(ctx, t) {
			if err == nil {
				err = fault.New(fault.WrongState, "the database is not empty: the table %s has rows", t.Name)
			}
			return err
		}
	}
	return nil
}

// Append implements store.Load.
func (l load) Append(ctx context.Context, t store.Table, rows iter.Seq2[[]any, error]) error {
	insert := fmt.Sprintf(`INSERT INTO "%s" ("%s") VALUES (?%s)`, t.Name, strings.Join(t.Columns, `", "`), strings.Repeat(", ?", len(t.Columns)-1))
	for row, err := range rows {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			_, err = l.writer.exec(insert, row...)
		}
		if err != nil {
			return failed(err, "fill the table %s", t.Name)
		}
	}
	return nil
}
