package payout

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/rail"
)

// idle waits until the workers have nothing more in memory.
func (l *lab) idle(why string) {
	l.Helper()
	for end := time.Now().Add(patience); ; {
		tasks, hooks := len(l.engine.tasksWorker.keys()), len(l.engine.hooks.keys())
		if tasks == 0 && hooks == 0 {
			return
		}
		if time.Now().After(end) {
			l.Fatalf("%s: %d tasks and %d events still in memory", why, tasks, hooks)
		}
	}
}

// What may be sent waits until everything under way has been asked about, and
// must not keep the questions from being asked meanwhile.
func TestWaitingSendsDoNotBlockTheQuestions(t *testing.T) {
	l := newLab(t)
	card := l.rails[instrument.KindCard]
	card.terms = rail.Terms{SendDeadline: time.Hour, Visibility: time.Hour}
	card.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{}, errNoAnswer
	})
	card.query = func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.Unknown}, nil }
	l.start()
	unclear := l.init(cardBody(1))
	l.receive(session.ReadyToConfirm, unclear)
	if err := l.confirm(unclear); err != nil {
		t.Fatal(err)
	}
	l.until(unclear, session.Unclear)
	waiting := make([]id.Session, laneMax)
	for i := range waiting {
		waiting[i] = l.init(cardBody(1))
	}
	for _, s := range waiting {
		l.until(s, session.Awaiting)
	}
	l.close()

	card.query = func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.Succeeded}, nil }
	l.open()
	for _, s := range waiting { // all of them before the questions begin
		if err := l.confirm(s); err != nil {
			t.Fatal(err)
		}
	}
	l.start()
	l.until(unclear, session.Paid)
	for _, s := range waiting {
		l.until(s, session.Paid) // the questions that follow tell
	}
	l.clean()
}

// A payment that has ended leaves nothing in memory, least of all a question to the rail.
func TestAnsweredPaymentIsNotAskedAbout(t *testing.T) {
	l := newLab(t)
	card := l.rails[instrument.KindCard]
	card.terms = rail.Terms{SendDeadline: ownHorizon - time.Second, Visibility: time.Second}
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	l.idle("the payment has ended")
}

// However often its task was made anew, a payment is asked about in one line of
// questions, each after a longer gap.
func TestOneQuestionAtATime(t *testing.T) {
	l := newLab(t)
	card := l.rails[instrument.KindCard]
	card.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{}, errNoAnswer
	})
	asked := make(chan int, 1000)
	card.query = func(_ string, n int) (rail.Outcome, error) {
		asked <- n
		return rail.Outcome{Status: rail.Unknown}, nil
	}
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.until(s, session.Unclear)
	n := 0
	for end := time.Now().Add(patience); n < 5; {
		select {
		case n = <-asked:
		default:
			l.advance(10 * time.Millisecond)
		}
		if time.Now().After(end) {
			t.Fatalf("asked %d times", n)
		}
	}
	l.close()
	l.open()
	err := l.store.Snapshot(t.Context(), func(snapshot store.Snapshot) error {
		for task, err := range snapshot.Tasks(t.Context(), l.project) {
			if err != nil || task.Attempt != card.asks[task.Payout.String()] {
				t.Errorf("asked %d times, the task counts %d, %v", card.asks[task.Payout.String()], task.Attempt, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRailPanics(t *testing.T) {
	l := newLab(t)
	card := l.rails[instrument.KindCard]
	card.query = func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.Succeeded}, nil }
	card.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) { panic("a fault of the rail's") })
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
}

// As long as it can't be found out what was under way, nothing is sent.
func TestNothingIsSentBeforeTheQuestionsAreKnown(t *testing.T) {
	l := newLab(t)
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	l.close()

	l.open()
	card := l.rails[instrument.KindCard]
	broken := &unclaimable{Store: l.store, tried: make(chan struct{}, 100)}
	broken.down.Store(true)
	l.engine.store = broken
	card.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		if broken.down.Load() {
			t.Error("sent before what was under way is known")
		}
		return rail.Outcome{Status: rail.Succeeded}, nil
	})
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.start()
	for range 3 { // it does not go on after the first failure
		<-broken.tried
	}
	broken.down.Store(false)
	l.receive(session.PaymentFinished, s)
}

// unclaimable is a store whose claims fail while it is down.
type unclaimable struct {
	store.Store
	down  atomic.Bool
	tried chan struct{}
}

func (u *unclaimable) ClaimTasks(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int, kinds ...store.TaskKind,
) ([]store.Task, error) {
	u.tried <- struct{}{}
	if u.down.Load() {
		return nil, fault.New(fault.Busy, "down")
	}
	return u.Store.ClaimTasks(ctx, node, due, now, lease, limit, kinds...)
}

