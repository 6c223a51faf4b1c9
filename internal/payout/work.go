package payout

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/rail"
)

const (
	tasksMax  = 20_000 // tasks of this node in memory; more are left in the database
	laneMax   = 256    // calls of one rail at a time
	claimMax  = 256    // rows of one claim
	retryGap  = time.Second
	laneOther = "" // tasks that call no rail
)

// job is a task that this node runs, with the session as it was when the task
// was made; nil where the task was claimed.
type job struct {
	store.Task
	session *session.Session
}

// taskWorker runs the tasks of payouts. A task is first put on the agenda, then
// waits in the lane of its rail, so that a slow rail delays only its own.
type taskWorker struct {
	*Engine
	mine   bool // this node runs tasks
	agenda *agenda[job]
	count  atomic.Int64 // on the agenda, waiting or running
	poll   chan struct{}
	asked  chan struct{} // closed once everything under way has been asked about
	wg     sync.WaitGroup
	lanes  map[string]chan struct{}

	mu   sync.Mutex
	held map[store.TaskKey]int // leases to renew
}

func newTaskWorker(e *Engine) *taskWorker {
	w := &taskWorker{
		Engine: e, agenda: newAgenda[job](e.now), poll: make(chan struct{}, 1), asked: make(chan struct{}),
		lanes: map[string]chan struct{}{laneOther: make(chan struct{}, laneMax)}, held: map[store.TaskKey]int{},
	}
	for name := range e.byName {
		w.lanes[name] = make(chan struct{}, laneMax)
	}
	return w
}

// room reports whether this node should keep another task in memory.
func (w *taskWorker) room() bool { return w.mine && w.count.Load() < tasksMax }

func (w *taskWorker) add(j job) {
	w.count.Add(1)
	w.hold(j.TaskKey, 1)
	w.agenda.add(j.Due, j)
}

func (w *taskWorker) hold(k store.TaskKey, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[k] += n; w.held[k] == 0 {
		delete(w.held, k)
	}
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
	w.wg.Go(func() { w.agenda.run(ctx, func(j job) { w.start(calls, j) }) })
	leases, stop := context.WithCancel(calls)
	defer stop()
	go w.renew(leases)
	w.ask(ctx, calls)
	close(w.asked)
	tick := time.NewTicker(pollGap)
	defer tick.Stop()
	for ctx.Err() == nil {
		jobs := w.claim(ctx)
		for _, j := range jobs {
			w.count.Add(1)
			w.hold(j.TaskKey, 1)
			w.start(calls, j)
		}
		if len(jobs) == claimMax {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-w.poll:
		}
	}
	w.wg.Wait()
}

// ask runs the questions that an earlier run left open, each once, before
// anything is sent.
func (w *taskWorker) ask(ctx, calls context.Context) {
	for ctx.Err() == nil {
		jobs := w.claim(ctx, store.TaskQuery)
		var round sync.WaitGroup
		for _, j := range jobs {
			w.count.Add(1)
			w.hold(j.TaskKey, 1)
			round.Go(func() { w.work(calls, j) })
		}
		round.Wait()
		if len(jobs) < claimMax {
			return
		}
	}
}

func (w *taskWorker) claim(ctx context.Context, kinds ...store.TaskKind) []job {
	if !w.room() {
		return nil
	}
	tasks, err := w.store.ClaimTasks(ctx, w.node, w.now(), w.real(), w.lease(), claimMax, kinds...)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error("claiming tasks", "error", err)
		}
		return nil
	}
	jobs := make([]job, len(tasks))
	for i, t := range tasks {
		jobs[i] = job{Task: t}
	}
	return jobs
}

// renew prolongs the leases of what this node holds.
func (w *taskWorker) renew(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(w.lease() / 3):
		}
		w.mu.Lock()
		keys := make([]store.TaskKey, 0, len(w.held))
		for k := range w.held {
			keys = append(keys, k)
		}
		w.mu.Unlock()
		events := w.hooks.keys()
		if len(keys)+len(events) == 0 {
			continue
		}
		if err := w.store.Renew(ctx, w.node, w.real().Add(w.lease()), keys, events); err != nil && ctx.Err() == nil {
			w.log.Error("renewing leases", "error", err)
		}
	}
}

// start runs a job in a goroutine of its own, in the lane of its rail.
func (w *taskWorker) start(ctx context.Context, j job) {
	w.wg.Go(func() { w.work(ctx, j) })
}

func (w *taskWorker) work(ctx context.Context, j job) {
	defer func() {
		w.count.Add(-1)
		w.hold(j.TaskKey, -1)
	}()
	err := w.try(ctx, &j)
	w.metrics.tasks.WithLabelValues(string(j.Kind), result(err)).Inc()
	switch code := fault.CodeOf(err); {
	case err == nil || ctx.Err() != nil:
	case code == fault.Stale || code == fault.NotFound || code == fault.WrongState:
		w.log.Info("task dropped", "kind", j.Kind, "session", j.Session, "payout", j.Payout, "error", err)
	default:
		w.log.Error("task failed, trying again", "kind", j.Kind, "session", j.Session, "payout", j.Payout, "error", err)
		j.Due, j.session = w.now().Add(retryGap), nil
		w.add(j)
	}
}

