package api

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/sign"
)

var update = flag.Bool("update", false, "rewrite golden files and generated parts of the documentation")

// Tests of the transport have a server before the fake engine of this file; the
// conversations of TestWire have one before the real engine, a product.

// fixedRequest is the request number of every answer in tests.
const fixedRequest = "00f1e2d3c4b5a697"

// harness is a server with what tests look at from behind.
type harness struct {
	*Server
	engine  *fakeEngine
	log     *lines // JSON, one per request
	metrics *prometheus.Registry
}

// lines is a buffer that a server may write to while a test reads it.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newServer(t testing.TB, opts ...func(*Options)) *harness {
	t.Helper()
	h := &harness{engine: newFakeEngine(), log: new(lines), metrics: prometheus.NewRegistry()}
	o := Options{Log: slog.New(slog.NewJSONHandler(h.log, nil)), Metrics: h.metrics}
	for _, set := range opts {
		set(&o)
	}
	h.Server = New(h.engine, o)
	h.newID = func() string { return fixedRequest }
	return h
}

// keys are the private keys of the projects in tests, made once: RSA keys are
// slow to make. The server knows acme (RSA), birch (P-256), cedar, which has
// two active keys and a retired one, and dune, all of whose keys are retired;
// before the real engine also those of clients.
var keys = sync.OnceValue(func() map[string]sign.PrivateKey {
	made := make(map[string]sign.PrivateKey)
	for _, name := range []string{"acme", "cedar-1"} {
		made[name] = must(sign.GenerateRSA())
	}
	for _, name := range []string{"birch", "cedar-2", "cedar-retired", "dune-retired", "elm", "fir", "gorse", "hazel", "ivy", "juniper", "kale", "nobody"} {
		made[name] = must(sign.GenerateP256())
	}
	return made
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func signed(key, body string) string { return must(keys()[key].Sign([]byte(body))) }

// Bodies of session/init/payout: to an account and to a card.
const (
	initBody = `{"payout_details":{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"bik":"044000777",` +
		`"account":"40817810500000012345","full_name":"Гусев Пётр Андреевич","description":"Оплата услуг по договору 18-Т",` +
		`"is_fast":false}}},"amount_details":{"amount":1990000,"currency":"rub"},"participant_details":{"recipient":` +
		`{"full_name":"Гусев Пётр Андреевич"}},"customer":{"reference":"courier-5512"},"metadata":{"order":"PX-20931","batch":7}}`
	cardBody = `{"payment_method":{"type":"card","card":{"type":"bank_card","bank_card":{"number":"2200000000001317"}}},` +
		`"participant_details":{"recipient":{"full_name":"Соколова Марина Игоревна"}},` +
		`"amount_details":{"amount":245000,"currency":"rub"},"metadata":{"order":"PX-20931","batch":7}}`
)

// post makes a request of acme that is right in every respect.
func post(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader([]byte(body)))
	r.Header.Set(sign.HeaderProject, "acme")
	r.Header.Set(sign.HeaderSign, signed("acme", body))
	return r
}

// do serves a request in memory.
func (h *harness) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// fakeEngine is an engine without money or workers: a started session awaits
// confirmation as soon as its status has been asked for, and nothing happens to
// it after that.
type fakeEngine struct {
	// err answers every call, panics ends it; both unset in an ordinary run.
	err    error
	panics any

	asked    atomic.Int64 // for callers
	mu       sync.Mutex
	callers  map[id.Project]payout.Caller
	sessions map[id.Session]*session.Session
	answers  map[string]kept // by project and idempotency key
	calls    []seen
	made     int64
	clock    time.Time
}

// kept is what an idempotency key has answered.
type kept struct {
	print [32]byte
	body  []byte
}

// seen is one call that reached the engine.
type seen struct {
	method  string
	call    payout.Call
	request wire.Request
}

func newFakeEngine() *fakeEngine {
	e := &fakeEngine{
		callers:  make(map[id.Project]payout.Caller),
		sessions: make(map[id.Session]*session.Session),
		answers:  make(map[string]kept),
		clock:    time.Date(2026, 3, 2, 9, 15, 4, 120031000, time.UTC),
	}
	for name, active := range map[id.Project][]string{
		"acme": {"acme"}, "birch": {"birch"}, "cedar": {"cedar-1", "cedar-2"}, "dune": nil,
	} {
		c := payout.Caller{Project: &partner.Project{ID: name, Wallet: "4471"}}
		for _, key := range active {
			c.Public = append(c.Public, keys()[key].Public())
		}
		e.callers[name] = c
	}
	return e
}

func (e *fakeEngine) Caller(p id.Project) (payout.Caller, bool) {
	e.asked.Add(1)
	c, ok := e.callers[p]
	return c, ok
}

// once runs do unless the key has been used, and keeps its answer.
func (e *fakeEngine) once(method string, c payout.Call, r wire.Request, do func() ([]byte, error)) (payout.Answer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, seen{method, c, r})
	if e.panics != nil {
		panic(e.panics)
	}
	if e.err != nil {
		return payout.Answer{}, e.err
	}
	scope := string(c.Project.ID) + " " + c.Key
	if first, used := e.answers[scope]; used && c.Key != "" {
		if !c.Replay || first.print != c.Print {
			return payout.Answer{}, fault.New(fault.KeyExists, "this key is used already")
		}
		return payout.Answer{Body: first.body, Replayed: true}, nil
	}
	body, err := do()
	if err != nil {
		return payout.Answer{}, err
	}
	e.answers[scope] = kept{c.Print, body}
	return payout.Answer{Body: body}, nil
}

