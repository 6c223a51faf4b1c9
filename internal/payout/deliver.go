package payout

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

const (
	hooksMax = 20_000 // events of this node in memory; more are left in the database
	// waitMax is how long an event may wait in memory for an endpoint that is
	// out of order, and putOffMin for how long it is then put off at least.
	waitMax   = time.Second
	putOffMin = 15 * time.Second
)

// endpointLimits are generous to a partner with many payouts and still leave
// room for others when a few hundred endpoints hang.
var endpointLimits = webhook.Limits{PerEndpoint: 128, Total: 1024}

// hookWorker delivers webhook events. An event is first put on the agenda, then
// waits in the line of its endpoint, so that a slow one delays nobody else.
// Signing has a pool of its own, so that it never delays requests.
type hookWorker struct {
	*Engine
	mine      bool // this node delivers
	agenda    *agenda[webhook.Event]
	count     atomic.Int64
	poll      chan struct{}
	signing   chan struct{}
	endpoints *webhook.Endpoints
	poster    *webhook.Poster
	jitter    func() float64
	crew      crew

	mu      sync.Mutex
	held    map[store.EventKey]struct{} // leases to renew
	lines   map[string]*line            // by endpoint
	stopped bool
}

// line is what waits for one endpoint, oldest first.
type line struct {
	events []delivery
	timer  bool // it will be looked at again without anybody's doing
}

type delivery struct {
	webhook.Event
	project *partner.Project
	round   time.Time // when its round of attempts began; zero before it was tried
	young   bool      // it can't be given up yet, and round is earlier than it was
}

func newHookWorker(e *Engine, transport http.RoundTripper, jitter func() float64) *hookWorker {
	return &hookWorker{
		Engine: e, agenda: newAgenda[webhook.Event](e.now), poll: make(chan struct{}, 1),
		signing:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		endpoints: webhook.NewEndpoints(endpointLimits), poster: webhook.NewPoster(webhook.PosterOptions{Transport: transport}),
		jitter: jitter,
		held:   map[store.EventKey]struct{}{}, lines: map[string]*line{},
	}
}

func (w *hookWorker) room() bool { return w.mine && !w.stopping.Load() && w.count.Load() < hooksMax }

func eventKey(e *webhook.Event) store.EventKey {
	return store.EventKey{SessionKey: store.SessionKey{Project: e.Project, Session: e.Session}, N: e.N}
}

// add puts an event on the agenda, unless it is in memory already: this node
// may claim its own again after it was too slow to renew the lease.
func (w *hookWorker) add(e webhook.Event) {
	k := eventKey(&e)
	w.mu.Lock()
	_, twice := w.held[k]
	w.held[k] = struct{}{}
	w.mu.Unlock()
	if twice {
		return
	}
	w.count.Add(1)
	w.agenda.add(e.Due, e)
}

// drop lets go of an event: its attempt is over, or it is put off.
func (w *hookWorker) drop(e *webhook.Event) {
	w.count.Add(-1)
	w.mu.Lock()
	delete(w.held, eventKey(e))
	w.mu.Unlock()
}

func (w *hookWorker) keys() []store.EventKey {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys := make([]store.EventKey, 0, len(w.held))
	for k := range w.held {
		keys = append(keys, k)
	}
	return keys
}

