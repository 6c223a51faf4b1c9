package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	var (
		batch   id.Batch
		refused error
	)
	err := s.writer.transact(ctx, func() (bool, error) {
		rows, err := s.writer.load(reads)
		if err != nil {
			return false, err
		}
		changes, err := decide(rows)
		if err != nil || changes == nil || changes.Empty() {
			refused = err
			return false, nil
		}
		batch = changes.Batch
		return true, s.writer.write(changes)
	})
	if refused != nil {
		return refused
	}
	if lost, ok := errors.AsType[errCommit](err); ok {
		return s.settle(batch, lost)
	}
	if err != nil {
		return failed(err, "commit")
	}
	return nil
}

// settle finds out what a COMMIT did that gave an error.
func (s *Store) settle(batch id.Batch, cause error) error {
	written, err := s.Committed(context.Background(), batch)
	switch {
	case err != nil:
		s.log.Error("outcome of a commit unknown", "batch", batch, "error", cause, "lookup_error", err)
		return fmt.Errorf("batch %d: %w: %w", batch, store.ErrUnknown, cause)
	case written:
		s.log.Warn("commit written in spite of an error", "batch", batch, "error", cause)
		return nil
	}
	return failed(cause, "commit")
}

// Committed implements store.Store.
func (s *Store) Committed(ctx context.Context, batch id.Batch) (bool, error) {
	var written bool
	err := s.readers.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM batches WHERE id = ?)`, batch).Scan(&written)
	if err != nil {
		return false, s.failed(err, "look up batch %d", batch)
	}
	return written, nil
}

// LastBatch implements store.Store.
func (s *Store) LastBatch(ctx context.Context) (last id.Batch, err error) {
	if err := s.readers.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM batches`).Scan(&last); err != nil {
		return 0, s.failed(err, "look up the last batch")
	}
	return last, nil
}

// keepBatches is store.BatchesKept in the unit of a batch's number: package id
// puts the milliseconds above 22 bits.
const keepBatches = int64(store.BatchesKept/time.Millisecond) << 22

// Each batch makes room for itself: two old ones go, so that the table shrinks
// after a pause and no commit pays for many.
const (
	insertBatch   = `INSERT INTO batches (id) VALUES (?)`
	deleteBatches = `DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE id < ? ORDER BY id LIMIT 2)`
)

// write writes the changes. Tasks that are done go before new ones come, so
// that a payout may end a task and begin the same kind anew.
func (w *writer) write(c *store.Changes) error {
	if _, err := w.exec(insertBatch, c.Batch); err != nil {
		return failed(err, "write batch %d", c.Batch)
	}
	if _, err := w.exec(deleteBatches, int64(c.Batch)-keepBatches); err != nil {
		return failed(err, "forget old batches")
	}
	return firstOf(
		each(c.Keys, w.writeKey),
		each(c.Sessions, w.writeSession),
		each(c.Books, w.writeBook),
		each(c.Accounts, w.writeAccount),
		each(c.Entries, w.writeEntry),
		each(codec.Moved(c.Entries), w.writeMovement),
		func() error { return w.writeClearing(c.Entries) },
		each(c.Attempts, w.writeAttempt),
		each(c.Cards, w.writeCard),
		each(c.CardsDone, w.deleteCard),
		each(c.Events, w.writeEvent),
		each(c.Deliveries, w.writeDelivery),
		each(c.TasksDone, w.deleteTask),
		each(c.Tasks, w.writeTask),
		each(c.Alarms, w.writeAlarm),
		each(c.Items, w.writeItem),
		each(c.Public, w.writePublic),
		each(c.NPD, w.writeNPD),
		each(c.Acts, w.writeAct),
		each(c.Statements, w.writeStatement),
		each(c.Lines, w.writeLine),
		each(c.Differences, w.writeDifference),
		each(c.Incomes, w.writeIncome),
		each(c.Reservations, w.writeReservation),
	)
}

// each writes a list row by row and stops at the first error.
func each[T any](list []T, write func(T) error) func() error {
	return func() error {
		for _, row := range list {
			if err := write(row); err != nil {
				return err
			}
		}
		return nil
	}
}

func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// guarded is exec for a statement that must change one row: it changes none
// where somebody else came first or the row is not the one that was meant.
func (w *writer) guarded(query string, args ...any) error {
	changed, err := w.exec(query, args...)
	if err == nil && changed != 1 {
		return fault.New(fault.Internal, "guard: %d rows changed in place of 1", changed)
	}
	return err
}

const insertKey = `INSERT INTO keys (project, scope, key, print, answer, at) VALUES (?, ?, ?, ?, ?, ?)`

