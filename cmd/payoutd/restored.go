package main

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
)

type restoredCommand struct {
	Declare restoredDeclareCommand `cmd:"" help:"Say that the database was restored to an earlier state, before any server starts on it."`
	Show    restoredShowCommand    `cmd:"" help:"Show what is lost, what is proved of it, and which payments nobody knows."`
	Rate    restoredRateCommand    `cmd:"" help:"Tell the rate of a payout that a rail made in the lost time and whose own is lost."`
	Release restoredReleaseCommand `cmd:"" help:"Let new payouts go, once statements of the rails tell of the whole lost time."`
}

type restoredDeclareCommand struct {
	At    time.Time `placeholder:"TIME" help:"Moment to which it was restored, such as 2026-03-01T12:00:00Z (default: what the database says)."`
	Until time.Time `placeholder:"TIME" help:"When the last server had ended that worked on the later state (default: now)."`
	JSON  bool      `name:"json" help:"Print JSON."`
}

func (c *restoredDeclareCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		r, err := desk.DeclareRestore(ctx, admin.DeclareRestoreRequest{At: timeOrNil(c.At), Until: timeOrNil(c.Until)})
		if err != nil || c.JSON {
			return orJSON(p, r, err)
		}
		p.printf("what happened from %s to %s is lost\n", stamp(r.From), stamp(r.To))
		p.printf("start the servers: they ask the rails about every payout that is known, and hold new ones back\n")
		p.printf("then take in the statements of that time, and see: %s restored show%s\n", p.name, g.flags())
		return nil
	})
}

type restoredShowCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *restoredShowCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		r, err := desk.Restore(ctx)
		if err != nil || c.JSON {
			return orJSON(p, r, err)
		}
		return p.showRestore(&r)
	})
}

type restoredRateCommand struct {
	Project string `arg:"" help:"Project."`
	Session string `arg:"" help:"Session, such as ps_1."`
	Payout  string `arg:"" help:"Payout, such as po_1."`
	Rate    string `arg:"" help:"Roubles for one unit, such as 81.25: what the partner was told, or what the rail has paid divided by the amount."`
}

func (c *restoredRateCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		if err := desk.PriceRestored(ctx, admin.PriceRestoredRequest{Project: id.Project(c.Project), Session: c.Session, Payout: c.Payout, Rate: c.Rate}); err != nil {
			return err
		}
		p.printf("the books follow as soon as a server asks the rail again\n")
		return nil
	})
}

type restoredReleaseCommand struct {
	Despite string `placeholder:"REASON" help:"Release without proof, for this reason, which goes into the audit."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

func (c *restoredReleaseCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		r, err := desk.ReleaseRestore(ctx, admin.ReleaseRestoreRequest{Despite: c.Despite})
		if err != nil || c.JSON {
			return orJSON(p, r, err)
		}
		p.printf("new payouts go on\n")
		return nil
	})
}

// restoreStates are the states in words.
var restoreStates = map[payout.RestoreState]string{
	payout.RestoreNoticed:  "the database is an earlier state, and no server starts on it before the restore is declared",
	payout.RestoreAsking:   "rails are to be asked about every payout that is known; nothing else is done before",
	payout.RestoreHeld:     "the rails were asked; new payouts are held back",
	payout.RestoreReleased: "everything goes on",
}

func (p *program) showRestore(r *admin.Restore) error {
	if r.State == payout.RestoreNone {
		p.printf("the database was never restored\n")
		return nil
	}
	p.printf("%s\n", restoreStates[r.State])
	if r.DeclaredAt == nil {
		return nil
	}
	p.printf("lost: from %s to %s, declared at %s by %s\n", stamp(r.From), stamp(r.To), stamp(r.DeclaredAt), r.DeclaredBy)
	if r.ReleasedAt != nil {
		p.printf("released at %s by %s\n", stamp(r.ReleasedAt), r.ReleasedBy)
		if r.Despite != "" {
			p.printf("without proof: %s\n", r.Despite)
		}
	}
	if len(r.Rails) == 0 {
		p.printf("no rail is connected here: a server that has them knows whose statements are needed\n")
	}
	for _, of := range r.Rails {
		what := "its statements tell of the whole lost time"
		if !of.Covered {
			what = "its statements do not tell of all from " + stamp(&of.From) + " to " + stamp(&of.To)
		}
		p.printf("rail %s: %s\n", of.Rail, what)
	}
	if len(r.Unknown) == 0 {
		return nil
	}
	p.printf("payments of that time that nobody here knows:\n")
	return p.table(func(row func(...any)) {
		row("AT", "REFERENCE", "RAIL ID", "AMOUNT")
		for i := range r.Unknown {
			d := &r.Unknown[i]
			row(stamp(&d.At), d.Reference, d.RailID, orNothing(d.Theirs))
		}
	})
}

func orJSON(p *program, v any, err error) error {
	if err != nil {
		return err
	}
	return p.printJSON(v)
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
