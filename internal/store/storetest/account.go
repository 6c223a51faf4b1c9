package storetest

import (
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

// own adds an account to a project, with everything in it that may be.
func (b *bed) own(p id.Project, number string) store.AccountKey {
	b.Helper()
	a := &store.Account{
		OwnAccount: ledger.OwnAccount{Project: p, Number: number}, Owner: fill[partner.Owner](&filler{}), CreatedAt: noon,
	}
	b.write(func(c *store.Changes) { c.Accounts = append(c.Accounts, a) })
	return a.Key()
}

// postTo books entries to an own account, at a time.
func (b *bed) postTo(k store.AccountKey, at time.Time, s *session.Session, entries ...ledger.Entry) {
	b.Helper()
	b.commit(store.Reads{Books: []id.Project{k.Project}, Accounts: []store.AccountKey{k}}, func(rows *store.Rows, c *store.Changes) {
		book, a := rows.Books[k.Project], rows.Accounts[k]
		for _, e := range entries {
			if s != nil {
				e.Session, e.Payout = s.ID, s.Payouts[0].ID
			}
			posted, err := book.PostTo(&a.OwnAccount, e, at)
			b.must(err)
			c.Entries = append(c.Entries, posted)
		}
		c.Books, c.Accounts = append(c.Books, book), append(c.Accounts, a)
	})
}

func accountRoundTrip(b *bed) {
	b.project("p", 0)
	k := b.own("p", "40702810900000000131")
	want, err := b.Account(b.ctx, k)
	b.must(err)
	if want.Revision < 1 {
		b.Errorf("a stored account has revision %d, want at least 1", want.Revision)
	}
	same(b, "owner", want.Owner, fill[partner.Owner](&filler{}))
	same(b, "created", want.CreatedAt, noon)

	b.postTo(k, noon, nil, ledger.Deposit(100, "d"), ledger.Hold(70, 7), ledger.Settle(70, 7, "cards"), ledger.Stray(3, "cards"))
	want.Revision++
	want.Balance = ledger.Accounts{Available: 23, Clearing: 67, Fees: 7, Deposits: -100, Suspense: 3}
	got, err := b.Account(b.ctx, k)
	b.must(err)
	same(b, "account", got, want)
	same(b, "account loaded", b.load(store.Reads{Accounts: []store.AccountKey{k, k}}).Accounts[k], want)
	list, err := b.Accounts(b.ctx, "p")
	b.must(err)
	same(b, "accounts", list, []store.Account{*want})
	same(b, "accounts of a snapshot", b.dump().Of["p"].Accounts, list)
	same(b, "balance of the book", b.book("p").Balance, ledger.Accounts{})
	for _, e := range b.dump().Of["p"].Entries {
		same(b, "account of an entry", e.Account, k.Number)
	}
	b.must(b.Snapshot(b.ctx, func(s store.Snapshot) error {
		moved, err := s.Moved(b.ctx, k)
		same(b, "moved", moved, int64(23))
		none, errNone := s.Moved(b.ctx, store.AccountKey{Project: "p", Number: "no"})
		same(b, "moved of none", none, int64(0))
		b.must(errNone)
		return err
	}))
}

// accountsComeWithSessions loads the accounts that drafts and payouts name.
func accountsComeWithSessions(b *bed) {
	b.project("p", 0)
	first, second, third := b.own("p", "1"), b.own("p", "2"), b.own("p", "3")
	s := b.start("p")
	s.Draft.Account, s.Payouts[0].Details.Account = first.Number, second.Number
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, s) })
	rows := b.load(store.Reads{Sessions: []store.SessionKey{keyOf(s)}})
	if len(rows.Accounts) != 2 || rows.Accounts[first] == nil || rows.Accounts[second] == nil {
		b.Errorf("loaded with the session: %s", show(rows.Accounts))
	}
	rows = b.load(store.Reads{Sessions: []store.SessionKey{keyOf(s)}, Accounts: []store.AccountKey{third, second, {Project: "p", Number: "4"}}})
	if len(rows.Accounts) != 3 {
		b.Errorf("loaded with the session and by name: %s", show(rows.Accounts))
	}
	if b.load(store.Reads{Books: []id.Project{"p"}}).Accounts == nil {
		b.Error("the map is nil where nothing was named")
	}
}

