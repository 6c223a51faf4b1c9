package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/sign"
)

// request is one from this machine; change makes it another one.
func request(handler http.Handler, method, path, body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8131"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:50001"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	return v
}

func newHandler(keys ...sign.PublicKey) (http.Handler, *Clock, *Inbox) {
	clock := &Clock{}
	inbox := NewInbox(clock.Now, keys...)
	return Handler(Site{Clock: clock, Inbox: inbox, Widget: "http://127.0.0.1:40131"}), clock, inbox
}

func TestOnlyThisMachineIsAnswered(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	from := func(address string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = address } }
	to := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	tests := []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"loopback", nil, http.StatusOK},
		{"another loopback address", from("127.8.9.1:50001"), http.StatusOK},
		{"IPv6", from("[::1]:50001"), http.StatusOK},
		{"IPv4 in IPv6", from("[::ffff:127.0.0.1]:50001"), http.StatusOK},
		{"localhost", to("localhost:8131"), http.StatusOK},
		{"localhost without a port", to("LOCALHOST"), http.StatusOK},
		{"IPv6 host", to("[::1]:8131"), http.StatusOK},
		{"IPv6 host without a port", to("[::1]"), http.StatusOK},
		{"its own page", header("Sec-Fetch-Site", "same-origin"), http.StatusOK},

		{"the local network", from("192.168.1.7:50001"), http.StatusForbidden},
		{"all addresses", from("0.0.0.0:50001"), http.StatusForbidden},
		{"IPv6 elsewhere", from("[2001:db8::1]:50001"), http.StatusForbidden},
		{"no address", from(""), http.StatusForbidden},
		{"a socket", from("@"), http.StatusForbidden},
		{"a rebound name", to("attacker.example:8131"), http.StatusForbidden},
		{"a name that begins like ours", to("localhost.attacker.example"), http.StatusForbidden},
		{"a name that ends like ours", to("attacker.localhost"), http.StatusForbidden},
		{"decimal notation", to("2130706433"), http.StatusForbidden},
		{"no host", to(""), http.StatusForbidden},
		{"X-Forwarded-For", header("X-Forwarded-For", "127.0.0.1"), http.StatusForbidden},
		{"an empty X-Forwarded-For", header("X-Forwarded-For", ""), http.StatusForbidden},
		{"Forwarded", header("Forwarded", "for=127.0.0.1"), http.StatusForbidden},
		{"Via", header("Via", "1.1 proxy"), http.StatusForbidden},
		{"a page of another site", header("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"an old browser's page of another site", header("Origin", "https://attacker.example"), http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			handler, clock, _ := newHandler()
			w := request(handler, http.MethodPost, "/sandbox/clock", `{"advance":"1h"}`, tt.change)
			if w.Code != tt.want {
				t.Errorf("status %d, want %d: %s", w.Code, tt.want, w.Body)
			}
			if tt.want == http.StatusForbidden {
				f := decode[failure](t, w)
				if f.Status != "error" || f.Error.Code != "authorization_error" || f.Error.Description == "" || clock.Offset() != 0 {
					t.Errorf("answer %s, offset %s; want a refusal with a reason and no effect", w.Body, clock.Offset())
				}
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	tests := []struct {
		method, path string
		want         int
		allow        string
	}{
		{http.MethodGet, "/sandbox/values", http.StatusOK, ""},
		{http.MethodGet, "/sandbox/clock", http.StatusOK, ""},
		{http.MethodGet, "/sandbox/inbox", http.StatusOK, ""},
		{http.MethodGet, "/sandbox/inbox/demo", http.StatusOK, ""},
		{http.MethodDelete, "/sandbox/inbox", http.StatusOK, ""},
		{http.MethodPost, "/sandbox/tax", http.StatusMethodNotAllowed, "GET"},
		{http.MethodGet, "/sandbox/tax/500100732259", http.StatusMethodNotAllowed, "POST"},
		{http.MethodPost, "/sandbox/values", http.StatusMethodNotAllowed, "GET"},
		{http.MethodPut, "/sandbox/clock", http.StatusMethodNotAllowed, "GET, POST"},
		{http.MethodPost, "/sandbox/inbox", http.StatusMethodNotAllowed, "DELETE, GET"},
		{http.MethodDelete, "/sandbox/inbox/demo", http.StatusMethodNotAllowed, "GET, POST"},
		{http.MethodGet, "/sandbox/", http.StatusNotFound, ""},
		{http.MethodGet, "/sandbox/clocks", http.StatusNotFound, ""},
		{http.MethodGet, "/sandbox/inbox/demo/more", http.StatusNotFound, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			handler, _, _ := newHandler()
			w := request(handler, tt.method, tt.path, "", nil)
			if w.Code != tt.want || w.Header().Get("Allow") != tt.allow {
				t.Errorf("status %d, Allow %q; want %d, %q", w.Code, w.Header().Get("Allow"), tt.want, tt.allow)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" || !json.Valid(w.Body.Bytes()) {
				t.Errorf("answer of type %s: %s", got, w.Body)
			}
		})
	}
}

func TestValuesOverHTTP(t *testing.T) {
	handler, _, _ := newHandler()
	w := request(handler, http.MethodGet, "/sandbox/values", "", nil)
	values := decode[[]map[string]any](t, w)
	if want := len(Values()) + len(PersonValues()) + len(RateValues()) + 1; len(values) != want {
		t.Fatalf("%d values, want %d", len(values), want)
	}
	if last := values[len(values)-1]; last["kind"] != "widget" || last["value"] != "http://127.0.0.1:40131" {
		t.Errorf("the last value is %v, want the origin of the widgets", last)
	}
	want := map[string]any{"kind": "card", "value": "4242424242424242", "outcome": "succeeded", "description": "paid at once"}
	if got := fmt.Sprint(values[0]); got != fmt.Sprint(want) {
		t.Errorf("the first value is %s, want %s", got, fmt.Sprint(want))
	}
}

func TestClockOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, clock, _ := newHandler()
		woken := 0
		clock.OnAdvance(func() { woken++ })
		start := time.Now()
		for _, step := range []struct {
			advance string
			offset  time.Duration
		}{{"240m", 4 * time.Hour}, {"5d", 124 * time.Hour}, {"1h30m", 125*time.Hour + 30*time.Minute}} {
			w := request(handler, http.MethodPost, "/sandbox/clock", `{"advance":"`+step.advance+`"}`, nil)
			got := decode[clockState](t, w)
			if got.Status != "ok" || got.Offset != step.offset.String() || !got.Now.Equal(start.Add(step.offset)) {
				t.Errorf("after %s: %s; want an offset of %s", step.advance, w.Body, step.offset)
			}
		}
		if woken != 3 {
			t.Errorf("woken %d times, want 3", woken)
		}
		shown := decode[clockState](t, request(handler, http.MethodGet, "/sandbox/clock", "", nil))
		if shown.Offset != "125h30m0s" {
			t.Errorf("it shows the offset %s, want 125h30m0s", shown.Offset)
		}
	})
}

