package payout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/sign"
)

// patience is how long a test waits for something that should come at once, on a
// machine that may be very busy.
const patience = 2 * time.Minute

// testClock is a product's clock that a test moves.
type testClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// fakeRail does what the test tells it and keeps its own books.
type fakeRail struct {
	name  string
	terms rail.Terms
	mu    sync.Mutex
	sends map[string]int // calls of Send by reference
	asks  map[string]int // calls of Query by reference

	check func(context.Context, rail.Order) (rail.Verdict, error)
	send  func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error)
	query func(reference string, asked int) (rail.Outcome, error)
	backs chan rail.Return // what it gives back
}

func newFakeRail(name string) *fakeRail {
	return &fakeRail{
		name: name, terms: rail.Terms{SendDeadline: time.Second, Visibility: time.Second},
		sends: map[string]int{}, asks: map[string]int{}, backs: make(chan rail.Return, 10),
		check: func(context.Context, rail.Order) (rail.Verdict, error) { return rail.Verdict{}, nil },
		send: func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
			return rail.Outcome{Status: rail.Succeeded, Info: rail.Info{RRN: "123456789012"}}, nil
		},
		query: func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.NeverSeen}, nil },
	}
}

func (r *fakeRail) Name() string      { return r.name }
func (r *fakeRail) Terms() rail.Terms { return r.terms }

func (r *fakeRail) Check(ctx context.Context, o rail.Order, _ rail.Opener) (rail.Verdict, error) {
	return r.check(ctx, o)
}

func (r *fakeRail) Send(ctx context.Context, o rail.Order, open rail.Opener) (rail.Outcome, error) {
	r.mu.Lock()
	r.sends[o.Reference]++
	send := r.send
	r.mu.Unlock()
	return send(ctx, o, open)
}

// set changes what Send does while the engine runs.
func (r *fakeRail) set(send func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.send = send
}

func (r *fakeRail) Query(_ context.Context, reference string) (rail.Outcome, error) {
	r.mu.Lock()
	r.asks[reference]++
	n := r.asks[reference]
	r.mu.Unlock()
	return r.query(reference, n)
}

func (r *fakeRail) Returns(ctx context.Context, take func(context.Context, rail.Return) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case back := <-r.backs:
			if take(ctx, back) != nil {
				r.backs <- back
			}
		}
	}
}

func (r *fakeRail) sent(reference string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sends[reference]
}

func (r *fakeRail) asked(reference string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asks[reference]
}

// hook is a webhook as the partner received it.
type hook struct {
	Type    string
	Session struct {
		ID         string
		Status     string
		NextAction string `json:"next_action"`
		PayoutList []struct {
			ID     string
			Status string
			Error  *struct{ Code, Description string }
		} `json:"payout_list"`
	}
	body   []byte
	header http.Header
}

// lab is an engine with everything around it that a payout needs.
type lab struct {
	*testing.T
	dir     string
	clock   *testClock
	store   store.Store
	keys    vault.Keys
	server  sign.PrivateKey
	rails   map[instrument.Kind]*fakeRail
	engine  *Engine
	project id.Project
	hooks   chan hook
	rates   *fakeRates
	tax     *taxBooks
	// database opens another database than the file in dir; nil opens that.
	database func() (store.Store, error)
	answer   func(hook) int // status of the receiver's answer
	url      string
	wrap     func(store.Store) store.Store // around the store that is opened next; nil for none
	stop     func()                        // ends Run
}

var keyOnce = sync.OnceValues(sign.GenerateP256)

// newLab opens an engine on an empty store, with one project and a deposit of
// 1,000 roubles. It works on nothing before start.
func newLab(t *testing.T, change ...func(*partner.Project)) *lab {
	t.Helper()
	return newLabOn(t, nil, change...)
}

// onEngines runs a test on each engine of the store: open is for newLabOn.
func onEngines(t *testing.T, run func(t *testing.T, open func() (store.Store, error))) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { run(t, nil) })
	t.Run("PostgreSQL", func(t *testing.T) {
		url := pgtest.URL(t)
		if err := postgres.Migrate(t.Context(), url, nil); err != nil {
			t.Fatal(err)
		}
		run(t, func() (store.Store, error) { return postgres.Open(context.Background(), url, nil) })
	})
}