func accountsAreGuarded(b *bed) {
	b.project("p", 0)
	k := b.own("p", "1")
	b.postTo(k, noon, nil, ledger.Deposit(10, "d"))
	before := b.dump()
	change := func(name string, do func(*ledger.Book, *store.Account, *store.Changes)) {
		err := b.try(store.Reads{Books: []id.Project{"p"}, Accounts: []store.AccountKey{k}}, func(rows *store.Rows, c *store.Changes) error {
			do(rows.Books["p"], rows.Accounts[k], c)
			return nil
		})
		b.refused(err, fault.Internal, name)
		same(b, name, b.dump(), before)
	}
	change("a stale revision", func(_ *ledger.Book, a *store.Account, c *store.Changes) {
		a.Revision--
		c.Accounts = append(c.Accounts, a)
	})
	change("an account that exists", func(_ *ledger.Book, a *store.Account, c *store.Changes) {
		a.Revision = 0
		c.Accounts = append(c.Accounts, a)
	})
	change("one that is not there", func(_ *ledger.Book, a *store.Account, c *store.Changes) {
		a.Number = "2"
		c.Accounts = append(c.Accounts, a)
	})
	for name, balance := range map[string]ledger.Accounts{
		"below zero":      {Available: -1, Deposits: 1},
		"held below zero": {Available: 1, Held: -1},
		"unsound":         {Available: 1},
	} {
		change(name, func(_ *ledger.Book, a *store.Account, c *store.Changes) {
			a.Balance = balance
			c.Accounts = append(c.Accounts, a)
		})
	}
}

func statementsAreOfTheirTime(b *bed) {
	b.project("p", 0)
	k, other := b.own("p", "1"), b.own("p", "2")
	s := b.start("p")
	s.Payouts[0].Transfer = fillPointer[session.Transfer]()
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, s) })
	b.postTo(k, noon, nil, ledger.Deposit(100, "d"))
	b.postTo(other, noon, nil, ledger.Deposit(7, "o"))
	b.postTo(k, noon.Add(time.Hour), s, ledger.Hold(40, 2))
	b.postTo(k, noon.Add(2*time.Hour), s, ledger.Settle(40, 2, "cards"))
	b.postTo(k, noon.Add(3*time.Hour), s, ledger.Return(40, 0, "cards"), ledger.Stray(1, "cards"))
	b.deposit("p", 1000)

	for _, c := range []struct {
		from, to time.Duration
		opening  int64
		moved    []int64
	}{
		{-time.Hour, 0, 0, nil},
		{0, time.Microsecond, 0, []int64{100}},
		{time.Microsecond, 2 * time.Hour, 100, nil}, // a hold moves nothing
		{2 * time.Hour, 3 * time.Hour, 100, []int64{-42}},
		{0, 4 * time.Hour, 0, []int64{100, -42, 40}},
		{4 * time.Hour, 5 * time.Hour, 98, nil},
	} {
		got, err := b.AccountHistory(b.ctx, k, noon.Add(c.from), noon.Add(c.to))
		b.must(err)
		var moved []int64
		for _, m := range got.Movements {
			moved = append(moved, m.Entry.Change.Available+m.Entry.Change.Held)
			if m.Entry.Session == 0 != (m.Transfer == nil) {
				b.Errorf("entry %d has the transfer %+v", m.Entry.No, m.Transfer)
			}
			if m.Transfer != nil {
				same(b, "transfer", m.Transfer, s.Payouts[0].Transfer)
			}
		}
		if got.Opening != c.opening || fmt.Sprint(moved) != fmt.Sprint(c.moved) {
			b.Errorf("from %v to %v: opens with %d and moves %v, want %d and %v", c.from, c.to, got.Opening, moved, c.opening, c.moved)
		}
	}
}

func fillPointer[T any]() *T {
	v := fill[T](&filler{})
	return &v
}

func otherProjectsAccounts(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	k := b.own("p", "1")
	b.postTo(k, noon, nil, ledger.Deposit(1, "d"))
	theirs := store.AccountKey{Project: "q", Number: "1"}
	if _, err := b.Account(b.ctx, theirs); fault.CodeOf(err) != fault.NotFound {
		b.Errorf("another project's account: %v, want %s", err, fault.NotFound)
	}
	list, err := b.Accounts(b.ctx, "q")
	b.must(err)
	statement, err := b.AccountHistory(b.ctx, theirs, noon, noon.Add(time.Hour))
	b.must(err)
	if len(list)+len(statement.Movements) != 0 || statement.Opening != 0 {
		b.Errorf("another project sees %s and %s", show(list), show(statement))
	}
	if rows := b.load(store.Reads{Accounts: []store.AccountKey{theirs}}); len(rows.Accounts) != 0 {
		b.Errorf("another project loads %s", show(rows.Accounts))
	}
}
