package simulation

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// memory is an engine of the store that keeps everything in maps: fast, and the
// same every time. Package storetest holds it to the contract as any other.
//
// Rows are kept in the form that package codec gives them, where that form may
// lose something, so that what a real database would not bring back is not
// brought back here either.
type memory struct {
	alone bool // its data has one owner, as that of SQLite
	// commits is held by one writer at a time, while it decides as well. data
	// guards the tables, and is never held while anything outside runs.
	commits sync.Mutex
	data    sync.Mutex
	tables
}

// tables is all that the database holds. Rows are never changed, only replaced.
type tables struct {
	projects map[id.Project]partner.Project
	revision int64 // of all projects
	books    map[id.Project]ledger.Book
	entries  map[id.Project][]ledger.Entry // by number, from 1
	sessions map[store.SessionKey]*sessionRow
	attempts map[attemptKey]store.Attempt
	cards    map[store.CardKey]vault.Sealed
	events   map[store.EventKey]webhook.Event
	numbers  map[store.SessionKey]int // of events, the highest
	logs     map[deliveryKey]webhook.Attempt
	tasks    map[store.TaskKey]store.Task
	keys     map[store.KeyRef]store.KeyRecord
	alarms   map[alarmKey]store.Alarm
	batches  map[id.Batch]struct{}
	items    map[store.ItemKey]vault.Item
	public   map[store.PublicKey]*vault.Public
	acts     map[int64]store.Act
	settings map[string][]byte
	npd      map[store.NPDKey]store.NPDRequest

	statements  map[statementKey]store.Statement
	lines       map[lineKey]store.StatementLine
	differences map[differenceKey]store.Difference

	incomes      map[store.IncomeKey]store.Income
	reservations map[store.ReservationKey]store.Reservation

	accounts  map[store.AccountKey]store.Account
	operators map[string]operator.Operator
	logins    map[[32]byte]operator.Login

	archives map[id.Archive]store.Archive
	archived map[store.SessionKey]store.Archived
	attic    attic

	nodes  [store.Nodes]nodeRow
	writes int64 // so far
}

// sessionRow is a session as it was written, and as it reads.
type sessionRow struct {
	session.Session
	draft    string
	payouts  []payoutRow
	revision int64
	about    string // whom it pays: the history names it by that, though the session may forget
}

type payoutRow struct{ details, progress string }

// attic is what was taken out. No database remembers it, but the world does.
type attic struct {
	sessions map[store.SessionKey]*sessionRow
	events   map[store.EventKey]webhook.Event
}

type attemptKey struct {
	store.SessionKey
	payout id.Payout
	no     int
}

type deliveryKey struct {
	store.EventKey
	no int
}

type alarmKey struct {
	project id.Project
	id      int64
}

type nodeRow struct {
	owner string
	lease time.Time
}

func newMemory(alone bool) *memory {
	return &memory{alone: alone, tables: tables{
		projects: map[id.Project]partner.Project{}, books: map[id.Project]ledger.Book{}, entries: map[id.Project][]ledger.Entry{},
		sessions: map[store.SessionKey]*sessionRow{}, attempts: map[attemptKey]store.Attempt{}, cards: map[store.CardKey]vault.Sealed{},
		events: map[store.EventKey]webhook.Event{}, numbers: map[store.SessionKey]int{}, logs: map[deliveryKey]webhook.Attempt{},
		tasks: map[store.TaskKey]store.Task{}, keys: map[store.KeyRef]store.KeyRecord{}, alarms: map[alarmKey]store.Alarm{},
		batches: map[id.Batch]struct{}{}, items: map[store.ItemKey]vault.Item{}, public: map[store.PublicKey]*vault.Public{},
		acts: map[int64]store.Act{}, settings: map[string][]byte{}, npd: map[store.NPDKey]store.NPDRequest{},
		statements: map[statementKey]store.Statement{}, lines: map[lineKey]store.StatementLine{}, differences: map[differenceKey]store.Difference{},
		incomes: map[store.IncomeKey]store.Income{}, reservations: map[store.ReservationKey]store.Reservation{},
		accounts: map[store.AccountKey]store.Account{}, operators: map[string]operator.Operator{}, logins: map[[32]byte]operator.Login{},
		archives: map[id.Archive]store.Archive{}, archived: map[store.SessionKey]store.Archived{},
		attic: attic{map[store.SessionKey]*sessionRow{}, map[store.EventKey]webhook.Event{}},
	}}
}

// cut is a time as the database brings it back.
func cut(t time.Time) time.Time { return codec.Instant(codec.Micros(t)) }

// alive refuses a caller that has given up, as a driver does.
func alive(ctx context.Context) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Busy, context.Cause(ctx), "the database was not asked")
	}
	return nil
}

func missing(what string) error { return fault.New(fault.NotFound, "no such %s", what) }

func guard(format string, args ...any) error {
	return fault.New(fault.Internal, "guard: "+format, args...)
}

// writing is one transaction: it undoes what it did if it fails.
type writing struct {
	*memory
	undo []func()
}

// transact writes in one transaction, alone. Readers see it whole or not at all.
func (m *memory) transact(ctx context.Context, write func(*writing) error) error {
	if err := alive(ctx); err != nil {
		return err
	}
	m.commits.Lock()
	defer m.commits.Unlock()
	return m.write(write)
}

func (m *memory) write(write func(*writing) error) error {
	m.data.Lock()
	defer m.data.Unlock()
	w := &writing{memory: m}
	err := write(w)
	if err != nil {
		for _, undo := range slices.Backward(w.undo) {
			undo()
		}
		return err
	}
	m.writes++
	return nil
}

