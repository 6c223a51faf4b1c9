package main

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
)

type alarmsCommand struct {
	Limit int  `default:"100" help:"At most so many, up to 1000."`
	JSON  bool `name:"json" help:"Print JSON."`
}

func (c *alarmsCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		alarms, err := desk.Alarms(ctx, admin.AlarmsRequest{Limit: c.Limit})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return p.printJSON(alarms)
		case len(alarms) == 0:
			p.printf("no alarms\n")
			return nil
		}
		return p.table(func(row func(...any)) {
			row("AT", "ALARM", "PROJECT", "SESSION", "PAYOUT", "")
			for _, a := range alarms {
				row(a.At.Format(time.RFC3339), a.Kind, orNone(string(a.Project)), orNone(a.Session), orNone(a.Payout), a.Text)
			}
		})
	})
}
