package console

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/money"
)

const password = "correct horse battery"

var hash = operator.Hash(password)

// office is a console on a real store, with one operator of each role.
type office struct {
	*testing.T
	*Server
	db    *sqlite.Store
	clock time.Time // real and product's
	acts  []string
	fail  error // of the audit
	n     int64
}

func newOffice(t *testing.T, projects ...id.Project) *office {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "payoutd.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	o := &office{T: t, db: db, clock: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC), n: 1000}
	o.Server = New(Options{Store: db, Now: func() time.Time { return o.clock }, Record: func(_ context.Context, p id.Project, actor, what, _, text string) error {
		o.acts = append(o.acts, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", p, actor, what, text)))
		return o.fail
	}})
	o.real = func() time.Time { return o.clock }
	for _, r := range operator.Roles {
		if err := db.AddOperator(t.Context(), operator.Operator{Name: string(r), Role: r, Password: hash, CreatedAt: o.clock}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range projects {
		if err := db.CreateProject(t.Context(), partner.Project{ID: p, CreatedAt: o.clock}); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// write commits what change makes, with the book of a project.
func (o *office) write(p id.Project, change func(*store.Changes, *ledger.Book)) {
	o.Helper()
	o.n++
	if err := o.db.Commit(o.Context(), store.Reads{Books: []id.Project{p}}, func(rows *store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: id.Batch(o.n)}
		change(c, rows.Books[p])
		if len(c.Entries) > 0 {
			c.Books = append(c.Books, rows.Books[p])
		}
		return c, nil
	}); err != nil {
		o.Fatal(err)
	}
}

// add makes a session with one payout in a state.
func (o *office) add(p id.Project, state session.State, d session.Details) *session.Session {
	o.Helper()
	o.n++
	s := &session.Session{Project: p, ID: id.Session(o.n), Version: 2, State: state, CreatedAt: o.clock, UpdatedAt: o.clock}
	if state == session.Created {
		s.Draft = d
	} else {
		s.Payouts = []session.Payout{{ID: id.Payout(o.n + 1), State: state, Details: d, CreatedAt: o.clock, Fee: 30}}
	}
	o.n++
	o.write(p, func(c *store.Changes, _ *ledger.Book) { c.Sessions = append(c.Sessions, s) })
	return s
}

func card(minor int64) session.Details {
	return session.Details{
		Instrument: &instrument.Instrument{Card: &instrument.Card{BIN: "424242", Last4: "4242"}}, Recipient: "Анна Петрова",
		Amount: &money.Amount{Minor: minor, Currency: money.RUB},
	}
}

// get asks for a page, as somebody whose login is given, or as nobody.
func (o *office) get(path, login string, change ...func(*http.Request)) *http.Response {
	o.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	return o.do(r, login, change...)
}

func (o *office) do(r *http.Request, login string, change ...func(*http.Request)) *http.Response {
	o.Helper()
	if login != "" {
		r.AddCookie(&http.Cookie{Name: cookieLogin, Value: login})
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	o.ServeHTTP(w, r)
	answer := w.Result()
	if got := answer.Header.Get("Content-Security-Policy"); got != policy {
		o.Errorf("%s %s: policy %q", r.Method, r.URL, got)
	}
	if got := answer.Header.Get("Cache-Control"); got != "no-store" && !strings.Contains(r.URL.Path, "/assets/") {
		o.Errorf("%s %s: kept by caches: %q", r.Method, r.URL, got)
	}
	return answer
}

func body(answer *http.Response) string {
	b, _ := io.ReadAll(answer.Body)
	return string(b)
}

func form(path string, values url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// try sends the form of the login.
func (o *office) try(name, password string, change ...func(*http.Request)) *http.Response {
	o.Helper()
	return o.do(form(Root+"login", url.Values{"name": {name}, "password": {password}}), "", change...)
}

// enter logs somebody in and returns the token.
func (o *office) enter(name string) string {
	o.Helper()
	answer := o.try(name, password)
	for _, c := range answer.Cookies() {
		if c.Name == cookieLogin {
			return c.Value
		}
	}
	o.Fatalf("%s could not log in: status %d\n%s", name, answer.StatusCode, body(answer))
	return ""
}

// Every page against everybody.
func TestWhoSeesWhat(t *testing.T) {
	o := newOffice(t, "acme")
	s := o.add("acme", session.Paid, card(100_00))
	logins := map[string]string{"": "", "forged": strings.Repeat("ab", 32)}
	for _, r := range operator.Roles {
		logins[string(r)] = o.enter(string(r))
	}
	logins["removed"] = func() string {
		if err := o.db.AddOperator(t.Context(), operator.Operator{Name: "gone", Role: operator.Admin, Password: hash}); err != nil {
			t.Fatal(err)
		}
		token := o.enter("gone")
		if err := o.db.RemoveOperator(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		return token
	}()
	paths := map[string]string{
		"{$}": "", "payouts": "payouts", "payouts/{project}/{session}": "payouts/acme/" + s.ID.String(), "balances": "balances", "alarms": "alarms",
		"reports": "reports", "reports/{project}/{day}/{format}": "reports/acme/2026-11-27/csv", "audit": "audit", "operators": "operators",
	}
	seen := 0
	for _, route := range o.routes() {
		method, pattern, _ := strings.Cut(route.pattern, " ")
		if method != http.MethodGet {
			continue // logout, below
		}
		path, ok := paths[strings.TrimPrefix(pattern, Root)]
		if !ok {
			t.Errorf("%s is not tried", pattern)
		}
		seen++
		for who, token := range logins {
			want := http.StatusSeeOther // to the login
			if role := operator.Role(who); role.Covers(operator.Viewer) {
				want = http.StatusForbidden
				if role.Covers(route.role) {
					want = http.StatusOK
				}
			}
			answer := o.get(Root+path, token)
			if path == "" && want == http.StatusOK {
				want = http.StatusSeeOther // to the payouts
			}
			if answer.StatusCode != want {
				t.Errorf("%s as %q: status %d, want %d", pattern, who, answer.StatusCode, want)
			}
			if to := answer.Header.Get("Location"); want == http.StatusSeeOther && path != "" && !strings.HasPrefix(to, Root+"login?next=") {
				t.Errorf("%s as %q leads to %s", pattern, who, to)
			}
			if text := body(answer); want != http.StatusOK && strings.Contains(text, "4242") {
				t.Errorf("%s as %q shows a payout", pattern, who)
			}
		}
	}
	if seen != len(paths) {
		t.Errorf("%d pages, want %d", seen, len(paths))
	}
	if answer := o.get(Root+"nowhere", ""); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("nobody learns which pages there are: status %d", answer.StatusCode)
	}
}

func TestLogin(t *testing.T) {
	o := newOffice(t)
	wrong, nobody := o.try("admin", "wrong"), o.try("nobody", password)
	if wrong.StatusCode != http.StatusUnauthorized || nobody.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d and %d", wrong.StatusCode, nobody.StatusCode)
	}
	if a, b := body(wrong), strings.ReplaceAll(body(nobody), "nobody", "admin"); a != b || !strings.Contains(a, "Name or password is wrong.") {
		t.Errorf("a wrong password and an unknown name look different:\n%s\n%s", a, b)
	}
	if len(wrong.Cookies()) > 0 || len(o.acts) > 0 {
		t.Errorf("cookies %v, acts %v", wrong.Cookies(), o.acts)
	}
	for name, change := range map[string]func(*http.Request){
		"": func(*http.Request) {}, "by a proxy": func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") },
	} {
		answer := o.try("admin", password, change)
		c := answer.Cookies()[0]
		if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != Root || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode ||
			c.Path != Root || c.Secure != (name != "") || c.MaxAge != int(operator.LoginLife.Seconds()) {
			t.Errorf("%s: status %d, cookie %+v", name, answer.StatusCode, c)
		}
	}
	if !slices.Equal(o.acts, []string{"console/admin console_login from 192.0.2.1", "console/admin console_login from 192.0.2.1"}) {
		t.Errorf("acts %q", o.acts)
	}
	o.fail = errors.New("no room")
	if answer := o.try("admin", password); answer.StatusCode != http.StatusInternalServerError || len(answer.Cookies()) > 0 {
		t.Errorf("a login that could not be written down: status %d", answer.StatusCode)
	}
	foreign := o.try("admin", password, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if foreign.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: status %d", foreign.StatusCode)
	}
	if long := o.try("admin", strings.Repeat("x", formBytesMax)); long.StatusCode != http.StatusUnauthorized {
		t.Errorf("a long password: status %d", long.StatusCode)
	}
}

// A login ends by the real clock, by the logout, and with a change of its operator.
func TestLoginEnds(t *testing.T) {
	o := newOffice(t)
	is := func(token string, want int, why string) {
		t.Helper()
		if got := o.get(Root+"balances", token).StatusCode; got != want {
			t.Errorf("%s: status %d, want %d", why, got, want)
		}
	}
	one, two, three := o.enter("admin"), o.enter("admin"), o.enter("viewer")
	leave := func(token, formToken string) *http.Response {
		return o.do(form(Root+"logout", url.Values{"form": {formToken}}), token)
	}
	for name, formToken := range map[string]string{"no token": "", "another's": operator.FormToken(two), "the login's": one} {
		if answer := leave(one, formToken); answer.StatusCode != http.StatusForbidden {
			t.Errorf("logout with %s: status %d", name, answer.StatusCode)
		}
	}
	is(one, http.StatusOK, "before the logout")
	answer := leave(one, operator.FormToken(one))
	if c := answer.Cookies(); answer.StatusCode != http.StatusSeeOther || len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("logout: status %d, cookies %v", answer.StatusCode, c)
	}
	is(one, http.StatusSeeOther, "after the logout")
	is(two, http.StatusOK, "the same operator elsewhere")
	if err := o.db.SetOperator(t.Context(), operator.Operator{Name: "admin", Role: operator.Viewer, Password: hash}); err != nil {
		t.Fatal(err)
	}
	is(two, http.StatusSeeOther, "after a change of the operator")

	o.clock = o.clock.Add(operator.LoginIdle - time.Microsecond)
	is(three, http.StatusOK, "at the last moment of its rest")
	o.clock = o.clock.Add(operator.LoginIdle)
	is(three, http.StatusSeeOther, "after it")
	is(three, http.StatusSeeOther, "again")
	four := o.enter("viewer")
	began := o.clock
	for ; o.clock.Sub(began) < operator.LoginLife-operator.LoginIdle; o.clock = o.clock.Add(operator.LoginIdle - keepGap) {
		is(four, http.StatusOK, "at work")
	}
	is(four, http.StatusOK, "at work")
	o.clock = began.Add(operator.LoginLife - time.Microsecond)
	is(four, http.StatusOK, "at the last moment of its day")
	o.clock = began.Add(operator.LoginLife)
	is(four, http.StatusSeeOther, "when its day is over")
}

// What nobody has seen pages by ends, whatever else there is: neither the form
// to log in nor the style prolongs a login. One of an earlier version has its
// end a day ahead, and gets the right one with the next page.
func TestLoginRests(t *testing.T) {
	o := newOffice(t)
	token := o.enter("viewer")
	o.clock = o.clock.Add(operator.LoginIdle - time.Minute)
	o.get(Root+"login", token)
	o.clock = o.clock.Add(time.Minute)
	if got := o.get(Root+"balances", token).StatusCode; got != http.StatusSeeOther {
		t.Errorf("status %d", got)
	}

	token = o.enter("viewer")
	if err := o.db.KeepLogin(t.Context(), operator.TokenHash(token), o.clock.Add(operator.LoginLife)); err != nil {
		t.Fatal(err)
	}
	o.get(Root+"balances", token)
	o.clock = o.clock.Add(operator.LoginIdle)
	if got := o.get(Root+"balances", token).StatusCode; got != http.StatusSeeOther {
		t.Errorf("of an earlier version: status %d", got)
	}
}

func TestPasswordsAreTriedSlowly(t *testing.T) {
	o := newOffice(t)
	from := func(address string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr = address + ":1" }
	}
	for n := range nameBurst {
		if got := o.try("admin", "wrong", from(fmt.Sprintf("192.0.2.%d", n))).StatusCode; got != http.StatusUnauthorized {
			t.Fatalf("try %d: status %d", n, got)
		}
	}
	if got := o.try("ADMIN", password, from("192.0.2.99")).StatusCode; got != http.StatusTooManyRequests {
		t.Errorf("one more under the name: status %d", got)
	}
	if got := o.try("viewer", password, from("192.0.2.0")).StatusCode; got != http.StatusSeeOther {
		t.Errorf("another name: status %d", got)
	}
	o.clock = o.clock.Add(nameEvery)
	if got := o.try("admin", password, from("192.0.2.0")).StatusCode; got != http.StatusSeeOther {
		t.Errorf("after a while: status %d", got)
	}
	for range nameBurst + 1 { // what is right is not held against the name
		o.enter("admin")
	}
	for n := range addressBurst {
		o.try(fmt.Sprintf("name%d", n), "wrong", from("198.51.100.7"))
	}
	if got := o.try("viewer", password, from("198.51.100.7")).StatusCode; got != http.StatusTooManyRequests {
		t.Errorf("one more from the address: status %d", got)
	}
	g := newGate(func() time.Time { return o.clock })
	for n := range triersMax {
		g.allow("192.0.2.1", fmt.Sprint(n))
	}
	if len(g.triers) > triersMax {
		t.Errorf("%d are remembered", len(g.triers))
	}
}

// Who has a network of IPv6 is one address, however many they take of it, and
// fills no memory with them; who comes through a proxy of ours is the one that
// it names.
func TestManyAddressesOfOneNetwork(t *testing.T) {
	o := newOffice(t)
	o.proxies = limit.Proxies{netip.MustParsePrefix("192.0.2.0/24")}
	try := func(name, from, through string) int {
		return o.try(name, "wrong", func(r *http.Request) {
			if r.RemoteAddr = net.JoinHostPort(from, "1"); through != "" {
				r.RemoteAddr = net.JoinHostPort(through, "1")
				r.Header.Set("X-Forwarded-For", from)
			}
		}).StatusCode
	}
	for n := range addressBurst {
		if got := try(fmt.Sprintf("name%d", n), fmt.Sprintf("2001:db8::%x", n), ""); got != http.StatusUnauthorized {
			t.Fatalf("try %d: status %d", n, got)
		}
	}
	for name, c := range map[string]struct {
		from, through string
		want          int
	}{
		"another address of the network":     {"2001:db8::ffff", "", http.StatusTooManyRequests},
		"the network through a proxy":        {"2001:db8::ffff", "192.0.2.1", http.StatusTooManyRequests},
		"another network":                    {"2001:db8:0:1::1", "", http.StatusUnauthorized},
		"another address through a proxy":    {"198.51.100.1", "192.0.2.1", http.StatusUnauthorized},
		"the network, claimed by a stranger": {"2001:db8::ffff", "203.0.113.1", http.StatusUnauthorized},
	} {
		if got := try(name, c.from, c.through); got != c.want {
			t.Errorf("%s: status %d, want %d", name, got, c.want)
		}
	}
}

// Behind a body in chunks nothing is read: it may have been hidden from a proxy.
func TestChunksEndTheConnection(t *testing.T) {
	o := newOffice(t)
	for name, tt := range map[string]struct {
		change func(*http.Request)
		closes bool
	}{
		"right":    {func(*http.Request) {}, false},
		"chunks":   {func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }, true},
		"HTTP/1.0": {func(r *http.Request) { r.ProtoMinor = 0 }, true},
	} {
		answer := o.try("admin", "wrong", tt.change)
		if closes := answer.Header.Get("Connection") == "close"; closes != tt.closes {
			t.Errorf("%s: closes %v", name, closes)
		}
	}
}

// FuzzAddress lets a browser ask for any address: what follows a login or a
// filter stays inside, and what a filter is not is refused.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{
		"/console/payouts?project=acme&state=paid&from=2026-03-02&before=7", "//evil.example/console/", "/console/\\evil", "/console/?before=-1", "\t//x/console/",
	} {
		f.Add(seed)
	}
	home := &url.URL{Scheme: "https", Host: "payoutd.example", Path: Root + "login"}
	f.Fuzz(func(t *testing.T, next string) {
		to := inside(next)
		u, err := home.Parse(to)
		if err != nil || u.Host != home.Host || u.Scheme != home.Scheme || !strings.HasPrefix(to, Root) || strings.ContainsFunc(to, unicode.IsControl) {
			t.Errorf("%q leads to %q", next, to)
		}
		_, query, _ := strings.Cut(next, "?")
		q, _ := url.ParseQuery(query)
		read, err := readFilter(q)
		if err != nil {
			if fault.CodeOf(err) != fault.Invalid {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		again, err := url.Parse(read.query(read.Before))
		if err != nil {
			t.Fatal(err)
		}
		read.ID = "" // of which there is one page
		if same, err := readFilter(again.Query()); err != nil || same != read {
			t.Errorf("%q: %+v became %+v, %v", query, read, same, err)
		}
	})
}

// After the login one comes to the page that was asked for, and to no other site.
func TestNextIsInside(t *testing.T) {
	for next, want := range map[string]string{
		"":                              Root,
		"/console/alarms?project=a%20":  "/console/alarms?project=a%20",
		"/console":                      Root,
		"/demo/":                        Root,
		"//evil.example/console/":       Root,
		"https://evil.example/console/": Root,
		"javascript:alert(1)":           Root,
		"/\\evil.example/console/":      Root,
		"/console/\\..\\evil":           Root,
		"\t//evil.example/console/":     Root,
		"/console/%zz":                  Root,
	} {
		if got := inside(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

var link = regexp.MustCompile(`href="/console/payouts/([a-z]+)/(ps_\d+)"`)

// walk follows the list to its end and returns the sessions in its order.
func (o *office) walk(query, login string) (found []string, pages int) {
	o.Helper()
	next := Root + "payouts" + query
	for next != "" {
		answer := o.get(next, login)
		text := body(answer)
		if answer.StatusCode != http.StatusOK {
			o.Fatalf("%s: status %d\n%s", next, answer.StatusCode, text)
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			found = append(found, m[1]+"/"+m[2])
		}
		next = ""
		if m := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(text); m != nil {
			next = strings.ReplaceAll(m[1], "&amp;", "&")
		}
		pages++
	}
	return found, pages
}

// The list has every payout once, the newest first, however it is narrowed.
func TestPayoutsArePaged(t *testing.T) {
	o := newOffice(t, "acme", "beta", "empty")
	type one struct {
		key     string
		project string
		state   session.State
		day     int
	}
	var all []one
	states := []session.State{session.Paid, session.Failed, session.Paid, session.Created, session.Unclear, session.Paid}
	for n := range 170 {
		p := []id.Project{"acme", "beta", "acme"}[n%3]
		state := states[n%len(states)]
		s := o.add(p, state, card(int64(n+1)))
		all = append(all, one{string(p) + "/" + s.ID.String(), string(p), state, o.clock.Add(3 * time.Hour).Day()})
		if n%40 == 39 {
			o.clock = o.clock.Add(12 * time.Hour)
		}
	}
	slices.Reverse(all)
	login := o.enter("viewer")
	for _, test := range []struct {
		query string
		is    func(one) bool
		pages int
	}{
		{"", func(one) bool { return true }, 4},
		{"?project=acme", func(a one) bool { return a.project == "acme" }, 3},
		{"?project=empty", func(one) bool { return false }, 1},
		{"?state=failed", func(a one) bool { return a.state == session.Failed }, 1},
		{"?state=paid&project=acme", func(a one) bool { return a.state == session.Paid && a.project == "acme" }, 2},
		{"?from=2026-11-29", func(a one) bool { return a.day >= 29 }, 0},
		{"?from=2026-11-29&to=2026-11-29", func(a one) bool { return a.day == 29 }, 0},
		{"?to=2026-11-28&state=paid", func(a one) bool { return a.day == 28 && a.state == session.Paid }, 0},
		{"?from=2027-01-01", func(one) bool { return false }, 1},
		{"?to=2020-01-01", func(one) bool { return false }, 1},
	} {
		var want []string
		for _, a := range all {
			if test.is(a) {
				want = append(want, a.key)
			}
		}
		got, pages := o.walk(test.query, login)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %d payouts, want %d\n got %v\nwant %v", test.query, len(got), len(want), got, want)
		}
		if test.pages > 0 && pages != test.pages {
			t.Errorf("%q: %d pages, want %d", test.query, pages, test.pages)
		}
		if len(want) > 0 && (len(want) == len(all)) != (test.query == "") {
			t.Errorf("%q narrows nothing", test.query)
		}
	}
	for _, query := range []string{"?state=lost", "?from=yesterday", "?to=2026-02-30", "?before=x", "?before=-1"} {
		if got := o.get(Root+"payouts"+query, login).StatusCode; got != http.StatusBadRequest {
			t.Errorf("%q: status %d", query, got)
		}
	}
	if got := o.get(Root+"payouts?project=nobody", login).StatusCode; got != http.StatusNotFound {
		t.Errorf("an unknown project: status %d", got)
	}
}

func TestPayoutsAreFound(t *testing.T) {
	o := newOffice(t, "acme", "beta")
	s := o.add("beta", session.Paid, card(1))
	o.add("beta", session.Paid, card(2))
	login := o.enter("viewer")
	there := Root + "payouts/beta/" + s.ID.String()
	for query, want := range map[string]string{
		"?id=" + s.ID.String():                         there,
		"?id=+" + s.Payouts[0].ID.String() + "%20":     there,
		"?project=beta&id=" + s.ID.String():            there,
		"?project=acme&id=" + s.ID.String():            "",
		"?project=acme&id=" + s.Payouts[0].ID.String(): "",
		"?id=ps_1":                   "",
		"?id=po_1":                   "",
		"?id=po_9223372036854775807": "",
		"?id=4242":                   "",
		"?id=" + url.QueryEscape(`"><script>`) + "&project=beta": "",
	} {
		answer := o.get(Root+"payouts"+query, login)
		if got := answer.Header.Get("Location"); got != want {
			t.Errorf("%s leads to %q, want %q", query, got, want)
		}
		if want == "" {
			if text := body(answer); answer.StatusCode != http.StatusOK || !strings.Contains(text, "Nothing has this ID.") || strings.Contains(text, "<script") {
				t.Errorf("%s: status %d\n%s", query, answer.StatusCode, text)
			}
		}
	}
	for _, path := range []string{"payouts/acme/" + s.ID.String(), "payouts/beta/ps_1", "payouts/beta/1", "payouts/nobody/" + s.ID.String()} {
		if got := o.get(Root+path, login).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s: status %d", path, got)
		}
	}
}

// TestOneOfManyProjects must be chosen.
func TestOneOfManyProjects(t *testing.T) {
	var projects []id.Project
	for n := range togetherMax + 1 {
		projects = append(projects, id.Project(fmt.Sprintf("p%02d", n)))
	}
	o := newOffice(t, projects...)
	o.add("p07", session.Paid, card(1))
	login := o.enter("viewer")
	if text := body(o.get(Root+"payouts", login)); !strings.Contains(text, "Choose one.") {
		t.Errorf("got\n%s", text)
	}
	if text := body(o.get(Root+"payouts?project=p07", login)); !strings.Contains(text, "/payouts/p07/ps_") {
		t.Errorf("got\n%s", text)
	}
}

// evil is what a partner or a rail may write, in every place where they can.
const evil = `</pre></td><script>alert(1)</script><img src=x onerror=alert(2)>"'` + "`" + ` 4242 4242 4242 4242`

// Whatever others write stays text, and no card number is shown.
func TestNothingRuns(t *testing.T) {
	o := newOffice(t, "acme")
	d := card(100_00)
	d.Recipient = evil
	d.Metadata, _ = json.Marshal(map[string]string{evil: evil})
	s := o.add("acme", session.Failed, d)
	o.write("acme", func(c *store.Changes, _ *ledger.Book) {
		s, err := o.db.Session(t.Context(), store.SessionKey{Project: "acme", Session: s.ID})
		if err != nil {
			t.Fatal(err)
		}
		p := &s.Payouts[0]
		p.Receipt = &session.Receipt{State: session.Registered, ID: evil, Link: "javascript:alert(5)//" + evil}
		p.Failure, p.Rail, p.Reference, p.Info.RRN = &session.Failure{Code: fault.Code(evil), Text: evil}, evil, evil, evil
		p.Refunds = []session.Refund{{ID: 5, Status: session.RefundRefused, Reference: evil, Amount: money.Amount{Minor: 1, Currency: money.RUB}}}
		s.Events = 1
		c.Sessions = append(c.Sessions, s)
		c.Alarms = append(c.Alarms, store.Alarm{ID: 1, Project: "acme", Session: s.ID, Kind: evil, Text: evil, At: o.clock})
		c.Events = append(c.Events, webhook.Event{Project: "acme", Session: s.ID, N: 1, ID: 9, Type: evil, Status: webhook.GivenUp, Body: []byte("{}"), CreatedAt: o.clock})
		c.Deliveries = append(c.Deliveries, webhook.Attempt{Project: "acme", Session: s.ID, N: 1, No: 1, At: o.clock, Error: evil})
		c.Acts = append(c.Acts, store.Act{ID: 1, At: o.clock, Actor: evil, What: evil, Subject: evil, Text: evil})
	})
	login := o.enter("admin")
	for _, path := range []string{"payouts", "payouts/acme/" + s.ID.String(), "alarms", "audit", "alarms?project=" + url.QueryEscape(evil), "payouts?id=" + url.QueryEscape(evil)} {
		text := body(o.get(Root+path, login))
		for _, bad := range []string{"<script", "javascript:", "<img", "</pre></td>", "4242 4242 4242 4242"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if strings.HasPrefix(path, "payouts/") && (!strings.Contains(text, "&lt;script&gt;alert(1)") || !strings.Contains(text, "4242 42** **** 4242")) {
			t.Errorf("%s does not show what was written:\n%s", path, text)
		}
	}
	for _, r := range []*http.Response{
		o.try(evil, evil), o.get(Root+"login?next="+url.QueryEscape(evil), ""), o.get(Root+"payouts?state="+url.QueryEscape(evil), login),
	} {
		if text := body(r); strings.Contains(text, "<script") || strings.Contains(text, "<img") {
			t.Errorf("%s", text)
		}
	}
}

// A session shows what was booked of it, wherever in the book that stands.
func TestSessionShowsItsEntries(t *testing.T) {
	o := newOffice(t, "acme")
	began := o.clock
	deposits := func(n int) {
		for range n {
			o.write("acme", func(c *store.Changes, b *ledger.Book) {
				for range 250 {
					o.clock = o.clock.Add(time.Second)
					e, err := b.Post(ledger.Deposit(1_000_00, fmt.Sprint(o.n, b.Entries)), o.clock)
					if err != nil {
						t.Fatal(err)
					}
					c.Entries = append(c.Entries, e)
				}
			})
		}
	}
	deposits(4)
	s := o.add("acme", session.Awaiting, card(100_00))
	p := &s.Payouts[0]
	post := func(e ledger.Entry) {
		o.write("acme", func(c *store.Changes, b *ledger.Book) {
			e.Session, e.Payout = s.ID, p.ID
			e, err := b.Post(e, o.clock)
			if err != nil {
				t.Fatal(err)
			}
			c.Entries = append(c.Entries, e)
		})
	}
	save := func(state session.State) {
		o.write("acme", func(c *store.Changes, _ *ledger.Book) {
			now, err := o.db.Session(t.Context(), store.SessionKey{Project: "acme", Session: s.ID})
			if err != nil {
				t.Fatal(err)
			}
			now.State, now.Payouts[0] = state, *p
			now.Payouts[0].State = state
			c.Sessions = append(c.Sessions, now)
		})
	}
	page := func(kinds ...string) {
		t.Helper()
		text := body(o.get(Root+"payouts/acme/"+s.ID.String(), o.enter("viewer")))
		_, text, _ = strings.Cut(text, "Ledger")
		var got []string
		for _, m := range regexp.MustCompile(`<tr><td>(\w+)<span`).FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, kinds) {
			t.Errorf("entries %v, want %v", got, kinds)
		}
		if strings.Contains(text, "lie further away") {
			t.Error("some are missing")
		}
	}
	o.clock = o.clock.Add(time.Second)
	post(ledger.Hold(100_00, 30))
	page("hold")
	deposits(4)
	p.FinishedAt = o.clock
	post(ledger.Settle(100_00, 30, "cards"))
	save(session.Paid)
	page("hold", "settle")
	deposits(12)
	p.Refunds = []session.Refund{{ID: 7, Status: session.RefundBooked, Amount: money.Amount{Minor: 100_00, Currency: money.RUB}, FinishedAt: o.clock}}
	post(ledger.Return(100_00, 0, "cards"))
	save(session.Returned)
	page("hold", "settle", "return")

	p.Refunds[0].FinishedAt = began.Add(-time.Hour) // where it is not
	save(session.Returned)
	if text := body(o.get(Root+"payouts/acme/"+s.ID.String(), o.enter("viewer"))); !strings.Contains(text, "lie further away") {
		t.Error("that an entry is missing is not said")
	}
}

// What a project has in accounts of its own is shown with its wallet, and of a
// payout and its entries, which of them they are of.
func TestOwnAccounts(t *testing.T) {
	const number = "40702810900000000131"
	o := newOffice(t, "acme", "beta")
	d := card(100_00)
	d.Source, d.Account = instrument.RKO, number
	own, wallet, draft := o.add("acme", session.Awaiting, d), o.add("acme", session.Awaiting, card(1)), o.add("acme", session.Created, d)
	o.write("acme", func(c *store.Changes, b *ledger.Book) {
		a := &store.Account{
			OwnAccount: ledger.OwnAccount{Project: "acme", Number: number},
			Owner:      partner.Owner{Type: instrument.RKO, Name: "acme", BIK: "044525131"}, CreatedAt: o.clock,
		}
		post := func(e ledger.Entry, of *session.Session, to *ledger.OwnAccount) {
			if of != nil {
				e.Session, e.Payout = of.ID, of.Payouts[0].ID
			}
			var err error
			if to != nil {
				e, err = b.PostTo(to, e, o.clock)
			} else {
				e, err = b.Post(e, o.clock)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Entries = append(c.Entries, e)
		}
		post(ledger.Deposit(1_000_00, "d1"), nil, nil)
		post(ledger.Deposit(7_000_00, "d2"), nil, &a.OwnAccount)
		post(ledger.Hold(100_00, 30), own, &a.OwnAccount)
		post(ledger.Hold(1, 30), wallet, nil)
		c.Accounts = append(c.Accounts, a)
	})
	login := o.enter("viewer")
	page := func(path string) string {
		return strings.ReplaceAll(body(o.get(Root+path, login)), "\u00a0", " ")
	}

	balances := page("balances")
	for _, want := range []string{
		`acme</a></th><td class="num strong">999.69 ₽</td><td class="num">0.31 ₽</td>`,
		`<th scope="row">Settlement account<span class="sub">` + number + `</span></th><td class="num strong">6,899.70 ₽</td><td class="num">100.30 ₽</td>`,
		`<th scope="row">All together</th><td class="num">7,899.39 ₽</td><td class="num">100.61 ₽</td>`,
	} {
		if !strings.Contains(balances, want) {
			t.Errorf("no %s in\n%s", want, balances)
		}
	}
	if n := strings.Count(balances, "Settlement account"); n != 1 {
		t.Errorf("%d own accounts, want one", n)
	}

	from := "<dt>Paid from</dt><dd>Settlement account <code>" + number + "</code></dd>"
	entry := regexp.MustCompile(`<tr><td>hold<span class="sub">№ 3 · ` + number + `</span>`)
	if text := page("payouts/acme/" + own.ID.String()); !strings.Contains(text, from) || !entry.MatchString(text) {
		t.Errorf("it is not said what is paid from:\n%s", text)
	}
	if text := page("payouts/acme/" + draft.ID.String()); !strings.Contains(text, from) {
		t.Errorf("it is not said what will be paid from:\n%s", text)
	}
	if text := page("payouts/acme/" + wallet.ID.String()); strings.Contains(text, "Paid from") || strings.Contains(text, number) ||
		!strings.Contains(text, `<tr><td>hold<span class="sub">№ 4</span>`) {
		t.Errorf("a payout from the wallet:\n%s", text)
	}
}

func TestReports(t *testing.T) {
	o := newOffice(t, "acme", "beta")
	o.clock = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	s := o.add("acme", session.Paid, card(100_00))
	o.write("acme", func(c *store.Changes, b *ledger.Book) {
		for _, e := range []ledger.Entry{ledger.Deposit(1_000_00, "d"), ledger.Hold(100_00, 30), ledger.Settle(100_00, 30, "cards")} {
			if e.Kind != ledger.KindDeposit {
				e.Session, e.Payout = s.ID, s.Payouts[0].ID
			}
			e, err := b.Post(e, o.clock)
			if err != nil {
				t.Fatal(err)
			}
			c.Entries = append(c.Entries, e)
		}
	})
	o.clock = o.clock.Add(24 * time.Hour)
	login := o.enter("accountant")
	o.acts = nil
	answer := o.get(Root+"reports/acme/2026-11-27/csv", login)
	if text := body(answer); answer.StatusCode != http.StatusOK || strings.Count(text, "\n") != 2 || !strings.Contains(text, ",100.30,100.00,0.30,RUB,") ||
		answer.Header.Get("Content-Disposition") != `attachment; filename="acme_2026-11-27_2026-11-27.csv"` {
		t.Errorf("status %d, %v\n%s", answer.StatusCode, answer.Header, text)
	}
	answer = o.get(Root+"reports/acme/2026-11-26/xlsx", login)
	if text := body(answer); !strings.HasPrefix(text, "PK") || !strings.Contains(answer.Header.Get("Content-Type"), "spreadsheetml") {
		t.Errorf("%v", answer.Header)
	}
	answer = o.get(Root+"reports/beta/2026-11-27/csv", login)
	if text := body(answer); text != "" || answer.StatusCode != http.StatusOK || !strings.Contains(answer.Header.Get("Content-Disposition"), "beta_") {
		t.Errorf("an empty one: status %d, %v, %q", answer.StatusCode, answer.Header, text)
	}
	if want := []string{
		"acme console/accountant report_download acme_2026-11-27_2026-11-27.csv", "acme console/accountant report_download acme_2026-11-26_2026-11-26.xlsx",
		"beta console/accountant report_download beta_2026-11-27_2026-11-27.csv",
	}; !slices.Equal(o.acts, want) {
		t.Errorf("acts %q", o.acts)
	}
	for path, want := range map[string]int{
		"reports?project=acme":                 http.StatusOK,
		"reports?project=acme&date=2026-11-28": http.StatusOK,
		"reports?project=nobody":               http.StatusNotFound,
		"reports?project=acme&date=2026-11-29": http.StatusBadRequest,
		"reports?project=acme&date=x":          http.StatusBadRequest,
		"reports/acme/2026-11-29/csv":          http.StatusBadRequest,
		"reports/acme/x/csv":                   http.StatusBadRequest,
		"reports/acme/2026-11-27/pdf":          http.StatusNotFound,
		"reports/nobody/2026-11-27/csv":        http.StatusNotFound,
	} {
		if got := o.get(Root+path, login).StatusCode; got != want {
			t.Errorf("%s: status %d, want %d", path, got, want)
		}
	}
	o.fail = errors.New("no room")
	if answer := o.get(Root+"reports/acme/2026-11-27/csv", login); answer.StatusCode != http.StatusInternalServerError || strings.Contains(body(answer), "RUB") {
		t.Errorf("a download that could not be written down: status %d", answer.StatusCode)
	}
}

// Every page says everything in both languages.
func TestWords(t *testing.T) {
	o := newOffice(t, "acme", "beta")
	var paths []string
	for n, state := range session.States {
		d := card(int64(n + 1))
		if state == session.Paid {
			d.Amount = &money.Amount{Minor: 1, Currency: money.USD}
		}
		s := o.add("acme", state, d)
		paths = append(paths, "payouts/acme/"+s.ID.String())
	}
	paths = append(paths, "payouts", "payouts?project=beta", "payouts?id=ps_1", "payouts?state=lost", "balances", "alarms", "audit", "operators", "reports", "reports?project=acme", "nowhere")
	login := o.enter("admin")
	for _, lang := range []string{"en", "ru"} {
		asked := func(r *http.Request) { r.Header.Set("Accept-Language", lang+"-XX,fr;q=0.5") }
		for _, path := range append(paths, "login") {
			answer := o.get(Root+path, login, asked)
			text := body(answer)
			if m := regexp.MustCompile(`\[[a-z_A-Z0-9]+\]`).FindString(text); m != "" {
				t.Errorf("%s in %s has no words for %s", path, lang, m)
			}
			if answer.Header.Get("Content-Language") != lang || !strings.Contains(text, `<html lang="`+lang+`">`) {
				t.Errorf("%s is not in %s", path, lang)
			}
		}
	}
	for _, l := range languages {
		for key := range languages[0].words {
			if l.words[key] == "" {
				t.Errorf("%s has no words for %s", l.tag, key)
			}
		}
		if len(l.words) != len(languages[0].words) {
			t.Errorf("%s has %d words, want %d", l.tag, len(l.words), len(languages[0].words))
		}
		for _, s := range session.ReceiptStates {
			if l.words["receipt_"+string(s)] == "" {
				t.Errorf("%s has no words for the state %s of a receipt", l.tag, s)
			}
		}
		for _, s := range instrument.Sources {
			if l.words["source_"+string(s)] == "" {
				t.Errorf("%s has no words for the source %s", l.tag, s)
			}
		}
		for _, s := range session.States {
			if l.words["state_"+string(s)] == "" {
				t.Errorf("%s has no words for the state %s", l.tag, s)
			}
		}
	}
	answer := o.get(Root+"alarms?project=acme&lang=ru", login)
	if c := answer.Cookies(); answer.Header.Get("Location") != Root+"alarms?project=acme" || len(c) != 1 || c[0].Value != "ru" {
		t.Errorf("choosing a language leads to %q with %v", answer.Header.Get("Location"), c)
	}
	if text := body(o.get(Root+"alarms", login, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieLang, Value: "ru"}) })); !strings.Contains(text, "Тревоги") {
		t.Error("the language that was chosen is forgotten")
	}
}

func TestMoney(t *testing.T) {
	en, ru := &visit{Lang: "en"}, &visit{Lang: "ru"}
	for _, test := range []struct {
		amount money.Amount
		en, ru string
	}{
		{money.Amount{Minor: 0, Currency: money.RUB}, "0.00 ₽", "0,00 ₽"},
		{money.Amount{Minor: 5, Currency: money.RUB}, "0.05 ₽", "0,05 ₽"},
		{money.Amount{Minor: 999_99, Currency: money.RUB}, "999.99 ₽", "999,99 ₽"},
		{money.Amount{Minor: 1_000_00, Currency: money.USD}, "1,000.00 USD", "1 000,00 USD"},
		{money.Amount{Minor: -1_234_567_89, Currency: money.RUB}, "−1,234,567.89 ₽", "−1 234 567,89 ₽"},
	} {
		if got := strings.ReplaceAll(en.Money(test.amount), "\u00a0", " "); got != test.en {
			t.Errorf("%v: %q, want %q", test.amount, got, test.en)
		}
		if got := strings.ReplaceAll(ru.Money(test.amount), "\u00a0", " "); got != test.ru {
			t.Errorf("%v: %q, want %q", test.amount, got, test.ru)
		}
	}
}

// A store that does not answer is said to be so, and nothing of why.
func TestStoreIsGone(t *testing.T) {
	o := newOffice(t, "acme")
	login := o.enter("admin")
	if err := o.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"payouts", "balances", "reports"} {
		answer := o.get(Root+path, login)
		if text := body(answer); answer.StatusCode != http.StatusServiceUnavailable || strings.Contains(text, "payoutd.db") || strings.Contains(text, "sql") {
			t.Errorf("%s: status %d\n%s", path, answer.StatusCode, text)
		}
	}
}

