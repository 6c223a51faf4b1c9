package sqlite_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/money"
)

// BenchmarkCommit writes what the start of a payout does: a key, a session with
// its payout, a hold, an event and a task; one operation is one such command.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 16, 256} {
		b.Run("batch="+strconv.Itoa(size), func(b *testing.B) { commitHolds(b, size) })
	}
}

func commitHolds(b *testing.B, size int) {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, filepath.Join(b.TempDir(), "payoutd.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	const project = id.Project("demo")
	if err := s.CreateProject(ctx, partner.Project{ID: project, Credit: 1 << 60}); err != nil {
		b.Fatal(err)
	}
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	ids := id.NewGenerator(time.Now)
	body := make([]byte, 0, 1024)
	for range 20 {
		body = fmt.Appendf(body, `{"payment_session":{"id":"ps_%d","status":"ok"}}`, 123456)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for written := 0; written < b.N; written += size {
		n := min(size, b.N-written)
		reads := store.Reads{Books: []id.Project{project}}
		for i := range n {
			reads.Keys = append(reads.Keys, store.KeyRef{Project: project, Scope: store.ScopeAPI, Key: keyOf(written + i)})
		}
		err := s.Commit(ctx, reads, func(rows *store.Rows) (*store.Changes, error) {
			c := &store.Changes{Batch: id.Batch(ids.Next())}
			book := rows.Books[project]
			for i := range n {
				one := session.Session{
					Project: project, ID: id.Session(ids.Next()), Version: 2, State: session.Awaiting, Events: 1,
					CreatedAt: at, UpdatedAt: at,
				}
				one.Payouts = []session.Payout{{
					ID: id.Payout(ids.Next()), State: session.Awaiting, Fee: 1000, Rail: "cards", CreatedAt: at,
					Details: session.Details{
						Instrument:   &instrument.Instrument{Card: &instrument.Card{BIN: "220000", Last4: "1317", Brand: instrument.Mir, Sealed: 42}},
						Amount:       &money.Amount{Minor: 100_00, Currency: money.RUB},
						Recipient:    "Ivan Ivanov",
						Participants: json.RawMessage(`{"recipient":{"full_name":"Ivan Ivanov","first_name":"Ivan","last_name":"Ivanov"}}`),
						Metadata:     json.RawMessage(`{"order": "17", "note": "payout for the week, paid on time"}`),
					},
				}}
				e := ledger.Hold(100_00, 1000)
				e.Session, e.Payout = one.ID, one.Payouts[0].ID
				e, err := book.Post(e, at)
				if err != nil {
					return nil, err
				}
				book.Events++
				k := store.SessionKey{Project: project, Session: one.ID}
				c.Sessions = append(c.Sessions, &one)
				c.Entries = append(c.Entries, e)
				c.Events = append(c.Events, webhook.Event{
					Project: project, Session: one.ID, N: 1, ID: id.Event(ids.Next()), Seq: book.Events,
					Type: string(session.ReadyToConfirm), Body: body, Status: webhook.Pending, CreatedAt: at, Due: at,
				})
				c.Keys = append(c.Keys, store.KeyRecord{
					KeyRef: store.KeyRef{Project: project, Scope: store.ScopeAPI, Key: keyOf(written + i)},
					Answer: body[:500], At: at,
				})
				c.Tasks = append(c.Tasks, store.Task{
					TaskKey: store.TaskKey{SessionKey: k, Payout: e.Payout, Kind: store.TaskExpire}, Due: at.Add(4 * time.Hour),
				})
			}
			c.Books = append(c.Books, book)
			return c, nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

// keyOf is as random as partners' keys are.
func keyOf(n int) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(n)))
	return fmt.Sprintf("%x", sum[:16])
}
