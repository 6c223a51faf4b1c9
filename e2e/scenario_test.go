package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The sandbox's promises, and what is asserted of them: machines that run tests
// have other things to do.
const (
	awaitsWithin   = 500 * time.Millisecond // from start to next_action
	finishesWithin = time.Second            // from confirm to payment_finished
	loosely        = 30 * time.Second
)

// methods are payout_details as a partner writes them; each is paid at once.
var methods = []struct{ name, details string }{
	{"card", `{"type":"card","card":{"type":"bank_card","bank_card":{"number":"4242424242424242"}}}`},
	{"account", `{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"bik":"044525974","account":"40817810500000012345","full_name":"Соколова Марина Игоревна","description":"Оплата по договору 131"}}}`},
	{"fps", `{"type":"bank_account","bank_account":{"system_type":"faster_payment_system","faster_payment_system":{"phone":"79990001310","bank_id":"100000000131","description":"Оплата по договору 131"}}}`},
	{"wallet", `{"type":"wallet","wallet":{"type":"yoomoney","yoomoney":{"account":"4100110000131"}}}`},
}

// TestScenario plays what a partner does, by a stranger who has openssl and an
// HTTP client, and nothing of ours.
func TestScenario(t *testing.T) {
	data := t.TempDir()
	server := start(t, "serve", "--sandbox-rails", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "warn")
	rsa := newStranger(t, server, data, "acme-rsa", rsaPair, serverRSA)
	p256 := newStranger(t, server, data, "acme-p256", p256Pair, serverP256, "--server-key", "p256")
	single := newStranger(t, server, data, "acme-single", p256Pair, serverP256, "--server-key", "p256", "--single-request")

	var took latencies
	for _, m := range methods {
		t.Run("main scenario by "+m.name+" in v1", func(t *testing.T) { rsa.with(t, 1).mainScenario(m.details, &took) })
		t.Run("main scenario by "+m.name+" in v2", func(t *testing.T) { p256.with(t, 2).mainScenario(m.details, &took) })
	}
	t.Run("init in one call", func(t *testing.T) { p256.with(t, 2).init() })
	t.Run("single request", func(t *testing.T) { single.with(t, 2).singleRequest() })
	t.Run("cancel before start", func(t *testing.T) { rsa.with(t, 2).cancelBeforeStart() })
	t.Run("cancel while awaiting", func(t *testing.T) { p256.with(t, 1).cancelWhileAwaiting() })
	t.Run("FPS verification", func(t *testing.T) { p256.with(t, 2).verifyFPS() })
	t.Run("insufficient balance", func(t *testing.T) { p256.with(t, 2).insufficientBalance() })
	t.Run("doubled slashes", func(t *testing.T) { rsa.with(t, 2).doubledSlashes() })
	t.Run("empty arrays for empty objects", func(t *testing.T) { rsa.with(t, 1).emptyArrays() })
	t.Run("wrong signatures", func(t *testing.T) { rsa.with(t, 2).wrongSignatures(p256) })
	t.Run("confirm time-out", func(t *testing.T) { rsa.with(t, 2).confirmTimeout() })
	run(t, "check", "--data", data)
	t.Log(took.String())
}

// latencies are how long the sandbox took for what it makes promises about.
type latencies struct{ awaits, finishes []time.Duration }

func (l *latencies) String() string {
	show := func(d []time.Duration, promise time.Duration) string {
		if len(d) == 0 {
			return "not measured"
		}
		slices.Sort(d)
		return fmt.Sprintf("median %s, longest %s, promised %s",
			d[len(d)/2].Round(time.Millisecond), d[len(d)-1].Round(time.Millisecond), promise)
	}
	return fmt.Sprintf("from start to next_action: %s; from confirm to payment_finished: %s",
		show(l.awaits, awaitsWithin), show(l.finishes, finishesWithin))
}

