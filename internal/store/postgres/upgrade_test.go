package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	engine "github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/store/storetest"
)

// A database of every earlier release is brought up with its rows in it, while
// nodes of that release write.
func TestUpgrades(t *testing.T) {
	fresh := func(t *testing.T) store.Bulk {
		url := pgtest.URL(t)
		if err := Migrate(t.Context(), url, nil); err != nil {
			t.Fatal(err)
		}
		return openStore(t, url)
	}
	storetest.RunUpgrades(t, allVersions(t), fresh, func(t *testing.T, version int64) storetest.Old {
		url := pgtest.URL(t)
		config, err := parse(url)
		if err != nil {
			t.Fatal(err)
		}
		p, err := provider(config.ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		if _, err := p.UpTo(t.Context(), version); err != nil {
			t.Fatal(err)
		}
		conn := connectTo(t, url)
		if _, err := conn.Exec(t.Context(), `DELETE FROM projects_revision`); err != nil {
			t.Fatal(err)
		}
		return storetest.Old{
			Insert: func(table string, columns []string, values []any) error {
				_, err := conn.Exec(t.Context(), insertOf(table, columns), values...)
				return err
			},
			Upgrade: func() store.Bulk {
				stop := work(t, url, version)
				err := Migrate(t.Context(), url, nil)
				stop()
				if err != nil {
					t.Fatal(err)
				}
				s := openStore(t, url)
				if r, err := engine.Check(t.Context(), s); err != nil || !r.Clean() || r.Payouts == 0 {
					t.Errorf("the books after the upgrade: %+v, error %v", r, err)
				}
				return s
			},
		}
	})
}

// work writes as nodes of a schema version do, all the time until stop is
// called, and wants no error of it. What it has written it rolls back, so that
// it can be written again and again.
func work(t *testing.T, url string, version int64) (stop func()) {
	t.Helper()
	const nodes = 2
	kept := storetest.Kept(t, version)
	values := map[string][][]any{}
	for name, rows := range kept {
		values[name] = rows.Values(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running, begun sync.WaitGroup
	begun.Add(nodes)
	for n := range nodes {
		conn := connectTo(t, url)
		running.Go(func() {
			first := sync.OnceFunc(begun.Done)
			defer first()
			for ctx.Err() == nil {
				if err := rewrite(conn, kept, values, n); err != nil {
					t.Errorf("a node of schema %d: %v", version, err)
					return
				}
				first()
			}
		})
	}
	begun.Wait()
	return func() { cancel(); running.Wait() }
}

// rewrite changes a project and adds the rows of one of its own, and then takes
// it all back.
func rewrite(conn *pgx.Conn, kept map[string]storetest.Rows, values map[string][][]any, node int) error {
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `UPDATE books SET revision = revision + 1 WHERE project = 'another'`); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		columns := kept[name].Columns
		owner := -1 // the first of the key
		for _, name := range []string{"partner", "inn", "project"} {
			if owner = slices.Index(columns, name); owner >= 0 {
				break
			}
		}
		if owner < 0 || slices.Contains(wholeInstallation, name) {
			continue
		}
		for _, row := range values[name] {
			row = slices.Clone(row)
			row[owner] = fmt.Sprintf("%s of node %d", row[owner], node)
			if _, err := tx.Exec(ctx, insertOf(name, columns), row...); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func insertOf(table string, columns []string) string {
	places := make([]string, len(columns))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(columns, ", "), strings.Join(places, ", "))
}

func openStore(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func connectTo(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// allVersions are those of all migrations.
func allVersions(t *testing.T) (list []int64) {
	t.Helper()
	config, err := parse("postgres://nobody@127.0.0.1/nothing")
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider(config.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	for _, source := range p.ListSources() {
		list = append(list, source.Version)
	}
	return list
}

func TestMigrationsOnlyAdd(t *testing.T) {
	storetest.WantAdditions(t, migrations, true)
}

// A migration that finds a table locked gives up soon: those who come after it
// in the queue of the lock are the nodes at work.
func TestMigrationDoesNotQueue(t *testing.T) {
	url := pgtest.URL(t)
	config, err := parse(url)
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider(config.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if _, err := p.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	busy := connectTo(t, url)
	tx, err := busy.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `CREATE TABLE nodes (n int)`); err != nil {
		t.Fatal(err)
	}
	err = Migrate(t.Context(), url, nil)
	if fault.CodeOf(err) != fault.Busy || sqlState(err) != lockNotAvailable {
		t.Errorf("error %v, want that the lock was not to be had", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), url, nil); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
