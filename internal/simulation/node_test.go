package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/sign"
)

// node is one run of the program: a crash ends it, and another one follows.
type node struct {
	*world
	name   string // of the machine, such as n1
	engine *payout.Engine
	up     bool        // the engine takes requests
	dead   atomic.Bool // nothing that it does reaches the world any more
	offset atomic.Int64
	cut    atomic.Bool // it can't reach the database
	frozen time.Time   // nothing that it does gets out before
	keys   vault.Keys  // in its key file when it started

	stopping bool // it was told to
	// booted is when it came up, and sighted when it could last reach the database
	// again.
	booted, sighted time.Time
	cancel          context.CancelFunc
	backs           map[string]chan back // returns that a rail tells this node of
	nudged          atomic.Pointer[func()]
}

// back is a return on its way to a node.
type back struct {
	rail.Return
	told func(error)
}

// boot starts a machine.
func (w *world) boot(slot int, offset time.Duration) {
	n := &node{world: w, name: fmt.Sprintf("n%d", slot+1), backs: map[string]chan back{}}
	n.offset.Store(int64(offset))
	if n.keys = secrets().vault; w.safe != nil {
		n.keys = w.safe.files[slot]
	}
	for name := range w.rails {
		n.backs[name] = make(chan back, 1000)
	}
	w.nodes[slot] = n
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	w.tell("%s boots", n.name)
	go n.live(ctx)
}

// live is a run of the program from its start to its end.
func (n *node) live(ctx context.Context) {
	defer n.wake()
	defer n.dead.Store(true)
	rails := map[instrument.Kind]rail.Rail{}
	for _, r := range n.world.rails {
		rails[r.kind] = &connector{n, r}
	}
	v, err := vault.New(n.keys)
	if err != nil {
		n.breaks("engine", "vault: %v", err)
		return
	}
	var e *payout.Engine
	for {
		if err := n.proved(ctx, v); err != nil {
			n.breaks("vault", "%s does not start: %v", n.name, err)
			return
		}
		e, err = payout.New(ctx, payout.Options{
			Store: &gated{memory: n.store, n: n}, Vault: v, Rails: rails, ServerKeys: map[partner.KeyType]sign.PrivateKey{partner.P256: secrets().server},
			Now: n.now, QueryGapMax: n.gapMax, Transport: transport{n},
			Jitter: func() float64 { return 0.5 }, Admit: n.admit, Task: n.tag, Log: slog.New(watcher{n}),
			Rates: n.exchange(), Tax: n.taxService(),
		})
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second): // whoever runs it starts it again
		}
	}
	n.mu.Lock()
	n.engine, n.up, n.booted = e, !n.dead.Load(), time.Now()
	n.mu.Unlock()
	n.wake()
	if err := e.Run(ctx); err != nil && !n.dead.Load() && fault.CodeOf(err) != fault.Stale {
		n.breaks("engine", "%s: Run: %v", n.name, err)
	}
	n.mu.Lock()
	n.up = false
	n.mu.Unlock()
	e.Close()
}

// proved sees that a node has the keys of all that is sealed, as each does that
// starts.
func (n *node) proved(ctx context.Context, v *vault.Vault) error {
	if n.safe == nil || n.dead.Load() || ctx.Err() != nil {
		return nil
	}
	return payout.Proved(context.WithoutCancel(ctx), n.store, v)
}

// admit lets the commands of workers into the queue one after the other.
func (n *node) admit(ctx context.Context, reads store.Reads) {
	_ = n.enter(context.WithoutCancel(ctx), n.name+" brings news of "+n.about(reads), func(c *call) { c.end(nil) })
}

// tagKey is under what the context of a task's calls has the payout that they
// are for.
type tagKey struct{}

// tag lets the calls of a task be told from those of others that ask the same.
func (n *node) tag(ctx context.Context, k store.TaskKey) context.Context {
	if n.plain {
		return ctx
	}
	return context.WithValue(ctx, tagKey{}, k)
}

// tagged adds to the name of a call whose it is, unless it says so.
func (n *node) tagged(ctx context.Context, name string) string {
	k, ok := ctx.Value(tagKey{}).(store.TaskKey)
	if !ok {
		return name
	}
	n.store.data.Lock()
	defer n.store.data.Unlock()
	if label := n.labelOf(k.SessionKey, k.Payout); !strings.Contains(name, label) {
		name += " for " + label
	}
	return name
}

func (n *node) now() time.Time { return time.Now().Add(time.Duration(n.offset.Load())) }