// put replaces a row.
func put[K comparable, V any](w *writing, table map[K]V, k K, v V) {
	old, there := table[k]
	w.undo = append(w.undo, func() {
		if there {
			table[k] = old
		} else {
			delete(table, k)
		}
	})
	table[k] = v
}

// add is put of a row that must be new.
func add[K comparable, V any](w *writing, table map[K]V, what string, k K, v V) error {
	if _, there := table[k]; there {
		return guard("the %s exists", what)
	}
	put(w, table, k, v)
	return nil
}

func drop[K comparable, V any](w *writing, table map[K]V, k K) {
	if old, there := table[k]; there {
		w.undo = append(w.undo, func() { table[k] = old })
		delete(table, k)
	}
}

// read reads under the lock.
func read[T any](m *memory, ctx context.Context, from func() (T, error)) (v T, err error) {
	if err := alive(ctx); err != nil {
		return v, err
	}
	m.data.Lock()
	defer m.data.Unlock()
	return from()
}

func (m *memory) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	if err := alive(ctx); err != nil {
		return err
	}
	m.commits.Lock()
	defer m.commits.Unlock()
	m.data.Lock()
	rows, err := m.load(reads)
	m.data.Unlock()
	if err != nil {
		return err
	}
	changes, err := decide(rows)
	if err != nil || changes == nil || changes.Empty() {
		return err
	}
	return m.write(func(w *writing) error { return w.changes(changes) })
}

func (m *memory) load(reads store.Reads) (*store.Rows, error) {
	rows := &store.Rows{
		Sessions: map[store.SessionKey]*session.Session{}, Outbox: map[store.SessionKey][]webhook.Event{}, Events: map[store.EventKey]webhook.Event{},
		Books: map[id.Project]*ledger.Book{}, Keys: map[store.KeyRef]store.KeyRecord{}, Items: map[store.ItemKey]vault.Item{},
		Public: map[store.PublicKey]*vault.Public{}, NPD: map[store.NPDKey]store.NPDRequest{},
		Incomes: map[store.IncomeKey]store.Income{}, Reservations: map[store.ReservationKey]store.Reservation{},
		Accounts: map[store.AccountKey]*store.Account{},
	}
	account := func(k store.AccountKey) {
		if a, ok := m.accounts[k]; ok {
			rows.Accounts[k] = &a
		}
	}
	outbox := func(k store.SessionKey) {
		var open []webhook.Event
		for n := range m.numbers[k] {
			if e, ok := m.events[store.EventKey{SessionKey: k, N: n + 1}]; ok && e.Status == webhook.Pending {
				e.Body = nil
				open = append(open, e)
			}
		}
		if open != nil {
			rows.Outbox[k] = open
		}
	}
	for _, k := range reads.Sessions {
		if row, ok := m.sessions[k]; ok {
			s, err := row.read()
			if err != nil {
				return nil, err
			}
			rows.Sessions[k] = s
			outbox(k)
			for _, k := range store.AccountsOf(s) {
				account(k)
			}
		}
	}
	for _, k := range reads.Outbox {
		outbox(k)
	}
	for _, k := range reads.Events {
		outbox(k)
		for n := range m.numbers[k] {
			key := store.EventKey{SessionKey: k, N: n + 1}
			if e, ok := m.events[key]; ok {
				e.Body = nil
				rows.Events[key] = e
			}
		}
	}
	for _, p := range reads.Books {
		if b, ok := m.books[p]; ok {
			rows.Books[p] = &b
		}
	}
	for _, k := range reads.Keys {
		if r, ok := m.keys[k]; ok {
			r.Answer = slices.Clone(r.Answer)
			rows.Keys[k] = r
		}
	}
	for _, k := range reads.Items {
		if i, ok := m.items[k]; ok {
			rows.Items[k] = i
		}
	}
	for _, k := range reads.Public {
		if p, ok := m.public[k]; ok {
			rows.Public[k] = p.Clone()
		}
	}
	for _, k := range reads.NPD {
		if r, ok := m.npd[k]; ok {
			rows.NPD[k] = r
		}
	}
	for _, k := range reads.Incomes {
		if i, ok := m.incomes[k]; ok {
			rows.Incomes[k] = i
		}
	}
	for _, k := range reads.Reservations {
		if r, ok := m.reservations[k]; ok {
			rows.Reservations[k] = r
		}
	}
	for _, k := range reads.Accounts {
		account(k)
	}
	return rows, nil
}

func (w *writing) changes(c *store.Changes) error {
	if err := add(w, w.batches, "batch", c.Batch, struct{}{}); err != nil {
		return err
	}
	return cmp.Or(
		each(c.Keys, w.key), each(c.Sessions, w.session), each(c.Books, w.book), each(c.Accounts, w.account), each(c.Entries, w.entry),
		each(c.Attempts, w.attempt), each(c.Cards, w.card),
		each(c.CardsDone, func(k store.CardKey) error { drop(w, w.cards, k); return nil }),
		each(c.Events, w.event), each(c.Deliveries, w.delivery),
		each(c.TasksDone, func(k store.TaskKey) error { drop(w, w.tasks, k); return nil }),
		each(c.Tasks, w.task), each(c.Alarms, w.alarm), each(c.Items, w.item), each(c.Public, w.publicToken), each(c.NPD, w.npdRequest),
		each(c.Acts, w.act), each(c.Statements, w.statement), each(c.Lines, w.line), each(c.Differences, w.difference),
		each(c.Incomes, w.income), each(c.Reservations, w.reservation),
	)
}

