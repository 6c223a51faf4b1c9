package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/money"
)

const (
	killsDefault  = 8   // where KILLS says nothing
	partners      = 8   // that send requests at the same time
	requestsMax   = 120 // finished between two kills
	drainTimeout  = 10 * time.Minute
	replaysMax    = 500 // first requests that are sent once more at the end
	beyondBalance = int64(1) << 52
)

// TestKill kills the server again and again at moments it does not choose while
// partners pay, and then compares three accounts of what happened: what partners
// were told, what the ledger says, and what the simulated world has booked.
func TestKill(t *testing.T) {
	kills := killsWanted(t)
	began := time.Now()
	at := place{data: t.TempDir()}
	server := start(t, "serve", "--sandbox-rails", "--data", at.data, "--listen", address(t), "--log-level", "warn")
	l := newLab(t, at, server.url)
	// Ends with the first payout that goes wrong, or when each kill has taken far
	// longer than it should.
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	ctx, cancel := context.WithTimeout(ctx, drainTimeout+time.Duration(kills)*10*time.Second)
	defer cancel()

	wait := l.load(ctx, fail)
	var restarts time.Duration
	for i := 0; i < kills && ctx.Err() == nil; i++ {
		l.letFinish(ctx, rand.IntN(requestsMax))
		l.shut()
		l.kill(server)
		again := time.Now()
		server = l.restart(server, at.data)
		restarts += time.Since(again)
		l.lift()
	}
	l.letFinish(ctx, requestsMax)
	close(l.enough)
	wait()
	if err := context.Cause(ctx); err != nil {
		t.Fatalf("%v\nthe server said:\n%s", err, server.stderr.String())
	}
	created := time.Since(began)
	l.drain(ctx)
	l.replay(ctx)
	server.stop(t)
	l.noAlarm(server)
	if t.Failed() {
		t.Logf("the last server said:\n%s", server.stderr.String())
		return // what follows would only repeat it
	}

	l.proven(at)
	counted(t, "kills", l.kills)
	measured(t, "restart on average", restarts/time.Duration(max(kills, 1)))
	t.Logf("%d kills, %d payouts in %d sessions, %d requests cut and repeated (%d had been carried out), %d webhooks (%d repeats); "+
		"restart %s on average, %s with load, %s in all",
		l.kills, l.payouts(), len(l.journal), l.cut, l.replayed, l.webhooks, l.repeats,
		(restarts / time.Duration(max(kills, 1))).Round(time.Millisecond), created.Round(time.Second), time.Since(began).Round(time.Second))
}

// killsWanted is how often to kill, as KILLS says.
func killsWanted(t *testing.T) int {
	t.Helper()
	s := os.Getenv("KILLS")
	if s == "" {
		return killsDefault
	}
	kills, err := strconv.Atoi(s)
	if err != nil || kills < 0 {
		t.Fatalf("KILLS=%q: want a number", s)
	}
	return kills
}

// newLab makes two projects on an installation, whose partners call url.
func newLab(t *testing.T, at place, url string, options ...client.Option) *lab {
	t.Helper()
	hooks := newReceiver(t, serverKey(t, at.data, serverP256).Verify)
	p256 := []string{"--server-key", "p256"}
	l := &lab{
		t: t, hooks: hooks, values: byOutcome(),
		twoStep:  enrol(t, at, url, "two-step", hooks.url, newP256(t), p256, options...),
		oneStep:  enrol(t, at, url, "one-step", hooks.url, newP256(t), append(p256, "--single-request"), options...),
		finished: make(chan struct{}), enough: make(chan struct{}), up: make(chan struct{}),
	}
	close(l.up)
	return l
}

// load lets partners pay until there is enough; the function returned waits for
// them.
func (l *lab) load(ctx context.Context, fail func(error)) (wait func()) {
	var clients sync.WaitGroup
	for range partners {
		clients.Go(func() {
			if err := l.work(ctx); err != nil {
				fail(err)
			}
		})
	}
	return clients.Wait
}

