package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

const database = "/data/payoutd.db" // a name for the handshake only

// newDesk returns the handler of a new installation, with its engine.
func newDesk(t *testing.T) (http.Handler, *payout.Engine) {
	t.Helper()
	h, e, _ := newDeskOn(t)
	return h, e
}

// newDeskOn is newDesk with the store as well.
func newDeskOn(t *testing.T) (http.Handler, *payout.Engine, store.Store) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "payoutd.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	e, err := payout.New(t.Context(), payout.Options{Store: s, Vault: v})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return New(Options{Engine: e, Store: s, Database: database, Now: func() time.Time { return now }}), e, s
}

// now is the time of all that the tests do, whose day does not end under way.
var now = time.Now()

// place is an installation that opens to the handler, without a server.
func place(t *testing.T, h http.Handler) Place {
	return Place{
		Sockets: []string{filepath.Join(t.TempDir(), "payoutd.sock")}, Database: database,
		Open: func(context.Context) (http.Handler, func() error, error) { return h, func() error { return nil }, nil },
	}
}

func connect(t *testing.T, p Place) *Client {
	t.Helper()
	c, err := Connect(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve runs the handler on the place's socket.
func serve(t *testing.T, p Place, h http.Handler) {
	t.Helper()
	l, err := Listen(p.Sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l) // ends by Close below
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
}

func publicKey(t *testing.T) (pem, name string) {
	t.Helper()
	k, err := sign.GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	return string(k.Public().PEM()), k.Public().ID()
}

func made(t *testing.T, c *Client) (key string) {
	t.Helper()
	pem, key := publicKey(t)
	if _, err := c.Create(t.Context(), CreateRequest{Project: "acme", PublicKey: pem}); err != nil {
		t.Fatal(err)
	}
	return key
}

func roublesOf(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.RUB} }

func wantCode(t *testing.T, err error, code fault.Code, text string) {
	t.Helper()
	if fault.CodeOf(err) != code || err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, want %s with %q", err, code, text)
	}
}

// TestBothWays holds the two ways to the same answers: through a socket and in
// the process.
func TestBothWays(t *testing.T) {
	for _, way := range []string{"socket", "process"} {
		t.Run(way, func(t *testing.T) {
			h, engine := newDesk(t)
			p := place(t, h)
			if way == "socket" {
				serve(t, p, h)
				p.Open = func(context.Context) (http.Handler, func() error, error) {
					t.Error("the installation was opened beside its server")
					return nil, nil, errors.New("opened")
				}
			}
			c, ctx := connect(t, p), t.Context()
			key := made(t, c)
			if _, ok := engine.Caller("acme"); !ok {
				t.Error("the new project does not hold at once")
			}
			first, err := c.Deposit(ctx, DepositRequest{Project: "acme", Amount: roublesOf(100_00), Reference: "r"})
			if err != nil || first.Repeated || first.Available != "100.00" {
				t.Errorf("deposit %+v, %v", first, err)
			}
			second, err := c.Deposit(ctx, DepositRequest{Project: "acme", Amount: roublesOf(100_00), Reference: "r"})
			if err != nil || !second.Repeated || second.Available != "100.00" {
				t.Errorf("repeated deposit %+v, %v", second, err)
			}
			shown, err := c.Project(ctx, "acme")
			if err != nil || shown.Keys[0].ID != key || shown.Keys[0].Type != "p256" || shown.Balance.Available != "100.00" {
				t.Errorf("project %+v, %v", shown, err)
			}
			list, err := c.Projects(ctx)
			if err != nil || len(list) != 1 {
				t.Errorf("list %+v, %v", list, err)
			}
			report, err := c.Check(ctx)
			if err != nil || !report.Clean() || report.Entries != 1 {
				t.Errorf("check %+v, %v", report, err)
			}
			_, err = c.Project(ctx, "nobody")
			wantCode(t, err, fault.NotFound, "no project nobody")
			_, err = c.Deposit(ctx, DepositRequest{Project: "nobody", Amount: roublesOf(1), Reference: "s"})
			wantCode(t, err, fault.NotFound, "no project nobody")
			_, err = c.Deposit(ctx, DepositRequest{Project: "acme", Amount: roublesOf(7), Reference: ""})
			wantCode(t, err, fault.Invalid, "reference: missing")
			_, err = c.Deposit(ctx, DepositRequest{Project: "acme", Amount: roublesOf(7), Reference: "r"})
			wantCode(t, err, fault.Invalid, "another amount")
			_, err = c.Create(ctx, CreateRequest{Project: "a b", PublicKey: "x"})
			wantCode(t, err, fault.Invalid, "public key")
		})
	}
}

