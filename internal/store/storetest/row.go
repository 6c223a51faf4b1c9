package storetest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// full is a new session with a value in every member.
func (b *bed) full(p id.Project) *session.Session {
	s := fill[session.Session](new(filler))
	s.Project, s.ID, s.Version, s.Revision, s.State = p, id.Session(b.ids.Next()), 2, 0, session.Awaiting
	for i := range s.Payouts {
		s.Payouts[i].ID, s.Payouts[i].State = id.Payout(b.ids.Next()), session.States[i]
	}
	return &s
}

func sessionRoundTrip(b *bed) {
	b.project("p", 0)
	created := b.start("p") // nothing but its identity
	created.State, created.Payouts = session.Created, nil
	prefilled := b.start("p")
	prefilled.State, prefilled.Payouts, prefilled.Draft = session.Created, nil, fill[session.Details](new(filler))
	bare := b.start("p")
	bare.Payouts = []session.Payout{{ID: id.Payout(b.ids.Next()), State: session.Checking}} // no time is set
	reversed := b.full("p")
	reversed.Payouts[0].ID, reversed.Payouts[2].ID = reversed.Payouts[2].ID, reversed.Payouts[0].ID

	for name, want := range map[string]*session.Session{
		"every member": b.full("p"), "created": created, "prefilled": prefilled, "zero times": bare, "payouts not by id": reversed,
	} {
		b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, want) })
		if want.Revision != 0 {
			b.Errorf("%s: Commit has changed the caller's session", name)
		}
		got := b.session(keyOf(want))
		want = want.Clone()
		want.Revision = got.Revision
		same(b, name+", read", got, want)
		same(b, name+", loaded", b.load(store.Reads{Sessions: []store.SessionKey{keyOf(want)}}).Sessions[keyOf(want)], want)
	}
}

// sessionChanges gives every member that may change another value.
func sessionChanges(b *bed) {
	b.project("p", 0)
	first := b.full("p")
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, first) })

	loaded := b.session(keyOf(first))
	f := &filler{n: 10_000}
	next := fill[session.Session](f)
	next.Project, next.ID, next.Version, next.CreatedAt = first.Project, first.ID, first.Version, first.CreatedAt
	next.State, next.Revision = session.Sent, loaded.Revision
	for i := range first.Payouts {
		p := &next.Payouts[i]
		p.ID, p.Details, p.CreatedAt = first.Payouts[i].ID, first.Payouts[i].Details, first.Payouts[i].CreatedAt
		p.State = session.States[len(session.States)-1-i]
	}
	added := fill[session.Payout](f)
	added.ID, added.State = id.Payout(b.ids.Next()), session.Checking
	next.Payouts = append(next.Payouts, added)
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, &next) })

	got := b.session(keyOf(first))
	if got.Revision <= loaded.Revision {
		b.Errorf("revision %d after a write at %d", got.Revision, loaded.Revision)
	}
	want := next.Clone()
	want.Revision = got.Revision
	same(b, "changed", got, want)

	back := got.Clone() // and all of it to nothing
	back.Draft, back.Events, back.Fence, back.UpdatedAt = session.Details{}, 0, 0, time.Time{}
	for i := range back.Payouts {
		p := &back.Payouts[i]
		*p = session.Payout{ID: p.ID, State: p.State, Details: p.Details, CreatedAt: p.CreatedAt}
	}
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, back) })
	got = b.session(keyOf(first))
	back.Revision = got.Revision
	same(b, "emptied", got, back)
}