// newLabOn is newLab on a database that open opens; nil is a new file.
func newLabOn(t *testing.T, open func() (store.Store, error), change ...func(*partner.Project)) *lab {
	t.Helper()
	server, err := keyOnce()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{
		T: t, dir: t.TempDir(), clock: &testClock{}, keys: keys, server: server, project: "acme",
		hooks: make(chan hook, 10_000), answer: func(hook) int { return http.StatusOK },
		rails: map[instrument.Kind]*fakeRail{}, rates: &fakeRates{price: 8_050_000_000}, tax: newTaxBooks(), database: open,
	}
	for _, k := range instrument.Kinds {
		l.rails[k] = newFakeRail(string(k))
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := hook{body: body, header: r.Header}
		if err := json.Unmarshal(body, &h); err != nil {
			t.Errorf("webhook %q: %v", body, err)
		}
		if err := server.Public().Verify(body, r.Header.Get(sign.HeaderSign)); err != nil {
			t.Errorf("webhook of type %s: %v", h.Type, err)
		}
		status := l.answer(h)
		w.WriteHeader(status)
		if status == http.StatusOK {
			l.hooks <- h
		}
	}))
	t.Cleanup(receiver.Close)
	l.url = receiver.URL
	l.open()
	p := partner.Project{
		ID: l.project, Webhook: receiver.URL, AllowPrivateWebhooks: true, ServerKey: partner.P256, Methods: instrument.Kinds,
		SelfEmployed: true,
	}
	for _, f := range change {
		f(&p)
	}
	if err := l.engine.CreateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	l.deposit("1000.00")
	t.Cleanup(func() { l.close() })
	return l
}

func (l *lab) open() {
	l.Helper()
	open := l.database
	if open == nil {
		open = func() (store.Store, error) { return sqlite.Open(l.Context(), filepath.Join(l.dir, "payoutd.db"), nil) }
	}
	opened, err := open()
	if err != nil {
		l.Fatal(err)
	}
	s := opened
	if l.wrap != nil {
		s = l.wrap(s)
	}
	v, err := vault.New(l.keys)
	if err != nil {
		l.Fatal(err)
	}
	rails := map[instrument.Kind]rail.Rail{}
	for k, r := range l.rails {
		rails[k] = r
	}
	e, err := New(context.Background(), Options{
		Store: s, Vault: v, Rails: rails, Now: l.clock.Now, Rates: l.rates, Tax: l.tax, QueryGapMax: time.Second,
		ServerKeys: map[partner.KeyType]sign.PrivateKey{partner.P256: l.server},
	})
	if err != nil {
		l.Fatal(err)
	}
	l.store, l.engine = s, e
}

// start makes the engine work; close ends it and closes the store.
func (l *lab) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	engine := l.engine
	go func() {
		defer close(ended)
		if err := engine.Run(ctx); err != nil {
			l.Errorf("Run: %v", err)
		}
	}()
	l.stop = func() { cancel(); <-ended }
}

func (l *lab) close() {
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
	if l.engine != nil {
		l.engine.Close()
		if err := l.store.Close(); err != nil {
			l.Errorf("closing the store: %v", err)
		}
		l.engine = nil
	}
}

// advance moves the product's clock and runs what became due.
func (l *lab) advance(d time.Duration) {
	l.clock.advance(d)
	l.engine.Wake()
}

func (l *lab) deposit(major string) {
	l.Helper()
	a, err := money.Parse(major, "rub")
	if err != nil {
		l.Fatal(err)
	}
	if _, err := l.engine.Deposit(l.Context(), l.project, a, ""); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) call() Call {
	l.Helper()
	c, ok := l.engine.Caller(l.project)
	if !ok {
		l.Fatalf("no project %s", l.project)
	}
	return Call{Project: c.Project, Version: 2}
}

const (
	cardNumber = "2200000000001317"
	otherCard  = "5555555555554444"
)

// cardBody is a request for a payout of so many kopecks to a card.
func cardBody(minor int64) string {
	return fmt.Sprintf(`{"payout_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":%q}}},`+
		`"amount_details":{"amount":%d,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Соколова Марина"}}}`,
		cardNumber, minor)
}

