package widget

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/partner"
)

const (
	shop  = "https://shop.example"
	pan   = "4242424242424242"
	inn   = "500100732259"
	known = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// counter is a back end that answers what it was told to.
type counter struct {
	grant Grant
	err   error // of every call
	state LinkState
	cards int
	kept  []byte // the memory of the last number
}

func (c *counter) Open(context.Context, string) (Grant, error) { return c.grant, c.err }

func (c *counter) Card(_ context.Context, _ string, number []byte) (Card, error) {
	c.cards++
	c.kept = number
	if c.err != nil {
		return Card{}, c.err
	}
	if string(number) == "0" {
		panic("no such number: " + string(number[:0]))
	}
	return Card{strings.Repeat("ab", 32), instrument.Visa, string(number[len(number)-4:])}, nil
}

func (c *counter) Account(_ context.Context, _, _, account string) (Account, error) {
	return Account{strings.Repeat("cd", 32), account[:5] + "***" + account[16:]}, c.err
}

func (c *counter) Link(context.Context, string, string) (LinkState, error) { return LinkSent, c.err }

func (c *counter) LinkState(context.Context, string) (LinkState, error) { return c.state, nil }

func newCounter() *counter {
	return &counter{grant: Grant{Origins: []string{shop}, EndsAt: noon.Add(time.Hour), Tokenize: Open}, state: LinkNone}
}

func serve(desk Desk, o Options, r *http.Request) *httptest.ResponseRecorder {
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	w := httptest.NewRecorder()
	New(desk, o).ServeHTTP(w, r)
	return w
}

// frameOf asks for a frame as the partner's page does.
func frameOf(kind, token, origin string) *http.Request {
	q := url.Values{"widget": {kind}, "token": {token}, "origin": {origin}, "locale": {"en"}}
	return httptest.NewRequest(http.MethodGet, "/frame?"+q.Encode(), nil)
}

// callOf calls as the frame does.
func callOf(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

func policy(t *testing.T, w *httptest.ResponseRecorder) map[string]string {
	t.Helper()
	found := map[string]string{}
	for part := range strings.SplitSeq(w.Header().Get("Content-Security-Policy"), "; ") {
		name, value, _ := strings.Cut(part, " ")
		found[name] = value
	}
	return found
}

func TestFrame(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*counter)
		r      *http.Request
		status int
		code   string // of the notice, "" for the form
		around string // frame-ancestors
	}{
		{"form", nil, frameOf("card", known, shop), 200, "", shop},
		{"form for an account", nil, frameOf("bank_account", known, shop), 200, "", shop},
		{"form under another name of the origin's port", func(c *counter) { c.grant.Origins = []string{"http://localhost:*"} }, frameOf("card", known, "http://localhost:8080"), 200, "", "http://localhost:*"},
		{"used", func(c *counter) { c.grant.Tokenize = Used }, frameOf("card", known, shop), 410, "token_used", shop + " " + shop},
		{"expired", func(c *counter) { c.grant.EndsAt = noon }, frameOf("card", known, shop), 410, "token_expired", shop + " " + shop},
		{"at its last instant", func(c *counter) { c.grant.EndsAt = noon.Add(time.Nanosecond) }, frameOf("card", known, shop), 200, "", shop},
		{"of the other widget", func(c *counter) { c.grant.Tokenize, c.grant.SelfEmployed = Shut, Open }, frameOf("card", known, shop), 403, "token_other_widget", shop + " " + shop},
		{"for incoming payments", func(c *counter) { c.grant.Tokenize, c.grant.Acquiring = Shut, Open }, frameOf("card", known, shop), 403, "acquiring_not_offered", shop + " " + shop},
		{"both in one", func(c *counter) { c.grant.Acquiring = Open }, frameOf("card", known, shop), 200, "", shop},
		{"linking", func(c *counter) { c.grant.SelfEmployed = Open }, frameOf("self_employed", known, shop), 200, "", shop},
		{"linking with a token of cards", nil, frameOf("self_employed", known, shop), 403, "token_other_widget", shop + " " + shop},
		{"unknown", func(c *counter) { c.err = fault.New(fault.NotFound, "unknown") }, frameOf("card", known, shop), 404, "token_unknown", shop},
		{"no token", nil, frameOf("card", "", shop), 404, "token_unknown", shop},
		{"token in upper case", nil, frameOf("card", strings.ToUpper(known), shop), 404, "token_unknown", shop},
		{"no such widget", nil, frameOf("cash", known, shop), 404, "token_unknown", shop},
		{"back end down", func(c *counter) { c.err = fault.New(fault.Busy, "busy") }, frameOf("card", known, shop), 503, "unavailable", shop},
		{"foreign page", nil, frameOf("card", known, "https://evil.example"), 403, "origin_not_allowed", shop + " https://evil.example"},
		{"foreign page that begins alike", nil, frameOf("card", known, shop+".evil.example"), 403, "origin_not_allowed", shop + " " + shop + ".evil.example"},
		{"foreign port", nil, frameOf("card", known, shop+":8443"), 403, "origin_not_allowed", shop + " " + shop + ":8443"},
		{"no page", nil, frameOf("card", known, ""), 403, "origin_not_allowed", shop},
		{"page that would write the policy", nil, frameOf("card", known, "https://a.example; script-src *"), 403, "origin_not_allowed", shop},
		{"project without origins", func(c *counter) { c.grant.Origins = nil }, frameOf("card", known, ""), 403, "origin_not_allowed", "'none'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			desk := newCounter()
			if tt.change != nil {
				tt.change(desk)
			}
			w := serve(desk, Options{}, tt.r)
			body := w.Body.String()
			if w.Code != tt.status {
				t.Errorf("status %d", w.Code)
			}
			if form := strings.Contains(body, "<input"); form != (tt.code == "") {
				t.Errorf("a form: %t", form)
			}
			if tt.code != "" && (!strings.Contains(body, `"error":"`+tt.code+`"`) || strings.Contains(body, known)) {
				t.Error("the notice has another code, or the token")
			}
			p := policy(t, w)
			if p["frame-ancestors"] != tt.around {
				t.Errorf("frame-ancestors %s", p["frame-ancestors"])
			}
			if p["default-src"] != "'none'" || p["form-action"] != "'none'" || p["base-uri"] != "'none'" || p["connect-src"] != "'self'" {
				t.Errorf("policy %v", p)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
}

// Whatever runs or dresses the page bears the nonce of this answer, and no two
// answers have the same.
func TestNonces(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		w := serve(newCounter(), Options{}, frameOf("card", known, shop))
		p := policy(t, w)
		nonce := strings.TrimSuffix(strings.TrimPrefix(p["script-src"], "'nonce-"), "'")
		if len(nonce) < 22 || seen[nonce] || p["style-src"] != p["script-src"] {
			t.Errorf("nonce %q, styles %s", nonce, p["style-src"])
		}
		seen[nonce] = true
		body := w.Body.String()
		for _, tag := range regexp.MustCompile(`<(script|style|link rel="stylesheet")[^>]*>`).FindAllString(body, -1) {
			if !strings.Contains(strings.ReplaceAll(tag, "&#43;", "+"), `nonce="`+nonce+`"`) {
				t.Errorf("%s has no nonce", tag)
			}
		}
		if regexp.MustCompile(`(?i)\son[a-z]+=|\sstyle=|javascript:`).MatchString(body) {
			t.Error("an inline handler or style stands in the page")
		}
	}
}

func TestCalls(t *testing.T) {
	body := func(fields string) string { return `{"public_token":"` + known + `",` + fields + `}` }
	for _, tt := range []struct {
		name   string
		err    error
		path   string
		body   string
		change func(*http.Request)
		status int
		want   string // in the answer
	}{
		{"card", nil, "/v1/card", body(`"number":"` + pan + `"`), nil, 200, `"number_hash":"abab`},
		{"account", nil, "/v1/bank-account", body(`"bik":"044525974","account":"40817810913100000001"`), nil, 200, `"masked_account":"40817***0001"`},
		{"link", nil, "/v1/self-employed/link", body(`"tax_reference_or_phone":"` + inn + `"`), nil, 200, `"state":"requested"`},
		{"state", nil, "/v1/self-employed/state", body(`"x":1`), nil, 200, `"state":"none"`},
		{"card refused", fault.New(fault.Invalid, "number: fails the Luhn check"), "/v1/card", body(`"number":"` + pan + `"`), nil, 400, `"code":"invalid_request"`},
		{"token used", fault.New(fault.TokenUsed, "used"), "/v1/card", body(`"number":"` + pan + `"`), nil, 400, `"code":"token_used"`},
		{"token expired", fault.New(fault.TokenExpired, "expired"), "/v1/card", body(`"number":"` + pan + `"`), nil, 400, `"code":"token_expired"`},
		{"too many attempts", fault.New(fault.TooMany, "too many"), "/v1/card", body(`"number":"` + pan + `"`), nil, 400, `"code":"too_many"`},
		{"back end fails", errors.New("disk full"), "/v1/card", body(`"number":"` + pan + `"`), nil, 500, `"code":"internal_error"`},
		{"back end panics", nil, "/v1/card", body(`"number":"0"`), nil, 500, `"code":"internal_error"`},
		{"no number", nil, "/v1/card", body(`"number":""`), nil, 400, `number: missing`},
		{"number with spaces", nil, "/v1/card", body(`"number":"4242 4242 4242 4242"`), nil, 400, `number: want a string of digits`},
		{"number as a number", nil, "/v1/card", body(`"number":` + pan), nil, 400, `number: want a string of digits`},
		{"number without end", nil, "/v1/card", body(`"number":"` + strings.Repeat("4", 33) + `"`), nil, 400, `number: want a string of digits`},
		{"no token", nil, "/v1/card", `{"number":"` + pan + `"}`, nil, 400, `"code":"not_found"`},
		{"no JSON", nil, "/v1/card", `number=` + pan, nil, 400, `no JSON at byte`},
		{"token of another kind", nil, "/v1/card", `{"public_token":5}`, nil, 400, `public_token: want a JSON string`},
		{"nothing", nil, "/v1/card", ``, nil, 400, `no JSON at byte`},
		{"too large", nil, "/v1/card", body(`"x":"` + strings.Repeat("x", callBytesMax) + `"`), nil, 413, `larger than`},
		{"from a foreign page", nil, "/v1/card", body(`"number":"` + pan + `"`), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, `own frame`},
		{"from a foreign page of an old browser", nil, "/v1/card", body(`"number":"` + pan + `"`), func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://evil.example")
		}, 403, `own frame`},
		{"as a form", nil, "/v1/card", body(`"number":"` + pan + `"`), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 400, `Content-Type`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			desk := newCounter()
			desk.err = tt.err
			r := callOf(tt.path, tt.body)
			if tt.change != nil {
				tt.change(r)
			}
			w := serve(desk, Options{Log: slog.New(slog.NewJSONHandler(&log, nil))}, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), pan) || strings.Contains(w.Body.String(), known) {
				t.Error("the answer has the number or the token")
			}
			if strings.Contains(log.String(), pan) || strings.Contains(log.String(), known) {
				t.Errorf("the log has the number or the token: %s", log.String())
			}
			if !strings.Contains(log.String(), `"call"`) {
				t.Error("nothing was logged")
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("header %v", w.Header())
			}
			if bytes.ContainsAny(desk.kept, "0123456789") {
				t.Error("the number's memory was not wiped")
			}
		})
	}
}