func TestClockRefusesOverHTTP(t *testing.T) {
	bodies := map[string]string{
		"nothing":         ``,
		"an empty object": `{}`,
		"null":            `{"advance":null}`,
		"a number":        `{"advance":240}`,
		"no unit":         `{"advance":"240"}`,
		"backwards":       `{"advance":"-1h"}`,
		"no time":         `{"advance":"0s"}`,
		"days backwards":  `{"advance":"-5d"}`,
		"part of a day":   `{"advance":"1.5d"}`,
		"only the unit":   `{"advance":"d"}`,
		"a century":       `{"advance":"36500d"}`,
		"all the days":    `{"advance":"99999999999999999999d"}`,
		"another object":  `[{"advance":"1h"}]`,
		"a second object": `{"advance":"1h"}{"advance":"1h"}`,
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			handler, clock, _ := newHandler()
			w := request(handler, http.MethodPost, "/sandbox/clock", body, nil)
			if f := decode[failure](t, w); w.Code != http.StatusBadRequest || f.Error.Code != "invalid_request" || clock.Offset() != 0 {
				t.Errorf("status %d, offset %s: %s", w.Code, clock.Offset(), w.Body)
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		handler, _, _ := newHandler()
		if w := request(handler, http.MethodPost, "/sandbox/clock", strings.Repeat(" ", commandBytesMax+1), nil); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d, want %d", w.Code, http.StatusRequestEntityTooLarge)
		}
	})
}