// archive takes all sessions of acme out of the database.
func (o *office) archive() {
	o.Helper()
	aged, _, err := o.db.Aged(o.Context(), "acme", 0, o.clock.Add(time.Hour), 100)
	if err != nil {
		o.Fatal(err)
	}
	var leaving []store.Leaving
	for _, d := range aged {
		k := store.SessionKey{Project: "acme", Session: d.Session.ID}
		leaving = append(leaving, store.Leaving{Archived: store.Archived{
			SessionKey: k, Archive: 5, Print: sha256.Sum256(d.Record), State: d.Session.State, Events: len(d.Events), EndedAt: d.Session.UpdatedAt,
		}})
	}
	if left, err := o.db.TakeOut(o.Context(), "acme", leaving); err != nil || len(left) > 0 || len(leaving) == 0 {
		o.Fatalf("%v left of %d, %v", left, len(leaving), err)
	}
}

// meanwhile runs once, behind the session that is read next.
type meanwhile struct {
	store.Store
	run func()
}

func (m *meanwhile) Session(ctx context.Context, k store.SessionKey) (*session.Session, error) {
	s, err := m.Store.Session(ctx, k)
	if run := m.run; run != nil {
		m.run = nil
		run()
	}
	return s, err
}

// An archived session is said to be in its file: it is not shown as one that
// never was, nor half of it where it was archived while it was read.
func TestArchivedSession(t *testing.T) {
	o := newOffice(t, "acme")
	s := o.add("acme", session.Paid, card(1))
	k := store.SessionKey{Project: s.Project, Session: s.ID}
	if err := o.db.Commit(t.Context(), store.Reads{Sessions: []store.SessionKey{k}}, func(rows *store.Rows) (*store.Changes, error) {
		o.n++
		now := rows.Sessions[k]
		now.Events = 1
		return &store.Changes{
			Batch: id.Batch(o.n), Sessions: []*session.Session{now},
			Events: []webhook.Event{{Project: k.Project, Session: k.Session, N: 1, ID: 9, Seq: 1, Type: "payment_finished", Status: webhook.Delivered, CreatedAt: o.clock}},
		}, nil
	}); err != nil {
		t.Fatal(err)
	}
	login := o.enter("viewer")
	there := Root + "payouts/acme/" + s.ID.String()
	if answer := o.get(there, login); answer.StatusCode != http.StatusOK || !strings.Contains(body(answer), "payment_finished") {
		t.Fatalf("before: status %d", answer.StatusCode)
	}
	o.store = &meanwhile{o.db, o.archive}
	for _, when := range []string{"while it is read", "before"} {
		answer := o.get(there, login)
		if text := body(answer); answer.StatusCode != http.StatusGone || !strings.Contains(text, "2026-11-28") || !strings.Contains(text, "acme_ar_5.jsonl.gz") {
			t.Errorf("archived %s: status %d\n%s", when, answer.StatusCode, text)
		}
	}
	if got := o.get(Root+"payouts?id="+s.ID.String(), login).Header.Get("Location"); got != there {
		t.Errorf("looked for it: leads to %q, want %q", got, there)
	}
	if got := o.get(Root+"payouts/acme/ps_1", login).StatusCode; got != http.StatusNotFound {
		t.Errorf("one that never was: status %d", got)
	}
}
