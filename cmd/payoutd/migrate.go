package main

import (
	"context"
	"log/slog"
)

type migrateCommand struct{}

// Run brings the schema up and makes nothing else: no keys, no project.
func (c *migrateCommand) Run(ctx context.Context, p *program, g *global) error {
	f, err := g.folder()
	if err != nil {
		return err
	}
	if !f.db.shared() {
		if err := f.create(); err != nil {
			return err
		}
	}
	if err := f.db.migrate(ctx, g.logger(p.stderr, slog.LevelWarn)); err != nil {
		return err
	}
	version, err := f.db.version(ctx)
	if err != nil {
		return err
	}
	p.printf("%s has schema %d\n", f.db.shown(), version)
	return nil
}
