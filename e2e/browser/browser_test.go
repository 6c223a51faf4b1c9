// Package browser holds the tests that drive the pages of payoutd in a real
// browser. The tests themselves are JavaScript, run by node; what stands here
// is the world that they run in.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/widget"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// patience bounds one file of tests.
const patience = 20 * time.Minute

// node runs one file of tests, which find their world in the environment.
func node(t *testing.T, file string, env ...string) {
	t.Helper()
	for _, program := range []string{"node", "chromium"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program)
		}
	}
	if _, err := os.Stat("node_modules/playwright-core"); err != nil {
		missing(t, "node_modules")
	}
	shots, err := filepath.Abs("../../build/screenshots")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=tap", file)
	cmd.Env = append(append(os.Environ(), "SHOTS="+shots), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("# fail 0")) || bytes.Contains(out, []byte("# pass 0\n")) {
		t.Fatalf("no test ran:\n%s", out)
	}
	t.Logf("%s", summary.FindAll(out, -1))
}

// missing skips a test for want of what scripts/needs.sh installs; where CI runs
// it has run before, so that nothing is skipped in silence.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing; scripts/needs.sh installs it", what)
	}
	t.Skipf("%s is missing; scripts/needs.sh installs it", what)
}

var summary = regexp.MustCompile(`(?m)^# (tests|pass|skipped|duration_ms) .*$`)

// TestDigits checks what the page knows of numbers against what the server
// knows of them: every head of four digits, and a key for every bank.
func TestDigits(t *testing.T) {
	t.Parallel()
	brands := map[string]instrument.Brand{}
	for head := range 10000 {
		number := hex.EncodeToString([]byte{byte(head/1000<<4 | head/100%10), byte(head/10%10<<4 | head%10)}) + "000000000000"
		brands[number[:4]] = instrument.BrandOf(instrument.PAN(number))
	}
	keys := map[string]bool{}
	for _, bik := range []string{"044525974", "049805746", "049805000", "049805001", "049805003"} {
		for _, account := range []string{"40602810700000000025", "30101810800000000746", "40817810913100000001", "40817810500000012345"} {
			keys[bik+" "+account] = instrument.AccountKey(bik, account)
		}
	}
	facts, err := json.Marshal(map[string]any{"brands": brands, "keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "facts.json")
	if err := os.WriteFile(file, facts, 0o600); err != nil {
		t.Fatal(err)
	}
	node(t, "digits.test.js", "FACTS="+file)
}

// TestWidgets drives the widgets against a back end in memory.
func TestWidgets(t *testing.T) {
	t.Parallel()
	desk := &desk{tokens: map[string]*token{}}
	log := &syncBuffer{}
	server := widget.New(desk, widget.Options{
		Log:      slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		PerToken: limit.Rate{Burst: 30, Every: time.Minute}, PerAddress: limit.Rate{Burst: 10000, Every: time.Millisecond},
	})
	home := httptest.NewServer(server)
	defer home.Close()
	shop := httptest.NewServer(partner(t, home.URL, desk))
	defer shop.Close()
	desk.shop = strings.Replace(shop.URL, "127.0.0.1", "localhost", 1)
	node(t, "widget.test.js", "WIDGET="+home.URL, "SHOP="+desk.shop, "STRANGER="+shop.URL)

	for _, secret := range []string{"4242424242424242", "220000000000", "40817810913100000001"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	for name := range desk.tokens {
		if strings.Contains(log.String(), name) {
			t.Error("the log has a public token")
		}
	}
	if !strings.Contains(log.String(), "widget call") {
		t.Error("nothing was logged")
	}
}

// runSandbox starts one that ends with the test, and returns what it printed
// with its folder.
func runSandbox(t *testing.T) (binary, folder, printed string) {
	t.Helper()
	folder = t.TempDir()
	binary = filepath.Join(folder, "payoutd")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/payoutd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// It begins at noon, so that no day of reports ends under way.
	clock := filepath.Join(folder, "data", "sim", "clock")
	noon := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(36 * time.Hour)).Truncate(time.Second)
	if err := errors.Join(os.MkdirAll(filepath.Dir(clock), 0o700), os.WriteFile(clock, []byte(noon.String()), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "sandbox", "--data", filepath.Join(folder, "data"), "--listen", "127.0.0.1:0")
	screen, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the sandbox ended with %v", err)
		}
	})
	lines := bufio.NewScanner(screen)
	for lines.Scan() {
		printed += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "Documents") {
			go func() { _, _ = io.Copy(io.Discard, screen) }() // lest it wait for a reader
			return binary, folder, printed
		}
	}
	t.Fatalf("the sandbox printed no end:\n%s", printed)
	return "", "", ""
}

