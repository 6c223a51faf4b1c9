package storetest

import (
	"errors"
	"iter"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// snapshotIsOneState commits while a snapshot is open, before it has read
// anything and between its reads.
func snapshotIsOneState(b *bed) {
	b.project("p", 0)
	b.stored("p")
	before := b.dump()
	more := func() {
		b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
			c.Sessions = append(c.Sessions, b.start("p"))
			b.must(post(c, rows.Books["p"], ledger.Deposit(1, "d")))
		})
	}
	b.must(b.Snapshot(b.ctx, func(s store.Snapshot) error {
		b.project("q", 0)
		for range 3 {
			more()
			got, err := b.read(s)
			b.must(err)
			same(b, "content", got, before)
		}
		return nil
	}))
	same(b, "entries after", len(b.dump().Of["p"].Entries), 3)
}

// snapshotOrder writes everything in the wrong order.
func snapshotOrder(b *bed) {
	b.project("q", 0)
	b.project("p", 0)
	older, newer := b.start("p"), b.start("p")
	second := session.Payout{ID: id.Payout(b.ids.Next()), State: session.Checking, CreatedAt: noon}
	older.Payouts, older.Events, newer.Events = append(older.Payouts, second), 2, 1
	entry := func(s *session.Session, p id.Payout) ledger.Entry {
		e := ledger.Hold(1, 0)
		e.Session, e.Payout = s.ID, p
		return e
	}
	attempt := func(s *session.Session, p id.Payout, no int) store.Attempt {
		return store.Attempt{
			Project: "p", Session: s.ID, Payout: p, No: no, Rail: "cards", Reference: p.String(),
			Outcome: store.AttemptDeclined, SentAt: noon,
		}
	}
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
		book := rows.Books["p"]
		b.must(post(c, book, ledger.Deposit(10, "d1")))
		b.must(post(c, book, entry(newer, newer.Payouts[0].ID)))
		b.must(post(c, book, entry(older, second.ID)))
		b.must(post(c, book, entry(older, older.Payouts[0].ID)))
		b.must(post(c, book, entry(newer, newer.Payouts[0].ID)))
		b.must(post(c, book, ledger.Deposit(10, "d2")))
		c.Sessions = append(c.Sessions, newer, older)
		c.Attempts = append(c.Attempts, attempt(newer, newer.Payouts[0].ID, 1), attempt(older, second.ID, 2), attempt(older, second.ID, 1), attempt(older, older.Payouts[0].ID, 1))
		c.Events = append(c.Events, b.event(newer, 1), b.event(older, 2), b.event(older, 1))
		c.Tasks = append(c.Tasks, task(newer, store.TaskCheck, noon), task(older, store.TaskSend, noon.Add(-time.Hour)), task(older, store.TaskCheck, noon))
	})
	all := b.dump()
	same(b, "projects", []id.Project{all.Projects[0].ID, all.Projects[1].ID}, []id.Project{"p", "q"})
	same(b, "books", []id.Project{all.Books[0].Project, all.Books[1].Project}, []id.Project{"p", "q"})
	got := all.Of["p"]
	same(b, "entries", each(got.Entries, func(e ledger.Entry) int64 { return e.No }), []int64{1, 2, 3, 4, 5, 6})
	same(b, "entries by session", each(got.BySession, func(e ledger.Entry) int64 { return e.No }), []int64{4, 3, 2, 5})
	same(b, "sessions", each(got.Sessions, func(s *session.Session) id.Session { return s.ID }), []id.Session{older.ID, newer.ID})
	same(b, "attempts", got.Attempts, []store.Attempt{
		attempt(older, older.Payouts[0].ID, 1), attempt(older, second.ID, 1), attempt(older, second.ID, 2), attempt(newer, newer.Payouts[0].ID, 1),
	})
	same(b, "events", each(got.Events, func(e webhook.Event) [2]int64 { return [2]int64{int64(e.Session), int64(e.N)} }),
		[][2]int64{{int64(older.ID), 1}, {int64(older.ID), 2}, {int64(newer.ID), 1}})
	same(b, "tasks", got.Tasks, []store.Task{
		task(older, store.TaskCheck, noon), task(older, store.TaskSend, noon.Add(-time.Hour)), task(newer, store.TaskCheck, noon),
	})
}

func each[T, U any](list []T, of func(T) U) []U {
	var out []U
	for _, v := range list {
		out = append(out, of(v))
	}
	return out
}

// snapshotSideBySide walks two streams in step and leaves both before the end.
func snapshotSideBySide(b *bed) {
	b.project("p", 0)
	for range 5 {
		s := b.start("p")
		b.write(func(c *store.Changes) {
			c.Sessions, c.Tasks = append(c.Sessions, s), append(c.Tasks, task(s, store.TaskCheck, noon))
		})
	}
	b.must(b.Snapshot(b.ctx, func(s store.Snapshot) error {
		next, stop := iter.Pull2(s.Tasks(b.ctx, "p"))
		defer stop()
		pairs := 0
		for one, err := range s.Sessions(b.ctx, "p") {
			b.must(err)
			todo, err, ok := next()
			b.must(err)
			if !ok || todo.Session != one.ID {
				b.Fatalf("task of %s beside %s", todo.Session, one.ID)
			}
			if pairs++; pairs == 3 {
				break
			}
		}
		list, err := gather(s.Sessions(b.ctx, "p")) // and the connection is none the worse for it
		b.must(err)
		same(b, "sessions", len(list), 5)
		return nil
	}))
}

func snapshotErrorPassesThrough(b *bed) {
	no := errors.New("no")
	if err := b.Snapshot(b.ctx, func(store.Snapshot) error { return no }); !errors.Is(err, no) {
		b.Errorf("error %v, want that of read", err)
	}
}
