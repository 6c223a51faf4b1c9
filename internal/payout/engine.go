// Package payout is the engine: the one door through which everything passes
// that changes a session, the ledger, the outbox or a task.
//
// A request, a worker's finding, a deposit: each is a command, decided by pure
// code from the rows that it names. The committer gathers the commands that
// came while the last transaction was in flight, decides them in order and
// writes the sum of their changes at once. After the commit the workers of this
// node go on with what it left to do, straight from memory; the database is the
// truth, so that a node that dies loses nothing.
package payout

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/sign"
	"github.com/payoutd/payoutd/tax"
)

const (
	checkDeadline = 60 * time.Second // then a payout in checking fails with provider_timeout
	checkTimeout  = 10 * time.Second // of one call of a rail's Check
	checkGapMax   = 5 * time.Second  // between two calls of it
	queryTimeout  = 10 * time.Second // of one call of a rail's Query
	queryGapFirst = 500 * time.Millisecond
	neverSeenMin  = 2 // answers "never seen" after the rail's window, before the same reference is sent again
	holdBackMax   = 5 * time.Minute
	unclearMax    = time.Hour        // then people are told: what heals by itself, a restart or an outage of a rail, has healed by then
	ownHorizon    = 30 * time.Second // what is due later is left to whoever finds it due
	lookUpMax     = 30 * time.Second
	pollGap       = 250 * time.Millisecond
	nudgeGap      = 10 * time.Millisecond // between two hints to other nodes
	graceMax      = 5 * time.Second       // for what is under way when the program stops
	handBackMax   = 2 * time.Second       // for giving back what the program had when it stops
	leaseShared   = 10 * time.Second      // where several nodes share the database
	leaseAlone    = time.Minute           // where the data has one owner, whose death voids it anyway
)

// Options are what an engine is made of. Store, Vault, Rails and ServerKeys are
// required.
type Options struct {
	Store store.Store
	Vault *vault.Vault
	// Rails moves the money of each method; a method without one is refused.
	Rails map[instrument.Kind]rail.Rail
	// ServerKeys sign webhooks.
	ServerKeys map[partner.KeyType]sign.PrivateKey
	// Sandbox gives every project every method, every currency of Rates, and Tax.
	Sandbox bool
	// Rates says what foreign currencies cost where no agreement does; nil says
	// nothing.
	Rates rate.Source
	// Tax is the tax service for self-employed people; nil where there is none.
	Tax tax.Service
	// Accounts are the own accounts that a new project gets, as every one does in a
	// sandbox; nil gives none.
	Accounts func(id.Project) []OwnAccount
	// Roles are what Run does on this node; nil means all of them. What a node
	// does not do it leaves to others that share the database.
	Roles []Role
	// QueryGapMax bounds the gaps between questions about an unclear payout;
	// 0 means 5 minutes.
	QueryGapMax time.Duration
	// Now is the product's clock, which a sandbox may move; nil means time.Now.
	// Leases and network time-outs go by the real time.
	Now func() time.Time
	// Real is the real time, which must not jump; nil means time.Now.
	Real func() time.Time
	// QueueMax bounds the requests that wait for the database at a time; 0 means
	// 4096.
	QueueMax int
	// IDs numbers what is made; nil takes a node number from the store, and the
	// real time, which unlike the product's goes the same way on all nodes.
	IDs *id.Generator
	// Wrote is told of each batch that is known to be committed, before anybody
	// hears of what is in it; nil tells nobody.
	Wrote func(id.Batch)
	// The next four are for a simulation, whose history repeats itself for a
	// seed. Transport carries webhooks, nil means the network. Jitter draws from
	// [0, 1) by how much a retry comes early, nil means chance. Admit is called
	// before a worker's command enters the queue, with the rows that it names:
	// of several at once it says who comes first; nil lets them race. Task gives
	// the context of all calls of a task, which may say whose they are.
	Transport http.RoundTripper
	Jitter    func() float64
	Admit     func(context.Context, store.Reads)
	Task      func(context.Context, store.TaskKey) context.Context
	Log       *slog.Logger          // nil discards
	Metrics   prometheus.Registerer // nil keeps none
}

// Role is a part of the work behind the API.
type Role string

