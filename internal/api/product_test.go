package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// A product is all that stands behind the API in a sandbox: the engine on a
// database file, the simulated world, and a connection of a partner. It lives
// in a synctest bubble, where time passes only while nobody has anything to do,
// so that every run gives the same times and the same order.
type product struct {
	t      *testing.T
	clock  *sandbox.Clock
	world  *sandbox.World
	store  store.Store
	engine *payout.Engine
	log    *lines

	server  *http.Server
	front   *pipes         // where the server takes connections
	running sync.WaitGroup // of the engine and the server
	stop    func()         // ends the engine

	conn   net.Conn
	answer *bufio.Reader // what comes back over conn
	issued id.Token      // by an operator
}

// began is the product's time when a conversation begins. In a bubble that is
// the midnight of 2000-01-01.
var began = time.Date(2026, 3, 2, 9, 15, 4, 120031000, time.UTC)

// Times of a conversation. The rails take a while to answer, so that what
// follows a request has a later time than the request; pace is the time after
// each step, in which all that goes at that speed comes to its end.
const (
	latency = 40 * time.Millisecond
	pace    = 200 * time.Millisecond
)

// client is a project of the conversations.
type client struct {
	partner.Project
	deposit string   // in roubles; "" for none
	active  []string // names of its keys
	retired []string
}

// clients are all projects of the conversations, one for each setting that
// changes what goes over the wire.
func clients() []client {
	fees := make(map[instrument.Kind]partner.Fee)
	for _, kind := range instrument.Kinds {
		fees[kind] = partner.Fee{Fixed: 1000, PPM: 15000}
	}
	return []client{
		{partner.Project{ID: "acme", Wallet: "4471", Methods: instrument.Kinds, SelfEmployed: true}, "9054321.00", []string{"acme"}, nil},
		{partner.Project{ID: "birch", Wallet: "4472", Methods: instrument.Kinds, ServerKey: partner.P256}, "100000.00", []string{"birch"}, nil},
		{partner.Project{ID: "cedar", Wallet: "4473", Methods: []instrument.Kind{instrument.KindCard}}, "", []string{"cedar-1", "cedar-2"}, []string{"cedar-retired"}},
		{partner.Project{ID: "dune", Wallet: "4474"}, "", nil, []string{"dune-retired"}},
		{partner.Project{ID: "elm", Wallet: "4475", Methods: instrument.Kinds, SelfEmployed: true, Fees: fees, ShowFees: true}, "1000.00", []string{"elm"}, nil},
		{partner.Project{ID: "fir", Wallet: "4476", Methods: instrument.Kinds, SingleRequest: true, SelfEmployed: true}, "1000.00", []string{"fir"}, nil},
		{partner.Project{
			ID: "gorse", Wallet: "4477", Methods: instrument.Kinds, WebhookNames: 1,
			ControlKey: partner.Reject, INNCheck: partner.Reject, AccountPrefix: partner.Reject,
		}, "1000.00", []string{"gorse"}, nil},
		{partner.Project{
			ID: "hazel", Wallet: "4478", Methods: instrument.Kinds, Partner: "acme", Elements: true, CardIDs: true, AccountTokens: true,
			TokenLife: partner.Duration(365 * 24 * time.Hour), Credit: 10_000_00, // no deposit, which would take a number
		}, "", []string{"hazel"}, nil},
		{partner.Project{
			ID: "ivy", Wallet: "4479", Methods: instrument.Kinds, Credit: 1_000_000_00,
			Rates: map[money.Currency]rate.Terms{money.USD: {Agreed: 80_50_000_000}},
		}, "", []string{"ivy"}, nil},
		{partner.Project{
			ID: "juniper", Wallet: "4480", Methods: instrument.Kinds, Credit: 1_000_000_00, SingleRequest: true,
			Rates: map[money.Currency]rate.Terms{money.EUR: {}, money.USD: {}}, RateLock: partner.Duration(10 * time.Minute), ShowRates: true,
			Fees: fees, ShowFees: true,
		}, "", []string{"juniper"}, nil},
		{partner.Project{ID: "kale", Wallet: "4481", Methods: instrument.Kinds, Fees: fees, SingleRequest: true}, "", []string{"kale"}, nil},
	}
}

