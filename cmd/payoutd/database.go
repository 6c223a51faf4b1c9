package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/sqlite"
)

// database is where an installation keeps its books: a SQLite file, which one
// process owns, or a PostgreSQL database, which several may have open.
type database struct {
	name string // for messages, and what tells it from others; without a password
	path string // of the SQLite file, absolute; "" on PostgreSQL
	url  string // of PostgreSQL, as it was given; "" on SQLite
}

// parseDatabase reads what --db says. An empty string is the SQLite file of the
// folder dir.
func parseDatabase(db, dir string) (database, error) {
	scheme, path, _ := strings.Cut(db, ":")
	switch {
	case db == "":
		path = filepath.Join(dir, "payoutd.db")
	case isPostgres(db):
		name, err := postgres.Name(db)
		if err != nil {
			return database{}, misused("--db: %s", message(err))
		}
		return database{name: name, url: db}, nil
	case scheme != "sqlite" || path == "" || strings.ContainsAny(path, "?#"):
		return database{}, misused("--db: want sqlite:PATH, such as sqlite:/var/lib/payoutd/payoutd.db, or postgres://USER@HOST/NAME")
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return database{}, err
	}
	return database{name: absolute, path: absolute}, nil
}

func isPostgres(db string) bool {
	return strings.HasPrefix(db, "postgres://") || strings.HasPrefix(db, "postgresql://")
}

// shared reports whether several processes may have the database open at once.
func (d database) shared() bool { return d.url != "" }

// open opens the engine. A SQLite file is made, and brought up, if need be;
// PostgreSQL's schema is changed by the command migrate alone, so that a node of
// a new release never changes it under those of the old one.
func (d database) open(ctx context.Context, log *slog.Logger) (store.Store, error) {
	if !d.shared() {
		return opened(sqlite.Open(ctx, d.path, log))
	}
	current, target, err := postgres.Version(ctx, d.url)
	if err != nil {
		return nil, err
	}
	if current < target {
		return nil, fmt.Errorf("%s has schema %d, this program needs %d; bring it up with: payoutd migrate --db %s",
			d.name, current, target, quote(withoutPassword(d.url)))
	}
	return opened(postgres.Open(ctx, d.url, log))
}

// opened keeps an engine that could not be opened from looking like one.
func opened[S store.Store](s S, err error) (store.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// migrate brings the schema up.
func (d database) migrate(ctx context.Context, log *slog.Logger) error {
	if d.shared() {
		return postgres.Migrate(ctx, d.url, log)
	}
	return sqlite.Migrate(ctx, d.path)
}

// version is that of the schema.
func (d database) version(ctx context.Context) (current int64, err error) {
	if d.shared() {
		current, _, err = postgres.Version(ctx, d.url)
	} else {
		current, _, err = sqlite.Version(ctx, d.path)
	}
	return current, err
}

// exists is false where there is certainly no database; PostgreSQL is not asked.
func (d database) exists() bool {
	if d.shared() {
		return true
	}
	_, err := os.Stat(d.path)
	return !errors.Is(err, fs.ErrNotExist)
}

// used reports whether somebody has made the database. On PostgreSQL a schema
// alone does not count.
func (d database) used(ctx context.Context, log *slog.Logger) (_ bool, err error) {
	if !d.shared() {
		return d.exists(), nil
	}
	if current, err := d.version(ctx); err != nil || current == 0 {
		return false, err
	}
	s, err := d.open(ctx, log)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, found, err := setting(ctx, s, settingVaultCheck)
	return found, err
}

// shown is the name as an operator would type it.
func (d database) shown() string {
	if d.shared() {
		return d.name
	}
	return shown(d.path)
}

// given is the value of --db that names the database, without a password.
func (d database) given() string {
	if d.shared() {
		return withoutPassword(d.url)
	}
	return "sqlite:" + d.path
}

// withoutPassword is what --db says as it may be shown. In the URL of PostgreSQL
// a password may stand before the host or among the parameters.
func withoutPassword(db string) string {
	if !isPostgres(db) {
		return db
	}
	u, err := url.Parse(db)
	if err != nil {
		return "postgres://…"
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	parameters := u.Query()
	for _, secret := range []string{"password", "sslpassword"} {
		parameters.Del(secret)
	}
	if u.RawQuery != "" {
		u.RawQuery = parameters.Encode()
	}
	return u.String()
}
