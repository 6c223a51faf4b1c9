package main

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/tax"
)

type receiptsCommand struct {
	List    receiptsListCommand    `cmd:"" help:"List receipts for which there is something left to do, the most urgent first."`
	Retry   receiptsRetryCommand   `cmd:"" help:"Try at once what a receipt waits for."`
	Compare receiptsCompareCommand `cmd:"" help:"Compare the receipts of a day with those of the tax service."`
}

type receiptsListCommand struct {
	Project string               `placeholder:"NAME" help:"Of this project alone."`
	State   session.ReceiptState `placeholder:"STATE" help:"Of due, registering, refused, undoing, cancelling, releasing; without it all."`
	JSON    bool                 `name:"json" help:"Print JSON."`
}

func (c *receiptsListCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		open, err := desk.Receipts(ctx, admin.ReceiptsRequest{Project: id.Project(c.Project), State: c.State})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return p.printJSON(open)
		case len(open) == 0:
			p.printf("nothing is left to do\n")
			return nil
		}
		return p.table(func(row func(...any)) {
			row("PROJECT", "SESSION", "PAYOUT", "STATE", "INN", "AMOUNT", "REGISTER UNTIL", "TRIED AGAIN", "REFUSED")
			for _, r := range open {
				until := ""
				if r.Deadline != nil { // the day that is over then
					until = r.Deadline.Add(-time.Second).In(tax.Moscow).Format(time.DateOnly)
				}
				row(r.Project, r.Session, r.Payout, r.State, r.INN, r.Amount, until, r.Next.Format(time.RFC3339), r.Denied)
			}
		})
	})
}

type receiptsRetryCommand struct {
	Payout string `arg:"" help:"Payout, such as po_1."`
}

func (c *receiptsRetryCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		r, err := desk.RetryReceipt(ctx, admin.RetryRequest{Payout: c.Payout})
		if err != nil {
			return err
		}
		p.printf("the receipt of %s is tried again; it was %s\n", r.Payout, r.State)
		return nil
	})
}

type receiptsCompareCommand struct {
	Day  string `required:"" placeholder:"DATE" help:"Day in Moscow, such as 2026-03-02."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (c *receiptsCompareCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		found, err := desk.CompareReceipts(ctx, admin.CompareRequest{Day: c.Day})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return p.printJSON(found)
		case len(found) == 0:
			p.printf("no difference\n")
			return nil
		}
		return p.table(func(row func(...any)) {
			row("DIFFERENCE", "PROJECT", "SESSION", "OPERATION", "RECEIPT", "OURS", "THEIRS")
			for _, d := range found {
				row(d.Kind, d.Project, d.Session, d.Operation, d.Receipt, d.Ours, d.Theirs)
			}
		})
	})
}

// withDesk does something at the desk of an installation that is there.
func (p *program) withDesk(ctx context.Context, g *global, do func(*admin.Client) error) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	return do(desk)
}
