// Package e2e drives the built binary from outside, as its users do: partners
// over HTTP, operators through the shell, and an operating system that kills it.
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/sign"
)

// payoutd is the program under test, built once and first on the PATH.
var payoutd string

// builtVariable names a program that is built already, to be tested in place of
// this source's.
const builtVariable = "PAYOUTD_TEST_BINARY"

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "payoutd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	payoutd = filepath.Join(dir, "payoutd")
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build() error {
	if built := os.Getenv(builtVariable); built != "" {
		return os.Symlink(built, payoutd)
	}
	out, err := exec.Command("go", "build", "-o", payoutd, "../cmd/payoutd").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build ../cmd/payoutd: %w\n%s", err, out)
	}
	return nil
}

// startTimeout and stopTimeout bound how long a server may take to be ready, or
// to print what comes next, and to end in order; both are far above what it needs.
const (
	startTimeout = 3 * time.Minute
	stopTimeout  = 3 * time.Minute
)

// process is one run of the program.
type process struct {
	cmd            *exec.Cmd
	url            string        // where the API is, once await has returned
	startMax       time.Duration // bounds what startTimeout does; that by default
	ended          chan struct{} // closed once it has been waited for; err is set then
	err            error
	stdout, stderr output
}

// output keeps what a process writes. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed by the next write; nil where nobody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	text, _ := o.read()
	return text
}

// read returns all that was written, and a channel that is closed when anything
// more is.
func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.b.String(), o.more
}

// address is one to listen on that stays the test's while its server comes and
// goes.
func address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", pgtest.Port(t))
}

// environ is ours without what would configure the program behind a test's back.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "PAYOUTD_") })
}

// launch starts a server and does not wait until it is ready. It is killed at
// the end of the test if it still runs.
func launch(t testing.TB, args ...string) *process {
	t.Helper()
	return launchAs(t, []string{payoutd}, args...)
}

// launchAs is launch by a command that the arguments follow, and that becomes
// the server.
func launchAs(t testing.TB, command []string, args ...string) *process {
	t.Helper()
	args = append(slices.Clone(command), args...)
	p := &process{cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.Stderr = &p.stderr
	p.launch(t)
	return p
}

func (p *process) launch(t testing.TB) {
	t.Helper()
	p.ended = make(chan struct{})
	p.cmd.Env, p.cmd.Stdout = environ(), &p.stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
}

// start is launch with the wait until the server is ready.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	p := launch(t, args...)
	p.await(t)
	return p
}

// await waits until the server is ready and learns its address.
func (p *process) await(t testing.TB) {
	t.Helper()
	const ready = " is ready on "
	_, rest, _ := strings.Cut(p.says(t, ready, "\n"), ready)
	p.url = strings.Fields(rest)[0]
}

// says waits until the process has printed the texts, one after the other, and
// returns all that it has printed.
func (p *process) says(t testing.TB, texts ...string) string {
	t.Helper()
	most := cmp.Or(p.startMax, startTimeout)
	late := time.After(most)
	for {
		all, more := p.stdout.read()
		rest, found := all, true
		for _, text := range texts {
			if _, rest, found = strings.Cut(rest, text); !found {
				break
			}
		}
		if found {
			return all
		}
		select {
		case <-more:
		case <-p.ended:
			t.Fatalf("the server ended before it said %q: %v\n%s", texts, p.err, p.stderr.String())
		case <-late:
			t.Fatalf("the server has not said %q after %s\n%s%s", texts, most, all, p.stderr.String())
		}
	}
}

// kill ends the process as a power cut would, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// stop asks for an orderly end and fails the test if it does not come.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		t.Fatalf("the server has not ended %s after SIGTERM\n%s", stopTimeout, p.stderr.String())
	}
	if p.err != nil {
		t.Fatalf("the server ended with %v after SIGTERM\n%s", p.err, p.stderr.String())
	}
}

