package main

import (
	"context"
	"fmt"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/payout"
)

type checkCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run fails if the books are not clean.
func (c *checkCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.prove(ctx, g, c.JSON, func(desk *admin.Client) (*payout.Report, error) { return desk.Check(ctx) })
}

// prove prints what a check of the books has found, and fails if they are not
// clean.
func (p *program) prove(ctx context.Context, g *global, asJSON bool, check func(*admin.Client) (*payout.Report, error)) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	r, err := check(desk)
	if err != nil {
		return err
	}
	if asJSON {
		if err := p.printJSON(r); err != nil {
			return err
		}
	} else {
		p.printf("%s, %s, %s, %s (%d live), %s (%d pending, %d given up), %s\n",
			count(r.Projects, "project", "projects"), count(r.Entries, "entry", "entries"), count(r.Sessions, "session", "sessions"),
			count(r.Payouts, "payout", "payouts"), r.Live, count(r.Events, "event", "events"), r.Pending, r.GivenUp,
			count(r.Statements, "statement", "statements"))
		if r.Archived > 0 {
			p.printf("%s archived, %d of them proved from files\n", count(r.Archived, "session is", "sessions are"), r.Proved)
		}
		if r.Differences > 0 {
			p.printf("%s of statements, see %s statement list%s\n", count(r.Differences, "difference", "differences"), p.name, g.flags())
		}
		for _, h := range r.Heads {
			p.printf("head of %s: entry %d, %s\n", h.Project, h.Entries, h.Hash)
		}
		for _, problem := range r.Problems {
			p.printf("problem: %s\n", problem)
		}
	}
	if !r.Clean() {
		return fmt.Errorf("the books are not clean: %s", count(len(r.Problems), "problem", "problems"))
	}
	if !asJSON {
		p.printf("the books are clean\n")
	}
	return nil
}