// The roles.
const (
	RoleWork    Role = "work"    // tasks: checks, time-outs, rails
	RoleWebhook Role = "webhook" // deliveries
)

// Engine runs payouts. Its methods are safe for concurrent use.
type Engine struct {
	store      store.Store
	vault      *vault.Vault
	rails      map[instrument.Kind]rail.Rail
	byName     map[string]rail.Rail
	serverKeys map[partner.KeyType]sign.PrivateKey
	sandbox    bool
	rates      rate.Source // nil for none
	tax        tax.Service // nil for none
	accounts   func(id.Project) []OwnAccount
	gapMax     time.Duration
	admit      func(context.Context, store.Reads) // nil admits all
	tagged     func(context.Context, store.TaskKey) context.Context
	now        func() time.Time // the product's clock, UTC, microseconds
	real       func() time.Time
	log        *slog.Logger
	metrics    *metrics
	ids        *id.Generator
	number     *nodeNumber // nil if Options.IDs were given
	node       string
	stopping   atomic.Bool   // Run is told to end: what commands leave to do is not kept
	left       chan struct{} // holds one token while others are to be nudged
	calendar   chan struct{} // holds one token when the clock was moved
	lease      time.Duration // how long a claim holds without being renewed
	projects   projects
	cards      cards

	statements chan struct{} // holds a token while one is taken in, of which there is one at a time
	restores   restores
	wrote      func(id.Batch) // nil tells nobody

	// sealing is held for reading from the moment that something is sealed until
	// it is committed; who changes the key that seals waits for all of it.
	sealing  gate
	rotating sync.Mutex // one at a time

	archiving sync.Mutex // one at a time

	intake    sync.RWMutex // guards closed and the closing of queue
	closed    bool
	closing   sync.Once
	queue     chan *pending
	committed chan struct{} // closed when the committer has ended

	tasksWorker *taskWorker
	hooks       *hookWorker
}

