package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/sign"
)

const (
	// drainDefault is how long payouts that were begun may take to end.
	drainDefault = 60 * time.Second
	// retriesMax and retryGapDefault are for answers 503, which ask for the same
	// request again, and for connections that broke.
	retriesMax      = 10
	retryGapDefault = time.Second
	// flightsMax bounds the payouts under way of an open loop.
	flightsMax = 20_000
)

// steps of a payout whose times are kept.
type step int

const (
	stepCreate  step = iota // session/create, or session/init/payout: request to answer
	stepStart               // session/start/payout: request to answer
	stepConfirm             // session/confirm: request to answer
	stepReady               // request to start to the webhook ready_to_confirm
	stepFinish              // request to confirm, or to init, to the webhook payment_finished
	stepWhole               // intended begin to the webhook payment_finished
	steps
)

// load is the partners: it makes payouts and counts what became of them.
type load struct {
	Options
	process  *process
	inbox    *inbox
	key      sign.PrivateKey
	conns    chan *Conn
	drain    time.Duration
	retryGap time.Duration
	pileTime time.Duration

	over context.Context // done when no payout may be begun or confirmed any more
	cut  context.Context // done when nothing is waited for any more

	times     [steps]Histogram
	made      atomic.Int64 // payouts begun: their numbers
	accepted  atomic.Int64 // confirmed, or asked for in one request, and answered ok
	drained   atomic.Int64 // of these, paid and told by webhooks that were verified
	completed atomic.Int64 // of these, within the time of the run
	created   atomic.Int64 // sessions that nothing more was to be done with
	cancelled atomic.Int64 // left unconfirmed when the time was over
	failed    atomic.Int64 // not paid, though nothing stood in the way
	missed    atomic.Int64 // not begun, because flightsMax were under way
	retried   atomic.Int64

	mu       sync.Mutex
	refusals map[string]int64 // payouts left in the middle, by what was answered
}

func newLoad(o Options, p *process, box *inbox, key sign.PrivateKey) *load {
	l := &load{
		Options: o, process: p, inbox: box, key: key, drain: drainDefault, retryGap: retryGapDefault, pileTime: pileTimeDefault,
		conns: make(chan *Conn, o.Clients), refusals: map[string]int64{},
	}
	for range o.Clients {
		l.conns <- &Conn{Host: p.host}
	}
	return l
}

// run makes payouts until the time is over or ctx ends, and waits for the end
// of those under way.
func (l *load) run(ctx context.Context) (*Report, error) {
	began, before := now(), l.meters()
	var stop, release context.CancelFunc
	l.over, stop = context.WithTimeout(ctx, l.Duration)
	l.cut, release = context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	go l.watch(stop, release)
	ended := make(chan time.Time, 1)
	context.AfterFunc(l.over, func() { ended <- now() })

	if l.Rate > 0 {
		l.open(began)
	} else {
		l.closed()
	}
	return l.report((<-ended).Sub(began), before)
}

// meters are the CPU times at one moment.
type meters struct{ server, database, own time.Duration }

func (l *load) meters() meters {
	return meters{l.process.cpu(), l.databaseCPU(), ownCPU()}
}

// report ends a run in which payouts were begun for some time.
func (l *load) report(took time.Duration, before meters) (*Report, error) {
	after := l.meters()
	_, peak := memory(l.process.pid)
	for range l.Clients {
		(<-l.conns).Close()
	}
	r := &Report{
		Seconds: took.Seconds(), Accepted: l.accepted.Load(), Drained: l.drained.Load(), Created: l.created.Load(),
		Cancelled: l.cancelled.Load(), Failed: l.failed.Load(), Missed: l.missed.Load(), Retried: l.retried.Load(), Refusals: l.refusals,
		WebhooksVerified: l.inbox.verified.Load(), WebhooksForged: l.inbox.forged.Load(), WebhooksRepeated: l.inbox.repeated.Load(),
		Memory: megabytes(peak), made: l.made.Load(),
	}
	r.PayoutsPerSecond = float64(l.completed.Load()) / took.Seconds()
	if done := r.Drained + r.Created; done > 0 {
		r.CPU = micros(after.server-before.server) / float64(done)
		r.DatabaseCPU = micros(after.database-before.database) / float64(done)
		r.GeneratorCPU = micros(after.own-before.own) / float64(done)
	}
	r.times(&l.times, l.Options)
	select {
	case <-l.process.ended:
		return nil, fmt.Errorf("the server ended during the run: %v", l.process.err)
	default:
		return r, nil
	}
}

