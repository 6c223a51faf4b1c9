// Package sqlite is the embedded engine of the store: one file, one process
// that owns it, one connection that writes, and a few that read beside it. It
// needs no C compiler.
//
// The file is in write-ahead mode with synchronous=FULL: what Commit has
// answered is on the disk, and no reader waits for the writer.
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store"
)

// Store is a database in a file.
type Store struct {
	path    string
	log     *slog.Logger
	lock    *os.File
	writer  *writer
	readers *sql.DB // for short reads
	// snapshots has connections of its own, so that long reads never take the
	// last one from short ones.
	snapshots *sql.DB

	// On readers: what partners ask for all the time, and rails for each payout.
	sessionByKey, bookByProject, cardByID, itemByLookup *sql.Stmt

	closing sync.Once
}

var _ store.Store = (*Store)(nil)

// readersMax bounds the connections for short reads.
const readersMax = 4

// writerPragmas are those of the connection that writes. The checkpoint comes
// after 16 MiB of log, so that a page that many commits touch is written back
// once; 64 MiB of cache hold the paths to where rows are added.
var writerPragmas = []string{
	"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "cache_size(-65536)",
	"wal_autocheckpoint(4096)", "journal_size_limit(67108864)",
}

var readerPragmas = []string{"busy_timeout(5000)", "query_only(1)"}

// Open opens the file, creates it if need be, brings its schema up, and holds
// it until Close. fault.Busy if another process has it or the file system
// refuses; fault.Invalid if its schema is newer than this program. A nil log
// is none.
func Open(ctx context.Context, path string, log *slog.Logger) (_ *Store, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	lock, err := hold(path)
	if err != nil {
		return nil, err
	}
	db, err := connect(path, "rw", writerPragmas, 1)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	s := &Store{path: path, log: log, lock: lock, writer: newWriter(db, log)}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := migrate(ctx, db, path, log); err != nil {
		return nil, err
	}
	if s.readers, err = connect(path, "ro", readerPragmas, readersMax); err != nil {
		return nil, err
	}
	if s.snapshots, err = connect(path, "ro", readerPragmas, 0); err != nil {
		return nil, err
	}
	s.snapshots.SetMaxIdleConns(1)
	for stmt, query := range map[**sql.Stmt]string{&s.sessionByKey: selectSession, &s.bookByProject: selectBook, &s.cardByID: selectCard, &s.itemByLookup: findItem} {
		if *stmt, err = s.readers.PrepareContext(ctx, query); err != nil {
			return nil, failed(err, "read %s", path)
		}
	}
	return s, nil
}

// Close waits for the commit under way, writes the log back into the file and
// lets go of it. Calls that come later fail with fault.Busy.
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		s.writer.stop()
		// The writer goes last: SQLite writes the log back when the last
		// connection closes, which can't be one that only reads.
		for _, db := range []*sql.DB{s.readers, s.snapshots} {
			if db != nil {
				err = firstError(err, db.Close())
			}
		}
		err = firstError(err, s.writer.close())
		err = firstError(err, s.lock.Close())
	})
	if err != nil {
		return failed(err, "close %s", s.path)
	}
	return nil
}

// failed is failed, for calls that go past the writer: a pool that was closed
// says so in words only.
func (s *Store) failed(err error, format string, args ...any) error {
	if s.writer.stopped() {
		err = fmt.Errorf("%w: %w", errClosed, err)
	}
	return failed(err, format, args...)
}

// connect prepares connections to the file; none is opened before it is needed.
// A max of 0 is no bound.
func connect(path, mode string, pragmas []string, max int) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, failed(err, "find %s", path)
	}
	query := url.Values{"mode": {mode}, "_pragma": pragmas}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: absolute, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, failed(err, "open %s", path)
	}
	db.SetMaxOpenConns(max)
	db.SetMaxIdleConns(max)
	return db, nil
}

// hold creates the file where there is none, readable by its owner only, and
// takes the lock beside it. SQLite's own locks do not say that the file has
// one owner, which Recover relies on.
func hold(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "the database %s can't be opened", path)
	}
	if err := file.Close(); err != nil {
		return nil, fault.Wrap(fault.Busy, err, "the database %s can't be opened", path)
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "the lock of the database %s can't be opened", path)
	}
	if err := tryLock(lock); err != nil {
		_ = lock.Close()
		return nil, fault.Wrap(fault.Busy, err, "the database %s is in use by another process", path)
	}
	return lock, nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
