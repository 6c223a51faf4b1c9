package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store/sqlite"
)

type backupCommand struct {
	File string `arg:"" help:"File of the copy, which must not be there."`
}

// Run makes a copy of the database that no server starts on before a restore is
// declared: what happens after it, it does not know.
func (c *backupCommand) Run(ctx context.Context, p *program, g *global) error {
	f, err := g.folder()
	if err != nil {
		return err
	}
	if f.db.shared() {
		return misused("backup copies a SQLite database; of PostgreSQL take pg_basebackup and its write-ahead log, see docs/backup.md")
	}
	to, err := filepath.Abs(c.File)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := sqlite.Backup(ctx, f.db.path, to); err != nil {
		return err
	}
	if err := mark(ctx, to); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	info, err := os.Stat(to)
	if err != nil {
		return err
	}
	p.printf("copied %s to %s: %.1f MB in %.1f s\n", f.db.shown(), shown(to), float64(info.Size())/1e6, time.Since(began).Seconds())
	p.printf("a restore needs more, which is not in it:\n")
	p.printf("  %s; each that there ever was, and apart from the copy: who has both reads card numbers\n", f.vaultKeyShown())
	for _, kind := range slices.Sorted(maps.Keys(serverKeyFiles)) {
		p.printf("  %s, which signs webhooks\n", shown(f.path(serverKeyFiles[kind].private)))
	}
	p.printf("  the settings that serve runs with, and the files of payoutd archive\n")
	return nil
}

// vaultKeyShown is where the vault key comes from.
func (f folder) vaultKeyShown() string {
	from := shown(f.path("vault.key"))
	if f.vaultKey != "" {
		from = "the vault key of PAYOUTD_VAULT_KEY"
	}
	if f.kms != nil {
		from += " with the key service that it is under"
	}
	return from
}

// mark makes a file a copy that is to be kept.
func mark(ctx context.Context, path string) error {
	s, err := sqlite.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	return errors.Join(payout.MarkCopy(ctx, s), s.Close(), os.Remove(path+".lock"))
}