// accounts are the own accounts of kale, with what is on them.
var accounts = []struct {
	payout.OwnAccount
	deposit string
}{
	{payout.OwnAccount{Number: "40702810900000000131", Owner: partner.Owner{
		Type: instrument.RKO, Name: "ООО Ромашка", INN: "7700000136", KPP: "770001001",
		BIK: "044000131", BankName: "Банк отправителя", Correspondent: "30101810000000000131",
	}}, "5000.00"},
	{payout.OwnAccount{Number: "40701810200000000131", Owner: partner.Owner{
		Type: instrument.Nominal, Name: "ООО Ромашка", INN: "7700000136", BIK: "044000131", BankName: "Банк отправителя",
	}}, "3000.00"},
}

// newProduct opens the program on an empty folder. It must run in a bubble;
// the receiver and all keys come from outside of it.
func newProduct(t *testing.T, hooks *receiver) *product {
	t.Helper()
	dir := t.TempDir()
	p := &product{t: t, clock: new(sandbox.Clock), log: new(lines)}
	p.world = must(sandbox.Open(dir, p.clock, sandbox.WithSeed("wire"), sandbox.WithLatency(latency)))
	file := filepath.Join(dir, "payoutd.db")
	if err := os.WriteFile(file, emptyDatabase(), 0o600); err != nil {
		t.Fatal(err)
	}
	p.store = must(sqlite.Open(t.Context(), file, nil))
	log := slog.New(slog.NewTextHandler(p.log, nil))
	ahead := time.Until(began)
	p.engine = must(payout.New(context.Background(), payout.Options{
		Store: p.store, Vault: must(vault.New(vaultKeys())), Rails: p.world.Rails(), Log: log,
		ServerKeys: serverKeys(), QueryGapMax: 5 * time.Second, Tax: p.world.Tax(),
		Rates: rate.Table{
			Name: "cbr.ru", Prices: map[money.Currency]rate.Price{money.EUR: 93_75_250_000},
			Now: func() time.Time { return began.Truncate(24 * time.Hour) },
		},
		Now: func() time.Time { return p.clock.Now().Add(ahead) },
		// The clock of the numbers stands still, so that all have seven digits.
		IDs: id.NewNodeGenerator(func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 1e6, time.UTC) }, 0),
	}))
	p.clock.OnAdvance(p.engine.Wake)
	for _, c := range clients() {
		p.add(c, hooks.URL)
	}

	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.running.Go(func() {
		if err := p.engine.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	s := New(p.engine, Options{Log: log})
	s.newID = func() string { return fixedRequest }
	p.server = HTTPServer("", s)
	p.server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	p.front = &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.running.Go(func() { _ = p.server.Serve(p.front) })
	p.conn = p.dial()
	p.answer = bufio.NewReader(p.conn)
	return p
}

// dial opens one more connection to the server.
func (p *product) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.front.conns <- theirs
	return ours
}

// close ends the product, which must be done before its bubble ends.
func (p *product) close() {
	_ = p.server.Close()
	p.stop()
	p.running.Wait()
	p.engine.Close()
	p.prove()
	for _, c := range []io.Closer{p.store, p.world} {
		if err := c.Close(); err != nil {
			p.t.Error(err)
		}
	}
	if p.t.Failed() {
		p.t.Logf("log of the program:\n%s", p.log)
	}
}

// addAccounts gives kale its own accounts, in the conversations that it holds:
// they take numbers.
func (p *product) addAccounts() {
	p.t.Helper()
	for _, a := range accounts {
		must(p.engine.AddAccount(p.t.Context(), "kale", a.OwnAccount))
		must(p.engine.DepositTo(p.t.Context(), "kale", a.Number, must(money.Parse(a.deposit, "rub")), "order-17 "+a.Number))
	}
}