func (w *hookWorker) wake() {
	w.agenda.poke()
	select {
	case w.poll <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends; calls ends a while later and takes attempts
// under way with it.
func (w *hookWorker) run(ctx, calls context.Context) {
	defer w.poster.Close()
	w.crew.run(func() { w.agenda.run(ctx, func(e webhook.Event) { w.start(calls, e) }) })
	tick := time.NewTicker(pollGap)
	defer tick.Stop()
	for ctx.Err() == nil {
		events := w.claim(ctx)
		for _, e := range events {
			w.add(e)
		}
		if len(events) == claimMax {
			continue
		}
		waitForEither(ctx, tick.C, w.poll)
	}
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.handBack(nil, w.leave())
	w.crew.wait()
}

// leave lets go of what is not begun.
func (w *hookWorker) leave() (left []store.EventKey) {
	waiting := w.agenda.clear()
	w.mu.Lock()
	for _, l := range w.lines {
		for _, d := range l.events {
			waiting = append(waiting, d.Event)
		}
		l.events = nil
	}
	w.mu.Unlock()
	for i := range waiting {
		left = append(left, eventKey(&waiting[i]))
		w.drop(&waiting[i])
	}
	return left
}

func (w *hookWorker) claim(ctx context.Context) []webhook.Event {
	if !w.room() {
		return nil
	}
	events, err := w.store.ClaimEvents(ctx, w.node, w.now(), w.real(), w.lease, claimMax)
	if err != nil && ctx.Err() == nil {
		w.log.Error("claiming webhooks", "error", err)
	}
	return events
}

// start puts an event into the line of its endpoint.
func (w *hookWorker) start(ctx context.Context, e webhook.Event) {
	project, ok := w.Caller(e.Project)
	if !ok {
		w.log.Error("webhook of an unknown project", "project", e.Project, "event", e.ID)
		w.drop(&e)
		return
	}
	endpoint := webhook.Endpoint(project.Webhook)
	w.mu.Lock()
	l := w.lines[endpoint]
	if l == nil {
		l = &line{}
		w.lines[endpoint] = l
	}
	l.events = append(l.events, delivery{Event: e, project: project.Project})
	w.mu.Unlock()
	w.pump(ctx, endpoint)
}

// pump delivers from the line of an endpoint as long as the endpoint has room.
// It is called again by each delivery that ends, and after a while where others
// take all the room. What waits for an endpoint that is down, or for one of too
// many slow ones, gives its place in memory back.
func (w *hookWorker) pump(ctx context.Context, endpoint string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lines[endpoint]
	for l != nil && len(l.events) > 0 && !w.stopped {
		next := l.events[0]
		release, wait, ok := w.endpoints.Acquire(next.project.Webhook, w.real())
		if !ok {
			if wait > waitMax || w.count.Load() > hooksMax/2 {
				waiting := l.events
				l.events = nil
				w.crew.run(func() { w.putOff(ctx, waiting, max(wait, putOffMin)) })
				break
			}
			if !l.timer {
				l.timer = true
				time.AfterFunc(wait, func() {
					w.mu.Lock()
					l.timer = false
					w.mu.Unlock()
					w.pump(ctx, endpoint)
				})
			}
			return
		}
		l.events[0] = delivery{}
		l.events = l.events[1:]
		w.crew.run(func() {
			w.deliver(ctx, next.Event, next.project, release)
			w.pump(ctx, endpoint)
		})
	}
	if l != nil && len(l.events) == 0 && !l.timer {
		delete(w.lines, endpoint)
	}
}

// putOff leaves events to whoever finds them due after a while. The log is read only
// of those that were tried and are old enough for their age to make that longer,
// which are few of what piles up.
func (w *hookWorker) putOff(ctx context.Context, waiting []delivery, wait time.Duration) {
	for some := range slices.Chunk(waiting, claimMax) {
		for i := range some {
			e := &some[i].Event
			age := w.now().Sub(e.CreatedAt) // its round may be younger: a replay begins a new one
			switch {
			case e.Attempts == 0:
			case age < min(ageParts*wait, schedule(some[i].project).Total):
				some[i].round, some[i].young = e.CreatedAt, true // near enough
			default:
				round, _, err := w.round(ctx, e)
				if err != nil {
					w.log.Error("reading a delivery log", "event", e.ID, "error", err)
					round = w.now() // it is put off, and not given up for want of knowledge
				}
				some[i].round = round
			}
			w.drop(&some[i].Event)
		}
		if err := w.report(ctx, &putOff{some, wait}); err != nil && ctx.Err() == nil {
			w.log.Error("webhooks were not put off; they are claimed again", "events", len(some), "error", err)
		}
	}
}

func (w *hookWorker) deliver(ctx context.Context, e webhook.Event, project *partner.Project, release func(ok bool)) {
	if e.Signature == "" {
		signature, err := w.sign(&e, project)
		if err != nil {
			release(true) // it is not the endpoint's fault
			w.log.Error("signing a webhook", "project", e.Project, "event", e.ID, "error", err)
			w.agenda.add(w.now().Add(retryGap), e)
			return
		}
		e.Signature = signature
	}
	if sabotage == "neighbour's address" {
		for _, other := range *w.projects.byID.Load() {
			if webhook.Endpoint(other.Webhook) == webhook.Endpoint(project.Webhook) && other.ID < project.ID {
				project = other.Project
			}
		}
	}
	at := w.now()
	result := w.poster.Post(ctx, project.Webhook, w.sandbox || project.AllowPrivateWebhooks, e)
	release(result.Alive())
	if !result.OK && ctx.Err() != nil {
		return // the program stops; it is handed back with all that is held
	}
	w.metrics.webhooks.WithLabelValues(outcomeOf(result)).Inc()
	w.log.Info("webhook", "project", e.Project, "session", e.Session, "event", e.ID, "type", e.Type,
		"attempt", e.Attempts+1, "status", result.Status, "took", result.Took, "error", result.Err)
	// The command puts a retry on the agenda again, if there is to be one; so
	// the event is dropped before.
	w.drop(&e)
	found := &tried{
		project: project, event: eventKey(&e), body: e.Body, signature: e.Signature, at: at, result: result, jitter: w.jitter(),
	}
	ctx = context.WithoutCancel(ctx)
	var err error
	if !result.OK && e.Attempts > 0 {
		found.round, found.earlier, err = w.round(ctx, &e)
	}
	if err == nil {
		err = w.report(ctx, found)
	}
	if err != nil {
		w.log.Error("a delivery was not written down; it will be tried again", "event", e.ID, "error", err)
		e.Due = w.now().Add(retryGap)
		w.add(e)
	}
}

// round is when the present round of an event's attempts began, and how many
// were made in it. The log is read for it, but only of what fails again.
func (w *hookWorker) round(ctx context.Context, e *webhook.Event) (time.Time, int, error) {
	log, err := w.store.Deliveries(ctx, eventKey(e).SessionKey)
	if err != nil {
		return time.Time{}, 0, err
	}
	began, attempts := webhook.Round(log, e.N)
	return began, attempts, nil
}

func outcomeOf(r webhook.Result) string {
	if r.OK {
		return "delivered"
	}
	return "failed"
}

// sign signs an event with the key of its project's choice, once: every attempt
// reuses the signature.
func (w *hookWorker) sign(e *webhook.Event, project *partner.Project) (string, error) {
	w.signing <- struct{}{}
	defer func() { <-w.signing }()
	kind := project.ServerKey
	if kind == "" {
		kind = partner.RSA
	}
	return w.serverKeys[kind].Sign(e.Body)
}
