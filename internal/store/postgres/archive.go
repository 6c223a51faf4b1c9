package postgres

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	selectLooked = `SELECT ` + codec.LookedColumns + ` FROM sessions WHERE project = $1 AND id > $2 ORDER BY id LIMIT $3`

	insertArchive = `INSERT INTO archives (` + codec.ArchiveColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (project, number) DO UPDATE SET at = excluded.at WHERE archives.print = excluded.print`
	insertArchived = `INSERT INTO archived (` + codec.ArchivedColumns + `)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
			$9::bigint[], $10::bigint[], $11::bigint[])`
	selectArchived = `SELECT ` + codec.ArchivedColumns + ` FROM archived WHERE project = $1 AND session = $2`
	archivedAmong  = `SELECT ` + codec.ArchivedColumns + ` FROM ` + keysAmong + ` JOIN archived ON project = k.of_project AND session = k.number`
	lockLeaving    = `SELECT s.id FROM ` + keysAmong + ` JOIN sessions s ON s.project = k.of_project AND s.id = k.number ORDER BY s.id FOR UPDATE OF s`
	tasksAmong     = `SELECT session FROM ` + keysAmong + ` JOIN tasks ON project = k.of_project AND session = k.number`
	lastEntry      = `SELECT entries FROM books WHERE project = $1`
	deleteCards    = `DELETE FROM cards USING ` + keysAmong + ` WHERE project = k.of_project AND id = k.number`

	// The project of each row and its number, as keys, so that the planner looks
	// each one up.
	keysAmong = `unnest($1::text[], $2::bigint[]) k (of_project, number)`
)

// selectLeaving and deleteLeaving read and remove the rows that some sessions
// have of a table.
func selectLeaving(t *codec.RecordTable) string {
	return `SELECT ` + t.Columns + ` FROM ` + keysAmong + ` JOIN ` + t.Name + ` ON project = k.of_project AND ` + t.Session + ` = k.number`
}

func deleteLeaving(t *codec.RecordTable) string {
	return `DELETE FROM ` + t.Name + ` USING ` + keysAmong + ` WHERE project = k.of_project AND ` + t.Session + ` = k.number RETURNING ` + t.Columns
}

// projectOf is the project of each of so many rows.
func projectOf(p id.Project, rows []int64) []string {
	return slices.Repeat([]string{text(p)}, len(rows))
}

// Aged implements store.Store. A session that changes between two of the reads
// has another record than its rows say, and is not taken out.
func (s *Store) Aged(ctx context.Context, p id.Project, after id.Session, before time.Time, limit int) ([]store.Dossier, id.Session, error) {
	looked, err := list(ctx, s, codec.ScanLooked, selectLooked, text(p), int64(after), max(limit, 0))
	if err != nil {
		return nil, 0, failed(err, "look for sessions of %s that have ended", p)
	}
	wanted, last := codec.Aged(looked, before)
	if len(wanted) == 0 {
		return nil, last, nil
	}
	tables := make([][][]any, len(codec.RecordTables))
	for i := range codec.RecordTables {
		t := &codec.RecordTables[i]
		if tables[i], err = list(ctx, s, t.Scan, selectLeaving(t), projectOf(p, wanted), wanted); err != nil {
			return nil, 0, failed(err, "read the %s of sessions of %s that have ended", t.Name, p)
		}
	}
	aged, err := codec.Dossiers(whole(tables))
	if err != nil {
		return nil, 0, failed(err, "read sessions of %s that have ended", p)
	}
	return aged, last, nil
}

// whole leaves out what is of a session that is gone: somebody else has just
// taken it out.
func whole(tables [][][]any) [][][]any {
	there := map[any]bool{}
	for _, row := range tables[0] {
		there[row[1]] = true
	}
	for i := range tables {
		tables[i] = slices.DeleteFunc(tables[i], func(row []any) bool { return !there[row[1]] })
	}
	return tables
}

// AddArchive implements store.Store.
func (s *Store) AddArchive(ctx context.Context, a store.Archive) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, insertArchive, codec.ArchiveRow(a)...)
		return err
	})
	if err != nil {
		return failed(err, "write down the archive %s", a.Number)
	}
	return nil
}

// TakeOut implements store.Store. The sessions are locked as by any batch, and
// removed with what is written down of them, so that a lost COMMIT is found out
// by trying again.
func (s *Store) TakeOut(ctx context.Context, p id.Project, sessions []store.Leaving) (left []id.Session, err error) {
	s.recent.forget(column(sessions, func(l store.Leaving) store.SessionKey { return l.SessionKey })...)
	helps := func(err error) bool {
		_, lost := errors.AsType[*lostError](err)
		return lost || passing(err)
	}
	for again := true; again; {
		var going []store.Leaving
		var stay []id.Session
		err := s.repeat(ctx, helps, func() error {
			return s.transact(ctx, func(t *transaction) (err error) {
				going, stay, err = t.takeOut(ctx, p, sessions)
				return err
			})
		})
		if err != nil {
			return nil, failed(err, "take sessions of %s out", p)
		}
		left = append(left, stay...)
		sessions, again = going, len(stay) > 0 && len(going) > 0
	}
	return left, nil
}

// takeOut removes sessions and commits, or, if any must stay, leaves all as it is
// and says which could go.
func (t *transaction) takeOut(ctx context.Context, p id.Project, leaving []store.Leaving) (going []store.Leaving, stay []id.Session, err error) {
	var (
		before []store.Archived
		busy   []id.Session
		entry  int64
		tables = make([][][]any, len(codec.RecordTables))
	)
	numbers := codec.SessionsOf(leaving)
	b := t.begin()
	b.Queue(lockLeaving, projectOf(p, numbers), numbers)
	b.Queue(archivedAmong, projectOf(p, numbers), numbers).Query(func(r pgx.Rows) error {
		return each(r, codec.ScanArchived, func(a store.Archived) { before = append(before, a) })
	})
	if err := t.send(ctx, b); err != nil {
		return nil, nil, err
	}
	if going, stay = codec.Going(leaving, before, nil); len(stay) > 0 || len(going) == 0 {
		return going, stay, nil
	}
	numbers = codec.SessionsOf(going)
	b = t.begin()
	b.Queue(tasksAmong, projectOf(p, numbers), numbers).Query(func(r pgx.Rows) error {
		return each(r, func(row codec.Row) (n id.Session, err error) { err = row.Scan(&n); return n, err },
			func(n id.Session) { busy = append(busy, n) })
	})
	b.Queue(lastEntry, text(p)).QueryRow(func(row pgx.Row) error { return row.Scan(&entry) })
	for i := range codec.RecordTables {
		of := &codec.RecordTables[i]
		b.Queue(deleteLeaving(of), projectOf(p, numbers), numbers).Query(func(r pgx.Rows) error {
			return each(r, of.Scan, func(row []any) { tables[i] = append(tables[i], row) })
		})
	}
	if err := t.send(ctx, b); err != nil {
		return nil, nil, err
	}
	if stay, err = codec.Stay(going, whole(tables), busy); err != nil {
		return nil, nil, err
	}
	if len(stay) > 0 {
		going, stay = codec.Going(going, nil, stay)
		return going, stay, nil
	}
	rows := make([][]any, len(going))
	for i := range going {
		a := going[i].Archived
		a.Entry = entry
		if rows[i], err = codec.ArchivedRow(a); err != nil {
			return nil, nil, err
		}
	}
	b = t.begin()
	b.Queue(insertArchived, of[string](rows, 0), of[int64](rows, 1), of[int64](rows, 2), of[[]byte](rows, 3), of[string](rows, 4),
		of[string](rows, 5), of[int64](rows, 6), of[int64](rows, 7), of[int64](rows, 8), of[int64](rows, 9), of[int64](rows, 10))
	if cards := codec.CardsOf(going); len(cards) > 0 {
		b.Queue(deleteCards, projectOf(p, cards), cards)
	}
	return going, nil, t.commit(ctx, b, batch{})
}

// Archived implements store.Store.
func (s *Store) Archived(ctx context.Context, k store.SessionKey) (store.Archived, error) {
	a, err := first(ctx, s, codec.ScanArchived, selectArchived, text(k.Project), int64(k.Session))
	if err != nil {
		return store.Archived{}, failed(err, "read what stays of %s", k.Session)
	}
	return a, nil
}

// ReadRecord implements store.Store.
func (s *Store) ReadRecord(record []byte) (store.Dossier, error) { return codec.ReadRecord(record) }

func (s *snapshot) Archives(ctx context.Context, p id.Project) iter.Seq2[store.Archive, error] {
	return stream(ctx, s, codec.ScanArchive, `SELECT `+codec.ArchiveColumns+` FROM archives WHERE project = $1 ORDER BY number`, text(p))
}

func (s *snapshot) Archived(ctx context.Context, p id.Project) iter.Seq2[store.Archived, error] {
	return stream(ctx, s, codec.ScanArchived, `SELECT `+codec.ArchivedColumns+` FROM archived WHERE project = $1 ORDER BY session`, text(p))
}
