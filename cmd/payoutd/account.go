package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
)

type projectAccountCommand struct {
	Add  projectAccountAddCommand  `cmd:"" help:"Let a project pay from an account of its own at the bank."`
	List projectAccountListCommand `cmd:"" help:"List the accounts of a project with what is on them."`
}

type projectAccountAddCommand struct {
	ID            string `arg:"" help:"Name of the project."`
	Type          string `required:"" placeholder:"TYPE" help:"rko for a settlement account, nominal for an escrow account."`
	Number        string `required:"" placeholder:"ACCOUNT" help:"20 digits that begin with 40701, 40702, 40703, 40802 or 40807."`
	Name          string `required:"" placeholder:"NAME" help:"Whose it is, as recipients are told."`
	BIK           string `name:"bik" required:"" placeholder:"BIK" help:"The bank that has it."`
	INN           string `name:"inn" placeholder:"INN" help:"Taxpayer number of the owner."`
	KPP           string `name:"kpp" placeholder:"KPP" help:"Tax registration reason code of the owner."`
	Bank          string `placeholder:"NAME" help:"Name of the bank."`
	Correspondent string `placeholder:"ACCOUNT" help:"The bank's account with the Bank of Russia."`
}

// Run adds the account. Its type and owner can't be changed afterwards.
func (c *projectAccountAddCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withProject(ctx, g, c.ID, func(desk *admin.Client, name id.Project) error {
		done, err := desk.AddAccount(ctx, admin.AccountRequest{Project: name, Account: admin.Account{
			Number: c.Number, Type: c.Type, Name: c.Name, INN: c.INN, KPP: c.KPP, BIK: c.BIK, Bank: c.Bank, Correspondent: c.Correspondent,
		}})
		switch {
		case err != nil:
			return err
		case done.Repeated:
			p.printf("project %s had the account %s before; nothing changed\n", name, c.Number)
		default:
			p.printf("project %s may pay from its %s account %s\n", name, c.Type, c.Number)
		}
		p.printf("next: %s deposit %s 1000.00 rub --account %s%s\n", p.name, name, c.Number, g.flags())
		return nil
	})
}

type projectAccountListCommand struct {
	ID   string `arg:"" help:"Name of the project."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (c *projectAccountListCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withProject(ctx, g, c.ID, func(desk *admin.Client, name id.Project) error {
		q, err := desk.Project(ctx, name)
		if err != nil {
			return err
		}
		if c.JSON {
			return p.printJSON(q.Accounts)
		}
		if len(q.Accounts) == 0 {
			p.printf("project %s has no account of its own; add one with: %s project account add %s --type rko --number ACCOUNT --name NAME --bik BIK%s\n",
				name, p.name, name, g.flags())
			return nil
		}
		return p.table(func(row func(...any)) {
			row("ACCOUNT", "TYPE", "AVAILABLE", "HELD", "OWNER")
			for _, a := range q.Accounts {
				row(a.Number, a.Type, a.Balance.Available, a.Balance.Held, a.Name)
			}
		})
	})
}

// The bank of a sandbox, where every project has an account of each type.
const (
	sandboxBIK           = "044525131"
	sandboxCorrespondent = "30101810000000000131"
)

// sandboxAccounts are the own accounts of a project in a sandbox: the same
// numbers for the same name, with a right key.
func sandboxAccounts(p id.Project) []payout.OwnAccount {
	var list []payout.OwnAccount
	for _, kind := range instrument.Sources {
		prefix := map[instrument.Source]string{instrument.RKO: "40702810", instrument.Nominal: "40701810"}[kind]
		sum := sha256.Sum256([]byte(string(kind) + " " + string(p)))
		number := binary.BigEndian.Uint64(sum[:]) % 1e11
		for key := range 10 {
			account := fmt.Sprintf("%s%d%011d", prefix, key, number)
			if !instrument.AccountKey(sandboxBIK, account) {
				continue
			}
			list = append(list, payout.OwnAccount{Number: account, Owner: partner.Owner{
				Type: kind, Name: string(p), INN: "7700000136", KPP: "770001001",
				BIK: sandboxBIK, BankName: "Sandbox", Correspondent: sandboxCorrespondent,
			}})
			break
		}
	}
	return list
}