// mainScenario creates a session, starts a payout in it, confirms it when it is
// asked to, and sees it end.
func (s *stranger) mainScenario(details string, took *latencies) {
	s.t.Helper()
	created := s.ok("session/create", s.fields(``))
	s.want(created, "created", "", "")
	started := s.ok("session/start/payout", s.fields(`"session_id":%q,%q:%s,%s`, created.Session.ID, s.names().details, details, sum(150_00)))
	began := time.Now()
	if started.Session.ID != created.Session.ID || started.Session.Status != "in_progress" {
		s.t.Fatalf("start answered %s", started.raw)
	}
	awaits := s.until(started, func(a answer) bool { return a.Session.NextAction == "confirm" })
	took.awaits = append(took.awaits, s.within(loosely, began))
	s.want(awaits, "in_progress", "pending", "")
	s.named(s.webhook(started, "ready_to_confirm"))

	began = time.Now()
	confirmed := s.ok("session/confirm", s.about(started))
	s.want(confirmed, "in_progress", "pending", "")
	if confirmed.Session.NextAction != "" {
		s.t.Errorf("confirm asks for another one: %s", confirmed.raw)
	}
	finished := s.webhook(started, "payment_finished")
	took.finishes = append(took.finishes, s.within(loosely, began))
	s.want(finished, "accepted", "succeeded", "")
	s.named(finished)
	ended := s.ok("session/status", s.about(started))
	s.want(ended, "accepted", "succeeded", "")
	for _, a := range []answer{started, awaits, confirmed, ended} {
		s.named(a)
		if bytes.Contains(a.raw, []byte("4242424242424242")) {
			s.t.Errorf("the card number comes back: %s", a.raw)
		}
	}
	s.refused("session_wrong_state", "session/confirm", s.about(started))
	s.refused("session_wrong_state", "session/cancel", s.about(started))
	if got := s.types(started); !slices.Equal(got, []string{"ready_to_confirm", "payment_finished"}) {
		s.t.Errorf("webhooks %q, want ready_to_confirm and payment_finished", got)
	}
}

// awaiting starts a payout to a wallet and waits until it awaits confirmation.
func (s *stranger) awaiting() answer {
	s.t.Helper()
	a := s.ok("session/init/payout", s.fields(`%q:%s,%s`, s.names().details, methods[3].details, sum(150_00)))
	return s.until(a, func(a answer) bool { return a.Session.NextAction == "confirm" })
}

func (s *stranger) init() {
	awaits := s.awaiting()
	s.ok("session/confirm", s.about(awaits))
	s.want(s.webhook(awaits, "payment_finished"), "accepted", "succeeded", "")
}

func (s *stranger) singleRequest() {
	a := s.ok("session/init/payout", s.fields(`%q:%s,%s`, s.names().details, methods[0].details, sum(150_00)))
	s.want(s.webhook(a, "payment_finished"), "accepted", "succeeded", "")
	if got := s.types(a); !slices.Equal(got, []string{"payment_finished"}) {
		s.t.Errorf("webhooks %q, want payment_finished alone", got)
	}
	s.refused("session_wrong_state", "session/confirm", s.about(a))
}

func (s *stranger) cancelBeforeStart() {
	created := s.ok("session/create", s.fields(``))
	s.want(s.ok("session/cancel", s.about(created)), "cancelled", "", "")
	s.refused("session_wrong_state", "session/start/payout",
		s.fields(`"session_id":%q,%q:%s,%s`, created.Session.ID, s.names().details, methods[3].details, sum(150_00)))
	s.want(s.ok("session/status", s.about(created)), "cancelled", "", "")
	if got := s.types(created); len(got) > 0 {
		s.t.Errorf("webhooks %q of a session that never started", got)
	}
}

func (s *stranger) cancelWhileAwaiting() {
	before := s.balance()
	awaits := s.awaiting()
	if held := before - s.balance(); held != 150_00 {
		s.t.Errorf("%d kopecks are held, want 15000", held)
	}
	cancelled := s.ok("session/cancel", s.about(awaits))
	s.want(cancelled, "in_progress", "pending", "")
	if cancelled.Session.NextAction != "" {
		s.t.Errorf("a cancelled payout awaits confirmation: %s", cancelled.raw)
	}
	s.refused("session_wrong_state", "session/confirm", s.about(awaits))
	s.want(s.webhook(awaits, "payment_finished"), "cancelled", "failed", "session_cancelled_by_partner")
	s.want(s.ok("session/status", s.about(awaits)), "cancelled", "failed", "session_cancelled_by_partner")
	if after := s.balance(); after != before {
		s.t.Errorf("the balance is %d kopecks, %d before", after, before)
	}
}