// serves returns the engine, if it takes requests.
func (n *node) serves() *payout.Engine {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.up && !n.dead.Load() {
		return n.engine
	}
	return nil
}

// kill ends a run in the midst of whatever it does.
func (n *node) kill() {
	n.dead.Store(true)
	n.cancel()
	for _, c := range n.pending {
		if c.node == n {
			c.end(errDead)
		}
	}
	n.world.pending = slices.DeleteFunc(n.world.pending, func(c *call) bool { return c.over })
	for _, o := range n.ops {
		if o.node == n {
			o.lose()
		}
	}
}

// crash kills a machine and starts it again after a while.
func (n *node) crash(why string) {
	if n.dead.Load() { // it has stopped, and had somebody still waiting for a call
		n.kill()
		return
	}
	n.tell("%s CRASHES: %s", n.name, why)
	n.kill()
	slot := slices.Index(n.nodes, n)
	name := n.number("restart of " + n.name)
	n.after(n.between(name, 50*time.Millisecond, 15*time.Second), name, func() {
		if n.nodes[slot] == n {
			n.boot(slot, time.Duration(n.offset.Load()))
		}
	})
}

// stop ends a run in good order, as for a new release.
func (n *node) stop() {
	if n.dead.Load() {
		return
	}
	n.tell("%s is told to stop", n.name)
	n.stopping = true
	n.cancel()
	slot := slices.Index(n.nodes, n)
	var again func()
	again = func() {
		switch {
		case n.nodes[slot] != n:
		case n.dead.Load():
			n.boot(slot, time.Duration(n.offset.Load()))
		default:
			n.after(100*time.Millisecond, n.number("successor of "+n.name), again)
		}
	}
	again()
}

// watcher reads the log of an engine.
type watcher struct{ *node }

func (watcher) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (w watcher) WithAttrs([]slog.Attr) slog.Handler         { return w }
func (w watcher) WithGroup(string) slog.Handler              { return w }
func (w watcher) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "panicked") {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
		w.breaks("engine", "%s: %s", w.name, text)
	}
	return nil
}

// gated is the database as one node reaches it: over a network that may fail.
type gated struct {
	*memory
	n *node
}

var (
	errCut     = fault.New(fault.Busy, "the database can't be reached")
	errRefused = fault.New(fault.Internal, "the database refuses the batch")
)

// ask is a call of the database. do is what it does there.
func (g *gated) ask(ctx context.Context, name string, do func() error) error {
	n := g.n
	if n.cut.Load() {
		return errCut
	}
	return n.enter(ctx, n.name+" "+name, func(c *call) {
		switch {
		case n.cut.Load(), n.goesWrong("busy", c.name):
			n.tell("%s: the database can't be reached", c.name)
			c.end(errCut)
		case n.goesWrong("crash before", c.name):
			n.crash("before " + c.name)
		default:
			err := do()
			switch {
			case n.goesWrong("crash after", c.name):
				n.crash("after " + c.name)
				return
			case err == nil && n.goesWrong("lost answer", c.name):
				n.tell("%s: done, and the answer is lost", c.name)
				c.end(errCut)
				return
			}
			n.tell("%s: %s", c.name, told(err))
			c.end(err)
		}
	})
}

func told(err error) string {
	if err == nil {
		return "done"
	}
	return string(fault.CodeOf(err))
}

// Commit may fail before and after, and leave open which of the two.
func (g *gated) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	n := g.n
	if n.cut.Load() {
		return errCut
	}
	commit := func() error {
		before := g.writes
		err := g.memory.Commit(ctx, reads, decide)
		n.looked.due = n.looked.due || g.writes != before
		return err
	}
	return n.enter(ctx, n.name+" commit "+n.about(reads), func(c *call) {
		switch {
		case n.cut.Load(), n.goesWrong("busy", c.name):
			n.tell("%s: the database can't be reached", c.name)
			c.end(errCut)
		case n.goesWrong("crash before", c.name):
			n.crash("before " + c.name)
		case n.goesWrong("refused", c.name):
			g.decideOnly(ctx, reads, decide)
			n.tell("%s: the database refuses it", c.name)
			c.end(errRefused)
		case n.goesWrong("unknown and lost", c.name):
			g.decideOnly(ctx, reads, decide)
			n.tell("%s: not written, and nobody knows", c.name)
			c.end(fmt.Errorf("simulated: %w", store.ErrUnknown))
		case n.goesWrong("unknown and written", c.name):
			err := commit()
			n.tell("%s: %s, and nobody knows", c.name, told(err))
			if err == nil {
				err = fmt.Errorf("simulated: %w", store.ErrUnknown)
			}
			c.end(err)
		default:
			err := commit()
			if n.goesWrong("crash after", c.name) {
				n.crash("after " + c.name)
				return
			}
			n.tell("%s: %s", c.name, told(err))
			c.end(err)
		}
	})
}