func each[T any](list []T, write func(T) error) error {
	for _, row := range list {
		if err := write(row); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) key(k store.KeyRecord) error {
	k.At, k.Answer = cut(k.At), slices.Clone(k.Answer)
	return add(w, w.keys, "key", k.KeyRef, k)
}

// session writes a session, of which some members are written once.
func (w *writing) session(s *session.Session) error {
	k := store.SessionKey{Project: s.Project, Session: s.ID}
	old, there := w.sessions[k]
	switch {
	case there && s.Revision != old.revision:
		return guard("%s is at revision %d, not %d", s.ID, old.revision, s.Revision)
	case !there && s.Revision != 0:
		return guard("%s was never written", s.ID)
	}
	row := &sessionRow{Session: *s, revision: s.Revision + 1}
	row.CreatedAt, row.UpdatedAt = cut(s.CreatedAt), cut(s.UpdatedAt)
	var err error
	if row.draft, err = codec.EncodeDetails(s.Draft); err != nil {
		return err
	}
	row.Payouts = slices.Clone(s.Payouts)
	for i := range row.Payouts {
		p := &row.Payouts[i]
		progress, err := codec.EncodeProgress(p)
		if err != nil {
			return err
		}
		if there && i < len(old.Payouts) {
			if old.Payouts[i].ID != p.ID {
				return guard("%s has another payout in the place of %s", s.ID, p.ID)
			}
			p.Details, p.CreatedAt = old.Payouts[i].Details, old.Payouts[i].CreatedAt
			row.payouts = append(row.payouts, payoutRow{old.payouts[i].details, progress})
			continue
		}
		p.CreatedAt = cut(p.CreatedAt)
		details, err := codec.EncodeDetails(p.Details)
		if err != nil {
			return err
		}
		row.payouts = append(row.payouts, payoutRow{details, progress})
	}
	if there {
		row.Version, row.CreatedAt, row.about = old.Version, old.CreatedAt, old.about
	}
	if row.about == "" {
		row.about = recipient(s)
	}
	put(w, w.sessions, k, row)
	return nil
}

func recipient(s *session.Session) string {
	d := s.Draft
	if len(s.Payouts) > 0 {
		d = s.Payouts[0].Details
	}
	if d.Recipient == "" && d.Instrument != nil && d.Instrument.Account != nil {
		d.Recipient = d.Instrument.Account.FullName
	}
	about, _, _ := strings.Cut(d.Recipient, ".") // of several payouts that of all
	return about
}

// read decodes a session anew, so that the copy is the caller's.
func (r *sessionRow) read() (_ *session.Session, err error) {
	s := r.Session
	s.Revision = r.revision
	if s.Draft, err = codec.DecodeDetails([]byte(r.draft)); err != nil {
		return nil, err
	}
	s.Payouts = nil
	for i, row := range r.payouts {
		p := session.Payout{ID: r.Payouts[i].ID, State: r.Payouts[i].State, CreatedAt: r.Payouts[i].CreatedAt}
		if p.Details, err = codec.DecodeDetails([]byte(row.details)); err != nil {
			return nil, err
		}
		if err := codec.DecodeProgress([]byte(row.progress), &p); err != nil {
			return nil, err
		}
		s.Payouts = append(s.Payouts, p)
	}
	return &s, nil
}

func (w *writing) book(b *ledger.Book) error {
	old, there := w.books[b.Project]
	sum, fits := b.Balance.Sum()
	switch {
	case !there || old.Revision != b.Revision:
		return guard("the book of %s is not at revision %d", b.Project, b.Revision)
	case sum != 0 || !fits || b.Balance.Held < 0 || b.Balance.Available < -old.Credit:
		return guard("the balances %+v break a rule", b.Balance)
	}
	next := *b
	next.Credit, next.Revision = old.Credit, old.Revision+1
	put(w, w.books, b.Project, next)
	return nil
}

func (w *writing) entry(e ledger.Entry) error {
	if sum, fits := e.Change.Sum(); sum != 0 || !fits || e.No <= 0 {
		return guard("entry %d of %s sums to %d", e.No, e.Project, sum)
	}
	list := w.entries[e.Project]
	at, there := slices.BinarySearchFunc(list, e.No, func(e ledger.Entry, no int64) int { return cmp.Compare(e.No, no) })
	if there {
		return guard("entry %d of %s exists", e.No, e.Project)
	}
	e.At = cut(e.At)
	put(w, w.entries, e.Project, slices.Insert(slices.Clip(list), at, e))
	return nil
}

func (w *writing) attempt(a store.Attempt) error {
	a.SentAt, a.EndedAt = cut(a.SentAt), cut(a.EndedAt)
	k := attemptKey{store.SessionKey{Project: a.Project, Session: a.Session}, a.Payout, a.No}
	if old, there := w.attempts[k]; there && (old.Rail != a.Rail || old.Reference != a.Reference) {
		return guard("attempt %d of %s changes its rail or reference", a.No, a.Payout)
	}
	for other, o := range w.attempts {
		switch {
		case other == k || other.Project != a.Project:
		case o.Rail == a.Rail && o.Reference == a.Reference && o.No == a.No:
			return guard("another attempt has the reference %s", a.Reference)
		case other.SessionKey == k.SessionKey && other.payout == k.payout && o.Outcome == store.AttemptAccepted && a.Outcome == store.AttemptAccepted:
			return guard("a second attempt of %s is accepted", a.Payout)
		}
	}
	put(w, w.attempts, k, a)
	return nil
}

func (w *writing) card(c vault.Sealed) error {
	c.CreatedAt, c.Ciphertext, c.Fingerprint = cut(c.CreatedAt), slices.Clone(c.Ciphertext), slices.Clone(c.Fingerprint)
	return add(w, w.cards, "card", store.CardKey{Project: c.Project, Card: c.ID}, c)
}

// event writes an event, of which only how its delivery stands may change.
func (w *writing) event(e webhook.Event) error {
	k := store.EventKey{SessionKey: store.SessionKey{Project: e.Project, Session: e.Session}, N: e.N}
	next := e
	next.CreatedAt, next.Due, next.Lease, next.Body = cut(e.CreatedAt), cut(e.Due), cut(e.Lease), bytes.Clone(e.Body)
	if old, there := w.events[k]; there {
		if old.ID != e.ID {
			return guard("another event in the place of %s", old.ID)
		}
		changed := old
		changed.Signature, changed.Status, changed.Attempts = e.Signature, e.Status, e.Attempts
		changed.Due, changed.Owner, changed.Lease = next.Due, e.Owner, next.Lease
		next = changed
	}
	put(w, w.events, k, next)
	put(w, w.numbers, k.SessionKey, max(w.numbers[k.SessionKey], k.N))
	return nil
}

func (w *writing) delivery(a webhook.Attempt) error {
	a.At, a.Error = cut(a.At), codec.Plain(a.Error)
	return add(w, w.logs, "delivery", deliveryKey{
		store.EventKey{SessionKey: store.SessionKey{Project: a.Project, Session: a.Session}, N: a.N}, a.No,
	}, a)
}

func (w *writing) task(t store.Task) error {
	t.Due, t.Lease, t.Fence = cut(t.Due), cut(t.Lease), 0
	put(w, w.tasks, t.TaskKey, t)
	return nil
}

func (w *writing) alarm(a store.Alarm) error {
	a.At, a.Text = cut(a.At), codec.Plain(a.Text)
	return add(w, w.alarms, "alarm", alarmKey{a.Project, a.ID}, a)
}

func (w *writing) item(i vault.Item) error {
	k := store.ItemKey{Partner: i.Partner, Token: i.ID}
	i.CreatedAt, i.EndsAt, i.DeletedAt, i.WipeAt = cut(i.CreatedAt), cut(i.EndsAt), cut(i.DeletedAt), cut(i.WipeAt)
	if i.Revision == 0 {
		i.Revision = 1
		return add(w, w.items, "item", k, i)
	}
	old, there := w.items[k]
	if !there || old.Revision != i.Revision {
		return guard("%s is not at revision %d", i.ID, i.Revision)
	}
	old.DeletedAt, old.WipeAt, old.Revision = i.DeletedAt, i.WipeAt, old.Revision+1
	put(w, w.items, k, old)
	return nil
}

func (w *writing) publicToken(p *vault.Public) error {
	k := store.PublicKey{Project: p.Project, Lookup: p.Lookup}
	next := p.Clone()
	next.CreatedAt, next.EndsAt, next.Revision = cut(p.CreatedAt), cut(p.EndsAt), p.Revision+1
	if p.Revision == 0 {
		return add(w, w.public, "public token", k, next)
	}
	old, there := w.public[k]
	if !there || old.Revision != p.Revision {
		return guard("the public token is not at revision %d", p.Revision)
	}
	next.CreatedAt, next.EndsAt = old.CreatedAt, old.EndsAt
	put(w, w.public, k, next)
	return nil
}

func (w *writing) act(a store.Act) error {
	a.At, a.Actor, a.Text = cut(a.At), codec.Plain(a.Actor), codec.Plain(a.Text)
	return add(w, w.acts, "act", a.ID, a)
}

func (m *memory) Committed(ctx context.Context, batch id.Batch) (bool, error) {
	return read(m, ctx, func() (bool, error) { _, ok := m.batches[batch]; return ok, nil })
}

func (m *memory) LastBatch(ctx context.Context) (id.Batch, error) {
	return read(m, ctx, func() (last id.Batch, _ error) {
		for b := range m.batches {
			last = max(last, b)
		}
		return last, nil
	})
}

// dueTasks are those that a claim would take, in its order.
func (m *memory) dueTasks(due, now time.Time, kinds ...store.TaskKind) []store.Task {
	var tasks []store.Task
	for _, t := range m.tasks {
		if !t.Due.After(due) && !t.Lease.After(now) && (len(kinds) == 0 || slices.Contains(kinds, t.Kind)) {
			tasks = append(tasks, t)
		}
	}
	slices.SortFunc(tasks, func(a, b store.Task) int { return cmp.Or(a.Due.Compare(b.Due), byTaskKey(a, b)) })
	return tasks
}

func byTaskKey(a, b store.Task) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Payout, b.Payout), cmp.Compare(a.Kind, b.Kind))
}

