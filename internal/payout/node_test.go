package payout

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/money"
)

// movable makes the engine's real clock one that the test moves.
func (l *lab) movable() *atomic.Int64 {
	offset := new(atomic.Int64)
	l.engine.real = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	return offset
}

func (l *lab) tryDeposit() error {
	_, err := l.engine.Deposit(l.Context(), l.project, money.Amount{Minor: 1, Currency: money.RUB}, "")
	return err
}

// tasks lists all that the project has.
func (l *lab) tasks() []store.Task {
	l.Helper()
	var tasks []store.Task
	err := l.store.Snapshot(l.Context(), func(s store.Snapshot) error {
		for task, err := range s.Tasks(l.Context(), l.project) {
			if err != nil {
				return err
			}
			tasks = append(tasks, task)
		}
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	return tasks
}

// TestRunsHaveNumbersOfTheirOwn opens the installation again and again: every
// run has another number, and its ids go by the real time.
func TestRunsHaveNumbersOfTheirOwn(t *testing.T) {
	l := newLab(t)
	l.clock.advance(100 * 24 * time.Hour)
	seen := map[int64]bool{}
	for range 3 {
		before := time.Now()
		next := l.engine.ids.Next()
		if number := next >> 12 & (store.Nodes - 1); number != int64(l.engine.number.value) || seen[number] {
			t.Errorf("an id has number %d, the engine %d; earlier runs had %v", number, l.engine.number.value, seen)
		} else {
			seen[number] = true
		}
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(next>>22) * time.Millisecond)
		if off := at.Sub(before); off < -time.Second || off > time.Minute {
			t.Errorf("an id is %s off the real time", off)
		}
		l.close()
		l.open()
	}
}

// TestNumberIsGivenBack holds an engine to what it owes to others when it ends,
// or can't begin.
func TestNumberIsGivenBack(t *testing.T) {
	l := newLab(t)
	node, value := l.engine.node, l.engine.number.value
	l.engine.Close()
	l.engine.Close() // once is enough
	if err := l.store.KeepNode(t.Context(), node, value, time.Now()); fault.CodeOf(err) != fault.Stale {
		t.Errorf("after Close: %v, want %s", err, fault.Stale)
	}

	broken := errors.New("no projects")
	taking := &projectless{Store: l.store, err: broken}
	if _, err := New(t.Context(), Options{Store: taking}); !errors.Is(err, broken) {
		t.Fatalf("New: %v, want %v", err, broken)
	}
	if err := l.store.KeepNode(t.Context(), taking.owner, taking.number, time.Now()); fault.CodeOf(err) != fault.Stale {
		t.Errorf("after a New that failed: %v, want %s", err, fault.Stale)
	}
}

// projectless hands out a number, but no projects.
type projectless struct {
	store.Store
	err    error
	owner  string
	number int
}

func (p *projectless) TakeNode(ctx context.Context, owner string, now time.Time, lease time.Duration) (n int, err error) {
	p.owner = owner
	p.number, err = p.Store.TakeNode(ctx, owner, now, lease)
	return p.number, err
}

func (p *projectless) ProjectsRevision(context.Context) (int64, error) { return 0, p.err }

// TestNoCommitWithoutANumber lets the lease of the number end: from a margin
// before that on nothing is written, until it is renewed.
func TestNoCommitWithoutANumber(t *testing.T) {
	l := newLab(t)
	offset := l.movable()
	offset.Store(int64(numberLease - numberMargin - time.Minute))
	if err := l.tryDeposit(); err != nil {
		t.Errorf("within the lease: %v", err)
	}
	offset.Store(int64(numberLease - numberMargin))
	if err := l.tryDeposit(); fault.CodeOf(err) != fault.Busy {
		t.Errorf("at the end of the lease: %v, want %s", err, fault.Busy)
	}
	if err := l.engine.keepNumber(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.tryDeposit(); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
}

// TestRunEndsWhenTheNumberIsLost is the end of a node that was paused for so
// long that another has its number.
func TestRunEndsWhenTheNumberIsLost(t *testing.T) {
	l := newLab(t)
	l.engine.lease = 30 * time.Millisecond // renewals come with those of leases
	offset := l.movable()
	if err := l.store.FreeNode(t.Context(), l.engine.node, l.engine.number.value, time.Now()); err != nil {
		t.Fatal(err) // it is nobody's now, which is not this run's either
	}
	ended := make(chan error, 1)
	go func() { ended <- l.engine.Run(t.Context()) }()
	offset.Store(int64(numberLease + 2*time.Minute))
	select {
	case err := <-ended:
		if fault.CodeOf(err) != fault.Stale {
			t.Errorf("Run: %v, want %s", err, fault.Stale)
		}
	case <-time.After(patience):
		t.Fatal("Run goes on without a number")
	}
	if err := l.tryDeposit(); fault.CodeOf(err) != fault.Busy {
		t.Errorf("a command afterwards: %v, want %s", err, fault.Busy)
	}
}

// TestCommandsBeforeRunKeepTheirLeases has commands come between New and Run:
// what they handed to this node is not voided as that of an earlier run, or it
// would be claimed, which raises the fence.
func TestCommandsBeforeRunKeepTheirLeases(t *testing.T) {
	l := newLab(t)
	s := l.init(cardBody(100_00))
	l.start()
	if fence := l.until(s, session.Awaiting).Fence; fence != 0 {
		t.Errorf("the fence is %d after a task that was run from memory, want 0", fence)
	}
}

// TestRunHandsBackItsLeases ends a node while a webhook is under way that the
// partner does not answer.
func TestRunHandsBackItsLeases(t *testing.T) {
	l := newLab(t)
	blocked, came := make(chan struct{}), make(chan struct{}, 1)
	l.answer = func(hook) int { came <- struct{}{}; <-blocked; return http.StatusOK }
	defer close(blocked)
	told := l.init(cardBody(100_00))
	l.start()
	<-came // ready_to_confirm is under way, and stays so
	l.until(told, session.Awaiting)
	l.stop()
	l.stop = nil
	for _, task := range l.tasks() {
		if task.Owner != "" || !task.Lease.IsZero() {
			t.Errorf("task %+v is still leased", task)
		}
	}
	for _, e := range l.events() {
		if e.Status != webhook.Pending || e.Owner != "" || !e.Lease.IsZero() {
			t.Errorf("event %d is %s and leased to %q until %s", e.N, e.Status, e.Owner, e.Lease)
		}
	}
}

// TestWorkForOthersIsNudged has a node without workers take a payout: it says
// at once that there is something to do.
func TestWorkForOthersIsNudged(t *testing.T) {
	l := newLab(t)
	l.engine.tasksWorker.mine, l.engine.hooks.mine = false, false
	nudged := make(chan struct{}, 1)
	l.engine.store = &nudging{l.store, nudged}
	l.start()
	l.init(cardBody(100_00))
	select {
	case <-nudged:
	case <-time.After(patience):
		t.Error("no nudge")
	}
}

// nudging tells of nudges.
type nudging struct {
	store.Store
	nudged chan<- struct{}
}

func (n *nudging) Nudge(context.Context) error {
	select {
	case n.nudged <- struct{}{}:
	default:
	}
	return nil
}
