package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"log/slog"
	"os"

	"github.com/pressly/goose/v3"

	"github.com/payoutd/payoutd/internal/fault"
)

// migrations go forward only. A file that was released never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema of the file up, creating the file if need be, and
// lets go of it. Errors as of Open.
func Migrate(ctx context.Context, path string) error {
	s, err := Open(ctx, path, nil)
	if err != nil {
		return err
	}
	return s.Close()
}

// Version reads the schema version of the file and the one that this program
// brings it to; it may be asked beside a running server. fault.NotFound if
// there is no file.
func Version(ctx context.Context, path string) (current, target int64, err error) {
	if _, err := os.Stat(path); err != nil {
		return 0, 0, fault.Wrap(fault.NotFound, err, "there is no database %s", path)
	}
	db, err := connect(path, "ro", readerPragmas, 1)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = db.Close() }()
	p, err := provider(db)
	if err != nil {
		return 0, 0, err
	}
	current, target, err = p.GetVersions(ctx)
	if err != nil {
		return 0, 0, failed(err, "read the schema version of %s", path)
	}
	return current, target, nil
}

func migrate(ctx context.Context, db *sql.DB, path string, log *slog.Logger) error {
	p, err := provider(db)
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return failed(err, "read the schema version of %s", path)
	}
	if current > target {
		return fault.New(fault.Invalid, "the database %s has schema %d, this program knows %d: run a newer payoutd", path, current, target)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return failed(err, "bring the schema of %s from %d to %d", path, current, target)
	}
	for _, m := range done {
		log.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "duration", m.Duration)
	}
	return nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "find the migrations")
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "read the migrations")
	}
	return p, nil
}