func (s *stranger) verifyFPS() {
	before := s.balance()
	for _, c := range []struct{ phone, session, payout, code string }{
		{"79990001310", "accepted", "succeeded", ""},
		{"79990002012", "cancelled", "failed", "account_not_found"},
	} {
		verification := fmt.Sprintf(`%q:{"type":"bank_account","bank_account":{"system_type":"faster_payment_system_verification",`+
			`"faster_payment_system_verification":{"phone":%q,"bank_id":"100000000131"}}},`+
			`"participant_details":{"recipient":{"full_name":"Соколова Марина Игоревна"}}`, s.names().details, c.phone)
		created := s.ok("session/create", s.fields(``))
		for _, body := range []string{
			s.fields("%s", verification),
			s.fields(`"session_id":%q,%s`, created.Session.ID, verification),
		} {
			a := s.ok("fps/customer_verification", body)
			s.want(s.webhook(a, "payment_finished"), c.session, c.payout, c.code)
			if got := s.types(a); len(got) != 1 {
				s.t.Errorf("webhooks %q, want payment_finished alone", got)
			}
		}
	}
	if after := s.balance(); after != before {
		s.t.Errorf("verifications cost %d kopecks", before-after)
	}
}

func (s *stranger) insufficientBalance() {
	before := s.balance()
	a := s.ok("session/init/payout", s.fields(`%q:%s,%s`, s.names().details, methods[1].details, sum(before+1)))
	s.want(s.webhook(a, "payment_finished"), "cancelled", "failed", "insufficient_wallet_balance")
	if after := s.balance(); after != before {
		s.t.Errorf("the balance is %d kopecks, %d before", after, before)
	}
}

func (s *stranger) doubledSlashes() {
	created := s.request(http.MethodPost, "//api//v2//session//create", `{}`, nil)
	if created.http != http.StatusOK {
		s.t.Fatalf("HTTP %d: %s", created.http, created.raw)
	}
	status := s.request(http.MethodPost, "/api/v2//session/status", s.about(created), nil)
	if status.http != http.StatusOK || status.Session.ID != created.Session.ID {
		s.t.Errorf("HTTP %d: %s", status.http, status.raw)
	}
}

func (s *stranger) emptyArrays() {
	s.want(s.ok("session/create", `[]`), "created", "", "")
	s.want(s.ok("session/create", ``), "created", "", "")
	for _, verb := range []string{http.MethodGet, http.MethodPost} {
		if a := s.request(verb, "/api/v1/fps/banks", `[]`, nil); a.http != http.StatusOK || len(a.Banks) == 0 {
			s.t.Errorf("%s fps/banks: HTTP %d: %.200s", verb, a.http, a.raw)
		}
	}
	s.refused("invalid_request", "session/status", `[]`)
	s.refused("invalid_request", "session/create", `[{}]`)
}

func (s *stranger) wrongSignatures(other *stranger) {
	const path = "/api/v2/session/create"
	good := s.sign(`{}`)
	for _, c := range []struct {
		name, body, code string
		headers          map[string]string
	}{
		{"another body", `{} `, "authentication_error", map[string]string{"X-PARTNER-SIGN": good}},
		{"another partner's key", `{}`, "authentication_error", map[string]string{"X-PARTNER-SIGN": other.sign(`{}`)}},
		{"no Base64", `{}`, "authentication_error", map[string]string{"X-PARTNER-SIGN": "*"}},
		{"another project", `{}`, "authentication_error", map[string]string{"X-PARTNER-PROJECT": other.project}},
		{"no such project", `{}`, "identification_error", map[string]string{"X-PARTNER-PROJECT": "nobody"}},
	} {
		if a := s.request(http.MethodPost, path, c.body, c.headers); a.http != http.StatusUnauthorized || a.Error.Code != c.code {
			s.t.Errorf("%s: HTTP %d, %s; want 401 and %s", c.name, a.http, a.raw, c.code)
		}
	}
	mine := s.ok("session/create", `{}`)
	if a := other.with(s.t, 2).call("session/status", s.about(mine)); a.http != http.StatusBadRequest || a.Error.Code != "invalid_request" {
		s.t.Errorf("another project's session: HTTP %d, %s", a.http, a.raw)
	}
}