// New returns an engine that takes commands at once; Run makes it work on what
// they leave to do. Close it before the store. fault.Busy if as many engines as
// there may be share the database already.
func New(ctx context.Context, o Options) (_ *Engine, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Real == nil {
		o.Real = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.QueueMax == 0 {
		o.QueueMax = queueMax
	}
	if o.QueryGapMax == 0 {
		o.QueryGapMax = 5 * time.Minute
	}
	if o.Task == nil {
		o.Task = func(ctx context.Context, _ store.TaskKey) context.Context { return ctx }
	}
	if o.Jitter == nil {
		o.Jitter = mathrand.Float64 // #nosec G404 -- spreads load, guards nothing
	}
	e := &Engine{
		store: o.Store, vault: o.Vault, rails: o.Rails, byName: map[string]rail.Rail{}, serverKeys: o.ServerKeys,
		sandbox: o.Sandbox, rates: o.Rates, tax: o.Tax, accounts: o.Accounts, gapMax: o.QueryGapMax, real: o.Real, log: o.Log, metrics: newMetrics(o.Metrics),
		now: func() time.Time { return o.Now().UTC().Truncate(time.Microsecond) },
		ids: o.IDs, admit: o.Admit, tagged: o.Task, wrote: o.Wrote,
		node: newNode(), left: make(chan struct{}, 1), calendar: make(chan struct{}, 1),
		queue: make(chan *pending, o.QueueMax), committed: make(chan struct{}), statements: make(chan struct{}, 1),
	}
	for _, r := range o.Rails {
		e.byName[r.Name()] = r
	}
	e.tasksWorker, e.hooks = newTaskWorker(e), newHookWorker(e, o.Transport, o.Jitter)
	e.tasksWorker.mine = o.Roles == nil || slices.Contains(o.Roles, RoleWork)
	e.hooks.mine = o.Roles == nil || slices.Contains(o.Roles, RoleWebhook)
	if err := e.recoverStore(ctx); err != nil {
		return nil, err
	}
	if e.ids == nil {
		if err := e.takeNumber(ctx); err != nil {
			return nil, err
		}
		e.ids = id.NewNodeGenerator(e.real, int64(e.number.value))
		defer func() {
			if err != nil {
				e.freeNumber()
			}
		}()
	}
	if err := errors.Join(e.loadProjects(ctx), e.loadRestore(ctx)); err != nil {
		return nil, err
	}
	go e.commitLoop()
	return e, nil
}

// recoverStore voids what an earlier run has left, where the data has one
// owner. No command may come before it: what it hands out would be voided too.
func (e *Engine) recoverStore(ctx context.Context) error {
	alone, err := e.store.Recover(ctx, e.real())
	if err != nil {
		return err
	}
	e.lease = leaseShared
	if alone {
		e.lease = leaseAlone
	}
	return nil
}

// newNode names this run of the program in leases.
func newNode() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// Close stops the intake, waits until what was taken is committed, and gives
// the node number back.
func (e *Engine) Close() {
	e.intake.Lock()
	if !e.closed {
		e.closed = true
		close(e.queue)
	}
	e.intake.Unlock()
	<-e.committed
	e.closing.Do(e.freeNumber)
}

// Call is one authenticated request of a partner.
type Call struct {
	Project *partner.Project
	Version session.Version
	// Key is the idempotency key, "" for none; Replay asks for the first answer
	// in place of a refusal.
	Key    string
	Replay bool
	// Print is SHA-256 over the operation and the body: what the key stands for.
	Print [32]byte
}

// Answer is the body of an answer with status 200.
type Answer struct {
	Body     []byte
	Replayed bool // it is the answer to an earlier request with the same key
}

func (c Call) key(s id.Session) store.SessionKey {
	return store.SessionKey{Project: c.Project.ID, Session: s}
}

// Refuse answers a request that can't be carried out: with why, unless it was
// carried out before and its key tells, or may have been in a time that is lost.
func (e *Engine) Refuse(ctx context.Context, c Call, why error) (Answer, error) {
	return e.serve(ctx, &request{Call: c, makes: true, refused: why})
}

// Create makes an empty or pre-filled session.
func (e *Engine) Create(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	number := id.Session(e.ids.Next())
	card, refused := e.sealed(ctx, c, &r)
	return e.serve(ctx, &request{Call: c, makes: true, refused: refused, run: func(t *tx) (*session.Session, error) {
		if err := t.exchangeable(c.Project, r.Details.Amount); err != nil {
			return nil, err
		}
		s := t.draft(number, c)
		s.Draft = r.Details
		t.seal(card)
		t.put(s)
		return s, nil
	}})
}

// Start starts a payout in a created session.
func (e *Engine) Start(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	payout := id.Payout(e.ids.Next())
	card, refused := e.sealed(ctx, c, &r)
	key := c.key(r.Session)
	return e.serve(ctx, &request{Call: c, session: key, account: r.Details.Account, makes: true, refused: refused, run: func(t *tx) (*session.Session, error) {
		s, err := t.session(key)
		if err != nil {
			return nil, err
		}
		if made, asked := s.Draft.Source, r.Details.Source; made != asked && s.State == session.Created {
			return nil, fault.New(fault.Invalid, "session_id: session %s was made by %s and is started by %s", s.ID, made.Path("session/create"), made.Path("session/start/payout"))
		}
		t.seal(card)
		t.put(s)
		return s, t.begin(s, payout, c, r.Details)
	}})
}

// Init creates a session and starts a payout in it.
func (e *Engine) Init(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	number, payout := id.Session(e.ids.Next()), id.Payout(e.ids.Next())
	card, refused := e.sealed(ctx, c, &r)
	return e.serve(ctx, &request{Call: c, account: r.Details.Account, makes: true, refused: refused, run: func(t *tx) (*session.Session, error) {
		s := t.draft(number, c)
		t.seal(card)
		t.put(s)
		return s, t.begin(s, payout, c, r.Details)
	}})
}

// Verify starts an FPS verification, in the session named or in a new one.
func (e *Engine) Verify(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	if r.Session != 0 {
		return e.Start(ctx, c, r)
	}
	return e.Init(ctx, c, r)
}

// Confirm releases a payout that awaits it; fault.WrongState if it does not,
// or not any more.
func (e *Engine) Confirm(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	key := c.key(r.Session)
	return e.serve(ctx, &request{Call: c, session: key, run: func(t *tx) (*session.Session, error) {
		s, err := t.session(key)
		if err != nil {
			return nil, err
		}
		t.put(s)
		return t.confirm(s, c, r.Information)
	}})
}

// Cancel drops a session that is created or awaits confirmation.
func (e *Engine) Cancel(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	key := c.key(r.Session)
	return e.serve(ctx, &request{Call: c, session: key, money: true, run: func(t *tx) (*session.Session, error) {
		s, err := t.session(key)
		if err != nil {
			return nil, err
		}
		t.put(s)
		return t.cancel(s, c)
	}})
}

// Status shows a session. It does not wait behind the committer.
func (e *Engine) Status(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	s, err := e.store.Session(ctx, c.key(r.Session))
	if err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			err = e.gone(ctx, c.key(r.Session), fault.New(fault.NotFound, "session_id: no such session"))
		}
		return Answer{}, err
	}
	return Answer{Body: wire.Answer(s, c.Version, c.Project)}, nil
}

