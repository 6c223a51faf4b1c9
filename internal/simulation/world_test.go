package simulation

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// opening is when a history begins, or else newYear, half a minute before the
// year ends in Moscow. The ids of the product need a clock that stands after the
// beginning of 2026.
var (
	opening = time.Date(2026, 7, 1, 9, 0, 0, 0, time.UTC)
	newYear = time.Date(2026, 12, 31, 20, 59, 30, 0, time.UTC)
)

// world is everything outside the engines, and the driver of all: between two
// of its choices exactly one thing happens, and all goroutines of the engines
// run until each of them waits for the world again or for a time to come.
//
// No choice is drawn from a stream of random numbers. Each is the hash of the
// seed and of a name that says what is chosen, so that a history keeps most of
// its shape when something is taken out of it.
type world struct {
	t    *testing.T
	seed uint64
	config
	plain      bool // it offers payouts to cards and accounts alone
	old        bool // nothing is archived
	opening    time.Time
	suppressed map[string]bool // choices that are not made, by name
	made       []string        // choices that were made: what shrinking may take out

	store  *memory
	nodes  []*node
	rails  map[string]*simRail
	hooks  *receivers
	ops    []*op
	shops  []*shop
	office *office // nil where there is no tax service
	cellar *cellar // nil where nothing is archived
	safe   *safe   // nil where no key is replaced
	// bearers are the tokens that there may be, and vault tells them apart.
	bearers []*bearer
	vault   *vault.Vault
	labels  map[string]*charge
	// recipients are what is to be paid, by whom, whom no two payouts share.
	recipients map[string]*item
	prices     map[rate.Price]bool // that were ever told
	looked     checks

	mu      sync.Mutex
	arrived []*call       // since the driver looked last
	poke    chan struct{} // something arrived, ended, or gave up
	broken  *violation    // the first
	pending []*call
	events  eventHeap
	ordinal map[string]int
	healed  bool          // no more faults
	jumped  bool          // some product clock has been moved
	leaped  time.Duration // by which all of them were
	history []string
	sum     hash.Hash
	steps   int
	keep    bool // the lines of the history, and not only their hash
}

// violation is a broken invariant.
type violation struct {
	invariant string
	text      string
}

// call is one call from an engine to the world, or one answer on its way back:
// it waits until its time has come and the driver lets it go on.
type call struct {
	node *node
	name string // what it is, and which of its kind: the same in each run
	due  time.Time
	rank uint64 // among those that are due at once
	ctx  context.Context
	step func() // what happens next; it ends the call or sets the next step
	err  error
	over bool
	done chan struct{}
}

// event is something that the world does by itself.
type event struct {
	at   time.Time
	rank uint64
	do   func()
}

func newWorld(t *testing.T, seed uint64, suppressed map[string]bool) *world {
	w := &world{
		t: t, seed: seed, plain: seedsKept[seed].world == plain, old: seedsKept[seed].world == old, opening: opening, suppressed: suppressed,
		labels: map[string]*charge{}, recipients: map[string]*item{}, prices: map[rate.Price]bool{},
		poke: make(chan struct{}, 1), ordinal: map[string]int{}, sum: sha256.New(),
	}
	if w.config = w.draw(); w.newYear {
		w.opening = newYear
	}
	return w
}

// roll is chance, by name.
func (w *world) roll(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// between draws a duration.
func (w *world) between(name string, from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(w.roll(name).Int64N(int64(to-from)))
}

// may reports whether a choice is made, and writes down that it is.
func (w *world) may(name string) bool {
	if w.suppressed[name] {
		return false
	}
	w.made = append(w.made, name)
	return true
}

// goesWrong reports whether a fault of a kind strikes what has a name.
func (w *world) goesWrong(kind, name string) bool {
	rate := w.rates[kind]
	if w.healed || rate == 0 {
		return false
	}
	name += " " + kind
	return w.roll(name).Float64() < rate && w.may(name)
}

// number makes a name unlike all before it.
func (w *world) number(name string) string {
	w.ordinal[name]++
	return fmt.Sprintf("%s #%d", name, w.ordinal[name])
}

// tell adds a line to the history.
func (w *world) tell(format string, args ...any) {
	line := fmt.Sprintf("%12.6f  ", time.Since(w.opening).Seconds()) + fmt.Sprintf(format, args...)
	_, _ = w.sum.Write([]byte(line))
	if w.keep {
		w.history = append(w.history, line)
	}
}

// breaks reports a broken invariant; the first one ends the history.
func (w *world) breaks(invariant, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = &violation{invariant, fmt.Sprintf(format, args...)}
	}
}