func TestSettings(t *testing.T) {
	h, engine := newDesk(t)
	c := connect(t, place(t, h))
	made(t, c)
	is := func(s string) *string { return &s }
	yes, no := true, false
	timeout := func(d time.Duration) *partner.Duration { return (*partner.Duration)(&d) }

	good := Settings{
		Webhook: is("https://acme.example/hook"), Retry: is("short"), WebhookNames: is("v2"), ServerKey: is("p256"),
		SingleRequest: &yes, ConfirmTimeout: timeout(time.Minute), Methods: &[]string{"wallet", "card", "card"},
		Fees: map[string]string{"card": "1.5%>=30.00"}, ShowFees: &yes, Credit: is("50.00"),
		Rates: map[string]string{"usd": "81.25", "EUR": "daily"}, RateLock: timeout(10 * time.Minute), ShowRates: &yes,
		ControlKey: is("warn"), INNCheck: is("reject"), AccountPrefix: is("warn"), Contract: is("131-2026/№ 7"),
	}
	if _, err := c.Set(t.Context(), SetRequest{"acme", good}); err != nil {
		t.Fatal(err)
	}
	caller, _ := engine.Caller("acme")
	if p := caller.Project; !p.SingleRequest || !p.RetryShort || p.WebhookNames != 2 || p.ServerKey != partner.P256 || p.Credit != 50_00 ||
		p.Timeout() != time.Minute || len(p.Methods) != 2 || p.Methods[0] != "card" || p.INNCheck != partner.Reject || !p.ShowFees ||
		p.Rates[money.USD].Agreed != 8_125_000_000 || len(p.Rates) != 2 || p.RateLock != partner.Duration(10*time.Minute) || !p.ShowRates || p.Contract != "131-2026/№ 7" {
		t.Errorf("the engine has %+v", p)
	}

	for _, row := range []struct {
		name string
		set  Settings
		text string
	}{
		{"webhook to a private address", Settings{Webhook: is("http://10.0.0.1/")}, "private addresses"},
		{"webhook of another scheme", Settings{Webhook: is("ftp://acme.example/")}, "http://"},
		{"unknown retry", Settings{Retry: is("never")}, "short, standard"},
		{"unknown names", Settings{WebhookNames: is("v3")}, "auto, v1, v2"},
		{"unknown key type", Settings{ServerKey: is("dsa")}, "p256, rsa"},
		{"no time to confirm", Settings{ConfirmTimeout: timeout(0)}, "whole seconds"},
		{"a part of a second", Settings{ConfirmTimeout: timeout(1500 * time.Millisecond)}, "whole seconds"},
		{"too long to confirm", Settings{ConfirmTimeout: timeout(721 * time.Hour)}, "720h"},
		{"unknown method", Settings{Methods: &[]string{"cash"}}, `method "cash"`},
		{"fee of an unknown method", Settings{Fees: map[string]string{"cash": "1%"}}, `method "cash"`},
		{"fee that can't be read", Settings{Fees: map[string]string{"card": "1,5%"}}, "fee"},
		{"fee above all amounts", Settings{Fees: map[string]string{"card": "90071992547409.92"}}, "at most 90071992547409.91 roubles"},
		{"rate of the rouble", Settings{Rates: map[string]string{"rub": "1"}}, "want a foreign currency"},
		{"rate of an unknown currency", Settings{Rates: map[string]string{"usd": "80", "xau": "1"}}, `rate of "xau"`},
		{"rate of nothing", Settings{Rates: map[string]string{"usd": "0"}}, "want roubles such as 81.25"},
		{"rate with a comma", Settings{Rates: map[string]string{"usd": "81,25"}}, "want roubles such as 81.25"},
		{"no lock of a rate", Settings{RateLock: timeout(0)}, "rate lock 0s"},
		{"too long a lock of a rate", Settings{RateLock: timeout(25 * time.Hour)}, "1m to 24h"},
		{"negative credit", Settings{Credit: is("-1.00")}, "credit"},
		{"widget in a page without TLS", Settings{WidgetOrigins: &[]string{"https://a.example", "http://b.example"}}, `widget origin "http://b.example": want https`},
		{"contract of two lines", Settings{Contract: is("131\n7")}, "contract"},
		{"long contract", Settings{Contract: is(strings.Repeat("7", 101))}, "at most 100 bytes"},
		{"unknown mode", Settings{INNCheck: is("on")}, "off, reject, warn"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.set.SingleRequest = &no // must not be changed either
			_, err := c.Set(t.Context(), SetRequest{"acme", row.set})
			wantCode(t, err, fault.Invalid, row.text)
			if now, _ := engine.Caller("acme"); !now.SingleRequest {
				t.Error("a refused change was made in part")
			}
		})
	}

	// What is not named stays; a fee or a rate of none takes it away.
	if shown, err := c.Set(t.Context(), SetRequest{"acme", Settings{Rates: map[string]string{"usd": "none"}}}); err != nil ||
		len(shown.Settings.Rates) != 1 || shown.Settings.Rates["eur"] != "daily" || time.Duration(*shown.Settings.RateLock) != 10*time.Minute {
		t.Errorf("%+v, %v", shown.Settings, err)
	}
	shown, err := c.Set(t.Context(), SetRequest{"acme", Settings{Fees: map[string]string{"fps": "10.00", "card": "none"}}})
	if err != nil || len(shown.Settings.Fees) != 1 || shown.Settings.Fees["fps"] != "10.00" || !*shown.Settings.SingleRequest {
		t.Errorf("%+v, %v", shown.Settings, err)
	}
}