func (m *memory) ClaimTasks(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int, kinds ...store.TaskKind,
) (tasks []store.Task, err error) {
	err = m.transact(ctx, func(w *writing) error {
		all := w.dueTasks(cut(due), cut(now), kinds...)
		raised := map[store.SessionKey]int64{}
		for _, t := range all[:min(max(limit, 0), len(all))] {
			t.Owner, t.Lease = node, cut(now.Add(lease))
			put(w, w.tasks, t.TaskKey, t)
			if _, done := raised[t.SessionKey]; !done {
				if row, ok := w.sessions[t.SessionKey]; ok {
					next := *row
					next.Fence, next.revision = row.Fence+1, row.revision+1
					put(w, w.sessions, t.SessionKey, &next)
					raised[t.SessionKey] = next.Fence
				}
			}
			t.Fence = raised[t.SessionKey]
			tasks = append(tasks, t)
		}
		return nil
	})
	return tasks, err
}

func (m *memory) dueEvents(due, now time.Time) []webhook.Event {
	var events []webhook.Event
	for _, e := range m.events {
		if e.Status == webhook.Pending && !e.Due.After(due) && !e.Lease.After(now) {
			events = append(events, e)
		}
	}
	slices.SortFunc(events, func(a, b webhook.Event) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Project, b.Project), cmp.Compare(a.Session, b.Session), cmp.Compare(a.N, b.N))
	})
	return events
}