// A wave of refused cards is to be seen by whoever watches.
func TestMetrics(t *testing.T) {
	metrics := prometheus.NewRegistry()
	desk := newCounter()
	s := New(desk, Options{Now: func() time.Time { return noon }, Metrics: metrics})
	ask := func(r *http.Request) { s.ServeHTTP(httptest.NewRecorder(), r) }
	body := `{"public_token":"` + known + `","number":"` + pan + `"}`
	ask(callOf("/v1/card", body))
	desk.err = fault.New(fault.Invalid, "number: fails the Luhn check")
	ask(callOf("/v1/card", body))
	ask(callOf("/v1/card", body))
	desk.err = nil
	desk.grant.Tokenize = Used
	ask(frameOf("card", known, shop))
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"payoutd_widget_calls_total call=card code=":                1,
		"payoutd_widget_calls_total call=card code=invalid_request": 2,
		"payoutd_widget_frames_total notice=token_used widget=card": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Whatever is in the address of a frame, the log has nothing of it.
func TestLogHasNoAddress(t *testing.T) {
	var log bytes.Buffer
	for _, kind := range []string{pan, "card"} {
		q := url.Values{"widget": {kind}, "token": {known}, "origin": {"https://" + pan + ".example"}, "locale": {pan}, "theme": {pan}}
		serve(newCounter(), Options{Log: slog.New(slog.NewJSONHandler(&log, nil))}, httptest.NewRequest(http.MethodGet, "/frame?"+q.Encode(), nil))
	}
	if got := log.String(); strings.Contains(got, pan) || strings.Contains(got, known) || strings.Count(got, "widget frame") != 2 {
		t.Error(got)
	}
}

// A number is digits that can be wiped, or nothing; a refusal quotes nothing.
func FuzzCall(f *testing.F) {
	for _, seed := range []string{`{"number":"` + pan + `"}`, `{"number":"4242 4242"}`, `{"number":4242}`, `{"public_token":5}`, `{"number":"\u0034"}`, `[]`, `{`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in request
		err := json.Unmarshal(body, &in)
		if err != nil {
			if said := place(err); len(said) > 80 || strings.Contains(said, pan) {
				t.Errorf("refused with %q", said)
			}
			return
		}
		if len(in.Number) > 32 || bytes.ContainsFunc(in.Number, func(r rune) bool { return r < '0' || r > '9' }) {
			t.Errorf("%q is a number", []byte(in.Number))
		}
	})
}