// watch ends the run when the server dies, and cuts it off when payouts that
// were begun do not end.
func (l *load) watch(stop, release context.CancelFunc) {
	defer release()
	defer stop()
	select {
	case <-l.process.ended:
		return
	case <-l.over.Done():
	}
	select {
	case <-l.process.ended:
	case <-l.cut.Done():
	case <-time.After(l.drain):
	}
}

// closed lets each client make one payout after the other.
func (l *load) closed() {
	var clients sync.WaitGroup
	for range l.Clients {
		clients.Go(func() {
			for l.over.Err() == nil {
				l.payout(now())
			}
		})
	}
	clients.Wait()
}

// open begins payouts at the rate, whatever becomes of them.
func (l *load) open(began time.Time) {
	var flights sync.WaitGroup
	room := make(chan struct{}, flightsMax)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		intended := began.Add(time.Duration(float64(n) / l.Rate * float64(time.Second)))
		timer.Reset(intended.Sub(now()))
		select {
		case <-timer.C:
		case <-l.over.Done():
			flights.Wait()
			return
		}
		select {
		case room <- struct{}{}:
			flights.Go(func() {
				defer func() { <-room }()
				l.payout(intended)
			})
		default:
			l.missed.Add(1)
		}
	}
}

// payout makes one payout, from its first request to its last webhook.
func (l *load) payout(intended time.Time) {
	l.note(l.order(intended).make())
}

// note counts what has left a payout in the middle; nil did not.
func (l *load) note(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals[err.Error()]++
}

func (l *load) order(intended time.Time) *order {
	w := &order{load: l, n: l.made.Add(1), begun: intended, asked: intended, card: cardNumber}
	w.project = projectName(int(w.n) % l.Projects)
	return w
}

// order is one payout on its way.
type order struct {
	*load
	n       int64
	project id.Project
	card    string // its number
	session id.Session
	flight  *flight
	asked   time.Time // when the request under way should have been sent

	begun, confirmed time.Time
	left             bool // it is not on its way any more
}

// Errors that leave a payout in the middle.
var (
	errCut    = errors.New("no webhook came in time")
	errNoID   = errors.New("an answer without a session")
	errFailed = errors.New("the payout was not paid")
)

func (w *order) make() error {
	if w.SingleRequest {
		if err := w.begin("init/payout", w.initBody()); err != nil {
			return err
		}
		defer w.inbox.forget(w.session)
		w.accepted.Add(1)
		w.confirmed = w.begun
		return w.finish()
	}
	if err := w.begin("create", w.createBody()); err != nil {
		return err
	}
	defer w.inbox.forget(w.session)
	if w.CreateOnly {
		w.created.Add(1)
		w.complete()
		return nil
	}
	if w.over.Err() != nil {
		return w.cancel()
	}
	if err := w.prepare(); err != nil {
		return err
	}
	if w.over.Err() != nil {
		return w.cancel()
	}
	if err := w.confirm(); err != nil {
		return err
	}
	return w.finish()
}

// prepare starts the payout and waits until it may be confirmed.
func (w *order) prepare() error {
	started := w.asked
	if _, err := w.ask(stepStart, "start/payout", w.startBody()); err != nil {
		return err
	}
	select {
	case a := <-w.flight.ready:
		w.times[stepReady].Add(a.at.Sub(started))
		return nil
	case <-w.flight.finished:
		w.failed.Add(1)
		return errFailed
	case <-w.cut.Done():
		return errCut
	}
}

func (w *order) confirm() error {
	w.confirmed = now()
	w.asked = w.confirmed
	if _, err := w.ask(stepConfirm, "confirm", w.sessionBody()); err != nil {
		return err
	}
	w.accepted.Add(1)
	return nil
}

// complete counts what was done within the time of the run.
func (w *order) complete() {
	if w.over.Err() == nil {
		w.completed.Add(1)
	}
}

