package payout

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// paths lead to each state, from created or, for a payout whose session has
// another one that is still being checked, from checking.
var paths = map[session.State][]session.Event{
	session.Created:   {},
	session.Checking:  {session.Start},
	session.Checked:   {session.Pass},
	session.Awaiting:  {session.Start, session.Pass},
	session.Confirmed: {session.Start, session.Pass, session.Confirm},
	session.Sent:      {session.Start, session.Pass, session.Confirm, session.Send},
	session.Unclear:   {session.Start, session.Pass, session.Confirm, session.Send, session.Lose},
	session.Paid:      {session.Start, session.Pass, session.Confirm, session.Send, session.Accept},
	session.Failed:    {session.Start, session.Pass, session.Confirm, session.Send, session.Decline},
	session.Cancelled: {session.Start, session.Pass, session.Cancel},
	session.Returned:  {session.Start, session.Pass, session.Confirm, session.Send, session.Accept, session.Return},
	session.Disputed:  {session.Start, session.Pass, session.Confirm, session.Send, session.Accept, session.Decline},
}

// Every event comes in every state: the engine takes each step of the table, and
// nothing that is not in it changes anything. Nobody works, so that all is done
// by the commands of this test.
func TestEveryStepInTheEngine(t *testing.T) {
	taken := &takenSteps{steps: map[string]bool{}}
	var all sync.WaitGroup // together, so that they share commits
	for _, single := range []bool{false, true} {
		l := newLab(t, func(p *partner.Project) { p.SingleRequest = single })
		l.deposit("1000.00")
		for _, s := range session.States {
			for _, e := range session.Events {
				if single && (s == session.Awaiting || s == session.Cancelled) {
					continue // it does not get there
				}
				if e == session.Ready || e == session.Proceed || s == session.Checked && e == session.Refuse {
					continue // our own: with the last check of the session
				}
				all.Go(func() { l.tryStep(s, e, taken) })
			}
		}
		all.Wait()
		l.tryLastCheck(taken)
		l.clean()
	}
	for _, s := range session.States {
		for _, e := range session.Events {
			_, err := session.Next(s, e)
			if name := fmt.Sprint(s, " ", e); err == nil && !taken.steps[name] {
				t.Errorf("%s: never taken", name)
			}
		}
	}
}

// takenSteps are those that the engine has taken, by state and event.
type takenSteps struct {
	mu    sync.Mutex
	steps map[string]bool
}

func (t *takenSteps) note(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps[name] = true
}

// tryStep brings a payout into a state, and an event to it.
func (l *lab) tryStep(s session.State, e session.Event, taken *takenSteps) {
	l.Helper()
	name := fmt.Sprint(s, " ", e)
	n := l.arrive(s, e)
	if got := stateOf(l.session(n)); got != s {
		l.Errorf("%s: the payout is %s", name, got)
		return
	}
	err := l.bring(n, e)
	want := s
	if step, illegal := session.Next(s, e); illegal == nil {
		taken.note(name)
		if want = step.To; e == session.Pass && s == session.Checking { // it is alone, so its money is held at once
			want = session.Awaiting
			if l.call().Project.SingleRequest {
				want = session.Confirmed
			}
		}
		if err != nil {
			l.Errorf("%s: %v", name, err)
		}
	} else if s == session.Created && e != session.Confirm {
		// There is no payout that anybody but its partner could tell of.
	} else if err != nil && fault.CodeOf(err) != fault.WrongState {
		l.Errorf("%s: %v, want %s or nothing", name, err, fault.WrongState)
	}
	if got := stateOf(l.session(n)); got != want {
		l.Errorf("%s: the payout is %s, want %s", name, got, want)
	}
}

// stepBody is a payout to an account, from which money may come back.
func stepBody(minor int64) string { return accountBody("40817810500000012345", minor) }

// arrive makes a payout in a state, to which an event is to come.
func (l *lab) arrive(s session.State, e session.Event) id.Session {
	l.Helper()
	var a Answer
	var err error
	path := paths[s]
	switch {
	case s == session.Checked:
		return l.firstCheck(stepBody(100), stepBody(100))
	case s == session.Checking && e == session.Verified:
		path = nil
		a, err = l.engine.Verify(l.Context(), l.call(), l.parse(wire.OpVerify, verifyBody))
	default:
		a, err = l.engine.Create(l.Context(), l.call(), l.parse(wire.OpCreate, stepBody(100)))
	}
	if err != nil {
		l.Fatal(err)
	}
	n := l.sessionOf(a)
	for _, before := range path {
		if before == session.Confirm && l.call().Project.SingleRequest {
			continue
		}
		if err := l.bring(n, before); err != nil {
			l.Fatalf("on the way to %s, %s: %v", s, before, err)
		}
	}
	return n
}