func TestOnlyTheVerbsOfThePaths(t *testing.T) {
	for _, path := range []string{"GET /v1/card", "POST /frame", "PUT /tokenize.js", "OPTIONS /v1/card"} {
		method, target, _ := strings.Cut(path, " ")
		if w := serve(newCounter(), Options{}, httptest.NewRequest(method, target, nil)); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// Behind a body in chunks nothing is read: it may have been hidden from a proxy.
func TestChunksEndTheConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*http.Request)
		closes bool
	}{
		"right":    {func(*http.Request) {}, false},
		"chunks":   {func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }, true},
		"HTTP/1.0": {func(r *http.Request) { r.ProtoMinor = 0 }, true},
	} {
		r := callOf("/v1/card", `{"public_token":"`+known+`","number":"`+pan+`"}`)
		tt.change(r)
		w := serve(newCounter(), Options{}, r)
		if closes := w.Header().Get("Connection") == "close"; w.Code != 200 || closes != tt.closes {
			t.Errorf("%s: %d, closes %v", name, w.Code, closes)
		}
	}
}

func TestRates(t *testing.T) {
	now := noon
	clock := func() time.Time { return now }
	for _, tt := range []struct {
		name string
		make func(*Server)
		call func(i int) *http.Request
	}{
		{"per token", func(s *Server) { s.tokens = bounded{limit.New(clock), limit.Rate{Burst: 3, Every: time.Minute}} }, func(i int) *http.Request {
			r := callOf("/v1/card", `{"public_token":"`+known+`","number":"`+pan+`"}`)
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1234", i)
			return r
		}},
		{"per address", func(s *Server) { s.callers = bounded{limit.New(clock), limit.Rate{Burst: 3, Every: time.Minute}} }, func(i int) *http.Request {
			return callOf("/v1/card", fmt.Sprintf(`{"public_token":"%064d","number":"%s"}`, i, pan))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			desk := newCounter()
			s := New(desk, Options{Now: clock})
			tt.make(s)
			status := func(i int) int {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, tt.call(i))
				if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				return w.Code
			}
			for i := range 3 {
				if got := status(i); got != 200 {
					t.Fatalf("call %d: %d", i, got)
				}
			}
			if got := status(3); got != http.StatusTooManyRequests || desk.cards != 3 {
				t.Errorf("status %d, %d cards came through", got, desk.cards)
			}
			now = now.Add(time.Minute)
			if got := status(4); got != 200 {
				t.Errorf("a minute later: %d", got)
			}
		})
	}
}

