package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// agreesWithTheModel does random things to an engine and to maps in memory,
// and wants both to tell the same after each. Each run has a project of its own.
func agreesWithTheModel(b *bed) {
	runs := 0
	rapid.Check(b.T, func(t *rapid.T) {
		runs++
		p := id.Project(fmt.Sprint("p", runs))
		if err := b.CreateProject(b.ctx, partner.Project{ID: p, Credit: 20_00, CreatedAt: noon}); err != nil {
			t.Fatalf("create a project: %v", err)
		}
		m := &model{b: b, t: t, project: p, now: noon, state: newState(p)}
		defer m.leave() // what is due would show up in the next run
		t.Repeat(map[string]func(*rapid.T){
			"commit":      func(t *rapid.T) { m.t = t; m.commit() },
			"claim tasks": func(t *rapid.T) { m.t = t; m.claimTasks() },
			"claim events": func(t *rapid.T) {
				m.t = t
				m.claimEvents()
			},
			"renew": func(t *rapid.T) { m.t = t; m.renew() },
			"": func(t *rapid.T) {
				if m.steps++; m.steps%4 == 0 { // reading everything takes longest
					m.t = t
					m.check()
				}
			},
		})
		m.t = t
		m.check()
	})
}

// state is what the store must hold of one project. Revisions are the engine's
// own: they stay 0 here.
type state struct {
	book     ledger.Book
	entries  []ledger.Entry
	sessions map[store.SessionKey]session.Session
	attempts map[store.SessionKey]store.Attempt // each session has one
	events   map[store.EventKey]webhook.Event
	tasks    map[store.TaskKey]store.Task
	keys     map[store.KeyRef]store.KeyRecord
}

func newState(p id.Project) state {
	return state{
		book:     ledger.Book{Project: p, Credit: 20_00},
		sessions: map[store.SessionKey]session.Session{},
		attempts: map[store.SessionKey]store.Attempt{},
		events:   map[store.EventKey]webhook.Event{},
		tasks:    map[store.TaskKey]store.Task{},
		keys:     map[store.KeyRef]store.KeyRecord{},
	}
}

func (s state) clone() state {
	s.entries = slices.Clone(s.entries)
	s.sessions, s.attempts = maps.Clone(s.sessions), maps.Clone(s.attempts)
	s.events, s.tasks, s.keys = maps.Clone(s.events), maps.Clone(s.tasks), maps.Clone(s.keys)
	return s
}

type model struct {
	b       *bed
	t       *rapid.T
	project id.Project
	now     time.Time
	steps   int
	ticks   int // makes due times differ, so that the order of claims is known
	state
}

// command is one random change; which fields count depends on its kind.
type command struct {
	Kind   string
	Key    int
	Minor  int64
	Due    time.Time
	Owned  bool
	Paid   bool
	Target store.SessionKey
	New    *session.Session
}

// due is a time near now that no other task or event has.
func (m *model) due(label string) time.Time {
	m.ticks++
	return m.now.Add(time.Duration(rapid.IntRange(-30, 30).Draw(m.t, label))*time.Second + time.Duration(m.ticks)*time.Microsecond)
}

func (m *model) commands() []command {
	existing := slices.SortedFunc(maps.Keys(m.sessions), func(a, b store.SessionKey) int { return cmp.Compare(a.Session, b.Session) })
	var list []command
	touched := map[store.SessionKey]bool{} // a session changes once in a batch
	for range rapid.IntRange(0, 4).Draw(m.t, "commands") {
		c := command{Kind: rapid.SampledFrom([]string{"start", "start", "deposit", "step", "deliver"}).Draw(m.t, "kind")}
		c.Minor = rapid.Int64Range(1, 10_00).Draw(m.t, "minor")
		c.Due, c.Owned, c.Paid = m.due("due"), rapid.Bool().Draw(m.t, "owned"), rapid.Bool().Draw(m.t, "paid")
		switch c.Kind {
		case "start":
			c.New, c.Key = m.b.start(m.project), rapid.IntRange(0, 20).Draw(m.t, "key")
			c.Target = keyOf(c.New)
		case "step", "deliver":
			if len(existing) == 0 {
				continue
			}
			c.Target = rapid.SampledFrom(existing).Draw(m.t, "session")
			if touched[c.Target] {
				continue
			}
			touched[c.Target] = true
		}
		list = append(list, c)
	}
	return list
}