func (w *writer) writeKey(k store.KeyRecord) error {
	if _, err := w.exec(insertKey, codec.KeyRow(k)...); err != nil {
		return failed(err, "write key %q of %s", k.Key, k.Project)
	}
	return nil
}

const (
	insertSession = `INSERT INTO sessions (project, id, version, state, draft, events, fence, revision, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`
	updateSession = `UPDATE sessions SET state = ?, draft = ?, events = ?, fence = ?, revision = revision + 1, updated_at = ?
		WHERE project = ? AND id = ? AND revision = ?`
)

func (w *writer) writeSession(s *session.Session) error {
	draft, err := codec.EncodeDetails(s.Draft)
	if err != nil {
		return failed(err, "write the draft of %s", s.ID)
	}
	if s.Revision == 0 {
		_, err = w.exec(insertSession, s.Project, s.ID, s.Version, s.State, draft, s.Events, s.Fence, codec.Micros(s.CreatedAt), codec.Micros(s.UpdatedAt))
	} else {
		err = w.guarded(updateSession, s.State, draft, s.Events, s.Fence, codec.Micros(s.UpdatedAt), s.Project, s.ID, s.Revision)
	}
	if err != nil {
		return failed(err, "write %s at revision %d", s.ID, s.Revision)
	}
	for i := range s.Payouts {
		if err := w.writePayout(s, i); err != nil {
			return failed(err, "write %s of %s", s.Payouts[i].ID, s.ID)
		}
	}
	return nil
}

const (
	insertPayout = `INSERT INTO payouts (project, session, no, id, state, details, progress, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	updatePayout = `UPDATE payouts SET state = ?, progress = ? WHERE project = ? AND session = ? AND no = ? AND id = ?`
)

// writePayout changes the payout at an index of s, or adds it where it is new.
func (w *writer) writePayout(s *session.Session, index int) error {
	p, no := &s.Payouts[index], index+1
	progress, err := codec.EncodeProgress(p)
	if err != nil {
		return err
	}
	if s.Revision > 0 {
		changed, err := w.exec(updatePayout, p.State, progress, s.Project, s.ID, no, p.ID)
		if err != nil || changed == 1 {
			return err
		}
	}
	details, err := codec.EncodeDetails(p.Details)
	if err != nil {
		return err
	}
	_, err = w.exec(insertPayout, s.Project, s.ID, no, p.ID, p.State, details, progress, codec.Micros(p.CreatedAt))
	return err
}

const updateBook = `UPDATE books SET available = ?, held = ?, clearing = ?, fees = ?, deposits = ?, suspense = ?,
	entries = ?, hash = ?, events = ?, revision = revision + 1 WHERE project = ? AND revision = ?`

func (w *writer) writeBook(b *ledger.Book) error {
	a := &b.Balance
	if err := w.guarded(updateBook, a.Available, a.Held, a.Clearing, a.Fees, a.Deposits, a.Suspense,
		b.Entries, b.Hash[:], b.Events, b.Project, b.Revision); err != nil {
		return failed(err, "write the book of %s at revision %d", b.Project, b.Revision)
	}
	return nil
}

const (
	insertAccount = `INSERT INTO accounts (project, number, available, held, clearing, fees, deposits, suspense, owner, created_at, revision)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateAccount = `UPDATE accounts SET available = ?, held = ?, clearing = ?, fees = ?, deposits = ?, suspense = ?, revision = revision + 1
		WHERE project = ? AND number = ? AND revision = ?`
	insertMovement = `INSERT INTO movements (` + codec.AccountMovementColumns + `) VALUES (?, ?, ?, ?, ?)`
)

// writeAccount adds an own account, or changes what is on it.
func (w *writer) writeAccount(a *store.Account) error {
	b := &a.Balance
	var err error
	if a.Revision > 0 {
		err = w.guarded(updateAccount, b.Available, b.Held, b.Clearing, b.Fees, b.Deposits, b.Suspense, a.Project, a.Number, a.Revision)
	} else {
		var row []any
		if row, err = codec.AccountRow(a, 1); err == nil {
			_, err = w.exec(insertAccount, row...)
		}
	}
	if err != nil {
		return failed(err, "write the account %s of %s at revision %d", a.Number, a.Project, a.Revision)
	}
	return nil
}

func (w *writer) writeMovement(e ledger.Entry) error {
	if _, err := w.exec(insertMovement, codec.AccountMovementRow(e)...); err != nil {
		return failed(err, "write the movement of entry %d of %s", e.No, e.Project)
	}
	return nil
}

