package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// A proxy that is not there: whatever would go through it fails. It is set
	// before the first attempt because net/http reads the environment only once.
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

const shortTimeout = 100 * time.Millisecond

var event = Event{
	Project:   "demo",
	ID:        4611686018427387904,
	Seq:       42,
	Type:      "payment_finished",
	Body:      []byte(`{"type":"payment_finished"}`),
	Signature: "c2lnbmF0dXJl",
	CreatedAt: time.Date(2026, 3, 1, 15, 4, 5, 6000, time.FixedZone("MSK", 3*60*60)),
}

func newPoster(t *testing.T, o PosterOptions) *Poster {
	t.Helper()
	p := NewPoster(o)
	t.Cleanup(p.Close)
	return p
}

// listen serves each connection to a port of the loopback by serve, closes it
// then, and counts them.
func listen(t *testing.T, serve func(net.Conn)) (address string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		served sync.WaitGroup
		count  atomic.Int64
	)
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			served.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		served.Wait()
	})
	return l.Addr().String(), &count
}

// receive serves a handler on the loopback.
func receive(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// untilClosed reads until the other side has closed the connection.
func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func TestPostSends(t *testing.T) {
	var got bytes.Buffer
	address, _ := listen(t, func(c net.Conn) {
		r := bufio.NewReader(io.TeeReader(c, &got))
		request, err := http.ReadRequest(r)
		if err == nil {
			_, err = io.Copy(io.Discard, request.Body)
		}
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	})
	now := began
	p := newPoster(t, PosterOptions{Now: func() time.Time { now = now.Add(time.Second); return now }})
	r := p.Post(t.Context(), "http://"+address+"/hook?key=secret", true, event)
	if !r.OK || r.Status != 200 || r.Err != "" || r.RetryAfter != 0 || !r.Alive() {
		t.Errorf("%+v", r)
	}
	if r.Took != 2*time.Second {
		t.Errorf("took %v, want the 2s between the readings of the clock", r.Took)
	}
	head, body, _ := strings.Cut(got.String(), "\r\n\r\n")
	if body != string(event.Body) {
		t.Errorf("body %q, want %q", body, event.Body)
	}
	lines := strings.Split(head, "\r\n")
	if want := "POST /hook?key=secret HTTP/1.1"; lines[0] != want {
		t.Errorf("%q, want %q", lines[0], want)
	}
	want := map[string]bool{
		"Host: " + address:                                  true,
		"Content-Type: application/json":                    true,
		"Content-Length: 27":                                true,
		"User-Agent: payoutd":                               true,
		"X-PARTNER-SIGN: c2lnbmF0dXJl":                      true,
		"X-PAYOUTD-EVENT-ID: ev_4611686018427387904":        true,
		"X-PAYOUTD-EVENT-SEQUENCE: 42":                      true,
		"X-PAYOUTD-EVENT-TIME: 2026-03-01T12:04:05.000006Z": true,
	}
	for _, line := range lines[1:] {
		if !want[line] {
			t.Errorf("unexpected header %q", line)
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("no header %q", line)
	}
}

func TestPostStatuses(t *testing.T) {
	for _, c := range []struct {
		status    int
		err       string
		ok, alive bool
	}{
		{200, "", true, true},
		{201, "", true, true},
		{202, "", true, true},
		{204, "", true, true},
		{300, "status 300: redirects are not followed", false, true},
		{304, "status 304: redirects are not followed", false, true},
		{400, "status 400", false, true},
		{401, "status 401", false, true},
		{404, "status 404", false, true},
		{410, "status 410", false, true},
		{429, "status 429", false, false},
		{500, "status 500", false, false},
		{503, "status 503", false, false},
		{599, "status 599", false, false},
		{999, "status 999", false, false},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			s := receive(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(c.status)
			})
			r := newPoster(t, PosterOptions{}).Post(t.Context(), s.URL, true, event)
			want := Result{OK: c.ok, Status: c.status, Err: c.err, Took: r.Took}
			if !c.ok {
				want.RetryAfter = 7 * time.Second
			}
			if r != want {
				t.Errorf("%+v, want %+v", r, want)
			}
			if r.Alive() != c.alive {
				t.Errorf("alive %v, want %v", r.Alive(), c.alive)
			}
		})
	}
}

