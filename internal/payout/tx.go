package payout

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
)

// batch is what a transaction has loaded, with the changes of the commands
// that were accepted so far laid over it.
type batch struct {
	*Engine
	now     time.Time
	rows    *store.Rows
	changes store.Changes
	// where a row stands in changes, so that a second command changes it there
	sessions map[store.SessionKey]int
	books    map[id.Project]int
	events   map[store.EventKey]int
	public   map[store.PublicKey]int
	accounts map[store.AccountKey]int
	items    map[store.ItemKey]int
	npd      map[store.NPDKey]int
	incomes  map[store.IncomeKey]int
	tasks    map[store.TaskKey]taskChange
	order    []store.TaskKey
	calls    []store.TaskKey
}

// taskChange is the last word on a task: to be written, or done with.
type taskChange struct {
	task store.Task
	done bool
}

func newBatch(e *Engine, number id.Batch, now time.Time, rows *store.Rows) *batch {
	return &batch{
		Engine: e, now: now, rows: rows, changes: store.Changes{Batch: number},
		sessions: map[store.SessionKey]int{}, books: map[id.Project]int{},
		events: map[store.EventKey]int{}, public: map[store.PublicKey]int{}, items: map[store.ItemKey]int{}, npd: map[store.NPDKey]int{},
		incomes: map[store.IncomeKey]int{}, tasks: map[store.TaskKey]taskChange{}, accounts: map[store.AccountKey]int{},
	}
}

// decide runs one command on what the commands before it have left. A command
// that is refused, or that trips over a fault of ours, leaves nothing behind.
func (b *batch) decide(c command) (answer Answer, err error) {
	t := &tx{batch: b}
	defer func() {
		if r := recover(); r != nil {
			b.log.Error("a command panicked", "command", fmt.Sprintf("%T", c), "panic", instrument.MaskText(fmt.Sprint(r)), "stack", string(debug.Stack()))
			answer, err = Answer{}, fault.New(fault.Internal, "internal failure")
		}
	}()
	if answer, err = c.decide(t); err != nil {
		return Answer{}, err
	}
	t.accept()
	return answer, nil
}

// sum is all changes, to be written.
func (b *batch) sum() *store.Changes {
	c := &b.changes
	c.Tasks, c.TasksDone = c.Tasks[:0], c.TasksDone[:0]
	for _, k := range b.order {
		if change := b.tasks[k]; change.done {
			c.TasksDone = append(c.TasksDone, k)
		} else {
			c.Tasks = append(c.Tasks, change.task)
		}
	}
	return c
}

// tx is what one command sees and changes.
type tx struct {
	*batch
	own   store.Changes
	book  *ledger.Book // loaded for this command; one command moves one project's money
	tasks []taskChange
	calls []store.TaskKey // rails to be called once this is committed
}

// session returns a copy of a session that the command named, to be changed
// and put back; fault.NotFound if there is none.
func (t *tx) session(k store.SessionKey) (*session.Session, error) {
	s, ok := t.rows.Sessions[k]
	if !ok {
		return nil, fault.New(fault.NotFound, "session_id: no such session")
	}
	return s.Clone(), nil
}

// put writes a session back.
func (t *tx) put(s *session.Session) {
	s.UpdatedAt = t.now
	t.own.Sessions = append(t.own.Sessions, s)
}

// ledger returns the book of a project, to be changed in place.
func (t *tx) ledger(p id.Project) (*ledger.Book, error) {
	if t.book == nil {
		b, ok := t.rows.Books[p]
		if !ok {
			return nil, fmt.Errorf("project %s has no book", p)
		}
		own := *b
		t.book = &own
	}
	return t.book, nil
}

// post books an entry of the balance or of the own account that is named.
func (t *tx) post(p id.Project, account string, e ledger.Entry) error {
	b, err := t.ledger(p)
	if err != nil {
		return err
	}
	var posted ledger.Entry
	if account == "" {
		posted, err = b.Post(e, t.now)
	} else {
		var a *store.Account
		if a, err = t.account(p, account); err != nil {
			return err
		}
		if posted, err = b.PostTo(&a.OwnAccount, e, t.now); err == nil && !slices.Contains(t.own.Accounts, a) {
			t.own.Accounts = append(t.own.Accounts, a)
		}
	}
	if err != nil {
		return err
	}
	t.own.Entries = append(t.own.Entries, posted)
	return nil
}

