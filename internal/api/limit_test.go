package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/sign"
)

const createBody = `{"metadata":{"order":"PX-20931"}}`

// limited is a server with limits and a clock that stands.
func limited(t *testing.T, l Limits) (h *harness, pass func(time.Duration)) {
	t.Helper()
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	h = newServer(t, func(o *Options) { o.Now, o.Limits = func() time.Time { return now }, l })
	return h, func(d time.Duration) { now = now.Add(d) }
}

// from sends a right request, changed, from an address.
func (h *harness) from(address string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := post("/api/v2/session/create", createBody)
	r.RemoteAddr = address
	if change != nil {
		change(r)
	}
	return h.do(r)
}

// wantThrottled wants the wire's error, with the time to come back.
func wantThrottled(t *testing.T, w *httptest.ResponseRecorder, after string) {
	t.Helper()
	const body = `{"status":"error","error":{"code":"internal_error","description":"too many requests; come back later"}}`
	if w.Code != http.StatusTooManyRequests || w.Body.String() != body || w.Header().Get("Retry-After") != after {
		t.Errorf("HTTP %d, Retry-After %q: %s; want 429, %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body, after, body)
	}
}

func unsigned(r *http.Request) { r.Header.Set(sign.HeaderSign, signed("acme", "other bytes")) }

func TestRefusalsOfAnAddress(t *testing.T) {
	const stranger = "203.0.113.7:40001"
	for _, c := range []struct {
		name   string
		change func(*http.Request)
	}{
		{"wrong signature", unsigned},
		{"no signature", func(r *http.Request) { r.Header.Del(sign.HeaderSign) }},
		{"unknown project", func(r *http.Request) { r.Header.Set(sign.HeaderProject, "stranger") }},
		{"two projects", func(r *http.Request) { r.Header.Add(sign.HeaderProject, "birch") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, pass := limited(t, Limits{Refusals: 2})
			for i := range 20 {
				if w := h.from(fmt.Sprintf("203.0.113.7:%d", 40000+i), c.change); w.Code == http.StatusTooManyRequests {
					t.Fatalf("request %d is refused already", i)
				}
			}
			asked := h.engine.asked.Load()
			wantThrottled(t, h.from(stranger, c.change), "1")
			for name, change := range map[string]func(*http.Request){
				"a right request": nil,
				"another's name":  func(r *http.Request) { r.Header.Set("X-Forwarded-For", "198.51.100.1") },
				"and its letters": func(r *http.Request) { r.Header["x-forwarded-for"] = []string{"198.51.100.1"} },
				"and its kin": func(r *http.Request) {
					r.Header.Set("X-Real-IP", "198.51.100.1")
					r.Header.Set("Forwarded", "for=198.51.100.1")
				},
				"another project": func(r *http.Request) {
					r.Header.Set(sign.HeaderProject, "birch")
					r.Header.Set(sign.HeaderSign, signed("birch", createBody))
				},
			} {
				if w := h.from(stranger, change); w.Code != http.StatusTooManyRequests {
					t.Errorf("%s: HTTP %d", name, w.Code)
				}
			}
			if h.engine.asked.Load() != asked {
				t.Error("keys were looked for, so that a flood costs signatures")
			}
			if w := h.from("203.0.113.8:40001", nil); w.Code != http.StatusOK {
				t.Errorf("from another address: HTTP %d", w.Code)
			}
			pass(500 * time.Millisecond)
			if w := h.from(stranger, nil); w.Code != http.StatusOK {
				t.Errorf("half a second later: HTTP %d", w.Code)
			}
			if w := h.from(stranger, c.change); w.Code == http.StatusTooManyRequests {
				t.Error("a right request was held against the address")
			}
			wantThrottled(t, h.from(stranger, nil), "1")
			if !strings.Contains(h.log.String(), `"code":"throttled","error":"throttled: too many requests of the address were refused","address":"203.0.113.7"`) {
				t.Errorf("the log does not tell the address: %s", h.log.String())
			}
		})
	}
}

// TestWhoseRefusalsCount: none is held against an address behind which may be
// everybody, nor against one that a stranger names.
func TestWhoseRefusalsCount(t *testing.T) {
	proxies := limit.Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	by := func(claims ...string) func(*http.Request) {
		return func(r *http.Request) {
			for _, c := range claims {
				r.Header.Add("X-Forwarded-For", c)
			}
			unsigned(r)
		}
	}
	for _, c := range []struct {
		name    string
		proxies limit.Proxies
		remote  string
		change  func(*http.Request)
		right   string // an address that is not listened to afterwards; "" for none
		claims  string // of whom it speaks for
	}{
		{"a neighbour", nil, "10.1.1.1:1", unsigned, "", ""},
		{"this machine", nil, "127.0.0.1:1", unsigned, "", ""},
		{"this machine, by IPv6", nil, "[::1]:1", unsigned, "", ""},
		{"a link", nil, "[fe80::1%eth0]:1", unsigned, "", ""},
		{"a private network, by IPv6", nil, "[fd00::1]:1", unsigned, "", ""},
		{"a socket", nil, "@", unsigned, "", ""},
		{"a stranger", nil, "203.0.113.7:1", unsigned, "203.0.113.7:2", ""},
		{"a stranger in IPv6", nil, "[2a00:1450::1]:1", unsigned, "[2a00:1450::2]:2", ""},
		{"a neighbour, with proxies", proxies, "192.168.1.1:1", unsigned, "192.168.1.1:2", ""},
		{"this machine, with proxies", proxies, "127.0.0.1:1", unsigned, "127.0.0.1:2", ""},
		{"a proxy that names nobody", proxies, "10.1.1.1:1", unsigned, "", ""},
		{"a proxy that names nonsense", proxies, "10.1.1.1:1", by("me"), "", ""},
		{"a proxy that names itself", proxies, "10.1.1.1:1", by("10.1.1.1"), "", ""},
		{"a proxy for a stranger", proxies, "10.1.1.1:1", by("203.0.113.7"), "10.2.2.2:2", "203.0.113.7"},
		{"a proxy for a stranger who claims to be another", proxies, "10.1.1.1:1", by("198.51.100.9, 203.0.113.7"), "10.2.2.2:2", "203.0.113.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := limited(t, Limits{Refusals: 1, Proxies: c.proxies})
			for range 11 {
				h.from(c.remote, c.change)
			}
			if c.right == "" {
				if w := h.from(c.remote, nil); w.Code != http.StatusOK {
					t.Errorf("HTTP %d: a stranger's refusals are held against all", w.Code)
				}
				return
			}
			wantThrottled(t, h.from(c.right, func(r *http.Request) {
				if c.claims != "" {
					r.Header.Set("X-Forwarded-For", c.claims)
				}
			}), "1")
			if w := h.from(c.right, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "198.51.100.9") }); c.claims != "" && w.Code != http.StatusOK {
				t.Errorf("HTTP %d: a stranger has shut another out", w.Code)
			}
		})
	}
}

