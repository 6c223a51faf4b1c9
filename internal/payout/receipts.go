package payout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// CancelReceipt has the receipts of a session's payouts cancelled, or not made.
// The money stays where it is.
func (e *Engine) CancelReceipt(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	key := c.key(r.Session)
	return e.serve(ctx, &request{Call: c, session: key, run: func(t *tx) (*session.Session, error) {
		if err := t.taxed(c.Project); err != nil {
			return nil, err
		}
		s, err := t.session(key)
		if err != nil {
			return nil, err
		}
		undone := false
		for i := range s.Payouts {
			p := &s.Payouts[i]
			if p.Receipt == nil || !p.State.Final() {
				continue
			}
			before := p.Receipt.State
			if err := t.undo(s, p, tax.ReasonMistake); err != nil {
				return nil, err
			}
			undone = undone || p.Receipt.State != before
		}
		if !undone {
			return nil, fault.New(fault.WrongState, "session %s has no receipt that can be cancelled", s.ID)
		}
		t.put(s)
		return s, nil
	}})
}

// OpenReceipt is a receipt for which there is something left to do.
type OpenReceipt struct {
	Project  id.Project           `json:"project"`
	Session  id.Session           `json:"session"`
	Payout   id.Payout            `json:"payout"`
	State    session.ReceiptState `json:"state"`
	INN      string               `json:"tax_reference"`
	Amount   money.Amount         `json:"amount"`
	EarnedAt time.Time            `json:"earned_at,omitzero"`
	// Deadline is until when it must be registered; zero where nothing is owed.
	Deadline time.Time   `json:"deadline,omitzero"`
	Denied   tax.Refusal `json:"denied,omitempty"`
	Attempt  int         `json:"attempt"` // tries of what it waits for
	Next     time.Time   `json:"next"`    // when it is tried again
}

// OpenReceipts lists the receipts for which there is something left to do, the
// most urgent first; of one project, or in one state, where they are named. It
// reads their tasks, so it costs nothing that grows with what is stored.
func (e *Engine) OpenReceipts(ctx context.Context, project id.Project, state session.ReceiptState) ([]OpenReceipt, error) {
	tasks, err := e.receiptTasks(ctx, project)
	if err != nil {
		return nil, err
	}
	open := []OpenReceipt{}
	for _, task := range tasks {
		s, err := e.store.Session(ctx, task.SessionKey)
		if err != nil {
			return nil, err
		}
		for i := range s.Payouts {
			p := &s.Payouts[i]
			if r := p.Receipt; p.ID == task.Payout && r != nil && r.State.Open() && (state == "" || r.State == state) {
				found := OpenReceipt{
					Project: s.Project, Session: s.ID, Payout: p.ID, State: r.State, INN: p.Details.Fiscal.INN,
					Amount: money.Amount{Minor: p.Details.Fiscal.Minor(), Currency: money.RUB}, EarnedAt: r.EarnedAt,
					Denied: r.Denied, Attempt: task.Attempt, Next: task.Due,
				}
				if r.State.Owed() {
					found.Deadline = r.Deadline()
				}
				open = append(open, found)
			}
		}
	}
	slices.SortStableFunc(open, func(a, b OpenReceipt) int {
		if a.Deadline.IsZero() != b.Deadline.IsZero() {
			return cmp.Compare(b.Deadline.Unix(), a.Deadline.Unix())
		}
		return cmp.Or(a.Deadline.Compare(b.Deadline), cmp.Compare(a.Payout, b.Payout))
	})
	return open, nil
}

// receiptTasks reads the tasks of receipts, of all projects or of one.
func (e *Engine) receiptTasks(ctx context.Context, project id.Project) (tasks []store.Task, err error) {
	err = e.store.Snapshot(ctx, func(s store.Snapshot) error {
		projects, err := s.Projects(ctx)
		if err != nil {
			return err
		}
		for i := range projects {
			if project != "" && projects[i].ID != project {
				continue
			}
			for task, err := range s.Tasks(ctx, projects[i].ID) {
				if err != nil {
					return err
				}
				if task.Kind == store.TaskReceipt {
					tasks = append(tasks, task)
				}
			}
		}
		return nil
	})
	return tasks, err
}

// RetryReceipt tries at once what a receipt waits for, by hand. fault.NotFound
// if nothing is left to do for it.
func (e *Engine) RetryReceipt(ctx context.Context, p id.Payout) (OpenReceipt, error) {
	open, err := e.OpenReceipts(ctx, "", "")
	if err != nil {
		return OpenReceipt{}, err
	}
	n := slices.IndexFunc(open, func(r OpenReceipt) bool { return r.Payout == p })
	if n < 0 {
		return OpenReceipt{}, fault.New(fault.NotFound, "nothing is left to do for a receipt of payout %s", p)
	}
	r := open[n]
	project, ok := e.Caller(r.Project)
	if !ok {
		return OpenReceipt{}, fmt.Errorf("project %s is unknown", r.Project)
	}
	err = e.report(ctx, &retried{receipted{
		errand: errand{project.Project, store.Task{TaskKey: store.TaskKey{
			SessionKey: store.SessionKey{Project: r.Project, Session: r.Session}, Payout: p, Kind: store.TaskReceipt,
		}}},
		byHand: true,
	}})
	return r, err
}

