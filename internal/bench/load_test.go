package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/sign"
)

// server is a bank that can be told to misbehave. It verifies what it gets.
type server struct {
	t       *testing.T
	partner sign.PublicKey
	key     sign.PrivateKey
	inbox   *inbox
	made    atomic.Int64
	hooks   sync.WaitGroup

	mu       sync.Mutex
	requests map[string]int // by path
	keys     map[string]int // of idempotency

	answer func(path string, tries int) int // status of an answer; nil for 200
	hook   func(kind string) string         // what becomes of a webhook; nil for "sent"
}

// newServer returns a bank and the load before it; change may make it misbehave.
func newServer(t *testing.T, o Options, change func(*server)) (*server, *load) {
	t.Helper()
	partnerKey, err := generate(partner.P256)
	if err != nil {
		t.Fatal(err)
	}
	key, err := generate(partner.P256)
	if err != nil {
		t.Fatal(err)
	}
	box, err := openInbox()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(box.Close)
	box.key = key.Public()
	s := &server{t: t, partner: partnerKey.Public(), key: key, inbox: box, requests: map[string]int{}, keys: map[string]int{}}
	if change != nil {
		change(s)
	}
	front := httptest.NewServer(s)
	t.Cleanup(func() {
		front.Close()
		s.hooks.Wait()
	})
	p := &process{host: strings.TrimPrefix(front.URL, "http://"), ended: make(chan struct{})}
	l := newLoad(o, p, box, partnerKey)
	l.drain, l.retryGap = time.Minute, 0
	return s, l
}

// until ends when enough has happened, however long that takes.
func until(t *testing.T, enough func() bool) context.Context {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer stop()
		for tick := time.Tick(time.Millisecond); !enough() && t.Context().Err() == nil; {
			<-tick
		}
	}()
	return ctx
}

// asked is how many requests have come to a path.
func (s *server) asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || s.partner.Verify(body, r.Header.Get(sign.HeaderSign)) != nil {
		s.t.Errorf("%s: not signed", r.URL.Path)
	}
	path := strings.TrimPrefix(r.URL.Path, "/api/v2/session/")
	key := r.Header.Get(sign.HeaderKey)
	s.mu.Lock()
	s.keys[key]++
	tries := s.keys[key]
	if tries == 1 {
		s.requests[path]++
	}
	s.mu.Unlock()
	status := http.StatusOK
	if s.answer != nil {
		status = s.answer(path, tries)
	}
	switch {
	case status == 0: // the connection breaks
		panic(http.ErrAbortHandler)
	case status != http.StatusOK:
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":"error","error":{"code":"some_code"}}`)
		return
	}
	session := Member(body, "session_id")
	if session == "" {
		session = fmt.Sprintf("ps_%d", s.made.Add(1))
	}
	switch path {
	case "start/payout":
		s.send(session, "ready_to_confirm", "in_progress")
	case "confirm", "init/payout":
		s.send(session, "payment_finished", "accepted")
	}
	fmt.Fprintf(w, `{"status":"ok","session":{"id":"%s","status":"in_progress"}}`, session)
}

func (s *server) send(session, kind, status string) {
	does := "sent"
	if s.hook != nil {
		does = s.hook(kind)
	}
	times, key := 1, s.key
	switch does {
	case "lost":
		return
	case "doubled":
		times = 2
	case "forged":
		key, _ = generate(partner.P256)
	case "declined":
		status = "cancelled"
	}
	body := fmt.Appendf(nil, `{"type":"%s","session":{"id":"%s","status":"%s"}}`, kind, session, status)
	signature, err := key.Sign(body)
	if err != nil {
		s.t.Error(err)
	}
	for range times {
		s.hooks.Go(func() {
			r, _ := http.NewRequest(http.MethodPost, s.inbox.URL, bytes.NewReader(body))
			r.Header.Set(sign.HeaderSign, signature)
			if answer, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_ = answer.Body.Close()
			}
		})
	}
}