// bytesStay wants what was sent, answered and promised back byte for byte:
// it is shown again, hashed and signed.
func bytesStay(b *bed) {
	b.project("p", 0)
	for name, sent := range map[string]string{
		"blanks":            "{ \"a\" :\t[ 1 , 2 ],\r\n \"b\" : { } }",
		"order and repeats": `{"z":1,"a":2,"z":3}`,
		"numbers":           `[1.0, 1e2, -0, 12345678901234567890, 0.1000]`,
		"escapes":           `{"a":"\u0041\/\u00e9\ud83d\ude00 \\ \" \t"}`,
		"no escapes":        `{"a":"é😀 <b>&'` + "\u2028\u007f" + `"}`,
		"quoted null":       `{"a":"\u0000"}`,
		"scalar":            ` null `,
		"long":              `"` + string(make69k()) + `"`,
	} {
		s := b.start("p")
		s.Events = 1
		s.Draft.Metadata = json.RawMessage(sent)
		d := &s.Payouts[0].Details
		d.Metadata, d.Customer, d.Participants = json.RawMessage(sent), json.RawMessage(sent), json.RawMessage(sent)
		key := store.KeyRecord{KeyRef: store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: name}, Answer: []byte(sent), At: noon}
		event := b.event(s, 1)
		event.Body = []byte(sent)
		b.write(func(c *store.Changes) {
			c.Sessions, c.Keys, c.Events = append(c.Sessions, s), append(c.Keys, key), append(c.Events, event)
		})
		got := b.session(keyOf(s))
		rows := b.load(store.Reads{Sessions: []store.SessionKey{keyOf(s)}, Keys: []store.KeyRef{key.KeyRef}})
		for where, bytes := range map[string][]byte{
			"draft": got.Draft.Metadata, "metadata": got.Payouts[0].Details.Metadata, "customer": got.Payouts[0].Details.Customer,
			"participants": got.Payouts[0].Details.Participants, "answer": rows.Keys[key.KeyRef].Answer,
			"body": b.body(keyOf(s), 1),
		} {
			same(b, name+" in "+where, string(bytes), sent)
		}
	}
}

// make69k is longer than a page of any engine.
func make69k() []byte {
	long := make([]byte, 69_000)
	for i := range long {
		long[i] = 'a' + byte(i%26)
	}
	return long
}

func timesAreCut(b *bed) {
	b.project("p", 0)
	moscow := time.FixedZone("MSK", 3*60*60)
	given := time.Date(2026, 7, 1, 15, 0, 0, 123_456_999, moscow)
	s := b.start("p")
	s.Events = 1
	s.CreatedAt, s.UpdatedAt = given, given
	p := &s.Payouts[0]
	p.CreatedAt, p.SentAt, p.FinishedAt = given, given, given
	event := b.event(s, 1)
	event.CreatedAt, event.Due, event.Lease, event.Owner = given, given, given, "node"
	todo := task(s, store.TaskCheck, given)
	todo.Owner, todo.Lease = "node", given
	key := store.KeyRecord{KeyRef: store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: "k"}, At: given}
	b.write(func(c *store.Changes) {
		c.Sessions, c.Events = append(c.Sessions, s), append(c.Events, event)
		c.Tasks, c.Keys = append(c.Tasks, todo), append(c.Keys, key)
		c.Attempts = append(c.Attempts, store.Attempt{
			Project: "p", Session: s.ID, Payout: p.ID, No: 1, Rail: "cards", Reference: "r",
			Outcome: store.AttemptOpen, SentAt: given, EndedAt: given,
		})
		c.Deliveries = append(c.Deliveries, webhook.Attempt{Project: "p", Session: s.ID, N: 1, No: 1, At: given})
		c.Alarms = append(c.Alarms, store.Alarm{ID: 1, Project: "p", Kind: "k", At: given})
		c.Cards = append(c.Cards, vault.Sealed{Project: "p", ID: 1, Ciphertext: []byte{1}, Fingerprint: []byte{1}, CreatedAt: given})
	})

	got, rows, all := b.session(keyOf(s)), b.load(store.Reads{Keys: []store.KeyRef{key.KeyRef}}), b.dump().Of["p"]
	deliveries, err := b.Deliveries(b.ctx, keyOf(s))
	b.must(err)
	alarms, err := b.Alarms(b.ctx, 1)
	b.must(err)
	card, err := b.Card(b.ctx, "p", 1)
	b.must(err)
	for name, at := range map[string]time.Time{
		"session created": got.CreatedAt, "session updated": got.UpdatedAt, "payout created": got.Payouts[0].CreatedAt,
		"sent": got.Payouts[0].SentAt, "finished": got.Payouts[0].FinishedAt, "key": rows.Keys[key.KeyRef].At,
		"event created": all.Events[0].CreatedAt, "event due": all.Events[0].Due, "event lease": all.Events[0].Lease,
		"task due": all.Tasks[0].Due, "task lease": all.Tasks[0].Lease,
		"attempt sent": all.Attempts[0].SentAt, "attempt ended": all.Attempts[0].EndedAt,
		"delivery": deliveries[0].At, "alarm": alarms[0].At, "card": card.CreatedAt,
	} {
		if at != noon { // in UTC too
			b.Errorf("%s: got %v, want %v", name, at, noon)
		}
	}
}