// step takes a payout of s through an event: its state, its money, its task
// and its webhook, together. note, if not nil, writes down on the payout what
// the partner is told with it.
func (t *tx) step(s *session.Session, p *session.Payout, e session.Event, project *partner.Project, note func(*session.Payout)) error {
	had := workOf(p)
	if err := t.enter(s, p, e, project, note); err != nil {
		return err
	}
	// A token may have ended since it was looked at. It is looked at once more
	// before the promise, and not by this commit.
	if p.State == session.Confirmed && token(p.Details.Instrument).Token == 0 && t.tasksWorker.ready(p.Rail) {
		if err := t.promise(s, p, project); err != nil {
			return err
		}
		t.calls = append(t.calls, store.TaskKey{
			SessionKey: store.SessionKey{Project: s.Project, Session: s.ID}, Payout: p.ID, Kind: store.TaskSend,
		})
	}
	t.reschedule(s, p, had, 0, t.firstDue(p, project))
	return nil
}

// enter is step without the task.
func (t *tx) enter(s *session.Session, p *session.Payout, e session.Event, project *partner.Project, note func(*session.Payout)) error {
	step, err := session.Next(p.State, e)
	if err != nil {
		return err
	}
	if err := t.move(s, p, step.Move); err != nil {
		return err
	}
	p.State = step.To
	if note != nil {
		note(p)
	}
	if p.State.Final() && p.FinishedAt.IsZero() {
		p.FinishedAt = t.now
	}
	s.State, s.UpdatedAt = s.Lead(), t.now
	if err := t.receiptFollows(s, p, project); err != nil {
		return err
	}
	if step.Hook != session.Silent && s.Settled(step.Hook) {
		if err := t.emit(s, step.Hook, project); err != nil {
			return err
		}
	}
	return t.keptRefunds(s, p, project)
}

// promise commits the intent to send a confirmed payout, before its rail is
// called: after it, a crash leaves a question to ask and never a second payment.
func (t *tx) promise(s *session.Session, p *session.Payout, project *partner.Project) error {
	p.Attempt, p.SentAt = p.Attempt+1, t.now
	if err := t.enter(s, p, session.Send, project, nil); err != nil {
		return err
	}
	t.attempt(s, p, store.AttemptOpen)
	return nil
}

// move books the template of a movement.
func (t *tx) move(s *session.Session, p *session.Payout, m session.Movement) error {
	var e ledger.Entry
	switch m {
	case session.None:
		return nil
	case session.Hold:
		e = ledger.Hold(p.Minor(), p.Fee)
	case session.Settle:
		e = ledger.Settle(p.Minor(), p.Fee, p.Rail)
	case session.Release:
		e = ledger.Release(p.Minor(), p.Fee)
		if sabotage == "fee kept" {
			e = ledger.Release(p.Minor(), 0)
		}
	case session.Restore:
		e = ledger.Return(p.Minor(), p.Refund().Fee, p.Rail)
	case session.Suspend:
		e = ledger.Suspend(p.Minor(), p.Rail)
	default:
		return fmt.Errorf("no template for the movement %q", m)
	}
	e.Session, e.Payout = s.ID, p.ID
	return t.post(s.Project, p.Details.Account, e)
}

// taskOf is the one task that a payout in a state has; "" where it has none.
func taskOf(s session.State) store.TaskKind {
	switch s {
	case session.Checking:
		return store.TaskCheck
	case session.Awaiting:
		return store.TaskExpire
	case session.Confirmed:
		return store.TaskSend
	case session.Sent, session.Unclear:
		return store.TaskQuery
	}
	return ""
}

// firstDue is when the task of a payout that has just entered its state is due.
func (t *tx) firstDue(p *session.Payout, project *partner.Project) time.Time {
	switch p.State {
	case session.Awaiting:
		due := t.now.Add(project.Timeout())
		if sabotage == "half the time to confirm" {
			due = t.now.Add(project.Timeout() / 2)
		}
		if p.Quote != nil && p.Quote.Until.Before(due) && sabotage != "rate outlives its lock" {
			return p.Quote.Until
		}
		return due
	case session.Sent:
		return t.now.Add(t.terms(p.Rail).SendDeadline + queryGapFirst)
	case session.Unclear:
		return t.now.Add(queryGapFirst)
	}
	return t.now
}

