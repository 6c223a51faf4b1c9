package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// everything is one new row of each kind, about one session.
func (b *bed) everything(p id.Project, rows *store.Rows, c *store.Changes) *session.Session {
	b.Helper()
	s := b.start(p)
	s.Events = 1
	payout := s.Payouts[0].ID
	book := rows.Books[p]
	b.must(post(c, book, ledger.Deposit(1000_00, "d1")))
	hold := ledger.Hold(100_00, 5_00)
	hold.Session, hold.Payout = s.ID, payout
	b.must(post(c, book, hold))
	settle := ledger.Settle(100_00, 5_00, "cards")
	settle.Session, settle.Payout = s.ID, payout
	b.must(post(c, book, settle))
	book.Events = 1

	c.Sessions = append(c.Sessions, s)
	c.Keys = append(c.Keys, store.KeyRecord{
		KeyRef: store.KeyRef{Project: p, Scope: store.ScopeAPI, Key: fmt.Sprint("key of ", s.ID)},
		Print:  [32]byte{1, 2, 3}, Answer: []byte(`{"status": "ok"}`), At: noon,
	})
	c.Attempts = append(c.Attempts, store.Attempt{
		Project: p, Session: s.ID, Payout: payout, No: 1, Rail: "cards", Reference: payout.String(),
		Outcome: store.AttemptAccepted, SentAt: noon, EndedAt: noon.Add(time.Second),
	})
	c.Cards = append(c.Cards, vault.Sealed{
		Project: p, ID: id.Card(b.ids.Next()), Ciphertext: []byte{0, 1, 0xff}, Fingerprint: []byte{9, 0}, CreatedAt: noon,
	})
	c.Events = append(c.Events, b.event(s, 1))
	c.Deliveries = append(c.Deliveries, webhook.Attempt{
		Project: p, Session: s.ID, N: 1, No: 1, At: noon, Took: 1500 * time.Nanosecond, Status: 503, Error: "not today",
	})
	c.Tasks = append(c.Tasks, store.Task{
		TaskKey: store.TaskKey{SessionKey: keyOf(s), Payout: payout, Kind: store.TaskQuery},
		Due:     noon.Add(time.Minute), Attempt: 3, Owner: "node", Lease: noon.Add(time.Hour),
	})
	c.Alarms = append(c.Alarms, store.Alarm{
		ID: b.ids.Next(), Project: p, Session: s.ID, Payout: payout, Kind: "rail_contradiction", Text: "paid, and then not", At: noon,
	})
	return s
}

// event makes an undelivered one of s; it is not written.
func (b *bed) event(s *session.Session, n int) webhook.Event {
	return webhook.Event{
		Project: s.Project, Session: s.ID, N: n, ID: id.Event(b.ids.Next()), Seq: int64(n), Type: string(session.PaymentFinished),
		Body: []byte(`{ "type": "payment_finished" }`), Status: webhook.Pending, CreatedAt: noon, Due: noon,
	}
}