func outboxHasTheUndelivered(b *bed) {
	b.project("p", 0)
	s, quiet := b.start("p"), b.stored("p")
	s.Events = 4
	var events []webhook.Event
	for n, status := range []webhook.Status{webhook.Pending, webhook.Delivered, webhook.GivenUp, webhook.Pending} {
		e := b.event(s, n+1)
		e.Status = status
		events = append(events, e)
	}
	b.write(func(c *store.Changes) { // the later ones first
		c.Sessions = append(c.Sessions, s)
		c.Events = append(c.Events, events[3], events[2], events[1], events[0])
	})
	rows := b.load(store.Reads{Sessions: []store.SessionKey{keyOf(quiet), keyOf(s)}})
	same(b, "outbox", rows.Outbox[keyOf(s)], bodiless(events[0], events[3]))
	if got := rows.Outbox[keyOf(quiet)]; len(got) != 0 {
		b.Errorf("outbox of a session without events: %s", show(got))
	}

	rows = b.load(store.Reads{Outbox: []store.SessionKey{keyOf(s), keyOf(quiet), keyOf(s)}})
	same(b, "outbox alone", rows.Outbox[keyOf(s)], bodiless(events[0], events[3]))
	same(b, "outboxes and sessions loaded", len(rows.Outbox)+len(rows.Sessions), 1)

	rows = b.load(store.Reads{Outbox: []store.SessionKey{keyOf(s)}, Sessions: []store.SessionKey{keyOf(s)}})
	same(b, "outbox asked for twice", len(rows.Outbox[keyOf(s)]), 2)
}