// breaks are rows that no engine may take beside others.
var breaks = map[string]func(*model, *store.Rows, *store.Changes){
	"stale book": func(m *model, rows *store.Rows, c *store.Changes) {
		stale := *rows.Books[m.project]
		stale.Revision--
		c.Books = []*ledger.Book{&stale}
	},
	"entry twice": func(m *model, _ *store.Rows, c *store.Changes) {
		e := ledger.Entry{Project: m.project, No: 1 << 40, Kind: ledger.KindDeposit, At: noon}
		c.Entries = append(c.Entries, e, e)
	},
	"key twice": func(m *model, _ *store.Rows, c *store.Changes) {
		k := store.KeyRecord{KeyRef: store.KeyRef{Project: m.project, Scope: store.ScopeDeposit, Key: "twice"}, At: noon}
		c.Keys = append(c.Keys, k, k)
	},
	"stale session": func(m *model, _ *store.Rows, c *store.Changes) {
		s := m.b.start(m.project)
		s.Revision = 7
		c.Sessions = append(c.Sessions, s)
	},
}

// commit runs random commands as one batch, and sometimes breaks it.
func (m *model) commit() {
	commands := m.commands()
	broken := rapid.SampledFrom(append([]string{"", "", "", ""}, slices.Sorted(maps.Keys(breaks))...)).Draw(m.t, "broken")
	reads := store.Reads{Books: []id.Project{m.project}}
	for _, c := range commands {
		reads.Sessions = append(reads.Sessions, c.Target)
		reads.Keys = append(reads.Keys, m.key(c.Key))
	}
	var (
		after state
		wrong mismatch
	)
	err := m.b.try(reads, func(rows *store.Rows, c *store.Changes) error {
		wrong = ""
		m.checkRows(&wrong, reads, rows)
		after = m.clone()
		for _, command := range commands {
			m.apply(command, rows, c, &after)
		}
		if broken != "" {
			breaks[broken](m, rows, c)
		}
		return nil
	})
	switch {
	case wrong != "":
		m.t.Fatalf("rows of the last decision: %s", wrong)
	case broken != "":
		if fault.CodeOf(err) != fault.Internal || err == nil {
			m.t.Fatalf("%s: error %v, want code %s", broken, err, fault.Internal)
		}
	case err != nil:
		m.t.Fatalf("commit: %v", err)
	default:
		m.state = after
	}
}

func (m *model) key(n int) store.KeyRef {
	return store.KeyRef{Project: m.project, Scope: store.ScopeAPI, Key: fmt.Sprint(n)}
}

// mismatch is the first thing found wrong with rows that may not be the last.
type mismatch string

func (m *mismatch) Helper() {}

func (m *mismatch) Fatalf(format string, args ...any) {
	if *m == "" {
		*m = mismatch(fmt.Sprintf(format, args...))
	}
}

// checkRows wants the rows that a batch goes by to be those of the model.
func (m *model) checkRows(t reporter, reads store.Reads, rows *store.Rows) {
	same(t, "book loaded", withoutRevision(*rows.Books[m.project]), m.book)
	for _, k := range reads.Sessions {
		want, ok := m.sessions[k]
		got := rows.Sessions[k]
		if (got != nil) != ok {
			t.Fatalf("%s loaded: %v, want %v", k.Session, got != nil, ok)
		}
		if !ok || got == nil {
			continue
		}
		same(t, "session loaded", sessionWithoutRevision(got), want)
		var outbox []webhook.Event
		for n := range want.Events {
			if e := m.events[store.EventKey{SessionKey: k, N: n + 1}]; e.Status == webhook.Pending {
				outbox = append(outbox, e)
			}
		}
		same(t, "outbox loaded", rows.Outbox[k], bodiless(outbox...))
	}
	for _, k := range reads.Keys {
		same(t, "key loaded", rows.Keys[k], m.keys[k])
	}
}

