package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// RunBulk checks what an engine does with whole tables; open returns an empty
// store that t.Cleanup closes.
func RunBulk(t *testing.T, open func(*testing.T) store.Bulk) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, open func(*testing.T) store.Bulk)
	}{
		{"FillWritesWhatCommitWrites", fillWritesWhatCommitWrites},
		{"FillIsGuarded", fillIsGuarded},
		{"LoadGivesBackWhatDumpGave", loadGivesBackWhatDumpGave},
		{"LoadWantsAnEmptyDatabase", loadWantsAnEmptyDatabase},
		{"LoadThatFailsWritesNothing", loadThatFailsWritesNothing},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

func fillWritesWhatCommitWrites(t *testing.T, open func(*testing.T) store.Bulk) {
	one, other := open(t), open(t)
	newHistory().write(t, one, one.Commit)
	newHistory().write(t, other, func(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
		var changes *store.Changes
		err := other.Commit(ctx, reads, func(rows *store.Rows) (*store.Changes, error) {
			c, err := decide(rows)
			changes = c
			return nil, err
		})
		if err != nil {
			return err
		}
		return other.Fill(ctx, changes)
	})
	WantSame(t, other, one)
}

// A number that exists and a book that somebody else has changed refuse the
// whole.
func fillIsGuarded(t *testing.T, open func(*testing.T) store.Bulk) {
	for _, c := range []struct {
		name string
		does func(*store.Changes)
	}{
		{"a session that exists", func(c *store.Changes) { c.Books = nil }},
		{"a book that has changed", func(c *store.Changes) { c.Books[0].Revision += 7; c.Sessions, c.Keys = nil, nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			Installation(t, s)
			before := dump(t, s)
			h := newHistory()
			changes := h.changes(t, h.rows())
			changes.Batch++
			changes.Alarms[0].ID++
			c.does(changes)
			changes.Entries, changes.Attempts, changes.Cards, changes.Events, changes.Deliveries, changes.Tasks = nil, nil, nil, nil, nil, nil
			changes.Items, changes.Public, changes.NPD, changes.Acts, changes.Incomes, changes.Reservations = nil, nil, nil, nil, nil, nil
			changes.Accounts = nil
			changes.Statements, changes.Lines, changes.Differences = nil, nil, nil
			if err := s.Fill(t.Context(), changes); fault.CodeOf(err) != fault.Internal {
				t.Errorf("error %v, want code %s", err, fault.Internal)
			}
			same(t, "the database", dump(t, s), before)
		})
	}
}

func loadGivesBackWhatDumpGave(t *testing.T, open func(*testing.T) store.Bulk) {
	from, to := open(t), open(t)
	Installation(t, from)
	err := from.Dump(t.Context(), func(d store.Dump) error {
		tables, err := d.Tables(t.Context())
		if err != nil {
			return err
		}
		return to.Load(t.Context(), func(l store.Load) error {
			for _, table := range tables {
				if err := l.Append(t.Context(), table, d.Rows(t.Context(), table)); err != nil {
					return err
				}
				rows := 0
				for _, err := range l.Rows(t.Context(), table) {
					if err != nil {
						return err
					}
					rows++
				}
				if rows == 0 {
					t.Errorf("the table %s is empty, so that nothing tries it: add rows to Installation", table.Name)
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	WantSame(t, to, from)
}

func loadWantsAnEmptyDatabase(t *testing.T, open func(*testing.T) store.Bulk) {
	for _, c := range []struct {
		name string
		does func(*bed)
	}{
		{"a project", func(b *bed) { b.project("p", 0) }},
		{"a setting", func(b *bed) { b.must(b.PutSetting(b.ctx, "name", nil)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.does(newBed(t, s))
			before := dump(t, s)
			err := s.Load(t.Context(), func(store.Load) error { t.Error("it was begun"); return nil })
			if fault.CodeOf(err) != fault.WrongState {
				t.Errorf("error %v, want code %s", err, fault.WrongState)
			}
			same(t, "the database", dump(t, s), before)
		})
	}
}

func loadThatFailsWritesNothing(t *testing.T, open func(*testing.T) store.Bulk) {
	broken := errors.New("the source is gone")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	settings := store.Table{Name: "settings", Columns: []string{"name", "value"}, Key: []string{"name"}}
	row := func(values ...any) iter.Seq2[[]any, error] {
		return func(yield func([]any, error) bool) { yield(values, nil) }
	}
	for _, c := range []struct {
		name  string
		write func(store.Load) error
		want  error
	}{
		{"an error of the caller", func(store.Load) error { return broken }, broken},
		{"an error of the rows", func(l store.Load) error {
			return l.Append(ctx, settings, func(yield func([]any, error) bool) {
				_ = yield([]any{"b", []byte("x")}, nil) && yield(nil, broken)
			})
		}, broken},
		{"a row twice", func(l store.Load) error { return l.Append(ctx, settings, row("a", []byte("y"))) }, nil},
		{"a table that is not there", func(l store.Load) error {
			return l.Append(ctx, store.Table{Name: "nonsense", Columns: []string{"n"}}, row(int64(1)))
		}, nil},
		{"cancelled", func(l store.Load) error {
			cancel()
			return l.Append(ctx, settings, row("c", []byte("z")))
		}, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			before := dump(t, s)
			err := s.Load(t.Context(), func(l store.Load) error {
				if err := l.Append(t.Context(), settings, row("a", []byte("x"))); err != nil {
					t.Fatal(err)
				}
				return c.write(l)
			})
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			same(t, "the database", dump(t, s), before)
		})
	}
	t.Run("a panic", func(t *testing.T) {
		s := open(t)
		before := dump(t, s)
		func() {
			defer func() { _ = recover() }()
			_ = s.Load(t.Context(), func(l store.Load) error {
				if err := l.Append(t.Context(), settings, row("a", []byte("x"))); err != nil {
					t.Fatal(err)
				}
				panic("a fault of ours")
			})
		}()
		same(t, "the database", dump(t, s), before)
	})
}

// WantSame wants two databases to have the same rows in all tables, but for the
// owners of leases and their ends if they were voided in both.
func WantSame(t testing.TB, got, want store.Bulk) {
	t.Helper()
	a, b := dump(t, got), dump(t, want)
	for name, rows := range b {
		if !reflect.DeepEqual(a[name], rows) {
			t.Errorf("table %s:\n got %s\nwant %s", name, a[name], rows)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d tables, want %d", len(a), len(b))
	}
}

// dump reads all tables, each row in the form "column=value".
func dump(t testing.TB, s store.Bulk) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := s.Dump(t.Context(), func(d store.Dump) error {
		tables, err := d.Tables(t.Context())
		if err != nil {
			return err
		}
		for _, table := range tables {
			all[table.Name] = []string{}
			for row, err := range d.Rows(t.Context(), table) {
				if err != nil {
					return err
				}
				var b bytes.Buffer
				for i, v := range row {
					fmt.Fprintf(&b, "%s=%T(%[2]v) ", table.Columns[i], v)
				}
				all[table.Name] = append(all[table.Name], b.String())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Installation fills an empty store with rows of all kinds, as an installation
// has them that was stopped in the middle of its work. Its books are clean, and
// nobody holds a lease.
func Installation(t testing.TB, s store.Store) {
	t.Helper()
	newHistory().write(t, s, s.Commit)
}

// history makes the same rows each time.
type history struct{ number int64 }

func newHistory() *history { return &history{number: 1 << 40} }

func (h *history) next() int64 { h.number++; return h.number }

const (
	historyProject = id.Project("shop")
	historyDeposit = 1_000_00
	historyMinor   = 150_00
	historyFee     = 3_00
)

type commit func(context.Context, store.Reads, func(*store.Rows) (*store.Changes, error)) error

func (h *history) write(t testing.TB, s store.Store, commit commit) {
	t.Helper()
	for _, p := range []partner.Project{
		{ID: historyProject, Wallet: "1", Credit: 5, CreatedAt: noon, Webhook: "https://shop.example/hook"},
		{ID: "another", Wallet: "2", CreatedAt: noon},
	} {
		if err := s.CreateProject(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	// A value that is no text, and an empty one.
	for name, value := range map[string][]byte{"vault_check": {0, 0xff, 1, '\''}, "nothing": {}} {
		if err := s.PutSetting(t.Context(), name, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []operator.Operator{
		{Name: "anna", Role: operator.Accountant, Password: "$argon2id$", CreatedAt: noon}, {Name: "boris", Role: operator.Viewer, CreatedAt: noon},
	} {
		if err := s.AddOperator(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddLogin(t.Context(), operator.Login{Hash: [32]byte{1}, Operator: "anna", CreatedAt: noon, EndsAt: noon.Add(time.Hour)}, noon); err != nil {
		t.Fatal(err)
	}
	err := commit(t.Context(), store.Reads{Books: []id.Project{historyProject}}, func(rows *store.Rows) (*store.Changes, error) {
		return h.changes(t, rows), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.archived(t, s, commit)
}

// archived is a session that was cancelled and is archived.
func (h *history) archived(t testing.TB, s store.Store, commit commit) {
	t.Helper()
	gone := &session.Session{Project: historyProject, ID: id.Session(h.next()), Version: 1, State: session.Cancelled, CreatedAt: noon, UpdatedAt: noon}
	number := id.Batch(h.next())
	err := commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{Batch: number, Sessions: []*session.Session{gone}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	aged, _, err := s.Aged(t.Context(), historyProject, gone.ID-1, noon.Add(time.Hour), 1)
	if err != nil || len(aged) != 1 {
		t.Fatalf("%d sessions are aged, error %v", len(aged), err)
	}
	of := store.Archived{
		SessionKey: keyOf(gone), Archive: id.Archive(h.next()), Print: sha256.Sum256(aged[0].Record), State: gone.State, Payouts: []store.ArchivedPayout{}, EndedAt: noon,
	}
	if err := s.AddArchive(t.Context(), store.Archive{Project: historyProject, Number: of.Archive, File: "shop_ar_1.jsonl.gz", Print: [32]byte{3}, Bytes: 100, Sessions: 1, At: noon}); err != nil {
		t.Fatal(err)
	}
	if left, err := s.TakeOut(t.Context(), historyProject, []store.Leaving{{Archived: of}}); err != nil || len(left) > 0 {
		t.Fatalf("%v was left, error %v", left, err)
	}
}

// rows are those that changes are made from, as they are after CreateProject.
func (h *history) rows() *store.Rows {
	return &store.Rows{Books: map[id.Project]*ledger.Book{historyProject: {Project: historyProject, Credit: 5, Revision: 1}}}
}

// changes are a deposit, a session with nothing in it yet, and payouts that
// await, are unclear, were paid, were paid and returned, and were cancelled.
func (h *history) changes(t testing.TB, rows *store.Rows) *store.Changes {
	t.Helper()
	book := rows.Books[historyProject]
	c := &store.Changes{Batch: id.Batch(h.next()), Books: []*ledger.Book{book}}
	post := func(e ledger.Entry) {
		t.Helper()
		e, err := book.Post(e, noon)
		if err != nil {
			t.Fatal(err)
		}
		c.Entries = append(c.Entries, e)
	}
	post(ledger.Deposit(historyDeposit, "order-17"))
	c.Keys = append(c.Keys,
		store.KeyRecord{KeyRef: store.KeyRef{Project: historyProject, Scope: store.ScopeDeposit, Key: "order-17"}, Print: [32]byte{1}, At: noon},
		store.KeyRecord{KeyRef: store.KeyRef{Project: historyProject, Scope: store.ScopeAPI, Key: "ключ' \""}, Print: [32]byte{2}, Answer: []byte(`{"a" : 1}`), At: noon})
	c.Sessions = append(c.Sessions, &session.Session{
		Project: historyProject, ID: id.Session(h.next()), Version: 1, State: session.Created, CreatedAt: noon, UpdatedAt: noon,
		Draft: session.Details{Metadata: []byte(`{ "b":2, "a": 1.0 }`)},
	})
	for _, state := range []session.State{session.Awaiting, session.Unclear, session.Paid, session.Returned, session.Cancelled} {
		s := h.payout(c, state)
		p := &s.Payouts[0]
		of := func(e ledger.Entry) {
			e.Session, e.Payout = s.ID, p.ID
			post(e)
		}
		tell := func(hook session.Hook, status webhook.Status) {
			book.Events++
			s.Events++
			c.Events = append(c.Events, webhook.Event{
				Project: s.Project, Session: s.ID, N: s.Events, ID: id.Event(h.next()), Seq: book.Events, Type: string(hook),
				Body: []byte("{ \"body\":\"тело\\n\" }"), Signature: "c2lnbmF0dXJl", Status: status, Attempts: 1, CreatedAt: noon, Due: noon,
			})
			c.Deliveries = append(c.Deliveries, webhook.Attempt{
				Project: s.Project, Session: s.ID, N: s.Events, No: 1, At: noon, Took: 1_234_567, Status: 500, Error: "an answer \xff\x00",
			})
		}
		attempt := func(outcome store.AttemptOutcome) {
			p.Attempt, p.SentAt = 1, noon
			c.Attempts = append(c.Attempts, store.Attempt{
				Project: s.Project, Session: s.ID, Payout: p.ID, No: 1, Rail: p.Rail, Reference: p.Reference, Outcome: outcome, SentAt: noon,
			})
		}
		of(ledger.Hold(historyMinor, historyFee))
		tell(session.ReadyToConfirm, webhook.Delivered)
		key := store.TaskKey{SessionKey: keyOf(s), Payout: p.ID}
		switch state {
		case session.Awaiting:
			key.Kind = store.TaskExpire
			c.Tasks = append(c.Tasks, store.Task{TaskKey: key, Due: noon})
		case session.Unclear:
			attempt(store.AttemptOpen)
			key.Kind = store.TaskQuery
			c.Tasks = append(c.Tasks, store.Task{TaskKey: key, Due: noon, Attempt: 3})
		case session.Paid, session.Returned:
			attempt(store.AttemptAccepted)
			of(ledger.Settle(historyMinor, historyFee, p.Rail))
			tell(session.PaymentFinished, webhook.Pending)
			if state == session.Returned {
				of(ledger.Return(historyMinor, historyFee, p.Rail))
				p.Refunds = []session.Refund{{
					ID: id.Refund(h.next()), Status: session.RefundBooked, Reference: "R-1", Fee: historyFee,
					Amount: *p.Details.Amount, At: noon, CreatedAt: noon, FinishedAt: noon,
				}}
				tell(session.PaymentRefunded, webhook.GivenUp)
			}
		case session.Cancelled:
			of(ledger.Release(historyMinor, historyFee))
			tell(session.PaymentFinished, webhook.Delivered)
		}
	}
	own := &store.Account{OwnAccount: ledger.OwnAccount{Project: historyProject, Number: "40702810900000000131"}, CreatedAt: noon}
	own.Owner = fill[partner.Owner](&filler{n: 700})
	for _, e := range []ledger.Entry{ledger.Deposit(historyDeposit, "own-1"), ledger.Hold(1, 0), ledger.Release(1, 0)} {
		e, err := book.PostTo(&own.OwnAccount, e, noon)
		if err != nil {
			t.Fatal(err)
		}
		c.Entries = append(c.Entries, e)
	}
	c.Accounts = append(c.Accounts, own)
	f := &filler{}
	item, public, act := fill[vault.Item](f), fill[vault.Public](f), fill[store.Act](f)
	wiped := fill[vault.Item](f)
	wiped.Ciphertext, wiped.Fingerprint, wiped.WipeAt = nil, nil, time.Time{}
	asked := fill[store.NPDRequest](f)
	item.Revision, wiped.Revision, public.Revision, asked.Revision = 0, 0, 0, 0
	c.Items, c.Public, c.Acts = []vault.Item{item, wiped}, []*vault.Public{&public}, []store.Act{act}
	h.statement(c)
	c.NPD = []store.NPDRequest{asked}
	h.receipt(c)
	c.Alarms = append(c.Alarms, store.Alarm{
		ID: h.next(), Project: historyProject, Session: c.Sessions[1].ID, Kind: "late", Text: "a text \x00 of theirs", At: noon,
	})
	return c
}

// statement adds one of a rail with a line that nobody knows.
func (h *history) statement(c *store.Changes) {
	of := store.Statement{
		Number: id.Statement(h.next()), Rail: "card", ID: "ST-1", Print: [32]byte{9}, From: noon, To: noon.Add(time.Hour),
		State: store.StatementDone, At: noon.Add(2 * time.Hour),
		Summary: store.StatementSummary{Closing: &money.Amount{Minor: -5, Currency: money.RUB}, Lines: 1, Differences: 1},
	}
	amount := money.Amount{Minor: 5, Currency: money.RUB}
	c.Statements = append(c.Statements, of)
	c.Lines = append(c.Lines, store.StatementLine{
		Rail: of.Rail, Reference: "po_1", Statement: of.Number, No: 1, Kind: "payout", RailID: "B-1", Amount: amount, At: noon,
	})
	c.Differences = append(c.Differences, store.Difference{
		Statement: of.Number, No: 1, Kind: store.Extra, Line: 1, Reference: "po_1", RailID: "B-1", Theirs: amount, Text: "their 'text'", At: noon,
	})
}

// receipt adds a receipt without a payout that is being registered.
func (h *history) receipt(c *store.Changes) {
	p := session.Payout{
		ID: id.Payout(h.next()), State: session.Checking, CreatedAt: noon,
		Details: session.Details{
			Amount: &money.Amount{Minor: historyMinor, Currency: money.RUB},
			Fiscal: &session.Fiscal{
				INN: may.INN, Services: []tax.Item{{Name: "Доставка", Amount: money.Amount{Minor: historyMinor / 2, Currency: money.RUB}, Quantity: 2}},
				Payer: tax.Payer{Type: tax.PayerLegal, INN: "7704123450", Name: "ООО Север"}, Alone: true,
			},
		},
		Receipt: &session.Receipt{
			State: session.Registering, Cleared: true, Reserved: may.Year, Year: may.Year, EarnedAt: noon, Message: "m-17", Alarms: 1,
		},
	}
	p.Reference = p.ID.String()
	s := &session.Session{
		Project: historyProject, ID: id.Session(h.next()), Version: 1, State: p.State, CreatedAt: noon, UpdatedAt: noon, Payouts: []session.Payout{p},
	}
	c.Sessions = append(c.Sessions, s)
	c.Tasks = append(c.Tasks, task(s, store.TaskReceipt, noon))
	c.Incomes = append(c.Incomes, store.Income{IncomeKey: may, Asked: historyMinor})
	c.Reservations = append(c.Reservations, store.Reservation{
		ReservationKey: store.ReservationKey{IncomeKey: may, Payout: p.ID}, Project: s.Project, Session: s.ID,
		Minor: historyMinor, State: store.ReservationAsked, EarnedAt: noon,
	})
}

// payout adds a session with a payout to a card.
func (h *history) payout(c *store.Changes, state session.State) *session.Session {
	card := vault.Sealed{
		Project: historyProject, ID: id.Card(h.next()), Ciphertext: []byte{0, 1, 0xfe}, Fingerprint: bytes.Repeat([]byte{0xab}, 32), CreatedAt: noon,
	}
	c.Cards = append(c.Cards, card)
	p := session.Payout{
		ID: id.Payout(h.next()), State: state, Rail: "card", Fee: historyFee, CreatedAt: noon,
		Details: session.Details{
			Instrument: &instrument.Instrument{Card: &instrument.Card{BIN: "220000", Last4: "1317", Brand: instrument.Mir, Sealed: card.ID}},
			Amount:     &money.Amount{Minor: historyMinor, Currency: money.RUB}, Recipient: "Иван",
		},
	}
	p.Reference = p.ID.String()
	s := &session.Session{
		Project: historyProject, ID: id.Session(h.next()), Version: 2, State: state, Fence: 1<<62 + 1, CreatedAt: noon, UpdatedAt: noon,
		Payouts: []session.Payout{p},
	}
	c.Sessions = append(c.Sessions, s)
	return s
}