func (s *stranger) confirmTimeout() {
	before := s.balance()
	awaits := s.awaiting()
	s.advance("239m")
	s.want(s.ok("session/status", s.about(awaits)), "in_progress", "pending", "")
	s.advance("1m")
	s.want(s.webhook(awaits, "payment_finished"), "cancelled", "failed", "confirm_timeout")
	s.refused("session_wrong_state", "session/confirm", s.about(awaits))
	if after := s.balance(); after != before {
		s.t.Errorf("the balance is %d kopecks, %d before", after, before)
	}
}

// TestValues pays to every magic value that the sandbox lists, and sees each end
// as it is listed.
func TestValues(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	server := start(t, "serve", "--sandbox-rails", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "warn")
	s := newStranger(t, server, data, "acme", p256Pair, serverP256, "--server-key", "p256", "--single-request").with(t, 2)
	var values []value
	if err := json.Unmarshal(get(t, server.url+"/sandbox/values"), &values); err != nil {
		t.Fatal(err)
	}
	if len(values) < 100 {
		t.Fatalf("the sandbox lists only %d values", len(values))
	}
	// Each check of these takes two minutes, and a payout may spend one in
	// checking; the clock brings that one on when the others have ended.
	var slow, others []value
	for _, v := range values {
		switch {
		case v.Kind == "inn" || v.Kind == "widget": // nothing to pay to
		case v.Outcome == "check_slow":
			slow = append(slow, v)
		default:
			others = append(others, v)
		}
	}
	begunSlow := s.payAll(slow)
	s.endAll(others, s.payAll(others))
	s.advance("61s")
	s.endAll(slow, begunSlow)
	run(t, "check", "--data", data)
}

// value is one magic value as the sandbox lists it.
type value struct {
	Kind, Value, Outcome string
	ErrorCode            string `json:"error_code"`
}

// payAll starts a payout to each value.
func (s *stranger) payAll(values []value) []answer {
	s.t.Helper()
	begun := make([]answer, len(values))
	var payers sync.WaitGroup
	few := make(chan struct{}, 4) // openssl processes at a time
	for i, v := range values {
		payers.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			begun[i] = s.call("session/init/payout", v.body())
		})
	}
	payers.Wait()
	for i, a := range begun {
		if a.http != http.StatusOK {
			s.t.Fatalf("%+v: HTTP %d: %s", values[i], a.http, a.raw)
		}
	}
	return begun
}

// endAll waits for the end of each payout.
func (s *stranger) endAll(values []value, begun []answer) {
	s.t.Helper()
	for i, v := range values {
		session, payout := "accepted", "succeeded"
		if v.ErrorCode != "" {
			session, payout = "cancelled", "failed"
		}
		if a := s.webhook(begun[i], "payment_finished"); !a.is(session, payout, v.ErrorCode) {
			s.t.Errorf("%+v ended so: %s", v, a.raw)
		}
	}
}

// body is a request to pay to the value.
func (v value) body() string {
	details, minor := methods[3].details, int64(150_00)
	switch v.Kind {
	case "card":
		details = strings.Replace(methods[0].details, "4242424242424242", v.Value, 1)
	case "bank_account":
		details = strings.Replace(methods[1].details, "40817810500000012345", v.Value, 1)
	case "fps":
		details = strings.Replace(methods[2].details, "79990001310", v.Value, 1)
	case "wallet":
		details = strings.Replace(details, "4100110000131", v.Value, 1)
	case "amount":
		minor, _ = strconv.ParseInt(v.Value, 10, 64) // 0 is refused
	}
	return fmt.Sprintf(`{"payout_details":%s,%s}`, details, sum(minor))
}

// stranger is a partner who signs and verifies with openssl. Its key pair is a
// file that openssl made.
type stranger struct {
	t                 *testing.T
	url, project, key string
	version           int
	hooks             *receiver
}

