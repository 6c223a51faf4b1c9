package payout

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// nameMax is the length of the name of an owner or a bank.
const nameMax = 255

// OwnAccount is an account of a project's own to be added.
type OwnAccount struct {
	Number string
	Owner  partner.Owner
}

func (a *OwnAccount) check() error {
	o := &a.Owner
	bad := func(name, format string, args ...any) error {
		return fault.New(fault.Invalid, name+": "+format, args...)
	}
	switch {
	case !slices.Contains(instrument.Sources, o.Type):
		return bad("type", "want rko or nominal")
	case !instrument.OwnAccount(a.Number):
		return bad("number", "want 20 digits, a rouble account that begins with 40701, 40702, 40703, 40802 or 40807")
	case o.Name == "" || utf8.RuneCountInString(o.Name) > nameMax || !printable(o.Name):
		return bad("name", "want 1 to %d characters in one line", nameMax)
	case utf8.RuneCountInString(o.BankName) > nameMax || !printable(o.BankName):
		return bad("bank_name", "want at most %d characters in one line", nameMax)
	case o.INN != "" && !instrument.INN(o.INN):
		return bad("inn", "want a taxpayer number of 10 or 12 digits with right check digits")
	case o.KPP != "" && !instrument.KPP(o.KPP):
		return bad("kpp", "want 9 digits")
	case !instrument.BIK(o.BIK):
		return bad("bik", "want 9 digits")
	case o.Correspondent != "" && !instrument.AccountNumber(o.Correspondent):
		return bad("correspondent", "want 20 digits")
	}
	return nil
}

// errAnothers refuses an account that another project has.
var errAnothers error = fault.New(fault.Invalid, "number: the account is another project's")

// AddAccount gives a project an account of its own to pay from. It reports
// whether the project had it before; with another owner that is fault.Invalid,
// and so is an account that another project has. The key that addAccount burns
// keeps two projects apart that ask at once; what is looked up here are accounts
// that were added before there was one.
func (e *Engine) AddAccount(ctx context.Context, p id.Project, a OwnAccount) (bool, error) {
	if err := a.check(); err != nil {
		return false, err
	}
	projects, err := e.store.Projects(ctx)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(projects, func(of partner.Project) bool { return of.ID == p }) {
		return false, fault.New(fault.NotFound, "no project %s", p)
	}
	for i := range projects {
		if projects[i].ID == p {
			continue
		}
		switch _, err := e.store.Account(ctx, store.AccountKey{Project: projects[i].ID, Number: a.Number}); {
		case err == nil:
			return false, errAnothers
		case fault.CodeOf(err) != fault.NotFound:
			return false, err
		}
	}
	return e.add(ctx, p, a)
}

func (e *Engine) add(ctx context.Context, p id.Project, a OwnAccount) (bool, error) {
	answer, err := e.do(ctx, &addAccount{store.AccountKey{Project: p, Number: a.Number}, a.Owner})
	return answer.Replayed, err
}

// GiveAccounts adds the own accounts that every new project gets, which are no
// other's, where they are not there.
func (e *Engine) GiveAccounts(ctx context.Context, p id.Project) error {
	if e.accounts == nil {
		return nil
	}
	for _, a := range e.accounts(p) {
		if err := a.check(); err != nil {
			return err
		}
		if _, err := e.add(ctx, p, a); err != nil {
			return err
		}
	}
	return nil
}

// addAccount adds an own account to a project.
type addAccount struct {
	key   store.AccountKey
	owner partner.Owner
}

// keyRef is without a project, so that of all projects one burns it.
func (c *addAccount) keyRef() store.KeyRef {
	return store.KeyRef{Scope: store.ScopeAccount, Key: c.key.Number}
}

func (c *addAccount) reads(names *store.Reads) {
	names.Keys = append(names.Keys, c.keyRef())
	names.Books = append(names.Books, c.key.Project)
	names.Accounts = append(names.Accounts, c.key)
}

func (c *addAccount) decide(t *tx) (Answer, error) {
	if there, ok := t.rows.Accounts[c.key]; ok {
		if there.Owner != c.owner {
			return Answer{}, fault.New(fault.Invalid, "number: the project has the account with another type or owner")
		}
		return Answer{Replayed: true}, nil
	}
	if _, burnt := t.rows.Keys[c.keyRef()]; burnt {
		return Answer{}, errAnothers
	}
	t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: c.keyRef(), At: t.now})
	t.own.Accounts = append(t.own.Accounts, &store.Account{
		OwnAccount: ledger.OwnAccount{Project: c.key.Project, Number: c.key.Number}, Owner: c.owner, CreatedAt: t.now,
	})
	return Answer{}, nil
}

// Accounts lists the own accounts of a project by number.
func (e *Engine) Accounts(ctx context.Context, p id.Project) ([]store.Account, error) {
	return e.store.Accounts(ctx, p)
}

// account is a copy of an own account that the command named, or a session that
// it named, to be changed in place; fault.NotFound if the project has none such.
func (t *tx) account(p id.Project, number string) (*store.Account, error) {
	k := store.AccountKey{Project: p, Number: number}
	for _, a := range t.own.Accounts {
		if a.Key() == k {
			return a, nil
		}
	}
	a, ok := t.rows.Accounts[k]
	if !ok {
		return nil, fault.New(fault.NotFound, "project %s has no account %s", p, number)
	}
	own := *a
	return &own, nil
}

// covers reports whether the balance, or the own account that is named, has so
// much to be held.
func (t *tx) covers(p id.Project, number string, minor int64) (bool, error) {
	if number == "" {
		book, err := t.ledger(p)
		return err == nil && book.Covers(minor), err
	}
	a, err := t.account(p, number)
	return err == nil && a.Covers(minor), err
}