func (m *memory) ClaimEvents(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int,
) (events []webhook.Event, err error) {
	err = m.transact(ctx, func(w *writing) error {
		all := w.dueEvents(cut(due), cut(now))
		for _, e := range all[:min(max(limit, 0), len(all))] {
			e.Owner, e.Lease = node, cut(now.Add(lease))
			put(w, w.events, eventKey(e), e)
			events = append(events, e)
		}
		return nil
	})
	return events, err
}

func eventKey(e webhook.Event) store.EventKey {
	return store.EventKey{SessionKey: store.SessionKey{Project: e.Project, Session: e.Session}, N: e.N}
}

func (m *memory) Renew(ctx context.Context, node string, until time.Time, tasks []store.TaskKey, events []store.EventKey) error {
	return m.leases(ctx, node, tasks, events, func(_ string, lease time.Time) (string, time.Time) {
		if until.After(lease) {
			lease = cut(until)
		}
		return node, lease
	})
}

func (m *memory) Release(ctx context.Context, node string, tasks []store.TaskKey, events []store.EventKey) error {
	return m.leases(ctx, node, tasks, events, func(string, time.Time) (string, time.Time) { return "", time.Time{} })
}

// leases changes those that node still has.
func (m *memory) leases(
	ctx context.Context, node string, tasks []store.TaskKey, events []store.EventKey, change func(string, time.Time) (string, time.Time),
) error {
	return m.transact(ctx, func(w *writing) error {
		for _, k := range tasks {
			if t, ok := w.tasks[k]; ok && t.Owner == node {
				t.Owner, t.Lease = change(t.Owner, t.Lease)
				put(w, w.tasks, k, t)
			}
		}
		for _, k := range events {
			if e, ok := w.events[k]; ok && e.Owner == node {
				e.Owner, e.Lease = change(e.Owner, e.Lease)
				put(w, w.events, k, e)
			}
		}
		return nil
	})
}

func (m *memory) Nudge(context.Context) error               { return nil }
func (m *memory) Listen(ctx context.Context, nudged func()) { <-ctx.Done() }

func (m *memory) Recover(ctx context.Context, now time.Time) (bool, error) {
	if !m.alone {
		return false, alive(ctx)
	}
	return true, m.transact(ctx, func(w *writing) error {
		for k, t := range w.tasks {
			t.Owner, t.Lease = "", time.Time{}
			if t.Kind == store.TaskQuery && t.Due.After(now) {
				t.Due = cut(now)
			}
			put(w, w.tasks, k, t)
		}
		for k, e := range w.events {
			if e.Status == webhook.Pending {
				e.Owner, e.Lease = "", time.Time{}
				put(w, w.events, k, e)
			}
		}
		for n := range w.nodes {
			if row := &w.nodes[n]; row.owner != "" {
				row.owner = ""
				if row.lease.After(now) {
					row.lease = cut(now)
				}
			}
		}
		return nil
	})
}

func (m *memory) TakeNode(ctx context.Context, owner string, now time.Time, lease time.Duration) (int, error) {
	free := -1
	err := m.transact(ctx, func(w *writing) error {
		for n := range w.nodes {
			if row := w.nodes[n]; !row.lease.After(now) && (free < 0 || row.lease.Before(w.nodes[free].lease)) {
				free = n
			}
		}
		if free < 0 {
			return fault.New(fault.Busy, "all node numbers are taken")
		}
		w.nodes[free] = nodeRow{owner, cut(now.Add(lease))}
		return nil
	})
	return free, err
}

func (m *memory) KeepNode(ctx context.Context, owner string, number int, until time.Time) error {
	return m.transact(ctx, func(w *writing) error {
		row := &w.nodes[number]
		if row.owner != owner {
			return fault.New(fault.Stale, "node number %d belongs to another run", number)
		}
		if until.After(row.lease) {
			row.lease = cut(until)
		}
		return nil
	})
}

func (m *memory) FreeNode(ctx context.Context, owner string, number int, now time.Time) error {
	return m.transact(ctx, func(w *writing) error {
		if row := &w.nodes[number]; row.owner == owner {
			row.owner = ""
			if row.lease.After(now) {
				row.lease = cut(now)
			}
		}
		return nil
	})
}

func (m *memory) Session(ctx context.Context, k store.SessionKey) (*session.Session, error) {
	return read(m, ctx, func() (*session.Session, error) {
		row, ok := m.sessions[k]
		if !ok {
			return nil, missing("session")
		}
		return row.read()
	})
}