// lab is the test's view of one installation: the partners' side, written down
// apart from the server.
type lab struct {
	t                *testing.T
	hooks            *receiver
	values           map[sandbox.Outcome][]sandbox.Value
	twoStep, oneStep *client.Client
	finished         chan struct{} // one for each request that was answered
	enough           chan struct{} // closed when no more payouts are to be made
	tokens           map[account]string

	mu                sync.Mutex
	up                chan struct{} // closed while the server is up
	number            int           // of the last plan
	journal           []*record
	cut, replayed     int // requests
	webhooks, repeats int
	kills             int
}

// record is what a partner knows of one session: what was asked, what was
// acknowledged, and the end that it was shown.
type record struct {
	plan
	session   string
	confirmed bool // confirm was acknowledged
	cancelled bool // cancel was acknowledged
	end       client.Session
	// finals are the payment_finished webhooks, readies the ready_to_confirm,
	// each event once.
	finals, readies []delivery
}

// plan is what a partner means to do.
type plan struct {
	n      int
	single bool          // in the project without confirmation
	value  sandbox.Value // decides how it ends
	pays   client.Request
	// ends is how the rail ends it if it is let go: succeeded, or a code.
	ends   fault.Code
	early  bool // it fails before it awaits confirmation
	split  bool // by create and start, else by init
	byHook bool // learns by webhook that it may confirm, else by asking
	act    act
}

func (p plan) String() string {
	way, project := "init", "two-step"
	if p.split {
		way = "create and start"
	}
	if p.single {
		project = "one-step"
	}
	return fmt.Sprintf("payout %d (%s, %s, %s of %d kopecks to %s %s, %s)",
		p.n, project, way, p.value.Outcome, p.pays.Amount.Minor, p.value.Kind, p.value.Value, p.act)
}

// act is what a partner does with a payout in the two-step project.
type act string

const (
	confirms act = "confirms"
	cancels  act = "cancels"
	both     act = "confirms and cancels" // at once: one of the two must lose
	drops    act = "drops"                // cancels the session before it is started
)

// byOutcome lists the magic values that end within seconds.
func byOutcome() map[sandbox.Outcome][]sandbox.Value {
	m := map[sandbox.Outcome][]sandbox.Value{}
	for _, v := range sandbox.Values() {
		if v.Outcome != sandbox.CheckSlow { // takes a minute
			m[v.Outcome] = append(m[v.Outcome], v)
		}
	}
	return m
}

// account is one that a project's partner has a token of.
type account struct {
	single bool
	number string
}

// tokenize gets a token of each account for each project. From then on half of
// the payouts to accounts go by them; the load begins after it.
func (l *lab) tokenize(ctx context.Context) {
	l.t.Helper()
	l.tokens = map[account]string{}
	for single, c := range map[bool]*client.Client{false: l.twoStep, true: l.oneStep} {
		for _, values := range l.values {
			for _, v := range values {
				if v.Kind != "bank_account" {
					continue
				}
				token, err := c.Tokenize(ctx, bik, v.Value)
				if err != nil {
					l.t.Fatalf("%s: %v", v.Value, err)
				}
				l.tokens[account{single, v.Value}] = token.Token
			}
		}
	}
}

// bik is of the bank that has all accounts of the sandbox.
const bik = "044525974"

// plan makes up the next payout.
func (l *lab) plan() plan {
	l.mu.Lock()
	l.number++
	p := plan{n: l.number}
	l.mu.Unlock()
	p.single, p.split, p.byHook = rand.IntN(3) == 0, rand.IntN(2) == 0, rand.IntN(2) == 0
	switch rand.IntN(8) {
	case 0:
		p.act = cancels
	case 1:
		p.act = both
	case 2:
		p.act, p.split = drops, true
	default:
		p.act = confirms
	}
	outcomes := make([]sandbox.Outcome, 0, len(l.values))
	for o := range l.values {
		outcomes = append(outcomes, o)
	}
	list := l.values[outcomes[rand.IntN(len(outcomes))]]
	v := list[rand.IntN(len(list))]
	p.value, p.ends, p.early = v, v.ErrorCode, v.Outcome == sandbox.CheckFailed
	p.pays = request(v, 100_00+rand.Int64N(900_00))
	if token, ok := l.tokens[account{p.single, v.Value}]; ok && rand.IntN(2) == 0 {
		p.pays.Details.BankAccount.Russian.BIK, p.pays.Details.BankAccount.Russian.Account = "", ""
		p.pays.Details.BankAccount.Russian.Token = token
	}
	if rand.IntN(40) == 0 && v.Kind != "amount" {
		p.pays.Amount.Minor = beyondBalance
		if !p.early {
			p.ends, p.early = fault.InsufficientBalance, true
		}
	}
	return p
}