// retried is what an operator asks of a receipt, whatever it waits for.
type retried struct{ receipted }

func (r *retried) decide(t *tx) (Answer, error) {
	_, p, err := r.payout(t, false)
	if err != nil {
		return Answer{}, err
	}
	if p.Receipt == nil {
		return Answer{}, fault.New(fault.WrongState, "payout %s has no receipt", p.ID)
	}
	r.event = ""
	if r.message = p.Receipt.Message; p.Receipt.State == session.Refused {
		r.event = session.Retry
	}
	return r.receipted.decide(t)
}

// Difference is what a comparison of our receipts with the tax service's has
// found.
type Difference struct {
	Kind      DifferenceKind `json:"kind"`
	Project   id.Project     `json:"project,omitempty"`
	Session   id.Session     `json:"session,omitempty"`
	Payout    id.Payout      `json:"payout,omitempty"`
	Operation string         `json:"operation"`
	Receipt   string         `json:"receipt,omitempty"` // as the tax service names it, or else as we do
	Ours      money.Amount   `json:"ours,omitzero"`
	Theirs    money.Amount   `json:"theirs,omitzero"`
}

// DifferenceKind is what is different.
type DifferenceKind string

// The kinds; people are alarmed under the same names.
const (
	ReceiptOpen    DifferenceKind = "receipt_open"    // it was paid, and is not registered yet
	ReceiptMissing DifferenceKind = "receipt_missing" // we know of one, the tax service does not
	ReceiptUnknown DifferenceKind = "receipt_unknown" // the tax service has one for which there is no payout
	ReceiptOther   DifferenceKind = "receipt_other"   // another number, person or amount
	ReceiptGone    DifferenceKind = "receipt_gone"    // the tax service has cancelled it, and we have not
	ReceiptStands  DifferenceKind = "receipt_stands"  // we have had it cancelled, and it is not
)

const (
	compareDays    = 7             // how far back days are looked for that were not compared
	compareFrom    = 3 * time.Hour // of a day in Moscow, when the one before is compared
	compareGap     = time.Minute   // between two looks at the calendar
	compareTimeout = time.Minute   // of the question to the tax service
)

// dayOf is the midnight in Moscow at which the day of a time begins.
func dayOf(t time.Time) time.Time {
	t = t.In(tax.Moscow)
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, tax.Moscow)
}

// CompareReceipts compares what was earned on a day in Moscow with the receipts
// that the tax service has of it. Each difference is alarmed once.
func (e *Engine) CompareReceipts(ctx context.Context, day time.Time) ([]Difference, error) {
	if e.tax == nil {
		return nil, fault.New(fault.Unauthorized, "this server has no connection to the tax service")
	}
	from := dayOf(day)
	limited, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	// Ours before and after theirs: what was registered or cancelled meanwhile
	// may be in theirs or not, and is no difference.
	before, err := e.store.Reservations(ctx, from, from.AddDate(0, 0, 1))
	if err != nil {
		return nil, err
	}
	theirs, err := e.tasksWorker.inquire(limited, tax.Question{Kind: tax.ListReceipts, Day: from})
	switch {
	case err != nil:
		return nil, fault.Wrap(fault.Busy, err, "the tax service does not say what it has; try again later")
	case theirs.Refused != "":
		return nil, fault.New(fault.Busy, "the tax service does not say what it has: %s", theirs.Refused)
	}
	ours, err := e.store.Reservations(ctx, from, from.AddDate(0, 0, 1))
	if err != nil {
		return nil, err
	}
	found := compare(before, ours, theirs.Receipts)
	return found, e.report(ctx, &compared{day: from.Format(time.DateOnly), found: found})
}

// compare finds what is different. Where ours have changed since before, only
// one that is open is.
func compare(before, ours []store.Reservation, theirs []tax.Receipt) []Difference {
	was := make(map[store.ReservationKey]store.ReservationState, len(before))
	for _, r := range before {
		was[r.ReservationKey] = r.State
	}
	left := make(map[string]tax.Receipt, len(theirs))
	for _, r := range theirs {
		left[r.Operation] = r
	}
	found := []Difference{}
	for _, r := range ours {
		operation := r.Payout.String()
		has, there := left[operation]
		delete(left, operation)
		d := Difference{
			Project: r.Project, Session: r.Session, Payout: r.Payout, Operation: operation, Receipt: cmp.Or(has.ID, r.Receipt),
			Ours: money.Amount{Minor: r.Minor, Currency: money.RUB}, Theirs: has.Amount,
		}
		switch {
		case r.State == store.ReservationAsked:
			d.Kind = ReceiptOpen
		case r.State != store.ReservationRegistered && r.State != store.ReservationAnnulled, was[r.ReservationKey] != r.State:
			continue
		case !there:
			d.Kind = ReceiptMissing
		case has.ID != r.Receipt || has.INN != r.INN || has.Amount != d.Ours:
			d.Kind = ReceiptOther
		case has.Cancelled && r.State == store.ReservationRegistered:
			d.Kind = ReceiptGone
		case !has.Cancelled && r.State == store.ReservationAnnulled:
			d.Kind = ReceiptStands
		default:
			continue
		}
		found = append(found, d)
	}
	for _, r := range theirs {
		if _, unknown := left[r.Operation]; unknown && sabotage != "unknown receipts passed over" {
			found = append(found, Difference{Kind: ReceiptUnknown, Operation: r.Operation, Receipt: r.ID, Theirs: r.Amount})
		}
	}
	return found
}