func commitWritesEverything(b *bed) {
	b.project("p", 0)
	var (
		s       *session.Session
		changes store.Changes
	)
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
		s = b.everything("p", rows, c)
		changes = *c
	})

	want := s.Clone()
	want.Revision = b.session(keyOf(s)).Revision
	if want.Revision < 1 {
		b.Errorf("a stored session has revision %d, want at least 1", want.Revision)
	}
	same(b, "session", b.session(keyOf(s)), want)

	book := b.book("p")
	if book.Revision <= changes.Books[0].Revision {
		b.Errorf("the book has revision %d after a write at %d", book.Revision, changes.Books[0].Revision)
	}
	wantBook := *changes.Books[0]
	wantBook.Revision = book.Revision
	same(b, "book", book, &wantBook)

	rows := b.load(store.Reads{Keys: []store.KeyRef{changes.Keys[0].KeyRef}, Sessions: []store.SessionKey{keyOf(s)}})
	same(b, "key", rows.Keys[changes.Keys[0].KeyRef], changes.Keys[0])
	same(b, "outbox", rows.Outbox[keyOf(s)], bodiless(changes.Events...))

	card, err := b.Card(b.ctx, "p", changes.Cards[0].ID)
	b.must(err)
	same(b, "card", card, changes.Cards[0])
	deliveries, err := b.Deliveries(b.ctx, keyOf(s))
	b.must(err)
	same(b, "deliveries", deliveries, changes.Deliveries)
	alarms, err := b.Alarms(b.ctx, 10)
	b.must(err)
	same(b, "alarms", alarms, changes.Alarms)

	got := b.dump().Of["p"]
	same(b, "entries", got.Entries, changes.Entries)
	same(b, "attempts", got.Attempts, changes.Attempts)
	same(b, "tasks", got.Tasks, changes.Tasks)
	changes.Events[0].Body = nil // which a snapshot leaves out
	same(b, "events", got.Events, changes.Events)
}

func commitGivesCompleteRows(b *bed) {
	b.project("p", 7_00)
	s, key := b.stored("p"), store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: "k"}
	b.write(func(c *store.Changes) {
		c.Keys = append(c.Keys, store.KeyRecord{KeyRef: key, Answer: []byte("{}"), At: noon})
	})
	absent := store.SessionKey{Project: "p", Session: s.ID + 1}
	other := store.KeyRef{Project: "p", Scope: store.ScopeDeposit, Key: "k"}

	rows := b.load(store.Reads{ // each of them twice
		Sessions: []store.SessionKey{keyOf(s), absent, keyOf(s), absent},
		Books:    []id.Project{"p", "nobody", "p", "nobody"},
		Keys:     []store.KeyRef{key, other, key, other},
	})
	same(b, "session", rows.Sessions[keyOf(s)], b.session(keyOf(s)))
	same(b, "book", rows.Books["p"], b.book("p"))
	if n := len(rows.Sessions) + len(rows.Books) + len(rows.Keys); n != 3 {
		b.Errorf("%d rows loaded: %s, want a session, a book and a key", n, show(rows))
	}
	if _, ok := rows.Keys[other]; ok {
		b.Error("a key was found in another scope")
	}
	if rows.Books["p"].Credit != 7_00 {
		b.Errorf("the book has credit %d, want that of the project", rows.Books["p"].Credit)
	}

	none := b.load(store.Reads{})
	if none.Sessions == nil || none.Outbox == nil || none.Books == nil || none.Keys == nil {
		b.Error("a map of rows is nil where nothing was named")
	}
}

func rowsAreTheCallers(b *bed) {
	b.project("p", 0)
	f := new(filler)
	s := b.start("p")
	s.Payouts[0].Details = fill[session.Details](f)
	s.Events = 1
	b.write(func(c *store.Changes) {
		c.Sessions = append(c.Sessions, s)
		c.Events = append(c.Events, b.event(s, 1))
	})
	before := b.session(keyOf(s))
	spoil := func(got *session.Session) {
		got.State = session.Failed
		got.Payouts[0].State = session.Failed
		got.Payouts[0].Details.Metadata[0] = 'x'
		got.Payouts[0].Details.Amount.Minor = -1
	}
	reads := store.Reads{Sessions: []store.SessionKey{keyOf(s)}, Books: []id.Project{"p"}}
	b.commit(reads, func(rows *store.Rows, _ *store.Changes) {
		spoil(rows.Sessions[keyOf(s)])
		rows.Outbox[keyOf(s)][0].Signature = "x"
		rows.Books["p"].Balance.Available = 1
	})
	spoil(b.session(keyOf(s)))

	same(b, "session read", b.session(keyOf(s)), before)
	rows := b.load(reads)
	same(b, "session loaded", rows.Sessions[keyOf(s)], before)
	same(b, "signature", rows.Outbox[keyOf(s)][0].Signature, "")
	same(b, "available", rows.Books["p"].Balance.Available, 0)
}