func (w *taskWorker) try(ctx context.Context, j *job) error {
	if j.session == nil {
		s, err := w.store.Session(ctx, j.SessionKey)
		if err != nil {
			return err
		}
		j.session = s
	}
	var p *session.Payout
	for i := range j.session.Payouts {
		if j.session.Payouts[i].ID == j.Payout {
			p = &j.session.Payouts[i]
		}
	}
	if p == nil {
		return fmt.Errorf("payout %s is not in its session", j.Payout)
	}
	project, ok := w.Caller(j.Project)
	if !ok {
		return fmt.Errorf("project %s is unknown", j.Project)
	}
	with := errand{project: project.Project, task: j.Task}
	lane := w.lanes[laneOther]
	if l, ok := w.lanes[p.Rail]; ok && j.Kind != store.TaskExpire {
		lane = l
	}
	select {
	case lane <- struct{}{}:
		defer func() { <-lane }()
	case <-ctx.Done():
		return ctx.Err()
	}
	switch j.Kind {
	case store.TaskCheck:
		return w.check(ctx, with, p)
	case store.TaskExpire:
		_, err := w.do(ctx, &expire{with})
		return err
	case store.TaskSend:
		return w.send(ctx, with, p)
	case store.TaskQuery:
		return w.query(ctx, with, p)
	}
	return fmt.Errorf("no work for a task %q", j.Kind)
}

func order(p *session.Payout) rail.Order {
	o := rail.Order{Reference: p.Reference, Destination: *p.Details.Instrument, Recipient: p.Details.Recipient}
	if p.Details.Amount != nil {
		o.Amount = *p.Details.Amount
	}
	return o
}

// check asks the rail about the recipient until it answers or the payout's
// deadline has passed.
func (w *taskWorker) check(ctx context.Context, with errand, p *session.Payout) error {
	found := &checked{errand: with}
	refuse := func(code fault.Code) { found.refused, found.text = code, fault.Lookup(code).Text }
	account := p.Details.Instrument.Account
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
		verdict, err := moves.Check(limited, order(p), w.opener(with.task.Project, p.Details.Instrument))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			w.log.Warn("check not answered", "rail", p.Rail, "payout", p.ID, "attempt", with.task.Attempt, "error", err)
			now := w.now()
			left = max(p.CreatedAt.Add(checkDeadline).Sub(now), 0) // the deadline itself is the last time to look
			_, err := w.do(ctx, &later{with, now.Add(min(left, w.queryGap(with.task.Attempt), checkGapMax))})
			return err
		case verdict.Refused != "":
			refuse(fault.Code(verdict.Refused))
			if verdict.Text != "" {
				found.text = verdict.Text
			}
		}
	}
	_, err := w.do(ctx, found)
	return err
}

// send commits the intent, then calls the rail, and commits what it says.
func (w *taskWorker) send(ctx context.Context, with errand, p *session.Payout) error {
	select {
	case <-w.asked:
	case <-ctx.Done():
		return ctx.Err()
	}
	moves, ok := w.byName[p.Rail]
	if !ok {
		_, err := w.do(ctx, &abort{with, fault.RoutingInternal})
		return err
	}
	if card := p.Details.Instrument.Card; card != nil {
		if _, err := w.store.Card(ctx, with.task.Project, card.Sealed); fault.CodeOf(err) == fault.NotFound {
			_, err := w.do(ctx, &abort{with, fault.Internal})
			return err
		}
	}
	if _, err := w.do(ctx, &intent{with}); err != nil {
		return err
	}
	return w.call(ctx, with, p, moves)
}

// call hands an intended payment to its rail. Whatever goes wrong from here on
// is unknown, not failed; the task that asks about it was made with the intent.
func (w *taskWorker) call(ctx context.Context, with errand, p *session.Payout, moves rail.Rail) error {
	limited, cancel := context.WithTimeout(ctx, moves.Terms().SendDeadline)
	defer cancel()
	says, err := moves.Send(limited, order(p), w.opener(with.task.Project, p.Details.Instrument))
	if err != nil {
		w.log.Warn("send not answered", "rail", p.Rail, "payout", p.ID, "error", err)
		says = rail.Outcome{Status: rail.Unknown}
	}
	with.task.Kind, with.task.Attempt = store.TaskQuery, 0
	// The answer of a rail is kept even while the program stops.
	if _, err := w.do(context.WithoutCancel(ctx), &outcome{errand: with, says: says}); err != nil {
		w.log.Error("an answer of a rail was not kept; it will be asked again", "rail", p.Rail, "payout", p.ID, "error", err)
	}
	return nil
}

// query asks the rail what became of a payment.
func (w *taskWorker) query(ctx context.Context, with errand, p *session.Payout) error {
	says := rail.Outcome{Status: rail.Unknown}
	moves, ok := w.byName[p.Rail]
	if ok {
		limited, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		answer, err := moves.Query(limited, p.Reference)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			w.log.Warn("query not answered", "rail", p.Rail, "payout", p.ID, "attempt", with.task.Attempt, "error", err)
		default:
			says = answer
		}
	}
	found := &outcome{errand: with, says: says}
	if _, err := w.do(ctx, found); err != nil {
		return err
	}
	if found.again {
		return w.call(ctx, with, p, moves)
	}
	return nil
}

// Notice takes what a rail says of a payment without being asked: a late, a
// doubled or a contradicting answer.
func (e *Engine) Notice(ctx context.Context, k store.SessionKey, p id.Payout, says rail.Outcome) error {
	project, ok := e.Caller(k.Project)
	if !ok {
		return fault.New(fault.NotFound, "no project %s", k.Project)
	}
	task := store.Task{TaskKey: store.TaskKey{SessionKey: k, Payout: p, Kind: store.TaskQuery}}
	_, err := e.do(ctx, &outcome{errand: errand{project.Project, task}, says: says})
	return err
}
