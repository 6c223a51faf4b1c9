package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/payoutd/payoutd/internal/hostile"
	"github.com/payoutd/payoutd/sign"
)

const (
	// attackPatience is how long a proxy is given to answer an attack, most of
	// which it waits for the rest of, before the next request comes.
	attackPatience = 50 * time.Millisecond
	// proxyPatience bounds what should come at once.
	proxyPatience = 30 * time.Second
	// neighbour is the project whose requests follow the attacks of acme and birch.
	neighbour = "elm"
)

// notServed are answers by which a proxy says that the server let it down.
var notServed = []string{"502 Bad Gateway", "503 Service Unavailable", "504 Gateway Time-out", "504 Gateway Timeout"}

// Addresses of this machine that callers come from, whom a proxy must tell apart.
const (
	neighbourIP = "127.0.0.3"
	strangerIP  = "127.0.0.4"
)

// proxies are those that docs/proxy.md tells how to set up. Each is started by
// its file in docs/proxy, in which change gives the addresses and paths of a test
// only, and takes its listeners, of the API and of the console, as descriptors 3
// and 4. It works in one thread, so that all callers share its connections.
var proxies = []struct {
	name   string
	file   string
	change func(t *testing.T, text string, s setting) string
	run    func(t *testing.T, config string, s setting) *exec.Cmd
}{
	{
		"nginx", "nginx.conf",
		func(t *testing.T, text string, s setting) string {
			for from, to := range map[string]string{
				"listen 443 ssl;": "listen " + s.api + " ssl;", "listen 8443 ssl;": "listen " + s.console + " ssl;",
				"/etc/payoutd/tls.crt": s.certificate, "/etc/payoutd/tls.key": s.key,
			} {
				text = replace(t, text, from, to)
			}
			return text
		},
		func(t *testing.T, config string, s setting) *exec.Cmd {
			main := fmt.Sprintf("daemon off; user root; worker_processes 1; pid %[1]s/pid; error_log stderr warn;\n"+
				"events { worker_connections 2000; }\n"+
				"http { access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;\n"+
				"include %[2]s; }\n", s.dir, config)
			return exec.Command("env", "NGINX=3;4;", // how one nginx hands its listeners to the next
				program(t, "nginx"), "-p", s.dir, "-e", "stderr", "-c", writeFile(t, "main.conf", []byte(main)))
		},
	},
	{
		"HAProxy", "haproxy.cfg",
		func(t *testing.T, text string, s setting) string {
			for from, to := range map[string]string{
				"bind :443 ssl": "bind fd@3 ssl", "bind :8443 ssl": "bind fd@4 ssl", "log /dev/log local0": "nbthread 1",
			} {
				text = replace(t, text, from, to)
			}
			return strings.ReplaceAll(text, "/etc/payoutd/tls.pem", s.pair)
		},
		func(t *testing.T, config string, _ setting) *exec.Cmd {
			return exec.Command(program(t, "haproxy"), "-db", "-f", config)
		},
	},
}

// setting is what a proxy finds on the machine of a test.
type setting struct {
	dir                    string // for what it writes
	api, console           string // addresses that it listens on
	certificate, key, pair string // files; the last is both in one
}

// program finds a program that Debian keeps from people who are not root.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Fatalf("%s is missing; scripts/needs.sh installs it", name)
	return ""
}

// replace puts what holds in a test into a file that must have it once.
func replace(t *testing.T, text, from, to string) string {
	t.Helper()
	if strings.Count(text, from) != 1 {
		t.Fatalf("%q is not there once", from)
	}
	return strings.Replace(text, from, to, 1)
}