// request is a payout that a magic value decides; the amount is minor unless it
// is the magic value itself.
func request(v sandbox.Value, minor int64) client.Request {
	r := client.Request{
		Amount:       client.AmountOf(money.Amount{Minor: minor, Currency: money.RUB}),
		Participants: &client.Participants{Recipient: &client.Person{FullName: "Marina Sokolova"}},
	}
	switch v.Kind {
	case "card":
		r.Details = client.ToCard(client.CardNumber(v.Value))
	case "bank_account":
		r.Details = client.ToAccount(client.RussianAccount{
			BIK: bik, Account: v.Value, FullName: "Marina Sokolova", Description: "Contract 131",
		})
	case "fps":
		r.Details = client.ToPhone(v.Value, "100000000131", "Contract 131")
	case "wallet":
		r.Details = client.ToWallet(v.Value)
	case "amount":
		r.Details = client.ToWallet("4100110000131")
		r.Amount.Minor, _ = strconv.ParseInt(v.Value, 10, 64) // the sandbox's own digits
	}
	return r
}

// work makes payouts until there are enough; what it has begun it ends.
func (l *lab) work(ctx context.Context) error {
	for {
		select {
		case <-l.enough:
			return nil
		default:
		}
		r := &record{plan: l.plan()}
		if err := l.pay(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", r.plan, err)
		}
	}
}

// pay plays one plan from the partner's side.
func (l *lab) pay(ctx context.Context, r *record) error {
	c := l.client(r)
	if err := l.begin(ctx, r, c); err != nil || r.act == drops || r.single {
		return err
	}
	if await, err := l.await(ctx, r, c); err != nil || !await {
		return err
	}
	var decided sync.WaitGroup
	var errConfirm, errCancel error
	if r.act != cancels {
		decided.Go(func() { r.confirmed, errConfirm = l.decide(ctx, c.Confirm, r, "confirm") })
	}
	if r.act != confirms {
		decided.Go(func() { r.cancelled, errCancel = l.decide(ctx, c.Cancel, r, "cancel") })
	}
	decided.Wait()
	if err := errors.Join(errConfirm, errCancel); err != nil {
		return err
	}
	if r.confirmed == r.cancelled {
		return fmt.Errorf("session %s: confirm acknowledged: %t, cancel acknowledged: %t", r.session, r.confirmed, r.cancelled)
	}
	return nil
}

// begin makes the session and starts its payout. Whatever was acknowledged is in
// the journal when it returns.
func (l *lab) begin(ctx context.Context, r *record, c *client.Client) error {
	if !r.split {
		s, err := l.insist(ctx, r.key("init"), func(options ...client.CallOption) (client.Session, error) {
			return c.InitPayout(ctx, r.pays, options...)
		})
		l.note(r, s)
		return err
	}
	s, err := l.insist(ctx, r.key("create"), func(options ...client.CallOption) (client.Session, error) {
		return c.Create(ctx, client.Request{Participants: r.pays.Participants}, options...)
	})
	l.note(r, s)
	if err != nil {
		return err
	}
	_, err = l.insist(ctx, r.key("then"), func(options ...client.CallOption) (client.Session, error) {
		if r.act == drops {
			return c.Cancel(ctx, s.ID, options...)
		}
		return c.StartPayout(ctx, s.ID, r.pays, options...)
	})
	r.cancelled = err == nil && r.act == drops
	return err
}

