package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/sign"
)

// widgetLab is a sandbox, seen from a partner's server and a person's browser.
type widgetLab struct {
	*testing.T
	url, widgets string
	key          sign.PrivateKey
}

func newWidgetLab(t *testing.T) *widgetLab {
	t.Helper()
	data := t.TempDir()
	url, _ := startServer(t, "sandbox", "--data", data, "--listen", "127.0.0.1:0")
	l := &widgetLab{T: t, url: url}
	_, values := get(t, url+"/sandbox/values")
	found := regexp.MustCompile(`"kind":"widget","value":"([^"]+)"`).FindStringSubmatch(values)
	if found == nil {
		t.Fatalf("no widget among the values: %s", values)
	}
	l.widgets = found[1]
	pem, err := os.ReadFile(filepath.Join(data, "demo", "private.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if l.key, err = sign.ParsePrivateKey(pem); err != nil {
		t.Fatal(err)
	}
	return l
}

// post sends a body with headers in pairs.
func (l *widgetLab) post(url, body string, header ...string) (int, string) {
	l.Helper()
	r, err := http.NewRequestWithContext(l.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		l.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		l.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		l.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// partner makes a signed call.
func (l *widgetLab) partner(path, body string) string {
	l.Helper()
	signature, err := l.key.Sign([]byte(body))
	if err != nil {
		l.Fatal(err)
	}
	status, answer := l.post(l.url+path, body, sign.HeaderProject, "demo", sign.HeaderSign, signature)
	if status != http.StatusOK {
		l.Fatalf("%s: %d %s", path, status, answer)
	}
	return answer
}

func (l *widgetLab) token(widget string) string {
	l.Helper()
	var answer struct {
		Token string `json:"public_token"`
	}
	if err := json.Unmarshal([]byte(l.partner("/api/v1/token", widget)), &answer); err != nil {
		l.Fatal(err)
	}
	return answer.Token
}

// call is what the frame does; want stands in its answer.
func (l *widgetLab) call(path, token, fields, want string) string {
	l.Helper()
	_, answer := l.post(l.widgets+path, fmt.Sprintf(`{"public_token":%q,%s}`, token, fields), "Sec-Fetch-Site", "same-origin")
	if !strings.Contains(answer, want) {
		l.Errorf("%s %s: %s, want %s", path, fields, answer, want)
	}
	return answer
}

const (
	forCards  = `{"tokenize_widget":{"access":true}}`
	forPerson = `{"self_employed_widget":{"tax_reference":"500100732259"}}`
	card      = `"number":"4242424242424242"`
)

func TestWidgets(t *testing.T) {
	l := newWidgetLab(t)

	token := l.token(forCards)
	l.call("/v1/card", token, `"number":"4242424242424241"`, `"code":"invalid_request"`)
	hash := regexp.MustCompile(`"number_hash":"([0-9a-f]{64})"`).FindStringSubmatch(l.call("/v1/card", token, card, `"last4":"4242"`))
	if hash == nil {
		t.Fatal("no hash")
	}
	l.call("/v1/card", token, card, `"code":"token_used"`)
	if info := l.partner("/api/v1/token/info", `{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"`+hash[1]+`"}}}`); !strings.Contains(info, `"last4":"4242"`) {
		t.Errorf("the hash is not known: %s", info)
	}

	token = l.token(forCards)
	l.call("/v1/bank-account", token, `"bik":"044525974","account":"4081"`, `account: must be 20 digits`)
	l.call("/v1/bank-account", token, `"bik":"044525974","account":"40817810913100000001"`, `"masked_account":"40817***0001"`)

	tester := l.token(forCards)
	for range 10 {
		l.call("/v1/card", tester, `"number":"4242424242424241"`, `"code":"invalid_request"`)
	}
	l.call("/v1/card", tester, card, `"code":"too_many"`)

	l.call("/v1/card", strings.Repeat("0", 64), card, `"code":"not_found"`)
	l.call("/v1/card", l.token(forPerson), card, `"code":"authorization_error"`)

	old := l.token(forCards)
	if status, answer := l.post(l.url+"/sandbox/clock", `{"advance":"25h"}`); status != http.StatusOK {
		t.Fatal(answer)
	}
	l.call("/v1/card", old, card, `"code":"token_expired"`)
}

func TestLinkWidget(t *testing.T) {
	l := newWidgetLab(t)
	const link, state = "/v1/self-employed/link", "/v1/self-employed/state"

	token := l.token(forPerson)
	l.call(state, token, `"x":0`, `"state":"none"`)
	l.call(link, token, `"tax_reference_or_phone":"771310004106"`, `not the person of this token`)
	l.call(link, token, `"tax_reference_or_phone":"500100732259"`, `"state":"requested"`)
	l.call(state, token, `"x":0`, `"state":"requested"`)
	if status, answer := l.post(l.url+"/sandbox/tax/500100732259", `{"decision":"reject"}`); status != http.StatusOK {
		t.Fatal(answer)
	}
	l.call(state, token, `"x":0`, `"state":"rejected"`)
	l.call(link, token, `"tax_reference_or_phone":"79990001310"`, `"state":"requested"`)
	if status, answer := l.post(l.url+"/sandbox/tax/500100732259", `{"decision":"confirm"}`); status != http.StatusOK {
		t.Fatal(answer)
	}
	l.call(state, token, `"x":0`, `"state":"linked"`)
	l.call(state, token, `"x":0`, `"code":"token_used"`)
	l.call(link, token, `"tax_reference_or_phone":"500100732259"`, `"code":"token_used"`)

	asked := l.partner("/api/v1/npd/check", `{"tax_reference":"500100732259"}`)
	asked = regexp.MustCompile(`"request_id":"npd-[0-9]+"`).FindString(asked)
	if got := l.partner("/api/v1/npd/request/status", "{"+asked+"}"); !strings.Contains(got, `"is_linked":true`) {
		t.Errorf("the check says %s", got)
	}

	l.call(link, l.token(forCards), `"tax_reference_or_phone":"500100732259"`, `"code":"authorization_error"`)
	l.call(link, l.token(`{"self_employed_widget":{"tax_reference":"771310004353"}}`), `"tax_reference_or_phone":"771310004353"`, `"status":"error"`)
}

// The root of a sandbox leads to what is there.
func TestHome(t *testing.T) {
	l := newWidgetLab(t)
	_, page := get(t, l.url+"/")
	links := regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 4 {
		t.Errorf("%d links: %s", len(links), page)
	}
	for _, link := range links {
		if status, _ := get(t, l.url+link[1]); status != http.StatusOK {
			t.Errorf("%s: answered %d", link[1], status)
		}
	}
}

// Of a server that has no widgets, and of one whose tax service is not there.
func TestWidgetFlags(t *testing.T) {
	url, _ := startServer(t, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--sandbox-rails")
	if _, values := get(t, url+"/sandbox/values"); strings.Contains(values, `"widget"`) {
		t.Error("a server without --widget-listen names widgets")
	}
	for _, path := range []string{"/", "/demo/"} {
		if status, _ := get(t, url+path); status != http.StatusNotFound {
			t.Errorf("a server that is no sandbox answers %d for %s", status, path)
		}
	}
	var stderr strings.Builder
	p := &program{stdout: io.Discard, stderr: &stderr, name: "payoutd"}
	if code := p.run(t.Context(), []string{"serve", "--data", t.TempDir(), "--widget-proxy", "10.0.0.1"}); code != exitUsage || !strings.Contains(stderr.String(), "no network such as") {
		t.Errorf("code %d, %s", code, stderr.String())
	}
}

// The whole way: what a person types becomes a hash or a token, by which the
// partner pays at once, and once more days later.
func TestPayoutsByWhatWidgetsGave(t *testing.T) {
	l := newWidgetLab(t)
	partner, err := client.New(l.url, "demo", l.key)
	if err != nil {
		t.Fatal(err)
	}
	public := func() string {
		t.Helper()
		token, err := partner.Token(t.Context(), client.ForCardOrAccount())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	given := regexp.MustCompile(`"(?:number_hash|token)":"([0-9a-f]{64})"`)
	hash := given.FindStringSubmatch(l.call("/v1/card", public(), card, `"last4":"4242"`))[1]
	token := given.FindStringSubmatch(l.call("/v1/bank-account", public(), `"bik":"044525974","account":"40817810913100000001"`, `"masked_account":"40817***0001"`))[1]

	for _, later := range []string{"1s", "73h", "8760h"} {
		if status, answer := l.post(l.url+"/sandbox/clock", fmt.Sprintf(`{"advance":%q}`, later)); status != http.StatusOK {
			t.Fatal(answer)
		}
		if info, err := partner.TokenInfo(t.Context(), client.AboutCardHash(hash)); err != nil || info.Last4 != "4242" || info.Brand != "visa" || info.NumberHash != hash {
			t.Errorf("after %s the hash is of %+v, %v", later, info, err)
		}
		if info, err := partner.TokenInfo(t.Context(), client.AboutAccountToken(token)); err != nil || info.MaskedAccount != "40817***0001" {
			t.Errorf("after %s the token is of %+v, %v", later, info, err)
		}
		for name, to := range map[string]*client.Details{
			"hash":  client.ToCardHash(hash),
			"token": client.ToAccount(client.RussianAccount{Token: token, FullName: "Anna Petrova", Description: "Earnings"}),
		} {
			s, err := partner.InitPayout(t.Context(), client.Request{
				Details: to, Amount: &client.Amount{Minor: 150_00, Currency: "rub"},
				Participants: &client.Participants{Recipient: &client.Person{FullName: "Anna Petrova"}},
			})
			if err != nil {
				t.Fatalf("after %s by the %s: %v", later, name, err)
			}
			for _, until := range []string{"ready_to_confirm", "payment_finished"} {
				if until == "payment_finished" {
					if _, err := partner.Confirm(t.Context(), s.ID); err != nil {
						t.Fatal(err)
					}
				}
				l.hears(until, s.ID)
			}
			if s, err = partner.Status(t.Context(), s.ID); err != nil || s.Status != client.SessionAccepted {
				t.Errorf("after %s by the %s it ended %q, %v", later, name, s.Status, err)
			}
		}
	}
}

// hears waits for a webhook about a session in the partner's inbox.
func (l *widgetLab) hears(kind, session string) {
	l.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		var inbox []struct {
			Type     string `json:"type"`
			Session  string `json:"session_id"`
			Verified bool   `json:"verified"`
		}
		_, b := get(l.T, l.url+"/sandbox/inbox/demo")
		if err := json.Unmarshal([]byte(b), &inbox); err != nil {
			l.Fatal(err)
		}
		for _, d := range inbox {
			if d.Type == kind && d.Session == session {
				if !d.Verified {
					l.Errorf("%s of %s has a wrong signature", kind, session)
				}
				return
			}
		}
	}
	l.Fatalf("no %s of %s came", kind, session)
}
