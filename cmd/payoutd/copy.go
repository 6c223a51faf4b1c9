package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/relocate"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/sqlite"
)

type copyCommand struct {
	From  string `required:"" placeholder:"URL" secret:"" help:"Database of the stopped installation: sqlite:PATH or postgres://USER@HOST/NAME."`
	To    string `required:"" placeholder:"URL" secret:"" help:"Empty database that takes its place."`
	Again bool   `help:"Copy although the installation has moved from there before; nothing may have been started on the copy made then."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// Run moves an installation to another database. The keys of its folder stay
// where they are.
func (c *copyCommand) Run(ctx context.Context, p *program, g *global) error {
	if g.DB != "" {
		return misused("copy has --from and --to in place of --db")
	}
	from, err := parseDatabase(c.From, g.Data)
	if err != nil || c.From == "" {
		return misused("--from: want sqlite:PATH or postgres://USER@HOST/NAME")
	}
	to, err := parseDatabase(c.To, g.Data)
	if err != nil || c.To == "" {
		return misused("--to: want sqlite:PATH or postgres://USER@HOST/NAME")
	}
	if from.name == to.name {
		return misused("--from and --to are the same database")
	}
	log := g.logger(p.stderr, slog.LevelWarn)
	source, err := from.openSource(ctx, log)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	if !c.Again {
		if err := relocate.Moved(ctx, source); err != nil {
			return fmt.Errorf("%w; if nothing was ever started there, --again copies once more", err)
		}
	}
	dir := g.Data
	if dir == "" && !from.shared() {
		dir = filepath.Dir(from.path)
	}
	if err := undeclared(ctx, folder{dir: dir, db: from}, source, log); err != nil {
		return err
	}
	target, err := to.openTarget(ctx, log)
	if err != nil {
		return err
	}
	report, err := relocate.Run(ctx, relocate.Options{
		From: source, To: target, Target: to.name, Now: time.Now,
		Say: func(format string, args ...any) { fmt.Fprintf(p.stderr, "payoutd: "+format+"\n", args...) },
	})
	if err := errors.Join(err, target.Close()); err != nil {
		return err
	}
	if c.JSON {
		return p.printJSON(report)
	}
	for _, t := range report.Tables {
		p.printf("%-18s %12d rows %10.1f s\n", t.Name, t.Rows, t.Took.Seconds())
	}
	r := report.Books
	p.printf("%-18s %12d rows %10.1f s\n", "all", report.Rows(), report.Took.Seconds())
	p.printf("the books are clean on both sides: %d projects, %d entries, %d sessions, %d payouts (%d live), %d events (%d pending, %d given up)\n",
		r.Projects, r.Entries, r.Sessions, r.Payouts, r.Live, r.Events, r.Pending, r.GivenUp)
	if dir == "" {
		dir = "DIR"
	}
	p.printf("the keys stay in the folder of the installation; go on with: payoutd serve --data %s --db %s\n", quote(dir), quote(to.given()))
	p.printf("%s is marked as left: no server starts on it any more\n", from.shown())
	return nil
}

// undeclared is why a database must not be moved: it went back, as it says or as
// the nodes on its folder know. The copy of one that has not said it would never tell.
func undeclared(ctx context.Context, f folder, s store.Store, log *slog.Logger) error {
	i := installation{folder: f, store: s, log: log}
	restored, err := payout.ReadRestore(ctx, s)
	if err == nil && f.dir != "" {
		restored, err = i.noticeRestore(ctx)
	}
	if err != nil {
		return err
	}
	return restored.Undeclared(f.db.shown(), i.declare())
}

// openSource opens a database that must be there, in the form of this release.
func (d database) openSource(ctx context.Context, log *slog.Logger) (store.Bulk, error) {
	current, target, err := d.versions(ctx)
	switch {
	case err != nil:
		return nil, err
	case current == 0:
		return nil, fault.New(fault.NotFound, "there is no installation in %s", d.shown())
	case current < target:
		return nil, fmt.Errorf("%s has schema %d, this program needs %d; bring it up with: payoutd migrate --db %s",
			d.shown(), current, target, quote(d.given()))
	}
	return d.openBulk(ctx, log)
}

// openTarget opens a database that may be missing or without a schema, and is
// given one then. One that has another schema is somebody's.
func (d database) openTarget(ctx context.Context, log *slog.Logger) (store.Bulk, error) {
	current, target, err := d.versions(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := (folder{dir: filepath.Dir(d.path)}).create(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case current != 0 && current != target:
		return nil, fault.New(fault.WrongState, "%s is not empty: it has schema %d, this program makes %d", d.shown(), current, target)
	}
	if d.shared() && current == 0 {
		if err := d.migrate(ctx, log); err != nil {
			return nil, err
		}
	}
	return d.openBulk(ctx, log)
}

// versions are those of the schema: the one that is there, 0 for none, and the
// one of this program.
func (d database) versions(ctx context.Context) (current, target int64, err error) {
	if d.shared() {
		return postgres.Version(ctx, d.url)
	}
	return sqlite.Version(ctx, d.path)
}

func (d database) openBulk(ctx context.Context, log *slog.Logger) (store.Bulk, error) {
	s, err := d.open(ctx, log)
	if err != nil {
		return nil, err
	}
	return s.(store.Bulk), nil // both engines are
}
