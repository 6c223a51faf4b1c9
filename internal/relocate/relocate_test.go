package relocate_test

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/relocate"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/internal/store/storetest"
)

// file is a new SQLite database.
func file(t *testing.T) store.Bulk {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "payoutd.db"))
}

func openFile(t *testing.T, path string) store.Bulk {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// server is a new PostgreSQL database.
func server(t *testing.T) store.Bulk {
	t.Helper()
	return openServer(t, migrated(t))
}

func migrated(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	if err := postgres.Migrate(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	return url
}

func openServer(t *testing.T, url string) store.Bulk {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func run(t *testing.T, from, to store.Bulk) (*relocate.Report, error) {
	t.Helper()
	return relocate.Run(t.Context(), relocate.Options{From: from, To: to, Target: "the new one", Now: time.Now})
}

func mustRun(t *testing.T, from, to store.Bulk) *relocate.Report {
	t.Helper()
	r, err := run(t, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// There and back again: what was in the first file is in the last, row by row,
// but for the leases, which nobody holds any more.
func TestThereAndBack(t *testing.T) {
	first, second, third, fourth, whole := file(t), server(t), server(t), file(t), file(t)
	storetest.Installation(t, first)
	storetest.Installation(t, whole)
	claim(t, first)
	r := mustRun(t, first, second)
	mustRun(t, second, third)
	mustRun(t, third, fourth)

	var tables []string
	for _, of := range r.Tables {
		tables = append(tables, of.Name)
		if of.Rows == 0 {
			t.Errorf("no row of %s", of.Name)
		}
	}
	if !slices.Contains(tables, "deliveries") || slices.Contains(tables, "batches") || r.Rows() == 0 || !r.Books.Clean() {
		t.Errorf("the report says %+v", r)
	}
	if err := relocate.Moved(t.Context(), fourth); err != nil {
		t.Errorf("the target may not be used: %v", err)
	}
	// What the claim has raised is raised in all of them.
	claim(t, whole)
	mustRun(t, whole, file(t))
	storetest.WantSame(t, voided(t, fourth), voided(t, whole))

	for _, s := range []store.Bulk{first, second, third} {
		if err := relocate.Moved(t.Context(), s); fault.CodeOf(err) != fault.WrongState || !strings.Contains(err.Error(), "the new one") {
			t.Errorf("the source may be used again: %v", err)
		}
	}
}

// claim gives leases that end soon to a node.
func claim(t *testing.T, s store.Bulk) {
	t.Helper()
	past := time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC)
	tasks, err := s.ClaimTasks(t.Context(), "n1", past, past, time.Second, 10)
	if err != nil || len(tasks) == 0 {
		t.Fatalf("claimed %d tasks, error %v", len(tasks), err)
	}
	if _, err := s.ClaimEvents(t.Context(), "n1", past, past, time.Second, 10); err != nil {
		t.Fatal(err)
	}
}

// voided is a copy without leases and marks.
func voided(t *testing.T, s store.Bulk) store.Bulk {
	t.Helper()
	to := file(t)
	mustRun(t, s, to)
	return to
}

// Both engines keep the same, or nothing could move between them.
func TestEnginesHaveTheSameTables(t *testing.T) {
	tables := func(s store.Bulk) (list []store.Table) {
		err := s.Dump(t.Context(), func(d store.Dump) (err error) {
			list, err = d.Tables(t.Context())
			return err
		})
		if err != nil || len(list) == 0 {
			t.Fatalf("%d tables, error %v", len(list), err)
		}
		return list
	}
	one, other := tables(file(t)), tables(server(t))
	if !slices.EqualFunc(one, other, func(a, b store.Table) bool {
		return a.Name == b.Name && slices.Equal(a.Columns, b.Columns) && slices.Equal(a.Key, b.Key)
	}) {
		t.Errorf("SQLite has\n%v\nPostgreSQL\n%v", one, other)
	}
}

func TestRefusals(t *testing.T) {
	for _, engine := range []struct {
		name string
		from func(*testing.T) store.Bulk
		to   func(*testing.T) store.Bulk
	}{{"from SQLite", file, server}, {"from PostgreSQL", server, file}} {
		t.Run(engine.name, func(t *testing.T) {
			for _, row := range []struct {
				name string
				from func(*testing.T, store.Bulk)
				to   func(*testing.T, store.Bulk)
				want string
			}{
				{"a target in use", nil, func(t *testing.T, to store.Bulk) { storetest.Installation(t, to) }, "not empty"},
				{"a target with a setting", nil, func(t *testing.T, to store.Bulk) {
					if err := to.PutSetting(t.Context(), "vault_check", []byte("x")); err != nil {
						t.Fatal(err)
					}
				}, "not empty"},
				{"books that are not clean", func(t *testing.T, from store.Bulk) { spoil(t, from) }, nil, "the books of the source are not clean"},
			} {
				t.Run(row.name, func(t *testing.T) {
					from, to := engine.from(t), engine.to(t)
					storetest.Installation(t, from)
					if row.from != nil {
						row.from(t, from)
					}
					if row.to != nil {
						row.to(t, to)
					}
					_, err := run(t, from, to)
					if fault.CodeOf(err) != fault.WrongState || !strings.Contains(err.Error(), row.want) {
						t.Errorf("error %v, want one with %q", err, row.want)
					}
					if err := relocate.Moved(t.Context(), from); err != nil {
						t.Errorf("the source was marked: %v", err)
					}
				})
			}
		})
	}
}

// spoil adds a task that belongs to no payout.
func spoil(t *testing.T, s store.Bulk) {
	t.Helper()
	err := s.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		key := store.TaskKey{SessionKey: store.SessionKey{Project: "shop", Session: 7}, Payout: 8, Kind: store.TaskSend}
		return &store.Changes{Batch: 9, Tasks: []store.Task{{TaskKey: key}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A node that still has a lease may be about to write.
func TestSourceAtWork(t *testing.T) {
	for _, row := range []struct {
		name string
		work func(context.Context, store.Store, time.Time) error
	}{
		{"a task", func(ctx context.Context, s store.Store, now time.Time) error {
			_, err := s.ClaimTasks(ctx, "n1", now, now, time.Minute, 10)
			return err
		}},
		{"an event", func(ctx context.Context, s store.Store, now time.Time) error {
			_, err := s.ClaimEvents(ctx, "n1", now, now, time.Minute, 10)
			return err
		}},
		{"a node number", func(ctx context.Context, s store.Store, now time.Time) error {
			_, err := s.TakeNode(ctx, "n1", now, time.Minute)
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			from, to := server(t), file(t)
			storetest.Installation(t, from)
			if err := row.work(t.Context(), from, time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, err := run(t, from, to); fault.CodeOf(err) != fault.Busy || !strings.Contains(err.Error(), "leases") {
				t.Errorf("error %v, want that leases are held", err)
			}
			wantEmpty(t, to)
		})
	}
}

// Whatever breaks on the way, the target stays empty and the source as it was.
func TestInterrupted(t *testing.T) {
	for _, engine := range []struct {
		name string
		to   func(*testing.T) store.Bulk
	}{{"to SQLite", file}, {"to PostgreSQL", server}} {
		t.Run(engine.name, func(t *testing.T) {
			from := file(t)
			storetest.Installation(t, from)
			broken := errors.New("broken")
			var tables []store.Table
			if err := from.Dump(t.Context(), func(d store.Dump) (err error) { tables, err = d.Tables(t.Context()); return err }); err != nil {
				t.Fatal(err)
			}
			to := engine.to(t)
			for _, table := range tables {
				for name, change := range map[string]func([]any) ([]any, error){
					"reading fails":     func([]any) ([]any, error) { return nil, broken },
					"cannot be written": func(row []any) ([]any, error) { return append(row, 1), nil },
				} {
					source := &altered{Bulk: from, table: table.Name, change: change}
					if _, err := run(t, source, to); err == nil {
						t.Errorf("%s of %s: it went well", name, table.Name)
					}
					wantEmpty(t, to)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			source := &altered{Bulk: from, table: "tasks", change: func(row []any) ([]any, error) { cancel(); return row, nil }}
			if _, err := relocate.Run(ctx, relocate.Options{From: source, To: to, Now: time.Now}); err == nil {
				t.Error("cancelled: it went well")
			}
			wantEmpty(t, to)
			if err := relocate.Moved(t.Context(), from); err != nil {
				t.Errorf("the source was marked: %v", err)
			}
			mustRun(t, from, to)
		})
	}
}

// What comes out of the target other than it went in is found before anything
// is committed.
func TestTargetThatChangesValues(t *testing.T) {
	from, to := file(t), file(t)
	storetest.Installation(t, from)
	for _, table := range []string{"keys", "cards", "deliveries", "entries", "alarms"} {
		for name, change := range map[string]func([]any) ([]any, error){
			"another value": func(row []any) ([]any, error) {
				row = slices.Clone(row)
				for i, v := range row {
					if s, ok := v.(string); ok {
						row[i] = s + " "
						return row, nil
					}
				}
				return row, nil
			},
			"a row that is gone": func([]any) ([]any, error) { return nil, nil },
		} {
			target := &altered{Bulk: to, table: table, change: change}
			if _, err := run(t, from, target); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), table+" came out different") {
				t.Errorf("%s in %s: error %v", name, table, err)
			}
			wantEmpty(t, to)
		}
	}
}

func wantEmpty(t *testing.T, s store.Bulk) {
	t.Helper()
	if err := s.Load(t.Context(), func(store.Load) error { return errStop }); !errors.Is(err, errStop) {
		t.Errorf("the target is not empty: %v", err)
	}
}

var errStop = errors.New("stop")

// altered is a store in which a table reads differently. A row that becomes nil
// is left out.
type altered struct {
	store.Bulk
	table  string
	change func([]any) ([]any, error)
}

func (a *altered) Dump(ctx context.Context, read func(store.Dump) error) error {
	return a.Bulk.Dump(ctx, func(d store.Dump) error { return read(alteredDump{d, a}) })
}

func (a *altered) Load(ctx context.Context, write func(store.Load) error) error {
	return a.Bulk.Load(ctx, func(l store.Load) error { return write(alteredLoad{l, a}) })
}

type alteredDump struct {
	store.Dump
	of *altered
}

func (d alteredDump) Rows(ctx context.Context, t store.Table) iter.Seq2[[]any, error] {
	return d.of.rows(t, d.Dump.Rows(ctx, t))
}

type alteredLoad struct {
	store.Load
	of *altered
}

func (l alteredLoad) Rows(ctx context.Context, t store.Table) iter.Seq2[[]any, error] {
	return l.of.rows(t, l.Load.Rows(ctx, t))
}

func (a *altered) rows(t store.Table, rows iter.Seq2[[]any, error]) iter.Seq2[[]any, error] {
	if t.Name != a.table {
		return rows
	}
	return func(yield func([]any, error) bool) {
		for row, err := range rows {
			if err == nil {
				row, err = a.change(row)
			}
			if row == nil && err == nil {
				continue
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// A value that PostgreSQL can't hold stops the copy, and the message says where
// it stands.
func TestTextThatTheTargetCannotHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payoutd.db")
	from, err := sqlite.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Installation(t, from)
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE keys SET answer = 'a' || char(0) || 'b'`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	to := server(t)
	if _, err := run(t, openFile(t, path), to); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "the table keys") {
		t.Errorf("error %v, want one about the table keys", err)
	}
	wantEmpty(t, to)
}

// A node that starts on the target while it is being filled must not take it
// for a new installation.
func TestNobodySeesHalfOfIt(t *testing.T) {
	from, url := file(t), migrated(t)
	storetest.Installation(t, from)
	to := openServer(t, url)
	other, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close(context.WithoutCancel(t.Context())) })
	looked := false
	source := &altered{Bulk: from, table: "tasks", change: func(row []any) ([]any, error) {
		if !looked {
			looked = true
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var n int
			if err := other.QueryRow(ctx, `SELECT count(*) FROM settings`).Scan(&n); err == nil {
				t.Errorf("a node sees %d settings of a copy under way", n)
			}
		}
		return row, nil
	}}
	mustRun(t, source, to)
	if !looked {
		t.Error("nobody looked")
	}
}
