package payout

import (
	"maps"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

// job is a task that this node has in memory.
type job struct {
	store.Task
	session  *session.Session // as it was when the task was made; nil to read it
	rail     string           // of its payout; "" as long as that is not read
	failures int              // tries in a row that failed by a fault of ours
	// asking puts the job above the bounds of memory: nothing is sent before it
	// is done.
	asking bool
	// promised says that the intent is committed: the rail is called with no
	// more ado. There is no row of such a task; the question about it is one.
	promised bool
	lane     *lane // whose memory it takes
}

// newJob keeps the session of what is due at once only: most of the questions
// that are due later are never asked, because the answer comes before.
func newJob(t store.Task, s *session.Session, now time.Time) *job {
	j := &job{Task: t, session: s}
	if p := j.payout(); p != nil {
		j.rail = p.Rail
	}
	if t.Due.After(now) {
		j.session = nil
	}
	return j
}

// payout is the job's payout in its session; nil if that is not read, or has
// no such payout.
func (j *job) payout() *session.Payout {
	if j.session == nil {
		return nil
	}
	for i := range j.session.Payouts {
		if p := &j.session.Payouts[i]; p.ID == j.Payout {
			return p
		}
	}
	return nil
}

// lane is what one rail may take of this node; taskWorker.mu guards it.
type lane struct {
	rows    int      // jobs in memory
	calls   int      // under way
	waiting []func() // what is next, the oldest first
}

// turn runs f, which calls the rail: now, or once fewer than laneMax calls of the
// lane are under way. What waits for its turn holds no goroutine.
func (w *taskWorker) turn(l *lane, f func()) {
	w.mu.Lock()
	if l.calls == laneMax {
		l.waiting = append(l.waiting, f)
		w.mu.Unlock()
		return
	}
	l.calls++
	w.mu.Unlock()
	f()
	w.next(l)
}

// next gives the place of a call that has ended to what has waited longest.
func (w *taskWorker) next(l *lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(l.waiting) == 0 {
		l.calls--
		return
	}
	f := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	w.crew.run(func() {
		f()
		w.next(l)
	})
}

// laneOf is the lane of a task of a payout on a rail; the tax service has its own.
func (w *taskWorker) laneOf(rail string, kind store.TaskKind) *lane {
	if kind == store.TaskClear || kind == store.TaskReceipt {
		return w.taxLane
	}
	if l, ok := w.lanes[rail]; ok && kind != store.TaskExpire {
		return l
	}
	return w.lanes[laneOther]
}

// ready reports whether this node may promise a payment to a rail in the commit
// that confirms it, because it can call the rail right after.
func (w *taskWorker) ready(rail string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.lanes[rail]
	return ok && w.sending != nil && l.rows < laneRowsMax
}

// keep keeps a promise. Where the worker has stopped since it was made, the
// question about the payout finds that the rail never saw it.
func (w *taskWorker) keep(j *job) {
	j.Fence = j.session.Fence
	j.rail = j.payout().Rail
	w.hold(j)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sending != nil {
		calls := w.sending
		w.crew.run(func() { w.work(calls, j, ignore) })
	}
}

// room reports whether this node should keep another such task in memory.
func (w *taskWorker) room(rail string, kind store.TaskKind) bool {
	if !w.mine || w.stopping.Load() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.laneOf(rail, kind).rows < laneRowsMax
}

// hold takes a job into memory, in place of one of the same task.
func (w *taskWorker) hold(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.held[j.TaskKey]; ok {
		old.lane.rows--
	}
	j.lane = w.laneOf(j.rail, j.Kind)
	j.lane.rows++
	w.held[j.TaskKey] = j
}

// enter takes a job into the lane of its rail, once that is known; false if
// the rail has as many in memory as it may.
func (w *taskWorker) enter(j *job, l *lane) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[j.TaskKey] != j || j.lane == l {
		return true
	}
	if l.rows >= laneRowsMax && !j.asking && !j.promised {
		return false
	}
	j.lane.rows--
	l.rows++
	j.lane = l
	return true
}

// counts reports whether the job is still the one of its task.
func (w *taskWorker) counts(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held[j.TaskKey] == j
}

// release lets go of a job that has run.
func (w *taskWorker) release(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[j.TaskKey] == j {
		j.lane.rows--
		delete(w.held, j.TaskKey)
	}
}

// forget lets go of a task that is done with, or is left to whoever finds it due.
func (w *taskWorker) forget(k store.TaskKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j, ok := w.held[k]; ok {
		j.lane.rows--
		delete(w.held, k)
	}
}

// keys names the tasks whose leases are to be renewed.
func (w *taskWorker) keys() []store.TaskKey {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.held))
}
