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
		p.printf("%d projects, %d entries, %d sessions, %d payouts (%d live), %d events (%d pending, %d given up), %d statements, %d differences\n",
			r.Projects, r.Entries, r.Sessions, r.Payouts, r.Live, r.Events, r.Pending, r.GivenUp, r.Statements, r.Differences)
		for _, problem := range r.Problems {
			p.printf("problem: %s\n", problem)
		}
	}
	if !r.Clean() {
		return fmt.Errorf("the books are not clean: %d problems", len(r.Problems))
	}
	if !c.JSON {
		p.printf("the books are clean\n")
	}
	return nil
}