// guardsWriteNothing puts each broken rule at the end of a batch that is
// otherwise good: none of it may stay.
func guardsWriteNothing(b *bed) {
	b.project("p", 10_00)
	b.project("q", 0)
	var (
		first   *session.Session
		written store.Changes
	)
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
		first = b.everything("p", rows, c)
		written = *c
	})
	payout := first.Payouts[0].ID
	raw := func(no int64, change ledger.Accounts) ledger.Entry {
		return ledger.Entry{Project: "q", No: no, Kind: ledger.KindDeposit, Change: change, At: noon}
	}
	for _, broken := range []struct {
		name string
		do   func(rows *store.Rows, c *store.Changes)
	}{
		{"session changed at an older revision", func(_ *store.Rows, c *store.Changes) {
			s := first.Clone()
			s.Revision = 1 << 40
			c.Sessions = append(c.Sessions, s)
		}},
		{"session that exists, as new", func(_ *store.Rows, c *store.Changes) {
			c.Sessions = append(c.Sessions, first.Clone())
		}},
		{"session that was never stored, as changed", func(_ *store.Rows, c *store.Changes) {
			s := b.start("p")
			s.Revision = 1
			c.Sessions = append(c.Sessions, s)
		}},
		{"another payout in the place of one", func(rows *store.Rows, c *store.Changes) {
			s := rows.Sessions[keyOf(first)]
			s.Payouts[0].ID++
			c.Sessions = append(c.Sessions, s)
		}},
		{"book changed at an older revision", func(rows *store.Rows, c *store.Changes) {
			rows.Books["q"].Revision--
			c.Books = append(c.Books, rows.Books["q"])
		}},
		{"book of no project", func(_ *store.Rows, c *store.Changes) {
			c.Books = append(c.Books, &ledger.Book{Project: "nobody", Revision: 1})
		}},
		{"book below its credit line", func(rows *store.Rows, c *store.Changes) {
			rows.Books["q"].Balance = ledger.Accounts{Available: -1, Deposits: 1}
			c.Books = append(c.Books, rows.Books["q"])
		}},
		{"book with less than nothing held", func(rows *store.Rows, c *store.Changes) {
			rows.Books["q"].Balance = ledger.Accounts{Available: 1, Held: -1}
			c.Books = append(c.Books, rows.Books["q"])
		}},
		{"book that does not sum to zero", func(rows *store.Rows, c *store.Changes) {
			rows.Books["q"].Balance = ledger.Accounts{Available: 1}
			c.Books = append(c.Books, rows.Books["q"])
		}},
		{"key that was burnt", func(_ *store.Rows, c *store.Changes) {
			k := written.Keys[0]
			k.Print[0]++
			c.Keys = append(c.Keys, k)
		}},
		{"key twice in one batch", func(_ *store.Rows, c *store.Changes) {
			k := store.KeyRecord{KeyRef: store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: "twice"}, At: noon}
			c.Keys = append(c.Keys, k, k)
		}},
		{"number of an entry that exists", func(_ *store.Rows, c *store.Changes) {
			e := written.Entries[0]
			e.Reference = "another"
			c.Entries = append(c.Entries, e)
		}},
		{"entry that does not sum to zero", func(_ *store.Rows, c *store.Changes) {
			c.Entries = append(c.Entries, raw(1000, ledger.Accounts{Available: 1}))
		}},
		{"attempt accepted beside an accepted one", func(_ *store.Rows, c *store.Changes) {
			a := written.Attempts[0]
			a.No, a.Reference = 2, "another"
			c.Attempts = append(c.Attempts, a)
		}},
		{"open attempt that becomes the second accepted", func(_ *store.Rows, c *store.Changes) {
			a := written.Attempts[0]
			a.No, a.Outcome, a.Reference = 2, store.AttemptOpen, "another"
			accepted := a
			accepted.Outcome = store.AttemptAccepted
			c.Attempts = append(c.Attempts, a, accepted)
		}},
		{"reference that another payout's attempt has", func(_ *store.Rows, c *store.Changes) {
			a := written.Attempts[0]
			a.Payout, a.Outcome = payout+1, store.AttemptOpen
			c.Attempts = append(c.Attempts, a)
		}},
		{"attempt that changes its reference", func(_ *store.Rows, c *store.Changes) {
			a := written.Attempts[0]
			a.Reference = "another"
			c.Attempts = append(c.Attempts, a)
		}},
		{"attempt that changes its rail", func(_ *store.Rows, c *store.Changes) {
			a := written.Attempts[0]
			a.Rail = "another"
			c.Attempts = append(c.Attempts, a)
		}},
		{"card number that is sealed already", func(_ *store.Rows, c *store.Changes) {
			card := written.Cards[0]
			card.Ciphertext = []byte("another")
			c.Cards = append(c.Cards, card)
		}},
		{"another event in the place of one", func(_ *store.Rows, c *store.Changes) {
			c.Events = append(c.Events, b.event(first, 1))
		}},
		{"delivery that was logged", func(_ *store.Rows, c *store.Changes) {
			c.Deliveries = append(c.Deliveries, written.Deliveries[0])
		}},
		{"alarm that was raised", func(_ *store.Rows, c *store.Changes) {
			c.Alarms = append(c.Alarms, written.Alarms[0])
		}},
		{"batch that was written", func(_ *store.Rows, c *store.Changes) {
			c.Batch = written.Batch
		}},
	} {
		b.Run(broken.name, func(t *testing.T) {
			b := &bed{T: t, Store: b.Store, ctx: b.ctx, ids: b.ids}
			before := b.dump()
			var tried store.Changes
			reads := store.Reads{Sessions: []store.SessionKey{keyOf(first)}, Books: []id.Project{"p", "q"}}
			err := b.try(reads, func(rows *store.Rows, c *store.Changes) error {
				b.everything("p", rows, c)
				broken.do(rows, c)
				tried = *c
				return nil
			})
			b.refused(err, fault.Internal, "commit")
			same(b, "content", b.dump(), before)
			if tried.Batch != written.Batch {
				b.wantBatch(tried.Batch, false)
			}
			rows := b.load(store.Reads{Keys: []store.KeyRef{tried.Keys[0].KeyRef}})
			if len(rows.Keys) != 0 {
				b.Error("the key was burnt")
			}
			_, err = b.Card(b.ctx, "p", tried.Cards[0].ID)
			b.refused(err, fault.NotFound, "the card")
			if log, err := b.Deliveries(b.ctx, keyOf(tried.Sessions[0])); err != nil || len(log) != 0 {
				b.Errorf("deliveries %v, error %v; want none", log, err)
			}
			if alarms, err := b.Alarms(b.ctx, 10); err != nil || len(alarms) != 1 {
				b.Errorf("alarms %v, error %v; want the first alone", alarms, err)
			}
		})
	}
}