// await waits until the partner may decide; false if the payout has failed
// before that.
func (l *lab) await(ctx context.Context, r *record, c *client.Client) (bool, error) {
	if r.byHook {
		d, err := l.hooks.wait(ctx, r.session, client.ReadyToConfirm, client.PaymentFinished)
		return d.Type == client.ReadyToConfirm, err
	}
	s, err := c.WaitFor(ctx, r.session, func(s client.Session) bool { return client.AwaitsConfirm(s) || client.Finished(s) })
	return client.AwaitsConfirm(s), err
}

// decide confirms or cancels, and reports whether that was acknowledged; where
// both are tried at once, one is refused.
func (l *lab) decide(ctx context.Context, call func(context.Context, string, ...client.CallOption) (client.Session, error), r *record, what string) (bool, error) {
	_, err := l.insist(ctx, r.key(what), func(options ...client.CallOption) (client.Session, error) {
		return call(ctx, r.session, options...)
	})
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Code == client.CodeWrongState && r.act == both {
		return false, nil
	}
	return err == nil, err
}

// insist sends a request with its key until it is answered, so that a kill
// neither loses nor doubles it.
func (l *lab) insist(ctx context.Context, key string, call func(...client.CallOption) (client.Session, error)) (client.Session, error) {
	for first := true; ; first = false {
		select {
		case <-l.lifted():
		case <-ctx.Done():
			return client.Session{}, context.Cause(ctx)
		}
		s, err := call(client.WithKey(key), client.WithReplay())
		refused, ok := errors.AsType[*client.Error](err)
		if err != nil && (!ok || refused.HTTP >= 500 || refused.Code == client.CodeUnreadable) {
			l.count(&l.cut)
			continue
		}
		switch {
		case s.Replayed && first:
			return s, fmt.Errorf("key %s: the first request with it was answered as a repeat", key)
		case s.Replayed:
			l.count(&l.replayed)
		}
		select {
		case l.finished <- struct{}{}:
		case <-l.enough:
		case <-ctx.Done():
		}
		return s, err
	}
}

func (l *lab) client(r *record) *client.Client {
	if r.single {
		return l.oneStep
	}
	return l.twoStep
}

func (p *plan) key(what string) string { return fmt.Sprintf("%s-%d", what, p.n) }

func (l *lab) note(r *record, s client.Session) {
	if s.ID == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.session = s.ID
	l.journal = append(l.journal, r)
}

func (l *lab) count(n *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*n++
}

// shut holds new requests back; those under way are cut by the kill. lift lets
// them go.
func (l *lab) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = make(chan struct{})
}

func (l *lab) lift() { close(l.up) }

func (l *lab) lifted() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// letFinish returns after n more requests were answered.
func (l *lab) letFinish(ctx context.Context, n int) {
	for range n {
		select {
		case <-l.finished:
		case <-ctx.Done():
			return
		}
	}
}

// restart starts a server on the data and the address of the killed one. One in
// four is killed again while it starts, in the middle of what it does to recover.
func (l *lab) restart(killed *process, data string) *process {
	args := []string{
		"serve", "--sandbox-rails", "--data", data, "--listen", strings.TrimPrefix(killed.url, "http://"), "--log-level", "warn",
	}
	if rand.IntN(4) == 0 {
		p := launch(l.t, args...)
		if rand.IntN(2) == 0 {
			p.await(l.t)
		}
		l.kill(p)
	}
	return start(l.t, args...)
}

// kill ends a server, which must have found nothing wrong until then.
func (l *lab) kill(p *process) {
	p.kill()
	l.kills++
	l.noAlarm(p)
}

// noAlarm looks for what only people could put right.
func (l *lab) noAlarm(p *process) {
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			l.t.Errorf("the server said: %s", line)
		}
	}
}

// drain waits until each session has ended and each webhook has come.
func (l *lab) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	left := make(chan *record)
	var readers sync.WaitGroup
	for range partners {
		readers.Go(func() {
			for r := range left {
				if err := l.end(ctx, r); err != nil {
					l.t.Errorf("%s: %v", r.plan, err)
				}
			}
		})
	}
	for _, r := range l.journal {
		left <- r
	}
	close(left)
	readers.Wait()
}

