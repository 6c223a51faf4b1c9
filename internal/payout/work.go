package payout

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/rail"
)

const (
	laneMax     = 256   // calls of one rail at a time
	laneRowsMax = 5_000 // tasks of one rail in memory; more are left in the database
	claimMax    = 256   // rows of one claim
	retryGap    = time.Second
	retryGapMax = time.Minute
	laneOther   = "" // tasks that call no rail, and those that have just been claimed
)

// taskWorker runs the tasks of payouts. A task is first put on the agenda, then
// waits in the lane of its rail, so that a slow rail delays only its own.
type taskWorker struct {
	*Engine
	mine   bool // this node runs tasks
	agenda *agenda[*job]
	poll   chan struct{}
	asked  chan struct{} // closed once everything under way has been asked about
	crew   crew
	lanes  map[string]*lane
	// taxLane is that of the tax service.
	taxLane *lane

	mu sync.Mutex
	// sending is the context of calls while payments may be promised; nil before
	// everything under way has been asked about, and while the worker stops.
	sending context.Context
	// held has the one job of each task that counts: a job that is not here has
	// been overtaken by a later commit or claim. Their leases are renewed.
	held map[store.TaskKey]*job
}

func newTaskWorker(e *Engine) *taskWorker {
	w := &taskWorker{
		Engine: e, agenda: newAgenda[*job](e.now), poll: make(chan struct{}, 1), asked: make(chan struct{}),
		lanes: map[string]*lane{laneOther: {}}, taxLane: &lane{}, held: map[store.TaskKey]*job{},
	}
	for name := range e.byName {
		w.lanes[name] = &lane{}
	}
	return w
}

func (w *taskWorker) add(j *job) {
	w.hold(j)
	w.agenda.add(j.Due, j)
}

func (w *taskWorker) wake() {
	w.agenda.poke()
	select {
	case w.poll <- struct{}{}:
	default:
	}
}

// run works until ctx ends; calls ends a while later and takes calls of rails
// under way with it.
func (w *taskWorker) run(ctx, calls context.Context) {
	w.recall(ctx, calls)
	w.crew.run(func() { w.agenda.run(ctx, func(j *job) { w.start(calls, j) }) })
	w.ask(ctx, calls)
	w.promise(ctx, calls)
	tick := time.NewTicker(pollGap)
	defer tick.Stop()
	for ctx.Err() == nil {
		jobs := w.claimIfRoom(ctx)
		for _, j := range jobs {
			w.hold(j)
			w.start(calls, j)
		}
		if len(jobs) == claimMax {
			continue
		}
		waitForEither(ctx, tick.C, w.poll)
	}
	w.promise(ctx, nil)
	w.handBack(w.leave(), nil)
	w.crew.wait()
}

// leave lets go of what is not begun.
func (w *taskWorker) leave() (left []store.TaskKey) {
	for _, j := range w.agenda.clear() {
		if w.counts(j) {
			left = append(left, j.TaskKey)
			w.release(j)
		}
	}
	return left
}

// promise lets commits promise payments, whose calls get the context of calls;
// or no longer, with nil.
func (w *taskWorker) promise(ctx, calls context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		calls = nil
	}
	w.sending = calls
}

// ask runs the questions that an earlier run left open, each once, and then
// lets sends go on. As long as it can't find out which they are, nothing is sent.
func (w *taskWorker) ask(ctx, calls context.Context) {
	for ctx.Err() == nil {
		jobs, err := w.claim(ctx, store.TaskQuery)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Error("claiming what was under way; nothing is sent before", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(retryGap):
			}
			continue
		}
		var round sync.WaitGroup
		for _, j := range jobs {
			j.asking = true
			w.hold(j)
			round.Add(1)
			w.crew.run(func() { w.work(calls, j, round.Done) })
		}
		round.Wait()
		if len(jobs) < claimMax {
			close(w.asked)
			return
		}
	}
}

func (w *taskWorker) claimIfRoom(ctx context.Context) []*job {
	if !w.room(laneOther, "") {
		return nil
	}
	jobs, err := w.claim(ctx)
	if err != nil && ctx.Err() == nil {
		w.log.Error("claiming tasks", "error", err)
	}
	return jobs
}

func (w *taskWorker) claim(ctx context.Context, kinds ...store.TaskKind) ([]*job, error) {
	tasks, err := w.store.ClaimTasks(ctx, w.node, w.now(), w.real(), w.lease, claimMax, kinds...)
	if err != nil {
		return nil, err
	}
	jobs := make([]*job, len(tasks))
	for i, t := range tasks {
		jobs[i] = &job{Task: t}
	}
	return jobs, nil
}