// compared writes down that a day was compared, and calls for people about each
// difference that they do not know of.
type compared struct {
	day   string
	found []Difference
}

func (c *compared) ref(d *Difference) store.KeyRef {
	return store.KeyRef{Scope: store.ScopeReceipt, Key: string(d.Kind) + "/" + d.Operation}
}

func comparedRef(day string) store.KeyRef {
	return store.KeyRef{Scope: store.ScopeReceipt, Key: "compared/" + day}
}

func (c *compared) reads(names *store.Reads) {
	names.Keys = append(names.Keys, comparedRef(c.day))
	for i := range c.found {
		names.Keys = append(names.Keys, c.ref(&c.found[i]))
	}
}

func (c *compared) decide(t *tx) (Answer, error) {
	burn := func(ref store.KeyRef) bool {
		if _, known := t.rows.Keys[ref]; known {
			return false
		}
		t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: ref, At: t.now})
		return true
	}
	for i := range c.found {
		if d := &c.found[i]; burn(c.ref(d)) {
			t.alarm(store.SessionKey{Project: d.Project, Session: d.Session}, d.Payout, string(d.Kind), d.text(c.day))
		}
	}
	burn(comparedRef(c.day))
	return Answer{}, nil
}

// text says what is different.
func (d *Difference) text(day string) string {
	switch d.Kind {
	case ReceiptOpen:
		return fmt.Sprintf("%s was paid on %s and is not registered with the tax service", d.Ours, day)
	case ReceiptMissing:
		return fmt.Sprintf("the tax service does not have the receipt %s over %s of %s", d.Receipt, d.Ours, day)
	case ReceiptUnknown:
		return fmt.Sprintf("the tax service has the receipt %s over %s of %s, operation %s, for which there is no payout", d.Receipt, d.Theirs, day, d.Operation)
	case ReceiptOther:
		return fmt.Sprintf("the tax service has the receipt %s over %s of %s in place of ours over %s", d.Receipt, d.Theirs, day, d.Ours)
	case ReceiptGone:
		return fmt.Sprintf("the receipt %s over %s of %s is cancelled at the tax service, and nobody here has asked for that", d.Receipt, d.Ours, day)
	}
	return fmt.Sprintf("the receipt %s over %s of %s was cancelled, and the tax service has it as valid", d.Receipt, d.Ours, day)
}

// uncompared finds the days that nobody has compared.
type uncompared struct {
	days []string
	left []string // set by decide
}

func (u *uncompared) reads(names *store.Reads) {
	for _, day := range u.days {
		names.Keys = append(names.Keys, comparedRef(day))
	}
}

func (u *uncompared) decide(t *tx) (Answer, error) {
	u.left = nil
	for _, day := range u.days {
		if _, known := t.rows.Keys[comparedRef(day)]; !known {
			u.left = append(u.left, day)
		}
	}
	return Answer{}, nil
}

// compareDaily compares each day once it is over, and the last ones before it
// that were missed, until ctx ends. Several nodes may do the same: each
// difference is alarmed once.
func (e *Engine) compareDaily(ctx context.Context) {
	var done time.Time // up to which all is compared
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(compareGap):
		case <-e.calendar:
		}
		if ctx.Err() != nil { // both may have come
			return
		}
		today := dayOf(e.now().Add(-compareFrom))
		if today.After(done) && e.compareUntil(ctx, today) {
			done = today
		}
	}
}

// compareUntil compares the days before one; false if that must be tried again.
func (e *Engine) compareUntil(ctx context.Context, today time.Time) bool {
	var u uncompared
	for n := compareDays; n > 0; n-- {
		u.days = append(u.days, today.AddDate(0, 0, -n).Format(time.DateOnly))
	}
	if err := e.report(ctx, &u); err != nil {
		return false
	}
	for _, day := range u.left {
		at, err := time.ParseInLocation(time.DateOnly, day, tax.Moscow)
		if err == nil {
			_, err = e.CompareReceipts(ctx, at)
		}
		if err != nil {
			if ctx.Err() == nil {
				e.log.Warn("receipts were not compared; trying again", "day", day, "error", err)
			}
			return false
		}
	}
	return true
}