func decideErrorPassesThrough(b *bed) {
	b.project("p", 0)
	before := b.dump()
	no := errors.New("no")
	err := b.try(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) error {
		b.everything("p", rows, c)
		return no
	})
	if err != no { //nolint:errorlint // the error itself is promised, not one that wraps it
		b.Errorf("error %v, want that of decide, untouched", err)
	}
	same(b, "content", b.dump(), before)
}

func emptyChangesWriteNothing(b *bed) {
	b.project("p", 0)
	before, batch := b.dump(), id.Batch(b.ids.Next())
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(_ *store.Rows, c *store.Changes) { c.Batch = batch })
	same(b, "content", b.dump(), before)
	b.wantBatch(batch, false)
}

func panicInDecideWritesNothing(b *bed) {
	b.project("p", 0)
	before := b.dump()
	func() {
		defer func() {
			if recover() == nil {
				b.Error("the panic of decide was swallowed")
			}
		}()
		_ = b.Commit(b.ctx, store.Reads{Books: []id.Project{"p"}}, func(*store.Rows) (*store.Changes, error) { panic("broken") })
	}()
	same(b, "content", b.dump(), before)
	b.deposit("p", 1) // the next commit is none the worse for it
	same(b, "available", b.book("p").Balance.Available, 1)
}