func (l *lab) end(ctx context.Context, r *record) (err error) {
	if r.end, err = l.client(r).WaitFor(ctx, r.session, client.Finished); err != nil || r.act == drops {
		return err
	}
	_, err = l.hooks.wait(ctx, r.session, client.PaymentFinished)
	return err
}

// replay sends first requests once more: they must be answered with the session
// that they made.
func (l *lab) replay(ctx context.Context) {
	for i, r := range l.journal {
		if i == replaysMax || ctx.Err() != nil {
			return
		}
		var s client.Session
		var err error
		if c := l.client(r); r.split {
			s, err = c.Create(ctx, client.Request{Participants: r.pays.Participants}, client.WithKey(r.key("create")), client.WithReplay())
		} else {
			s, err = c.InitPayout(ctx, r.pays, client.WithKey(r.key("init")), client.WithReplay())
		}
		if err != nil || s.ID != r.session || !s.Replayed {
			l.t.Errorf("%s: the repeat made %q (replayed: %t, error: %v), the first request %s", r.plan, s.ID, s.Replayed, err, r.session)
		}
	}
}

// told checks that partners were told the truth, and the same by answer and by
// webhook.
func (l *lab) told() {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[string]*record{}
	for _, r := range l.journal {
		known[r.session] = r
	}
	events := map[string]delivery{}
	for _, d := range l.hooks.all() {
		if first, ok := events[d.id]; ok {
			l.repeats++
			if string(first.body) != string(d.body) || first.seq != d.seq {
				l.t.Errorf("event %s came as %s with number %s and as %s with number %s", d.id, first.body, first.seq, d.body, d.seq)
			}
			continue
		}
		events[d.id] = d
		r, ok := known[d.Session.ID]
		switch {
		case !ok:
			l.t.Errorf("event %s is about session %s, which nobody was told of", d.id, d.Session.ID)
		case d.Type == client.ReadyToConfirm:
			r.readies = append(r.readies, d)
		case d.Type == client.PaymentFinished:
			r.finals = append(r.finals, d)
		default:
			l.t.Errorf("event %s has the type %q", d.id, d.Type)
		}
	}
	l.webhooks = len(events)
	for _, r := range l.journal {
		if err := r.check(); err != nil {
			l.t.Errorf("%s, session %s: %v", r.plan, r.session, err)
		}
	}
}

// expected is the code of the payout's error; "" if it must have succeeded.
func (r *record) expected() fault.Code {
	if r.cancelled {
		return fault.CancelledByPartner
	}
	return r.ends
}

// check compares what was planned and acknowledged with what was shown.
func (r *record) check() error {
	if r.act == drops {
		if r.end.Status != client.SessionCancelled || len(r.end.Payouts)+len(r.finals)+len(r.readies) > 0 {
			return fmt.Errorf("a session cancelled before its start is %s with %d payouts, %d webhooks",
				r.end.Status, len(r.end.Payouts), len(r.finals)+len(r.readies))
		}
		return nil
	}
	readies := 1
	if r.single || r.early {
		readies = 0
	}
	if len(r.finals) != 1 || len(r.readies) != readies {
		return fmt.Errorf("%d webhooks payment_finished and %d ready_to_confirm, want 1 and %d", len(r.finals), len(r.readies), readies)
	}
	want := ending{client.SessionAccepted, client.PayoutSucceeded, ""}
	if code := r.expected(); code != "" {
		want = ending{client.SessionCancelled, client.PayoutFailed, string(code)}
	}
	for by, s := range map[string]client.Session{"the answer": r.end, "the webhook": r.finals[0].Session} {
		if got := endingOf(s); got != want {
			return fmt.Errorf("%s says %+v, want %+v", by, got, want)
		}
	}
	return nil
}

// ending is how a session with one payout has ended.
type ending struct{ session, payout, code string }