// eventsOfSession loads what was delivered as well, and writes it again.
func eventsOfSession(b *bed) {
	b.project("p", 0)
	s, other := b.start("p"), b.start("p")
	s.Events, other.Events = 3, 1
	var events []webhook.Event
	for n, status := range []webhook.Status{webhook.Delivered, webhook.Pending, webhook.GivenUp} {
		e := b.event(s, n+1)
		e.Status, e.Signature, e.Attempts = status, "c2lnbmF0dXJl", n
		events = append(events, e)
	}
	b.write(func(c *store.Changes) {
		c.Sessions = append(c.Sessions, s, other)
		c.Events = append(append(c.Events, events...), b.event(other, 1))
	})
	reads := store.Reads{Events: []store.SessionKey{keyOf(s), keyOf(s)}}
	rows := b.load(reads)
	same(b, "events loaded", len(rows.Events), 3)
	same(b, "sessions loaded", len(rows.Sessions), 0)
	for i, want := range bodiless(events...) {
		same(b, "event", rows.Events[store.EventKey{SessionKey: keyOf(s), N: i + 1}], want)
	}
	same(b, "outbox beside them", rows.Outbox[keyOf(s)], bodiless(events[1]))

	again := rows.Events[store.EventKey{SessionKey: keyOf(s), N: 1}]
	again.Status, again.Due = webhook.Pending, noon.Add(time.Hour)
	err := b.Commit(b.ctx, reads, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{Batch: id.Batch(b.ids.Next()), Events: []webhook.Event{again}}, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	same(b, "outbox with what was delivered", b.load(reads).Outbox[keyOf(s)], append([]webhook.Event{again}, bodiless(events[1])...))
	same(b, "its body", string(b.body(keyOf(s), 1)), string(events[0].Body))
}

// eventsByQuery bounds what is read by each member of the query.
func eventsByQuery(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	first, second, foreign := b.start("p"), b.start("p"), b.start("q")
	first.Events, second.Events, foreign.Events = 2, 1, 1
	made := []webhook.Event{b.event(first, 1), b.event(first, 2), b.event(second, 1), b.event(foreign, 1)}
	for i, status := range []webhook.Status{webhook.GivenUp, webhook.Pending, webhook.Delivered, webhook.GivenUp} {
		made[i].Status, made[i].CreatedAt = status, noon.Add(time.Duration(i)*time.Hour)
	}
	b.write(func(c *store.Changes) {
		c.Sessions = append(c.Sessions, first, second, foreign)
		c.Events = append(c.Events, made...)
	})
	given, pending, delivered := made[0], made[1], made[2]
	for _, c := range []struct {
		name string
		q    store.EventQuery
		want []webhook.Event
	}{
		{"all", store.EventQuery{}, []webhook.Event{given, pending, delivered}},
		{"of a session", store.EventQuery{Session: second.ID}, []webhook.Event{delivered}},
		{"of another project's session", store.EventQuery{Session: foreign.ID}, nil},
		{"given up", store.EventQuery{Status: []webhook.Status{webhook.GivenUp}}, []webhook.Event{given}},
		{"of two statuses", store.EventQuery{Status: []webhook.Status{webhook.GivenUp, webhook.Delivered}}, []webhook.Event{given, delivered}},
		{"muted", store.EventQuery{Status: []webhook.Status{webhook.Muted}}, nil},
		{"from its very moment", store.EventQuery{From: noon.Add(time.Hour)}, []webhook.Event{pending, delivered}},
		{"before its very moment", store.EventQuery{To: noon.Add(time.Hour)}, []webhook.Event{given}},
		{"an empty time", store.EventQuery{From: noon.Add(time.Hour), To: noon.Add(time.Hour)}, nil},
		{"after one", store.EventQuery{After: eventKey(given)}, []webhook.Event{pending, delivered}},
		{"after the last of a session", store.EventQuery{After: eventKey(pending)}, []webhook.Event{delivered}},
		{"after all", store.EventQuery{After: eventKey(delivered)}, nil},
		{"the first", store.EventQuery{Limit: 1}, []webhook.Event{given}},
	} {
		c.q.Project = "p"
		if c.q.Limit == 0 {
			c.q.Limit = 10
		}
		got, err := b.Events(b.ctx, c.q)
		if err != nil {
			b.Fatalf("%s: %v", c.name, err)
		}
		if len(got) != len(c.want) {
			b.Errorf("%s: %s, want %s", c.name, show(got), show(c.want))
			continue
		}
		for i, want := range bodiless(c.want...) {
			same(b, c.name, got[i], want)
		}
	}
}

// bodiless are events as they are loaded.
func bodiless(events ...webhook.Event) []webhook.Event {
	events = slices.Clone(events)
	for i := range events {
		events[i].Body = nil
	}
	return events
}

// body claims what is to be delivered, to see the body of an event.
func (b *bed) body(k store.SessionKey, n int) (body []byte) {
	b.Helper()
	far := noon.Add(365 * 24 * time.Hour)
	events, err := b.ClaimEvents(b.ctx, "reader", far, far, time.Minute, 1000)
	if err != nil {
		b.Fatalf("claim events: %v", err)
	}
	for _, e := range events {
		if e.Project == k.Project && e.Session == k.Session && e.N == n {
			body = e.Body
		}
	}
	return body
}

// eventsKeepTheirPromise changes how the delivery of an event stands; what was
// promised was signed perhaps, and stays.
func eventsKeepTheirPromise(b *bed) {
	b.project("p", 0)
	s := b.start("p")
	s.Events = 1
	first := b.event(s, 1)
	b.write(func(c *store.Changes) { c.Sessions, c.Events = append(c.Sessions, s), append(c.Events, first) })
	changed := first
	changed.Signature, changed.Attempts, changed.Due = "c2lnbmF0dXJl", 2, noon.Add(time.Minute)
	changed.Owner, changed.Lease = "node", noon.Add(time.Hour)
	b.write(func(c *store.Changes) { c.Events = append(c.Events, changed) })
	outbox := func() []webhook.Event {
		return b.load(store.Reads{Sessions: []store.SessionKey{keyOf(s)}}).Outbox[keyOf(s)]
	}
	same(b, "outbox", outbox(), bodiless(changed))

	b.write(func(c *store.Changes) {
		e := changed
		e.Body, e.Type, e.Seq, e.CreatedAt = []byte("{}"), "another", 99, noon.Add(time.Second)
		c.Events = append(c.Events, e)
	})
	same(b, "outbox after a change of what was promised", outbox(), bodiless(changed))
	same(b, "body after a change of what was promised", string(b.body(keyOf(s), 1)), string(first.Body))

	delivered := changed
	delivered.Status, delivered.Owner, delivered.Lease = webhook.Delivered, "", time.Time{}
	b.write(func(c *store.Changes) { c.Events = append(c.Events, delivered) })
	same(b, "outbox after delivery", len(outbox()), 0)
	delivered.Body = nil
	same(b, "events", b.dump().Of["p"].Events, []webhook.Event{delivered})
}

func tasksGoByKey(b *bed) {
	b.project("p", 0)
	s := b.stored("p")
	expire, query := task(s, store.TaskExpire, noon), task(s, store.TaskQuery, noon)
	tasks := func() []store.Task { return b.dump().Of["p"].Tasks }
	b.write(func(c *store.Changes) { c.Tasks = append(c.Tasks, query, expire) })
	same(b, "new", tasks(), []store.Task{expire, query})

	query.Due, query.Attempt, query.Owner, query.Lease = noon.Add(time.Minute), 2, "node", noon.Add(time.Second)
	b.write(func(c *store.Changes) { c.Tasks = append(c.Tasks, query) })
	same(b, "changed", tasks(), []store.Task{expire, query})

	b.write(func(c *store.Changes) {
		c.TasksDone = append(c.TasksDone, expire.TaskKey, expire.TaskKey, task(s, store.TaskSend, noon).TaskKey)
	})
	same(b, "done, and one that was not there", tasks(), []store.Task{query})

	query.Attempt = 0
	b.write(func(c *store.Changes) {
		c.TasksDone, c.Tasks = append(c.TasksDone, query.TaskKey), append(c.Tasks, query)
	})
	same(b, "done and begun anew", tasks(), []store.Task{query})
}

// readsDoNotWait holds a commit open: every read answers, and with what was
// committed before.
func readsDoNotWait(b *bed) {
	b.project("p", 0)
	s := b.stored("p")
	b.must(b.PutSetting(b.ctx, "name", []byte("old")))
	before, content, book := b.session(keyOf(s)), b.dump(), b.book("p")

	deciding, leave, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- b.try(store.Reads{Sessions: []store.SessionKey{keyOf(s)}, Books: []id.Project{"p"}},
			func(rows *store.Rows, c *store.Changes) error {
				close(deciding)
				<-leave
				next := rows.Sessions[keyOf(s)]
				next.State = session.Confirmed
				c.Sessions = append(c.Sessions, next)
				return post(c, rows.Books["p"], ledger.Deposit(1, "d"))
			})
	}()
	<-deciding
	same(b, "session", b.session(keyOf(s)), before)
	same(b, "book", b.book("p"), book)
	same(b, "content", b.dump(), content)
	for name, read := range map[string]func() error{
		"setting":    func() error { _, err := b.Setting(b.ctx, "name"); return err },
		"deliveries": func() error { _, err := b.Deliveries(b.ctx, keyOf(s)); return err },
		"alarms":     func() error { _, err := b.Alarms(b.ctx, 1); return err },
		"projects":   func() error { _, err := b.Projects(b.ctx); return err },
		"revision":   func() error { _, err := b.ProjectsRevision(b.ctx); return err },
		"batch":      func() error { _, err := b.Committed(b.ctx, 1); return err },
		"last batch": func() error { _, err := b.LastBatch(b.ctx); return err },
	} {
		if err := read(); err != nil {
			b.Errorf("%s: %v", name, err)
		}
	}
	close(leave)
	b.must(<-done)
	same(b, "state after", b.session(keyOf(s)).State, session.Confirmed)
	same(b, "available after", b.book("p").Balance.Available, 1)
}