func TestLoad(t *testing.T) {
	only := func(path string, status int) func(*server) {
		return func(s *server) {
			s.answer = func(p string, tries int) int {
				if p == path && tries == 1 {
					return status
				}
				return http.StatusOK
			}
		}
	}
	hook := func(kind, does string) func(*server) {
		return func(s *server) {
			s.hook = func(k string) string {
				if k == kind {
					return does
				}
				return "sent"
			}
		}
	}
	tests := []struct {
		name     string
		single   bool
		change   func(*server)
		accepted bool   // some are
		drained  bool   // all that are accepted
		repeated bool   // requests are sent again
		refusal  string // why payouts were left in the middle
	}{
		{"all goes right", false, nil, true, true, false, ""},
		{"all goes right, in one request", true, nil, true, true, false, ""},
		{"busy at the creation", false, only("create", 503), true, true, true, ""},
		{"busy at the confirmation", false, only("confirm", 503), true, true, true, ""},
		{"the connection breaks before the answer", false, only("confirm", 0), true, true, true, ""},
		{"the creation is refused", false, only("create", 400), false, true, false, "create: status 400, some_code"},
		{"the confirmation is refused", false, only("confirm", 400), false, true, false, "confirm: status 400, some_code"},
		{"no webhook that it is ready", false, hook("ready_to_confirm", "lost"), false, true, false, errCut.Error()},
		{"no webhook that it is paid", false, hook("payment_finished", "lost"), true, false, false, errCut.Error()},
		{"no webhook after one request", true, hook("payment_finished", "lost"), true, false, false, errCut.Error()},
		{"a forged webhook", false, hook("payment_finished", "forged"), true, false, false, errCut.Error()},
		{"a declined payout", false, hook("payment_finished", "declined"), true, false, false, errFailed.Error()},
		{"doubled webhooks", false, hook("payment_finished", "doubled"), true, true, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := Options{Projects: 2, Clients: 3, Duration: time.Hour, SingleRequest: test.single}
			s, l := newServer(t, o, test.change)
			lost := test.refusal == errCut.Error() // by the last of the webhooks that are waited for
			if lost {
				l.drain = time.Millisecond
			}
			r, err := l.run(until(t, func() bool {
				l.mu.Lock()
				refused := len(l.refusals) > 0
				l.mu.Unlock()
				return refused || l.drained.Load() > 0 || lost && (l.accepted.Load() > 0 || !test.accepted && s.asked("start/payout") > 0)
			}))
			if err != nil {
				t.Fatal(err)
			}
			r.BooksClean = true
			if (r.Accepted > 0) != test.accepted || (r.Accepted == r.Drained) != test.drained {
				t.Errorf("%d accepted, %d drained", r.Accepted, r.Drained)
			}
			if failed := r.Failure() != nil; failed == test.drained {
				t.Errorf("failure %v", r.Failure())
			}
			if (r.Retried > 0) != test.repeated {
				t.Errorf("%d requests sent again", r.Retried)
			}
			if n := r.Refusals[test.refusal]; test.refusal != "" && n == 0 || test.refusal == "" && len(r.Refusals) > 0 {
				t.Errorf("left in the middle: %v, want %q", r.Refusals, test.refusal)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			confirmed := s.requests["confirm"] + s.requests["init/payout"]
			if test.refusal == "" && int64(confirmed) != r.Accepted {
				t.Errorf("%d confirmed at the server, %d accepted", confirmed, r.Accepted)
			}
			if made := s.requests["create"] + s.requests["init/payout"]; test.refusal == "" && int64(made) != r.Accepted+r.Cancelled {
				t.Errorf("%d sessions made, %d accepted and %d cancelled", made, r.Accepted, r.Cancelled)
			}
		})
	}
}

// A session that is only created is neither started nor waited for.
func TestCreateOnly(t *testing.T) {
	s, l := newServer(t, Options{Projects: 1, Clients: 2, Duration: time.Hour, CreateOnly: true}, nil)
	r, err := l.run(until(t, func() bool { return l.completed.Load() > 0 }))
	if err != nil {
		t.Fatal(err)
	}
	if r.Created == 0 || r.Created != int64(s.requests["create"]) || len(s.requests) != 1 || r.Accepted+r.Drained+r.Cancelled != 0 {
		t.Errorf("requests %v, report %+v", s.requests, r)
	}
	if r.PayoutsPerSecond == 0 || len(l.inbox.flights) != 0 {
		t.Errorf("%f per second, %d waited for", r.PayoutsPerSecond, len(l.inbox.flights))
	}
}