// add makes a project with its keys and its money.
func (p *product) add(c client, hooks string) {
	p.t.Helper()
	retired := began.AddDate(-1, 0, 0)
	for _, name := range c.active {
		c.Keys = append(c.Keys, partner.Key{ID: name, PEM: string(keys()[name].Public().PEM())})
	}
	for _, name := range c.retired {
		c.Keys = append(c.Keys, partner.Key{ID: name, PEM: string(keys()[name].Public().PEM()), RetiredAt: &retired})
	}
	c.Webhook, c.AllowPrivateWebhooks = hooks+"/"+string(c.ID), true
	if err := p.engine.CreateProject(p.t.Context(), c.Project); err != nil {
		p.t.Fatal(err)
	}
	if c.deposit == "" {
		return
	}
	if _, err := p.engine.Deposit(p.t.Context(), c.ID, must(money.Parse(c.deposit, "rub")), ""); err != nil {
		p.t.Fatal(err)
	}
}

// settle waits until whatever was begun has ended, or waits for more than pace.
func settle() {
	time.Sleep(pace)
	synctest.Wait()
}

// send writes a request and reads its answer.
func (p *product) send(verb string, message []byte) *http.Response {
	p.t.Helper()
	// Over a pipe without a buffer an answer may begin before all is read.
	wrote := make(chan error, 1)
	go func() { _, err := p.conn.Write(message); wrote <- err }()
	response, err := http.ReadResponse(p.answer, &http.Request{Method: verb})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		p.t.Fatal(err)
	}
	return response
}

// tokens does what people do with tokens who are not partners, and says what
// came of it.
func (p *product) tokens(what string, args []string) string {
	p.t.Helper()
	ctx := p.t.Context()
	said := func(err error, format string, args ...any) string {
		if err != nil {
			return string(fault.CodeOf(err))
		}
		return fmt.Sprintf(format, args...)
	}
	v := must(vault.New(vaultKeys()))
	switch {
	case what == "widget" && args[0] == "card":
		h, err := p.engine.TokenizeCard(ctx, vault.Token(args[1]), payout.CardInput{Number: []byte(args[2])})
		return said(err, "%s %s", string(h.Number), h.Shown.Last4)
	case what == "widget":
		token, shown, err := p.engine.TokenizeAccount(ctx, vault.Token(args[1]), args[2], args[3])
		return said(err, "%s %s", string(token), shown.Masked)
	case what == "issue": // what a sandbox does at an operator's desk
		project, _ := p.engine.Caller(id.Project(args[0]))
		shown := instrument.PAN(args[2]).Shown()
		now := p.clock.Now().Add(time.Until(began)).UTC()
		p.issued++
		item, token, err := v.Issue(vault.Item{
			Partner: project.Owner(), ID: p.issued, Kind: vault.Kind(args[1]), Project: project.ID,
			Shown:     vault.Shown{BIN: shown.BIN, Last4: shown.Last4, Brand: shown.Brand},
			CreatedAt: now, EndsAt: project.TokenEnd(now),
		}, []byte(args[2]))
		if err == nil {
			err = p.store.Commit(ctx, store.Reads{}, func(*store.Rows) (*store.Changes, error) {
				return &store.Changes{Batch: id.Batch(p.issued), Items: []vault.Item{item}}, nil
			})
		}
		return said(err, "%s", string(token))
	}
	project, _ := p.engine.Caller(id.Project(args[0]))
	kind := vault.Kind(args[1])
	item, err := p.store.FindItem(ctx, project.Owner(), kind, must(v.LookUp(kind, vault.Token(args[2]))))
	if err == nil {
		err = p.engine.DeleteToken(ctx, project.ID, item.ID, "operator")
	}
	return said(err, "deleted")
}