func otherProjectsAreInvisible(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	var (
		s       *session.Session
		written store.Changes
	)
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
		s = b.everything("p", rows, c)
		written = *c
	})
	foreign := store.SessionKey{Project: "q", Session: s.ID}
	_, err := b.Session(b.ctx, foreign)
	b.refused(err, fault.NotFound, "session")
	_, err = b.Card(b.ctx, "q", written.Cards[0].ID)
	b.refused(err, fault.NotFound, "card")
	log, err := b.Deliveries(b.ctx, foreign)
	b.must(err)
	same(b, "deliveries", len(log), 0)
	same(b, "balance", b.book("q").Balance, ledger.Accounts{})
	key := store.KeyRef{Project: "q", Scope: store.ScopeAPI, Key: written.Keys[0].Key}
	rows := b.load(store.Reads{Sessions: []store.SessionKey{foreign}, Keys: []store.KeyRef{key}})
	same(b, "rows", len(rows.Sessions)+len(rows.Outbox)+len(rows.Keys), 0)
	same(b, "snapshot", b.dump().Of["q"], new(contentOf))

	twin := s.Clone() // the same numbers in the other project are other things
	twin.Project = "q"
	b.commit(store.Reads{Books: []id.Project{"q"}}, func(rows *store.Rows, c *store.Changes) {
		b.must(post(c, rows.Books["q"], ledger.Deposit(5, "d1")))
		c.Sessions = append(c.Sessions, twin)
		k, card, a, e := written.Keys[0], written.Cards[0], written.Attempts[0], written.Events[0]
		k.Project, card.Project, a.Project, e.Project = "q", "q", "q", "q"
		c.Keys, c.Cards, c.Attempts, c.Events = append(c.Keys, k), append(c.Cards, card), append(c.Attempts, a), append(c.Events, e)
	})
	same(b, "available of p", b.book("p").Balance.Available, 895_00)
}