func TestRateOfAProject(t *testing.T) {
	h, pass := limited(t, Limits{Project: 3})
	own := func(n int) {
		caller := h.engine.callers["cedar"]
		p := *caller.Project
		p.RateLimit = n
		caller.Project = &p
		h.engine.callers["cedar"] = caller
	}
	as := func(project, key string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set(sign.HeaderProject, project)
			r.Header.Set(sign.HeaderSign, signed(key, createBody))
		}
	}
	all := func(n int, project, key string) {
		t.Helper()
		for i := range n {
			if w := h.from(fmt.Sprintf("203.0.113.%d:1", i%250), as(project, key)); w.Code != http.StatusOK {
				t.Fatalf("%s, request %d: HTTP %d", project, i, w.Code)
			}
		}
	}
	for range 100 { // what is not the project's does not count
		h.from("203.0.113.7:1", unsigned)
	}
	all(3, "acme", "acme")
	made := len(h.engine.calls)
	wantThrottled(t, h.from("203.0.113.9:1", nil), "1")
	if len(h.engine.calls) != made {
		t.Error("a request above the rate was carried out")
	}
	all(3, "birch", "birch")
	pass(334 * time.Millisecond)
	all(1, "acme", "acme")
	wantThrottled(t, h.from("203.0.113.9:1", nil), "1")

	own(10)
	all(10, "cedar", "cedar-1")
	wantThrottled(t, h.from("203.0.113.9:1", as("cedar", "cedar-2")), "1") // by its other key
	own(partner.RateUnlimited)
	all(500, "cedar", "cedar-1")

	free, _ := limited(t, Limits{})
	for i := range 1000 {
		if w := free.from("203.0.113.7:1", nil); w.Code != http.StatusOK {
			t.Fatalf("without limits, request %d: HTTP %d", i, w.Code)
		}
		if w := free.from("203.0.113.7:1", func(r *http.Request) { r.Header.Del(sign.HeaderSign) }); w.Code != http.StatusUnauthorized {
			t.Fatalf("without limits, refusal %d: HTTP %d", i, w.Code)
		}
	}
}

// TestManyConnectionsAreOneCaller: limits hold over real connections, each of
// its own, many at a time.
func TestManyConnectionsAreOneCaller(t *testing.T) {
	h, _ := limited(t, Limits{Refusals: 1, Proxies: limit.Proxies{netip.MustParsePrefix("192.0.2.0/24")}})
	server := httptest.NewServer(closing(h))
	defer server.Close()
	statuses := make(chan int)
	for range 40 {
		go func() {
			alone := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			r := post(server.URL+"/api/v2/session/create", createBody)
			r.RequestURI = ""
			unsigned(r)
			answer, err := alone.Do(r)
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			_ = answer.Body.Close()
			statuses <- answer.StatusCode
		}()
	}
	got := map[int]int{}
	for range 40 {
		got[<-statuses]++
	}
	// Those that are under way together are all looked at.
	if got[http.StatusUnauthorized] < 10 || got[http.StatusUnauthorized]+got[http.StatusTooManyRequests] != 40 {
		t.Errorf("answers by status: %v", got)
	}
	r := post(server.URL+"/api/v2/session/create", createBody)
	r.RequestURI = ""
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusTooManyRequests {
		t.Errorf("then: HTTP %d", answer.StatusCode)
	}
}
