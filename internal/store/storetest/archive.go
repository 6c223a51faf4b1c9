package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// ended is a session that was paid, with all that such a one has, and its card.
func (b *bed) ended(p id.Project) (*session.Session, id.Card) {
	b.Helper()
	s, card := b.start(p), id.Card(b.ids.Next())
	s.State, s.Events = session.Paid, 2
	s.Payouts[0].State = session.Paid
	s.Payouts[0].Details.Metadata = []byte(`{ "a": "<&>\u2028é" }`)
	s.Payouts = append(s.Payouts, session.Payout{ID: id.Payout(b.ids.Next()), State: session.Cancelled, CreatedAt: noon})
	b.commit(store.Reads{Books: []id.Project{p}}, func(rows *store.Rows, c *store.Changes) {
		e := ledger.Deposit(5, fmt.Sprint(b.ids.Next()))
		e.Session, e.Payout = s.ID, s.Payouts[0].ID
		b.must(post(c, rows.Books[p], e))
		c.Sessions = append(c.Sessions, s)
		c.Cards = append(c.Cards, vault.Sealed{Project: p, ID: card, Ciphertext: []byte{1}, Fingerprint: []byte{2}, CreatedAt: noon})
		c.Attempts = append(c.Attempts, store.Attempt{
			Project: p, Session: s.ID, Payout: s.Payouts[0].ID, No: 1, Rail: "cards", Reference: s.Payouts[0].ID.String(), Outcome: store.AttemptAccepted, SentAt: noon,
		})
		c.Keys = append(c.Keys, store.KeyRecord{KeyRef: store.KeyRef{Project: p, Scope: store.ScopeAPI, Key: s.ID.String()}, Answer: []byte("{}"), At: noon})
		for n := range 2 {
			c.Events = append(c.Events, webhook.Event{
				Project: p, Session: s.ID, N: n + 1, ID: id.Event(b.ids.Next()), Seq: int64(n + 1), Type: "payment_finished", Body: []byte(`{"тело":"<1>"}`),
				Signature: "c2ln", Status: webhook.Delivered, Attempts: 1, CreatedAt: noon,
			})
			c.Deliveries = append(c.Deliveries, webhook.Attempt{Project: p, Session: s.ID, N: n + 1, No: 1, At: noon, Took: time.Second, Status: 200, Error: "\x00ü"})
		}
	})
	return b.session(keyOf(s)), card
}

// aged are the dossiers of all sessions that may be archived.
func (b *bed) aged(p id.Project) []store.Dossier {
	b.Helper()
	aged, _, err := b.Aged(b.ctx, p, 0, noon.Add(time.Hour), 100)
	b.must(err)
	return aged
}

// leaving is a session as it is to be taken out.
func leaving(d *store.Dossier, in id.Archive, cards ...id.Card) store.Leaving {
	return store.Leaving{Archived: store.Archived{
		SessionKey: keyOf(d.Session), Archive: in, Print: sha256.Sum256(d.Record), State: d.Session.State, Events: len(d.Events), Seqs: 3, Reserved: 1,
		EndedAt: noon, Payouts: []store.ArchivedPayout{{ID: d.Session.Payouts[0].ID, State: session.Paid, Minor: 7, Account: "40", Moves: true}},
	}, Cards: cards}
}

// With a session goes what hangs on it, and nothing of another one; what the
// books are proved by stays.
func takenOutWhole(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	s, card := b.ended("p")
	other, otherCard := b.ended("p")
	foreign, _ := b.ended("q")
	before := b.dump()
	aged := b.aged("p")
	if len(aged) != 2 {
		b.Fatalf("%d sessions are aged, want 2", len(aged))
	}
	d := &aged[0]
	same(b, "session of the dossier", d.Session, s)
	if len(d.Events) != 2 || string(d.Events[1].Body) != `{"тело":"<1>"}` || d.Events[1].N != 2 {
		b.Errorf("events %s", show(d.Events))
	}
	again, err := b.ReadRecord(d.Record)
	b.must(err)
	same(b, "the record read back", again, *d)
	_, err = b.ReadRecord(d.Record[1:])
	b.refused(err, fault.Invalid, "half a record")

	archive := store.Archive{Project: "p", Number: 5, File: "p_ar_5", Print: [32]byte{1}, Bytes: 9, Sessions: 1, At: noon}
	b.must(b.AddArchive(b.ctx, archive))
	out := leaving(d, 5, card)
	for range 2 { // the same again is no error, and does nothing
		left, err := b.TakeOut(b.ctx, "p", []store.Leaving{out})
		b.must(err)
		if len(left) > 0 {
			b.Fatalf("%v was left", left)
		}
	}
	_, err = b.Session(b.ctx, keyOf(s))
	b.refused(err, fault.NotFound, "the session")
	_, err = b.Card(b.ctx, "p", card)
	b.refused(err, fault.NotFound, "its card")
	_, err = b.Card(b.ctx, "p", otherCard)
	b.must(err)
	log, err := b.Deliveries(b.ctx, keyOf(s))
	b.must(err)
	if len(log) > 0 {
		b.Errorf("%d deliveries", len(log))
	}
	a, err := b.FindAttempt(b.ctx, "cards", s.Payouts[0].ID.String())
	b.must(err)
	if a.Session != s.ID {
		b.Errorf("the attempt is of %s", a.Session)
	}
	rows := b.load(store.Reads{Sessions: []store.SessionKey{keyOf(s)}, Keys: []store.KeyRef{{Project: "p", Scope: store.ScopeAPI, Key: s.ID.String()}}})
	if len(rows.Sessions) != 0 || len(rows.Keys) != 1 {
		b.Errorf("%d sessions and %d keys, want the key alone", len(rows.Sessions), len(rows.Keys))
	}
	stays, err := b.Archived(b.ctx, keyOf(s))
	b.must(err)
	want := out.Archived
	want.Entry = b.book("p").Entries
	same(b, "what stays", stays, want)
	_, err = b.Archived(b.ctx, keyOf(other))
	b.refused(err, fault.NotFound, "what stays of another")

	after := b.dump()
	p, was := after.Of["p"], before.Of["p"]
	same(b, "entries", p.Entries, was.Entries)
	same(b, "attempts", p.Attempts, was.Attempts)
	same(b, "sessions", p.Sessions, []*session.Session{other})
	same(b, "events", p.Events, was.Events[2:])
	same(b, "another project", after.Of["q"], before.Of["q"])
	same(b, "archives", p.Archives, []store.Archive{archive})
	same(b, "archived", p.Archived, []store.Archived{want})
	_ = foreign
}