// A rail that has its share of this node's memory leaves the others theirs.
func TestOneRailDoesNotTakeTheRoomOfOthers(t *testing.T) {
	l := newLab(t)
	w := l.engine.tasksWorker
	task := func(n int, kind store.TaskKind) store.Task {
		return store.Task{TaskKey: store.TaskKey{SessionKey: l.key(id.Session(n)), Payout: id.Payout(n), Kind: kind}}
	}
	for n := range laneRowsMax {
		w.hold(&job{Task: task(n+1, store.TaskQuery), rail: "card"})
	}
	if w.room("card", store.TaskCheck) {
		t.Error("there is room for another task of a rail that has its share")
	}
	if !w.room("fps", store.TaskCheck) || !w.room("card", store.TaskExpire) || !w.room(laneOther, "") {
		t.Error("a rail with its share leaves no room for others")
	}
	late, question := &job{Task: task(laneRowsMax+1, store.TaskCheck)}, &job{Task: task(laneRowsMax+2, store.TaskQuery), asking: true}
	w.hold(late)
	w.hold(question)
	if w.enter(late, w.lanes["card"]) {
		t.Error("a claimed task enters a lane without room")
	}
	if !w.enter(question, w.lanes["card"]) {
		t.Error("a question that sends wait for is kept out")
	}

	// However a task leaves, it leaves nothing behind.
	w.hold(&job{Task: late.Task, rail: "fps"}) // overtakes the claimed one
	w.release(late)
	w.forget(late.TaskKey)
	w.release(question)
	for n := range laneRowsMax {
		w.forget(task(n+1, store.TaskQuery).TaskKey)
		w.forget(task(n+1, store.TaskQuery).TaskKey)
	}
	for name, l := range w.lanes {
		if l.rows != 0 {
			t.Errorf("lane %q: %d left of nothing", name, l.rows)
		}
	}
	if n := len(w.keys()); n != 0 {
		t.Errorf("%d leases left of nothing", n)
	}
}

// A task that fails by a fault of ours is tried again, ever less often: each
// try may cost its neighbours in the batch their speed.
func TestFailingTaskComesBack(t *testing.T) {
	l := newLab(t)
	w := l.engine.tasksWorker
	j := &job{Task: store.Task{TaskKey: store.TaskKey{SessionKey: l.key(l.init(cardBody(100))), Payout: 1, Kind: store.TaskCheck}}}
	w.hold(j) // a payout that is not in its session
	before := w.now()
	for range 20 {
		w.work(t.Context(), j, ignore)
	}
	w.agenda.mu.Lock()
	defer w.agenda.mu.Unlock()
	var gaps []time.Duration
	for _, d := range w.agenda.rows {
		if d.what == j {
			gaps = append(gaps, d.at.Sub(before).Round(time.Second))
		}
	}
	slices.Sort(gaps)
	if len(gaps) != 20 || gaps[0] != retryGap || gaps[1] != 2*retryGap || gaps[19] != retryGapMax {
		t.Errorf("gaps %v", gaps)
	}
	if !w.counts(j) {
		t.Error("its lease is not kept")
	}
}

// A promise that could not be kept at once is not taken for one that was made
// since: whoever made that is calling the rail, and knows nothing of this one.
func TestLatePromiseIsNotTheNextOne(t *testing.T) {
	l := newLab(t)
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	l.close()
	cards := &lostCards{}
	l.wrap = func(s store.Store) store.Store { cards.Store = s; return cards }
	l.open()
	w := l.engine.tasksWorker
	w.promise(t.Context(), t.Context())
	cards.code.Store(fault.Internal)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	var late *job
	l.eventually("the promise is to be kept later", func() bool {
		w.agenda.mu.Lock()
		defer w.agenda.mu.Unlock()
		for _, d := range w.agenda.rows {
			if d.what.promised {
				late = d.what
			}
		}
		return late != nil
	})

	// The rail has never seen it, so it is promised anew.
	caller, _ := l.engine.Caller(l.project)
	p := l.session(s).Payouts[0]
	with := errand{caller.Project, store.Task{TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: p.ID, Kind: store.TaskQuery}}}
	l.clock.advance(time.Minute)
	for range neverSeenMin {
		if err := l.engine.report(t.Context(), &outcome{errand: with, says: rail.Outcome{Status: rail.NeverSeen}, asked: l.engine.now()}); err != nil {
			t.Fatal(err)
		}
	}
	cards.code.Store(fault.NotFound)
	w.work(t.Context(), late, ignore)
	w.crew.wait()
	if p := l.session(s).Payouts[0]; p.State != session.Sent || p.Attempt != 2 {
		t.Errorf("while the rail is called it is %s, attempt %d, %+v", p.State, p.Attempt, p.Failure)
	}
	l.clean()
}

// lostCards is a store that may fail to read a card, by a code.
type lostCards struct {
	store.Store
	code atomic.Value
}

func (s *lostCards) Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error) {
	if code := s.code.Load(); code != nil {
		return vault.Sealed{}, fault.New(code.(fault.Code), "not to be read")
	}
	return s.Store.Card(ctx, p, c)
}