func TestAssets(t *testing.T) {
	s := New(newCounter(), Options{})
	get := func(path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	var digests map[string]string
	if err := json.Unmarshal(get("/integrity.json").Body.Bytes(), &digests); err != nil || len(digests) != len(public) {
		t.Fatalf("%v, %v", digests, err)
	}
	for _, name := range public {
		w := get("/" + name)
		if w.Code != 200 || newFile(name, w.Body.Bytes()).hash != digests[name] {
			t.Errorf("%s: %d, or another digest than promised", name, w.Code)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, w.Header())
		}
		if w := get("/"+name, "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%s again: %d", name, w.Code)
		}
	}
	for _, name := range framed {
		path := "/assets/" + s.files.version + "/" + name
		if w := get(path, "Accept-Encoding", "gzip"); w.Code != 200 || w.Header().Get("Content-Encoding") != "gzip" || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	for _, path := range []string{"/assets/" + s.files.version + "/mount.js", "/assets/0000000000000000/card.js", "/assets/", "/"} {
		if w := get(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// A person on a slow line waits for what one widget takes, all of it.
func TestWidgetsAreSmall(t *testing.T) {
	const compressedMax = 30 << 10
	l := newLibrary()
	size := len(l.files["tokenize.js"].gzip) + len(l.files["tokenize.css"].gzip)
	for _, name := range framed {
		size += len(l.files["assets/"+name].gzip)
	}
	page := serve(newCounter(), Options{}, frameOf("bank_account", known, shop)).Body.Bytes()
	size += len(newFile("page.html", page).gzip)
	t.Logf("%d bytes", size)
	if size > compressedMax {
		t.Errorf("%d bytes, want %d at most", size, compressedMax)
	}
}

// No file names another site, or does what the policy forbids.
func TestAssetsKeepToThemselves(t *testing.T) {
	l := newLibrary()
	for name, f := range l.files {
		for _, bad := range []string{`https?://`, `innerHTML`, `\beval\(`, `document\.write`, `localStorage`, `sessionStorage`, `\.cookie`, `@import`, `url\(`} {
			body := bytes.ReplaceAll(f.body, []byte("http://www.w3.org/2000/svg"), nil) // a name, not an address
			if found := regexp.MustCompile(bad).Find(body); found != nil {
				t.Errorf("%s has %s", name, found)
			}
		}
	}
}

func TestLanguagesSayTheSame(t *testing.T) {
	want := slices.Sorted(maps.Keys(languages[0].words))
	for _, l := range languages {
		if got := slices.Sorted(maps.Keys(l.words)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", l.tag, got, want)
		}
		for key, text := range l.words {
			if text == "" {
				t.Errorf("%s: %s is empty", l.tag, key)
			}
		}
	}
}

func TestSpeak(t *testing.T) {
	for _, tt := range []struct{ name, wish, accepted, want string }{
		{"wish", "ru", "en", "ru"},
		{"wish with a region", "ru-RU", "", "ru"},
		{"browser", "", "de-DE,ru;q=0.8,en;q=0.5", "ru"},
		{"wish that nobody speaks", "de", "ru", "ru"},
		{"nothing", "", "", "en"},
		{"nonsense", "<script>", ";;,", "en"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := speak(tt.wish, tt.accepted); got != tt.want {
				t.Error(got)
			}
		})
	}
}

func TestAcquiringIsNotOffered(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/acquiring?token="+known, nil)
	r.Header.Set("Accept-Language", "ru")
	w := serve(newCounter(), Options{}, r)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Приём платежей не поддерживается") || strings.Contains(w.Body.String(), known) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := policy(t, w)["frame-ancestors"]; got != "'none'" {
		t.Errorf("frame-ancestors %s", got)
	}
}

// In a sandbox every page of this machine may show the form, and no other.
func TestLoopback(t *testing.T) {
	for _, tt := range []struct {
		origin string
		status int
	}{
		{"http://localhost:5173", 200},
		{"http://127.0.0.1:8131", 200},
		{"http://localhost.evil.example:80", 403},
		{"https://evil.example", 403},
	} {
		t.Run(tt.origin, func(t *testing.T) {
			if w := serve(newCounter(), Options{Loopback: true}, frameOf("card", known, tt.origin)); w.Code != tt.status {
				t.Errorf("%d", w.Code)
			}
		})
	}
}

// FuzzFrame asks for a frame with anything in its address. The policy has its
// parts and no other, and lets nothing show the frame but origins.
func FuzzFrame(f *testing.F) {
	f.Add("card", known, shop, "en", "dark", "ru")
	f.Add("bank_account", known, "https://a.example; script-src *", "en\r\nX: y", "\"><script>", "de-DE,de;q=0.9")
	f.Add("self_employed", "x", "javascript:alert(1)", "", "", "*")
	f.Add("</script>", known, "https://shop.example'", "ru", "auto", strings.Repeat("ru,", 1000))
	plenty := limit.Rate{Burst: 1 << 30, Every: time.Nanosecond}
	server := New(newCounter(), Options{Now: func() time.Time { return noon }, PerToken: plenty, PerAddress: plenty})
	f.Fuzz(func(t *testing.T, widget, token, origin, locale, theme, language string) {
		q := url.Values{"widget": {widget}, "token": {token}, "origin": {origin}, "locale": {locale}, "theme": {theme}}
		r := httptest.NewRequest(http.MethodGet, "/frame?"+q.Encode(), nil)
		r.Header["Accept-Language"] = []string{language}
		server.tokens.limits = limit.New(time.Now) // remembers no token of other inputs
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		p := policy(t, w)
		if w.Code >= 500 || len(p) != 10 || strings.ContainsAny(w.Header().Get("Content-Security-Policy"), "\r\n") {
			t.Errorf("status %d, policy %q", w.Code, w.Header().Get("Content-Security-Policy"))
		}
		for around := range strings.FieldsSeq(p["frame-ancestors"]) {
			if around != "'none'" && !partner.IsOrigin(around) {
				t.Errorf("shown by %q", around)
			}
		}
		if n := strings.Count(w.Body.String(), "<script"); n != 2 {
			t.Errorf("%d scripts in the page", n)
		}
	})
}