// apply does one command to the changes and to the model.
func (m *model) apply(cmd command, rows *store.Rows, c *store.Changes, after *state) {
	book := rows.Books[m.project]
	move := func(e ledger.Entry, s *session.Session) bool {
		if s != nil {
			e.Session, e.Payout = s.ID, s.Payouts[0].ID
		}
		if post(c, book, e) != nil {
			return false
		}
		after.entries, after.book = append(after.entries, c.Entries[len(c.Entries)-1]), withoutRevision(*book)
		return true
	}
	switch cmd.Kind {
	case "deposit":
		move(ledger.Deposit(cmd.Minor, "d"), nil)
	case "start":
		key := store.KeyRecord{KeyRef: m.key(cmd.Key), Answer: fmt.Append(nil, cmd.Target.Session), At: noon}
		s := cmd.New.Clone()
		if _, burnt := after.keys[key.KeyRef]; burnt || !move(ledger.Hold(cmd.Minor, 1), s) {
			return
		}
		s.Payouts[0].Fee, s.Payouts[0].Details.Recipient = cmd.Minor, "somebody"
		c.Keys, after.keys[key.KeyRef] = append(c.Keys, key), key
		m.put(c, after, s)
		m.putTask(c, after, cmd, task(s, store.TaskExpire, cmd.Due))
		m.putAttempt(c, after, s, store.AttemptOpen)
	case "step":
		s := rows.Sessions[cmd.Target]
		p := &s.Payouts[0]
		p.Attempt++
		s.Events++
		e := m.b.event(s, s.Events)
		e.Due = cmd.Due
		c.Events, after.events[store.EventKey{SessionKey: cmd.Target, N: e.N}] = append(c.Events, e), e
		done := task(s, store.TaskExpire, noon).TaskKey
		c.TasksDone = append(c.TasksDone, done)
		delete(after.tasks, done)
		outcome := store.AttemptDeclined
		if p.State, p.FinishedAt = session.Failed, cmd.Due; cmd.Paid {
			p.State, p.Info.RRN, outcome = session.Paid, "123456789012", store.AttemptAccepted
		}
		s.State = p.State
		m.put(c, after, s)
		m.putTask(c, after, cmd, task(s, store.TaskQuery, cmd.Due))
		m.putAttempt(c, after, s, outcome)
	case "deliver":
		if outbox := rows.Outbox[cmd.Target]; len(outbox) > 0 { // the others would be due at the same time
			e := outbox[0]
			e.Attempts++
			if e.Due = cmd.Due; cmd.Paid {
				e.Status = webhook.Delivered
			}
			c.Events = append(c.Events, e)
			k := store.EventKey{SessionKey: cmd.Target, N: e.N}
			e.Body = after.events[k].Body // which is not loaded
			after.events[k] = e
		}
	}
}

func (m *model) put(c *store.Changes, after *state, s *session.Session) {
	c.Sessions, after.sessions[keyOf(s)] = append(c.Sessions, s), sessionWithoutRevision(s)
}

func (m *model) putTask(c *store.Changes, after *state, cmd command, t store.Task) {
	if cmd.Owned {
		t.Owner, t.Lease = "self", cmd.Due.Add(time.Second)
	}
	c.Tasks, after.tasks[t.TaskKey] = append(c.Tasks, t), t
}

func (m *model) putAttempt(c *store.Changes, after *state, s *session.Session, outcome store.AttemptOutcome) {
	a := store.Attempt{
		Project: s.Project, Session: s.ID, Payout: s.Payouts[0].ID, No: 1, Rail: "cards", Reference: s.ID.String(),
		Outcome: outcome, SentAt: noon,
	}
	c.Attempts, after.attempts[keyOf(s)] = append(c.Attempts, a), a
}

// claimArguments moves the clock on and draws what claims have in common.
func (m *model) claimArguments() (node string, due, now time.Time, lease time.Duration, limit int) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 10).Draw(m.t, "seconds")) * time.Second)
	due = m.now.Add(time.Duration(rapid.IntRange(-20, 20).Draw(m.t, "clock")) * time.Second)
	return rapid.SampledFrom([]string{"a", "b"}).Draw(m.t, "node"), due, m.now,
		time.Duration(rapid.IntRange(1, 20).Draw(m.t, "lease")) * time.Second, rapid.IntRange(0, 5).Draw(m.t, "limit")
}

func (m *model) claimTasks() {
	node, due, now, lease, limit := m.claimArguments()
	kinds := rapid.SampledFrom([][]store.TaskKind{nil, {store.TaskQuery}, {store.TaskExpire, store.TaskSend}}).Draw(m.t, "kinds")
	var want []store.Task
	for _, t := range m.tasks {
		if !t.Due.After(due) && !t.Lease.After(now) && (len(kinds) == 0 || slices.Contains(kinds, t.Kind)) {
			want = append(want, t)
		}
	}
	slices.SortFunc(want, func(a, b store.Task) int { return a.Due.Compare(b.Due) })
	want = want[:min(limit, len(want))]
	raised := map[store.SessionKey]bool{}
	for i := range want {
		t := &want[i]
		t.Owner, t.Lease = node, now.Add(lease)
		m.tasks[t.TaskKey] = *t
		s := m.sessions[t.SessionKey]
		if !raised[t.SessionKey] {
			raised[t.SessionKey] = true
			s.Fence++
			m.sessions[t.SessionKey] = s
		}
		t.Fence = s.Fence
	}
	got, err := m.b.ClaimTasks(m.b.ctx, node, due, now, lease, limit, kinds...)
	if err != nil {
		m.t.Fatalf("claim tasks: %v", err)
	}
	sameList(m.t, "tasks claimed", got, want)
}

