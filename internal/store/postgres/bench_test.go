package postgres_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/money"
)

// BenchmarkCommit writes what the start of a payout does: a key, a session with
// its payout, a hold, an event and a task; one operation is one such command.
// The server syncs to disk. Writers work on one project each.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ size, writers int }{{1, 1}, {16, 1}, {256, 1}, {256, 2}} {
		b.Run(fmt.Sprintf("batch=%d/writers=%d", c.size, c.writers), func(b *testing.B) {
			works := newWorkloads(b, c.writers)
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for i, w := range works {
				share := (b.N + i) / c.writers
				all.Go(func() {
					for done := 0; done < share; done += c.size {
						w.start(b, min(c.size, share-done))
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// BenchmarkStep loads a stored session with its event, and changes it as the
// answer of a rail does: its payout, a settlement, another event, no task any more.
func BenchmarkStep(b *testing.B) {
	const size = 256
	w := newWorkloads(b, 1)[0]
	for made := 0; made < b.N; made += size {
		w.start(b, min(size, b.N-made))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += size {
		w.step(b, w.started[done:min(done+size, b.N)])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

type workload struct {
	store   *postgres.Store
	project id.Project
	ids     *id.Generator
	at      time.Time
	body    []byte
	started []store.SessionKey
}

// newWorkloads makes one for each of some projects in one database.
func newWorkloads(b *testing.B, count int) []*workload {
	url := pgtest.Durable(b)
	if err := postgres.Migrate(b.Context(), url, nil); err != nil {
		b.Fatal(err)
	}
	s := open(b, url)
	var works []*workload
	for i := range count {
		p := id.Project(fmt.Sprint("project", i))
		if err := s.CreateProject(b.Context(), partner.Project{ID: p, Credit: 1 << 60}); err != nil {
			b.Fatal(err)
		}
		works = append(works, &workload{
			store: s, project: p, ids: id.NewNodeGenerator(time.Now, int64(i)), at: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC),
			body: []byte(strings.Repeat(`{"payment_session":{"id":"ps_123456","status":"ok"}}`, 20)), // 1 KB
		})
	}
	return works
}

func (w *workload) commit(b *testing.B, reads store.Reads, decide func(*store.Rows, *store.Changes) error) {
	err := w.store.Commit(context.Background(), reads, func(rows *store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: id.Batch(w.ids.Next()), Books: []*ledger.Book{rows.Books[w.project]}}
		return c, decide(rows, c)
	})
	if err != nil {
		b.Error(err)
	}
}

// start starts n payouts in one batch.
func (w *workload) start(b *testing.B, n int) {
	reads := store.Reads{Books: []id.Project{w.project}}
	for i := range n {
		sum := sha256.Sum256([]byte(strconv.Itoa(len(w.started) + i))) // keys are as random as those of partners
		reads.Keys = append(reads.Keys, store.KeyRef{Project: w.project, Scope: store.ScopeAPI, Key: fmt.Sprintf("%x", sum[:16])})
	}
	w.commit(b, reads, func(rows *store.Rows, c *store.Changes) error {
		for _, key := range reads.Keys {
			s := w.session()
			k := store.SessionKey{Project: w.project, Session: s.ID}
			if err := w.post(rows, c, s, ledger.Hold(100_00, 10_00)); err != nil {
				return err
			}
			c.Sessions = append(c.Sessions, s)
			c.Events = append(c.Events, w.event(rows, s, session.ReadyToConfirm))
			c.Keys = append(c.Keys, store.KeyRecord{KeyRef: key, Answer: w.body[:512], At: w.at})
			c.Tasks = append(c.Tasks, store.Task{
				TaskKey: store.TaskKey{SessionKey: k, Payout: s.Payouts[0].ID, Kind: store.TaskExpire}, Due: w.at.Add(4 * time.Hour),
			})
			w.started = append(w.started, k)
		}
		return nil
	})
}

// step ends payouts that were started, in one batch.
func (w *workload) step(b *testing.B, keys []store.SessionKey) {
	w.commit(b, store.Reads{Books: []id.Project{w.project}, Sessions: keys}, func(rows *store.Rows, c *store.Changes) error {
		for _, k := range keys {
			s := rows.Sessions[k]
			p := &s.Payouts[0]
			s.State, p.State, p.FinishedAt, p.Info.RRN = session.Paid, session.Paid, w.at, "123456789012"
			s.Events++
			if err := w.post(rows, c, s, ledger.Settle(100_00, 10_00, "cards")); err != nil {
				return err
			}
			c.Sessions = append(c.Sessions, s)
			c.Events = append(c.Events, w.event(rows, s, session.PaymentFinished))
			c.TasksDone = append(c.TasksDone, store.TaskKey{SessionKey: k, Payout: p.ID, Kind: store.TaskExpire})
		}
		return nil
	})
}

func (w *workload) session() *session.Session {
	return &session.Session{
		Project: w.project, ID: id.Session(w.ids.Next()), Version: 2, State: session.Awaiting, Events: 1, CreatedAt: w.at, UpdatedAt: w.at,
		Payouts: []session.Payout{{
			ID: id.Payout(w.ids.Next()), State: session.Awaiting, Fee: 10_00, Rail: "cards", CreatedAt: w.at,
			Details: session.Details{
				Instrument:   &instrument.Instrument{Card: &instrument.Card{BIN: "220000", Last4: "1317", Brand: instrument.Mir, Sealed: 42}},
				Amount:       &money.Amount{Minor: 100_00, Currency: money.RUB},
				Recipient:    "Ivan Ivanov",
				Participants: json.RawMessage(`{"recipient":{"full_name":"Ivan Ivanov","first_name":"Ivan","last_name":"Ivanov"}}`),
				Metadata:     json.RawMessage(`{"order": "17", "note": "payout for the week, paid on time"}`),
			},
		}},
	}
}

func (w *workload) event(rows *store.Rows, s *session.Session, hook session.Hook) webhook.Event {
	book := rows.Books[w.project]
	book.Events++
	return webhook.Event{
		Project: w.project, Session: s.ID, N: s.Events, ID: id.Event(w.ids.Next()), Seq: book.Events,
		Type: string(hook), Body: w.body, Status: webhook.Pending, CreatedAt: w.at, Due: w.at,
	}
}

func (w *workload) post(rows *store.Rows, c *store.Changes, s *session.Session, e ledger.Entry) error {
	e.Session, e.Payout = s.ID, s.Payouts[0].ID
	e, err := rows.Books[w.project].Post(e, w.at)
	c.Entries = append(c.Entries, e)
	return err
}