// decideOnly lets a batch be decided that is then not written.
func (g *gated) decideOnly(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) {
	_ = g.memory.Commit(ctx, reads, func(rows *store.Rows) (*store.Changes, error) {
		_, _ = decide(rows)
		return nil, errRefused
	})
}

// about says what a batch is about.
func (n *node) about(reads store.Reads) string {
	var all []string
	for _, list := range [][]store.SessionKey{reads.Sessions, reads.Outbox, reads.Events} {
		for _, k := range list {
			all = append(all, n.labelled(k))
		}
	}
	for _, k := range reads.Keys {
		all = append(all, k.Key)
	}
	for _, k := range reads.Incomes {
		all = append(all, fmt.Sprintf("%s in %d", k.INN, k.Year))
	}
	slices.Sort(all)
	return "[" + strings.Join(slices.Compact(all), " ") + "]"
}

// labelled is label for those who are not the driver.
func (n *node) labelled(k store.SessionKey) string {
	n.store.data.Lock()
	defer n.store.data.Unlock()
	return n.label(k)
}

func (g *gated) Committed(ctx context.Context, batch id.Batch) (found bool, err error) {
	err = g.ask(ctx, "look-up of a batch", func() (err error) { found, err = g.memory.Committed(ctx, batch); return err })
	return found, err
}

// ClaimTasks asks only where there is something to claim, so that the many
// looks of idle nodes cost nothing.
func (g *gated) ClaimTasks(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int, kinds ...store.TaskKind,
) (tasks []store.Task, err error) {
	if nothing, err := g.idle(ctx, func() bool { return len(g.dueTasks(due, now, kinds...)) == 0 }); nothing || err != nil {
		return nil, err
	}
	err = g.ask(ctx, "claim of tasks", func() (err error) {
		tasks, err = g.memory.ClaimTasks(ctx, node, due, now, lease, limit, kinds...)
		return err
	})
	return tasks, err
}

func (g *gated) ClaimEvents(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int,
) (events []webhook.Event, err error) {
	if nothing, err := g.idle(ctx, func() bool { return len(g.dueEvents(due, now)) == 0 }); nothing || err != nil {
		return nil, err
	}
	err = g.ask(ctx, "claim of webhooks", func() (err error) {
		events, err = g.memory.ClaimEvents(ctx, node, due, now, lease, limit)
		return err
	})
	return events, err
}

// idle is a look that needs no turn: the tables change only while everybody
// else waits.
func (g *gated) idle(ctx context.Context, nothing func() bool) (bool, error) {
	switch {
	case g.n.dead.Load():
		return false, errDead
	case g.n.cut.Load():
		return false, errCut
	}
	return read(g.memory, ctx, func() (bool, error) { return nothing(), nil })
}

func (g *gated) Renew(ctx context.Context, node string, until time.Time, tasks []store.TaskKey, events []store.EventKey) error {
	return g.ask(ctx, "renewal", func() error { return g.memory.Renew(ctx, node, until, tasks, events) })
}

func (g *gated) Release(ctx context.Context, node string, tasks []store.TaskKey, events []store.EventKey) error {
	what := "tasks"
	if len(events) > 0 {
		what = "webhooks"
	}
	return g.ask(ctx, "release of "+what, func() error { return g.memory.Release(ctx, node, tasks, events) })
}

func (g *gated) Nudge(ctx context.Context) error {
	return g.ask(ctx, "nudge", func() error {
		for _, n := range g.n.nodes {
			if nudged := n.nudged.Load(); nudged != nil && n != g.n && !n.dead.Load() {
				(*nudged)()
			}
		}
		return nil
	})
}

func (g *gated) Listen(ctx context.Context, nudged func()) {
	g.n.nudged.Store(&nudged)
	<-ctx.Done()
	g.n.nudged.Store(nil)
}

func (g *gated) Recover(ctx context.Context, now time.Time) (alone bool, err error) {
	err = g.ask(ctx, "recovery", func() (err error) { alone, err = g.memory.Recover(ctx, now); return err })
	return alone, err
}