func (m *model) claimEvents() {
	node, due, now, lease, limit := m.claimArguments()
	var want []webhook.Event
	for _, e := range m.events {
		if e.Status == webhook.Pending && !e.Due.After(due) && !e.Lease.After(now) {
			want = append(want, e)
		}
	}
	slices.SortFunc(want, func(a, b webhook.Event) int { return a.Due.Compare(b.Due) })
	want = want[:min(limit, len(want))]
	for i := range want {
		e := &want[i]
		e.Owner, e.Lease = node, now.Add(lease)
		m.events[eventKey(*e)] = *e
	}
	got, err := m.b.ClaimEvents(m.b.ctx, node, due, now, lease, limit)
	if err != nil {
		m.t.Fatalf("claim events: %v", err)
	}
	sameList(m.t, "events claimed", got, want)
}

func eventKey(e webhook.Event) store.EventKey {
	return store.EventKey{SessionKey: store.SessionKey{Project: e.Project, Session: e.Session}, N: e.N}
}

// renew asks for everything, whoever has it.
func (m *model) renew() {
	node := rapid.SampledFrom([]string{"a", "b", "self"}).Draw(m.t, "node")
	until := m.now.Add(time.Duration(rapid.IntRange(-5, 30).Draw(m.t, "until")) * time.Second)
	tasks, events := slices.Collect(maps.Keys(m.tasks)), slices.Collect(maps.Keys(m.events))
	for k, t := range m.tasks {
		if t.Owner == node && t.Lease.Before(until) {
			t.Lease = until
			m.tasks[k] = t
		}
	}
	for k, e := range m.events {
		if e.Owner == node && e.Lease.Before(until) {
			e.Lease = until
			m.events[k] = e
		}
	}
	if err := m.b.Renew(m.b.ctx, node, until, tasks, events); err != nil {
		m.t.Fatalf("renew: %v", err)
	}
}

// check wants a snapshot and the single reads to be the model.
func (m *model) check() {
	var got *contentOf
	err := m.b.Snapshot(m.b.ctx, func(s store.Snapshot) (err error) {
		got, err = m.b.readOf(s, m.project)
		return err
	})
	if err != nil {
		m.t.Fatalf("snapshot: %v", err)
	}
	sameList(m.t, "entries", got.Entries, m.entries)
	sameList(m.t, "tasks", got.Tasks, slices.SortedFunc(maps.Values(m.tasks), func(a, b store.Task) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Payout, b.Payout), cmp.Compare(a.Kind, b.Kind))
	}))
	sameList(m.t, "attempts", got.Attempts, slices.SortedFunc(maps.Values(m.attempts), func(a, b store.Attempt) int {
		return cmp.Compare(a.Session, b.Session)
	}))
	events := slices.SortedFunc(maps.Values(m.events), func(a, b webhook.Event) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.N, b.N))
	})
	for i := range events {
		events[i].Body = nil
	}
	sameList(m.t, "events", got.Events, events)
	sameList(m.t, "sessions", each(got.Sessions, sessionWithoutRevision), slices.SortedFunc(maps.Values(m.sessions), func(a, b session.Session) int {
		return cmp.Compare(a.ID, b.ID)
	}))
	book, err := m.b.Book(m.b.ctx, m.project)
	if err != nil {
		m.t.Fatalf("book: %v", err)
	}
	same(m.t, "book", withoutRevision(*book), m.book)
	if sum, ok := book.Balance.Sum(); sum != 0 || !ok {
		m.t.Fatalf("the book sums to %d", sum)
	}
}

// leave removes what a later run would claim.
func (m *model) leave() {
	err := m.b.Snapshot(m.b.ctx, func(s store.Snapshot) error {
		of, err := m.b.readOf(s, m.project)
		if err != nil {
			return err
		}
		return m.b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
			c.TasksDone = each(of.Tasks, func(t store.Task) store.TaskKey { return t.TaskKey })
			c.Events = each(of.Events, func(e webhook.Event) webhook.Event { e.Status = webhook.Delivered; return e })
			return nil
		})
	})
	if err != nil {
		m.b.Errorf("leave: %v", err)
	}
}

// sameList takes no list and an empty one as the same.
func sameList[T any](t reporter, what string, got, want []T) {
	t.Helper()
	if len(got) > 0 || len(want) > 0 {
		same(t, what, got, want)
	}
}

func withoutRevision(b ledger.Book) ledger.Book {
	b.Revision = 0
	return b
}

func sessionWithoutRevision(s *session.Session) session.Session {
	c := *s.Clone()
	c.Revision = 0
	return c
}
