package main

import (
	"context"
	"fmt"
)

type checkCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run fails if the books are not clean.
func (c *checkCommand) Run(ctx context.Context, p *program, g *global) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	r, err := desk.Check(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := p.printJSON(r); err != nil {
			return err
		}
	} else {
		p.printf("%s, %s, %s, %s (%d live), %s (%d pending, %d given up), %s\n",
			count(r.Projects, "project", "projects"), count(r.Entries, "entry", "entries"), count(r.Sessions, "session", "sessions"),
			count(r.Payouts, "payout", "payouts"), r.Live, count(r.Events, "event", "events"), r.Pending, r.GivenUp,
			count(r.Statements, "statement", "statements"))
		if r.Differences > 0 {
			p.printf("%s of statements, see %s statement list%s\n", count(r.Differences, "difference", "differences"), p.name, g.flags())
		}
		for _, problem := range r.Problems {
			p.printf("problem: %s\n", problem)
		}
	}
	if !r.Clean() {
		return fmt.Errorf("the books are not clean: %s", count(len(r.Problems), "problem", "problems"))
	}
	if !c.JSON {
		p.printf("the books are clean\n")
	}
	return nil
}
