package simulation

import (
	"cmp"
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

// Accounts of projects' own, and who works in the console, whom the contract has
// and the simulated world has not.

// open gives a project an account before anything else happens.
func (m *memory) open(k store.AccountKey, owner partner.Owner, at time.Time) {
	m.accounts[k] = store.Account{OwnAccount: ledger.OwnAccount{Project: k.Project, Number: k.Number, Revision: 1}, Owner: owner, CreatedAt: at}
}

// account writes an own account, of which only the balance changes.
func (w *writing) account(a *store.Account) error {
	sum, fits := a.Balance.Sum()
	if sum != 0 || !fits || a.Balance.Held < 0 || a.Balance.Available < 0 {
		return guard("the balances %+v break a rule", a.Balance)
	}
	next := *a
	next.CreatedAt, next.Revision = cut(a.CreatedAt), a.Revision+1
	if a.Revision == 0 {
		return add(w, w.accounts, "account", a.Key(), next)
	}
	old, there := w.accounts[a.Key()]
	if !there || old.Revision != a.Revision {
		return guard("the account %s is not at revision %d", a.Number, a.Revision)
	}
	next.Owner, next.CreatedAt = old.Owner, old.CreatedAt
	put(w, w.accounts, a.Key(), next)
	return nil
}

func (m *memory) Account(ctx context.Context, k store.AccountKey) (*store.Account, error) {
	a, err := find(m, ctx, m.accounts, "account", k)
	if err != nil {
		return nil, err
	}
	return &a, nil
}

func (m *memory) Accounts(ctx context.Context, p id.Project) ([]store.Account, error) {
	return read(m, ctx, func() (list []store.Account, _ error) {
		for _, a := range sorted(m.accounts, func(a, b store.Account) int { return cmp.Compare(a.Number, b.Number) }) {
			if a.Project == p {
				list = append(list, a)
			}
		}
		return list, nil
	})
}

// moved are the entries that change what is booked on an own account, by number.
func (m *memory) moved(k store.AccountKey) (list []ledger.Entry) {
	for _, e := range codec.Moved(m.entries[k.Project]) {
		if e.Account == k.Number {
			list = append(list, e)
		}
	}
	return list
}

func (m *memory) AccountHistory(ctx context.Context, k store.AccountKey, from, to time.Time) (store.AccountHistory, error) {
	return read(m, ctx, func() (of store.AccountHistory, _ error) {
		for _, e := range m.moved(k) {
			switch {
			case e.At.Before(cut(from)):
				of.Opening += e.Change.Available + e.Change.Held
			case e.At.Before(cut(to)):
				transfer, err := m.transferOf(e)
				if err != nil {
					return store.AccountHistory{}, err
				}
				of.Movements = append(of.Movements, store.AccountMovement{Entry: e, Transfer: transfer})
			}
		}
		return of, nil
	})
}

// transferOf is the transfer of the payout of an entry; nil for a deposit.
func (m *memory) transferOf(e ledger.Entry) (*session.Transfer, error) {
	row, ok := m.sessions[store.SessionKey{Project: e.Project, Session: e.Session}]
	if !ok {
		return nil, nil
	}
	s, err := row.read()
	if err != nil {
		return nil, err
	}
	for i := range s.Payouts {
		if p := &s.Payouts[i]; p.ID == e.Payout {
			return p.Transfer, nil
		}
	}
	return nil, nil
}

func (s snapshot) Moved(_ context.Context, k store.AccountKey) (sum int64, _ error) {
	for _, e := range s.moved(k) {
		sum += e.Change.Available + e.Change.Held
	}
	return sum, nil
}

func (m *memory) Operators(ctx context.Context) ([]operator.Operator, error) {
	return read(m, ctx, func() ([]operator.Operator, error) {
		return sorted(m.operators, func(a, b operator.Operator) int { return cmp.Compare(a.Name, b.Name) }), nil
	})
}

func (m *memory) Operator(ctx context.Context, name string) (operator.Operator, error) {
	return find(m, ctx, m.operators, "operator", name)
}

func (m *memory) AddOperator(ctx context.Context, o operator.Operator) error {
	return m.transact(ctx, func(w *writing) error {
		if _, there := w.operators[o.Name]; there {
			return fault.New(fault.Invalid, "the operator %s exists", o.Name)
		}
		o.CreatedAt = cut(o.CreatedAt)
		put(w, w.operators, o.Name, o)
		return nil
	})
}

func (m *memory) SetOperator(ctx context.Context, o operator.Operator) error {
	return m.changeOperator(ctx, o.Name, func(w *writing, old operator.Operator) {
		old.Role, old.Password = o.Role, o.Password
		put(w, w.operators, o.Name, old)
	})
}

func (m *memory) RemoveOperator(ctx context.Context, name string) error {
	return m.changeOperator(ctx, name, func(w *writing, _ operator.Operator) { drop(w, w.operators, name) })
}

// changeOperator ends all logins of whom it changes.
func (m *memory) changeOperator(ctx context.Context, name string, change func(*writing, operator.Operator)) error {
	return m.transact(ctx, func(w *writing) error {
		old, there := w.operators[name]
		if !there {
			return missing("operator")
		}
		change(w, old)
		w.dropLogins(func(l operator.Login) bool { return l.Operator == name })
		return nil
	})
}

func (w *writing) dropLogins(which func(operator.Login) bool) {
	for hash, l := range w.logins {
		if which(l) {
			drop(w, w.logins, hash)
		}
	}
}

func (m *memory) AddLogin(ctx context.Context, l operator.Login, now time.Time) error {
	return m.transact(ctx, func(w *writing) error {
		w.dropLogins(func(l operator.Login) bool { return !l.EndsAt.After(cut(now)) })
		l.CreatedAt, l.EndsAt = cut(l.CreatedAt), cut(l.EndsAt)
		return add(w, w.logins, "login", l.Hash, l)
	})
}

func (m *memory) Login(ctx context.Context, hash [32]byte) (l operator.Login, of operator.Operator, err error) {
	_, err = read(m, ctx, func() (_ struct{}, err error) {
		var there, known bool
		l, there = m.logins[hash]
		of, known = m.operators[l.Operator]
		if !there || !known {
			err = missing("login")
		}
		return struct{}{}, err
	})
	return l, of, err
}

func (m *memory) KeepLogin(ctx context.Context, hash [32]byte, endsAt time.Time) error {
	return m.transact(ctx, func(w *writing) error {
		if l, there := w.logins[hash]; there {
			l.EndsAt = cut(endsAt)
			put(w, w.logins, hash, l)
		}
		return nil
	})
}

func (m *memory) EndLogin(ctx context.Context, hash [32]byte) error {
	return m.transact(ctx, func(w *writing) error { drop(w, w.logins, hash); return nil })
}
