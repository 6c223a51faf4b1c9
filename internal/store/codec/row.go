package codec

import (
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// The columns that the functions below read, in their order.
const (
	SessionColumns = `s.project, s.id, s.version, s.state, s.draft, s.events, s.fence, s.revision, s.created_at, s.updated_at`
	// A session without payouts has one row in which these are zero.
	PayoutColumns          = `coalesce(p.id, 0), coalesce(p.state, ''), coalesce(p.details, ''), coalesce(p.progress, ''), coalesce(p.created_at, 0)`
	BookColumns            = `b.project, b.available, b.held, b.clearing, b.fees, b.deposits, b.suspense, b.credit, b.entries, b.hash, b.events, b.revision`
	AccountColumns         = `a.project, a.number, a.available, a.held, a.clearing, a.fees, a.deposits, a.suspense, a.owner, a.created_at, a.revision`
	AccountMovementColumns = `project, account, at, no, minor`
	// HistoryColumns are entries of an own account, with the progress of their payouts.
	HistoryColumns = `e.project, e.no, e.kind, e.session, e.payout, e.rail, e.reference, e.available, e.held, e.clearing, e.fees,
		e.deposits, e.suspense, e.at, e.hash, e.account, coalesce(p.progress, '')`
	KeyColumns   = `r.project, r.scope, r.key, r.print, r.answer, r.at`
	EventColumns = `e.project, e.session, e.n, e.id, e.seq, e.type, e.body, ` + deliveryState
	// OutboxColumns leave the body out: who decides on a delivery needs none.
	OutboxColumns   = `e.project, e.session, e.n, e.id, e.seq, e.type, NULL, ` + deliveryState
	deliveryState   = `e.signature, e.status, e.attempts, e.created_at, e.due, e.owner, e.lease`
	AttemptColumns  = `project, session, payout, no, rail, reference, outcome, sent_at, ended_at`
	DeliveryColumns = `project, session, n, no, at, took, status, error`
	AlarmColumns    = `project, id, session, payout, kind, text, at`
	EntryColumns    = `project, no, kind, session, payout, rail, reference, available, held, clearing, fees, deposits, suspense, at, hash, account`
	TaskColumns     = `t.project, t.session, t.payout, t.kind, t.due, t.attempt, t.owner, t.lease`

	// SessionsWithPayouts is one statement, so that both are of one state. It
	// wants an order by session and p.no.
	SessionsWithPayouts = `SELECT ` + SessionColumns + `, ` + PayoutColumns + ` FROM sessions s ` + PayoutsOf
	PayoutsOf           = `LEFT JOIN payouts p ON p.project = s.project AND p.session = s.id`
)

// Row is one row of a result, of whichever driver.
type Row interface{ Scan(dest ...any) error }

// Collect gathers a result in a slice; nil if it is empty.
func Collect[T any](rows iter.Seq2[T, error]) ([]T, error) {
	var list []T
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, nil
}

// Sessions gathers rows of SessionsWithPayouts, the payouts of one session next
// to each other and in their order.
func Sessions(rows iter.Seq2[*session.Session, error]) iter.Seq2[*session.Session, error] {
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

// sessionRow receives SessionColumns.
type sessionRow struct {
	session.Session
	draft            []byte
	created, updated int64
}

func (r *sessionRow) fields() []any {
	return []any{&r.Project, &r.ID, &r.Version, &r.State, &r.draft, &r.Events, &r.Fence, &r.Revision, &r.created, &r.updated}
}

func (r *sessionRow) session() (_ *session.Session, err error) {
	r.CreatedAt, r.UpdatedAt = Instant(r.created), Instant(r.updated)
	if r.Draft, err = DecodeDetails(r.draft); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", r.ID, err)
	}
	return &r.Session, nil
}

// payoutRow receives PayoutColumns.
type payoutRow struct {
	session.Payout
	details, progress []byte
	created           int64
}

func (r *payoutRow) fields() []any {
	return []any{&r.ID, &r.State, &r.details, &r.progress, &r.created}
}

func (r *payoutRow) payout() (_ session.Payout, err error) {
	r.CreatedAt = Instant(r.created)
	if r.Details, err = DecodeDetails(r.details); err != nil {
		return r.Payout, fmt.Errorf("details of %s: %w", r.ID, err)
	}
	if err := DecodeProgress(r.progress, &r.Payout); err != nil {
		return r.Payout, fmt.Errorf("progress of %s: %w", r.ID, err)
	}
	return r.Payout, nil
}

func ScanSession(row Row) (*session.Session, error) {
	var r sessionRow
	if err := row.Scan(r.fields()...); err != nil {
		return nil, err
	}
	return r.session()
}

// ScanPayout reads the key of a session and one of its payouts.
func ScanPayout(row Row) (OwnedPayout, error) {
	var (
		of OwnedPayout
		r  payoutRow
	)
	err := row.Scan(append([]any{&of.Project, &of.Session}, r.fields()...)...)
	if err != nil {
		return of, err
	}
	of.Payout, err = r.payout()
	return of, err
}

// OwnedPayout is a payout with the key of its session.
type OwnedPayout struct {
	store.SessionKey
	Payout session.Payout
}

// ScanSessionWithPayout reads a session with at most one of its payouts.
func ScanSessionWithPayout(row Row) (*session.Session, error) {
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

func ScanBook(row Row) (*ledger.Book, error) {
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

func ScanKey(row Row) (store.KeyRecord, error) {
	var (
		k     store.KeyRecord
		print []byte
		at    int64
	)
	err := row.Scan(&k.Project, &k.Scope, &k.Key, &print, &k.Answer, &at)
	copy(k.Print[:], print)
	k.At = Instant(at)
	return k, err
}

func ScanEvent(row Row) (webhook.Event, error) {
	var (
		e                   webhook.Event
		created, due, lease int64
	)
	err := row.Scan(&e.Project, &e.Session, &e.N, &e.ID, &e.Seq, &e.Type, &e.Body, &e.Signature, &e.Status, &e.Attempts,
		&created, &due, &e.Owner, &lease)
	e.CreatedAt, e.Due, e.Lease = Instant(created), Instant(due), Instant(lease)
	return e, err
}

func ScanEntry(row Row) (ledger.Entry, error) { return scanEntry(row) }

// scanEntry reads an entry and what comes after it.
func scanEntry(row Row, more ...any) (ledger.Entry, error) {
	var (
		e    ledger.Entry
		c    = &e.Change
		at   int64
		hash []byte
	)
	err := row.Scan(append([]any{
		&e.Project, &e.No, &e.Kind, &e.Session, &e.Payout, &e.Rail, &e.Reference,
		&c.Available, &c.Held, &c.Clearing, &c.Fees, &c.Deposits, &c.Suspense, &at, &hash, &e.Account,
	}, more...)...)
	e.At = Instant(at)
	copy(e.Hash[:], hash)
	return e, err
}

// ScanAccountMovement reads a movement of a statement.
func ScanAccountMovement(row Row) (store.AccountMovement, error) {
	var (
		m        store.AccountMovement
		progress []byte
		err      error
	)
	if m.Entry, err = scanEntry(row, &progress); err != nil || len(progress) == 0 {
		return m, err
	}
	var p session.Payout
	err = DecodeProgress(progress, &p)
	m.Transfer = p.Transfer
	return m, err
}

// ScanAccount reads an own account.
func ScanAccount(row Row) (store.Account, error) {
	var (
		a       store.Account
		b       = &a.Balance
		owner   []byte
		created int64
	)
	err := row.Scan(&a.Project, &a.Number, &b.Available, &b.Held, &b.Clearing, &b.Fees, &b.Deposits, &b.Suspense, &owner, &created, &a.Revision)
	if err != nil {
		return a, err
	}
	a.CreatedAt = Instant(created)
	if err := json.Unmarshal(owner, &a.Owner); err != nil {
		return a, fmt.Errorf("owner of account %s: %w", a.Number, err)
	}
	return a, nil
}

func ScanTask(row Row) (store.Task, error) {
	var (
		t          store.Task
		due, lease int64
	)
	err := row.Scan(&t.Project, &t.Session, &t.Payout, &t.Kind, &due, &t.Attempt, &t.Owner, &lease)
	t.Due, t.Lease = Instant(due), Instant(lease)
	return t, err
}

// ScanClaim reads a task and the fence that it was claimed with.
func ScanClaim(row Row) (store.Task, error) {
	var (
		t          store.Task
		due, lease int64
	)
	err := row.Scan(&t.Project, &t.Session, &t.Payout, &t.Kind, &due, &t.Attempt, &t.Owner, &lease, &t.Fence)
	t.Due, t.Lease = Instant(due), Instant(lease)
	return t, err
}

func ScanAttempt(row Row) (store.Attempt, error) {
	var (
		a           store.Attempt
		sent, ended int64
	)
	err := row.Scan(&a.Project, &a.Session, &a.Payout, &a.No, &a.Rail, &a.Reference, &a.Outcome, &sent, &ended)
	a.SentAt, a.EndedAt = Instant(sent), Instant(ended)
	return a, err
}

func ScanDelivery(row Row) (webhook.Attempt, error) {
	var (
		a        webhook.Attempt
		at, took int64
	)
	err := row.Scan(&a.Project, &a.Session, &a.N, &a.No, &at, &took, &a.Status, &a.Error)
	a.At, a.Took = Instant(at), time.Duration(took)
	return a, err
}

func ScanAlarm(row Row) (store.Alarm, error) {
	var (
		a  store.Alarm
		at int64
	)
	err := row.Scan(&a.Project, &a.ID, &a.Session, &a.Payout, &a.Kind, &a.Text, &at)
	a.At = Instant(at)
	return a, err
}
