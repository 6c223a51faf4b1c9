package postgres

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

const (
	// recentMax bounds the sessions in memory: a few megabytes. Most payouts are
	// paid within a second of their confirmation, and leave with that.
	recentMax = 2048
	// After a row that was not as remembered, memory is not trusted for this
	// long, twice as long after the next, and so on: where several nodes take
	// turns with the same rows, remembering costs more than it saves.
	distrustMin = 100 * time.Millisecond
	distrustMax = 10 * time.Second
)

// recent is what this node has written last: sessions under way and books. A
// batch that names nothing else is decided without a round trip to load and lock
// its rows. Nothing here is the truth: the transaction that writes the batch
// proves that each row which it names is still as remembered, by its revision,
// or else writes nothing.
type recent struct {
	now func() time.Time

	mu sync.Mutex
	// When young is full it becomes old, and what has been old is forgotten.
	young, old map[store.SessionKey]remembered
	books      map[id.Project]*ledger.Book

	distrusted time.Time     // until then
	distrust   time.Duration // how long it was the last time; 0 since memory was right
	patience   time.Duration // how long it is at most
}

// remembered is a session with its payouts and its undelivered events, as they
// stand at its revision. Only the node that has written a revision remembers it,
// and only that node changes an event without raising the revision: so one that
// is still the same stands for the outbox as well. (A lease that its owner has
// prolonged or given back is no such change; no decision hangs on it.)
type remembered struct {
	session *session.Session
	outbox  []webhook.Event // by N, without bodies
}

// over reports whether nothing will come that names the session.
func (r *remembered) over() bool {
	return len(r.outbox) == 0 && len(r.session.Payouts) > 0 &&
		!slices.ContainsFunc(r.session.Payouts, func(p session.Payout) bool { return !p.State.Final() })
}

func newRecent() *recent {
	return &recent{now: time.Now, patience: distrustMax, young: map[store.SessionKey]remembered{}, books: map[id.Project]*ledger.Book{}}
}

// memory is what was remembered of the rows of a batch.
type memory struct {
	sessions map[store.SessionKey]remembered
	books    map[id.Project]*ledger.Book
}

func newMemory(sessions, books int) *memory {
	return &memory{make(map[store.SessionKey]remembered, sessions), make(map[id.Project]*ledger.Book, books)}
}

// take removes what a batch names, since it is about to change, and returns it.
// enough says that it is all that the batch names, and that memory is trusted.
// Keys are taken to be free.
func (r *recent) take(w *wanted) (m *memory, enough bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m = newMemory(len(w.outbox), len(w.books))
	for _, k := range w.outbox {
		s, ok := r.young[k]
		if !ok {
			s, ok = r.old[k]
		}
		if ok {
			m.sessions[k] = s
			r.drop(k)
		}
	}
	for _, p := range w.books {
		if b, ok := r.books[p]; ok {
			m.books[p] = b
			delete(r.books, p)
		}
	}
	enough = len(m.sessions) == len(w.outbox) && len(m.books) == len(w.books) && !w.others() &&
		!r.now().Before(r.distrusted)
	return m, enough
}

// put remembers what was written.
func (r *recent) put(m *memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range m.sessions {
		if s.over() || len(store.AccountsOf(s.session)) > 0 { // these are loaded with it
			continue
		}
		if len(r.young) >= recentMax/2 {
			r.old, r.young = r.young, make(map[store.SessionKey]remembered, recentMax/2)
		}
		r.young[k] = s
	}
	maps.Copy(r.books, m.books)
}

func (r *recent) drop(k store.SessionKey) {
	delete(r.young, k)
	delete(r.old, k)
}

// forget drops sessions that this node has changed in another way.
func (r *recent) forget(keys ...store.SessionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		r.drop(k)
	}
}

// renew notes that a node has prolonged leases of events.
func (r *recent) renew(node string, until time.Time, keys []store.EventKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		for _, sessions := range []map[store.SessionKey]remembered{r.young, r.old} {
			s, ok := sessions[k.SessionKey]
			if !ok {
				continue
			}
			s.outbox = slices.Clone(s.outbox)
			for i := range s.outbox {
				if e := &s.outbox[i]; e.N == k.N && e.Owner == node && e.Lease.Before(until) {
					e.Lease = until
				}
			}
			sessions[k.SessionKey] = s
		}
	}
}

// judge notes whether the rows of a batch were as remembered.
func (r *recent) judge(right bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if right {
		r.distrust = 0
		return
	}
	r.distrust = min(max(2*r.distrust, distrustMin), r.patience)
	r.distrusted = r.now().Add(r.distrust)
}

// rows are copies, for decide to keep and change.
func (m *memory) rows(w *wanted) *store.Rows {
	rows := noRows(len(w.sessions), len(w.books))
	for _, k := range w.sessions {
		rows.Sessions[k] = m.sessions[k].session.Clone()
	}
	for k, s := range m.sessions {
		if len(s.outbox) > 0 {
			rows.Outbox[k] = slices.Clone(s.outbox)
		}
	}
	for p, b := range m.books {
		own := *b
		rows.Books[p] = &own
	}
	return rows
}

func noRows(sessions, books int) *store.Rows {
	return &store.Rows{
		Sessions: make(map[store.SessionKey]*session.Session, sessions),
		Outbox:   make(map[store.SessionKey][]webhook.Event),
		Events:   make(map[store.EventKey]webhook.Event),
		Books:    make(map[id.Project]*ledger.Book, books),
		Keys:     make(map[store.KeyRef]store.KeyRecord),
		Items:    make(map[store.ItemKey]vault.Item),
		Public:   make(map[store.PublicKey]*vault.Public),
		NPD:      make(map[store.NPDKey]store.NPDRequest),

		Incomes:      make(map[store.IncomeKey]store.Income),
		Reservations: make(map[store.ReservationKey]store.Reservation),
		Accounts:     make(map[store.AccountKey]*store.Account),
	}
}

// after is what may be remembered once the changes of a batch are written, m
// being what is known to have been true before.
func (m *memory) after(c *store.Changes) *memory {
	next := newMemory(len(c.Sessions)+len(m.sessions), len(c.Books)+len(m.books))
	for k, s := range m.sessions {
		if s.session != nil {
			next.sessions[k] = s
		}
	}
	for _, s := range c.Sessions {
		k := keyOf(s)
		known, ok := m.sessions[k]
		if !ok && s.Revision > 0 {
			continue
		}
		written := s.Clone()
		written.Revision++
		next.sessions[k] = remembered{written, known.outbox}
	}
	for i := range c.Events {
		e := &c.Events[i]
		k := store.SessionKey{Project: e.Project, Session: e.Session}
		if s, ok := next.sessions[k]; ok {
			s.outbox = withEvent(s.outbox, e)
			next.sessions[k] = s
		}
	}
	maps.Copy(next.books, m.books)
	for _, b := range c.Books {
		written := *b
		written.Revision++
		next.books[b.Project] = &written
	}
	return next
}

// withEvent is a new outbox with an event as it now is, or without it if it has
// come to its end.
func withEvent(outbox []webhook.Event, e *webhook.Event) []webhook.Event {
	changed := make([]webhook.Event, 0, len(outbox)+1)
	for _, o := range outbox {
		if o.N != e.N {
			changed = append(changed, o)
		}
	}
	if e.Status == webhook.Pending {
		at := 0
		for at < len(changed) && changed[at].N < e.N {
			at++
		}
		changed = slices.Insert(changed, at, *e)
		changed[at].Body = nil
	}
	return changed
}