func TestKeys(t *testing.T) {
	h, engine := newDesk(t)
	c, ctx := connect(t, place(t, h)), t.Context()
	first := made(t, c)
	pem, second := publicKey(t)
	if r, err := c.AddKey(ctx, "acme", pem); err != nil || !r.Changed || r.KeyID != second {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := c.AddKey(ctx, "acme", pem); err != nil || r.Changed {
		t.Errorf("added again: %+v, %v", r, err)
	}
	if r, err := c.RetireKey(ctx, "acme", first); err != nil || !r.Changed {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := c.RetireKey(ctx, "acme", first); err != nil || r.Changed {
		t.Errorf("retired again: %+v, %v", r, err)
	}
	if caller, _ := engine.Caller("acme"); len(caller.Public) != 1 || caller.Public[0].ID() != second {
		t.Errorf("the engine accepts %d keys", len(caller.Public))
	}
	if _, err := c.RetireKey(ctx, "acme", second); err != nil {
		t.Fatal(err)
	}
	_, err := c.AddKey(ctx, "acme", pem)
	wantCode(t, err, fault.WrongState, "was retired")
	_, err = c.RetireKey(ctx, "acme", "0000")
	wantCode(t, err, fault.NotFound, "has no key 0000")
	_, err = c.AddKey(ctx, "acme", "-----BEGIN PRIVATE KEY-----")
	wantCode(t, err, fault.Invalid, "key")
}

func TestAnotherDatabaseIsRefused(t *testing.T) {
	h, _ := newDesk(t)
	p := place(t, h)
	serve(t, p, h)
	p.Database = "/data/other.db"
	_, err := connect(t, p).Projects(t.Context())
	wantCode(t, err, fault.WrongState, "has the database "+database+", not /data/other.db")
}

func TestStaleSocketIsNoObstacle(t *testing.T) {
	h, _ := newDesk(t)
	p := place(t, h)
	l, err := net.Listen("unix", p.Sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed server leaves it
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, p).Projects(t.Context()); err != nil {
		t.Errorf("beside a stale socket: %v", err)
	}
	serve(t, p, h)
	if info, err := os.Stat(p.Sockets[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want a socket for its owner only", info, err)
	}
	p.Open = nil // a panic if it is called
	if _, err := connect(t, p).Projects(t.Context()); err != nil {
		t.Errorf("through the new socket: %v", err)
	}
}

func TestOtherFileInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payoutd.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(path)
	wantCode(t, err, fault.Invalid, "in the way")
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file was touched")
	}
}

// TestHeldButSilent meets a process that holds the folder and does not answer:
// the client waits for a server that is just starting, then says so.
func TestHeldButSilent(t *testing.T) {
	h, _ := newDesk(t)
	p := place(t, h)
	tries := 0
	held := fault.Wrap(fault.Busy, syscall.EWOULDBLOCK, "in use by another process")
	p.Open = func(context.Context) (http.Handler, func() error, error) {
		if tries++; tries < 3 {
			return nil, nil, held
		}
		return h, func() error { return nil }, nil
	}
	if _, err := connect(t, p).Projects(t.Context()); err != nil || tries != 3 {
		t.Errorf("%v after %d tries", err, tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.Open = func(context.Context) (http.Handler, func() error, error) {
		cancel() // stands for the end of the client's patience
		return nil, nil, held
	}
	_, err := Connect(ctx, p)
	wantCode(t, err, fault.Busy, "holds the database "+database+" but does not answer")
	p.Open = func(context.Context) (http.Handler, func() error, error) { return nil, nil, os.ErrPermission }
	if _, err := Connect(t.Context(), p); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v, want the reason why it can't be opened, at once", err)
	}
}

func TestLongPathOfSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "payoutd.sock")
	_, err := Listen(path)
	wantCode(t, err, fault.Invalid, "shorter --data")
	t.Chdir(dir)
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("seen from its own folder: %v", err)
	}
	_ = l.Close()
}

func TestSettingsAreLoggedByName(t *testing.T) {
	url := "https://acme.example/hook?token=secret"
	if got := (Settings{Webhook: &url}).LogValue().String(); got != "webhook" {
		t.Errorf("logged as %q", got)
	}
}

func TestBusySaysWhy(t *testing.T) {
	w := httptest.NewRecorder()
	reply(w, nil, fault.Wrap(fault.Busy, errors.New("the server closed the connection"), "take sessions of shop out"))
	if body := w.Body.String(); !strings.Contains(body, `"take sessions of shop out: the server closed the connection"`) {
		t.Errorf("told: %s", body)
	}
}