func endingOf(s client.Session) ending {
	e := ending{session: s.Status}
	if len(s.Payouts) != 1 {
		e.payout = fmt.Sprintf("%d payouts", len(s.Payouts))
		return e
	}
	p := s.Payouts[0]
	if e.payout = p.Status; p.Error != nil {
		e.code = p.Error.Code
	}
	return e
}

// proven compares all accounts of what happened: what partners were told, what
// the ledger says, what the simulated world has booked.
func (l *lab) proven(at place) {
	l.told()
	l.booked(at)
	l.executed(at)
	counted(l.t, "payouts", l.payouts())
	counted(l.t, "requests repeated", l.cut)
	counted(l.t, "of them carried out before", l.replayed)
	counted(l.t, "webhooks", l.webhooks)
}

func (l *lab) payouts() int {
	n := 0
	for _, r := range l.journal {
		if r.act != drops {
			n++
		}
	}
	return n
}

// booked checks that the ledger is clean and holds what was acknowledged,
// nothing less and nothing more.
func (l *lab) booked(at place) {
	run(l.t, at.flags("check")...)
	var r struct {
		Sessions, Payouts, Live, Events, Pending int
		GivenUp                                  int `json:"given_up"`
	}
	if err := json.Unmarshal([]byte(run(l.t, at.flags("check", "--json")...)), &r); err != nil {
		l.t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"sessions", r.Sessions, len(l.journal)},
		{"payouts", r.Payouts, l.payouts()},
		{"live payouts", r.Live, 0},
		{"events", r.Events, l.webhooks},
		{"pending events", r.Pending, 0},
		{"events given up", r.GivenUp, 0},
	} {
		if c.got != c.want {
			l.t.Errorf("the ledger has %d %s, partners know of %d", c.got, c.what, c.want)
		}
	}
}

// executed checks the books of the simulated world: each payout that succeeded
// was paid once, nothing else was, and the ledger's clearing is their sum.
func (l *lab) executed(at place) {
	want := map[string]int64{} // kopecks by the payout's ID, which is its reference
	for _, r := range l.journal {
		if r.act != drops && r.expected() == "" {
			want[r.end.Payouts[0].ID] = r.pays.Amount.Minor
		}
	}
	world, err := sandbox.Open(filepath.Join(at.data, "sim"), &sandbox.Clock{})
	if err != nil {
		l.t.Fatal(err)
	}
	defer world.Close()
	var paid int64
	for e, err := range world.Executions(context.Background()) {
		if err != nil {
			l.t.Fatal(err)
		}
		switch minor, ok := want[e.Reference]; {
		case !ok:
			l.t.Errorf("%s was paid to %s, and should not have been, or not twice", e.Amount, e.Reference)
		case minor != e.Amount.Minor:
			l.t.Errorf("%s was paid to %s in place of %d kopecks", e.Amount, e.Reference, minor)
		}
		delete(want, e.Reference)
		paid += e.Amount.Minor
	}
	for reference := range want {
		l.t.Errorf("payout %s succeeded, and the world has not paid it", reference)
	}

	var cleared int64
	for _, project := range []string{"two-step", "one-step"} {
		cleared += balanceOf(l.t, at, project).clearing
	}
	if cleared != paid {
		l.t.Errorf("the ledger has %d kopecks in clearing, the world has paid %d", cleared, paid)
	}
}

// balance is a project's book, in kopecks.
type balance struct{ available, held, clearing int64 }

func balanceOf(t testing.TB, at place, project string) balance {
	t.Helper()
	var shown struct {
		Balance struct{ Available, Held, Clearing string }
	}
	if err := json.Unmarshal([]byte(run(t, at.flags("project", "show", project, "--json")...)), &shown); err != nil {
		t.Fatal(err)
	}
	return balance{kopecks(t, shown.Balance.Available), kopecks(t, shown.Balance.Held), kopecks(t, shown.Balance.Clearing)}
}

func kopecks(t testing.TB, roubles string) int64 {
	t.Helper()
	a, err := money.Parse(roubles, "rub")
	if err != nil {
		t.Fatal(err)
	}
	return a.Minor
}
