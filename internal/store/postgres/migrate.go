package postgres

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/payoutd/payoutd/internal/fault"
)

// migrations go forward only, each in a transaction. A file that was released
// never changes. Nodes of the release before may be at work while one runs: it
// adds, and takes nothing away that they use.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema of the database up. Where several start at once,
// one does it and the others wait. Errors as of Open; a nil log is none.
func Migrate(ctx context.Context, url string, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	current, target, err := Version(ctx, url)
	if err != nil {
		return err
	}
	config, err := parse(url)
	if err != nil {
		return err
	}
	database := name(config.ConnConfig)
	if current > target {
		return tooNew(database, current, target)
	}
	p, err := provider(config.ConnConfig)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	done, err := p.Up(ctx)
	if err != nil {
		return failed(err, "bring the schema of %s from %d to %d", database, current, target)
	}
	for _, m := range done {
		log.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "duration", m.Duration)
	}
	return nil
}

// Version reads the schema version of the database, 0 for an empty one, and the
// one that this program brings it to. It changes nothing.
func Version(ctx context.Context, url string) (current, target int64, err error) {
	config, err := parse(url)
	if err != nil {
		return 0, 0, err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return 0, 0, failed(err, "connect to %s", name(config.ConnConfig))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if current, target, err = versions(ctx, conn); err != nil {
		return 0, 0, failed(err, "read the schema version of %s", name(config.ConnConfig))
	}
	return current, target, nil
}

// versions asks without goose, which would create its table.
func versions(ctx context.Context, conn *pgx.Conn) (current, target int64, err error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, 0, err
	}
	for _, file := range files {
		number, err := goose.NumericComponent(file)
		if err != nil {
			return 0, 0, err
		}
		target = max(target, number)
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&current)
	if sqlState(err) == undefinedTable {
		return 0, target, nil
	}
	return current, target, err
}

// checkSchema refuses a database whose schema is not the one of this program.
func (s *Store) checkSchema(ctx context.Context) error {
	var current, target int64
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		current, target, err = versions(ctx, conn)
		return err
	})
	switch {
	case err != nil:
		return failed(err, "read the schema version of %s", s.name)
	case current > target:
		return tooNew(s.name, current, target)
	case current < target:
		return fault.New(fault.Invalid, "%s has schema %d, this program needs %d: run `payoutd migrate` first", s.name, current, target)
	}
	return nil
}

func tooNew(database string, current, target int64) error {
	return fault.New(fault.Invalid, "%s has schema %d, this program knows %d: run a newer payoutd", database, current, target)
}

// migrationLockMax bounds how long a migration waits for a table. Whoever wants
// the table after it waits behind it, which are the nodes at work.
const migrationLockMax = "5s"

// provider does migrations, and closes its connections when it is closed. An
// advisory lock of the server keeps two of them apart; who finds it taken asks
// again each second, for as long as a large table may take.
func provider(config *pgx.ConnConfig) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "find the migrations")
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 3600))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "prepare the lock of the migrations")
	}
	config = config.Copy()
	config.RuntimeParams["lock_timeout"] = migrationLockMax
	p, err := goose.NewProvider(goose.DialectPostgres, stdlib.OpenDB(*config), files,
		goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "read the migrations")
	}
	return p, nil
}