func (m *memory) Sessions(ctx context.Context, q store.SessionQuery) ([]*session.Session, id.Session, error) {
	return codec.Page(ctx, q, m.SessionsByID, m.window)
}

// window gives the newest sessions of a query that are in its state, and as a
// negative number where it has stopped looking, if it saw as many as it may.
func (m *memory) window(ctx context.Context, q store.SessionQuery) ([]id.Session, error) {
	return read(m, ctx, func() (found []id.Session, _ error) {
		seen := 0
		for _, row := range sorted(m.sessions, func(a, b *sessionRow) int { return cmp.Compare(b.ID, a.ID) }) {
			if row.Project != q.Project || row.ID <= q.After || q.Before != 0 && row.ID >= q.Before {
				continue
			}
			if (q.State == "" || row.State == q.State) && len(found) < q.Limit {
				found = append(found, row.ID)
			}
			if seen++; seen == q.Scan {
				return append(found, -row.ID), nil
			}
		}
		return found, nil
	})
}

func (m *memory) SessionsByID(ctx context.Context, p id.Project, sessions []id.Session) ([]*session.Session, error) {
	return read(m, ctx, func() (list []*session.Session, _ error) {
		for _, n := range slices.Compact(slices.Sorted(slices.Values(sessions))) {
			row, ok := m.sessions[store.SessionKey{Project: p, Session: n}]
			if !ok {
				continue
			}
			s, err := row.read()
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		return list, nil
	})
}

func (m *memory) Entries(ctx context.Context, p id.Project, after int64, limit int) ([]ledger.Entry, error) {
	return read(m, ctx, func() (list []ledger.Entry, _ error) {
		for _, e := range m.entries[p] {
			if e.No > after && len(list) < limit {
				list = append(list, e)
			}
		}
		return list, nil
	})
}

func (m *memory) Book(ctx context.Context, p id.Project) (*ledger.Book, error) {
	return read(m, ctx, func() (*ledger.Book, error) {
		b, ok := m.books[p]
		if !ok {
			return nil, missing("book")
		}
		return &b, nil
	})
}

func (m *memory) Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error) {
	return find(m, ctx, m.cards, "card", store.CardKey{Project: p, Card: c})
}

func find[K comparable, V any](m *memory, ctx context.Context, table map[K]V, what string, k K) (V, error) {
	return read(m, ctx, func() (V, error) {
		v, ok := table[k]
		if !ok {
			return v, missing(what)
		}
		return v, nil
	})
}

func (m *memory) Events(ctx context.Context, q store.EventQuery) ([]webhook.Event, error) {
	return read(m, ctx, func() (found []webhook.Event, _ error) {
		for _, e := range sorted(m.events, byEventKey) {
			after := cmp.Or(cmp.Compare(e.Session, q.After.Session), cmp.Compare(e.N, q.After.N)) > 0
			if e.Project != q.Project || q.Session != 0 && e.Session != q.Session || len(q.Status) > 0 && !slices.Contains(q.Status, e.Status) ||
				!q.From.IsZero() && e.CreatedAt.Before(q.From) || !q.To.IsZero() && !e.CreatedAt.Before(q.To) || !after || len(found) >= q.Limit {
				continue
			}
			e.Body = nil
			found = append(found, e)
		}
		return found, nil
	})
}

// sorted are the rows of a table in an order.
func sorted[K comparable, V any](table map[K]V, by func(a, b V) int) []V {
	return slices.SortedFunc(maps.Values(table), by)
}

func byEventKey(a, b webhook.Event) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Session, b.Session), cmp.Compare(a.N, b.N))
}

func byAttemptKey(a, b store.Attempt) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Payout, b.Payout), cmp.Compare(a.No, b.No))
}

func (m *memory) FindAttempt(ctx context.Context, rail, reference string) (store.Attempt, error) {
	return read(m, ctx, func() (found store.Attempt, _ error) {
		for _, a := range sorted(m.attempts, byAttemptKey) {
			if a.Rail == rail && a.Reference == reference && a.No > found.No {
				found = a
			}
		}
		if found.No == 0 {
			return found, missing("attempt")
		}
		return found, nil
	})
}

func (m *memory) Deliveries(ctx context.Context, k store.SessionKey) ([]webhook.Attempt, error) {
	return read(m, ctx, func() (log []webhook.Attempt, _ error) {
		for key, a := range m.logs {
			if key.SessionKey == k {
				log = append(log, a)
			}
		}
		slices.SortFunc(log, func(a, b webhook.Attempt) int {
			return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.N, b.N), cmp.Compare(a.No, b.No))
		})
		return log, nil
	})
}

func (m *memory) Alarms(ctx context.Context, limit int) ([]store.Alarm, error) {
	return read(m, ctx, func() ([]store.Alarm, error) {
		return newest(sorted(m.alarms, func(a, b store.Alarm) int { return cmp.Compare(b.ID, a.ID) }), limit), nil
	})
}

func newest[T any](list []T, limit int) []T {
	return append([]T(nil), list[:min(max(limit, 0), len(list))]...)
}

func (m *memory) Item(ctx context.Context, k store.ItemKey) (vault.Item, error) {
	return find(m, ctx, m.items, "token", k)
}

func (m *memory) FindItem(ctx context.Context, p id.Partner, kind vault.Kind, lookup [32]byte) (vault.Item, error) {
	return read(m, ctx, func() (vault.Item, error) {
		for _, i := range m.items {
			if i.Partner == p && i.Kind == kind && i.Lookup == lookup {
				return i, nil
			}
		}
		return vault.Item{}, missing("token")
	})
}