// prove says that whatever the conversation was, the books are in order at its
// end, and that the world has paid nothing twice and no more than was booked.
func (p *product) prove() {
	p.t.Helper()
	ctx := context.Background()
	report, err := payout.Check(ctx, p.store)
	if err != nil {
		p.t.Errorf("check of the books: %v", err)
		return
	}
	if !report.Clean() {
		p.t.Errorf("the books are not clean: %q", report.Problems)
	}
	if report.Pending > 0 || report.GivenUp > 0 {
		p.t.Errorf("%d webhooks are pending and %d were given up", report.Pending, report.GivenUp)
	}
	var paid int64
	seen := make(map[string]bool)
	for e, err := range p.world.Executions(ctx) {
		if err != nil {
			p.t.Error(err)
			return
		}
		if seen[e.Reference] {
			p.t.Errorf("the world has paid %s twice", e.Reference)
		}
		seen[e.Reference] = true
		paid += e.Amount.Minor
	}
	back, err := p.world.Returns(ctx)
	if err != nil {
		p.t.Error(err)
	}
	for _, b := range back {
		paid -= b.Amount.Minor
	}
	var cleared int64
	for _, c := range clients() {
		book, err := p.store.Book(ctx, c.ID)
		if err != nil {
			p.t.Error(err)
			return
		}
		cleared += book.Balance.Clearing
		own, err := p.store.Accounts(ctx, c.ID)
		if err != nil {
			p.t.Error(err)
			return
		}
		for i := range own {
			cleared += own[i].Balance.Clearing
		}
	}
	if paid != cleared {
		p.t.Errorf("the world has paid %d, the books say %d", paid, cleared)
	}
}

// A receiver is the partners' server for webhooks. It stands outside of the
// bubble, because it is met over a real socket, and closes each connection, so
// that none is left that could hold up the bubble's time.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Connection", "close")
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Errorf("webhook: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, hook(request, body))
	}))
	t.Cleanup(r.Close)
	return r
}

// hookHeaders are the headers of a webhook that are ours to decide.
var hookHeaders = []string{
	"Content-Type", "User-Agent", "X-PAYOUTD-EVENT-ID", "X-PAYOUTD-EVENT-SEQUENCE", "X-PAYOUTD-EVENT-TIME",
}

// hook is a webhook as fixtures hold it. In place of the signature stands the
// key by which it holds.
func hook(r *http.Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", r.Method, r.URL.Path)
	for _, name := range hookHeaders {
		fmt.Fprintf(&b, "%s: %s\n", name, r.Header.Get(name))
	}
	by := "nobody"
	for kind, key := range serverKeys() {
		if key.Public().Verify(body, r.Header.Get(sign.HeaderSign)) == nil {
			by = "server-" + string(kind)
		}
	}
	fmt.Fprintf(&b, "%s: {%s}\n\n%s\n", sign.HeaderSign, by, body)
	return b.String()
}

// take returns the webhooks that came since it was last called.
func (r *receiver) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// serverKeys sign webhooks. Like all keys they are made once, and outside of
// any bubble.
var serverKeys = sync.OnceValue(func() map[partner.KeyType]sign.PrivateKey {
	return map[partner.KeyType]sign.PrivateKey{
		partner.RSA:  must(sign.GenerateRSA()),
		partner.P256: must(sign.GenerateP256()),
	}
})

// emptyDatabase is a file with the schema and nothing else: to bring the schema
// up takes longer than most conversations.
var emptyDatabase = sync.OnceValue(func() []byte {
	dir := must(os.MkdirTemp("", "payoutd"))
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "payoutd.db")
	if err := sqlite.Migrate(context.Background(), file); err != nil {
		panic(err)
	}
	return must(os.ReadFile(file))
})

// vaultKeys seal the card numbers of all conversations.
var vaultKeys = sync.OnceValue(func() vault.Keys { return must(vault.Generate()) })