// start runs a job in a goroutine of its own, in the lane of its rail.
func (w *taskWorker) start(ctx context.Context, j *job) {
	if w.counts(j) {
		w.crew.run(func() { w.work(ctx, j, ignore) })
	}
}

func ignore() {}

// work runs a job once its lane has room for it, and calls done then.
func (w *taskWorker) work(ctx context.Context, j *job, done func()) {
	ctx = w.tagged(ctx, j.TaskKey)
	run, l, err := w.prepare(ctx, j)
	if err != nil {
		w.ended(ctx, j, err)
		done()
		return
	}
	w.turn(l, func() {
		defer done()
		err := ctx.Err() // it may have waited for long
		if err == nil {
			err = run()
		}
		w.ended(ctx, j, err)
	})
}

// ended lets go of a job that has run, or puts it on the agenda again.
func (w *taskWorker) ended(ctx context.Context, j *job, err error) {
	w.metrics.tasks.WithLabelValues(string(j.Kind), result(err)).Inc()
	if err != nil && ctx.Err() != nil {
		return // the program stops; it is handed back with all that is held
	}
	again := false
	switch code := fault.CodeOf(err); {
	case err == nil:
	case errors.Is(err, errCrowded):
		w.log.Debug("task left to a later claim", "kind", j.Kind, "session", j.Session, "payout", j.Payout)
	case code == fault.Stale || code == fault.NotFound || code == fault.WrongState:
		w.log.Info("task dropped", "kind", j.Kind, "session", j.Session, "payout", j.Payout, "error", err)
	default:
		w.log.Error("task failed, trying again", "kind", j.Kind, "session", j.Session, "payout", j.Payout, "error", err)
		again = w.counts(j)
	}
	if !again {
		w.release(j)
		return
	}
	gap := retryGap
	if fault.CodeOf(err) != fault.Busy { // trying harder does not mend it, and costs whole batches
		gap = min(retryGap<<min(j.failures, 10), retryGapMax)
		j.failures++
	}
	if !j.promised { // a promise is kept as it was made, or not at all
		j.session = nil
	}
	w.agenda.add(w.now().Add(gap), j)
}

// errCrowded says that a rail has as many tasks in memory as it may.
var errCrowded = errors.New("the rail has too many tasks in memory")

// prepare finds out what a job has to do, and in which lane.
func (w *taskWorker) prepare(ctx context.Context, j *job) (run func() error, l *lane, err error) {
	if j.session == nil {
		s, err := w.store.Session(ctx, j.SessionKey)
		if err != nil {
			return nil, nil, err
		}
		if s.Fence != j.Fence && j.Kind != store.TaskQuery { // what it does would be refused: it asks nobody for it
			return nil, nil, fault.New(fault.Stale, "task %s of %s was taken over", j.Kind, j.Payout)
		}
		j.session = s
	}
	p := j.payout()
	if p == nil {
		return nil, nil, fmt.Errorf("payout %s is not in its session", j.Payout)
	}
	project, ok := w.Caller(j.Project)
	if !ok {
		return nil, nil, fmt.Errorf("project %s is unknown", j.Project)
	}
	with := errand{project: project.Project, task: j.Task}
	l = w.laneOf(p.Rail, j.Kind)
	if !w.enter(j, l) {
		return nil, nil, errCrowded
	}
	if j.Kind == store.TaskSend && !j.promised { // before it takes a place that a question may need
		select {
		case <-w.asked:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	return func() error { return w.perform(ctx, j, with, p) }, l, nil
}

func (w *taskWorker) perform(ctx context.Context, j *job, with errand, p *session.Payout) error {
	if j.Kind == store.TaskCheck || j.Kind == store.TaskClear {
		if waits, err := w.unbooked(ctx, with, j.session); waits || err != nil {
			return err
		}
	}
	switch j.Kind {
	case store.TaskCheck:
		return w.check(ctx, with, p)
	case store.TaskExpire:
		return w.report(ctx, &expire{with})
	case store.TaskClear:
		return w.clear(ctx, with, p)
	case store.TaskReceipt:
		return w.receipt(ctx, with, p)
	case store.TaskSend:
		if j.promised {
			return w.fulfil(ctx, with, p)
		}
		return w.send(ctx, with, p)
	case store.TaskQuery:
		return w.query(ctx, with, p)
	}
	return fmt.Errorf("no work for a task %q", j.Kind)
}

// guarded calls a rail. One that panics has not answered; what it panicked
// with is not repeated, since it may hold what the rail was given. For the same
// reason card numbers in its error are masked; what else is in the error's chain
// nobody asks.
func guarded[T any](call func() (T, error)) (answer T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the rail panicked with a %T\n%s", r, debug.Stack())
		}
	}()
	if answer, err = call(); err != nil {
		err = errors.New(instrument.MaskText(err.Error()))
	}
	return answer, err
}

