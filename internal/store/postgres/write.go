package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// guarded makes a statement fail that did not change one row for each that it
// was given: somebody else came first, or a row is not the one that was meant.
// The COMMIT is on its way behind it and must not be reached, so it is the
// server that has to count: it divides by zero where the counts differ.
func guarded(statement string) string {
	return `WITH changed AS (` + statement + ` RETURNING 1)
		SELECT 1 / (count(*) = cardinality($1::text[]))::int FROM changed`
}

// The first parameter of each is the project of each row.
var (
	updateSessions = guarded(`UPDATE sessions s
		SET state = k.state, draft = k.draft, events = k.events, fence = k.fence, revision = s.revision + 1, updated_at = k.updated_at
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
			k (project, id, revision, state, draft, events, fence, updated_at)
		WHERE s.project = k.project AND s.id = k.id AND s.revision = k.revision`)
	// Rows that a batch went by without having loaded them.
	proveSessions = `SELECT 1 / (count(*) = cardinality($1::text[]))::int FROM (
			SELECT 1 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) k (project, id, revision)
			JOIN sessions s ON s.project = k.project AND s.id = k.id AND s.revision = k.revision
			FOR UPDATE OF s SKIP LOCKED
		) same`
	proveBooks = `SELECT 1 / (count(*) = cardinality($1::text[]))::int FROM (
			SELECT 1 FROM unnest($1::text[], $2::bigint[]) k (project, revision)
			JOIN books b ON b.project = k.project AND b.revision = k.revision
			FOR UPDATE OF b SKIP LOCKED
		) same`
	proveKeys = `SELECT 1 / (count(*) = 0)::int FROM unnest($1::text[], $2::text[], $3::text[]) k (project, scope, key)
		JOIN keys r ON r.project = k.project AND r.scope = k.scope AND r.key = k.key`
	raiseSessions = `UPDATE sessions s SET revision = s.revision + 1 FROM unnest($1::text[], $2::bigint[]) k (project, id)
		WHERE s.project = k.project AND s.id = k.id`
	upsertPayouts = guarded(`INSERT INTO payouts AS p (project, session, no, id, state, details, progress, created_at)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[])
		ON CONFLICT (project, session, no) DO UPDATE SET state = excluded.state, progress = excluded.progress
		WHERE p.id = excluded.id`)
	// What was loaded is there: it costs less to change it than to try to add it.
	updatePayouts = guarded(`UPDATE payouts p SET state = k.state, progress = k.progress
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) k (project, session, no, id, state, progress)
		WHERE p.project = k.project AND p.session = k.session AND p.no = k.no AND p.id = k.id`)
	updateBooks = guarded(`UPDATE books b
		SET available = k.available, held = k.held, clearing = k.clearing, fees = k.fees, deposits = k.deposits, suspense = k.suspense,
			entries = k.entries, hash = k.hash, events = k.events, revision = b.revision + 1
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
				$9::bigint[], $10::bytea[], $11::bigint[])
			k (project, revision, available, held, clearing, fees, deposits, suspense, entries, hash, events)
		WHERE b.project = k.project AND b.revision = k.revision`)
	updateAccounts = guarded(`UPDATE accounts a
		SET available = k.available, held = k.held, clearing = k.clearing, fees = k.fees, deposits = k.deposits, suspense = k.suspense,
			revision = a.revision + 1
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
			k (project, number, revision, available, held, clearing, fees, deposits, suspense)
		WHERE a.project = k.project AND a.number = k.number AND a.revision = k.revision`)
	upsertAttempts = guarded(`INSERT INTO attempts AS a (project, session, payout, no, rail, reference, outcome, sent_at, ended_at)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[])
		ON CONFLICT (project, session, payout, no)
		DO UPDATE SET outcome = excluded.outcome, sent_at = excluded.sent_at, ended_at = excluded.ended_at
		WHERE a.rail = excluded.rail AND a.reference = excluded.reference`)
	// What was promised never changes, only how its delivery stands.
	updateEvents = guarded(`UPDATE events e
		SET signature = k.signature, status = k.status, attempts = k.attempts, due = k.due, owner = k.owner, lease = k.lease
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::bigint[])
			k (project, session, n, id, signature, status, attempts, due, owner, lease)
		WHERE e.project = k.project AND e.session = k.session AND e.n = k.n AND e.id = k.id`)
	upsertEvents = guarded(`INSERT INTO events AS e
			(project, session, n, id, seq, type, body, signature, status, attempts, created_at, due, owner, lease)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[],
			$9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::bigint[])
		ON CONFLICT (project, session, n) DO UPDATE SET signature = excluded.signature, status = excluded.status,
			attempts = excluded.attempts, due = excluded.due, owner = excluded.owner, lease = excluded.lease
		WHERE e.id = excluded.id`)
)