// TestProxies puts nginx and HAProxy before a node, by the files that operators
// are told to take, and wants what docs/proxy.md says of them.
func TestProxies(t *testing.T) {
	t.Parallel()
	for i, proxy := range proxies {
		t.Run(proxy.name, func(t *testing.T) {
			t.Parallel()
			f, server := newFront(t, "--console-listen", "127.0.0.1:0", "--api-proxy", "127.0.0.1/32", "--console-proxy", "127.0.0.1/32")
			console := regexp.MustCompile(`the console is on http://(\S+?)/`).FindStringSubmatch(server.says(t, "the console is on ", "\n"))[1]
			wires := newTap(t, server.url)

			// The proxy gets listeners, so that nobody else takes its ports.
			s := setting{dir: t.TempDir()}
			var handed []*os.File
			for _, address := range []*string{&s.api, &s.console} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				file, err := l.(*net.TCPListener).File()
				if err = errors.Join(err, l.Close()); err != nil {
					t.Fatal(err)
				}
				*address, handed = l.Addr().String(), append(handed, file)
			}
			chain, key := certify(t, int64(i+1))
			s.certificate, s.key, s.pair = writeFile(t, "tls.crt", chain), writeFile(t, "tls.key", key), writeFile(t, "tls.pem", append(slices.Clone(chain), key...))
			text := string(readFile(t, filepath.Join("..", "docs", "proxy", proxy.file)))
			text = replace(t, replace(t, text, "127.0.0.1:8131", wires.address), "127.0.0.1:8140", console)
			p := &process{cmd: proxy.run(t, writeFile(t, proxy.file, []byte(proxy.change(t, text, s))), s)}
			p.cmd.ExtraFiles, p.cmd.Stderr = handed, &p.stderr
			p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
			p.launch(t)
			t.Cleanup(func() { // its processes end with it, if it is asked to end
				_ = p.cmd.Process.Signal(syscall.SIGTERM)
				select {
				case <-p.ended:
				case <-time.After(proxyPatience):
					t.Errorf("%s has not ended %s after SIGTERM", proxy.name, proxyPatience)
				}
			})
			for _, file := range handed {
				if err := file.Close(); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s said:\n%s", proxy.name, p.stderr.String())
				}
			})
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(chain)
			f.scheme, f.address = "https", s.api
			f.tls = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}

			if err := f.ask("nothing"); err != nil { // it takes connections before it is ready, and keeps them until then
				t.Fatalf("%v\n%s", err, p.stderr.String())
			}
			t.Run("bodies", f.bodies)
			t.Run("callers", f.callers)
			t.Run("pages", f.pages)
			t.Run("console", func(t *testing.T) { f.logIn(t, s.console, server) })
			t.Run("smuggling", func(t *testing.T) {
				for _, found := range f.smuggle(t, attacks(t, f.sign)) {
					t.Error(found)
				}
				t.Logf("%d requests over %d connections, of which %d took those of both sides", len(f.handled()), wires.made(), wires.shared())
				if wires.shared() == 0 {
					t.Error("the proxy keeps no connection for several callers: nothing was tested")
				}
			})
			select {
			case <-p.ended:
				t.Errorf("the proxy has ended: %v", p.err)
			default:
			}
		})
	}
}

// front is an installation as callers see it: a proxy, and the server behind it.
type front struct {
	data            string // the folder
	scheme, address string
	tls             *tls.Config // nil without TLS
	keys            map[string]sign.PrivateKey
	patience        time.Duration     // bounds what should come at once
	handled         func() []handled  // in the order in which they ended
	session         string            // of the neighbour
	own             map[string]string // what the neighbour's requests came after, by the ids of their answers
}

// newFront starts a node with two attackers and a neighbour, and nothing before it.
func newFront(t *testing.T, flags ...string) (*front, *process) {
	t.Helper()
	f := &front{data: t.TempDir(), keys: map[string]sign.PrivateKey{}, own: map[string]string{}, patience: proxyPatience}
	server := start(t, append([]string{"serve", "--sandbox-rails", "--data", f.data, "--listen", "127.0.0.1:0"}, flags...)...)
	f.handled = func() []handled { return requestsIn(t, server.stderr.String()) }
	for _, project := range []string{"acme", "birch", neighbour} {
		f.keys[project] = newP256(t)
		open(t, place{data: f.data}, project, writeFile(t, "public.pem", f.keys[project].Public().PEM()), "https://partner.example/hook", "1000.00")
	}
	return f, server
}

// handled is a request as the server tells of it.
type handled struct {
	id, project, session, address string
	status                        int
}

var requestLine = regexp.MustCompile(`(?m)^.* msg=request request=(\S+) .*$`)

// requestsIn finds the requests in the log of a server.
func requestsIn(t *testing.T, log string) (all []handled) {
	t.Helper()
	for _, m := range requestLine.FindAllStringSubmatch(log, -1) {
		value := func(name string) string {
			_, rest, _ := strings.Cut(m[0], " "+name+"=")
			v, _, _ := strings.Cut(rest, " ")
			return v
		}
		status, err := strconv.Atoi(value("status"))
		if err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		all = append(all, handled{id: m[1], project: value("project"), session: value("session"), address: value("address"), status: status})
	}
	return all
}