// order is a payout as its rail sees it. An account that a token stands for is
// opened for it, as a card is by the opener.
func (w *taskWorker) order(ctx context.Context, p *session.Payout) (rail.Order, error) {
	o := rail.Order{Reference: p.Reference, Destination: *p.Details.Instrument, Recipient: p.Details.Recipient}
	if a := p.Amount(); a != nil {
		o.Amount = *a
	}
	if sabotage == "rate of the day" && p.Quote != nil {
		if now, err := w.rates.Rate(ctx, p.Details.Amount.Currency); err == nil {
			o.Amount, _ = now.Price.Roubles(*p.Details.Amount)
		}
	}
	if a := o.Destination.Account; a != nil && a.Sealed != 0 {
		account, err := w.account(ctx, a)
		if err != nil {
			return o, err
		}
		o.Destination.Account = account
	}
	return o, nil
}

// check asks the rail about the recipient until it answers or the payout's
// deadline has passed.
func (w *taskWorker) check(ctx context.Context, with errand, p *session.Payout) error {
	found := &checked{errand: with}
	refuse := func(code fault.Code) { found.refused, found.text = code, fault.Lookup(code).Text }
	why, err := w.impossible(ctx, with.task.Project, p)
	if err != nil {
		return err
	}
	if why != nil {
		found.refused, found.text = why.Code, why.Text
		return w.report(ctx, found)
	}
	if p.Foreign() && w.now().Before(p.CreatedAt.Add(checkDeadline)) {
		quoted, err := w.quote(ctx, with, p, found)
		if err != nil {
			return w.putOffCheck(ctx, with, p, "rate", err)
		}
		if found.refused != "" {
			return w.report(ctx, found)
		}
		p = quoted
	}
	asks, err := w.order(ctx, p)
	if err != nil {
		return err
	}
	account := asks.Destination.Account
	moves, ok := w.byName[p.Rail]
	switch {
	case !ok:
		refuse(fault.RoutingInternal)
	case account != nil && !instrument.AllowedPrefix(account.Number):
		refuse(fault.AccountNotFound)
	default:
		left := p.CreatedAt.Add(checkDeadline).Sub(w.now())
		if left <= 0 {
			refuse(fault.ProviderTimeout)
			break
		}
		limited, cancel := context.WithTimeout(ctx, min(left, checkTimeout))
		defer cancel()
		verdict, err := guarded(func() (rail.Verdict, error) {
			return moves.Check(limited, asks, w.opener(with.task.Project, p.Details.Instrument))
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return w.putOffCheck(ctx, with, p, p.Rail, err)
		case verdict.Refused != "":
			refuse(codeOf(verdict.Refused))
			if verdict.Text != "" {
				found.text = words(verdict.Text, textMax)
			}
		case p.Details.Source != "":
			bank := rail.Bank{Name: words(verdict.Bank.Name, nameMax), Correspondent: words(verdict.Bank.Correspondent, infoMax)}
			found.to = party(&asks, p.Details.Instrument, bank)
		}
	}
	return w.report(ctx, found)
}

// putOffCheck lets a check that was not answered be tried again; the payout's
// deadline itself is the last time to look.
func (w *taskWorker) putOffCheck(ctx context.Context, with errand, p *session.Payout, asked string, err error) error {
	w.log.Warn("check not answered", "rail", asked, "payout", p.ID, "attempt", with.task.Attempt, "error", err)
	now := w.now()
	left := max(p.CreatedAt.Add(checkDeadline).Sub(now), 0)
	return w.report(ctx, &later{with, now.Add(min(left, w.queryGap(with.task.Attempt), checkGapMax))})
}

// send commits the intent, then calls the rail, and commits what it says.
func (w *taskWorker) send(ctx context.Context, with errand, p *session.Payout) error {
	moves, ok := w.byName[p.Rail]
	if !ok {
		return w.report(ctx, &abort{errand: with, code: fault.RoutingInternal})
	}
	// Nothing has been promised to the rail yet: what fails here is tried again.
	switch why, err := w.impossible(ctx, with.task.Project, p); {
	case err != nil:
		return err
	case why != nil:
		return w.report(ctx, &abort{with, why.Code, why.Text})
	}
	if _, err := w.order(ctx, p); err != nil {
		return err
	}
	promised := &intent{errand: with}
	if err := w.report(ctx, promised); err != nil {
		return err
	}
	return w.call(ctx, with, p, moves, promised.at.Add(moves.Terms().SendDeadline))
}

var errTooLate = fault.New(fault.Stale, "the time of the call has passed")

// fulfil calls the rail that a commit has promised to call, unless so much time
// has gone by that somebody may have asked about the payment.
func (w *taskWorker) fulfil(ctx context.Context, with errand, p *session.Payout) error {
	moves := w.byName[p.Rail]
	until := p.SentAt.Add(moves.Terms().SendDeadline)
	if p.State != session.Sent || !w.now().Before(until) {
		return errTooLate
	}
	switch why, err := w.impossible(ctx, with.task.Project, p); {
	case err != nil:
		return err
	case why != nil:
		return w.report(ctx, &unkept{with, p.Attempt, why.Code, why.Text})
	}
	return w.call(ctx, with, p, moves, until)
}

// call hands an intended payment to its rail. Whatever goes wrong from here on
// is unknown, not failed; the task that asks about it was made with the intent.
// The rail's window runs from the promise, however long its commit took: after
// until, which is the deadline from then, the rail is not called any more.
func (w *taskWorker) call(ctx context.Context, with errand, p *session.Payout, moves rail.Rail, until time.Time) error {
	if !w.now().Before(until) {
		return errTooLate
	}
	limited, cancel := context.WithTimeout(ctx, until.Sub(w.now()))
	defer cancel()
	says, err := guarded(func() (rail.Outcome, error) {
		asks, err := w.order(limited, p)
		if err != nil {
			return rail.Outcome{}, err
		}
		if sabotage == "another reference" && w.now().After(p.SentAt.Add(moves.Terms().SendDeadline)) {
			asks.Reference += "-again"
		}
		return moves.Send(limited, asks, w.opener(with.task.Project, p.Details.Instrument))
	})
	if err != nil {
		w.log.Warn("send not answered", "rail", p.Rail, "payout", p.ID, "error", err)
		says = rail.Outcome{Status: rail.Unknown}
		if sabotage == "time-out is a refusal" {
			says = rail.Outcome{Status: rail.Failed}
		}
	}
	with.task.Kind, with.task.Attempt = store.TaskQuery, 0
	// The answer of a rail is kept even while the program stops.
	if err := w.report(context.WithoutCancel(ctx), &outcome{errand: with, says: says}); err != nil {
		w.log.Error("an answer of a rail was not kept; it will be asked again", "rail", p.Rail, "payout", p.ID, "error", err)
	}
	return nil
}

// query asks the rail what became of a payment.
func (w *taskWorker) query(ctx context.Context, with errand, p *session.Payout) error {
	says, asked := rail.Outcome{Status: rail.Unknown}, w.now()
	moves, ok := w.byName[p.Rail]
	if ok {
		limited, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		answer, err := guarded(func() (rail.Outcome, error) { return moves.Query(limited, p.Reference) })
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			w.log.Warn("query not answered", "rail", p.Rail, "payout", p.ID, "attempt", with.task.Attempt, "error", err)
		default:
			says = answer
		}
	}
	found := &outcome{errand: with, says: says, asked: asked}
	if err := w.report(ctx, found); err != nil {
		return err
	}
	if !found.again.IsZero() {
		return w.call(ctx, with, p, moves, found.again.Add(moves.Terms().SendDeadline))
	}
	return nil
}

// Notice takes what the rail of that name says of a payment without being asked:
// a late, a doubled or a contradicting answer.
func (e *Engine) Notice(ctx context.Context, name string, k store.SessionKey, p id.Payout, says rail.Outcome) error {
	project, ok := e.Caller(k.Project)
	if !ok {
		return fault.New(fault.NotFound, "no project %s", k.Project)
	}
	with := errand{project.Project, store.Task{TaskKey: store.TaskKey{SessionKey: k, Payout: p, Kind: store.TaskQuery}}}
	err := e.report(ctx, &outcome{errand: with, says: says})
	if fault.CodeOf(err) != fault.NotFound {
		return err
	}
	switch a, lookUp := e.archived(ctx, k); {
	case lookUp != nil:
		return lookUp
	case a != nil && findArchived(a, p) != nil:
		return e.answered(ctx, name, with, a, says)
	}
	return err
}