// Commands of openssl that make a private key; the file's name follows.
var (
	rsaPair  = []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"}
	p256Pair = []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"}
)

// newStranger makes a project for a stranger; server is the file of the key that
// its webhooks are signed with.
func newStranger(t *testing.T, p *process, data, project string, pair []string, server string, flags ...string) *stranger {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("openssl is missing; scripts/needs.sh installs it")
	}
	s := &stranger{t: t, url: p.url, project: project, key: filepath.Join(t.TempDir(), "private.pem")}
	mustOpenssl(t, nil, append(slices.Clone(pair), s.key)...)
	public := writeFile(t, "public.pem", mustOpenssl(t, nil, "pkey", "-in", s.key, "-pubout"))
	server = filepath.Join(data, server)
	folder := t.TempDir()
	s.hooks = newReceiver(t, func(body []byte, signature string) error { return verify(folder, server, body, signature) })
	open(t, place{data: data}, project, public, s.hooks.url, "1000000.00", flags...)
	return s
}

// verify checks a signature as the shell does.
func verify(folder, public string, body []byte, signature string) error {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(folder, "signature-")
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	said, err := openssl(body, "dgst", "-sha256", "-verify", public, "-signature", file.Name())
	if err == nil && string(said) != "Verified OK\n" {
		err = fmt.Errorf("openssl says %q", said)
	}
	return err
}