// await waits until the server has told of the request with an id.
func (f *front) await(t *testing.T, id string) (h handled) {
	t.Helper()
	if !until(t.Context(), f.patience, func() bool {
		all := f.handled()
		i := slices.IndexFunc(all, func(h handled) bool { return h.id == id })
		if i >= 0 {
			h = all[i]
		}
		return i >= 0
	}) {
		t.Fatalf("the server tells of no request %q", id)
	}
	return h
}

// sign signs a body for a project; what is of no project of ours signs nothing.
func (f *front) sign(project, body string) string {
	key, ok := f.keys[project]
	if !ok {
		return "AAAA"
	}
	signature, err := key.Sign([]byte(body))
	if err != nil {
		panic(err) // it is a key of the test
	}
	return signature
}

// dial connects to the proxy from an address.
func (f *front) dial(from string) (net.Conn, error) {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: f.patience}).Dial("tcp", f.address)
	if err != nil || f.tls == nil {
		return conn, err
	}
	return tls.Client(conn, f.tls), nil
}

// do sends a request from an address, over a connection of its own, and reads the answer.
func (f *front) do(from string, r *http.Request) (*http.Response, []byte, error) {
	dial := func(context.Context, string, string) (net.Conn, error) { return f.dial(from) }
	by := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true, ExpectContinueTimeout: f.patience}
	ctx, cancel := context.WithTimeout(r.Context(), f.patience)
	defer cancel()
	answer, err := by.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(answer.Body)
	return answer, body, errors.Join(err, answer.Body.Close())
}

// request is one of a project, signed.
func (f *front) request(project, path string, body []byte) *http.Request {
	r, err := http.NewRequest(http.MethodPost, f.scheme+"://"+f.address+path, bytes.NewReader(body))
	if err != nil {
		panic(err) // it is an address of the test
	}
	r.Header.Set(sign.HeaderProject, project)
	r.Header.Set(sign.HeaderSign, f.sign(project, string(body)))
	return r
}

// ask has the neighbour ask for a session of its own, which it makes where there
// is none, and wants an answer that is about it. Whether that was the answer to
// this request is seen in the end.
func (f *front) ask(after string) error {
	path, body := "create", `{}`
	if f.session != "" {
		path, body = "status", fmt.Sprintf(`{"session_id":%q}`, f.session)
	}
	answer, got, err := f.do(neighbourIP, f.request(neighbour, "/api/v2/session/"+path, []byte(body)))
	if err != nil {
		return err
	}
	id := answer.Header.Get("X-Request-Id")
	var said struct{ Session struct{ ID string } }
	if err := json.Unmarshal(got, &said); err != nil || answer.StatusCode != http.StatusOK || said.Session.ID == "" || f.session != "" && said.Session.ID != f.session {
		return fmt.Errorf("the next request was answered with %s, request %q: %s", answer.Status, id, got)
	}
	if f.own[id] != "" {
		return fmt.Errorf("the next request got the answer %q once more", id)
	}
	f.session, f.own[id] = said.Session.ID, after
	return nil
}

// An attack is all bytes of a connection.
type attack struct {
	title string
	bytes []byte
}

// hidden is how requests end that are hidden in others; taking, how they end to
// take in what comes next on the connection.
const hidden, taking = "Content-Length: 2\r\n\r\n{}", "Content-Length: 2000\r\n\r\n{}"

// takingTitle follows the titles of attacks that do.
const takingTitle = ", taking in what follows"

// attacks are all hostile requests that take no time, as they are and, where they
// hide a request of birch, once more with that taking in the next.
func attacks(t *testing.T, sign func(key, text string) string) (all []attack) {
	t.Helper()
	files, err := filepath.Glob("../internal/api/testdata/hostile/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		fixture, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range fixture.Files {
			title, raw := strings.CutPrefix(section.Name, "raw: ")
			if !raw {
				continue
			}
			text := strings.ReplaceAll(string(section.Data), "\n", "\r\n")
			texts := []string{text}
			if before, ends := strings.CutSuffix(text, hidden+"⟨-⟩\r\n"); ends && strings.Contains(text, "⟨birch: ") {
				texts = append(texts, before+taking)
			}
			for i, text := range texts {
				parts, err := hostile.Unfold(text, sign)
				if err != nil {
					t.Fatalf("%s: %v", title, err)
				}
				if len(parts) == 1 {
					all = append(all, attack{title + []string{"", takingTitle}[i], parts[0].Bytes})
				}
			}
		}
	}
	if len(all) < 200 {
		t.Fatalf("%d attacks", len(all))
	}
	return all
}

