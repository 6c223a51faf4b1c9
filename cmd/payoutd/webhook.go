package main

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/webhook"
)

type webhookCommand struct {
	List   webhookListCommand   `cmd:"" help:"List webhook events with their attempts."`
	Replay webhookReplayCommand `cmd:"" help:"Deliver events again, with the same body, signature and headers."`
}

type webhookListCommand struct {
	Project string           `arg:"" help:"Name of the project."`
	Session string           `arg:"" optional:"" help:"Session, such as ps_1; without it all."`
	Status  []webhook.Status `placeholder:"LIST" help:"Of pending, delivered, given_up, muted; without it all of a session, or else what is pending or given up."`
	From    time.Time        `placeholder:"TIME" help:"Made then or later, such as 2026-01-31T12:00:00Z."`
	To      time.Time        `placeholder:"TIME" help:"Made before then."`
	Limit   int              `default:"100" help:"At most so many, the oldest first; up to 1000."`
	JSON    bool             `name:"json" help:"Print JSON."`
}

func (c *webhookListCommand) Run(ctx context.Context, p *program, g *global) error {
	none := "no such events"
	if len(c.Status) == 0 && c.Session == "" {
		none = "nothing is pending or given up; for what was delivered: --status delivered"
		c.Status = []webhook.Status{webhook.Pending, webhook.GivenUp}
	}
	return p.withProject(ctx, g, c.Project, func(desk *admin.Client, name id.Project) error {
		events, err := desk.Webhooks(ctx, admin.WebhooksRequest{
			Project: name, Session: c.Session, Statuses: c.Status, From: c.From, To: c.To, Limit: c.Limit,
		})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return p.printJSON(events)
		case len(events) == 0:
			p.printf("%s\n", none)
			return nil
		}
		if err := p.table(func(row func(...any)) {
			row("SESSION", "N", "EVENT", "TYPE", "STATUS", "MADE", "LOG")
			for i := range events {
				showEvent(row, &events[i])
			}
		}); err != nil {
			return err
		}
		if len(events) == c.Limit {
			p.printf("there may be more: ask for a later time with --from, or for more with --limit\n")
		}
		return nil
	})
}

// showEvent prints an event and, below it, its log.
func showEvent(row func(...any), e *admin.Webhook) {
	next := ""
	if e.Due != nil {
		next = "due " + e.Due.Format(time.RFC3339)
	}
	row(e.Session, e.N, e.ID, e.Type, e.Status, e.CreatedAt.Format(time.RFC3339), next)
	for _, l := range e.Log {
		what := l.Error
		if what == "" {
			what = "delivered"
		}
		row("", "", "", "", "", "", l.At.Format(time.RFC3339)+" "+what)
	}
}

type webhookReplayCommand struct {
	Project string    `arg:"" help:"Name of the project."`
	Session string    `arg:"" optional:"" help:"Session of the one event, such as ps_1."`
	N       int       `arg:"" optional:"" help:"Its number in the session, as webhook list prints it."`
	GivenUp bool      `help:"All events that were given up."`
	From    time.Time `placeholder:"TIME" help:"Of these: made then or later, such as 2026-01-31T12:00:00Z."`
	To      time.Time `placeholder:"TIME" help:"Of these: made before then."`
}

func (c *webhookReplayCommand) Run(ctx context.Context, p *program, g *global) error {
	bounded := !c.From.IsZero() || !c.To.IsZero()
	switch one := c.Session != ""; {
	case one == c.GivenUp, one && (c.N < 1 || bounded):
		return misused("want one event or all that were given up; such as: %s webhook replay %s ps_1 2, or %s webhook replay %s --given-up",
			p.name, c.Project, p.name, c.Project)
	case bounded && !c.To.IsZero() && !c.From.Before(c.To):
		return misused("--from, --to: the time is empty")
	}
	return p.withProject(ctx, g, c.Project, func(desk *admin.Client, name id.Project) error {
		done, err := desk.Replay(ctx, admin.ReplayRequest{Project: name, Session: c.Session, N: c.N, From: c.From, To: c.To})
		if err != nil {
			return err
		}
		p.printf("to be delivered again: %d\n", done.Events)
		return nil
	})
}