const insertEntry = `INSERT INTO entries (` + codec.EntryColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

func (w *writer) writeEntry(e ledger.Entry) error {
	if _, err := w.exec(insertEntry, codec.EntryRow(e)...); err != nil {
		return failed(err, "write entry %d of %s", e.No, e.Project)
	}
	return nil
}

const addClearing = `INSERT INTO clearing (project, rail, minor) VALUES (?, ?, ?)
	ON CONFLICT (project, rail) DO UPDATE SET minor = minor + excluded.minor`

// writeClearing keeps the balance of each rail, once per rail and batch.
func (w *writer) writeClearing(entries []ledger.Entry) error {
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
	for a, minor := range sums {
		if _, err := w.exec(addClearing, a.project, a.rail, minor); err != nil {
			return failed(err, "write the clearing of %s with %s", a.project, a.rail)
		}
	}
	return nil
}

const upsertAttempt = `INSERT INTO attempts (project, session, payout, no, rail, reference, outcome, sent_at, ended_at)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (project, session, payout, no) DO UPDATE SET outcome = excluded.outcome, sent_at = excluded.sent_at, ended_at = excluded.ended_at
	WHERE rail = excluded.rail AND reference = excluded.reference`

func (w *writer) writeAttempt(a store.Attempt) error {
	if err := w.guarded(upsertAttempt, codec.AttemptRow(a)...); err != nil {
		return failed(err, "write attempt %d of %s", a.No, a.Payout)
	}
	return nil
}

const (
	insertCard = `INSERT INTO cards (project, id, ciphertext, fingerprint, created_at) VALUES (?, ?, ?, ?, ?)`
	deleteCard = `DELETE FROM cards WHERE project = ? AND id = ?`
)

func (w *writer) writeCard(c vault.Sealed) error {
	if _, err := w.exec(insertCard, codec.CardRow(c)...); err != nil {
		return failed(err, "write a sealed card of %s", c.Project)
	}
	return nil
}

func (w *writer) deleteCard(c store.CardKey) error {
	if _, err := w.exec(deleteCard, c.Project, c.Card); err != nil {
		return failed(err, "remove a sealed card of %s", c.Project)
	}
	return nil
}

const upsertEvent = `INSERT INTO events (project, session, n, id, seq, type, body, signature, status, attempts, created_at, due, owner, lease)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (project, session, n) DO UPDATE SET signature = excluded.signature, status = excluded.status,
		attempts = excluded.attempts, due = excluded.due, owner = excluded.owner, lease = excluded.lease
	WHERE id = excluded.id`

// writeEvent adds an event, or changes how its delivery stands: what was
// promised never changes.
func (w *writer) writeEvent(e webhook.Event) error {
	if err := w.guarded(upsertEvent, codec.EventRow(e)...); err != nil {
		return failed(err, "write event %d of %s", e.N, e.Session)
	}
	return nil
}

const insertDelivery = `INSERT INTO deliveries (project, session, n, no, at, took, status, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

func (w *writer) writeDelivery(a webhook.Attempt) error {
	if _, err := w.exec(insertDelivery, codec.DeliveryRow(a)...); err != nil {
		return failed(err, "write delivery %d of event %d of %s", a.No, a.N, a.Session)
	}
	return nil
}

const (
	upsertTask = `INSERT INTO tasks (project, session, payout, kind, due, attempt, owner, lease) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, session, payout, kind) DO UPDATE SET due = excluded.due, attempt = excluded.attempt,
			owner = excluded.owner, lease = excluded.lease`
	deleteTask = `DELETE FROM tasks WHERE project = ? AND session = ? AND payout = ? AND kind = ?`
)

func (w *writer) writeTask(t store.Task) error {
	if _, err := w.exec(upsertTask, codec.TaskRow(t)...); err != nil {
		return failed(err, "write task %s of %s", t.Kind, t.Payout)
	}
	return nil
}

func (w *writer) deleteTask(t store.TaskKey) error {
	if _, err := w.exec(deleteTask, t.Project, t.Session, t.Payout, t.Kind); err != nil {
		return failed(err, "remove task %s of %s", t.Kind, t.Payout)
	}
	return nil
}

const insertAlarm = `INSERT INTO alarms (project, id, session, payout, kind, text, at) VALUES (?, ?, ?, ?, ?, ?, ?)`

func (w *writer) writeAlarm(a store.Alarm) error {
	if _, err := w.exec(insertAlarm, codec.AlarmRow(a)...); err != nil {
		return failed(err, "write alarm %d", a.ID)
	}
	return nil
}