const (
	insertBatch = `INSERT INTO batches (project, id, written) VALUES ($1, $2, true)`
	insertKeys  = `INSERT INTO keys (project, scope, key, print, answer, at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[])`
	insertSessions = `INSERT INTO sessions (project, id, version, state, draft, events, fence, revision, created_at, updated_at)
		SELECT project, id, version, state, draft, events, fence, 1, created_at, updated_at
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
			k (project, id, version, state, draft, events, fence, created_at, updated_at)`
	insertPayouts = `INSERT INTO payouts (project, session, no, id, state, details, progress, created_at)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[])`
	insertEntries = `INSERT INTO entries (` + codec.EntryColumns + `)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
			$8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bytea[], $16::text[])`
	insertAccount = `INSERT INTO accounts (project, number, available, held, clearing, fees, deposits, suspense, owner, created_at, revision)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	insertMovements = `INSERT INTO movements (` + codec.AccountMovementColumns + `)
		SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])`
	addClearing = `INSERT INTO clearing AS c (project, rail, minor) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
		ON CONFLICT (project, rail) DO UPDATE SET minor = c.minor + excluded.minor`
	insertCards = `INSERT INTO cards (project, id, ciphertext, fingerprint, created_at)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bigint[])`
	insertDeliveries = `INSERT INTO deliveries (project, session, n, no, at, took, status, error)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[])`
	deleteTasks = `DELETE FROM tasks t USING unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) k (project, session, payout, kind)
		WHERE t.project = k.project AND t.session = k.session AND t.payout = k.payout AND t.kind = k.kind`
	upsertTasks = `INSERT INTO tasks (project, session, payout, kind, due, attempt, owner, lease)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[])
		ON CONFLICT (project, session, payout, kind)
		DO UPDATE SET due = excluded.due, attempt = excluded.attempt, owner = excluded.owner, lease = excluded.lease`
	insertAlarms = `INSERT INTO alarms (project, id, session, payout, kind, text, at)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])`

	// No batch waits for another that forgets the same ones.
	forgetBatches = `DELETE FROM batches b USING (
			SELECT project, id FROM batches WHERE id < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
		) old WHERE b.project = old.project AND b.id = old.id`
)

// keepBatches is store.BatchesKept in the unit of a batch's number: package id
// puts the milliseconds above 22 bits.
const keepBatches = int64(store.BatchesKept/time.Millisecond) << 22

// One batch in so many forgets old ones, twice as many, so that the table
// shrinks after a pause.
const forgetEvery = 64

// write writes the changes and commits, in one round trip. Books come first and
// then sessions, as they are locked: the rows of a batch that has loaded none are
// locked only here. Within a table rows are written by key: two batches that add
// the same two keys must not wait for each other. Tasks that are done go before
// new ones come, so that a payout may end a task and begin the same kind anew.
func (t *transaction) write(ctx context.Context, c *store.Changes) error {
	of := batch{home(c), c.Batch}
	b := t.begin()
	b.Queue(insertBatch, of.project, of.id)
	writeBooks(b, c.Books)
	if err := t.writeSessions(b, c.Sessions); err != nil {
		return err
	}
	t.prove(b, c)
	t.raise(b, c)
	if err := writeAccounts(b, c.Accounts); err != nil {
		return err
	}
	writeKeys(b, c.Keys)
	writeEntries(b, c.Entries)
	writeAttempts(b, c.Attempts)
	writeCards(b, c.Cards, c.CardsDone)
	t.writeEvents(b, c.Events)
	writeDeliveries(b, c.Deliveries)
	writeTasks(b, c.TasksDone, c.Tasks)
	writeAlarms(b, c.Alarms)
	if err := errors.Join(writeItems(b, c.Items), writePublic(b, c.Public), writeNPD(b, c.NPD)); err != nil {
		return err
	}
	writeActs(b, c.Acts)
	if err := writeStatements(b, c.Statements); err != nil {
		return err
	}
	writeLines(b, c.Lines)
	writeDifferences(b, c.Differences)
	writeIncomes(b, c.Incomes)
	writeReservations(b, c.Reservations)
	if t.store.commits.Add(1)%forgetEvery == 0 {
		b.Queue(forgetBatches, int64(c.Batch)-keepBatches, 2*forgetEvery)
	}
	if err := t.commit(ctx, b, of); err != nil {
		return err
	}
	t.store.recent.put(t.known.after(c))
	return nil
}

// prove makes the transaction fail if a row that the batch went by, and does not
// write, is not as remembered, or a key not free that it does not burn. Until
// the end nobody changes these rows. A row that somebody is just changing is not
// waited for: it stands out of the order in which rows are locked.
func (t *transaction) prove(b *pgx.Batch, c *store.Changes) {
	if t.assumed {
		written := make(map[store.SessionKey]struct{}, len(c.Sessions))
		for _, s := range c.Sessions {
			written[keyOf(s)] = struct{}{}
		}
		var sessions []*session.Session
		for k, s := range t.known.sessions {
			if _, ok := written[k]; !ok {
				sessions = append(sessions, s.session)
			}
		}
		if len(sessions) > 0 {
			projects, numbers := columns(column(sessions, keyOf))
			b.Queue(proveSessions, projects, numbers, column(sessions, func(s *session.Session) int64 { return s.Revision }))
		}
		var books []*ledger.Book
		for p, book := range t.known.books {
			if !slices.ContainsFunc(c.Books, func(b *ledger.Book) bool { return b.Project == p }) {
				books = append(books, book)
			}
		}
		if len(books) > 0 {
			b.Queue(proveBooks, column(books, func(b *ledger.Book) string { return text(b.Project) }),
				column(books, func(b *ledger.Book) int64 { return b.Revision }))
		}
	}
	if len(t.free) == 0 {
		return
	}
	burnt := make(map[store.KeyRef]struct{}, len(c.Keys))
	for i := range c.Keys {
		burnt[c.Keys[i].KeyRef] = struct{}{}
	}
	free := slices.DeleteFunc(slices.Clone(t.free), func(k store.KeyRef) bool { _, ok := burnt[k]; return ok })
	if len(free) > 0 {
		b.Queue(proveKeys, keyColumns(free)...)
	}
}

// raise moves the revision of sessions whose events change while they do not,
// unless it is this node that has written them last: the only one that may
// remember them.
func (t *transaction) raise(b *pgx.Batch, c *store.Changes) {
	own := make(map[store.SessionKey]struct{}, len(c.Sessions))
	for _, s := range c.Sessions {
		own[keyOf(s)] = struct{}{}
	}
	for k, s := range t.known.sessions {
		if s.session != nil {
			own[k] = struct{}{}
		}
	}
	var keys []store.SessionKey
	for i := range c.Events {
		k := eventKey(&c.Events[i]).SessionKey
		if _, ok := own[k]; !ok {
			keys = append(keys, k)
		}
	}
	if len(keys) > 0 {
		projects, numbers := columns(distinct(keys, compareSessions))
		b.Queue(raiseSessions, projects, numbers)
	}
}

// home is the project of the first row.
func home(c *store.Changes) id.Project {
	switch {
	case len(c.Keys) > 0:
		return c.Keys[0].Project
	case len(c.Sessions) > 0:
		return c.Sessions[0].Project
	case len(c.Books) > 0:
		return c.Books[0].Project
	case len(c.Accounts) > 0:
		return c.Accounts[0].Project
	case len(c.Entries) > 0:
		return c.Entries[0].Project
	case len(c.Attempts) > 0:
		return c.Attempts[0].Project
	case len(c.Cards) > 0:
		return c.Cards[0].Project
	case len(c.CardsDone) > 0:
		return c.CardsDone[0].Project
	case len(c.Events) > 0:
		return c.Events[0].Project
	case len(c.Deliveries) > 0:
		return c.Deliveries[0].Project
	case len(c.Tasks) > 0:
		return c.Tasks[0].Project
	case len(c.TasksDone) > 0:
		return c.TasksDone[0].Project
	case len(c.Alarms) > 0:
		return c.Alarms[0].Project
	case len(c.Items) > 0:
		return c.Items[0].Project
	case len(c.Public) > 0:
		return c.Public[0].Project
	case len(c.NPD) > 0:
		return c.NPD[0].Project
	case len(c.Acts) > 0:
		return c.Acts[0].Project
	case len(c.Lines) > 0:
		return c.Lines[0].Project
	case len(c.Reservations) > 0:
		return c.Reservations[0].Project
	default:
		return "" // a statement belongs to none, nor does an income
	}
}

func writeKeys(b *pgx.Batch, keys []store.KeyRecord) {
	if len(keys) == 0 {
		return
	}
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b store.KeyRecord) int { return compareKeys(a.KeyRef, b.KeyRef) })
	b.Queue(insertKeys, append(keyColumns(column(keys, func(k store.KeyRecord) store.KeyRef { return k.KeyRef })),
		column(keys, func(k store.KeyRecord) []byte { return k.Print[:] }),
		column(keys, func(k store.KeyRecord) string { return string(k.Answer) }),
		column(keys, func(k store.KeyRecord) int64 { return codec.Micros(k.At) }),
	)...)
}

// keyColumns are the three of an idempotency key's name.
func keyColumns(keys []store.KeyRef) []any {
	return []any{
		column(keys, func(k store.KeyRef) string { return text(k.Project) }),
		column(keys, func(k store.KeyRef) string { return k.Scope }),
		column(keys, func(k store.KeyRef) string { return k.Key }),
	}
}

func (t *transaction) writeSessions(b *pgx.Batch, list []*session.Session) error {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *session.Session) int { return compareSessions(keyOf(a), keyOf(b)) })
	drafts := make(map[*session.Session]string, len(list))
	var added, changed []*session.Session
	for _, s := range list {
		draft, err := codec.EncodeDetails(s.Draft)
		if err != nil {
			return failed(err, "write the draft of %s", s.ID)
		}
		if drafts[s] = draft; s.Revision == 0 {
			added = append(added, s)
		} else {
			changed = append(changed, s)
		}
	}
	if len(added) > 0 {
		projects, numbers := columns(column(added, keyOf))
		b.Queue(insertSessions, projects, numbers,
			column(added, func(s *session.Session) int64 { return int64(s.Version) }),
			column(added, func(s *session.Session) string { return string(s.State) }),
			column(added, func(s *session.Session) string { return drafts[s] }),
			column(added, func(s *session.Session) int64 { return int64(s.Events) }),
			column(added, func(s *session.Session) int64 { return s.Fence }),
			column(added, func(s *session.Session) int64 { return codec.Micros(s.CreatedAt) }),
			column(added, func(s *session.Session) int64 { return codec.Micros(s.UpdatedAt) }),
		)
	}
	if len(changed) > 0 {
		projects, numbers := columns(column(changed, keyOf))
		b.Queue(updateSessions, projects, numbers,
			column(changed, func(s *session.Session) int64 { return s.Revision }),
			column(changed, func(s *session.Session) string { return string(s.State) }),
			column(changed, func(s *session.Session) string { return drafts[s] }),
			column(changed, func(s *session.Session) int64 { return int64(s.Events) }),
			column(changed, func(s *session.Session) int64 { return s.Fence }),
			column(changed, func(s *session.Session) int64 { return codec.Micros(s.UpdatedAt) }),
		)
	}
	return errors.Join(t.writePayouts(b, insertPayouts, added), t.writePayouts(b, upsertPayouts, changed))
}

// payout is one with its place.
type payout struct {
	store.SessionKey
	no                int64
	details, progress string
	*session.Payout
}

// writePayouts writes those of some sessions: by the statement the ones that
// were not loaded, since a changed session may have payouts that are new.
func (t *transaction) writePayouts(b *pgx.Batch, statement string, list []*session.Session) error {
	var payouts, known []payout
	for _, s := range list {
		for i := range s.Payouts {
			p := payout{SessionKey: keyOf(s), no: int64(i + 1), Payout: &s.Payouts[i]}
			var err error
			if p.progress, err = codec.EncodeProgress(p.Payout); err != nil {
				return failed(err, "write %s of %s", p.ID, s.ID)
			}
			if i < t.payouts[p.SessionKey] {
				known = append(known, p)
				continue
			}
			if p.details, err = codec.EncodeDetails(p.Details); err != nil {
				return failed(err, "write %s of %s", p.ID, s.ID)
			}
			payouts = append(payouts, p)
		}
	}
	if len(known) > 0 {
		projects, numbers := columns(column(known, func(p payout) store.SessionKey { return p.SessionKey }))
		b.Queue(updatePayouts, projects, numbers,
			column(known, func(p payout) int64 { return p.no }),
			column(known, func(p payout) int64 { return int64(p.ID) }),
			column(known, func(p payout) string { return string(p.State) }),
			column(known, func(p payout) string { return p.progress }),
		)
	}
	if len(payouts) == 0 {
		return nil
	}
	projects, numbers := columns(column(payouts, func(p payout) store.SessionKey { return p.SessionKey }))
	b.Queue(statement, projects, numbers,
		column(payouts, func(p payout) int64 { return p.no }),
		column(payouts, func(p payout) int64 { return int64(p.ID) }),
		column(payouts, func(p payout) string { return string(p.State) }),
		column(payouts, func(p payout) string { return p.details }),
		column(payouts, func(p payout) string { return p.progress }),
		column(payouts, func(p payout) int64 { return codec.Micros(p.CreatedAt) }),
	)
	return nil
}

func writeBooks(b *pgx.Batch, books []*ledger.Book) {
	if len(books) == 0 {
		return
	}
	books = slices.Clone(books)
	slices.SortFunc(books, func(a, b *ledger.Book) int { return cmp.Compare(a.Project, b.Project) })
	b.Queue(updateBooks,
		column(books, func(b *ledger.Book) string { return text(b.Project) }),
		column(books, func(b *ledger.Book) int64 { return b.Revision }),
		column(books, func(b *ledger.Book) int64 { return b.Balance.Available }),
		column(books, func(b *ledger.Book) int64 { return b.Balance.Held }),
		column(books, func(b *ledger.Book) int64 { return b.Balance.Clearing }),
		column(books, func(b *ledger.Book) int64 { return b.Balance.Fees }),
		column(books, func(b *ledger.Book) int64 { return b.Balance.Deposits }),
		column(books, func(b *ledger.Book) int64 { return b.Balance.Suspense }),
		column(books, func(b *ledger.Book) int64 { return b.Entries }),
		column(books, func(b *ledger.Book) []byte { return b.Hash[:] }),
		column(books, func(b *ledger.Book) int64 { return b.Events }),
	)
}

func writeEntries(b *pgx.Batch, entries []ledger.Entry) {
	if len(entries) == 0 {
		return
	}
	b.Queue(insertEntries,
		column(entries, func(e ledger.Entry) string { return text(e.Project) }),
		column(entries, func(e ledger.Entry) int64 { return e.No }),
		column(entries, func(e ledger.Entry) string { return string(e.Kind) }),
		column(entries, func(e ledger.Entry) int64 { return int64(e.Session) }),
		column(entries, func(e ledger.Entry) int64 { return int64(e.Payout) }),
		column(entries, func(e ledger.Entry) string { return e.Rail }),
		column(entries, func(e ledger.Entry) string { return e.Reference }),
		column(entries, func(e ledger.Entry) int64 { return e.Change.Available }),
		column(entries, func(e ledger.Entry) int64 { return e.Change.Held }),
		column(entries, func(e ledger.Entry) int64 { return e.Change.Clearing }),
		column(entries, func(e ledger.Entry) int64 { return e.Change.Fees }),
		column(entries, func(e ledger.Entry) int64 { return e.Change.Deposits }),
		column(entries, func(e ledger.Entry) int64 { return e.Change.Suspense }),
		column(entries, func(e ledger.Entry) int64 { return codec.Micros(e.At) }),
		column(entries, func(e ledger.Entry) []byte { return e.Hash[:] }),
		column(entries, func(e ledger.Entry) string { return e.Account }),
	)
	writeClearing(b, entries)
	writeMovements(b, entries)
}

// writeAccounts adds own accounts, of which there are few, or changes what is on
// them.
func writeAccounts(b *pgx.Batch, accounts []*store.Account) error {
	var changed []*store.Account
	for _, a := range accounts {
		if a.Revision > 0 {
			changed = append(changed, a)
			continue
		}
		row, err := codec.AccountRow(a, 1)
		if err != nil {
			return failed(err, "write an account of %s", a.Project)
		}
		b.Queue(insertAccount, row...)
	}
	if len(changed) == 0 {
		return nil
	}
	slices.SortFunc(changed, func(a, b *store.Account) int { return compareAccounts(a.Key(), b.Key()) })
	b.Queue(updateAccounts,
		column(changed, func(a *store.Account) string { return text(a.Project) }),
		column(changed, func(a *store.Account) string { return a.Number }),
		column(changed, func(a *store.Account) int64 { return a.Revision }),
		column(changed, func(a *store.Account) int64 { return a.Balance.Available }),
		column(changed, func(a *store.Account) int64 { return a.Balance.Held }),
		column(changed, func(a *store.Account) int64 { return a.Balance.Clearing }),
		column(changed, func(a *store.Account) int64 { return a.Balance.Fees }),
		column(changed, func(a *store.Account) int64 { return a.Balance.Deposits }),
		column(changed, func(a *store.Account) int64 { return a.Balance.Suspense }),
	)
	return nil
}

// writeMovements notes which entries are of statements.
func writeMovements(b *pgx.Batch, entries []ledger.Entry) {
	moved := codec.Moved(entries)
	if len(moved) == 0 {
		return
	}
	b.Queue(insertMovements,
		column(moved, func(e ledger.Entry) string { return text(e.Project) }),
		column(moved, func(e ledger.Entry) string { return e.Account }),
		column(moved, func(e ledger.Entry) int64 { return codec.Micros(e.At) }),
		column(moved, func(e ledger.Entry) int64 { return e.No }),
		column(moved, func(e ledger.Entry) int64 { return e.Change.Available + e.Change.Held }),
	)
}

// writeClearing keeps the balance of each rail, once per rail and batch.
func writeClearing(b *pgx.Batch, entries []ledger.Entry) {
	type account struct {
		project id.Project
		rail    string
	}
	sums := make(map[account]int64)
	for i := range entries {
		if e := &entries[i]; e.Change.Clearing != 0 {
			sums[account{e.Project, e.Rail}] += e.Change.Clearing
		}
	}
	if len(sums) == 0 {
		return
	}
	accounts := make([]account, 0, len(sums))
	for a := range sums {
		accounts = append(accounts, a)
	}
	slices.SortFunc(accounts, func(a, b account) int {
		return cmp.Or(cmp.Compare(a.project, b.project), cmp.Compare(a.rail, b.rail))
	})
	b.Queue(addClearing,
		column(accounts, func(a account) string { return text(a.project) }),
		column(accounts, func(a account) string { return a.rail }),
		column(accounts, func(a account) int64 { return sums[a] }),
	)
}

func writeAttempts(b *pgx.Batch, attempts []store.Attempt) {
	if len(attempts) == 0 {
		return
	}
	// An attempt may be opened and ended in one batch. Its rail and reference
	// belong to the key here: two that differ in them are two rows, which the
	// statement refuses.
	type key struct {
		store.SessionKey
		payout          id.Payout
		no              int
		rail, reference string
	}
	attempts = last(attempts, func(a store.Attempt) key {
		return key{store.SessionKey{Project: a.Project, Session: a.Session}, a.Payout, a.No, a.Rail, a.Reference}
	}, func(a, b key) int {
		return cmp.Or(compareSessions(a.SessionKey, b.SessionKey), cmp.Compare(a.payout, b.payout), cmp.Compare(a.no, b.no))
	})
	b.Queue(upsertAttempts,
		column(attempts, func(a store.Attempt) string { return text(a.Project) }),
		column(attempts, func(a store.Attempt) int64 { return int64(a.Session) }),
		column(attempts, func(a store.Attempt) int64 { return int64(a.Payout) }),
		column(attempts, func(a store.Attempt) int64 { return int64(a.No) }),
		column(attempts, func(a store.Attempt) string { return a.Rail }),
		column(attempts, func(a store.Attempt) string { return a.Reference }),
		column(attempts, func(a store.Attempt) string { return string(a.Outcome) }),
		column(attempts, func(a store.Attempt) int64 { return codec.Micros(a.SentAt) }),
		column(attempts, func(a store.Attempt) int64 { return codec.Micros(a.EndedAt) }),
	)
}

func writeCards(b *pgx.Batch, cards []vault.Sealed, done []store.CardKey) {
	if len(cards) > 0 {
		b.Queue(insertCards,
			column(cards, func(c vault.Sealed) string { return text(c.Project) }),
			column(cards, func(c vault.Sealed) int64 { return int64(c.ID) }),
			column(cards, func(c vault.Sealed) []byte { return codec.Blob(c.Ciphertext) }),
			column(cards, func(c vault.Sealed) []byte { return codec.Blob(c.Fingerprint) }),
			column(cards, func(c vault.Sealed) int64 { return codec.Micros(c.CreatedAt) }),
		)
	}
	if len(done) > 0 {
		done = slices.SortedFunc(slices.Values(done), func(a, b store.CardKey) int {
			return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Card, b.Card))
		})
		b.Queue(deleteCards,
			column(done, func(c store.CardKey) string { return text(c.Project) }),
			column(done, func(c store.CardKey) int64 { return int64(c.Card) }),
		)
	}
}

func (t *transaction) writeEvents(b *pgx.Batch, events []webhook.Event) {
	if len(events) == 0 {
		return
	}
	type key struct {
		store.SessionKey
		n  int
		id id.Event // as the rail and reference of an attempt
	}
	events = last(events, func(e webhook.Event) key {
		return key{store.SessionKey{Project: e.Project, Session: e.Session}, e.N, e.ID}
	}, func(a, b key) int { return cmp.Or(compareSessions(a.SessionKey, b.SessionKey), cmp.Compare(a.n, b.n)) })
	var added, known []webhook.Event
	for _, e := range events {
		if _, loaded := t.events[eventKey(&e)]; loaded {
			known = append(known, e)
		} else {
			added = append(added, e)
		}
	}
	if len(known) > 0 {
		b.Queue(updateEvents,
			column(known, func(e webhook.Event) string { return text(e.Project) }),
			column(known, func(e webhook.Event) int64 { return int64(e.Session) }),
			column(known, func(e webhook.Event) int64 { return int64(e.N) }),
			column(known, func(e webhook.Event) int64 { return int64(e.ID) }),
			column(known, func(e webhook.Event) string { return e.Signature }),
			column(known, func(e webhook.Event) string { return string(e.Status) }),
			column(known, func(e webhook.Event) int64 { return int64(e.Attempts) }),
			column(known, func(e webhook.Event) int64 { return codec.Micros(e.Due) }),
			column(known, func(e webhook.Event) string { return e.Owner }),
			column(known, func(e webhook.Event) int64 { return codec.Micros(e.Lease) }),
		)
	}
	if len(added) == 0 {
		return
	}
	events = added
	b.Queue(upsertEvents,
		column(events, func(e webhook.Event) string { return text(e.Project) }),
		column(events, func(e webhook.Event) int64 { return int64(e.Session) }),
		column(events, func(e webhook.Event) int64 { return int64(e.N) }),
		column(events, func(e webhook.Event) int64 { return int64(e.ID) }),
		column(events, func(e webhook.Event) int64 { return e.Seq }),
		column(events, func(e webhook.Event) string { return e.Type }),
		column(events, func(e webhook.Event) string { return string(e.Body) }),
		column(events, func(e webhook.Event) string { return e.Signature }),
		column(events, func(e webhook.Event) string { return string(e.Status) }),
		column(events, func(e webhook.Event) int64 { return int64(e.Attempts) }),
		column(events, func(e webhook.Event) int64 { return codec.Micros(e.CreatedAt) }),
		column(events, func(e webhook.Event) int64 { return codec.Micros(e.Due) }),
		column(events, func(e webhook.Event) string { return e.Owner }),
		column(events, func(e webhook.Event) int64 { return codec.Micros(e.Lease) }),
	)
}

func writeDeliveries(b *pgx.Batch, log []webhook.Attempt) {
	if len(log) == 0 {
		return
	}
	b.Queue(insertDeliveries,
		column(log, func(a webhook.Attempt) string { return text(a.Project) }),
		column(log, func(a webhook.Attempt) int64 { return int64(a.Session) }),
		column(log, func(a webhook.Attempt) int64 { return int64(a.N) }),
		column(log, func(a webhook.Attempt) int64 { return int64(a.No) }),
		column(log, func(a webhook.Attempt) int64 { return codec.Micros(a.At) }),
		column(log, func(a webhook.Attempt) int64 { return int64(a.Took) }),
		column(log, func(a webhook.Attempt) int64 { return int64(a.Status) }),
		column(log, func(a webhook.Attempt) string { return codec.Plain(a.Error) }),
	)
}

func writeTasks(b *pgx.Batch, done []store.TaskKey, tasks []store.Task) {
	if len(done) > 0 {
		done = distinct(done, compareTasks)
		b.Queue(deleteTasks, taskColumnsOf(done)...)
	}
	if len(tasks) == 0 {
		return
	}
	tasks = last(tasks, func(t store.Task) store.TaskKey { return t.TaskKey }, compareTasks)
	b.Queue(upsertTasks, append(taskColumnsOf(column(tasks, func(t store.Task) store.TaskKey { return t.TaskKey })),
		column(tasks, func(t store.Task) int64 { return codec.Micros(t.Due) }),
		column(tasks, func(t store.Task) int64 { return int64(t.Attempt) }),
		column(tasks, func(t store.Task) string { return t.Owner }),
		column(tasks, func(t store.Task) int64 { return codec.Micros(t.Lease) }),
	)...)
}

// taskColumnsOf are the four of a task's key.
func taskColumnsOf(keys []store.TaskKey) []any {
	return []any{
		column(keys, func(k store.TaskKey) string { return text(k.Project) }),
		column(keys, func(k store.TaskKey) int64 { return int64(k.Session) }),
		column(keys, func(k store.TaskKey) int64 { return int64(k.Payout) }),
		column(keys, func(k store.TaskKey) string { return string(k.Kind) }),
	}
}

func compareTasks(a, b store.TaskKey) int {
	return cmp.Or(compareSessions(a.SessionKey, b.SessionKey), cmp.Compare(a.Payout, b.Payout), cmp.Compare(a.Kind, b.Kind))
}

func writeAlarms(b *pgx.Batch, alarms []store.Alarm) {
	if len(alarms) == 0 {
		return
	}
	b.Queue(insertAlarms,
		column(alarms, func(a store.Alarm) string { return text(a.Project) }),
		column(alarms, func(a store.Alarm) int64 { return a.ID }),
		column(alarms, func(a store.Alarm) int64 { return int64(a.Session) }),
		column(alarms, func(a store.Alarm) int64 { return int64(a.Payout) }),
		column(alarms, func(a store.Alarm) string { return a.Kind }),
		column(alarms, func(a store.Alarm) string { return codec.Plain(a.Text) }),
		column(alarms, func(a store.Alarm) int64 { return codec.Micros(a.At) }),
	)
}

// last keeps the last of the rows that have the same key, since a statement
// can't write a row twice, and sorts the rest by key.
func last[T any, K comparable](rows []T, key func(T) K, compare func(a, b K) int) []T {
	at := make(map[K]int, len(rows))
	kept := make([]T, 0, len(rows))
	for _, row := range rows {
		if i, ok := at[key(row)]; ok {
			kept[i] = row
			continue
		}
		at[key(row)] = len(kept)
		kept = append(kept, row)
	}
	slices.SortFunc(kept, func(a, b T) int { return compare(key(a), key(b)) })
	return kept
}