// run does one command of the program and returns what it printed; it fails
// the test if the command fails.
func run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(payoutd, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("payoutd %s: %v\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// newP256 makes a partner's key, which signs many times faster than RSA.
func newP256(t testing.TB) sign.PrivateKey {
	t.Helper()
	key, err := sign.GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// enrol makes a project with a deposit, whose webhooks go to hook, and returns
// its client.
func enrol(t testing.TB, at place, url, project, hook string, key sign.PrivateKey, flags []string, options ...client.Option) *client.Client {
	t.Helper()
	public := writeFile(t, "public.pem", key.Public().PEM())
	open(t, at, project, public, hook, "1000000000.00", flags...)
	c, err := client.New(url, project, key, options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open makes a project by the operator's commands; public is the file of its
// key, roubles its opening balance.
func open(t testing.TB, at place, project, public, hook, roubles string, flags ...string) {
	t.Helper()
	run(t, at.flags(append([]string{
		"project", "create", project, "--public-key", public, "--webhook", hook, "--allow-private-webhooks",
	}, flags...)...)...)
	run(t, at.flags("deposit", project, roubles, "rub", "--reference", "opening")...)
}

// place is where an installation is.
type place struct {
	data string // the folder
	db   string // what --db says; "" for the SQLite file in the folder
}

// flags adds those of the place to a command.
func (p place) flags(command ...string) []string {
	command = append(command, "--data", p.data)
	if p.db != "" {
		command = append(command, "--db", p.db)
	}
	return command
}

// serverKey reads the public key that webhooks are verified with.
func serverKey(t testing.TB, data, file string) sign.PublicKey {
	t.Helper()
	key, err := sign.ParsePublicKey(readFile(t, filepath.Join(data, file)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Names of the server's public keys in the data folder.
const (
	serverRSA  = "server-public.pem"
	serverP256 = "server-p256-public.pem"
)

// delivery is one webhook as it came.
type delivery struct {
	Type    string         `json:"type"`
	Session client.Session `json:"session"`
	id      string         // of the event
	seq     string         // of the event within the project
	body    []byte
}

// receiver takes webhooks as a partner's server does: it looks at the signature
// first, keeps what is good and answers 200.
type receiver struct {
	url    string
	verify func(body []byte, signature string) error

	mu       sync.Mutex
	sessions map[string][]delivery // in the order in which they came
	came     chan struct{}         // closed and replaced with each delivery
}

// newReceiver returns a receiver. A webhook whose signature verify refuses fails
// the test.
func newReceiver(t testing.TB, verify func(body []byte, signature string) error) *receiver {
	t.Helper()
	r := &receiver{verify: verify, sessions: map[string][]delivery{}, came: make(chan struct{})}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if err := r.take(request); err != nil {
			t.Errorf("webhook %s: %v", request.Header.Get("X-PAYOUTD-EVENT-ID"), err)
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(s.Close)
	r.url = s.URL + "/webhook"
	return r
}

func (r *receiver) take(request *http.Request) error {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil // cut by a kill: it comes again
	}
	d := delivery{
		id: request.Header.Get("X-PAYOUTD-EVENT-ID"), seq: request.Header.Get("X-PAYOUTD-EVENT-SEQUENCE"), body: body,
	}
	if err := r.verify(body, request.Header.Get(sign.HeaderSign)); err != nil {
		return err
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[d.Session.ID] = append(r.sessions[d.Session.ID], d)
	close(r.came)
	r.came = make(chan struct{})
	return nil
}

// of returns what came about a session, repeats included, and a channel that is
// closed when anything more comes.
func (r *receiver) of(session string) ([]delivery, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sessions[session]), r.came
}

// all returns everything that came.
func (r *receiver) all() []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []delivery
	for _, s := range r.sessions {
		all = append(all, s...)
	}
	return all
}

// wait returns the first webhook about a session that is of one of the types.
func (r *receiver) wait(ctx context.Context, session string, types ...string) (delivery, error) {
	for {
		got, more := r.of(session)
		if i := slices.IndexFunc(got, func(d delivery) bool { return slices.Contains(types, d.Type) }); i >= 0 {
			return got[i], nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return delivery{}, errors.Join(fmt.Errorf("session %s: no webhook %s came", session, strings.Join(types, " or ")), context.Cause(ctx))
		}
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeFile puts a file into a folder of its own.
func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