func TestPostRetryAfterDate(t *testing.T) {
	s := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", began.Add(90*time.Second).Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	p := newPoster(t, PosterOptions{Now: func() time.Time { return began }})
	if r := p.Post(t.Context(), s.URL, true, event); r.RetryAfter != 90*time.Second {
		t.Errorf("retry after %v, want 1m30s", r.RetryAfter)
	}
}

func TestPostFollowsNoRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			address, connections := listen(t, func(net.Conn) {})
			s := receive(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://"+address+"/secret", status)
			})
			r := newPoster(t, PosterOptions{}).Post(t.Context(), s.URL, true, event)
			if r.OK || r.Status != status || r.Err != fmt.Sprintf("status %d: redirects are not followed", status) {
				t.Errorf("%+v", r)
			}
			if n := connections.Load(); n != 0 {
				t.Errorf("%d connections to the target of the redirect", n)
			}
		})
	}
}

// TestMain sets the proxy.
func TestPostUsesNoProxy(t *testing.T) {
	s := receive(t, func(http.ResponseWriter, *http.Request) {})
	p := newPoster(t, PosterOptions{Resolver: answering(t, 0, "127.0.0.1")})
	if r := p.Post(t.Context(), "http://receiver.example:"+portOf(t, s.URL), true, event); !r.OK {
		t.Errorf("%+v", r)
	}
}

// No private address is connected to, however it is written and whatever a
// name says; where they are allowed, the loopback is.
func TestPostPrivateAddress(t *testing.T) {
	const blocked, bad = "address not allowed", "bad address"
	address, connections := listen(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}
	})
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, host string
		answers    []string // of the name server
		want       string
		loopback   bool // reached where private addresses are allowed
	}{
		{"loopback", "127.0.0.1", nil, blocked, true},
		{"another loopback", "127.1.2.3", nil, blocked, false},
		{"IPv6 loopback", "[::1]", nil, blocked, false},
		{"mapped loopback", "[::ffff:127.0.0.1]", nil, blocked, true},
		{"mapped loopback in hex", "[::ffff:7f00:1]", nil, blocked, true},
		{"translated loopback", "[64:ff9b::7f00:1]", nil, blocked, false},
		{"6to4 loopback", "[2002:7f00:1::]", nil, blocked, false},
		{"any address", "0.0.0.0", nil, blocked, false},
		{"IPv6 any address", "[::]", nil, blocked, false},
		{"ten", "10.0.0.1", nil, blocked, false},
		{"172.16", "172.16.0.1", nil, blocked, false},
		{"192.168", "192.168.1.1", nil, blocked, false},
		{"carrier-grade NAT", "100.64.0.1", nil, blocked, false},
		{"where clouds keep secrets", "169.254.169.254", nil, blocked, false},
		{"IPv6 link-local", "[fe80::1]", nil, blocked, false},
		{"IPv6 unique local", "[fd00:ec2::254]", nil, blocked, false},
		{"decimal loopback", "2130706433", nil, bad, false},
		{"octal loopback", "0177.0.0.1", nil, bad, false},
		{"hexadecimal loopback", "0x7f000001", nil, bad, false},
		{"short loopback", "127.1", nil, bad, false},
		{"localhost", "localhost", nil, blocked, true},
		{"a name of the loopback", "receiver.example", []string{"127.0.0.1"}, blocked, true},
		{"a name of two private addresses", "receiver.example", []string{"10.0.0.1", "127.0.0.1"}, blocked, false},
		{"a name of the IPv6 loopback", "receiver.example", []string{"::1"}, blocked, false},
		{"a name of the loopback, mapped", "receiver.example", []string{"::ffff:127.0.0.1"}, blocked, true},
		{"a name of the loopback, translated", "receiver.example", []string{"64:ff9b::7f00:1"}, blocked, false},
		{"a name of the loopback by 6to4", "receiver.example", []string{"2002:7f00:1::"}, blocked, false},
		{"a name of a private address of either kind", "receiver.example", []string{"fd00::1", "192.168.0.1"}, blocked, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := PosterOptions{Timeout: time.Minute}
			if c.answers != nil {
				o.Resolver = answering(t, 0, c.answers...)
			}
			p := newPoster(t, o)
			target := "http://" + c.host + ":" + port + "/hook"
			before := connections.Load()
			r := p.Post(t.Context(), target, false, event)
			if r.OK || r.Status != 0 || r.Err != c.want || r.Alive() {
				t.Errorf("%+v, want %q", r, c.want)
			}
			if n := connections.Load() - before; n != 0 {
				t.Errorf("%d connections", n)
			}
			if c.loopback {
				if r := p.Post(t.Context(), target, true, event); !r.OK {
					t.Errorf("where private addresses are allowed: %+v", r)
				}
			}
		})
	}
}