func openssl(stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.Command("openssl", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("openssl %s: %w: %s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.Bytes(), nil
}

func mustOpenssl(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	out, err := openssl(stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// with is the stranger in a test of its own, speaking a version of the API.
func (s *stranger) with(t *testing.T, version int) *stranger {
	own := *s
	own.t, own.version = t, version
	return &own
}

// names are the members whose names the versions do not share.
type names struct{ details, list string }

func (s *stranger) names() names {
	if s.version == 1 {
		return names{"payment_method", "payments"}
	}
	return names{"payout_details", "payout_list"}
}

// fields makes an object of members.
func (s *stranger) fields(format string, args ...any) string {
	return "{" + fmt.Sprintf(format, args...) + "}"
}

// about names a session.
func (s *stranger) about(a answer) string { return s.fields(`"session_id":%q`, a.Session.ID) }

// sum is an amount in kopecks with a recipient.
func sum(minor int64) string {
	return fmt.Sprintf(`"amount_details":{"amount":%d,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Соколова Марина Игоревна"}}`, minor)
}

// answer is what a stranger reads in an answer or a webhook.
type answer struct {
	http  int
	raw   []byte
	Type  string // of a webhook
	Error struct{ Code string }

	Session struct {
		ID, Status string
		NextAction string    `json:"next_action"`
		Payouts1   []outcome `json:"payments"`
		Payouts2   []outcome `json:"payout_list"`
	}
	Wallets []struct {
		Amount struct{ Amount int64 } `json:"amount_details"`
	}
	Banks []struct{ ID string }
}

type outcome struct {
	Status string
	Error  struct{ Code string }
}

// is reports whether the session and its only payout have these statuses; a
// payout of "" is none.
func (a answer) is(session, payout, code string) bool {
	payouts := slices.Concat(a.Session.Payouts1, a.Session.Payouts2)
	switch {
	case a.Session.Status != session || payout == "" && len(payouts) > 0:
		return false
	case payout == "":
		return true
	}
	return len(payouts) == 1 && payouts[0].Status == payout && payouts[0].Error.Code == code
}

// sign makes the header of a body.
func (s *stranger) sign(body string) string {
	s.t.Helper()
	return base64.StdEncoding.EncodeToString(mustOpenssl(s.t, []byte(body), "dgst", "-sha256", "-sign", s.key))
}

// request sends a signed request; headers replace those that it would have.
func (s *stranger) request(verb, path, body string, headers map[string]string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), verb, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("X-PARTNER-PROJECT", s.project)
	if headers["X-PARTNER-SIGN"] == "" {
		r.Header.Set("X-PARTNER-SIGN", s.sign(body))
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	var a answer
	a.http, a.raw = exchange(s.t, r)
	if err := json.Unmarshal(a.raw, &a); err != nil {
		s.t.Fatalf("%s %s: %v: %s", verb, path, err, a.raw)
	}
	return a
}

func (s *stranger) call(operation, body string) answer {
	s.t.Helper()
	return s.request(http.MethodPost, fmt.Sprintf("/api/v%d/%s", s.version, operation), body, nil)
}

// ok is call that must succeed.
func (s *stranger) ok(operation, body string) answer {
	s.t.Helper()
	a := s.call(operation, body)
	if a.http != http.StatusOK {
		s.t.Fatalf("%s %s: HTTP %d: %s", operation, body, a.http, a.raw)
	}
	return a
}

// refused is call that must be refused with HTTP 400 and the code.
func (s *stranger) refused(code, operation, body string) {
	s.t.Helper()
	if a := s.call(operation, body); a.http != http.StatusBadRequest || a.Error.Code != code {
		s.t.Errorf("%s %s: HTTP %d, %s; want 400 and %s", operation, body, a.http, a.raw, code)
	}
}

func (s *stranger) want(a answer, session, payout, code string) {
	s.t.Helper()
	if !a.is(session, payout, code) {
		s.t.Errorf("want session %q, payout %q, code %q in %s", session, payout, code, a.raw)
	}
}

// named checks that the names of the stranger's version are there, and none of
// the other.
func (s *stranger) named(a answer) {
	s.t.Helper()
	mine, other := s.names(), (&stranger{version: 3 - s.version}).names()
	for _, name := range []string{mine.details, mine.list} {
		if !bytes.Contains(a.raw, []byte(strconv.Quote(name)+":")) {
			s.t.Errorf("no %s in %s", name, a.raw)
		}
	}
	for _, name := range []string{other.details, other.list} {
		if bytes.Contains(a.raw, []byte(strconv.Quote(name)+":")) {
			s.t.Errorf("%s, of another version, in %s", name, a.raw)
		}
	}
}

// until asks for the status of a session until is says yes. Signing each
// question takes long enough that no pause is needed.
func (s *stranger) until(a answer, is func(answer) bool) answer {
	s.t.Helper()
	for began := time.Now(); time.Since(began) < startTimeout; {
		if now := s.ok("session/status", s.about(a)); is(now) {
			return now
		}
	}
	s.t.Fatalf("session %s is not as expected after %s: %s", a.Session.ID, startTimeout, s.ok("session/status", s.about(a)).raw)
	return answer{}
}

// webhook waits for a webhook about a session.
func (s *stranger) webhook(a answer, kind string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), startTimeout)
	defer cancel()
	d, err := s.hooks.wait(ctx, a.Session.ID, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	read := answer{raw: d.body}
	if err := json.Unmarshal(d.body, &read); err != nil {
		s.t.Fatal(err)
	}
	return read
}

// types are those of the webhooks about a session, in the order in which they
// came.
func (s *stranger) types(a answer) []string {
	var types []string
	came, _ := s.hooks.of(a.Session.ID)
	for _, d := range came {
		types = append(types, d.Type)
	}
	return types
}

// within is the time since began, which must not be above the bound.
func (s *stranger) within(bound time.Duration, began time.Time) time.Duration {
	s.t.Helper()
	took := time.Since(began)
	if took > bound {
		s.t.Errorf("it took %s, above %s", took, bound)
	}
	return took
}

// balance is what the stranger may pay out, in kopecks.
func (s *stranger) balance() int64 {
	s.t.Helper()
	a := s.with(s.t, 1).ok("wallet/balance", fmt.Sprintf(`{"request_datetime":%q}`, time.Now().UTC().Format(time.RFC3339)))
	if len(a.Wallets) != 1 {
		s.t.Fatalf("want one wallet: %s", a.raw)
	}
	return a.Wallets[0].Amount.Amount
}

// advance moves the sandbox's clock.
func (s *stranger) advance(by string) {
	s.t.Helper()
	answer, err := http.Post(s.url+"/sandbox/clock", "application/json", strings.NewReader(fmt.Sprintf(`{"advance":%q}`, by)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("the clock: HTTP %d", answer.StatusCode)
	}
}
