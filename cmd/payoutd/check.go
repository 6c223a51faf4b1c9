package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
)

type checkCommand struct {
	JSON bool       `name:"json" help:"Print JSON."`
	Head []keptHead `placeholder:"PROJECT:ENTRY:HASH" help:"A head that an earlier check has printed: the ledger must go through it."`
}

// keptHead is a head as a check prints it.
type keptHead payout.Head

func (h *keptHead) UnmarshalText(b []byte) error {
	part := strings.Split(string(b), ":")
	if len(part) == 3 {
		no, err := strconv.ParseInt(part[1], 10, 64)
		*h = keptHead{id.Project(part[0]), no, part[2]}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("want PROJECT:ENTRY:HASH, not %q", b)
}

// Run fails if the books are not clean.
func (c *checkCommand) Run(ctx context.Context, p *program, g *global) error {
	var kept []payout.Head
	for _, h := range c.Head {
		kept = append(kept, payout.Head(h))
	}
	return p.prove(ctx, g, c.JSON, func(desk *admin.Client) (*payout.Report, error) { return desk.Check(ctx, kept...) })
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
			p.printf("head %s:%d:%s\n", h.Project, h.Entries, h.Hash)
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
