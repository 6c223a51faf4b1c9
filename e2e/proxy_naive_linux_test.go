package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/sign"
)

// TestProxiesNaive makes attacks on a proxy and a server that each read requests
// carelessly: by the same judgement that nginx, HAProxy and payoutd are held to,
// every one of them smuggles something. And it puts the careless proxy before a
// node, which keeps its partners apart all the same.
func TestProxiesNaive(t *testing.T) {
	t.Parallel()
	keys := map[string]sign.PrivateKey{"acme": newP256(t), "birch": newP256(t), neighbour: newP256(t)}
	right := []string{"right, to compare", "requests on end, which are two"}
	for _, pair := range []struct {
		name     string
		byLength bool // the proxy; the server goes by chunks then
		hiding   []string
	}{
		{"by length", true, []string{
			"CL.TE: a length for the proxy, chunks for the server", "chunked with a tab before it", "a coding in other letters",
			"an underscore in the name of the coding", "two codings, the last empty", "a coding with a comma behind it",
		}},
		{"by chunks", false, []string{
			"TE.CL: chunks for the proxy, which a length cuts for the server",
			"TE.CL in HTTP/1.0 that keeps its connection: chunks for the proxy, which a length cuts for the server",
		}},
	} {
		titled := func(f *front, titles ...string) (some []attack) {
			for _, a := range attacks(t, f.sign) {
				if title, _ := strings.CutSuffix(a.title, takingTitle); slices.Contains(titles, title) {
					some = append(some, a)
				}
			}
			if len(some) < len(titles) {
				t.Fatalf("%d attacks of %q", len(some), titles)
			}
			return some
		}
		try := func(a attack, hides bool, patience time.Duration) {
			t.Run(pair.name+"/"+a.title, func(t *testing.T) {
				t.Parallel()
				server := newNaiveServer(t, !pair.byLength)
				f := &front{scheme: "http", keys: keys, patience: 2 * patience, handled: server.requests, address: newNaiveProxy(t, server.address, pair.byLength, patience)}
				if found := f.smuggle(t, []attack{a}); len(found) > 0 != hides {
					t.Errorf("found %q", found)
				}
			})
		}
		for _, a := range titled(&front{keys: keys}, pair.hiding...) {
			try(a, true, 500*time.Millisecond) // what never comes need not be waited for
		}
		for _, a := range titled(&front{keys: keys}, right...) {
			try(a, false, proxyPatience)
		}
		t.Run(pair.name+"/a node", func(t *testing.T) {
			t.Parallel()
			f, server := newFront(t)
			f.scheme, f.address = "http", newNaiveProxy(t, strings.TrimPrefix(server.url, "http://"), pair.byLength, proxyPatience)
			for _, found := range f.smuggle(t, titled(f, slices.Concat(right, pair.hiding)...)) {
				t.Error(found)
			}
		})
	}
}

// message reads a message as careless programs do: lines end with a line feed, an
// underscore is a hyphen, a coding is chunked if that word is in it, and numbers
// end with their digits. byLength goes by Content-Length where there are chunks too.
func message(r *bufio.Reader, byLength bool) (raw []byte, header map[string]string, body []byte, err error) {
	line := func() string {
		b, more := r.ReadBytes('\n')
		raw, err = append(raw, b...), errors.Join(err, more)
		return strings.TrimSpace(string(b))
	}
	take := func(n int) {
		b, more := io.ReadAll(io.LimitReader(r, int64(n)))
		if len(b) < n {
			more = io.ErrUnexpectedEOF
		}
		raw, body, err = append(raw, b...), append(body, b...), errors.Join(err, more)
	}
	header = map[string]string{"": line()}
	for text := line(); text != "" && err == nil; text = line() {
		name, value, _ := strings.Cut(text, ":")
		header[strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), "_", "-"))] += strings.TrimSpace(value)
	}
	length, counted := header["content-length"]
	var n int
	switch {
	case strings.Contains(strings.ToLower(header["transfer-encoding"]), "chunked") && !(byLength && counted):
		for err == nil {
			n = 0
			_, _ = fmt.Sscanf(line(), "%x", &n)
			if n == 0 {
				break
			}
			take(n)
			line()
		}
		for err == nil && line() != "" {
		}
	case counted:
		_, _ = fmt.Sscanf(length, "%d", &n)
		take(n)
	}
	return raw, header, body, err
}

// naive accepts connections until the end of the test.
func naive(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(t.Context(), func() { _ = conn.Close() })
			served.Go(func() {
				defer stop()
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	return l.Addr().String()
}

// newNaiveProxy passes requests on as they came, over one connection that all
// callers share.
func newNaiveProxy(t *testing.T, server string, byLength bool, patience time.Duration) (address string) {
	t.Helper()
	var mu sync.Mutex
	var far net.Conn
	var answers *bufio.Reader
	forward := func(raw []byte, verb string) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		var err error
		if far == nil {
			if far, err = net.Dial("tcp", server); err != nil {
				return nil, err
			}
			answers = bufio.NewReader(far)
		}
		_ = far.SetDeadline(time.Now().Add(patience))
		_, err = far.Write(raw)
		var answer *http.Response
		if err == nil {
			answer, err = http.ReadResponse(answers, &http.Request{Method: verb})
		}
		if err == nil {
			var body []byte
			body, err = io.ReadAll(answer.Body)
			answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		if err != nil || answer.Close {
			_ = far.Close()
			far = nil
		}
		return answer, err
	}
	return naive(t, func(near net.Conn) {
		requests := bufio.NewReader(near)
		for {
			raw, header, _, err := message(requests, byLength)
			if err != nil {
				return
			}
			verb, _, _ := strings.Cut(header[""], " ")
			answer, err := forward(raw, verb)
			if err != nil || answer.Write(near) != nil {
				return
			}
		}
	})
}

// naiveServer carries out what it takes for requests.
type naiveServer struct {
	address string

	mu  sync.Mutex
	all []handled
}

var sessionAsked = regexp.MustCompile(`ps_[0-9]+`)

func newNaiveServer(t *testing.T, byLength bool) *naiveServer {
	t.Helper()
	s := &naiveServer{}
	s.address = naive(t, func(conn net.Conn) {
		requests := bufio.NewReader(conn)
		for {
			_, header, body, err := message(requests, byLength)
			if err != nil {
				return
			}
			s.mu.Lock()
			h := handled{id: fmt.Sprintf("rq_%d", len(s.all)), project: header["x-partner-project"], status: http.StatusOK}
			h.session = cmp.Or(string(sessionAsked.Find(body)), fmt.Sprintf("ps_%d", len(s.all)))
			s.all = append(s.all, h)
			s.mu.Unlock()
			answer := fmt.Sprintf(`{"status":"ok","session":{"id":%q}}`, h.session)
			if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n%s", h.id, len(answer), answer); err != nil {
				return
			}
		}
	})
	return s
}

func (s *naiveServer) requests() []handled {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}