func (m *memory) FindPublic(ctx context.Context, lookup [32]byte) (vault.Public, error) {
	return read(m, ctx, func() (vault.Public, error) {
		for _, p := range m.public {
			if p.Lookup == lookup {
				return *p.Clone(), nil
			}
		}
		return vault.Public{}, missing("public token")
	})
}

func (m *memory) Cards(ctx context.Context, after store.CardKey, limit int) ([]vault.Sealed, error) {
	return page(m, ctx, m.cards, limit, func(a, b vault.Sealed) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.ID, b.ID))
	}, vault.Sealed{Project: after.Project, ID: after.Card})
}

func (m *memory) Items(ctx context.Context, after store.ItemKey, limit int) ([]vault.Item, error) {
	return page(m, ctx, m.items, limit, func(a, b vault.Item) int {
		return cmp.Or(cmp.Compare(a.Partner, b.Partner), cmp.Compare(a.ID, b.ID))
	}, vault.Item{Partner: after.Partner, ID: after.Token})
}

// page is up to limit rows behind one.
func page[K comparable, V any](m *memory, ctx context.Context, table map[K]V, limit int, by func(a, b V) int, after V) ([]V, error) {
	return read(m, ctx, func() (list []V, _ error) {
		for _, row := range sorted(table, by) {
			if by(row, after) > 0 && len(list) < limit {
				list = append(list, row)
			}
		}
		return list, nil
	})
}

func (m *memory) Reseal(
	ctx context.Context, cards []store.Resealed[vault.Sealed], items []store.Resealed[vault.Item],
) (changed int, err error) {
	err = m.transact(ctx, func(w *writing) error {
		for _, c := range cards {
			k := store.CardKey{Project: c.Old.Project, Card: c.Old.ID}
			if row, ok := w.cards[k]; ok && bytes.Equal(row.Ciphertext, c.Old.Ciphertext) {
				row.Ciphertext, row.Fingerprint = c.New.Ciphertext, c.New.Fingerprint
				put(w, w.cards, k, row)
				changed++
			}
		}
		for _, i := range items {
			k := store.ItemKey{Partner: i.Old.Partner, Token: i.Old.ID}
			if row, ok := w.items[k]; ok && bytes.Equal(row.Ciphertext, i.Old.Ciphertext) {
				row.Ciphertext, row.Fingerprint, row.Revision = i.New.Ciphertext, i.New.Fingerprint, row.Revision+1
				put(w, w.items, k, row)
				changed++
			}
		}
		return nil
	})
	return changed, err
}

func (m *memory) Wipe(ctx context.Context, now time.Time, limit int) (wiped int, err error) {
	err = m.transact(ctx, func(w *writing) error {
		items := 0
		for _, i := range sorted(w.items, func(a, b vault.Item) int {
			return cmp.Or(a.WipeAt.Compare(b.WipeAt), cmp.Compare(a.Partner, b.Partner), cmp.Compare(a.ID, b.ID))
		}) {
			if !i.WipeAt.IsZero() && !i.WipeAt.After(now) && items < limit {
				i.Ciphertext, i.Fingerprint, i.WipeAt, i.Revision = nil, nil, time.Time{}, i.Revision+1
				put(w, w.items, store.ItemKey{Partner: i.Partner, Token: i.ID}, i)
				items++
			}
		}
		public := 0
		for _, p := range sorted(w.public, func(a, b *vault.Public) int {
			return cmp.Or(a.EndsAt.Compare(b.EndsAt), bytes.Compare(a.Lookup[:], b.Lookup[:]))
		}) {
			if !p.EndsAt.After(now.Add(-vault.KeepAfterEnd)) && public < limit {
				drop(w, w.public, store.PublicKey{Project: p.Project, Lookup: p.Lookup})
				public++
			}
		}
		wiped = items + public + w.wipeNPD(now, limit)
		return nil
	})
	return wiped, err
}

func (m *memory) Audit(ctx context.Context, limit int) ([]store.Act, error) {
	return read(m, ctx, func() ([]store.Act, error) {
		return newest(sorted(m.acts, func(a, b store.Act) int { return cmp.Compare(b.ID, a.ID) }), limit), nil
	})
}

func (m *memory) Projects(ctx context.Context) ([]partner.Project, error) {
	return read(m, ctx, func() ([]partner.Project, error) {
		return sorted(m.projects, func(a, b partner.Project) int { return cmp.Compare(a.ID, b.ID) }), nil
	})
}

func (m *memory) ProjectsRevision(ctx context.Context) (int64, error) {
	return read(m, ctx, func() (int64, error) { return m.revision, nil })
}

func (m *memory) CreateProject(ctx context.Context, p partner.Project) error {
	return m.transact(ctx, func(w *writing) error {
		if _, there := w.projects[p.ID]; there || p.Credit < 0 {
			return fault.New(fault.Invalid, "the project %s exists, or its credit is negative", p.ID)
		}
		p.Revision, p.CreatedAt = 1, cut(p.CreatedAt)
		put(w, w.projects, p.ID, p)
		put(w, w.books, p.ID, ledger.Book{Project: p.ID, Credit: p.Credit, Revision: 1})
		w.revision++
		return nil
	})
}

