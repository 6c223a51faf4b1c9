package codec

import (
	"encoding/json"
	"fmt"

	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// The rows below have their values in the order of the columns above, such as
// EntryRow and EntryColumns.

// PayoutRowColumns are those of a payout alone; it is read with its session.
const PayoutRowColumns = `project, session, no, id, state, details, progress, created_at`

// KeyRow is an idempotency key.
func KeyRow(k store.KeyRecord) []any {
	return []any{string(k.Project), k.Scope, k.Key, k.Print[:], string(k.Answer), Micros(k.At)}
}

// SessionRow is a session without its payouts, as it stands after revision.
func SessionRow(s *session.Session, revision int64) ([]any, error) {
	draft, err := EncodeDetails(s.Draft)
	if err != nil {
		return nil, fmt.Errorf("draft of %s: %w", s.ID, err)
	}
	return []any{
		string(s.Project), int64(s.ID), int64(s.Version), string(s.State), draft, int64(s.Events), s.Fence, revision,
		Micros(s.CreatedAt), Micros(s.UpdatedAt),
	}, nil
}

// PayoutRow is the payout at an index of s.
func PayoutRow(s *session.Session, index int) ([]any, error) {
	p := &s.Payouts[index]
	details, err := EncodeDetails(p.Details)
	if err != nil {
		return nil, fmt.Errorf("details of %s: %w", p.ID, err)
	}
	progress, err := EncodeProgress(p)
	if err != nil {
		return nil, fmt.Errorf("progress of %s: %w", p.ID, err)
	}
	return []any{
		string(s.Project), int64(s.ID), int64(index + 1), int64(p.ID), string(p.State), details, progress, Micros(p.CreatedAt),
	}, nil
}

// EntryRow is an entry of a book.
func EntryRow(e ledger.Entry) []any {
	c := &e.Change
	return []any{
		string(e.Project), e.No, string(e.Kind), int64(e.Session), int64(e.Payout), e.Rail, e.Reference,
		c.Available, c.Held, c.Clearing, c.Fees, c.Deposits, c.Suspense, Micros(e.At), e.Hash[:], e.Account,
	}
}

// AccountRow is an own account as it stands after revision.
func AccountRow(a *store.Account, revision int64) ([]any, error) {
	owner, err := json.Marshal(&a.Owner)
	if err != nil {
		return nil, fmt.Errorf("owner of account %s: %w", a.Number, err)
	}
	b := &a.Balance
	return []any{
		string(a.Project), a.Number, b.Available, b.Held, b.Clearing, b.Fees, b.Deposits, b.Suspense, string(owner), Micros(a.CreatedAt), revision,
	}, nil
}

// Moved are the entries that stand in movements, because they change what is
// booked on an own account.
func Moved(entries []ledger.Entry) []ledger.Entry {
	var moved []ledger.Entry
	for i := range entries {
		if e := &entries[i]; e.Account != "" && e.Change.Available+e.Change.Held != 0 {
			moved = append(moved, *e)
		}
	}
	return moved
}

// AccountMovementRow is an entry as it stands in movements.
func AccountMovementRow(e ledger.Entry) []any {
	return []any{string(e.Project), e.Account, Micros(e.At), e.No, e.Change.Available + e.Change.Held}
}

// AttemptRow is an attempt.
func AttemptRow(a store.Attempt) []any {
	return []any{
		string(a.Project), int64(a.Session), int64(a.Payout), int64(a.No), a.Rail, a.Reference, string(a.Outcome),
		Micros(a.SentAt), Micros(a.EndedAt),
	}
}

// CardRow is a sealed card number.
func CardRow(c vault.Sealed) []any {
	return []any{string(c.Project), int64(c.ID), Blob(c.Ciphertext), Blob(c.Fingerprint), Micros(c.CreatedAt)}
}

// EventRow is a webhook event.
func EventRow(e webhook.Event) []any {
	return []any{
		string(e.Project), int64(e.Session), int64(e.N), int64(e.ID), e.Seq, e.Type, string(e.Body), e.Signature,
		string(e.Status), int64(e.Attempts), Micros(e.CreatedAt), Micros(e.Due), e.Owner, Micros(e.Lease),
	}
}

// DeliveryRow is an attempt to deliver an event. What the other side said may
// be anything.
func DeliveryRow(a webhook.Attempt) []any {
	return []any{
		string(a.Project), int64(a.Session), int64(a.N), int64(a.No), Micros(a.At), int64(a.Took), int64(a.Status), Plain(a.Error),
	}
}

// TaskRow is a task.
func TaskRow(t store.Task) []any {
	return []any{
		string(t.Project), int64(t.Session), int64(t.Payout), string(t.Kind), Micros(t.Due), int64(t.Attempt), t.Owner, Micros(t.Lease),
	}
}

// AlarmRow is an alarm, whose text may quote somebody else's.
func AlarmRow(a store.Alarm) []any {
	return []any{string(a.Project), a.ID, int64(a.Session), int64(a.Payout), a.Kind, Plain(a.Text), Micros(a.At)}
}