// reschedule replaces the task that a payout had by the one that it has now.
func (t *tx) reschedule(s *session.Session, p *session.Payout, old store.TaskKind, attempt int, due time.Time) {
	kind := workOf(p)
	if old != "" && old != kind {
		t.finish(s, p, old)
	}
	if kind != "" {
		t.assign(s, p, kind, attempt, due)
	}
}

// finish is done with a task of a payout.
func (t *tx) finish(s *session.Session, p *session.Payout, kind store.TaskKind) {
	t.tasks = append(t.tasks, taskChange{task: store.Task{TaskKey: taskKey(s, p, kind)}, done: true})
}

func taskKey(s *session.Session, p *session.Payout, kind store.TaskKind) store.TaskKey {
	return store.TaskKey{SessionKey: store.SessionKey{Project: s.Project, Session: s.ID}, Payout: p.ID, Kind: kind}
}

// assign gives a payout a task. What is due soon this node keeps and runs from
// memory; the rest is left to whoever finds it due.
func (t *tx) assign(s *session.Session, p *session.Payout, kind store.TaskKind, attempt int, due time.Time) {
	task := store.Task{TaskKey: taskKey(s, p, kind), Due: due, Attempt: attempt, Fence: s.Fence}
	if due.Sub(t.now) <= ownHorizon && t.tasksWorker.room(p.Rail, kind) {
		task.Owner, task.Lease = t.node, t.real().Add(t.lease)
	}
	t.tasks = append(t.tasks, taskChange{task: task})
}

// emit makes a webhook event. Its body is that of this moment, in this
// transaction, so that it cannot lie. An event waits for an undelivered one
// before it, but no longer than holdBackMax.
func (t *tx) emit(s *session.Session, h session.Hook, project *partner.Project) error {
	b, err := t.ledger(s.Project)
	if err != nil {
		return err
	}
	names := s.Version
	if project.WebhookNames != 0 {
		names = session.Version(project.WebhookNames)
	}
	s.Events++
	b.Events++
	e := webhook.Event{
		Project: s.Project, Session: s.ID, N: s.Events, ID: id.Event(t.ids.Next()), Seq: b.Events, Type: string(h),
		Body: wire.Hook(h, s, names, project), Status: webhook.Pending, CreatedAt: t.now, Due: t.now,
	}
	if sabotage == "webhook dropped" && t.undeliveredBefore(&e) {
		return nil
	}
	if project.Webhook == "" {
		e.Status = webhook.Muted
	} else if t.undeliveredBefore(&e) {
		e.Due = t.now.Add(holdBackMax)
	} else {
		t.keep(&e)
	}
	t.own.Events = append(t.own.Events, e)
	return nil
}

// undeliveredBefore reports whether an earlier event of the session waits for
// delivery, one that this command has just made included.
func (t *tx) undeliveredBefore(e *webhook.Event) bool {
	k := eventKey(e).SessionKey
	if sabotage == "webhooks overtake" {
		return false
	}
	earlier := func(o webhook.Event) bool { return o.N < e.N }
	return slices.ContainsFunc(t.rows.Outbox[k], earlier) || slices.ContainsFunc(t.own.Events, func(o webhook.Event) bool {
		return eventKey(&o).SessionKey == k && o.Status == webhook.Pending && earlier(o)
	})
}

// keep makes this node the one that delivers e, from memory.
func (t *tx) keep(e *webhook.Event) {
	if e.Due.Sub(t.now) <= ownHorizon && t.hooks.room() {
		e.Owner, e.Lease = t.node, t.real().Add(t.lease)
	} else {
		e.Owner, e.Lease = "", time.Time{}
	}
}

// alarm tells people. The text may quote a rail, which may quote a card.
func (t *tx) alarm(s store.SessionKey, p id.Payout, kind, text string) {
	t.own.Alarms = append(t.own.Alarms, store.Alarm{
		ID: t.ids.Next(), Project: s.Project, Session: s.Session, Payout: p, Kind: kind, Text: instrument.MaskText(text), At: t.now,
	})
}