// assault is an attack under way.
type assault struct {
	attack
	conn  net.Conn
	first chan struct{} // closed with the first answer, or the end
	ended chan struct{} // closed with the end

	mu  sync.Mutex
	ids []string // of requests that were answered; the status where the proxy answered itself
}

// begin sends an attack and waits for a little for its first answer.
func (f *front) begin(a attack, from string) (*assault, error) {
	conn, err := f.dial(from)
	if err != nil {
		return nil, err
	}
	s := &assault{attack: a, conn: conn, first: make(chan struct{}), ended: make(chan struct{})}
	go func() { _, _ = conn.Write(a.bytes) }() // the proxy may have enough before the end
	go func() {
		defer close(s.ended)
		once := sync.OnceFunc(func() { close(s.first) })
		defer once()
		answers := bufio.NewReader(conn)
		verb, _, _ := strings.Cut(string(a.bytes), " ")
		for asked := (&http.Request{Method: verb}); ; asked = nil {
			answer, err := http.ReadResponse(answers, asked)
			if err != nil {
				return
			}
			if answer.StatusCode == http.StatusContinue {
				continue
			}
			s.mu.Lock()
			s.ids = append(s.ids, cmp.Or(answer.Header.Get("X-Request-Id"), answer.Status))
			s.mu.Unlock()
			_, err = io.Copy(io.Discard, answer.Body)
			once()
			if err != nil {
				return
			}
		}
	}()
	select {
	case <-s.first:
	case <-time.After(attackPatience):
	}
	return s, nil
}

// answered are the ids of the requests that were answered until now.
func (s *assault) answered() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

// end gives the attack up, and reports whether nothing was answered to it.
func (s *assault) end() (cut bool) {
	select {
	case <-s.ended:
	default:
		cut = len(s.answered()) == 0
	}
	_ = s.conn.Close() // the proxy may have been first
	<-s.ended
	return cut
}

// smuggle makes the attacks, each followed by a request of the neighbour, and
// where one is given up in the middle by another. It says what came of them that
// should not.
func (f *front) smuggle(t *testing.T, attacks []attack) (found []string) {
	t.Helper()
	follow := func(after string) {
		if err := f.ask(after); err != nil {
			found = append(found, fmt.Sprintf("%s: %v", after, err))
		}
	}
	f.own = map[string]string{}
	theirs := map[string]string{} // attacks, by the ids of their answers
	follow("nothing")
	before := 0
	for id := range f.own {
		f.await(t, id)
		before = slices.IndexFunc(f.handled(), func(h handled) bool { return h.id == id })
	}
	n := 0
	for some := range slices.Chunk(attacks, 100) {
		var under []*assault
		for _, a := range some {
			n++
			s, err := f.begin(a, fmt.Sprintf("127.1.%d.%d", n/200, 1+n%200))
			if err != nil {
				return append(found, fmt.Sprintf("%s: %v", a.title, err))
			}
			under = append(under, s)
			follow(a.title)
		}
		// What the attacks have begun ends, and is answered, before anybody goes away.
		for range 3 {
			f.session = "" // a new one waits for what was written before it
			follow("all attacks")
		}
		until(t.Context(), f.patience, func() bool {
			answered := maps.Clone(theirs)
			maps.Copy(answered, f.own)
			for _, s := range under {
				for _, id := range s.answered() {
					answered[id] = s.title
				}
			}
			return !slices.ContainsFunc(f.handled()[before:], func(h handled) bool { return h.project != "" && answered[h.id] == "" })
		})
		for _, s := range under {
			if s.end() {
				follow(s.title + ", given up")
			}
			for _, id := range s.answered() {
				switch {
				case slices.Contains(notServed, id):
					found = append(found, fmt.Sprintf("%s: %s", s.title, id))
				case theirs[id] != "" && strings.HasPrefix(id, "rq_"):
					found = append(found, fmt.Sprintf("%s: got an answer that had gone to another", s.title))
				}
				theirs[id] = s.title
			}
		}
	}
	return append(found, f.judge(t, before, theirs)...)
}

