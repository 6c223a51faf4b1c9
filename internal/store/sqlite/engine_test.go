package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

func newFile(t *testing.T) string { return filepath.Join(t.TempDir(), "a file?with #odd%20 signs.db") }

func openFile(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// openWithProject opens a new file with the project "p".
func openWithProject(t *testing.T) *Store {
	t.Helper()
	s := openFile(t, newFile(t))
	if err := s.CreateProject(t.Context(), partner.Project{ID: "p"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// post books entries in the book of "p", as the batch given.
func post(s *Store, batch id.Batch, entries ...ledger.Entry) error {
	reads := store.Reads{Books: []id.Project{"p"}}
	return s.Commit(context.Background(), reads, func(rows *store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: batch, Books: []*ledger.Book{rows.Books["p"]}}
		for _, e := range entries {
			e, err := rows.Books["p"].Post(e, time.Now())
			if err != nil {
				return nil, err
			}
			c.Entries = append(c.Entries, e)
		}
		return c, nil
	})
}

func wantAvailable(t *testing.T, s *Store, want int64) {
	t.Helper()
	book, err := s.Book(t.Context(), "p")
	if err != nil || book.Balance.Available != want {
		t.Errorf("book %+v, error %v; want %d available", book, err, want)
	}
}

func wantCode(t *testing.T, err error, want fault.Code) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != want {
		t.Errorf("error %v, want code %s", err, want)
	}
}

func TestReopenFindsEverything(t *testing.T) {
	path := newFile(t)
	s := openFile(t, path)
	if err := s.CreateProject(t.Context(), partner.Project{ID: "p", Wallet: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := post(s, 1, ledger.Deposit(500, "d")); err != nil {
		t.Fatal(err)
	}
	if err := s.PutSetting(t.Context(), "name", []byte("value")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log after Close: %v, want it written back and gone", err)
	}

	s = openFile(t, path)
	wantAvailable(t, s, 500)
	if value, err := s.Setting(t.Context(), "name"); err != nil || string(value) != "value" {
		t.Errorf("setting %q, error %v", value, err)
	}
	if written, err := s.Committed(t.Context(), 1); err != nil || !written {
		t.Errorf("Committed is %v, error %v; want true", written, err)
	}
	if projects, err := s.Projects(t.Context()); err != nil || len(projects) != 1 || projects[0].Wallet != "1" {
		t.Errorf("projects %+v, error %v", projects, err)
	}
}

func TestOneOwner(t *testing.T) {
	path := newFile(t)
	s := openFile(t, path)
	_, err := Open(t.Context(), path, nil)
	wantCode(t, err, fault.Busy)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not say which file", err)
	}
	wantCode(t, Migrate(t.Context(), path), fault.Busy)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openFile(t, path)
}

func TestFileIsTheOwnersAlone(t *testing.T) {
	path := newFile(t)
	s := openFile(t, path)
	if err := s.PutSetting(t.Context(), "name", nil); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("the file %q has mode %o, want 600", suffix, mode)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	notDatabase := newFile(t)
	if err := os.WriteFile(notDatabase, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		want       fault.Code
	}{
		{"no such folder", filepath.Join(t.TempDir(), "no", "payoutd.db"), fault.Busy},
		{"a folder", t.TempDir(), fault.Busy},
		{"not a database", notDatabase, fault.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(t.Context(), c.path, nil)
			wantCode(t, err, c.want)
			_, err = Open(t.Context(), c.path, nil) // and the first left no lock behind
			wantCode(t, err, c.want)
			if strings.Contains(fmt.Sprint(err), "in use") {
				t.Errorf("error %v: the lock was kept", err)
			}
		})
	}
}

func TestSchemaVersion(t *testing.T) {
	path := newFile(t)
	_, _, err := Version(t.Context(), path)
	wantCode(t, err, fault.NotFound)
	if err := Migrate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	s := openFile(t, path)
	current, target, err := Version(t.Context(), path) // beside the owner
	if err != nil || current != target || target < 1 {
		t.Errorf("version %d of %d, error %v; want both the same", current, target, err)
	}

	if _, err := s.writer.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)`, target+1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), path, nil)
	wantCode(t, err, fault.Invalid)
	if err == nil || !strings.Contains(err.Error(), "run a newer payoutd") {
		t.Errorf("error %v does not say what to do", err)
	}
	if current, _, err := Version(t.Context(), path); err != nil || current != target+1 {
		t.Errorf("version %d, error %v; want %d, that of the newer program", current, err, target+1)
	}
}

// limit runs a pragma on the connection that writes. It lasts until the
// connection is replaced, which the first failure makes happen.
func limit(t *testing.T, s *Store, pragma string) {
	t.Helper()
	if _, err := s.writer.exec("PRAGMA " + pragma); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk runs out of pages, and goes on as soon as there are some.
func TestFullDisk(t *testing.T) {
	s := openWithProject(t)
	if err := post(s, 1, ledger.Deposit(1, "d")); err != nil {
		t.Fatal(err)
	}
	deposit := ledger.Deposit(1, strings.Repeat("long ", 10_000))
	limit(t, s, "max_page_count = 1") // no more than there are now
	wantCode(t, post(s, 2, deposit), fault.Busy)
	limit(t, s, "max_page_count = 1")
	wantCode(t, s.PutSetting(t.Context(), "name", make([]byte, 50_000)), fault.Busy)
	wantAvailable(t, s, 1)
	if written, err := s.Committed(t.Context(), 2); err != nil || written {
		t.Errorf("Committed is %v, error %v; want false", written, err)
	}
	if err := post(s, 2, deposit); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	wantAvailable(t, s, 2)
}

func TestReadOnlyIsBusy(t *testing.T) {
	s := openWithProject(t)
	limit(t, s, "query_only = 1")
	wantCode(t, post(s, 1, ledger.Deposit(1, "d")), fault.Busy)
	wantAvailable(t, s, 0)
	limit(t, s, "query_only = 1")
	_, err := s.Recover(t.Context(), time.Now())
	wantCode(t, err, fault.Busy)
}

// TestForeignWriterIsBusy has a shell of the operator hold the file.
func TestForeignWriterIsBusy(t *testing.T) {
	s := openWithProject(t)
	limit(t, s, "busy_timeout = 0")
	db, err := connect(s.path, "rw", nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, post(s, 1, ledger.Deposit(1, "d")), fault.Busy)
	wantAvailable(t, s, 0) // reads go on
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := post(s, 1, ledger.Deposit(1, "d")); err != nil {
		t.Errorf("after the shell let go: %v", err)
	}
}

// TestConnectionIsReplaced breaks the connection in the middle of a batch.
func TestConnectionIsReplaced(t *testing.T) {
	s := openWithProject(t)
	err := s.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		if _, err := s.writer.exec("ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		return nil, errors.New("no")
	})
	if err == nil || err.Error() != "no" {
		t.Errorf("error %v, want that of decide", err)
	}
	if s.writer.conn != nil {
		t.Error("a connection that could not roll back was kept")
	}
	if err := post(s, 1, ledger.Deposit(1, "d")); err != nil {
		t.Errorf("on the next connection: %v", err)
	}
	wantAvailable(t, s, 1)
}

// failCommits makes each COMMIT fail after doing what is asked.
func failCommits(t *testing.T, s *Store, first func()) {
	t.Helper()
	if _, err := s.writer.prepare("COMMIT"); err != nil {
		t.Fatal(err)
	}
	err := s.writer.conn.Raw(func(conn any) error {
		conn.(driver.HookRegisterer).RegisterCommitHook(func() int32 {
			first()
			return 1 // turns the COMMIT into a ROLLBACK
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailedCommitIsLookedUp(t *testing.T) {
	s := openWithProject(t)
	failCommits(t, s, func() {})
	err := post(s, 1, ledger.Deposit(1, "d"))
	if err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("error %v, want one that says it was not written", err)
	}
	wantAvailable(t, s, 0)
}

func TestFailedCommitIsUnknown(t *testing.T) {
	s := openWithProject(t)
	failCommits(t, s, func() { _ = s.readers.Close() }) // so that nothing can be looked up
	if err := post(s, 1, ledger.Deposit(1, "d")); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("error %v, want ErrUnknown", err)
	}
}

func TestWrittenInSpiteOfAnError(t *testing.T) {
	s := openWithProject(t)
	if err := post(s, 1, ledger.Deposit(1, "d")); err != nil {
		t.Fatal(err)
	}
	if err := s.settle(1, errors.New("the answer was lost")); err != nil {
		t.Errorf("error %v for a batch that is there", err)
	}
}

func TestOldBatchesAreForgotten(t *testing.T) {
	s := openWithProject(t)
	const day = id.Batch(keepBatches)
	ids := id.NewGenerator(func() time.Time { return time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) })
	later := id.NewGenerator(func() time.Time { return time.Date(2027, 1, 2, 0, 0, 1, 0, time.UTC) })
	first, second, third := id.Batch(ids.Next()), id.Batch(ids.Next()), id.Batch(ids.Next())
	if next := id.Batch(later.Next()); next-first < day || next-first > day+day/1000 {
		t.Errorf("a day and a second are %d in the numbers of batches, keepBatches is %d", next-first, day)
	}
	for _, batch := range []id.Batch{first, second, third, second + day} {
		if err := post(s, batch, ledger.Deposit(1, "d")); err != nil {
			t.Fatal(err)
		}
	}
	for batch, want := range map[id.Batch]bool{first: false, second: true, third: true, second + day: true} {
		if got, err := s.Committed(t.Context(), batch); err != nil || got != want {
			t.Errorf("Committed(%d) is %v, error %v; want %v", batch, got, err, want)
		}
	}
}

func TestClearingByRail(t *testing.T) {
	s := openWithProject(t)
	for batch, entries := range [][]ledger.Entry{
		{ledger.Deposit(1000, "d"), ledger.Hold(300, 10), ledger.Settle(100, 5, "cards"), ledger.Settle(50, 0, "cards"), ledger.Settle(150, 5, "fps")},
		{ledger.Return(100, 0, "cards")},
	} {
		if err := post(s, id.Batch(batch+1), entries...); err != nil {
			t.Fatal(err)
		}
	}
	for rail, want := range map[string]int64{"cards": 50, "fps": 150} {
		var got int64
		if err := s.readers.QueryRow(`SELECT minor FROM clearing WHERE project = 'p' AND rail = ?`, rail).Scan(&got); err != nil || got != want {
			t.Errorf("clearing of %s is %d, error %v; want %d", rail, got, err, want)
		}
	}
}

func TestClosedIsBusy(t *testing.T) {
	s := openWithProject(t)
	key := store.SessionKey{Project: "p", Session: 1}

	deciding, leave, held, waiting, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		held <- s.Commit(context.Background(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
			close(deciding)
			<-leave
			return &store.Changes{Batch: 1, Sessions: []*session.Session{{Project: "p", ID: 1, State: session.Created}}}, nil
		})
	}()
	<-deciding
	go func() { closed <- s.Close() }()
	<-s.writer.closed
	go func() { waiting <- post(s, 2, ledger.Deposit(1, "d")) }()
	wantCode(t, <-waiting, fault.Busy) // does not wait for what is under way
	close(leave)
	if err := <-held; err != nil {
		t.Errorf("the commit under way: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}

	_, err := s.Session(t.Context(), key)
	wantCode(t, err, fault.Busy)
	_, err = s.ClaimTasks(t.Context(), "node", time.Now(), time.Now(), time.Minute, 1)
	wantCode(t, err, fault.Busy)
	wantCode(t, s.Snapshot(t.Context(), func(store.Snapshot) error { return nil }), fault.Busy)
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if _, err := openFile(t, s.path).Session(t.Context(), key); err != nil {
		t.Errorf("what was under way: %v", err)
	}
}

func TestFaults(t *testing.T) {
	constraint := func() error {
		db, err := sql.Open("sqlite", ":memory:")
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		_, err = db.Exec(`CREATE TABLE t (x CHECK (x > 0)); INSERT INTO t VALUES (0)`)
		return err
	}()
	if code(constraint) != sqlite3.SQLITE_CONSTRAINT_CHECK || primary(constraint) != sqlite3.SQLITE_CONSTRAINT {
		t.Errorf("code %d of %v, want an extended one", code(constraint), constraint)
	}
	for _, c := range []struct {
		name string
		err  error
		want fault.Code
	}{
		{"no row", sql.ErrNoRows, fault.NotFound},
		{"cancelled", context.Canceled, fault.Busy},
		{"too late", fmt.Errorf("wrapped: %w", context.DeadlineExceeded), fault.Busy},
		{"closed", errClosed, fault.Busy},
		{"constraint", constraint, fault.Internal},
		{"has a code already", fault.New(fault.Invalid, "no"), fault.Invalid},
		{"anything else", errors.New("no"), fault.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := failed(c.err, "do it")
			wantCode(t, err, c.want)
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), "do it") {
				t.Errorf("%v has lost its cause or what was being done", err)
			}
		})
	}
}

// TestHotStatementsLookUp reads the plans: no cost may grow with what is
// stored, so each table is searched by the whole of an index's key, or as far
// as the rows that are wanted share it.
func TestHotStatementsLookUp(t *testing.T) {
	const payouts, events = "USING INDEX sqlite_autoindex_payouts_1 (project=? AND session=?", "USING INDEX sqlite_autoindex_events_1 (project=? AND session=?"
	s := openWithProject(t)
	for _, c := range []struct {
		name, query string
		want        []string
	}{
		{"load sessions", loadSessions, []string{"s USING PRIMARY KEY (project=? AND id=?)", "p " + payouts + ") LEFT-JOIN"}},
		{"load outbox", loadOutbox, []string{"e " + events + ")"}},
		{"load books", loadBooks, []string{"b USING PRIMARY KEY (project=?)"}},
		{"load accounts", loadAccounts, []string{"a USING PRIMARY KEY (project=? AND number=?)"}},
		{"update account", updateAccount, []string{"accounts USING PRIMARY KEY (project=? AND number=?)"}},
		{"open a statement", selectOpening, []string{"movements USING PRIMARY KEY (project=? AND account=? AND at<?)"}},
		{"read a statement", selectHistory, []string{
			"m USING PRIMARY KEY (project=? AND account=? AND at>? AND at<?)", "e USING PRIMARY KEY (project=? AND no=?)",
			"p " + payouts + ") LEFT-JOIN",
		}},
		{"load keys", loadKeys, []string{"r USING INDEX sqlite_autoindex_keys_1 (project=? AND scope=? AND key=?)"}},
		{"read session", selectSession, []string{"s USING PRIMARY KEY (project=? AND id=?)", "p " + payouts + ") LEFT-JOIN"}},
		{"read book", selectBook, []string{"b USING PRIMARY KEY (project=?)"}},
		{"update session", updateSession, []string{"sessions USING PRIMARY KEY (project=? AND id=?)"}},
		{"update payout", updatePayout, []string{"payouts " + payouts + " AND no=?)"}},
		{"update book", updateBook, []string{"books USING PRIMARY KEY (project=?)"}},
		{"remove task", deleteTask, []string{"tasks USING PRIMARY KEY (project=? AND session=? AND payout=? AND kind=?)"}},
		{"forget batches", deleteBatches, []string{
			"batches USING INTEGER PRIMARY KEY (rowid=?)", "batches USING INTEGER PRIMARY KEY (rowid<?)",
		}},
		{"due tasks", dueTasks, []string{"t USING INDEX tasks_due (due<?)"}},
		{"due events", dueEvents, []string{"e USING INDEX events_due (due<?)"}},
		{"lease task", leaseTask, []string{"tasks USING PRIMARY KEY (project=? AND session=? AND payout=? AND kind=?)"}},
		{"lease event", leaseEvent, []string{"events " + events + " AND n=?)"}},
		{"raise fence", raiseFence, []string{"sessions USING PRIMARY KEY (project=? AND id=?)"}},
		{"renew task", renewTask, []string{"tasks USING PRIMARY KEY (project=? AND session=? AND payout=? AND kind=?)"}},
		{"renew event", renewEvent, []string{"events " + events + " AND n=?)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows, err := s.readers.Query("EXPLAIN QUERY PLAN "+c.query, make([]any, 20)...) // as many as any of them has
			var got []string
			for step, err := range all(rows, err, func(row codec.Row) (detail string, err error) {
				var a, b, c int
				return detail, row.Scan(&a, &b, &c, &detail)
			}) {
				if err != nil {
					t.Fatal(err)
				}
				table, search := strings.CutPrefix(step, "SEARCH ")
				if search || strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "VIRTUAL TABLE") {
					got = append(got, table)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("plan %q, want %q", got, c.want)
			}
		})
	}
}

// The acts of operators stay, whoever asks.
func TestActsStay(t *testing.T) {
	s := openFile(t, filepath.Join(t.TempDir(), "payoutd.db"))
	err := s.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{Batch: 1, Acts: []store.Act{{ID: 1, What: "vault_rotate"}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`UPDATE acts SET actor = 'nobody'`, `DELETE FROM acts`} {
		err := s.writer.transact(t.Context(), func() (bool, error) {
			_, err := s.writer.exec(statement)
			return true, err
		})
		if err == nil {
			t.Errorf("%s went through", statement)
		}
	}
}
