package main

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/money"
)

type depositCommand struct {
	Project   string `arg:"" help:"Name of the project."`
	Amount    string `arg:"" help:"Amount in major units, such as 1000000.00."`
	Currency  string `arg:"" help:"Currency: rub."`
	Account   string `placeholder:"NUMBER" help:"Account of the project's own that the money is on; its balance without it."`
	Reference string `placeholder:"R" help:"Booked once, however often it is sent; such as the number of the payment order. Without it one is made up and printed first: repeat a command that was cut off with that."`
}

func (c *depositCommand) Run(ctx context.Context, p *program, g *global) error {
	amount, err := money.Parse(c.Amount, c.Currency)
	if err != nil {
		return misused("%v; such as: %s deposit %s 1000.00 rub", err, p.name, c.Project)
	}
	if amount.Currency != money.RUB || amount.Minor <= 0 {
		return misused("a deposit is above zero and in rub; such as: %s deposit %s 1000.00 rub", p.name, c.Project)
	}
	return p.withProject(ctx, g, c.Project, func(desk *admin.Client, name id.Project) error {
		if c.Reference == "" {
			c.Reference = "shell-" + strings.ToLower(rand.Text())
			p.printf("reference: %s\n", c.Reference) // before anything can be lost
		}
		done, err := desk.Deposit(ctx, admin.DepositRequest{Project: name, Amount: amount, Reference: c.Reference, Account: c.Account})
		switch {
		case err != nil:
			return err
		case done.Repeated:
			p.printf("reference %s was booked before: nothing is booked now\n", c.Reference)
		default:
			p.printf("booked %s for %s\n", amount, name)
		}
		p.printf("available: %s RUB\n", done.Available)
		return nil
	})
}
