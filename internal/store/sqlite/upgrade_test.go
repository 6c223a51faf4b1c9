package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/storetest"
)

// A file of every earlier release is brought up with its rows in it.
func TestUpgrades(t *testing.T) {
	fresh := func(t *testing.T) store.Bulk { return opened(t, filepath.Join(t.TempDir(), "payoutd.db")) }
	storetest.RunUpgrades(t, versions(t), fresh, func(t *testing.T, version int64) storetest.Old {
		path := filepath.Join(t.TempDir(), "payoutd.db")
		lock, err := hold(path)
		if err != nil {
			t.Fatal(err)
		}
		_ = lock.Close()
		db, err := connect(path, "rw", writerPragmas, 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		p, err := provider(db)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.UpTo(t.Context(), version); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `DELETE FROM projects_revision`); err != nil {
			t.Fatal(err)
		}
		return storetest.Old{
			Insert: func(table string, columns []string, values []any) error {
				_, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)",
					table, strings.Join(columns, ", "), strings.Repeat(", ?", len(columns)-1)), values...)
				return err
			},
			Upgrade: func() store.Bulk {
				s := opened(t, path)
				if r, err := payout.Check(t.Context(), s); err != nil || !r.Clean() || r.Payouts == 0 {
					t.Errorf("the books after the upgrade: %+v, error %v", r, err)
				}
				return s
			},
		}
	})
}

func opened(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// versions are those of all migrations.
func versions(t *testing.T) (list []int64) {
	t.Helper()
	db, err := connect(filepath.Join(t.TempDir(), "unused.db"), "rw", nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	p, err := provider(db)
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range p.ListSources() {
		list = append(list, source.Version)
	}
	return list
}

// A file that a newer release has brought up is left alone.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payoutd.db")
	s := opened(t, path)
	if _, err := s.writer.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"open":    func() error { _, err := Open(t.Context(), path, nil); return err },
		"migrate": func() error { return Migrate(t.Context(), path) },
	} {
		if err := do(); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "run a newer payoutd") {
			t.Errorf("%s: error %v, want one that asks for a newer program", name, err)
		}
	}
}

func TestMigrationsOnlyAdd(t *testing.T) {
	storetest.WantAdditions(t, migrations, false)
}