// accept lays the command's changes over the batch.
func (t *tx) accept() {
	b, c := t.batch, &t.batch.changes
	for _, s := range t.own.Sessions {
		k := store.SessionKey{Project: s.Project, Session: s.ID}
		c.CardsDone = append(c.CardsDone, t.spare(b.rows.Sessions[k], s)...)
		b.rows.Sessions[k] = s
		if i, ok := b.sessions[k]; ok {
			c.Sessions[i] = s
			continue
		}
		b.sessions[k] = len(c.Sessions)
		c.Sessions = append(c.Sessions, s)
	}
	if t.book != nil && (len(t.own.Entries) > 0 || len(t.own.Events) > 0) {
		p := t.book.Project
		b.rows.Books[p] = t.book
		if i, ok := b.books[p]; ok {
			c.Books[i] = t.book
		} else {
			b.books[p] = len(c.Books)
			c.Books = append(c.Books, t.book)
		}
	}
	for _, a := range t.own.Accounts {
		k := a.Key()
		b.rows.Accounts[k] = a
		if i, ok := b.accounts[k]; ok {
			c.Accounts[i] = a
			continue
		}
		b.accounts[k] = len(c.Accounts)
		c.Accounts = append(c.Accounts, a)
	}
	for _, e := range t.own.Events {
		b.acceptEvent(e)
	}
	for _, change := range t.tasks {
		k := change.task.TaskKey
		if _, ok := b.tasks[k]; !ok {
			b.order = append(b.order, k)
		}
		b.tasks[k] = change
	}
	for _, k := range t.own.Keys {
		b.rows.Keys[k.KeyRef] = k
	}
	b.calls = append(b.calls, t.calls...)
	if sabotage == "call before commit" {
		b.keepCalls()
	}
	for _, p := range t.own.Public {
		b.acceptPublic(p)
	}
	for _, i := range t.own.Items {
		b.acceptItem(i)
	}
	for _, r := range t.own.NPD {
		b.acceptNPD(r)
	}
	for _, i := range t.own.Incomes {
		b.acceptIncome(i)
	}
	for _, r := range t.own.Reservations {
		b.rows.Reservations[r.ReservationKey] = r
	}
	c.Reservations = append(c.Reservations, t.own.Reservations...)
	c.Acts = append(c.Acts, t.own.Acts...)
	c.Statements = append(c.Statements, t.own.Statements...)
	c.Lines = append(c.Lines, t.own.Lines...)
	c.Differences = append(c.Differences, t.own.Differences...)
	c.Keys = append(c.Keys, t.own.Keys...)
	c.Entries = append(c.Entries, t.own.Entries...)
	c.Attempts = append(c.Attempts, t.own.Attempts...)
	c.Cards = append(c.Cards, t.own.Cards...)
	c.CardsDone = append(c.CardsDone, t.own.CardsDone...)
	c.Deliveries = append(c.Deliveries, t.own.Deliveries...)
	c.Alarms = append(c.Alarms, t.own.Alarms...)
}

// keepCalls lets the worker call the rails as promised.
func (b *batch) keepCalls() {
	for _, k := range b.calls {
		b.tasksWorker.keep(&job{Task: store.Task{TaskKey: k, Due: b.now}, session: b.rows.Sessions[k.SessionKey], promised: true})
	}
	b.calls = nil
}

// acceptEvent writes an event once and keeps the outbox of its session true for
// the commands that follow.
func (b *batch) acceptEvent(e webhook.Event) {
	k := store.EventKey{SessionKey: store.SessionKey{Project: e.Project, Session: e.Session}, N: e.N}
	if i, ok := b.events[k]; ok {
		b.changes.Events[i] = e
	} else {
		b.events[k] = len(b.changes.Events)
		b.changes.Events = append(b.changes.Events, e)
	}
	open := make([]webhook.Event, 0, 2)
	for _, o := range b.rows.Outbox[k.SessionKey] {
		if o.N != e.N {
			open = append(open, o)
		}
	}
	if e.Status == webhook.Pending {
		open = append(open, e)
	}
	if _, loaded := b.rows.Events[k]; loaded {
		b.rows.Events[k] = e
	}
	b.rows.Outbox[k.SessionKey] = open
}