// firstCheck makes a session of two payouts, the first of which is checked.
func (l *lab) firstCheck(first, second string) id.Session {
	l.Helper()
	n := l.multi(first, second)
	if err := l.bring(n, session.Pass); err != nil {
		l.Fatal(err)
	}
	return n
}

// tryLastCheck ends the last check of a session: with money for all, and with
// too little.
func (l *lab) tryLastCheck(taken *takenSteps) {
	l.Helper()
	e, want := session.Ready, session.Awaiting
	if l.call().Project.SingleRequest {
		e, want = session.Proceed, session.Confirmed
	}
	for _, c := range []struct {
		minor int64
		event session.Event
		want  session.State
	}{{100, e, want}, {1_000_000_000, session.Refuse, session.Failed}} {
		n := l.firstCheck(stepBody(100), stepBody(c.minor))
		if _, err := l.engine.do(l.Context(), &checked{errand: l.errand(n, 1, store.TaskCheck)}); err != nil {
			l.Error(err)
		}
		if got := stateOf(l.session(n)); got != c.want {
			l.Errorf("checked %s: the payout is %s, want %s", c.event, got, c.want)
		}
		taken.note(fmt.Sprint(session.Checked, " ", c.event))
	}
}

// bring has an event come to the first payout of a session, whatever its state.
func (l *lab) bring(n id.Session, e session.Event) error {
	says := func(status rail.Status) error {
		_, err := l.engine.do(l.Context(), &outcome{
			errand: l.errand(n, 0, store.TaskQuery), says: rail.Outcome{Status: status, Code: rail.IssuerDeclined}, asked: l.engine.now(),
		})
		return err
	}
	var c command
	switch e {
	case session.Start:
		r := l.parse(wire.OpInit, stepBody(100))
		r.Session = n
		_, err := l.engine.Start(l.Context(), l.call(), r)
		return err
	case session.Confirm:
		return l.confirm(n)
	case session.Cancel:
		return l.cancel(n)
	case session.Accept:
		return says(rail.Succeeded)
	case session.Decline:
		return says(rail.Failed)
	case session.Lose:
		return says(rail.Unknown)
	case session.Resend:
		l.clock.advance(time.Minute) // beyond the rail's window
		return errors.Join(says(rail.NeverSeen), says(rail.NeverSeen))
	case session.Pass, session.Verified:
		c = &checked{errand: l.errand(n, 0, store.TaskCheck)}
	case session.Refuse:
		c = &checked{errand: l.errand(n, 0, store.TaskCheck), refused: fault.AccountNotFound}
	case session.Expire:
		c = &expire{l.errand(n, 0, store.TaskExpire)}
	case session.Abort:
		c = &abort{errand: l.errand(n, 0, store.TaskSend), code: fault.RoutingInternal}
	case session.Send:
		c = &intent{errand: l.errand(n, 0, store.TaskSend)}
	case session.Return:
		w := l.errand(n, 0, store.TaskQuery)
		c = &returned{errand: w, rail: string(instrument.KindAccount), told: rail.Return{
			Reference: "back-" + w.task.Payout.String(), Amount: money.Amount{Minor: 100, Currency: money.RUB},
			Payment: w.task.Payout.String(), At: l.engine.now(),
		}}
	default:
		return fmt.Errorf("nobody brings %s", e)
	}
	_, err := l.engine.do(l.Context(), c)
	return err
}

// errand is a worker's about a payout of a session, or about one that never was
// where it has none.
func (l *lab) errand(n id.Session, payout int, kind store.TaskKind) errand {
	l.Helper()
	s := l.session(n)
	w := errand{project: l.call().Project, task: store.Task{TaskKey: store.TaskKey{SessionKey: l.key(n), Kind: kind}, Fence: s.Fence}}
	if payout < len(s.Payouts) {
		w.task.Payout = s.Payouts[payout].ID
	}
	return w
}

// stateOf is the state of the first payout, or of a session without one.
func stateOf(s *session.Session) session.State {
	if len(s.Payouts) == 0 {
		return s.State
	}
	return s.Payouts[0].State
}