// Balance shows what a project may pay out.
func (e *Engine) Balance(ctx context.Context, c Call) (Answer, error) {
	b, err := e.store.Book(ctx, c.Project.ID)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Body: wire.Balance(c.Project.Wallet, b.Balance.Available)}, nil
}

// Book reads a project's balances.
func (e *Engine) Book(ctx context.Context, p id.Project) (*ledger.Book, error) {
	return e.store.Book(ctx, p)
}

// Deposit books money that a partner has brought in, in roubles, once per
// reference; "" makes one up. It reports whether the reference was booked before.
func (e *Engine) Deposit(ctx context.Context, p id.Project, a money.Amount, reference string) (bool, error) {
	return e.deposit(ctx, p, "", a, reference)
}

func (e *Engine) deposit(ctx context.Context, p id.Project, account string, a money.Amount, reference string) (bool, error) {
	switch {
	case a.Currency != money.RUB:
		return false, fault.New(fault.Invalid, "currency: a deposit is in rub")
	case a.Minor <= 0 || a.Minor > money.MinorMax:
		return false, fault.New(fault.Invalid, "amount: must be above zero and below 2^53 kopecks")
	case len(reference) > 255:
		return false, fault.New(fault.Invalid, "reference: at most 255 characters")
	}
	if _, ok := e.Caller(p); !ok {
		return false, fault.New(fault.NotFound, "no project %s", p)
	}
	if reference == "" {
		reference = id.Event(e.ids.Next()).String()
	}
	answer, err := e.do(ctx, &deposit{project: p, account: account, minor: a.Minor, reference: reference})
	return answer.Replayed, err
}

// serve puts a partner's request through the door, unless it is refused and has
// no key that may be burnt. What its key stands for is kept under a key of the
// vault, because it may hold a card number.
func (e *Engine) serve(ctx context.Context, r *request) (Answer, error) {
	if r.refused != nil && r.Key == "" {
		return Answer{}, r.refused
	}
	if r.Key != "" {
		keyed, err := e.vault.Print(r.Print)
		if err != nil {
			return Answer{}, err
		}
		r.Print = keyed
	}
	answer, err := e.do(ctx, r)
	if err != nil {
		err = e.gone(ctx, r.session, err)
	}
	return answer, err
}

// sealed seals the open card number of a request, if it has one, so that it
// never goes further, or finds what a token in it stands for.
func (e *Engine) sealed(ctx context.Context, c Call, r *wire.Request) (*vault.Sealed, error) {
	if len(r.Spent) > 0 {
		return nil, e.resolve(ctx, c, r)
	}
	if r.PAN == "" {
		return nil, nil
	}
	number := id.Card(e.ids.Next())
	card, err := e.vault.Seal(c.Project.ID, number, r.PAN, e.now())
	if err != nil {
		return nil, err
	}
	shown := *r.Details.Instrument.Card
	shown.Sealed = number
	if shown.CardID, err = e.cardID(c.Project, card.Fingerprint); err != nil {
		return nil, err
	}
	r.Details.Instrument = &instrument.Instrument{Card: &shown}
	r.PAN = ""
	return &card, nil
}

// terms are those of a rail by its name; the zero Terms if it is gone.
func (e *Engine) terms(name string) rail.Terms {
	if r, ok := e.byName[name]; ok {
		return r.Terms()
	}
	return rail.Terms{}
}