func TestInboxTakesWebhooks(t *testing.T) {
	server, stranger := newKey(t), newKey(t)
	const body = `{"type": "payment_finished", "session": {"id": "ps_7", "note": "<&>"}}`
	signed := func(key sign.PrivateKey) func(*http.Request) {
		signature, err := key.Sign([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return func(r *http.Request) {
			r.Header.Set(sign.HeaderSign, signature)
			r.Header.Set("X-PAYOUTD-EVENT-ID", "ev_3")
			r.Header.Set("X-PAYOUTD-EVENT-SEQUENCE", "2")
			r.Header.Set("X-PAYOUTD-EVENT-TIME", "2026-03-01T10:00:00.000001Z")
		}
	}
	handler, clock, inbox := newHandler(newKey(t).Public(), server.Public())
	if err := clock.Advance(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	var heard []Delivery
	inbox.OnReceive(func(d Delivery) { heard = append(heard, d) })
	posts := []struct {
		name, inbox, body string
		change            func(*http.Request)
		verified          bool
		kind, session     string
		shown             string
	}{
		{"signed", "demo", body, signed(server), true, "payment_finished", "ps_7", `{"type":"payment_finished","session":{"id":"ps_7","note":"<&>"}}`},
		{"signed by another key", "demo", body, signed(stranger), false, "payment_finished", "ps_7", `{"type":"payment_finished","session":{"id":"ps_7","note":"<&>"}}`},
		{"other bytes than were signed", "demo", body + " ", signed(server), false, "payment_finished", "ps_7", `{"type":"payment_finished","session":{"id":"ps_7","note":"<&>"}}`},
		{"not signed", "demo", body, nil, false, "payment_finished", "ps_7", `{"type":"payment_finished","session":{"id":"ps_7","note":"<&>"}}`},
		{"not JSON", "other", `<html>`, nil, false, "", "", `"\u003chtml\u003e"`},
		{"empty", "other", ``, nil, false, "", "", `""`},
		{"not an object", "other", `[1]`, nil, false, "", "", `[1]`},
		{"an id of another type", "other", `{"type":"ready_to_confirm","session":{"id":7}}`, nil, false, "", "", `{"type":"ready_to_confirm","session":{"id":7}}`},
	}
	for n, p := range posts {
		if w := request(handler, http.MethodPost, "/sandbox/inbox/"+p.inbox, p.body, p.change); w.Code != http.StatusOK {
			t.Fatalf("%s: status %d: %s", p.name, w.Code, w.Body)
		}
		if len(heard) != n+1 {
			t.Fatalf("%s: %d deliveries heard of, want %d", p.name, len(heard), n+1)
		}
	}
	w := request(handler, http.MethodGet, "/sandbox/inbox", "", nil)
	list := decode[[]Delivery](t, w)
	if len(list) != len(posts) {
		t.Fatalf("%d deliveries, want %d", len(list), len(posts))
	}
	for n, p := range posts {
		d := list[n]
		if d.N != int64(n+1) || d.Inbox != p.inbox || d.Verified != p.verified || d.Type != p.kind || d.SessionID != p.session {
			t.Errorf("%s: %+v", p.name, d)
		}
		if string(d.Body) != p.shown {
			t.Errorf("%s: body %s, want %s", p.name, d.Body, p.shown)
		}
		if ahead := time.Until(d.Time); ahead < 23*time.Hour {
			t.Errorf("%s: came at %s, want the time of the sandbox", p.name, d.Time)
		}
	}
	if d := list[0]; d.EventID != "ev_3" || d.EventSequence != "2" || d.EventTime != "2026-03-01T10:00:00.000001Z" {
		t.Errorf("the event is named %q, %q, %q", d.EventID, d.EventSequence, d.EventTime)
	}
	if other := decode[[]Delivery](t, request(handler, http.MethodGet, "/sandbox/inbox/other", "", nil)); len(other) != 4 {
		t.Errorf("%d deliveries in the other inbox, want 4", len(other))
	}
	request(handler, http.MethodDelete, "/sandbox/inbox", "", nil)
	if w := request(handler, http.MethodGet, "/sandbox/inbox", "", nil); strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("cleared, it lists %s", w.Body)
	}
}

func newKey(t *testing.T) sign.PrivateKey {
	t.Helper()
	key, err := sign.GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestInboxRefuses(t *testing.T) {
	tests := []struct {
		name, path, body string
		want             int
	}{
		{"a name that is none", "/sandbox/inbox/%20", `{}`, http.StatusBadRequest},
		{"a long name", "/sandbox/inbox/" + strings.Repeat("n", 65), `{}`, http.StatusBadRequest},
		{"a large body", "/sandbox/inbox/demo", strings.Repeat(" ", deliveryBytesMax+1), http.StatusRequestEntityTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			handler, _, inbox := newHandler()
			w := request(handler, http.MethodPost, tt.path, tt.body, nil)
			if w.Code != tt.want || len(inbox.List("")) != 0 {
				t.Errorf("status %d and %d deliveries, want %d and none: %s", w.Code, len(inbox.List("")), tt.want, w.Body)
			}
		})
	}
}

func TestInboxForgetsTheOldest(t *testing.T) {
	tests := []struct {
		name        string
		bytes, n    int
		kept        int
		first, last int64
	}{
		{"by number", 1, 1003, 1000, 4, 1003},
		{"by size", 1 << 20, 66, 64, 3, 66},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, inbox := newHandler()
			body := []byte("1" + strings.Repeat(" ", tt.bytes-1))
			for range tt.n {
				inbox.receive("demo", http.Header{}, body)
			}
			list := inbox.List("")
			if len(list) != tt.kept || list[0].N != tt.first || list[len(list)-1].N != tt.last {
				t.Errorf("%d kept, from %d to %d; want %d, from %d to %d", len(list), list[0].N, list[len(list)-1].N, tt.kept, tt.first, tt.last)
			}
		})
	}
}

// FuzzCommand sends any body to what takes one; no command fails in here.
func FuzzCommand(f *testing.F) {
	for i, body := range []string{`{"advance":"240m"}`, `{"advance":"5d"}`, `{"advance":"-1h"}`, `{"advance":"99999999d"}`, `{"advance":null}`, `[]`, `{"type":"payment_finished","session":{"id":"ps_1"}}`, "\xff"} {
		f.Add(uint8(i), []byte(body))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		handler, _, _ := newHandler()
		path := []string{"/sandbox/clock", "/sandbox/inbox/demo"}[n%2]
		if w := request(handler, http.MethodPost, path, string(body), nil); w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: answered %d %s", path, w.Code, w.Body)
		}
		if w := request(handler, http.MethodGet, "/sandbox/inbox", "", nil); w.Code != http.StatusOK || !json.Valid(w.Body.Bytes()) {
			t.Errorf("the inbox then shows %d %s", w.Code, w.Body)
		}
	})
}
