package postgres

import (
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// The columns that the functions below read, in their order.
const (
	sessionColumns = `s.project, s.id, s.version, s.state, s.draft, s.events, s.fence, s.revision, s.created_at, s.updated_at`
	// A session without payouts has one row in which these are zero.
	payoutColumns = `coalesce(p.id, 0), coalesce(p.state, ''), coalesce(p.details, ''), coalesce(p.progress, ''), coalesce(p.created_at, 0)`
	bookColumns   = `b.project, b.available, b.held, b.clearing, b.fees, b.deposits, b.suspense, b.credit, b.entries, b.hash, b.events, b.revision`
	keyColumns    = `r.project, r.scope, r.key, r.print, r.answer, r.at`
	eventColumns  = `e.project, e.session, e.n, e.id, e.seq, e.type, e.body, e.signature, e.status, e.attempts, e.created_at, e.due, e.owner, e.lease`
	entryColumns  = `project, no, kind, session, payout, rail, reference, available, held, clearing, fees, deposits, suspense, at, hash`
	taskColumns   = `t.project, t.session, t.payout, t.kind, t.due, t.attempt, t.owner, t.lease`

	// sessionsWithPayouts is one statement, so that both are of one state.
	sessionsWithPayouts = `SELECT ` + sessionColumns + `, ` + payoutColumns + `
		FROM sessions s LEFT JOIN payouts p ON p.project = s.project AND p.session = s.id`
)

// all walks a result. An error ends it as the last pair; err is that of the
// query itself.
func all[T any](rows pgx.Rows, err error, scan pgx.RowToFunc[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err != nil {
			yield(none, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			row, err := scan(rows)
			if !yield(row, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, err)
		}
	}
}

// one returns the first row of a result; pgx.ErrNoRows if it has none.
func one[T any](seq iter.Seq2[T, error]) (T, error) {
	for row, err := range seq {
		return row, err
	}
	var none T
	return none, pgx.ErrNoRows
}

// sessions gathers rows of sessionsWithPayouts, the payouts of one session next
// to each other and in their order.
func sessions(rows iter.Seq2[*session.Session, error]) iter.Seq2[*session.Session, error] {
	return func(yield func(*session.Session, error) bool) {
		var last *session.Session
		for next, err := range rows {
			switch {
			case err != nil:
				yield(nil, err)
				return
			case last != nil && last.Project == next.Project && last.ID == next.ID:
				last.Payouts = append(last.Payouts, next.Payouts...)
				continue
			case last != nil && !yield(last, nil):
				return
			}
			last = next
		}
		if last != nil {
			yield(last, nil)
		}
	}
}

// sessionRow receives sessionColumns.
type sessionRow struct {
	session.Session
	draft            []byte
	created, updated int64
}

func (r *sessionRow) fields() []any {
	return []any{&r.Project, &r.ID, &r.Version, &r.State, &r.draft, &r.Events, &r.Fence, &r.Revision, &r.created, &r.updated}
}

func (r *sessionRow) session() (_ *session.Session, err error) {
	r.CreatedAt, r.UpdatedAt = instant(r.created), instant(r.updated)
	if r.Draft, err = decodeDetails(r.draft); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", r.ID, err)
	}
	return &r.Session, nil
}

// payoutRow receives payoutColumns.
type payoutRow struct {
	session.Payout
	details, progress []byte
	created           int64
}

func (r *payoutRow) fields() []any {
	return []any{&r.ID, &r.State, &r.details, &r.progress, &r.created}
}

func (r *payoutRow) payout() (_ session.Payout, err error) {
	r.CreatedAt = instant(r.created)
	if r.Details, err = decodeDetails(r.details); err != nil {
		return r.Payout, fmt.Errorf("details of %s: %w", r.ID, err)
	}
	if err := decodeProgress(r.progress, &r.Payout); err != nil {
		return r.Payout, fmt.Errorf("progress of %s: %w", r.ID, err)
	}
	return r.Payout, nil
}

func scanSession(row pgx.CollectableRow) (*session.Session, error) {
	var r sessionRow
	if err := row.Scan(r.fields()...); err != nil {
		return nil, err
	}
	return r.session()
}

// scanPayout reads the key of a session and one of its payouts.
func scanPayout(row pgx.CollectableRow) (owned[session.Payout], error) {
	var (
		of owned[session.Payout]
		r  payoutRow
	)
	err := row.Scan(append([]any{&of.Project, &of.Session}, r.fields()...)...)
	if err != nil {
		return of, err
	}
	of.row, err = r.payout()
	return of, err
}

// owned is a row of a session.
type owned[T any] struct {
	store.SessionKey
	row T
}

// scanSessionWithPayout reads a session with at most one of its payouts.
func scanSessionWithPayout(row pgx.CollectableRow) (*session.Session, error) {
	var (
		r sessionRow
		p payoutRow
	)
	if err := row.Scan(append(r.fields(), p.fields()...)...); err != nil {
		return nil, err
	}
	s, err := r.session()
	if err != nil || p.ID == 0 {
		return s, err
	}
	payout, err := p.payout()
	s.Payouts = []session.Payout{payout}
	return s, err
}

func scanBook(row pgx.CollectableRow) (*ledger.Book, error) {
	var (
		b    ledger.Book
		a    = &b.Balance
		hash []byte
	)
	err := row.Scan(&b.Project, &a.Available, &a.Held, &a.Clearing, &a.Fees, &a.Deposits, &a.Suspense,
		&b.Credit, &b.Entries, &hash, &b.Events, &b.Revision)
	copy(b.Hash[:], hash)
	return &b, err
}

func scanKey(row pgx.CollectableRow) (store.KeyRecord, error) {
	var (
		k     store.KeyRecord
		print []byte
		at    int64
	)
	err := row.Scan(&k.Project, &k.Scope, &k.Key, &print, &k.Answer, &at)
	copy(k.Print[:], print)
	k.At = instant(at)
	return k, err
}

func scanEvent(row pgx.CollectableRow) (webhook.Event, error) {
	var (
		e                   webhook.Event
		created, due, lease int64
	)
	err := row.Scan(&e.Project, &e.Session, &e.N, &e.ID, &e.Seq, &e.Type, &e.Body, &e.Signature, &e.Status, &e.Attempts,
		&created, &due, &e.Owner, &lease)
	e.CreatedAt, e.Due, e.Lease = instant(created), instant(due), instant(lease)
	return e, err
}

func scanEntry(row pgx.CollectableRow) (ledger.Entry, error) {
	var (
		e    ledger.Entry
		c    = &e.Change
		at   int64
		hash []byte
	)
	err := row.Scan(&e.Project, &e.No, &e.Kind, &e.Session, &e.Payout, &e.Rail, &e.Reference,
		&c.Available, &c.Held, &c.Clearing, &c.Fees, &c.Deposits, &c.Suspense, &at, &hash)
	e.At = instant(at)
	copy(e.Hash[:], hash)
	return e, err
}

func scanTask(row pgx.CollectableRow) (store.Task, error) {
	var (
		t          store.Task
		due, lease int64
	)
	err := row.Scan(&t.Project, &t.Session, &t.Payout, &t.Kind, &due, &t.Attempt, &t.Owner, &lease)
	t.Due, t.Lease = instant(due), instant(lease)
	return t, err
}

// scanClaim reads a task and the fence that it was claimed with.
func scanClaim(row pgx.CollectableRow) (store.Task, error) {
	var (
		t          store.Task
		due, lease int64
	)
	err := row.Scan(&t.Project, &t.Session, &t.Payout, &t.Kind, &due, &t.Attempt, &t.Owner, &lease, &t.Fence)
	t.Due, t.Lease = instant(due), instant(lease)
	return t, err
}

func scanAttempt(row pgx.CollectableRow) (store.Attempt, error) {
	var (
		a           store.Attempt
		sent, ended int64
	)
	err := row.Scan(&a.Project, &a.Session, &a.Payout, &a.No, &a.Rail, &a.Reference, &a.Outcome, &sent, &ended)
	a.SentAt, a.EndedAt = instant(sent), instant(ended)
	return a, err
}

func scanDelivery(row pgx.CollectableRow) (webhook.Attempt, error) {
	var (
		a        webhook.Attempt
		at, took int64
	)
	err := row.Scan(&a.Project, &a.Session, &a.N, &a.No, &at, &took, &a.Status, &a.Error)
	a.At, a.Took = instant(at), time.Duration(took)
	return a, err
}

func scanAlarm(row pgx.CollectableRow) (store.Alarm, error) {
	var (
		a  store.Alarm
		at int64
	)
	err := row.Scan(&a.Project, &a.ID, &a.Session, &a.Payout, &a.Kind, &a.Text, &at)
	a.At = instant(at)
	return a, err
}

// keyOf names the session of a row.
func keyOf(s *session.Session) store.SessionKey {
	return store.SessionKey{Project: s.Project, Session: s.ID}
}

// text is a project as the driver sends it fastest.
func text(p id.Project) string { return string(p) }