func (g *gated) TakeNode(ctx context.Context, owner string, now time.Time, lease time.Duration) (number int, err error) {
	err = g.ask(ctx, "taking a node number", func() (err error) { number, err = g.memory.TakeNode(ctx, owner, now, lease); return err })
	return number, err
}

func (g *gated) KeepNode(ctx context.Context, owner string, number int, until time.Time) error {
	return g.ask(ctx, "keeping a node number", func() error { return g.memory.KeepNode(ctx, owner, number, until) })
}

func (g *gated) FreeNode(ctx context.Context, owner string, number int, now time.Time) error {
	return g.ask(ctx, "freeing a node number", func() error { return g.memory.FreeNode(ctx, owner, number, now) })
}

func (g *gated) Session(ctx context.Context, k store.SessionKey) (s *session.Session, err error) {
	err = g.ask(ctx, "session of "+g.n.labelled(k), func() (err error) { s, err = g.memory.Session(ctx, k); return err })
	return s, err
}

func (g *gated) Book(ctx context.Context, p id.Project) (b *ledger.Book, err error) {
	err = g.ask(ctx, "book of "+string(p), func() (err error) { b, err = g.memory.Book(ctx, p); return err })
	return b, err
}

func (g *gated) Card(ctx context.Context, p id.Project, k id.Card) (c vault.Sealed, err error) {
	err = g.ask(ctx, "card of "+string(p), func() (err error) { c, err = g.memory.Card(ctx, p, k); return err })
	return c, err
}

func (g *gated) Income(ctx context.Context, k store.IncomeKey) (i store.Income, err error) {
	err = g.ask(ctx, "income of "+k.INN, func() (err error) { i, err = g.memory.Income(ctx, k); return err })
	return i, err
}

func (g *gated) Reservations(ctx context.Context, from, to time.Time) (list []store.Reservation, err error) {
	err = g.ask(ctx, "reservations", func() (err error) { list, err = g.memory.Reservations(ctx, from, to); return err })
	return list, err
}

func (g *gated) StatementsOf(ctx context.Context, rail string, limit int) (list []store.Statement, err error) {
	err = g.ask(ctx, "statements of "+rail, func() (err error) { list, err = g.memory.StatementsOf(ctx, rail, limit); return err })
	return list, err
}

func (g *gated) LinesAbout(ctx context.Context, rail string, payments []store.PaymentKey) (list []store.StatementLine, err error) {
	err = g.ask(ctx, "lines of "+rail, func() (err error) { list, err = g.memory.LinesAbout(ctx, rail, payments); return err })
	return list, err
}

func (g *gated) Snapshot(ctx context.Context, look func(store.Snapshot) error) error {
	return g.ask(ctx, "snapshot", func() error { return g.memory.Snapshot(ctx, look) })
}

func (g *gated) FindAttempt(ctx context.Context, rail, reference string) (a store.Attempt, err error) {
	err = g.ask(ctx, "attempt by reference", func() (err error) { a, err = g.memory.FindAttempt(ctx, rail, reference); return err })
	return a, err
}

func (g *gated) Deliveries(ctx context.Context, k store.SessionKey) (log []webhook.Attempt, err error) {
	err = g.ask(ctx, "deliveries of "+g.n.labelled(k), func() (err error) { log, err = g.memory.Deliveries(ctx, k); return err })
	return log, err
}

// Projects and their revision are read without a turn: the engine holds a lock
// meanwhile, on which no goroutine may wait while the driver thinks.
func (g *gated) Projects(ctx context.Context) ([]partner.Project, error) {
	if _, err := g.idle(ctx, func() bool { return true }); err != nil {
		return nil, err
	}
	return g.memory.Projects(ctx)
}

func (g *gated) ProjectsRevision(ctx context.Context) (int64, error) {
	if _, err := g.idle(ctx, func() bool { return true }); err != nil {
		return 0, err
	}
	return g.memory.ProjectsRevision(ctx)
}

// transport carries the webhooks of a node.
type transport struct{ n *node }

func (t transport) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	err = t.n.enter(r.Context(), t.n.name+" webhook "+t.n.world.hooks.about(r), func(c *call) {
		if t.n.goesWrong("crash before", c.name) {
			t.n.crash("before " + c.name)
			return
		}
		t.n.world.hooks.arrives(c, r, func(a *http.Response, err error) {
			if t.n.goesWrong("crash after", c.name) {
				t.n.crash("after " + c.name)
				return
			}
			answer = a
			c.end(err)
		})
	})
	return answer, err
}

var errBroken = errors.New("simulated: connection broken")
