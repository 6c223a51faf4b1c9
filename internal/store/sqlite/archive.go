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
	selectLooked = `SELECT ` + codec.LookedColumns + ` FROM sessions WHERE project = ? AND id > ? ORDER BY id LIMIT ?`

	insertArchive  = `INSERT INTO archives (` + codec.ArchiveColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?)`
	insertArchived = `INSERT INTO archived (` + codec.ArchivedColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	selectArchived = `SELECT ` + codec.ArchivedColumns + ` FROM archived WHERE project = ? AND session = ?`
	archivedAmong  = `SELECT ` + codec.ArchivedColumns + ` FROM archived WHERE project = ? AND session IN (SELECT value FROM json_each(?))`
	tasksAmong     = `SELECT DISTINCT session FROM tasks WHERE project = ? AND session IN (SELECT value FROM json_each(?))`
	lastEntry      = `SELECT entries FROM books WHERE project = ?`
	deleteCards    = `DELETE FROM cards WHERE project = ? AND id IN (SELECT value FROM json_each(?))`
)

// ofSessions are the rows of a table that some sessions have.
func ofSessions(t *codec.RecordTable) string {
	return ` FROM ` + t.Name + ` WHERE project = ? AND ` + t.Session + ` IN (SELECT value FROM json_each(?))`
}

// Aged implements store.Store.
func (s *Store) Aged(ctx context.Context, p id.Project, after id.Session, before time.Time, limit int) (aged []store.Dossier, last id.Session, err error) {
	err = s.snapshot(ctx, func(of snapshot) error {
		looked, err := codec.Collect(stream(ctx, of.tx, codec.ScanLooked, selectLooked, p, after, max(limit, 0)))
		if err != nil {
			return err
		}
		var wanted []int64
		if wanted, last = codec.Aged(looked, before); len(wanted) == 0 {
			return nil
		}
		numbers, err := list(wanted)
		if err != nil {
			return err
		}
		tables := make([][][]any, len(codec.RecordTables))
		for i := range codec.RecordTables {
			t := &codec.RecordTables[i]
			if tables[i], err = codec.Collect(stream(ctx, of.tx, t.Scan, `SELECT `+t.Columns+ofSessions(t), p, numbers)); err != nil {
				return err
			}
		}
		aged, err = codec.Dossiers(tables)
		return err
	})
	if err != nil {
		return nil, 0, failed(err, "read sessions of %s that have ended", p)
	}
	return aged, last, nil
}

// AddArchive implements store.Store.
func (s *Store) AddArchive(ctx context.Context, a store.Archive) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		_, err := s.writer.exec(insertArchive, codec.ArchiveRow(a)...)
		return true, err
	})
	if err != nil {
		return failed(err, "write down the archive %s", a.Number)
	}
	return nil
}

// TakeOut implements store.Store. What turns out to have to stay rolls the
// removal back, and the rest is removed anew.
func (s *Store) TakeOut(ctx context.Context, p id.Project, sessions []store.Leaving) (left []id.Session, err error) {
	for again := true; again; {
		err := s.writer.transact(ctx, func() (bool, error) {
			var stay []id.Session
			var err error
			sessions, stay, err = s.writer.takeOut(p, sessions)
			left = append(left, stay...)
			again = len(stay) > 0 && len(sessions) > 0
			return len(stay) == 0, err
		})
		if err != nil {
			return nil, failed(err, "take sessions of %s out", p)
		}
	}
	return left, nil
}

// takeOut removes sessions and says which of them could go. If any must stay, the
// caller rolls back.
func (w *writer) takeOut(p id.Project, leaving []store.Leaving) (going []store.Leaving, stay []id.Session, err error) {
	numbers, err := list(codec.SessionsOf(leaving))
	if err != nil {
		return nil, nil, err
	}
	before, err := queried(w, codec.ScanArchived, archivedAmong, p, numbers)
	if err != nil {
		return nil, nil, err
	}
	if going, stay = codec.Going(leaving, before, nil); len(stay) > 0 || len(going) == 0 {
		return going, stay, nil
	}
	if numbers, err = list(codec.SessionsOf(going)); err != nil {
		return nil, nil, err
	}
	busy, err := queried(w, func(row codec.Row) (n id.Session, err error) { err = row.Scan(&n); return n, err }, tasksAmong, p, numbers)
	if err != nil {
		return nil, nil, err
	}
	tables := make([][][]any, len(codec.RecordTables))
	for i := range codec.RecordTables {
		t := &codec.RecordTables[i]
		if tables[i], err = queried(w, t.Scan, `DELETE`+ofSessions(t)+` RETURNING `+t.Columns, p, numbers); err != nil {
			return nil, nil, err
		}
	}
	if stay, err = codec.Stay(going, tables, busy); err != nil {
		return nil, nil, err
	}
	if len(stay) > 0 {
		going, stay = codec.Going(going, nil, stay)
		return going, stay, nil
	}
	cards, err := list(codec.CardsOf(going))
	if err != nil {
		return nil, nil, err
	}
	if _, err := w.exec(deleteCards, p, cards); err != nil {
		return nil, nil, err
	}
	rows, err := w.query(lastEntry, p)
	entry, err := one(all(rows, err, func(row codec.Row) (n int64, err error) { err = row.Scan(&n); return n, err }))
	if err != nil {
		return nil, nil, err
	}
	for i := range going {
		a := going[i].Archived
		a.Entry = entry
		row, err := codec.ArchivedRow(a)
		if err != nil {
			return nil, nil, err
		}
		if _, err := w.exec(insertArchived, row...); err != nil {
			return nil, nil, err
		}
	}
	return going, nil, nil
}

// queried are all rows of a query within the writer's transaction.
func queried[T any](w *writer, scan func(codec.Row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := w.query(query, args...)
	return codec.Collect(all(rows, err, scan))
}

// Archived implements store.Store.
func (s *Store) Archived(ctx context.Context, k store.SessionKey) (store.Archived, error) {
	rows, err := s.readers.QueryContext(ctx, selectArchived, k.Project, k.Session)
	a, err := one(all(rows, err, codec.ScanArchived))
	if err != nil {
		return store.Archived{}, s.failed(err, "read what stays of %s", k.Session)
	}
	return a, nil
}

// ReadRecord implements store.Store.
func (s *Store) ReadRecord(record []byte) (store.Dossier, error) { return codec.ReadRecord(record) }

func (s snapshot) Archives(ctx context.Context, p id.Project) iter.Seq2[store.Archive, error] {
	return stream(ctx, s.tx, codec.ScanArchive, `SELECT `+codec.ArchiveColumns+` FROM archives WHERE project = ? ORDER BY number`, p)
}

func (s snapshot) Archived(ctx context.Context, p id.Project) iter.Seq2[store.Archived, error] {
	return stream(ctx, s.tx, codec.ScanArchived, `SELECT `+codec.ArchivedColumns+` FROM archived WHERE project = ? ORDER BY session`, p)
}