func cancelledContextWritesNothing(b *bed) {
	b.project("p", 0)
	before := b.dump()
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	err := b.Commit(ctx, store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: id.Batch(b.ids.Next())}
		return c, post(c, rows.Books["p"], ledger.Deposit(1, "d"))
	})
	b.refused(err, fault.Busy, "commit")
	_, err = b.Book(ctx, "p")
	b.refused(err, fault.Busy, "book")
	same(b, "content", b.dump(), before)
}

func batchesAreRemembered(b *bed) {
	b.project("p", 0)
	b.wantLast(0)
	var batch id.Batch
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
		batch = c.Batch
		b.must(post(c, rows.Books["p"], ledger.Deposit(1, "d")))
	})
	b.wantBatch(batch, true)
	b.wantBatch(batch+1, false)
	b.wantLast(batch)
	for of, want := range map[id.Batch]bool{batch: false, batch + 1: true, batch - id.Batch(store.BatchesKept/time.Millisecond)<<22: false} {
		lacks, err := store.Lacks(b.ctx, b.Store, of)
		b.must(err)
		same(b, fmt.Sprintf("lacks %d", of), lacks, want)
	}
	for range 10 {
		b.deposit("p", 1)
	}
	b.wantBatch(batch, true)
}

func (b *bed) wantLast(want id.Batch) {
	b.Helper()
	got, err := b.LastBatch(b.ctx)
	b.must(err)
	same(b, "last batch", got, want)
}

func (b *bed) wantBatch(batch id.Batch, want bool) {
	b.Helper()
	got, err := b.Committed(b.ctx, batch)
	b.must(err)
	if got != want {
		b.Errorf("Committed(%d) is %v, want %v", batch, got, want)
	}
}

func batchOf256(b *bed) {
	const size = 256
	b.project("p", 0)
	b.deposit("p", size*10)
	var (
		reads = store.Reads{Books: []id.Project{"p"}}
		want  []*session.Session
		book  ledger.Book
	)
	b.commit(reads, func(rows *store.Rows, c *store.Changes) {
		for range size {
			s := b.start("p")
			s.Events = 1
			e := ledger.Hold(9, 1)
			e.Session, e.Payout = s.ID, s.Payouts[0].ID
			b.must(post(c, rows.Books["p"], e))
			c.Sessions, c.Events = append(c.Sessions, s), append(c.Events, b.event(s, 1))
			c.Tasks = append(c.Tasks, task(s, store.TaskExpire, noon))
			reads.Sessions = append(reads.Sessions, keyOf(s))
			want = append(want, s)
		}
	})
	b.commit(reads, func(rows *store.Rows, c *store.Changes) { // and all of them change
		if len(rows.Sessions) != size || len(rows.Outbox) != size {
			b.Fatalf("%d sessions and %d outboxes loaded, want %d", len(rows.Sessions), len(rows.Outbox), size)
		}
		for i, k := range reads.Sessions {
			s := rows.Sessions[k]
			s.Payouts[0].State, s.State = session.Cancelled, session.Cancelled
			e := ledger.Release(9, 1)
			e.Session, e.Payout = s.ID, s.Payouts[0].ID
			b.must(post(c, rows.Books["p"], e))
			c.Sessions = append(c.Sessions, s)
			c.TasksDone = append(c.TasksDone, task(s, store.TaskExpire, noon).TaskKey)
			want[i] = s.Clone()
		}
		book = *rows.Books["p"]
	})
	got := b.dump()
	book.Revision = got.Books[0].Revision
	same(b, "books", got.Books, []ledger.Book{book})
	for i, s := range got.Of["p"].Sessions {
		want[i].Revision = s.Revision
	}
	same(b, "sessions", got.Of["p"].Sessions, want)
	if n := len(got.Of["p"].Entries); n != 1+2*size {
		b.Errorf("%d entries, want %d", n, 1+2*size)
	}
	if n := len(got.Of["p"].Tasks); n != 0 {
		b.Errorf("%d tasks left, want none", n)
	}
}

