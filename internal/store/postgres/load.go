package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Rows are locked table by table in this order and by key within each, on all
// nodes. Payouts need no lock: who changes them has their session's. Each
// statement sees what was committed when it began, so what hangs on a lock is
// read by a statement after the one that took it. Keys can't be locked where
// they are missing: that is what their primary key is for.
const (
	loadBooks = `SELECT ` + codec.BookColumns + ` FROM books b WHERE b.project = ANY($1::text[])
		ORDER BY b.project FOR UPDATE`
	// The lock of an own account is its project's book, so it needs none.
	loadAccounts = `SELECT ` + codec.AccountColumns + ` FROM unnest($1::text[], $2::text[]) k (project, number)
		JOIN accounts a ON a.project = k.project AND a.number = k.number`
	loadSessions = `SELECT ` + codec.SessionColumns + ` FROM unnest($1::text[], $2::bigint[]) k (project, id)
		JOIN sessions s ON s.project = k.project AND s.id = k.id
		ORDER BY s.project, s.id FOR UPDATE OF s`
	loadPayouts = `SELECT p.project, p.session, ` + codec.PayoutColumns + ` FROM unnest($1::text[], $2::bigint[]) k (project, id)
		JOIN payouts p ON p.project = k.project AND p.session = k.id
		ORDER BY p.project, p.session, p.no`
	// The status is a parameter, so that the planner can't tell that all these
	// events stand in the index of what is to be delivered, and read all of that.
	loadOutbox = `SELECT ` + codec.OutboxColumns + ` FROM unnest($1::text[], $2::bigint[]) k (project, id)
		JOIN events e ON e.project = k.project AND e.session = k.id
		WHERE e.status = $3::text ORDER BY e.project, e.session, e.n`
	loadEvents = `SELECT ` + codec.OutboxColumns + ` FROM unnest($1::text[], $2::bigint[]) k (project, id)
		JOIN events e ON e.project = k.project AND e.session = k.id`
	loadKeys = `SELECT ` + codec.KeyColumns + ` FROM unnest($1::text[], $2::text[], $3::text[]) k (project, scope, key)
		JOIN keys r ON r.project = k.project AND r.scope = k.scope AND r.key = k.key`
)

// wanted are the rows that a batch names, each once and by key.
type wanted struct {
	sessions, outbox []store.SessionKey // outbox has those of sessions and events too
	events           []store.SessionKey
	books            []id.Project
	keys             []store.KeyRef
	items            []store.ItemKey
	public           []store.PublicKey
	npd              []store.NPDKey
	incomes          []store.IncomeKey
	reservations     []store.ReservationKey
	accounts         []store.AccountKey
}

func want(r store.Reads) wanted {
	return wanted{
		sessions: distinct(r.Sessions, compareSessions),
		outbox:   distinct(slices.Concat(r.Outbox, r.Events, r.Sessions), compareSessions),
		events:   distinct(r.Events, compareSessions),
		books:    distinct(r.Books, cmp.Compare),
		keys:     distinct(r.Keys, compareKeys),
		items:    distinct(r.Items, compareItems),
		public:   distinct(r.Public, comparePublic),
		npd:      distinct(r.NPD, compareNPD),

		incomes:      distinct(r.Incomes, compareIncomes),
		reservations: distinct(r.Reservations, compareReservations),
		accounts:     distinct(r.Accounts, compareAccounts),
	}
}

func (w *wanted) nothing() bool {
	return len(w.outbox)+len(w.books)+len(w.keys)+len(w.items)+len(w.public)+len(w.npd)+len(w.incomes)+len(w.reservations)+len(w.accounts) == 0
}

// others reports whether rows are named that are never remembered.
func (w *wanted) others() bool {
	return len(w.events)+len(w.items)+len(w.public)+len(w.npd)+len(w.incomes)+len(w.reservations)+len(w.accounts) > 0
}

// distinct sorts a copy of keys and drops the repeated ones.
func distinct[K comparable](keys []K, compare func(a, b K) int) []K {
	sorted := slices.SortedFunc(slices.Values(keys), compare)
	return slices.Compact(sorted)
}

func compareSessions(a, b store.SessionKey) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Session, b.Session))
}

func compareKeys(a, b store.KeyRef) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Key, b.Key))
}

