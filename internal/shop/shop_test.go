package shop

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/sign"
)

const widgets = "http://127.0.0.1:40131"

// payoutd answers every call with answer, once its signature is right, and
// keeps what was asked.
type payoutd struct {
	key    sign.PublicKey
	answer string
	status int
	path   string
	body   string
}

func (p *payoutd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.path, p.body = r.URL.Path, string(body)
	if p.key.Verify(body, r.Header.Get(sign.HeaderSign)) != nil || r.Header.Get(sign.HeaderProject) != "demo" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, p.answer)
}

// open starts the partner's site beside a payoutd.
func open(t *testing.T) (*Server, *payoutd, string) {
	t.Helper()
	key, err := sign.GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	api := &payoutd{key: key.Public(), answer: `{"status":"ok"}`, status: 200}
	upstream := httptest.NewServer(api)
	t.Cleanup(upstream.Close)
	s := New(Options{
		API: upstream.URL, Widget: widgets, Project: "demo", Key: key, Log: slog.New(slog.DiscardHandler),
		Digests: map[string]string{"tokenize.js": "sha384-abc"},
		Decide: func(_ context.Context, inn string, _ bool) error {
			if inn != "500100732259" {
				return fault.New(fault.NotFound, "no request to link %s", inn)
			}
			return nil
		},
	})
	site := httptest.NewServer(s)
	t.Cleanup(site.Close)
	t.Cleanup(s.Close)
	return s, api, site.URL
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestSteps(t *testing.T) {
	for _, tt := range []struct{ name, step, body, path, sent string }{
		{"token", "token", `{"widget":"tokenize"}`, "/api/v1/token", `{"tokenize_widget":{"access":true}}`},
		{"token of a person", "token", `{"widget":"self_employed","inn":"500100732259"}`, "/api/v1/token", `{"self_employed_widget":{"tax_reference":"500100732259"}}`},
		{"card", "destination", `{"hash":"ab"}`, "/api/v1/token/info", `{"card":{"encrypted_card":{"number_hash":"ab"},"type":"encrypted_card"},"type":"card"}`},
		{"account", "destination", `{"token":"cd"}`, "/api/v1/token/info", `{"bank_account_ru":{"token":"cd"},"type":"bank_account_ru"}`},
		{"payout to a card", "payout", `{"hash":"ab","amount":15000}`, "/api/v2/session/init/payout", `{"amount_details":{"amount":15000,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Anna Petrova"}},"payout_details":{"card":{"encrypted_card":{"number_hash":"ab"},"type":"encrypted_card"},"type":"card"}}`},
		{"payout to an account", "payout", `{"token":"cd","amount":15000}`, "/api/v2/session/init/payout", `{"amount_details":{"amount":15000,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Anna Petrova"}},"payout_details":{"bank_account":{"ru":{"description":"Earnings of March, VAT exempt","full_name":"Anna Petrova","token":"cd"},"system_type":"ru"},"type":"bank_account"}}`},
		{"confirm", "confirm", `{"session_id":"ps_1"}`, "/api/v2/session/confirm", `{"session_id":"ps_1"}`},
		{"cancel", "cancel", `{"session_id":"ps_1"}`, "/api/v2/session/cancel", `{"session_id":"ps_1"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, api, url := open(t)
			if status, answer := post(t, url+"/demo/"+tt.step, tt.body); status != 200 || answer != "{\"status\":\"ok\"}\n" {
				t.Errorf("%d %s", status, answer)
			}
			if api.path != tt.path || api.body != tt.sent {
				t.Errorf("sent to %s: %s", api.path, api.body)
			}
		})
	}
}

func TestStepsThatFail(t *testing.T) {
	for _, tt := range []struct {
		name, step, body string
		change           func(*payoutd)
		status           int
		want             string
	}{
		{"refused by payoutd", "payout", `{"hash":"ab"}`, func(p *payoutd) { p.status, p.answer = 400, `{"status":"error","error":{"code":"invalid_request"}}` }, 200, `"invalid_request"`},
		{"payoutd speaks no JSON", "payout", `{"hash":"ab"}`, func(p *payoutd) { p.answer = "<html>" }, 500, "not JSON"},
		{"no step", "payout", `hash`, nil, 400, "no step"},
		{"too long", "payout", `{"hash":"` + strings.Repeat("a", stepBytesMax) + `"}`, nil, 400, "could not be read"},
		{"nobody asked the tax service", "tax", `{"inn":"1","allow":true}`, nil, 400, "no request to link"},
		{"answer to the tax service", "tax", `{"inn":"500100732259","allow":true}`, nil, 200, `"ok"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, api, url := open(t)
			if tt.change != nil {
				tt.change(api)
			}
			if status, answer := post(t, url+"/demo/"+tt.step, tt.body); status != tt.status || !strings.Contains(answer, tt.want) {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
}

func TestDeadPayoutd(t *testing.T) {
	s, _, url := open(t)
	s.o.API = "http://127.0.0.1:1"
	if status, answer := post(t, url+"/demo/token", `{}`); status != http.StatusServiceUnavailable || !strings.Contains(answer, "did not answer") {
		t.Errorf("%d %s", status, answer)
	}
}

func TestPage(t *testing.T) {
	_, _, url := open(t)
	r, err := http.Get(url + "/demo/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	policy := r.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "frame-src " + widgets, "frame-ancestors 'none'", "connect-src 'self'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy lacks %s: %s", part, policy)
		}
	}
	if !strings.Contains(string(body), widgets+`/tokenize.js" integrity="sha384-abc"`) {
		t.Errorf("the widget is not in the page, or not by its digest: %s", body)
	}
	for path, want := range map[string]int{"/demo/assets/shop.js": 200, "/demo/assets/shop.css": 200, "/demo/assets/page.html": 404, "/demo/nowhere": 404} {
		r, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}

// listen reads the stream of events as a page does.
func listen(t *testing.T, url, last string) <-chan event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/demo/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = answer.Body.Close() })
	found := make(chan event)
	lines := bufio.NewScanner(answer.Body)
	lines.Scan() // the welcome: whatever is said from now on is heard
	go func() {
		defer close(found)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e event
				if json.Unmarshal([]byte(data), &e) != nil {
					continue
				}
				select {
				case found <- e:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return found
}

func TestEvents(t *testing.T) {
	s, _, url := open(t)
	s.Webhook("before", true, json.RawMessage(`{}`))
	heard := listen(t, url, "")
	post(t, url+"/demo/confirm", `{"session_id":"ps_1"}`)
	s.Webhook("payment_finished", true, json.RawMessage(`{"type":"payment_finished"}`))
	call, hook := <-heard, <-heard
	if call.Kind != "call" || call.Name != "POST /api/v2/session/confirm" || call.Status != 200 || string(call.Request) != `{"session_id":"ps_1"}` || string(call.Response) != `{"status":"ok"}` {
		t.Errorf("%+v", call)
	}
	if hook.Kind != "webhook" || hook.Name != "payment_finished" || !hook.Verified || hook.N != call.N+1 {
		t.Errorf("%+v", hook)
	}
	// A page whose connection broke hears what it has missed.
	again := listen(t, url, "1")
	if e := <-again; e.N != call.N {
		t.Errorf("%+v", e)
	}
	s.Close()
	for range heard {
		t.Error("an event after the end")
	}
}

func TestEventsAreForgotten(t *testing.T) {
	e := newEvents()
	for range eventsMax + 5 {
		e.publish(event{Kind: "call"})
	}
	list, _ := e.since(0)
	if len(list) != eventsMax || list[0].N != 6 {
		t.Errorf("%d events, the first is %d", len(list), list[0].N)
	}
}

// always answers every call.
type always string

func (a always) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a))), Request: r}, nil
}

// FuzzStep sends any body to any step: JSON comes back, and no failure of ours.
func FuzzStep(f *testing.F) {
	key, err := sign.GenerateP256()
	if err != nil {
		f.Fatal(err)
	}
	s := New(Options{
		API: "http://payoutd.example", Key: key, Log: slog.New(slog.DiscardHandler),
		Decide: func(context.Context, string, bool) error { return fault.New(fault.NotFound, "no request to link") },
	})
	s.http.Transport = always(`{"status":"ok"}`)
	f.Cleanup(s.Close)
	steps := []string{"token", "destination", "payout", "confirm", "cancel", "tax"}
	for n, body := range []string{`{"widget":"tokenize"}`, `{"hash":"ab"}`, `{"token":"cd","amount":15000}`, `{"session_id":"ps_1"}`, `[]`, `{"inn":"500100732259","allow":true}`} {
		f.Add(uint8(n), []byte(body))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/demo/"+steps[int(n)%len(steps)], strings.NewReader(string(body))))
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
	})
}