func concurrentCommitsLoseNothing(b *bed) {
	const callers, times = 32, 4
	b.project("p", 0)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range times {
				err := b.try(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) error {
					return post(c, rows.Books["p"], ledger.Deposit(1, ""))
				})
				if err != nil {
					b.Errorf("commit: %v", err)
				}
			}
		})
	}
	all.Wait()
	book := b.book("p")
	same(b, "balance", book.Balance, ledger.Accounts{Available: callers * times, Deposits: -callers * times})
	var chain [32]byte
	entries := b.dump().Of["p"].Entries
	for i, e := range entries {
		if chain = e.Link(chain); e.No != int64(i+1) || e.Hash != chain {
			b.Fatalf("entry %d has number %d and does not continue the chain", i+1, e.No)
		}
	}
	if len(entries) != callers*times || book.Hash != chain {
		b.Errorf("%d entries end the chain, want %d and the hash of the book", len(entries), callers*times)
	}
}

// crossingCommitsEnd reads the same rows in opposite orders, which deadlocks
// an engine that locks in the order of asking.
func crossingCommitsEnd(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	s, u := b.stored("p"), b.stored("q")
	orders := []store.Reads{
		{Books: []id.Project{"p", "q"}, Sessions: []store.SessionKey{keyOf(s), keyOf(u)}},
		{Books: []id.Project{"q", "p"}, Sessions: []store.SessionKey{keyOf(u), keyOf(s)}},
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			err := b.try(orders[i%2], func(rows *store.Rows, c *store.Changes) error {
				c.Sessions = append(c.Sessions, rows.Sessions[keyOf(s)], rows.Sessions[keyOf(u)])
				return errors.Join(post(c, rows.Books["p"], ledger.Deposit(1, "")), post(c, rows.Books["q"], ledger.Deposit(1, "")))
			})
			if err != nil {
				b.Errorf("commit: %v", err)
			}
		})
	}
	all.Wait()
	for _, p := range []id.Project{"p", "q"} {
		same(b, "available", b.book(p).Balance.Available, 16)
	}
}

// oneOfTwoRacersWins lets many burn one key and step one session: each decides
// by what it loaded, and one alone may find the way free.
func oneOfTwoRacersWins(b *bed) {
	b.project("p", 0)
	s := b.stored("p")
	key := store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: "k"}
	taken := errors.New("taken")
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		wins int
	)
	for range 16 {
		all.Go(func() {
			err := b.try(store.Reads{Sessions: []store.SessionKey{keyOf(s)}, Keys: []store.KeyRef{key}},
				func(rows *store.Rows, c *store.Changes) error {
					if _, ok := rows.Keys[key]; ok || rows.Sessions[keyOf(s)].State != session.Awaiting {
						return taken
					}
					next := rows.Sessions[keyOf(s)]
					next.State = session.Confirmed
					c.Sessions = append(c.Sessions, next)
					c.Keys = append(c.Keys, store.KeyRecord{KeyRef: key, At: noon})
					return nil
				})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case !errors.Is(err, taken):
				b.Errorf("commit: %v", err)
			}
		})
	}
	all.Wait()
	if wins != 1 {
		b.Errorf("%d of the racers won, want one", wins)
	}
}
