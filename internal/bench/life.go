package bench

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
)

// life is the rows of one payout that goes right, as the engine would write
// them: all at once, to fill a database, or one command after the other, to see
// what the writes alone cost.
type life struct {
	project id.Project
	n       int64 // tells its keys apart
	card    bool  // paid to a card, whose sealed number is noise; else to an account
	ids     *id.Generator
	at      time.Time

	session *session.Session
	book    *ledger.Book
	events  [2]webhook.Event
	task    store.TaskKind
	changes store.Changes
}

// commands are the stages of a life: the commands of the engine that make up
// one payout.
var commands = []func(*life) error{
	(*life).create, (*life).start, (*life).check, (*life).ready, (*life).confirm, (*life).paid, (*life).finish,
}

// commandsSingle is how many of them are left where one request is enough: it
// is created and started at once, neither confirmed nor announced.
const commandsSingle = 4

func (l *life) create() error {
	l.session = &session.Session{
		Project: l.project, ID: id.Session(l.ids.Next()), Version: 2, State: session.Created, CreatedAt: l.at, UpdatedAt: l.at,
		Draft: session.Details{Metadata: fmt.Appendf(nil, `{"order":"PX-%d","note":"payout for the week, paid on time"}`, l.n)},
	}
	return l.answer("create")
}

func (l *life) start() error {
	d := session.Details{
		Instrument:   &instrument.Instrument{Account: &instrument.Account{BIK: "044525974", Number: "40817810400003869535", FullName: "Ivan Ivanov"}},
		Amount:       &money.Amount{Minor: amountMinor + l.n%amountVariants, Currency: money.RUB},
		Recipient:    "Ivan Ivanov",
		Participants: json.RawMessage(`{"recipient":{"full_name":"Ivan Ivanov","first_name":"Ivan","last_name":"Ivanov"}}`),
		Customer:     fmt.Appendf(nil, `{"reference":"courier-%d","contacts":[{"email":"courier@example.org"}]}`, l.n),
		Metadata:     l.session.Draft.Metadata,
	}
	rail := "account"
	if l.card {
		rail = "card"
		sealed := vault.Sealed{
			Project: l.project, ID: id.Card(l.ids.Next()), CreatedAt: l.at,
			Ciphertext: make([]byte, 64), Fingerprint: make([]byte, sha256.Size),
		}
		l.changes.Cards = append(l.changes.Cards, sealed)
		d.Instrument = &instrument.Instrument{Card: &instrument.Card{BIN: "220000", Last4: "1317", Brand: instrument.Mir, Sealed: sealed.ID}}
	}
	number := id.Payout(l.ids.Next())
	l.session.Draft = session.Details{}
	l.session.Payouts = []session.Payout{{
		ID: number, State: session.Checking, Details: d, Rail: rail, Reference: number.String(), CreatedAt: l.at,
	}}
	l.become(session.Checking, store.TaskCheck)
	return l.answer("start")
}

func (l *life) check() error {
	p := l.become(session.Awaiting, store.TaskExpire)
	return l.tell(session.ReadyToConfirm, ledger.Hold(p.Minor(), p.Fee))
}

func (l *life) ready() error { return l.deliver(1) }

// confirm promises the payment to its rail as well.
func (l *life) confirm() error {
	p := l.become(session.Sent, store.TaskQuery)
	p.Attempt, p.SentAt = 1, l.at
	l.attempt(p, store.AttemptOpen)
	return l.answer("confirm")
}

func (l *life) paid() error {
	p := l.become(session.Paid, "")
	p.FinishedAt = l.at
	p.Info = session.TransactionInfo{RRN: "606109131310", AuthCode: "131A07"}
	l.attempt(p, store.AttemptAccepted)
	return l.tell(session.PaymentFinished, ledger.Settle(p.Minor(), p.Fee, p.Rail))
}

func (l *life) finish() error { return l.deliver(2) }

// become puts the payout into a state and gives it the task of that state.
func (l *life) become(s session.State, next store.TaskKind) *session.Payout {
	p := &l.session.Payouts[0]
	l.session.State, p.State = s, s
	l.put()
	key := store.TaskKey{SessionKey: l.key(), Payout: p.ID, Kind: l.task}
	if l.task != "" && len(l.changes.Tasks) == 0 { // it is in the database
		l.changes.TasksDone = append(l.changes.TasksDone, key)
	}
	l.changes.Tasks, l.task = nil, next
	if key.Kind = next; next != "" {
		l.changes.Tasks = []store.Task{{TaskKey: key, Due: l.at.Add(time.Hour)}}
	}
	return p
}

func (l *life) key() store.SessionKey {
	return store.SessionKey{Project: l.project, Session: l.session.ID}
}

func (l *life) put() { l.changes.Sessions = []*session.Session{l.session} }

// answer burns the idempotency key of a request. Keys are as random as those
// of partners.
func (l *life) answer(request string) error {
	l.put()
	print := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", request, l.project, l.n))
	l.changes.Keys = append(l.changes.Keys, store.KeyRecord{
		KeyRef: store.KeyRef{Project: l.project, Scope: store.ScopeAPI, Key: fmt.Sprintf("%x", print[:16])},
		Print:  print, Answer: wire.Answer(l.session, l.session.Version, nil), At: l.at,
	})
	return nil
}

// tell books an entry and promises the event that comes with it.
func (l *life) tell(h session.Hook, e ledger.Entry) error {
	e.Session, e.Payout = l.session.ID, l.session.Payouts[0].ID
	posted, err := l.book.Post(e, l.at)
	if err != nil {
		return err
	}
	l.changes.Entries = append(l.changes.Entries, posted)
	l.book.Events++
	l.session.Events++
	l.events[l.session.Events-1] = webhook.Event{
		Project: l.project, Session: l.session.ID, N: l.session.Events, ID: id.Event(l.ids.Next()), Seq: l.book.Events,
		Type: string(h), Body: wire.Hook(h, l.session, l.session.Version, nil), Status: webhook.Pending, CreatedAt: l.at, Due: l.at,
	}
	l.event(l.session.Events)
	return nil
}

