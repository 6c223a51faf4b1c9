package sqlite

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// The columns that the functions below read, in their order.
const (
	sessionColumns = `s.project, s.id, s.version, s.state, s.draft, s.events, s.fence, s.revision, s.created_at, s.updated_at,
		p.id, p.state, p.details, p.progress, p.created_at`
	bookColumns  = `b.project, b.available, b.held, b.clearing, b.fees, b.deposits, b.suspense, b.credit, b.entries, b.hash, b.events, b.revision`
	keyColumns   = `r.project, r.scope, r.key, r.print, r.answer, r.at`
	eventColumns = `e.project, e.session, e.n, e.id, e.seq, e.type, e.body, e.signature, e.status, e.attempts, e.created_at, e.due, e.owner, e.lease`
	entryColumns = `project, no, kind, session, payout, rail, reference, available, held, clearing, fees, deposits, suspense, at, hash`
	taskColumns  = `t.project, t.session, t.payout, t.kind, t.due, t.attempt, t.owner, t.lease`
	// payoutsOf joins the payouts to sessions; a session without any has one
	// row with NULLs.
	payoutsOf = `LEFT JOIN payouts p ON p.project = s.project AND p.session = s.id`
)

// all walks a result. An error ends it as the last pair; err is that of the
// query itself.
func all[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err != nil {
			yield(none, err)
			return
		}
		defer func() { _ = rows.Close() }()
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

// collect gathers a result in a slice.
func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var list []T
	for row, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, nil
}

// one returns the first row of a result; sql.ErrNoRows if it has none.
func one[T any](seq iter.Seq2[T, error]) (T, error) {
	for row, err := range seq {
		return row, err
	}
	var none T
	return none, sql.ErrNoRows
}

// sessions gathers rows of sessionColumns, the payouts of one session next to
// each other and in their order.
func sessions(rows *sql.Rows, err error) iter.Seq2[*session.Session, error] {
	return func(yield func(*session.Session, error) bool) {
		var last *session.Session
		for next, err := range all(rows, err, scanSession) {
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

// scanSession reads a session with at most one of its payouts.
func scanSession(rows *sql.Rows) (*session.Session, error) {
	var (
		s                       session.Session
		draft, said, progressed sql.RawBytes
		created, updated        int64
		payoutID, payoutCreated sql.NullInt64
		payoutState             sql.NullString
	)
	if err := rows.Scan(&s.Project, &s.ID, &s.Version, &s.State, &draft, &s.Events, &s.Fence, &s.Revision, &created, &updated,
		&payoutID, &payoutState, &said, &progressed, &payoutCreated); err != nil {
		return nil, err
	}
	s.CreatedAt, s.UpdatedAt = instant(created), instant(updated)
	var err error
	if s.Draft, err = decodeDetails(draft); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", s.ID, err)
	}
	if !payoutID.Valid {
		return &s, nil
	}
	p := session.Payout{ID: id.Payout(payoutID.Int64), State: session.State(payoutState.String), CreatedAt: instant(payoutCreated.Int64)}
	if p.Details, err = decodeDetails(said); err != nil {
		return nil, fmt.Errorf("details of %s: %w", p.ID, err)
	}
	if err := decodeProgress(progressed, &p); err != nil {
		return nil, fmt.Errorf("progress of %s: %w", p.ID, err)
	}
	s.Payouts = []session.Payout{p}
	return &s, nil
}

func scanBook(rows *sql.Rows) (*ledger.Book, error) {
	var (
		b    ledger.Book
		a    = &b.Balance
		hash sql.RawBytes
	)
	err := rows.Scan(&b.Project, &a.Available, &a.Held, &a.Clearing, &a.Fees, &a.Deposits, &a.Suspense,
		&b.Credit, &b.Entries, &hash, &b.Events, &b.Revision)
	copy(b.Hash[:], hash)
	return &b, err
}

func scanKey(rows *sql.Rows) (store.KeyRecord, error) {
	var (
		k     store.KeyRecord
		print sql.RawBytes
		at    int64
	)
	err := rows.Scan(&k.Project, &k.Scope, &k.Key, &print, &k.Answer, &at)
	copy(k.Print[:], print)
	k.At = instant(at)
	return k, err
}

func scanEvent(rows *sql.Rows) (webhook.Event, error) {
	var (
		e                   webhook.Event
		created, due, lease int64
	)
	err := rows.Scan(&e.Project, &e.Session, &e.N, &e.ID, &e.Seq, &e.Type, &e.Body, &e.Signature, &e.Status, &e.Attempts,
		&created, &due, &e.Owner, &lease)
	e.CreatedAt, e.Due, e.Lease = instant(created), instant(due), instant(lease)
	return e, err
}

func scanEntry(rows *sql.Rows) (ledger.Entry, error) {
	var (
		e    ledger.Entry
		c    = &e.Change
		at   int64
		hash sql.RawBytes
	)
	err := rows.Scan(&e.Project, &e.No, &e.Kind, &e.Session, &e.Payout, &e.Rail, &e.Reference,
		&c.Available, &c.Held, &c.Clearing, &c.Fees, &c.Deposits, &c.Suspense, &at, &hash)
	e.At = instant(at)
	copy(e.Hash[:], hash)
	return e, err
}

func scanTask(rows *sql.Rows) (store.Task, error) {
	var (
		t          store.Task
		due, lease int64
	)
	err := rows.Scan(&t.Project, &t.Session, &t.Payout, &t.Kind, &due, &t.Attempt, &t.Owner, &lease)
	t.Due, t.Lease = instant(due), instant(lease)
	return t, err
}

func scanAttempt(rows *sql.Rows) (store.Attempt, error) {
	var (
		a           store.Attempt
		sent, ended int64
	)
	err := rows.Scan(&a.Project, &a.Session, &a.Payout, &a.No, &a.Rail, &a.Reference, &a.Outcome, &sent, &ended)
	a.SentAt, a.EndedAt = instant(sent), instant(ended)
	return a, err
}

// list is an argument for json_each: many keys in one statement.
func list(keys any) (string, error) {
	b, err := json.Marshal(keys)
	return string(b), err
}