// printedAs finds what a sandbox printed behind a word.
func printedAs(t *testing.T, printed, pattern string) []string {
	t.Helper()
	found := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(printed)
	if found == nil {
		t.Fatalf("the sandbox printed no %s:\n%s", pattern, printed)
	}
	return found[1:]
}

// TestDemo drives the demo page of a sandbox that really runs.
func TestDemo(t *testing.T) {
	t.Parallel()
	binary, folder, printed := runSandbox(t)
	url := printedAs(t, printed, `^Demo page +(http\S+)$`)[0]
	node(t, "demo.test.js", "DEMO="+url)

	if out, err := exec.Command(binary, "check", "--data", filepath.Join(folder, "data")).CombinedOutput(); err != nil {
		t.Errorf("the books: %v\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(folder, "data", "payoutd.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte("widget call")) {
		t.Error("the log has no call of a widget")
	}
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == binary {
			return err
		}
		content, err := os.ReadFile(path)
		if typed.Match(content) {
			t.Errorf("%s has the card number that was typed", filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReceipt looks at receipts of the simulated tax service.
func TestReceipt(t *testing.T) {
	t.Parallel()
	home := httptest.NewUnstartedServer(nil)
	clock := &sandbox.Clock{}
	world, err := sandbox.Open(t.TempDir(), clock, sandbox.WithOrigin("http://"+home.Listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	home.Config.Handler = sandbox.Handler(sandbox.Site{Clock: clock, Inbox: sandbox.NewInbox(clock.Now), World: world})
	home.Start()
	t.Cleanup(func() {
		home.Close()
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	ask := func(q tax.Question) tax.Answer {
		q.INN = "771310005300" // who is linked
		a, err := tax.Call(t.Context(), world.Tax(), q)
		if err != nil || a.Refused != "" {
			t.Fatalf("%s: %+v, %v", q.Kind, a, err)
		}
		return a
	}
	receipt := func(operation string, services ...tax.Item) *tax.Receipt {
		return ask(tax.Question{Kind: tax.Register, Operation: operation, Receipt: &tax.Income{
			At: time.Date(2026, 6, 3, 9, 2, 11, 0, time.UTC), Services: services,
			Payer: tax.Payer{Type: tax.PayerLegal, INN: "7704123450", Name: "OOO Sever"},
		}}).Registered
	}
	item := func(name string, minor int64, pieces int) tax.Item {
		return tax.Item{Name: name, Amount: money.Amount{Minor: minor, Currency: money.RUB}, Quantity: pieces}
	}
	var many []tax.Item
	for range 6 {
		many = append(many, item("Доставка "+strings.Repeat("неотложных и хрупких ", 9)+strings.Repeat("посылок", 6), 12_345_67, 3))
	}
	one := receipt("one", item("Courier service, May", 4_500_00, 1))
	long := receipt("long", many...)
	cancelled := receipt("cancelled", item("Courier service, June", 1_310_50, 2))
	ask(tax.Question{Kind: tax.Cancel, Operation: "back", ReceiptID: cancelled.ID, Reason: tax.ReasonRefund})
	node(t, "receipt.test.js", "RECEIPT="+one.Link, "LONG="+long.Link, "CANCELLED="+cancelled.Link)
}

// typed is the card number that demo.test.js pays to, as it may stand in a file.
var typed = regexp.MustCompile(`2200\D?0000\D?0000\D?1317|7131\D?0000\D?0000\D?0022|32323030303030303030303031333137`)

// partner is the site that shows a widget, under the policy that docs/widgets.md
// asks for, and the switch by which a test makes tokens.
func partner(t *testing.T, home string, d *desk) http.Handler {
	page := template.Must(template.ParseFiles("testdata/shop.html"))
	answer, err := http.Get(home + "/integrity.json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var digests map[string]string
	if err := json.NewDecoder(answer.Body).Decode(&digests); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-shop' "+home+"; style-src 'nonce-shop' "+home+"; img-src data:; frame-src "+home+"; base-uri 'none'")
		_ = page.Execute(w, map[string]any{
			"Widget": template.URL(home), "Name": name, "Lang": r.FormValue("lang"), "Theme": r.FormValue("theme"),
			"JS": digests[name+".js"], "CSS": digests[name+".css"],
		})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		var made token
		if err := json.NewDecoder(r.Body).Decode(&made); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(d.issue(&made))
	})
	mux.HandleFunc("POST /tax", func(_ http.ResponseWriter, r *http.Request) { d.decide(widget.LinkState(r.FormValue("state"))) })
	return mux
}

// token is one public token of the back end in memory; the exported fields are
// what a test may ask for.
type token struct {
	Tokenize, SelfEmployed, Acquiring widget.Door
	Ended                             bool // its time is over
	Attempts                          int  // how many it has; 0 is many

	state widget.LinkState
}

// desk is the back end in memory.
type desk struct {
	shop string

	mu     sync.Mutex
	tokens map[string]*token
}

func (d *desk) issue(t *token) string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	name := hex.EncodeToString(b[:])
	if t.Attempts == 0 {
		t.Attempts = 100
	}
	t.state = widget.LinkNone
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens[name] = t
	return name
}

// decide is what the tax service answers about every request from now on.
func (d *desk) decide(state widget.LinkState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tokens {
		if t.state == widget.LinkSent {
			t.state = state
		}
	}
}

func (d *desk) Open(_ context.Context, name string) (widget.Grant, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.tokens[name]
	if !ok {
		return widget.Grant{}, fault.New(fault.NotFound, "public_token: unknown")
	}
	ends := time.Now().Add(time.Hour)
	if t.Ended {
		ends = time.Now().Add(-time.Minute)
	}
	return widget.Grant{Origins: []string{d.shop}, EndsAt: ends, Tokenize: t.Tokenize, SelfEmployed: t.SelfEmployed, Acquiring: t.Acquiring}, nil
}

// attempt takes the token for one operation of the tokenization widget.
func (d *desk) attempt(name string, right bool) error {
	t, ok := d.tokens[name]
	switch {
	case !ok:
		return fault.New(fault.NotFound, "public_token: unknown")
	case t.Ended:
		return fault.New(fault.TokenExpired, "the public token has expired")
	case t.Tokenize == widget.Used:
		return fault.New(fault.TokenUsed, "the public token has been used")
	case t.Attempts == 0:
		return fault.New(fault.TooMany, "too many attempts")
	case !right:
		t.Attempts--
		return fault.New(fault.Invalid, "this number is not accepted")
	}
	t.Tokenize = widget.Used
	return nil
}

func (d *desk) Card(_ context.Context, name string, number []byte) (widget.Card, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pan, err := instrument.ParsePAN(string(number))
	// A number that the page finds nothing wrong with, and the server does.
	if err := d.attempt(name, err == nil && pan != "2200000000002125"); err != nil {
		return widget.Card{}, err
	}
	shown := pan.Shown()
	return widget.Card{NumberHash: strings.Repeat("ab", 32), Brand: shown.Brand, Last4: shown.Last4}, nil
}

func (d *desk) Account(_ context.Context, name, bik, account string) (widget.Account, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.attempt(name, instrument.AccountKey(bik, account)); err != nil {
		return widget.Account{}, err
	}
	return widget.Account{Token: strings.Repeat("cd", 32), Masked: account[:5] + "***" + account[16:]}, nil
}

func (d *desk) Link(_ context.Context, name, person string) (widget.LinkState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if person == "500100732260" {
		return "", fault.New(fault.Invalid, "tax_reference_or_phone: not the person of this token")
	}
	d.tokens[name].state = widget.LinkSent
	return widget.LinkSent, nil
}

func (d *desk) LinkState(_ context.Context, name string) (widget.LinkState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tokens[name]
	if t.state == widget.Linked {
		t.SelfEmployed = widget.Used
	}
	return t.state, nil
}

// syncBuffer is a log that may be written and read at once.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