// A name that changes its meaning is checked anew at each connection, and a
// connection made where it was allowed serves no other project.
func TestPostNameChangesItsMeaning(t *testing.T) {
	s := receive(t, func(http.ResponseWriter, *http.Request) {})
	p := newPoster(t, PosterOptions{Resolver: answering(t, 0, "127.0.0.1")})
	target := "http://receiver.example:" + portOf(t, s.URL)
	if err := CheckURL(target, false); err != nil {
		t.Fatalf("the settings refuse it: %v", err)
	}
	if r := p.Post(t.Context(), target, true, event); !r.OK {
		t.Fatalf("where private addresses are allowed: %+v", r)
	}
	if r := p.Post(t.Context(), target, false, event); r.Err != "address not allowed" {
		t.Errorf("%+v", r)
	}
}

// The address that is checked is the one that is connected to: a name is looked
// up once for a connection, so that a server that says something public first
// and something private then gets no chance, and is checked anew for the next.
func TestPostLooksANameUpOnce(t *testing.T) {
	public, private := answering(t, 0, "8.8.8.8"), answering(t, 0, "127.0.0.1")
	var lookups atomic.Int64
	changing := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
		if lookups.Add(1) <= 2 { // for IPv4 and for IPv6
			return public.Dial(ctx, network, server)
		}
		return private.Dial(ctx, network, server)
	}}
	var allowed, refused []string
	p := newPoster(t, PosterOptions{})
	p.public = newTransport(net.Dialer{Resolver: changing, Control: func(network, address string, c syscall.RawConn) error {
		if err := guard.Safe(network, address, c); err != nil {
			refused = append(refused, address)
			return err
		}
		allowed = append(allowed, address)
		return errors.New("no test connects to strangers")
	}})
	s := receive(t, func(http.ResponseWriter, *http.Request) { t.Error("was reached") })
	port := portOf(t, s.URL)
	for n := range 2 {
		r := p.Post(t.Context(), "http://receiver.example:"+port, false, event)
		if r.OK || n == 1 && r.Err != "address not allowed" {
			t.Errorf("attempt %d: %+v", n, r)
		}
	}
	if !slices.Equal(allowed, []string{"8.8.8.8:" + port}) || !slices.Equal(refused, []string{"127.0.0.1:" + port}) {
		t.Errorf("allowed %v, refused %v", allowed, refused)
	}
	if n := lookups.Load(); n != 4 {
		t.Errorf("%d questions to the name server, want 4", n)
	}
}