func (w *world) failed() *violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

func (w *world) wake() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// after lets the world do something in a while.
func (w *world) after(d time.Duration, name string, do func()) {
	heap.Push(&w.events, &event{time.Now().Add(d), w.roll(name).Uint64(), do})
}

// errDead is what a call of a node gets that has crashed: nobody hears of it.
var errDead = fault.New(fault.Busy, "the node has crashed")

// enter puts a call before the driver and returns when it is over. begin is its
// first step.
func (n *node) enter(ctx context.Context, name string, begin func(*call)) error {
	if n.dead.Load() {
		return errDead
	}
	c := &call{node: n, name: n.tagged(ctx, name), ctx: ctx, done: make(chan struct{})}
	c.step = func() { begin(c) }
	w := n.world
	w.mu.Lock()
	w.arrived = append(w.arrived, c)
	w.mu.Unlock()
	w.wake()
	stop := context.AfterFunc(ctx, w.wake)
	defer stop()
	<-c.done
	return c.err
}

// end lets the call return.
func (c *call) end(err error) {
	if !c.over {
		c.err, c.over = err, true
		close(c.done)
	}
}

// then puts the call off.
func (c *call) then(d time.Duration, step func()) { c.due, c.step = time.Now().Add(d), step }

// never leaves the call without an answer, until its caller gives up.
func (c *call) never() { c.then(1<<62, func() {}) }

// settle takes in what has arrived since the last choice, in an order that does
// not depend on which goroutine was faster.
func (w *world) settle() {
	synctest.Wait()
	w.mu.Lock()
	arrived := w.arrived
	w.arrived = nil
	w.mu.Unlock()
	slices.SortStableFunc(arrived, func(a, b *call) int { return cmp.Compare(a.name, b.name) })
	for _, c := range arrived {
		if c.node.dead.Load() {
			c.end(errDead)
			continue
		}
		c.name = w.number(c.name)
		c.rank = w.roll(c.name).Uint64()
		c.due = time.Now().Add(w.latency(c))
		w.pending = append(w.pending, c)
	}
	for _, o := range w.ops {
		if o.returned() {
			o.close()
		}
	}
	w.ops = slices.DeleteFunc(w.ops, func(o *op) bool { return o.closed })
}

// latency is how long a call takes to get through.
func (w *world) latency(c *call) time.Duration {
	d := w.between(c.name+" takes", 100*time.Microsecond, w.pace)
	if w.goesWrong("slow", c.name) {
		d += w.between(c.name+" is slow for", time.Second, 25*time.Second)
	}
	return d
}

// step makes the next choice; false if nothing is due now.
func (w *world) step() bool {
	now := time.Now()
	var next *call
	gaveUp := false
	for _, c := range w.pending {
		if now.Before(c.node.frozen) {
			continue
		}
		quit := c.ctx.Err() != nil
		if !quit && c.due.After(now) {
			continue
		}
		if next == nil || c.before(next) {
			next, gaveUp = c, quit
		}
	}
	switch {
	case len(w.events) > 0 && !w.events[0].at.After(now) && (next == nil || w.events[0].rank < next.rank):
		w.steps++
		heap.Pop(&w.events).(*event).do()
	case next == nil:
		return false
	default:
		w.steps++
		if gaveUp {
			w.tell("%s gives up", next.name)
			next.end(next.ctx.Err())
		} else {
			next.step()
		}
		if next.over {
			w.pending = slices.DeleteFunc(w.pending, func(c *call) bool { return c.over })
		}
	}
	return true
}

func (c *call) before(o *call) bool {
	return cmp.Or(c.due.Compare(o.due), cmp.Compare(c.rank, o.rank), cmp.Compare(c.name, o.name)) < 0
}