func (m *memory) UpdateProject(ctx context.Context, p partner.Project) error {
	return m.transact(ctx, func(w *writing) error {
		old, there := w.projects[p.ID]
		book := w.books[p.ID]
		switch {
		case !there:
			return missing("project")
		case old.Revision != p.Revision:
			return fault.New(fault.Busy, "the project %s was changed by somebody else: read it again", p.ID)
		case p.Credit < 0 || book.Balance.Available < -p.Credit:
			return fault.New(fault.Invalid, "the credit of %s can't be negative, nor less than it has used", p.ID)
		}
		if book.Credit != p.Credit {
			book.Credit, book.Revision = p.Credit, book.Revision+1
			put(w, w.books, p.ID, book)
		}
		p.Revision, p.CreatedAt = p.Revision+1, cut(p.CreatedAt)
		put(w, w.projects, p.ID, p)
		w.revision++
		return nil
	})
}

func (m *memory) Setting(ctx context.Context, name string) ([]byte, error) {
	return find(m, ctx, m.settings, "setting", name)
}

func (m *memory) PutSetting(ctx context.Context, name string, value []byte) error {
	return m.transact(ctx, func(w *writing) error { put(w, w.settings, name, bytes.Clone(value)); return nil })
}

func (m *memory) AddSetting(ctx context.Context, name string, value []byte) (stands []byte, err error) {
	err = m.transact(ctx, func(w *writing) error {
		if _, there := w.settings[name]; !there {
			put(w, w.settings, name, bytes.Clone(value))
		}
		stands = w.settings[name]
		return nil
	})
	return stands, err
}

func (m *memory) SwapSetting(ctx context.Context, name string, old, value []byte) error {
	return m.transact(ctx, func(w *writing) error {
		if now, there := w.settings[name]; !there || !bytes.Equal(now, old) && !bytes.Equal(now, value) {
			return fault.New(fault.Busy, "the setting %s was changed by somebody else: read it again", name)
		}
		put(w, w.settings, name, bytes.Clone(value))
		return nil
	})
}

// Snapshot copies the tables: their rows stay as they are.
func (m *memory) Snapshot(ctx context.Context, look func(store.Snapshot) error) error {
	copied, err := read(m, ctx, func() (tables, error) {
		t := m.tables
		t.projects, t.books, t.entries = maps.Clone(t.projects), maps.Clone(t.books), maps.Clone(t.entries)
		t.sessions, t.attempts, t.events, t.tasks = maps.Clone(t.sessions), maps.Clone(t.attempts), maps.Clone(t.events), maps.Clone(t.tasks)
		t.cards, t.items = maps.Clone(t.cards), maps.Clone(t.items)
		t.incomes, t.reservations = maps.Clone(t.incomes), maps.Clone(t.reservations)
		t.accounts = maps.Clone(t.accounts)
		t.archives, t.archived = maps.Clone(t.archives), maps.Clone(t.archived)
		t.statements, t.lines, t.differences = maps.Clone(t.statements), maps.Clone(t.lines), maps.Clone(t.differences)
		return t, nil
	})
	if err != nil {
		return err
	}
	return look(snapshot{&memory{tables: copied}})
}

func (m *memory) Close() error { return nil }

// snapshot reads tables that nobody changes.
type snapshot struct{ *memory }

func (s snapshot) Books(context.Context) ([]ledger.Book, error) {
	return sorted(s.books, func(a, b ledger.Book) int { return cmp.Compare(a.Project, b.Project) }), nil
}

// stream gives rows of one project out in an order.
func stream[T any](rows iter.Seq[T], of func(T) bool, by func(a, b T) int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var list []T
		for row := range rows {
			if of(row) {
				list = append(list, row)
			}
		}
		slices.SortFunc(list, by)
		for _, row := range list {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func (s snapshot) Entries(_ context.Context, p id.Project) iter.Seq2[ledger.Entry, error] {
	return stream(slices.Values(s.entries[p]), func(ledger.Entry) bool { return true }, func(a, b ledger.Entry) int { return cmp.Compare(a.No, b.No) })
}

func (s snapshot) EntriesBySession(_ context.Context, p id.Project) iter.Seq2[ledger.Entry, error] {
	return stream(slices.Values(s.entries[p]), func(e ledger.Entry) bool { return e.Session != 0 }, func(a, b ledger.Entry) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Payout, b.Payout), cmp.Compare(a.No, b.No))
	})
}

func (s snapshot) Sessions(_ context.Context, p id.Project) iter.Seq2[*session.Session, error] {
	rows := stream(maps.Values(s.sessions), func(r *sessionRow) bool { return r.Project == p }, func(a, b *sessionRow) int { return cmp.Compare(a.ID, b.ID) })
	return func(yield func(*session.Session, error) bool) {
		for row := range rows {
			if !yield(row.read()) {
				return
			}
		}
	}
}

func (s snapshot) Attempts(_ context.Context, p id.Project) iter.Seq2[store.Attempt, error] {
	return stream(maps.Values(s.attempts), func(a store.Attempt) bool { return a.Project == p }, byAttemptKey)
}

func (s snapshot) Events(_ context.Context, p id.Project) iter.Seq2[webhook.Event, error] {
	rows := stream(maps.Values(s.events), func(e webhook.Event) bool { return e.Project == p }, byEventKey)
	return func(yield func(webhook.Event, error) bool) {
		for e := range rows {
			e.Body = nil
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (s snapshot) Tasks(_ context.Context, p id.Project) iter.Seq2[store.Task, error] {
	return stream(maps.Values(s.tasks), func(t store.Task) bool { return t.Project == p }, byTaskKey)
}