// What has changed since it was read, has something left to do or has left
// already stays as it is; the rest goes.
func takenOutAsRead(b *bed) {
	b.project("p", 0)
	var all []*session.Session
	for range 5 {
		s, _ := b.ended("p")
		all = append(all, s)
	}
	aged := b.aged("p")
	var out []store.Leaving
	for i := range aged {
		out = append(out, leaving(&aged[i], 5))
	}
	b.write(func(c *store.Changes) { // a delivery that nobody had seen
		c.Deliveries = append(c.Deliveries, webhook.Attempt{Project: "p", Session: all[0].ID, N: 2, No: 2, At: noon, Error: "late"})
	})
	b.commit(store.Reads{Sessions: []store.SessionKey{keyOf(all[1])}}, func(rows *store.Rows, c *store.Changes) {
		c.Sessions = append(c.Sessions, rows.Sessions[keyOf(all[1])])
	})
	b.write(func(c *store.Changes) { c.Tasks = append(c.Tasks, task(all[2], store.TaskReceipt, noon)) })
	for i, in := range []id.Archive{4, 5} { // of another archive
		one := leaving(&aged[3], in)
		left, err := b.TakeOut(b.ctx, "p", []store.Leaving{one})
		b.must(err)
		if len(left) != i {
			b.Errorf("archive %d: %v was left", in, left)
		}
	}
	left, err := b.TakeOut(b.ctx, "p", out)
	b.must(err)
	slices.Sort(left)
	same(b, "what is left", left, []id.Session{all[0].ID, all[1].ID, all[2].ID, all[3].ID})
	var there []id.Session
	of := b.dump().Of["p"]
	for _, s := range of.Sessions {
		there = append(there, s.ID)
	}
	same(b, "sessions", there, []id.Session{all[0].ID, all[1].ID, all[2].ID})
	if len(of.Events) != 6 || len(of.Archived) != 2 || of.Archived[0].Archive != 4 || of.Archived[1].Session != all[4].ID {
		b.Errorf("%d events, archived %s", len(of.Events), show(of.Archived))
	}
}

// Without a book nobody could tell what was booked about it later.
func notTakenOutWithoutABook(b *bed) {
	s := b.start("p")
	s.State = session.Cancelled
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, s) })
	was, out := b.session(keyOf(s)), leaving(&b.aged("p")[0], 5)
	_, err := b.TakeOut(b.ctx, "p", []store.Leaving{out})
	b.refused(err, fault.NotFound, "to take it out")
	same(b, "the session", b.session(keyOf(s)), was)
	_, err = b.Archived(b.ctx, keyOf(s))
	b.refused(err, fault.NotFound, "what stays of it")
}

// A walk looks at each session once, and ends where all are too young.
func agedByPage(b *bed) {
	b.project("p", 0)
	write := func(state session.State, created, updated time.Time) id.Session {
		s := b.start("p")
		s.State, s.CreatedAt, s.UpdatedAt = state, created, updated
		b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, s) })
		return s.ID
	}
	before := noon.Add(time.Hour)
	live := write(session.Awaiting, noon, noon)
	paid := write(session.Paid, noon, before.Add(-time.Microsecond))
	touched := write(session.Failed, noon, before)
	cancelled := write(session.Cancelled, noon, noon)
	young := write(session.Returned, before, before)
	for _, c := range []struct {
		after id.Session
		limit int
		want  []id.Session
		last  id.Session
	}{
		{0, 2, []id.Session{paid}, paid},
		{0, 1, nil, live},
		{paid, 2, []id.Session{cancelled}, cancelled},
		{touched, 9, []id.Session{cancelled}, young},
		{cancelled, 9, nil, 0},
		{young, 9, nil, 0},
		{0, 0, nil, 0},
	} {
		aged, last, err := b.Aged(b.ctx, "p", c.after, before, c.limit)
		b.must(err)
		var got []id.Session
		for _, d := range aged {
			got = append(got, d.Session.ID)
		}
		same(b, fmt.Sprintf("%d after %s", c.limit, c.after), got, c.want)
		same(b, fmt.Sprintf("last of %d after %s", c.limit, c.after), last, c.last)
	}
	if aged, last, err := b.Aged(b.ctx, "q", 0, before, 9); err != nil || len(aged) > 0 || last != 0 {
		b.Errorf("another project has %d, %s, %v", len(aged), last, err)
	}
}