// signatureLength is that of RSA with 2048 bits in Base64.
const signatureLength = 344

func (l *life) deliver(n int) error {
	e := &l.events[n-1]
	e.Status, e.Attempts, e.Signature = webhook.Delivered, 1, noise[:signatureLength]
	l.event(n)
	l.changes.Deliveries = append(l.changes.Deliveries, webhook.Attempt{
		Project: l.project, Session: e.Session, N: n, No: 1, At: l.at, Took: time.Millisecond, Status: 200,
	})
	return nil
}

// noise stands for what nobody reads: signatures of webhooks that were never sent.
var noise = fmt.Sprintf("%0*d", signatureLength, 0)

// event writes an event as it now is, once.
func (l *life) event(n int) {
	for i := range l.changes.Events {
		if l.changes.Events[i].N == n {
			l.changes.Events[i] = l.events[n-1]
			return
		}
	}
	l.changes.Events = append(l.changes.Events, l.events[n-1])
}

func (l *life) attempt(p *session.Payout, o store.AttemptOutcome) {
	a := store.Attempt{
		Project: l.project, Session: l.session.ID, Payout: p.ID, No: 1, Rail: p.Rail, Reference: p.Reference, Outcome: o, SentAt: l.at,
	}
	if o == store.AttemptAccepted {
		a.EndedAt = l.at
	}
	l.changes.Attempts = []store.Attempt{a}
}

// addTo adds what the life has changed to a batch.
func (l *life) addTo(c *store.Changes) {
	c.Keys = append(c.Keys, l.changes.Keys...)
	c.Sessions = append(c.Sessions, l.changes.Sessions...)
	c.Entries = append(c.Entries, l.changes.Entries...)
	c.Attempts = append(c.Attempts, l.changes.Attempts...)
	c.Cards = append(c.Cards, l.changes.Cards...)
	c.Events = append(c.Events, l.changes.Events...)
	c.Deliveries = append(c.Deliveries, l.changes.Deliveries...)
	c.Tasks = append(c.Tasks, l.changes.Tasks...)
	c.TasksDone = append(c.TasksDone, l.changes.TasksDone...)
	l.changes = store.Changes{}
}

const (
	preloadBatch = 5000 // payouts in one transaction
	// payoutBytes is what a finished payout takes on disk, with its indexes and
	// with room for the write-ahead log.
	payoutBytes = 8 << 10
	spareBytes  = 1 << 30 // left free in any case
)

// preloadBytes is the disk that a preload needs.
func (o *Options) preloadBytes() int64 { return int64(o.Preload)*payoutBytes + spareBytes }

// preload writes finished payouts in bulk: paid, told, and right in the books.
func preload(ctx context.Context, o Options, s store.Bulk) error {
	if o.Free == nil {
		o.Say("the disk of the database is not to be seen from here: see to it that %d MB are free", o.preloadBytes()>>20)
	} else if free, err := o.Free(); err != nil {
		return err
	} else if need := o.preloadBytes(); free < need {
		return fault.New(fault.Invalid, "preload: %d payouts need %d MB of free disk, and %d MB are free", o.Preload, need>>20, free>>20)
	}
	o.Say("preloading %d payouts", o.Preload)
	h := &history{ids: id.NewGenerator(now)}
	for n := range o.Projects {
		book, err := s.Book(ctx, projectName(n))
		if err != nil {
			return fmt.Errorf("preload: %w", err)
		}
		h.books = append(h.books, book)
	}
	if err := h.fill(ctx, o, s); err != nil {
		return fmt.Errorf("preload: %w", err)
	}
	return nil
}

// history is payouts of the past. Nobody else writes to the books of its
// projects, so they are read once.
type history struct {
	ids   *id.Generator
	books []*ledger.Book // by project
	made  int
}

// fill makes the next part while the last one is being written.
func (h *history) fill(ctx context.Context, o Options, s store.Bulk) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		parts  = make(chan *store.Changes)
		failed error
	)
	go func() {
		defer close(parts)
		for h.made < o.Preload && failed == nil {
			var c *store.Changes
			if c, failed = h.next(min(preloadBatch, o.Preload-h.made)); failed != nil {
				return
			}
			select {
			case parts <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	done := 0
	for c := range parts {
		if err := s.Fill(ctx, c); err != nil {
			return err
		}
		if done += len(c.Sessions); done%(100*preloadBatch) == 0 {
			o.Say("preloaded %d of %d payouts", done, o.Preload)
		}
	}
	return cmp.Or(failed, ctx.Err())
}

// next makes n whole lives, one project after the other.
func (h *history) next(n int) (*store.Changes, error) {
	c := &store.Changes{Batch: id.Batch(h.ids.Next())}
	at := now().UTC().Truncate(time.Microsecond)
	first := h.made
	for h.made < first+n {
		book := h.books[h.made%len(h.books)]
		l := &life{project: book.Project, n: int64(h.made), ids: h.ids, at: at, book: book}
		for _, command := range commands {
			if err := command(l); err != nil {
				return nil, err
			}
		}
		l.addTo(c)
		h.made++
	}
	for i := range min(n, len(h.books)) {
		book := h.books[(first+i)%len(h.books)]
		written := *book
		c.Books = append(c.Books, &written)
		book.Revision++ // as the store does when it writes
	}
	return c, nil
}