// load reads and locks the rows in one round trip, which begins the transaction.
// Of what was remembered the rest is kept that has turned out to be true.
func (t *transaction) load(ctx context.Context, w *wanted, m *memory) (*store.Rows, error) {
	t.assumed, t.free = false, nil
	t.known = newMemory(len(w.outbox), len(w.books))
	rows := noRows(len(w.sessions), len(w.books))
	if w.nothing() {
		return rows, nil
	}
	b := t.begin()
	if len(w.books) > 0 {
		b.Queue(loadBooks, column(w.books, text)).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanBook, func(b *ledger.Book) {
				rows.Books[b.Project] = b
				if known := m.books[b.Project]; known != nil && known.Revision == b.Revision {
					t.known.books[b.Project] = known
				}
			})
		})
	}
	if len(w.outbox) > 0 {
		// Whoever adds an event has its session's lock. So who reads the events
		// needs it as well, or would not see one that is added meanwhile.
		projects, numbers := columns(w.outbox)
		b.Queue(loadSessions, projects, numbers).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanSession, func(s *session.Session) {
				if known, ok := m.sessions[keyOf(s)]; ok && known.session.Revision == s.Revision {
					t.known.sessions[keyOf(s)] = known
				}
				if _, named := slices.BinarySearchFunc(w.sessions, keyOf(s), compareSessions); named {
					rows.Sessions[keyOf(s)] = s
				}
			})
		})
	}
	if len(w.sessions) > 0 {
		projects, numbers := columns(w.sessions)
		b.Queue(loadPayouts, projects, numbers).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanPayout, func(p codec.OwnedPayout) {
				if s := rows.Sessions[p.SessionKey]; s != nil {
					s.Payouts = append(s.Payouts, p.Payout)
				}
			})
		})
	}
	if len(w.outbox) > 0 {
		projects, numbers := columns(w.outbox)
		b.Queue(loadOutbox, projects, numbers, string(webhook.Pending)).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanEvent, func(e webhook.Event) {
				k := store.SessionKey{Project: e.Project, Session: e.Session}
				rows.Outbox[k] = append(rows.Outbox[k], e)
			})
		})
	}
	if len(w.events) > 0 {
		projects, numbers := columns(w.events)
		b.Queue(loadEvents, projects, numbers).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanEvent, func(e webhook.Event) { rows.Events[eventKey(&e)] = e })
		})
	}
	if len(w.keys) > 0 {
		b.Queue(loadKeys, keyColumns(w.keys)...).Query(func(r pgx.Rows) error {
			return each(r, codec.ScanKey, func(k store.KeyRecord) { rows.Keys[k.KeyRef] = k })
		})
	}
	queueItems(b, w.items, rows)
	queuePublic(b, w.public, rows)
	queueNPD(b, w.npd, rows)
	queueIncomes(b, w, rows)
	queueAccounts(b, w.accounts, rows)
	if err := t.send(ctx, b); err != nil {
		return nil, err
	}
	if err := t.loadAccounts(ctx, rows); err != nil {
		return nil, err
	}
	t.know(rows)
	for k := range rows.Sessions {
		if _, ok := t.known.sessions[k]; !ok && len(rows.Outbox[k]) == 0 {
			t.known.sessions[k] = remembered{} // as far as it matters if it is written
		}
	}
	return rows, nil
}

// assume takes rows from memory in place of loading them, and keeps what has to
// be proved when the changes are written.
func (t *transaction) assume(m *memory, w *wanted) *store.Rows {
	rows := m.rows(w)
	t.know(rows)
	t.known, t.assumed, t.free = m, true, w.keys
	return rows
}

// know notes what is there, before decide changes the rows.
func (t *transaction) know(rows *store.Rows) {
	t.payouts = make(map[store.SessionKey]int, len(rows.Sessions))
	for k, s := range rows.Sessions {
		t.payouts[k] = len(s.Payouts)
	}
	t.events = make(map[store.EventKey]struct{}, len(rows.Outbox))
	for _, outbox := range rows.Outbox {
		for i := range outbox {
			t.events[eventKey(&outbox[i])] = struct{}{}
		}
	}
	for k := range rows.Events {
		t.events[k] = struct{}{}
	}
}

func queueAccounts(b *pgx.Batch, keys []store.AccountKey, into *store.Rows) {
	if len(keys) == 0 {
		return
	}
	b.Queue(loadAccounts, column(keys, func(k store.AccountKey) string { return text(k.Project) }),
		column(keys, func(k store.AccountKey) string { return k.Number })).Query(func(r pgx.Rows) error {
		return each(r, codec.ScanAccount, func(a store.Account) { into.Accounts[a.Key()] = &a })
	})
}

// loadAccounts reads the own accounts that the sessions name, which nobody knew
// before; hardly any does.
func (t *transaction) loadAccounts(ctx context.Context, rows *store.Rows) error {
	var named []store.AccountKey
	for _, s := range rows.Sessions {
		named = append(named, store.AccountsOf(s)...)
	}
	if len(named) == 0 {
		return nil
	}
	b := t.begin()
	queueAccounts(b, distinct(named, compareAccounts), rows)
	return t.send(ctx, b)
}

func compareAccounts(a, b store.AccountKey) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Number, b.Number))
}

func eventKey(e *webhook.Event) store.EventKey {
	return store.EventKey{SessionKey: store.SessionKey{Project: e.Project, Session: e.Session}, N: e.N}
}

// each hands over the rows of a result.
func each[T any](rows pgx.Rows, scan func(codec.Row) (T, error), take func(T)) error {
	for row, err := range all(rows, nil, scan) {
		if err != nil {
			return err
		}
		take(row)
	}
	return nil
}

// column is one column of many rows, as a statement takes it.
func column[T, V any](rows []T, of func(T) V) []V {
	values := make([]V, len(rows))
	for i, row := range rows {
		values[i] = of(row)
	}
	return values
}

// columns are the two of a session's key.
func columns(keys []store.SessionKey) (projects []string, numbers []int64) {
	return column(keys, func(k store.SessionKey) string { return text(k.Project) }),
		column(keys, func(k store.SessionKey) int64 { return int64(k.Session) })
}
