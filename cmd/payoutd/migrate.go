package main

import (
	"context"

	"github.com/payoutd/payoutd/internal/store/sqlite"
)

type migrateCommand struct{}

func (c *migrateCommand) Run(ctx context.Context, p *program, g *global) error {
	f, err := g.folder()
	if err != nil {
		return err
	}
	if err := f.create(); err != nil {
		return err
	}
	if err := sqlite.Migrate(ctx, f.database); err != nil {
		return err
	}
	version, _, err := sqlite.Version(ctx, f.database)
	if err != nil {
		return err
	}
	p.printf("%s has schema %d\n", shown(f.database), version)
	return nil
}
