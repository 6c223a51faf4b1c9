package sqlite

import (
	"slices"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// A statement takes all keys of its kind as one JSON list: the joins are
// CROSS, which in SQLite fixes the order, so that each key is one look-up.
const (
	loadSessions = `SELECT ` + codec.SessionColumns + `, ` + codec.PayoutColumns + ` FROM json_each(?) k
		CROSS JOIN sessions s ON s.project = k.value->>0 AND s.id = k.value->>1 ` + codec.PayoutsOf + ` ORDER BY k.key, p.no`
	loadOutbox = `SELECT ` + codec.OutboxColumns + ` FROM json_each(?) k
		CROSS JOIN events e ON e.project = k.value->>0 AND e.session = k.value->>1
		WHERE e.status = 'pending' ORDER BY k.key, e.n`
	loadEvents = `SELECT ` + codec.OutboxColumns + ` FROM json_each(?) k
		CROSS JOIN events e ON e.project = k.value->>0 AND e.session = k.value->>1`
	loadBooks    = `SELECT ` + codec.BookColumns + ` FROM json_each(?) k CROSS JOIN books b ON b.project = k.value`
	loadAccounts = `SELECT ` + codec.AccountColumns + ` FROM json_each(?) k
		CROSS JOIN accounts a ON a.project = k.value->>0 AND a.number = k.value->>1`
	loadKeys = `SELECT ` + codec.KeyColumns + ` FROM json_each(?) k
		CROSS JOIN keys r ON r.project = k.value->>0 AND r.scope = k.value->>1 AND r.key = k.value->>2`
)

// load reads the rows that a batch names.
func (w *writer) load(reads store.Reads) (*store.Rows, error) {
	rows := &store.Rows{
		Sessions: make(map[store.SessionKey]*session.Session, len(reads.Sessions)),
		Outbox:   make(map[store.SessionKey][]webhook.Event),
		Events:   make(map[store.EventKey]webhook.Event),
		Books:    make(map[id.Project]*ledger.Book, len(reads.Books)),
		Keys:     make(map[store.KeyRef]store.KeyRecord),
		Items:    make(map[store.ItemKey]vault.Item),
		Public:   make(map[store.PublicKey]*vault.Public),
		NPD:      make(map[store.NPDKey]store.NPDRequest),

		Incomes:      make(map[store.IncomeKey]store.Income),
		Reservations: make(map[store.ReservationKey]store.Reservation),
		Accounts:     make(map[store.AccountKey]*store.Account),
	}
	if err := w.loadSessions(reads.Sessions, rows); err != nil {
		return nil, failed(err, "read the sessions of a batch")
	}
	outboxes := slices.Concat(reads.Outbox, reads.Events)
	for k, s := range rows.Sessions {
		if s.Events > 0 {
			outboxes = append(outboxes, k)
		}
	}
	if err := w.loadOutbox(outboxes, rows); err != nil {
		return nil, failed(err, "read the events of a batch")
	}
	if err := w.loadEvents(reads.Events, rows); err != nil {
		return nil, failed(err, "read the events of a batch")
	}
	if err := w.loadBooks(reads.Books, rows); err != nil {
		return nil, failed(err, "read the books of a batch")
	}
	if err := w.loadKeys(reads.Keys, rows); err != nil {
		return nil, failed(err, "read the idempotency keys of a batch")
	}
	if err := w.loadItems(reads.Items, rows); err != nil {
		return nil, failed(err, "read the tokens of a batch")
	}
	if err := w.loadPublic(reads.Public, rows); err != nil {
		return nil, failed(err, "read the public tokens of a batch")
	}
	if err := w.loadNPD(reads.NPD, rows); err != nil {
		return nil, failed(err, "read the requests to the tax service of a batch")
	}
	if err := w.loadIncomes(reads, rows); err != nil {
		return nil, failed(err, "read the incomes of a batch")
	}
	accounts := reads.Accounts
	for _, s := range rows.Sessions {
		accounts = append(accounts, store.AccountsOf(s)...)
	}
	if err := w.loadAccounts(accounts, rows); err != nil {
		return nil, failed(err, "read the accounts of a batch")
	}
	return rows, nil
}

func (w *writer) loadAccounts(wanted []store.AccountKey, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, func(k store.AccountKey) any { return [2]any{k.Project, k.Number} }))
	if err != nil {
		return err
	}
	rows, err := w.query(loadAccounts, keys)
	for a, err := range all(rows, err, codec.ScanAccount) {
		if err != nil {
			return err
		}
		into.Accounts[a.Key()] = &a
	}
	return nil
}

func (w *writer) loadSessions(wanted []store.SessionKey, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, ofSession))
	if err != nil {
		return err
	}
	rows, err := w.query(loadSessions, keys)
	for s, err := range codec.Sessions(all(rows, err, codec.ScanSessionWithPayout)) {
		if err != nil {
			return err
		}
		into.Sessions[store.SessionKey{Project: s.Project, Session: s.ID}] = s
	}
	return nil
}

func (w *writer) loadOutbox(wanted []store.SessionKey, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, ofSession))
	if err != nil {
		return err
	}
	rows, err := w.query(loadOutbox, keys)
	for e, err := range all(rows, err, codec.ScanEvent) {
		if err != nil {
			return err
		}
		k := store.SessionKey{Project: e.Project, Session: e.Session}
		into.Outbox[k] = append(into.Outbox[k], e)
	}
	return nil
}

func (w *writer) loadEvents(wanted []store.SessionKey, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, ofSession))
	if err != nil {
		return err
	}
	rows, err := w.query(loadEvents, keys)
	for e, err := range all(rows, err, codec.ScanEvent) {
		if err != nil {
			return err
		}
		into.Events[store.EventKey{SessionKey: store.SessionKey{Project: e.Project, Session: e.Session}, N: e.N}] = e
	}
	return nil
}

func ofSession(k store.SessionKey) any { return [2]any{k.Project, k.Session} }

func (w *writer) loadBooks(wanted []id.Project, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, func(p id.Project) any { return p }))
	if err != nil {
		return err
	}
	rows, err := w.query(loadBooks, keys)
	for b, err := range all(rows, err, codec.ScanBook) {
		if err != nil {
			return err
		}
		into.Books[b.Project] = b
	}
	return nil
}

func (w *writer) loadKeys(wanted []store.KeyRef, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, func(k store.KeyRef) any { return [3]any{k.Project, k.Scope, k.Key} }))
	if err != nil {
		return err
	}
	rows, err := w.query(loadKeys, keys)
	for k, err := range all(rows, err, codec.ScanKey) {
		if err != nil {
			return err
		}
		into.Keys[k.KeyRef] = k
	}
	return nil
}

// distinct drops repeated keys and gives the rest the form of a statement.
func distinct[K comparable](keys []K, form func(K) any) []any {
	seen := make(map[K]bool, len(keys))
	forms := make([]any, 0, len(keys))
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			forms = append(forms, form(k))
		}
	}
	return forms
}