// judge compares what the server tells of its requests, but for those before,
// with who got the answers. Each that is of a project has one, got by whoever
// asked, and none is a failure.
func (f *front) judge(t *testing.T, before int, theirs map[string]string) (found []string) {
	t.Helper()
	told := map[string]handled{}
	until(t.Context(), f.patience, func() bool { // it tells of a request when it has answered
		for _, h := range f.handled()[before:] {
			told[h.id] = h
		}
		for id := range f.own {
			if _, ok := told[id]; !ok {
				return false
			}
		}
		return true
	})
	for id, after := range f.own {
		if h := told[id]; h.project != neighbour || theirs[id] != "" {
			found = append(found, fmt.Sprintf("%s: the next request got the answer to %+v", after, h))
		}
	}
	for id, h := range told {
		got := theirs
		if h.project == neighbour {
			got = f.own
		}
		switch {
		case h.status >= http.StatusInternalServerError:
			found = append(found, fmt.Sprintf("a failure: %+v", h))
		case h.project != "" && got[id] == "":
			found = append(found, fmt.Sprintf("nobody who asked got the answer to %+v", h))
		}
	}
	return found
}

// bodies sends bodies in every way that they may come, and wants them to arrive
// byte for byte, since that is what the signature is over, or to be refused by
// the server and not by the proxy.
func (f *front) bodies(t *testing.T) {
	const most = 1 << 20
	padded := func(n int) []byte { return append(bytes.Repeat([]byte(" "), n-2), "{}"...) }
	for _, c := range []struct {
		name string
		body []byte
		want int
	}{
		{"empty", nil, http.StatusOK},
		{"short", []byte(`{}`), http.StatusOK},
		{"line ends", []byte("{\r\n\"metadata\":\r{\"a\":\"0\\r\\n\\r\\nPOST / HTTP/1.1\"}\n\n}\r\n\r\n"), http.StatusOK},
		{"UTF-8", []byte(`{"metadata":{"имя":"Соколова Марина \u0438 💶"}}`), http.StatusOK},
		{"as large as it may be", padded(most), http.StatusOK},
		{"larger", padded(most + 1), http.StatusRequestEntityTooLarge},
	} {
		for how, change := range map[string]func(*http.Request){
			"with a length": func(*http.Request) {},
			"in chunks": func(r *http.Request) {
				r.ContentLength, r.Body = -1, io.NopCloser(iotest.HalfReader(bytes.NewReader(c.body)))
			},
			"when it is asked to": func(r *http.Request) { r.Header.Set("Expect", "100-continue") },
		} {
			r := f.request("acme", "//api//v2/session/create", c.body)
			change(r)
			answer, body, err := f.do(strangerIP, r)
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, how, err)
				continue
			}
			if id := answer.Header.Get("X-Request-Id"); answer.StatusCode != c.want || id == "" || !json.Valid(body) {
				t.Errorf("%s, %s: %s of %q: %.200s, want %d of the server", c.name, how, answer.Status, id, body, c.want)
			}
		}
	}
}

// callers sends requests that are refused, and wants the server to know from
// where they came, whatever they claim.
func (f *front) callers(t *testing.T) {
	for name, header := range map[string]http.Header{
		"no claim":                    {},
		"a claim":                     {"X-Forwarded-For": {"198.51.100.7"}},
		"to be the proxy":             {"X-Forwarded-For": {"198.51.100.7, 127.0.0.1", "127.0.0.1"}},
		"a claim with an underscore":  {"X_Forwarded_For": {"198.51.100.7"}},
		"a claim of other names":      {"X-Real-Ip": {"198.51.100.7"}, "Forwarded": {"for=198.51.100.7"}},
		"the name of the connection":  {"Connection": {"X-Forwarded-For"}},
		"a claim that is no address":  {"X-Forwarded-For": {"unknown, \"198.51.100.7"}},
		"the project by another name": {"X_Partner_Project": {"birch"}},
	} {
		r := f.request("acme", "/api/v2/session/create", []byte(`{}`))
		r.Header.Set(sign.HeaderSign, "AAAA")
		maps.Copy(r.Header, header)
		answer, body, err := f.do(strangerIP, r)
		if err != nil || answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v %s", name, err, body)
			continue
		}
		if h := f.await(t, answer.Header.Get("X-Request-Id")); h.address != strangerIP || h.project != "acme" {
			t.Errorf("%s: the server takes it to be of %q, from %s", name, h.project, h.address)
		}
	}
}