func TestPostBadReceivers(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		want  Result
		hangs bool // until the time-out
	}{
		{"closes after the request", func(net.Conn) {}, Result{Err: "connection broken"}, false},
		{"never answers", untilClosed, Result{Err: "timed out"}, true},
		{"stops within the status line", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200")
			untilClosed(c)
		}, Result{Err: "timed out"}, true},
		{"stops within the headers", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
			untilClosed(c)
		}, Result{Err: "timed out"}, true},
		{"closes within the headers", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
		}, Result{Err: "connection broken"}, false},
		{"closes within a header", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
		}, Result{Err: "no readable answer"}, false},
		{"speaks another protocol", func(c net.Conn) {
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
			untilClosed(c)
		}, Result{Err: "no readable answer"}, false},
		{"sends headers without end", func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(c, "X-Header: value\r\n")
			}
		}, Result{Err: "no readable answer"}, false},
		{"sends one header without end", func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Header: ")
			for err == nil {
				_, err = io.WriteString(c, strings.Repeat("a", 1024))
			}
		}, Result{Err: "no readable answer"}, false},
		{"sends hints without end", func(c net.Conn) {
			var err error
			for err == nil {
				_, err = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
			}
		}, Result{Err: "no readable answer"}, false},
		{"stops within the body", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
			untilClosed(c)
		}, Result{OK: true, Status: 200}, true},
		{"sends a body without end", func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
			for err == nil {
				_, err = io.WriteString(c, strings.Repeat("a", 1024))
			}
		}, Result{OK: true, Status: 200}, false},
		{"refuses with a body without end", func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n")
			for err == nil {
				_, err = io.WriteString(c, "400\r\n"+strings.Repeat("a", 1024)+"\r\n")
			}
		}, Result{Status: 500, Err: "status 500"}, false},
		{"switches to another protocol", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
			untilClosed(c)
		}, Result{Status: 101, Err: "status 101"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, _ := listen(t, func(conn net.Conn) {
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					c.serve(conn)
				}
			})
			timeout := time.Minute
			if c.hangs {
				timeout = shortTimeout
			}
			p := newPoster(t, PosterOptions{Timeout: timeout})
			r := p.Post(t.Context(), "http://"+address+"/hook?key=secret", true, event)
			c.want.Took = r.Took
			if r != c.want {
				t.Errorf("%+v, want %+v", r, c.want)
			}
			if r.Took > time.Minute || c.hangs && r.Took < shortTimeout {
				t.Errorf("it took %v with a time-out of %v", r.Took, timeout)
			}
		})
	}
}

func TestPostDoesNotConnect(t *testing.T) {
	const nobody = "127.0.0.1:1"
	for _, c := range []struct {
		name, url string
		resolver  *net.Resolver
		want      string
	}{
		{"nobody listens", "http://" + nobody, nil, "connection refused"},
		{"no such name", "http://receiver.example/", answering(t, 3), "no such host"},
		{"the name server fails", "http://receiver.example/", answering(t, 2), "name lookup failed"},
		{"no URL", "", nil, "bad address"},
		{"another scheme", "ftp://secret.example/", nil, "bad address"},
		{"a password", "http://user:secret@" + nobody, nil, "bad address"},
		{"a broken URL", "http://secret.example/%zz", nil, "bad address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPoster(t, PosterOptions{Timeout: time.Minute, Resolver: c.resolver})
			r := p.Post(t.Context(), c.url, true, event)
			if want := (Result{Err: c.want, Took: r.Took}); r != want {
				t.Errorf("%+v, want %+v", r, want)
			}
		})
	}
	t.Run("the name server never answers", func(t *testing.T) {
		hanging := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		p := newPoster(t, PosterOptions{Timeout: shortTimeout, Resolver: hanging})
		// Whether the lookup or the whole attempt ends first is a matter of chance.
		if r := p.Post(t.Context(), "http://receiver.example/", true, event); !strings.HasSuffix(r.Err, "timed out") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		address, _ := listen(t, func(c net.Conn) {
			cancel()
			untilClosed(c)
		})
		r := newPoster(t, PosterOptions{}).Post(ctx, "http://"+address, true, event)
		if want := (Result{Err: "cancelled", Took: r.Took}); r != want {
			t.Errorf("%+v, want %+v", r, want)
		}
	})
}