func missingRowsAreNotFound(b *bed) {
	b.project("p", 0)
	for name, read := range map[string]func() error{
		"session": func() error { _, err := b.Session(b.ctx, store.SessionKey{Project: "p", Session: 1}); return err },
		"book":    func() error { _, err := b.Book(b.ctx, "nobody"); return err },
		"attempt": func() error { _, err := b.FindAttempt(b.ctx, "rail", "po_1"); return err },
		"card":    func() error { _, err := b.Card(b.ctx, "p", 1); return err },
		"setting": func() error { _, err := b.Setting(b.ctx, "name"); return err },
		"project": func() error { return b.UpdateProject(b.ctx, partner.Project{ID: "nobody", Revision: 1}) },
	} {
		b.refused(read(), fault.NotFound, name)
	}
}

// attemptsAreFoundByReference looks for what a rail names, which knows no project.
func attemptsAreFoundByReference(b *bed) {
	attempt := func(p id.Project, rail string, no int) store.Attempt {
		return store.Attempt{
			Project: p, Session: 7, Payout: id.Payout(no), No: no, Rail: rail, Reference: "po_1", Outcome: store.AttemptDeclined, SentAt: noon,
		}
	}
	b.project("p", 0)
	b.project("q", 0)
	b.write(func(c *store.Changes) {
		c.Attempts = append(c.Attempts, attempt("q", "cards", 1), attempt("q", "cards", 2), attempt("p", "banks", 1))
	})
	for rail, want := range map[string]store.Attempt{"cards": attempt("q", "cards", 2), "banks": attempt("p", "banks", 1)} {
		got, err := b.FindAttempt(b.ctx, rail, "po_1")
		b.must(err)
		same(b, "attempt", got, want)
	}
	for name, of := range map[string][2]string{"other rail": {"wallets", "po_1"}, "other reference": {"cards", "po_11"}} {
		_, err := b.FindAttempt(b.ctx, of[0], of[1])
		b.refused(err, fault.NotFound, name)
	}
}