// sourced refuses a payout from an account that is not one of the project's own,
// of the kind that the path names.
func (t *tx) sourced(p id.Project, d *session.Details) error {
	if d.Source == "" {
		return nil
	}
	a, ok := t.rows.Accounts[store.AccountKey{Project: p, Number: d.Account}]
	switch {
	case !ok || a.Owner.Type != d.Source:
		return fault.New(fault.Invalid, "%s: is not one of the project's %s accounts", wire.SenderAccount, d.Source)
	case d.Amount.Currency != money.RUB:
		return fault.New(fault.Invalid, "amount_details.currency: a payout from a settlement or escrow account is in rub")
	}
	return nil
}

// transfer is a payout from an own account as the bank books it.
func (t *tx) transfer(s *session.Session, p *session.Payout, to session.Party) (*session.Transfer, error) {
	a, err := t.account(s.Project, p.Details.Account)
	if err != nil {
		return nil, err
	}
	made := &session.Transfer{
		Sender: session.Party{
			Account: a.Number, Name: a.Owner.Name, BankName: a.Owner.BankName, BIK: a.Owner.BIK,
			Correspondent: a.Owner.Correspondent, INN: a.Owner.INN, KPP: a.Owner.KPP,
		},
		Recipient: to,
	}
	switch i := p.Details.Instrument; {
	case i.Account != nil:
		made.Purpose = i.Account.Description
	case i.FPS != nil:
		made.Purpose = i.FPS.Description
	}
	return made, nil
}

// party is the recipient of an order. Of an account that is known to the partner
// by a token, it shows what the token shows.
func party(o *rail.Order, sent *instrument.Instrument, bank rail.Bank) session.Party {
	to := session.Party{Name: o.Recipient, BankName: bank.Name, Correspondent: bank.Correspondent}
	switch d := o.Destination; {
	case d.Account != nil:
		to.Account, to.BIK, to.INN, to.KPP = d.Account.Number, d.Account.BIK, d.Account.INN, d.Account.KPP
		if sent.Account.Sealed != 0 {
			to.Account = vault.ShownAccount(d.Account.Number).Masked
		}
	case d.FPS != nil:
		to.Account = d.FPS.Phone
		if i := slices.IndexFunc(instrument.Banks, func(b instrument.Bank) bool { return b.ID == d.FPS.BankID }); i >= 0 && bank.Name == "" {
			to.BankName = instrument.Banks[i].Rus
		}
	}
	return to
}

// own finds an own account for a report.
func (e *Engine) own(ctx context.Context, c Call, number string) (*store.Account, error) {
	a, err := e.store.Account(ctx, store.AccountKey{Project: c.Project.ID, Number: number})
	if fault.CodeOf(err) == fault.NotFound {
		return nil, fault.New(fault.Invalid, "account_number: is not an account of the project")
	}
	return a, err
}

// AccountBalance shows what is on an own account.
func (e *Engine) AccountBalance(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	a, err := e.own(ctx, c, r.Report.Account)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Body: wire.AccountBalance(a.Number, a.Booked())}, nil
}

// AccountStatement shows one day of an own account.
func (e *Engine) AccountStatement(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	a, err := e.own(ctx, c, r.Report.Account)
	if err != nil {
		return Answer{}, err
	}
	from := r.Report.Day
	told, err := e.store.AccountHistory(ctx, a.Key(), from, from.Add(24*time.Hour))
	if err != nil {
		return Answer{}, err
	}
	s := wire.Statement{Report: r.Report, Opening: told.Opening}
	for i := range told.Movements {
		if m := &told.Movements[i]; m.Transfer == nil && m.Entry.Session != 0 {
			return Answer{}, fault.New(fault.WrongState, "date: payouts of this day are archived, there is no statement of it any more")
		}
		s.Lines = append(s.Lines, lines(&told.Movements[i], &a.Owner)...)
	}
	return Answer{Body: s.Write()}, nil
}

// lines are what an entry is on a statement: the bank books the transfer and its
// fee as two (wire reference, core §3.10).
func lines(m *store.AccountMovement, owner *partner.Owner) []wire.Line {
	e := &m.Entry
	line := wire.Line{ID: strconv.FormatInt(e.No, 10), Minor: e.Change.Available + e.Change.Held, At: e.At}
	if m.Transfer == nil {
		line.Purpose = "deposit " + e.Reference
		return []wire.Line{line}
	}
	line.Session, line.Payout = e.Session.String(), e.Payout.String()
	line.Other, line.Purpose = m.Transfer.Recipient, m.Transfer.Purpose
	fee := -e.Change.Fees
	if e.Kind == ledger.KindReturn {
		line.Purpose = "return: " + line.Purpose
	}
	if fee == 0 {
		return []wire.Line{line}
	}
	line.Minor -= fee
	bank := line
	bank.ID, bank.Minor, bank.Purpose = line.ID+"/fee", fee, fmt.Sprintf("fee of %s", e.Payout)
	bank.Other = session.Party{Name: owner.BankName, BIK: owner.BIK}
	return []wire.Line{line, bank}
}

// DepositTo is Deposit to an own account of the project.
func (e *Engine) DepositTo(ctx context.Context, p id.Project, account string, a money.Amount, reference string) (bool, error) {
	if account != "" && !instrument.AccountNumber(account) {
		return false, fault.New(fault.Invalid, "account: want 20 digits")
	}
	return e.deposit(ctx, p, account, a, reference)
}

// print is what the reference of a deposit stands for; of one to the balance as
// it was before there were other accounts.
func (d *deposit) print() [sha256.Size]byte {
	text := strconv.AppendInt(nil, d.minor, 10)
	if d.account != "" {
		text = append(append(text, ' '), d.account...)
	}
	return sha256.Sum256(text)
}