func (e *fakeEngine) Refuse(_ context.Context, c payout.Call, why error) (payout.Answer, error) {
	return e.once("Refuse", c, wire.Request{}, func() ([]byte, error) { return nil, why })
}

func (e *fakeEngine) create(c payout.Call, d session.Details) *session.Session {
	e.made++
	s := &session.Session{
		Project: c.Project.ID, ID: id.Session(7300450 + e.made), Version: c.Version, State: session.Created,
		Draft: d, CreatedAt: e.tick(), UpdatedAt: e.clock,
	}
	e.sessions[s.ID] = s
	return s
}

func (e *fakeEngine) start(c payout.Call, s *session.Session, d session.Details) ([]byte, error) {
	d = d.Over(s.Draft)
	if err := wire.Complete(c.Version, d); err != nil {
		return nil, err
	}
	s.State, s.UpdatedAt = session.Checking, e.tick()
	s.Payouts = []session.Payout{{ID: id.Payout(s.ID - 3200000), State: s.State, Details: d, CreatedAt: e.clock}}
	return wire.Answer(s, c.Version, c.Project), nil
}

func (e *fakeEngine) tick() time.Time {
	e.clock = e.clock.Add(1500 * time.Millisecond)
	return e.clock
}

// on runs do on the session that a request names.
func (e *fakeEngine) on(method string, c payout.Call, r wire.Request, do func(*session.Session) ([]byte, error)) (payout.Answer, error) {
	return e.once(method, c, r, func() ([]byte, error) {
		s := e.sessions[r.Session]
		if s == nil || s.Project != c.Project.ID {
			return nil, fault.New(fault.NotFound, "session_id: no such session")
		}
		return do(s)
	})
}

// move takes a session from one state to another.
func (e *fakeEngine) move(c payout.Call, s *session.Session, from, to session.State) ([]byte, error) {
	if s.State != from {
		return nil, fault.New(fault.WrongState, "session %s is not in the state for this", s.ID)
	}
	s.State, s.UpdatedAt = to, e.tick()
	for i := range s.Payouts {
		s.Payouts[i].State = to
	}
	return wire.Answer(s, c.Version, c.Project), nil
}

func (e *fakeEngine) Create(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("Create", c, r, func() ([]byte, error) {
		return wire.Answer(e.create(c, r.Details), c.Version, c.Project), nil
	})
}

func (e *fakeEngine) Start(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.on("Start", c, r, func(s *session.Session) ([]byte, error) {
		if s.State != session.Created {
			return nil, fault.New(fault.WrongState, "session %s is started already", s.ID)
		}
		return e.start(c, s, r.Details)
	})
}

func (e *fakeEngine) Init(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("Init", c, r, func() ([]byte, error) {
		return e.start(c, e.create(c, session.Details{}), r.Details)
	})
}

func (e *fakeEngine) Verify(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("Verify", c, r, func() ([]byte, error) {
		return e.start(c, e.create(c, session.Details{}), r.Details)
	})
}

func (e *fakeEngine) Confirm(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.on("Confirm", c, r, func(s *session.Session) ([]byte, error) {
		return e.move(c, s, session.Awaiting, session.Confirmed)
	})
}

func (e *fakeEngine) Cancel(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.on("Cancel", c, r, func(s *session.Session) ([]byte, error) {
		return e.move(c, s, session.Created, session.Cancelled)
	})
}

func (e *fakeEngine) Status(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.on("Status", c, r, func(s *session.Session) ([]byte, error) {
		if s.State == session.Checking {
			return e.move(c, s, session.Checking, session.Awaiting)
		}
		return wire.Answer(s, c.Version, c.Project), nil
	})
}

func (e *fakeEngine) Balance(_ context.Context, c payout.Call) (payout.Answer, error) {
	return e.once("Balance", c, wire.Request{}, func() ([]byte, error) {
		return []byte(`{"status":"ok","wallets":[{"id":"4471","amount_details":{"amount":905432100,"currency":"rub"}}]}`), nil
	})
}

func (e *fakeEngine) MultiInit(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("MultiInit", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) AccountBalance(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("AccountBalance", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) AccountStatement(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("AccountStatement", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) PublicToken(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("PublicToken", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) Calculate(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("Calculate", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) CancelReceipt(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.on("CancelReceipt", c, r, func(s *session.Session) ([]byte, error) { return wire.Answer(s, c.Version, c.Project), nil })
}

func (e *fakeEngine) TokenInfo(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("TokenInfo", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) Tokenize(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("Tokenize", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) TokenizeElements(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("TokenizeElements", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) NPDAsk(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("NPDAsk", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) NPDStatus(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("NPDStatus", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

func (e *fakeEngine) NPDNotices(_ context.Context, c payout.Call, r wire.Request) (payout.Answer, error) {
	return e.once("NPDNotices", c, r, func() ([]byte, error) { return []byte("{}"), nil })
}

// serveTCP runs a server behind a real listener and returns its address.
func serveTCP(t testing.TB, h http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = HTTPServer("", h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func readAll(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