func accountBody(account string, minor int64) string {
	return fmt.Sprintf(`{"payout_details":{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"bik":"044000777",`+
		`"account":%q,"full_name":"Гусев Пётр","description":"Выплата"}}},"amount_details":{"amount":%d,"currency":"rub"}}`, account, minor)
}

func (l *lab) parse(op wire.Op, body string) wire.Request {
	l.Helper()
	r, err := wire.Parse(op, l.call().Version, l.call().Project, []byte(body))
	if err != nil {
		l.Fatalf("%s %s: %v", op, body, err)
	}
	return r
}

// init creates a payout and returns its session.
func (l *lab) init(body string) id.Session {
	l.Helper()
	a, err := l.engine.Init(l.Context(), l.call(), l.parse(wire.OpInit, body))
	if err != nil {
		l.Fatalf("init: %v", err)
	}
	return l.sessionOf(a)
}

func (l *lab) sessionOf(a Answer) id.Session {
	l.Helper()
	var in struct{ Session struct{ ID string } }
	if err := json.Unmarshal(a.Body, &in); err != nil {
		l.Fatalf("%s: %v", a.Body, err)
	}
	s, err := id.ParseSession(in.Session.ID)
	if err != nil {
		l.Fatal(err)
	}
	return s
}

func (l *lab) key(s id.Session) store.SessionKey {
	return store.SessionKey{Project: l.project, Session: s}
}

func (l *lab) session(s id.Session) *session.Session {
	l.Helper()
	found, err := l.store.Session(l.Context(), l.key(s))
	if err != nil {
		l.Fatalf("session %s: %v", s, err)
	}
	return found
}

func (l *lab) confirm(s id.Session) error {
	_, err := l.engine.Confirm(l.Context(), l.call(), wire.Request{Session: s})
	return err
}

func (l *lab) cancel(s id.Session) error {
	_, err := l.engine.Cancel(l.Context(), l.call(), wire.Request{Session: s})
	return err
}

// receive waits for the next webhook and says that it must be of a type and session.
func (l *lab) receive(kind session.Hook, s id.Session) hook {
	l.Helper()
	select {
	case h := <-l.hooks:
		if h.Type != string(kind) || h.Session.ID != s.String() {
			l.Fatalf("received %s of %s, want %s of %s", h.Type, h.Session.ID, kind, s)
		}
		return h
	case <-time.After(patience):
		l.Fatalf("no %s of %s within %v; the session is %s", kind, s, patience, l.session(s).State)
	}
	panic("unreachable")
}

// until waits for a state that no webhook tells.
func (l *lab) until(s id.Session, want session.State) *session.Session {
	l.Helper()
	for end := time.Now().Add(patience); ; {
		found := l.session(s)
		if found.State == want {
			return found
		}
		if time.Now().After(end) {
			l.Fatalf("session %s is %s after %v, want %s", s, found.State, patience, want)
		}
	}
}

// eventually waits until something is so that nothing tells of.
func (l *lab) eventually(what string, is func() bool) {
	l.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end:
			l.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// deliveries waits until so many attempts of a session's webhooks are written down.
func (l *lab) deliveries(s id.Session, n int) []webhook.Attempt {
	l.Helper()
	for end := time.Now().Add(patience); ; {
		log, err := l.store.Deliveries(l.Context(), l.key(s))
		if err != nil {
			l.Fatal(err)
		}
		if len(log) >= n {
			return log
		}
		if time.Now().After(end) {
			l.Fatalf("%d attempts after %v, want %d", len(log), patience, n)
		}
	}
}

// clean says that the books must be in order.
func (l *lab) clean() *Report {
	l.Helper()
	r, err := l.engine.Check(l.Context())
	if err != nil {
		l.Fatalf("check: %v", err)
	}
	if !r.Clean() {
		l.Fatalf("the books are not clean: %q", r.Problems)
	}
	return r
}

func (l *lab) available() int64 {
	l.Helper()
	b, err := l.store.Book(l.Context(), l.project)
	if err != nil {
		l.Fatal(err)
	}
	return b.Balance.Available
}

var errNoAnswer = errors.New("the answer was lost")

// confirmWhenReady confirms a payout as soon as it awaits that.
func (l *lab) confirmWhenReady(s id.Session) {
	l.Helper()
	l.until(s, session.Awaiting)
	if err := l.confirm(s); err != nil {
		l.Errorf("confirm %s: %v", s, err)
	}
}