// sessionsByID asks for some of one project, in the wrong order, twice, with
// one of another project and one that is nowhere.
func sessionsByID(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	two := b.full("p")
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, two) })
	bare := b.start("p")
	bare.State, bare.Payouts = session.Created, nil
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, bare) })
	b.stored("p")
	foreign := b.stored("q")
	got, err := b.SessionsByID(b.ctx, "p", []id.Session{bare.ID, foreign.ID, two.ID, id.Session(b.ids.Next()), two.ID})
	b.must(err)
	same(b, "sessions", got, []*session.Session{b.session(keyOf(two)), b.session(keyOf(bare))})
	got, err = b.SessionsByID(b.ctx, "p", nil)
	b.must(err)
	same(b, "none", len(got), 0)
}

func entriesByPage(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	for n := range 5 {
		b.deposit("p", int64(n+1))
	}
	b.deposit("q", 100)
	var want []ledger.Entry
	b.must(b.Snapshot(b.ctx, func(s store.Snapshot) (err error) {
		want, err = gather(s.Entries(b.ctx, "p"))
		return err
	}))
	same(b, "all", len(want), 5)
	for _, page := range []struct{ after, limit, from, to int }{{0, 10, 0, 5}, {0, 2, 0, 2}, {2, 2, 2, 4}, {4, 2, 4, 5}, {5, 2, 0, 0}, {0, 0, 0, 0}} {
		got, err := b.Entries(b.ctx, "p", int64(page.after), page.limit)
		b.must(err)
		same(b, "a page", append([]ledger.Entry{}, got...), append([]ledger.Entry{}, want[page.from:page.to]...))
	}
}

func deliveriesOldestFirst(b *bed) {
	b.project("p", 0)
	s, other := b.stored("p"), b.stored("p")
	line := func(s *session.Session, n, no int, after time.Duration) webhook.Attempt {
		return webhook.Attempt{Project: "p", Session: s.ID, N: n, No: no, At: noon.Add(after), Took: 7, Status: 200}
	}
	b.write(func(c *store.Changes) {
		c.Deliveries = append(c.Deliveries, line(s, 1, 2, 3*time.Second), line(s, 2, 1, 2*time.Second), line(other, 1, 1, 0), line(s, 1, 1, time.Second))
	})
	got, err := b.Deliveries(b.ctx, keyOf(s))
	b.must(err)
	same(b, "deliveries", got, []webhook.Attempt{line(s, 1, 1, time.Second), line(s, 2, 1, 2*time.Second), line(s, 1, 2, 3*time.Second)})
}

func alarmsNewestFirst(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	alarm := func(p id.Project, n int64) store.Alarm {
		return store.Alarm{ID: n, Project: p, Kind: "kind", Text: "text", At: noon.Add(time.Duration(n) * time.Second)}
	}
	b.write(func(c *store.Changes) { c.Alarms = append(c.Alarms, alarm("q", 2), alarm("p", 3), alarm("q", 1)) })
	for limit, want := range [][]store.Alarm{nil, {alarm("p", 3)}, {alarm("p", 3), alarm("q", 2)}} {
		got, err := b.Alarms(b.ctx, limit)
		b.must(err)
		same(b, "alarms", got, want)
	}
}