// begin sends the request that makes the session.
func (w *order) begin(path string, body []byte) error {
	answer, err := w.ask(stepCreate, path, body)
	if err != nil {
		return err
	}
	if w.session, err = id.ParseSession(Member(answer, "id")); err != nil {
		return errNoID
	}
	w.flight = w.inbox.expect(w.session)
	return nil
}

// finish waits for the last webhook.
func (w *order) finish() error {
	select {
	case a := <-w.flight.finished:
		if a.status != "accepted" {
			w.failed.Add(1)
			return errFailed
		}
		w.times[stepFinish].Add(a.at.Sub(w.confirmed))
		w.times[stepWhole].Add(a.at.Sub(w.begun))
		w.drained.Add(1)
		w.complete()
		return nil
	case <-w.cut.Done():
		return errCut
	}
}

// cancel drops a session that the end of the run has left unconfirmed.
func (w *order) cancel() error {
	if _, err := w.ask(steps, "cancel", w.sessionBody()); err != nil {
		return err
	}
	w.cancelled.Add(1)
	return nil
}

// ask sends one signed request, and again where the server asks for that. The
// next request is asked for when the answer has come. The answer is the
// caller's to keep.
func (w *order) ask(s step, path string, body []byte) (answer []byte, err error) {
	signature, err := w.key.Sign(body)
	if err != nil {
		return nil, err
	}
	r := &Request{
		Path: "/api/v2/session/" + path, Project: w.project, Signature: signature, Body: body,
		Key: fmt.Sprintf("bench-%d-%s", w.n, path),
	}
	for tries := 0; ; tries++ {
		c := <-w.conns
		status, got, failure := c.Exchange(r)
		answer = append(answer[:0], got...)
		w.conns <- c
		switch {
		case failure == nil && status == http.StatusOK:
			answered := now()
			if s < steps {
				w.times[s].Add(answered.Sub(w.asked))
			}
			w.asked = answered
			return answer, nil
		case failure == nil && status != http.StatusServiceUnavailable:
			return nil, fmt.Errorf("%s: status %d, %s", path, status, Member(answer, "code"))
		case failure == nil:
			failure = fmt.Errorf("status %d", status)
		}
		if tries == retriesMax {
			return nil, fmt.Errorf("%s: %w", path, failure)
		}
		w.retried.Add(1)
		select {
		case <-time.After(w.retryGap):
		case <-w.cut.Done():
			return nil, fmt.Errorf("%s: %w", path, failure)
		}
	}
}

// The bodies are of the size that partners send. The cards are from published
// examples; the amounts are none of the sandbox's magic ones.
const (
	cardNumber     = "2200000000001317"
	cardLate       = "2200000000002026" // the rail accepts the payout, and pays it a second later
	amountMinor    = 100_00
	amountVariants = 1000
	metadata       = `"metadata":{"order":"PX-%d","note":"payout for the week, paid on time"}`
	details        = `"payout_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":"%s"}}},` +
		`"participant_details":{"recipient":{"full_name":"Ivan Ivanov","first_name":"Ivan","last_name":"Ivanov"}},` +
		`"amount_details":{"amount":%d,"currency":"rub"},` +
		`"customer":{"reference":"courier-%d","contacts":[{"email":"courier@example.org"}]}`
)

func (w *order) amount() int64 { return amountMinor + w.n%amountVariants }

func (w *order) createBody() []byte { return fmt.Appendf(nil, "{"+metadata+"}", w.n) }

func (w *order) startBody() []byte {
	return fmt.Appendf(nil, `{"session_id":"%s",`+details+`}`, w.session, w.card, w.amount(), w.n)
}

func (w *order) initBody() []byte {
	return fmt.Appendf(nil, "{"+details+","+metadata+"}", w.card, w.amount(), w.n, w.n)
}

func (w *order) sessionBody() []byte { return fmt.Appendf(nil, `{"session_id":"%s"}`, w.session) }

// parallel calls do with 0 to n-1 from several goroutines, and returns the
// first error of each that had one.
func parallel(n, goroutines int, do func(int) error) error {
	var (
		next   atomic.Int64
		wg     sync.WaitGroup
		errs   = make([]error, goroutines)
		failed atomic.Bool
	)
	for g := range goroutines {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[g] = do(i); errs[g] != nil {
					failed.Store(true)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
