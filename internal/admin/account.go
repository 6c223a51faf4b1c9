package admin

import (
	"context"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
)

// Account is an own account of a project as operators see it.
type Account struct {
	Number string `json:"number"`
	Type   string `json:"type"` // "rko" or "nominal"
	Name   string `json:"name"` // of its owner
	INN    string `json:"inn,omitempty"`
	KPP    string `json:"kpp,omitempty"`
	BIK    string `json:"bik"`
	Bank   string `json:"bank,omitempty"`
	// Correspondent is the bank's account with the Bank of Russia.
	Correspondent string  `json:"correspondent,omitempty"`
	Balance       Balance `json:"balance"`
}

// AccountRequest adds an own account to a project; its balance counts for nothing.
type AccountRequest struct {
	Project id.Project `json:"project"`
	Account Account    `json:"account"`
}

// AccountResult is what came of an AccountRequest.
type AccountResult struct {
	// Repeated says that the project had the account before.
	Repeated bool `json:"repeated"`
}

func (d *desk) addAccount(ctx context.Context, in AccountRequest) (AccountResult, error) {
	a := &in.Account
	repeated, err := d.engine.AddAccount(ctx, in.Project, payout.OwnAccount{Number: a.Number, Owner: partner.Owner{
		Type: instrument.Source(a.Type), Name: a.Name, INN: a.INN, KPP: a.KPP, BIK: a.BIK, BankName: a.Bank, Correspondent: a.Correspondent,
	}})
	if err != nil {
		return AccountResult{}, err
	}
	d.log.InfoContext(ctx, "account added", "project", in.Project, "type", a.Type, "account", a.Number, "repeated", repeated)
	return AccountResult{repeated}, nil
}

// accounts lists the own accounts of a project.
func (d *desk) accounts(ctx context.Context, p id.Project) ([]Account, error) {
	list, err := d.engine.Accounts(ctx, p)
	if err != nil {
		return nil, err
	}
	shown := []Account{} // an empty JSON array, not null
	for i := range list {
		shown = append(shown, accountOf(&list[i]))
	}
	return shown, nil
}

func accountOf(a *store.Account) Account {
	o := &a.Owner
	return Account{
		Number: a.Number, Type: string(o.Type), Name: o.Name, INN: o.INN, KPP: o.KPP, BIK: o.BIK, Bank: o.BankName,
		Correspondent: o.Correspondent, Balance: balanceOf(a.Balance),
	}
}