// No payout of a pile is confirmed before all may be.
func TestPile(t *testing.T) {
	const n = 50
	tests := []struct {
		name              string
		change            func(*server)
		accepted, drained int64
		refusal           string // why payouts were left in the middle
		left              int64  // how many
	}{
		{"all goes right", nil, n, n, "", 0},
		{"one is not created", func(s *server) {
			s.answer = func(path string, _ int) int {
				if path == "create" && s.made.Add(1) == 7 {
					return http.StatusBadRequest
				}
				return http.StatusOK
			}
		}, n - 1, n - 1, "create: status 400, some_code", 1},
		{"none is told that it may be confirmed", func(s *server) {
			s.hook = func(string) string { return "lost" }
		}, 0, 0, errCut.Error(), 4}, // the first of each client; no other is begun
		{"none is paid", func(s *server) {
			s.hook = func(kind string) string {
				if kind == "payment_finished" {
					return "declined"
				}
				return "sent"
			}
		}, n, 0, errFailed.Error(), n},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var early atomic.Bool
			s, l := newServer(t, Options{Projects: 2, Clients: 4, InFlight: n}, func(s *server) {
				if test.change != nil {
					test.change(s)
				}
				answer := s.answer
				s.answer = func(path string, tries int) int {
					s.mu.Lock()
					early.Store(early.Load() || path == "confirm" && int64(s.requests["start/payout"]) < n-1)
					s.mu.Unlock()
					if answer == nil {
						return http.StatusOK
					}
					return answer(path, tries)
				}
			})
			ctx := t.Context()
			if test.refusal == errCut.Error() {
				l.drain, ctx = time.Millisecond, until(t, func() bool { return s.asked("start/payout") == int(test.left) })
			}
			r, err := l.pile(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if r.Accepted != test.accepted || r.Drained != test.drained || r.Refusals[test.refusal] != test.left {
				t.Errorf("%d accepted, %d drained, left in the middle %v", r.Accepted, r.Drained, r.Refusals)
			}
			if early.Load() || s.requests["confirm"] != int(test.accepted) {
				t.Errorf("confirmed before all were ready: %v; requests %v", early.Load(), s.requests)
			}
		})
	}
}

// A pile that is interrupted is cancelled: nothing of it is paid.
func TestPileInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, l := newServer(t, Options{Projects: 1, Clients: 1, InFlight: 3}, func(s *server) {
		s.hook = func(string) string { cancel(); return "sent" }
	})
	r, err := l.pile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if r.Accepted != 0 || s.requests["confirm"] != 0 || r.Cancelled != int64(s.requests["create"]) {
		t.Errorf("requests %v, report %+v", s.requests, r)
	}
}

// What is under way when the time is over is not confirmed any more.
func TestLoadCancelsWhatIsLeft(t *testing.T) {
	o := Options{Projects: 1, Clients: 1, Duration: time.Hour}
	ctx, stop := context.WithCancel(t.Context())
	var l *load
	s, l := newServer(t, o, func(s *server) {
		s.answer = func(path string, _ int) int {
			if path == "create" {
				stop()
				<-l.over.Done()
			}
			return http.StatusOK
		}
	})
	r, err := l.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if r.Accepted != 0 || r.Cancelled != 1 || s.requests["cancel"] != 1 || s.requests["start/payout"] != 0 {
		t.Errorf("%d accepted, %d cancelled, requests %v", r.Accepted, r.Cancelled, s.requests)
	}
}

// An open loop begins payouts whatever the answers do, and counts the time
// from when it should have begun them.
func TestOpenLoopDoesNotWait(t *testing.T) {
	const rate, some = 200, 60
	o := Options{Projects: 1, Clients: 2, Duration: time.Hour, Rate: rate}
	var l *load
	_, l = newServer(t, o, func(s *server) {
		s.answer = func(path string, _ int) int {
			if path == "create" {
				<-l.over.Done() // nothing is answered before the end
			}
			return http.StatusOK
		}
	})
	began := time.Now()
	r, err := l.run(until(t, func() bool { return l.made.Load() >= some }))
	if err != nil {
		t.Fatal(err)
	}
	if n, took := l.made.Load(), time.Since(began); float64(n) > 1+rate*took.Seconds() { // a busy machine is late
		t.Errorf("%d payouts begun in %s", n, took)
	}
	if half := l.times[stepCreate].Percentile(50); half.Seconds() < r.Seconds/4 {
		t.Errorf("half of the answers within %s, though none came before %f s", half, r.Seconds)
	}
}