func TestPostTLS(t *testing.T) {
	serve := func(t *testing.T, c *tls.Config) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.TLS = c
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	plain := receive(t, func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		name, url, want string
	}{
		{"a certificate of its own", serve(t, nil), "certificate not valid"},
		{"only TLS 1.1", serve(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), "TLS handshake failed"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), "not a TLS server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newPoster(t, PosterOptions{}).Post(t.Context(), c.url, true, event)
			if want := (Result{Err: c.want, Took: r.Took}); r != want {
				t.Errorf("%+v, want %+v", r, want)
			}
		})
	}
}

func TestPostKeepsConnections(t *testing.T) {
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("a", responseBodyMax-1))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	p := newPoster(t, PosterOptions{})
	for range 5 {
		if r := p.Post(t.Context(), s.URL, true, event); !r.OK {
			t.Fatalf("%+v", r)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A receiver may close a kept connection just as the next event is sent on it;
// that is no failure of the delivery.
func TestPostOnDeadKeptConnection(t *testing.T) {
	address, connections := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		if r, err := http.ReadRequest(in); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_, _ = http.ReadRequest(in) // and closes without an answer
		}
	})
	p := newPoster(t, PosterOptions{})
	for i := range 2 {
		if r := p.Post(t.Context(), "http://"+address, true, event); !r.OK {
			t.Errorf("event %d: %+v", i+1, r)
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func portOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// answering is a resolver whose name server answers every question for IPv4 or
// IPv6 with those of the addresses, and every question with the response code (RFC 1035
// §4.1.1: 0 none, 2 server failure, 3 no such name).
func answering(t *testing.T, code byte, addresses ...string) *net.Resolver {
	t.Helper()
	serve := func(c net.Conn) {
		defer c.Close()
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		const headerBytes, typeA, typeAAAA = 12, 1, 28
		name := bytes.IndexByte(query[headerBytes:], 0) + 1
		question := query[headerBytes : headerBytes+name+4]
		asked := binary.BigEndian.Uint16(question[name:])
		var answers []byte
		count := uint16(0)
		for _, a := range addresses {
			ip := netip.MustParseAddr(a)
			if ip.Is4() && asked != typeA || ip.Is6() && asked != typeAAAA {
				continue
			}
			// The name of the question, its type, class IN, no time to live, the length.
			answers = append(answers, 0xc0, headerBytes, 0, byte(asked), 0, 1, 0, 0, 0, 0, 0, byte(ip.BitLen()/8))
			answers = append(answers, ip.AsSlice()...)
			count++
		}
		reply := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1}, byte(count>>8), byte(count), 0, 0, 0, 0)
		reply = append(append(reply, question...), answers...)
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
	}
	var served sync.WaitGroup
	t.Cleanup(served.Wait)
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		served.Go(func() { serve(server) })
		return client, nil
	}}
}

// FuzzAnswer lets a receiver answer with any bytes: the attempt ends, says no
// more than a few words of its own, and asks for no wait above the longest.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 503 Busy\r\nRetry-After: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"HTTP/1.0 200\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08", "HTTP/9.9 999 \x00\n\n", "",
	} {
		f.Add([]byte(seed))
	}
	p := NewPoster(PosterOptions{Timeout: time.Minute})
	f.Cleanup(p.Close)
	private := p.private.(*http.Transport)
	f.Fuzz(func(t *testing.T, answer []byte) {
		private.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				_, _ = theirs.Write(answer)
			}()
			return ours, nil
		}
		r := p.Post(t.Context(), "http://receiver.example/", true, event)
		private.CloseIdleConnections()
		if r.OK != (r.Status >= 200 && r.Status < 300) || r.OK != (r.Err == "") || len(r.Err) > 60 || r.RetryAfter < 0 || r.RetryAfter > retryAfterMax {
			t.Errorf("%+v", r)
		}
	})
}

func BenchmarkPost(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	p := NewPoster(PosterOptions{})
	defer p.Close()
	for b.Loop() {
		if r := p.Post(b.Context(), s.URL, true, event); !r.OK {
			b.Fatal(r.Err)
		}
	}
}