// renewLeases prolongs the lease of the node number and those of what this node
// has in memory. fault.Stale if the number is lost; nil when ctx ends.
func (e *Engine) renewLeases(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(e.lease / 3):
		}
		err := e.keepNumber(ctx)
		if fault.CodeOf(err) == fault.Stale {
			return err
		}
		if err != nil && ctx.Err() == nil {
			e.log.Error("renewing the node number", "error", err)
		}
		tasks, events := e.tasksWorker.keys(), e.hooks.keys()
		if len(tasks)+len(events) == 0 {
			continue
		}
		if err := e.store.Renew(ctx, e.node, e.real().Add(e.lease), tasks, events); err != nil && ctx.Err() == nil {
			e.log.Error("renewing leases", "error", err)
		}
	}
}

// handBack gives leases back, so that other nodes go on at once. Where that
// fails, the leases end by themselves.
func (e *Engine) handBack(tasks []store.TaskKey, events []store.EventKey) {
	if len(tasks)+len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handBackMax)
	defer cancel()
	if err := e.store.Release(ctx, e.node, tasks, events); err != nil {
		e.log.Warn("leases were not handed back", "error", err)
	}
	if err := e.store.Nudge(ctx); err != nil {
		e.log.Warn("other nodes were not nudged", "error", err)
	}
}

// hint notes that a commit has left something due to other nodes.
func (e *Engine) hint() {
	select {
	case e.left <- struct{}{}:
	default:
	}
}

// nudgeOthers tells other nodes of what was left to them, until ctx ends: at
// once the first time, then with a gap, so that they are not woken for each of
// many commits.
func (e *Engine) nudgeOthers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.left:
		}
		if err := e.store.Nudge(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("other nodes were not nudged; they look by themselves", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(nudgeGap):
		}
	}
}

// queryGap is how long to wait before question number attempt.
func (e *Engine) queryGap(attempt int) time.Duration {
	return min(queryGapFirst<<min(attempt, 20), e.gapMax)
}

// Run works on what commands leave to do, until ctx ends: tasks, webhooks,
// leases. First of all it asks the rails about every payout that was under way
// when an earlier run died; before that it sends nothing. fault.Stale if another
// run has taken this one's node number, which happens to a node that was paused
// or cut off for longer than its lease; store.ErrWentBack if the database turns
// out to be an earlier state of itself.
func (e *Engine) Run(ctx context.Context) error {
	outer := ctx
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	e.restores.began.Store(e.restores.now.Load())
	// What is not begun when ctx ends is left to others at once; calls to rails
	// and partners that are under way have a while to come to their end.
	e.stopping.Store(false)
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	context.AfterFunc(ctx, func() {
		e.stopping.Store(true)
		time.AfterFunc(graceMax, cut)
	})
	var workers sync.WaitGroup
	if e.tasksWorker.mine {
		workers.Go(func() { e.tasksWorker.run(ctx, calls) })
		for _, r := range e.byName {
			if back, ok := r.(rail.Returner); ok {
				workers.Go(func() { e.watchReturns(ctx, back) })
			}
		}
		if e.tax != nil {
			workers.Go(func() { e.compareDaily(ctx) })
		}
	}
	if e.hooks.mine {
		workers.Go(func() { e.hooks.run(ctx, calls) })
	}
	workers.Go(func() {
		if err := e.watchOthers(ctx); err != nil {
			lose(err)
		}
	})
	workers.Go(func() { e.wipeEnded(ctx) })
	if e.tasksWorker.mine || e.hooks.mine {
		workers.Go(func() { e.store.Listen(ctx, e.Wake) })
	}
	leases, stop := context.WithCancel(calls)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		if err := e.renewLeases(leases); err != nil {
			lose(err)
		}
	}()
	nudged := make(chan struct{})
	go func() {
		defer close(nudged)
		e.nudgeOthers(leases)
	}()
	workers.Wait()
	stop()
	<-renewed
	<-nudged
	e.handBack(e.tasksWorker.keys(), e.hooks.keys()) // what was cut
	if outer.Err() == nil {
		return context.Cause(ctx)
	}
	if err := outer.Err(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Wake looks at the clock at once, after it was moved.
func (e *Engine) Wake() {
	e.tasksWorker.wake()
	e.hooks.wake()
	select {
	case e.calendar <- struct{}{}:
	default:
	}
}