func TestLoadEndsWithTheServer(t *testing.T) {
	o := Options{Projects: 1, Clients: 2, Duration: time.Hour}
	var l *load
	var once sync.Once
	_, l = newServer(t, o, func(s *server) {
		s.answer = func(path string, _ int) int {
			if path == "confirm" {
				once.Do(func() { close(l.process.ended) })
			}
			return http.StatusOK
		}
	})
	if _, err := l.run(t.Context()); err == nil || !strings.Contains(err.Error(), "the server ended") {
		t.Errorf("%v", err)
	}
}

func TestInboxTakesOnlyWebhooks(t *testing.T) {
	key, err := generate(partner.RSA)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openInbox()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.key = key.Public()
	good := `{"type":"payment_finished","session":{"id":"ps_17","status":"accepted"}}`
	tests := []struct {
		name, signed, sent string
		header             func(http.Header)
		status             int
	}{
		{"a webhook", good, good, nil, 200},
		{"a webhook in small letters, the last of its connection", good, good, func(h http.Header) {
			h["x-partner-sign"] = h[http.CanonicalHeaderKey(sign.HeaderSign)]
			h.Del(sign.HeaderSign)
			h.Set("Connection", "close")
		}, 200},
		{"another body than was signed", good, strings.Replace(good, "17", "18", 1), nil, 400},
		{"not signed", good, good, func(h http.Header) { h.Del(sign.HeaderSign) }, 400},
		{"no session", `{"type":"payment_finished"}`, `{"type":"payment_finished"}`, nil, 400},
		{"nothing", "", "", nil, 400},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.mu.Lock()
			b.flights = map[id.Session]*flight{}
			b.mu.Unlock()
			signature, err := key.Sign([]byte(test.signed))
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL, strings.NewReader(test.sent))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(sign.HeaderSign, signature)
			if test.header != nil {
				test.header(r.Header)
			}
			fresh := new(http.Transport) // the connection of the case before may be about to end
			defer fresh.CloseIdleConnections()
			answer, err := fresh.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			b.mu.Lock()
			defer b.mu.Unlock()
			if answer.StatusCode != test.status || len(b.flights) != map[int]int{200: 1}[test.status] {
				t.Errorf("status %d, %d flights", answer.StatusCode, len(b.flights))
			}
		})
	}
	t.Run("no HTTP", func(t *testing.T) {
		c, err := net.Dial("tcp", b.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("POST /hook HTTP/1.1\r\nnonsense\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, refused) {
			t.Errorf("%q, %v; want it refused and the connection closed", got, err)
		}
	})
}

func TestReadHead(t *testing.T) {
	const lengthMax = 1000
	tests := []struct {
		name, text string
		want       head
		fails      bool
	}{
		{
			"an answer", "HTTP/1.1 503 Service Unavailable\r\nDate: now\r\nContent-Length: 17\r\n\r\n{",
			head{second: "503", length: 17},
			false,
		},
		{
			"a webhook", "POST /hook HTTP/1.1\r\nx-partner-sign:  a+b= \r\ncontent-length:1000\r\nCONNECTION: Close\r\n\r\n",
			head{second: "/hook", length: 1000, signature: "a+b=", close: true},
			false,
		},
		{"lines without a carriage return", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", head{second: "200"}, false},
		{"no length", "HTTP/1.1 200 OK\r\n\r\n", head{}, true},
		{"a length below zero", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", head{}, true},
		{"too long", "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", head{}, true},
		{"no number", "HTTP/1.1 200 OK\r\nContent-Length: some\r\n\r\n", head{}, true},
		{"in chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", head{}, true},
		{"no field", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", head{}, true},
		{"a line without an end", "HTTP/1.1 200 " + strings.Repeat("x", 10_000), head{}, true},
		{"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", head{}, true},
		{"nothing", "", head{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readHead(bufio.NewReader(strings.NewReader(test.text)), lengthMax)
			if (err != nil) != test.fails || !test.fails && got != test.want {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}