// wait lets time go by until something happens, but not beyond a limit.
func (w *world) wait(limit time.Time) {
	now := time.Now()
	next := limit
	for _, c := range w.pending {
		at := c.due
		if c.ctx.Err() != nil {
			at = now
		}
		if at.Before(c.node.frozen) {
			at = c.node.frozen
		}
		if at.Before(next) {
			next = at
		}
	}
	if len(w.events) > 0 && w.events[0].at.Before(next) {
		next = w.events[0].at
	}
	timer := time.NewTimer(next.Sub(now))
	defer timer.Stop()
	select {
	case <-w.poke:
	case <-timer.C:
	}
}

// run lets the world go on until a time, or until done says so.
func (w *world) run(until time.Time, done func() bool) {
	for w.failed() == nil {
		w.settle()
		w.check()
		if w.failed() != nil || done() {
			return
		}
		if w.steps > stepsMax {
			w.breaks("drain", "the history does not end: %d steps", w.steps)
			return
		}
		if w.step() {
			continue
		}
		if !time.Now().Before(until) {
			return
		}
		w.wait(until)
	}
}

const stepsMax = 60_000

// play runs the whole history: the busy part, then one in which nothing goes
// wrong any more and everything must come to its end.
func (w *world) play() {
	time.Sleep(time.Until(w.opening))
	w.build()
	w.run(w.opening.Add(w.length), w.never)
	if w.failed() == nil {
		w.tell("-- from here on nothing goes wrong")
		w.heal()
		w.drain()
	}
	w.close()
}

// close ends all engines, so that no goroutine is left.
func (w *world) close() {
	for _, n := range w.nodes {
		n.kill()
	}
	for _, c := range w.pending {
		c.end(errDead)
	}
	w.pending = nil
	for range 10 {
		time.Sleep(time.Minute) // time-outs of what was under way come to their end
		synctest.Wait()
		w.mu.Lock()
		for _, c := range w.arrived {
			c.end(errDead)
		}
		w.arrived = nil
		w.mu.Unlock()
	}
}

// result is what is known of a history.
type result struct {
	seed    uint64
	hash    string
	steps   int
	made    []string
	history []string
	broken  *violation
	charges map[string]int // by state
	virtual time.Duration
}

// simulate plays one history.
func simulate(t *testing.T, seed uint64, suppressed map[string]bool, keep bool) (r result) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed, suppressed)
		w.keep = keep
		w.play()
		r = result{
			seed: seed, hash: hex.EncodeToString(w.sum.Sum(nil)), steps: w.steps, made: w.made, history: w.history, broken: w.broken,
			charges: w.tally(), virtual: time.Since(w.opening),
		}
	})
	return r
}

func (r result) String() string {
	return strings.Join(r.history, "\n")
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return cmp.Or(h[i].at.Compare(h[j].at), cmp.Compare(h[i].rank, h[j].rank)) < 0
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(*event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// row finds a session, be it archived or not.
func (w *world) row(k store.SessionKey) (*sessionRow, bool) {
	row, ok := w.store.sessions[k]
	if !ok {
		row, ok = w.store.attic.sessions[k]
	}
	return row, ok
}

// rows are all sessions, and webhooks all webhooks, archived or not.
func (w *world) rows() iter.Seq2[store.SessionKey, *sessionRow] {
	return both(w.store.sessions, w.store.attic.sessions)
}

func (w *world) webhooks() iter.Seq2[store.EventKey, webhook.Event] {
	return both(w.store.events, w.store.attic.events)
}

func both[K comparable, V any](live, gone map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, table := range []map[K]V{live, gone} {
			for k, v := range table {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// labelOf says in words what a payout is about.
func (w *world) labelOf(k store.SessionKey, p id.Payout) string {
	if i, _ := w.itemOf(k, p); i != nil {
		return i.label
	}
	return w.label(k)
}

// itemOf finds what a partner wanted by a payout, and the payout.
func (w *world) itemOf(k store.SessionKey, number id.Payout) (*item, *session.Payout) {
	row, ok := w.row(k)
	if !ok {
		return nil, nil
	}
	for n := range row.Payouts {
		if c := w.labels[row.about]; row.Payouts[n].ID == number && c != nil && n < len(c.items) {
			return c.items[n], &row.Payouts[n]
		}
	}
	return nil, nil
}

// label says in words what a session is about.
func (w *world) label(k store.SessionKey) string {
	if row, ok := w.row(k); ok {
		return row.about
	}
	return "nothing"
}