// pages asks for what is not for partners, by all names that a proxy might take
// for a path of the API.
func (f *front) pages(t *testing.T) {
	for _, target := range []string{
		"/", "/metrics", "/healthz", "/readyz", "//metrics", "/console/", "/sandbox/values", "/demo/",
		"/api", "/api/", "/api/../metrics", "/api//../metrics", "/api/..//metrics", "/api/%2e%2e/metrics", "/api/..%2fmetrics", "/api%2f..%2fmetrics", "/api/v1/../../metrics",
		"/x/../api/../metrics", "/metrics/../api/", "/metrics/%2e%2e/api/", "/metrics%2f..%2fapi/", "/metrics?/api/", "/metrics#/api/", "/metrics;/api/", "/metrics%3f/api/",
		"http://api.example/metrics", "http://x/api/../metrics", "http://x?/api/", "/\\api\\..\\metrics", "*",
	} {
		conn, err := f.dial(strangerIP)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(f.patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n", target); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 ")) || answer[9] != '3' && answer[9] != '4' {
			t.Errorf("%s: %v\n%.200s", target, err, answer)
		}
		_ = conn.Close()
	}
}

// logIn logs in to the console through the proxy: the server knows where from,
// takes the form for its own page's, and gives a cookie for TLS alone.
func (f *front) logIn(t *testing.T, address string, server *process) {
	front := *f
	front.address = address
	_, password, _ := strings.Cut(run(t, "operator", "add", "anna", "--role", "viewer", "--data", f.data), "password: ")
	password, _, _ = strings.Cut(password, "\n")
	try := func(password string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, "https://"+address+"/console/login", strings.NewReader(url.Values{"name": {"anna"}, "password": {password}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://" + address}, "X-Forwarded-For": {"198.51.100.7"}}
		answer, body, err := front.do(strangerIP, r)
		if err != nil {
			t.Fatal(err)
		}
		return answer, string(body)
	}
	if answer, body := try("wrong"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %s\n%s", answer.Status, body)
	}
	if !until(t.Context(), proxyPatience, func() bool {
		return strings.Contains(server.stderr.String(), `msg="console login refused" address=`+strangerIP+"\n")
	}) {
		t.Errorf("the server does not say that %s was refused", strangerIP)
	}
	answer, body := try(password)
	if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) == 0 || !answer.Cookies()[0].Secure {
		t.Fatalf("the right password: %s, cookies %v\n%s", answer.Status, answer.Cookies(), body)
	}
	r, err := http.NewRequest(http.MethodGet, "https://"+address+"/console/payouts", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(answer.Cookies()[0])
	if answer, page, err := front.do(strangerIP, r); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("the page behind: %v, %s", err, page)
	}
}

// tap is the wire between a proxy and the server. It sees who shares a connection.
type tap struct {
	address string

	mu    sync.Mutex
	sides []*[2]bool // of each connection: carried a request of the neighbour, of others
}

func newTap(t *testing.T, server string) *tap {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tap{address: l.Addr().String()}
	var carried sync.WaitGroup
	carried.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", u.Host)
			if err != nil {
				_ = near.Close()
				continue
			}
			seen := new([2]bool)
			w.mu.Lock()
			w.sides = append(w.sides, seen)
			w.mu.Unlock()
			carry := func(to io.Writer, from, end net.Conn) {
				_, _ = io.Copy(to, from)
				_ = end.(*net.TCPConn).CloseWrite() // the other way may have more to carry
			}
			carried.Go(func() {
				var ways sync.WaitGroup
				ways.Go(func() { carry(io.MultiWriter(far, w.sees(seen)), near, far) })
				ways.Go(func() { carry(near, far, near) })
				ways.Wait()
				_, _ = near.Close(), far.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		carried.Wait()
	})
	return w
}

// sees notes whose requests a connection carries.
func (w *tap) sees(seen *[2]bool) io.Writer {
	return writer(func(b []byte) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, m := range projectLine.FindAllSubmatch(b, -1) {
			if string(m[1]) == neighbour {
				seen[0] = true
			} else {
				seen[1] = true
			}
		}
	})
}

var projectLine = regexp.MustCompile(`(?i)x-partner-project: *([a-z]+)`)

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func (w *tap) made() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sides)
}

// shared is how many connections carried requests of the neighbour and of others.
func (w *tap) shared() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seen := range w.sides {
		if seen[0] && seen[1] {
			n++
		}
	}
	return n
}
