package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// Card numbers that the test sends: published test numbers, magic values of the
// sandbox, and some that no server should take.
var (
	payable = []string{
		"4242424242424242", "2200000000001317", "5555555555554444",
		"2200000000002042",    // the rail's answer is lost
		"2200000000002091",    // the rail's answer cannot be read
		"2200000000002208",    // declined
		"2200000000002125",    // refused by the check
		"6759649826438453",    // Maestro
		"30569309025904",      // 14 digits
		"4000000000000000006", // 19 digits
	}
	refusable = []string{
		"4242424242424241",     // fails the Luhn check
		"4222222222222",        // 13 digits
		"42424242424242424242", // 20 digits
		"5105105105105100",     // right, but sent where no number belongs
	}
	// longCode is a security code that is longer than a real one, so that it is
	// not found by chance.
	longCode = "739184265018"
	// shortCode is a real one. Its digits alone would be found anywhere, so it is
	// looked for as it would stand in JSON or in a log.
	shortCode = "7391"
	codeForms = []string{`"` + shortCode + `"`, "=" + shortCode + " ", `security_code":`, "security_code="}
)

// TestNoCardNumberLeaks pays by card in every way there is, good and bad, with
// the log at its most talkative, and then looks for the numbers in everything
// that the program has written, sent or shown.
func TestNoCardNumberLeaks(t *testing.T) {
	t.Parallel()
	began := time.Now()
	data := t.TempDir()
	talkative := []string{"--data", data, "--log-level", "debug"}
	server := start(t, append([]string{"serve", "--sandbox-rails", "--listen", "127.0.0.1:0"}, talkative...)...)
	hooks := newReceiver(t, serverKey(t, data, serverRSA).Verify)

	var found artefacts
	key := newP256(t)
	c := enrol(t, place{data: data}, server.url, "careful", hooks.url, key, nil, client.WithTrace(func(e client.Exchange) {
		found.add("an API answer", e.Response)
	}))
	var payers sync.WaitGroup
	for _, number := range payable {
		payers.Go(func() {
			if err := payByCard(t.Context(), c, number); err != nil {
				t.Errorf("card %s: %v", number, err)
			}
		})
	}
	payers.Wait()
	sendRefused(t, server.url, key, &found)
	payFromShell(t, server.url, data, key, &found)
	tokens := payByTokens(t, c, server.url, key, &found)
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/sandbox/clock", "/sandbox/inbox", "/4242424242424242"} {
		found.add("the page "+path, get(t, server.url+path))
	}
	for _, args := range [][]string{
		{"check"}, {"check", "--json"}, {"token", "list", "careful"}, {"vault", "rotate"}, {"audit"}, {"project", "list"}, {"project", "show", "careful"}, {"project", "show", "careful", "--json"}, {"config"},
	} {
		found.add("payoutd "+strings.Join(args, " "), []byte(run(t, append(args, "--data", data)...)))
	}
	found.addFolder(t, "while it runs", data)
	server.kill() // leaves the files as a power cut does
	found.addFolder(t, "after a kill", data)
	found.add("stdout", []byte(server.stdout.String()))
	found.add("stderr", []byte(server.stderr.String()))

	// The sandbox logs to a file. What it shows on the screen holds a published
	// number on purpose, to be pasted into a shell.
	sandbox := start(t, append([]string{"sandbox", "--listen", "127.0.0.1:0"}, talkative...)...)
	sandbox.says(t, "Ctrl-C ends the sandbox")
	sandbox.stop(t)
	found.addFolder(t, "after a sandbox", data)
	for _, d := range hooks.all() {
		found.add("a webhook", d.body)
	}

	s := newSearch(slices.Concat(payable, refusable, []string{longCode}), began)
	for _, a := range found.list {
		for _, finding := range s.in(a.content) {
			t.Errorf("%s: %s", a.name, finding)
		}
	}
	for _, a := range found.list {
		for n, token := range tokens {
			if a.name != tokenAnswer && bytes.Contains(a.content, []byte(token)) {
				t.Errorf("%s holds token %d", a.name, n)
			}
		}
	}
	if t.Failed() {
		return
	}
	s.finds(t, found.list)
	sealed(t, filepath.Join(data, "payoutd.db"), s)
	t.Logf("%d numbers in %d forms looked for in %d artefacts", len(payable)+len(refusable)+1, len(disguises), len(found.list))
}

// payByCard pays a number through both ways into a session, with repeats and
// refusals, and waits for the ends.
func payByCard(ctx context.Context, c *client.Client, number string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request := client.Request{
		Details:      client.ToCard(client.CardNumber(number)),
		Amount:       client.AmountOf(money.Amount{Minor: 150_00, Currency: money.RUB}),
		Participants: &client.Participants{Recipient: &client.Person{FullName: "Marina Sokolova"}},
	}
	started, err := c.Create(ctx, client.Request{Details: request.Details})
	if err != nil {
		return err
	}
	if _, err := c.StartPayout(ctx, started.ID, request); err != nil {
		return err
	}
	key := client.WithKey("for-" + started.ID)
	made, err := c.InitPayout(ctx, request, key)
	if err != nil {
		return err
	}
	if again, err := c.InitPayout(ctx, request, key, client.WithReplay()); err != nil || !again.Replayed || again.ID != made.ID {
		return fmt.Errorf("the repeat: session %q, error %v; want %s again", again.ID, err, made.ID)
	}
	if _, err := c.InitPayout(ctx, request, key); err == nil {
		return errors.New("a second request with the same key was not refused")
	}
	for _, id := range []string{started.ID, made.ID} {
		s, err := c.WaitFor(ctx, id, func(s client.Session) bool { return client.AwaitsConfirm(s) || client.Finished(s) })
		if err == nil && client.AwaitsConfirm(s) {
			_, err = c.Confirm(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range []string{started.ID, made.ID} {
		if _, err := c.WaitFor(ctx, id, client.Finished); err != nil {
			return err
		}
	}
	return nil
}

// sendRefused sends numbers that must be refused, and good ones where they do
// not belong: a refusal must not quote them.
func sendRefused(t *testing.T, url string, key sign.PrivateKey, found *artefacts) {
	t.Helper()
	const (
		body  = `{"payout_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":%s}}},"amount_details":{"amount":15000,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Marina Sokolova"}}}`
		stray = "5105105105105100"
	)
	send := func(path, body string, status int) {
		t.Helper()
		signature, err := key.Sign([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(sign.HeaderProject, "careful")
		request.Header.Set(sign.HeaderSign, signature)
		got, answer := exchange(t, request)
		if got != status {
			t.Errorf("POST %s with %s: HTTP %d, want %d\n%s", path, body, got, status, answer)
		}
		found.add("the answer to a bad request", answer)
	}
	const init = "/api/v2/session/init/payout"
	for _, number := range refusable[:3] {
		send(init, fmt.Sprintf(body, strconv.Quote(number)), 400)
	}
	for _, wrong := range []string{
		`"5105 1051 0510 5100"`, stray, `["` + stray + `"]`, `{"` + stray + `":"` + stray + `"}`, `"` + stray + `\u0000"`,
		`"` + stray, // not JSON at all
	} {
		send(init, fmt.Sprintf(body, wrong), 400)
	}
	for _, field := range []string{
		`"session_id":"` + stray + `"`,
		`"session_id":` + stray,
		`"payout_details":{"type":"` + stray + `"}`,
		`"payout_details":{"type":"card","card":{"type":"` + stray + `"}}`,
		`"amount_details":{"amount":"` + stray + `x","currency":"` + stray + `"}`,
		`"customer":{"reference":` + stray + `}`,
	} {
		send("/api/v2/session/start/payout", "{"+field+"}", 400)
	}
	send("/api/v2/session/"+stray, "{}", 404)
	send("/api/v2/session/status?number="+stray, `{}`, 400)

	// Security codes are not kept, whether the API knows the member or not.
	for _, path := range []string{init, "/api/v2/session/create"} {
		send(path, fmt.Sprintf(body, `"4242424242424242","security_code":"`+longCode+`"`), 400)
		send(path, fmt.Sprintf(body, `"4242424242424242","security_code":"`+shortCode+`","cvv":"`+longCode+`"`), 200)
	}
}

// payFromShell pays with the program's own command.
func payFromShell(t *testing.T, url, data string, key sign.PrivateKey, found *artefacts) {
	t.Helper()
	pem := writeFile(t, "private.pem", key.PEM())
	for _, c := range []struct {
		number string
		flags  []string
		fails  bool
	}{
		{"4242424242424242", []string{"--confirm", "--wait"}, false},
		{"2200000000001317", []string{"--json"}, false},
		{"2200000000002208", []string{"--confirm", "--wait"}, true},
		{"4242424242424241", nil, true},
	} {
		args := append([]string{
			"payout", "create", "--card", c.number, "--amount", "150.00", "--name", "Marina Sokolova",
			"--project", "careful", "--key", pem, "--url", url, "--data", data, "--log-level", "debug",
		}, c.flags...)
		cmd := exec.Command(payoutd, args...)
		cmd.Env = environ()
		out, err := cmd.CombinedOutput()
		if (err != nil) != c.fails {
			t.Errorf("payoutd %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		found.add("payoutd payout create", out)
	}
}

// tokenAnswer names the artefacts in which tokens stand on purpose.
const tokenAnswer = "the answer of an operation on tokens"

// payByTokens gets tokens of every number that can be paid to, pays by them, asks
// about them and sends them where they do not belong. It returns those that no
// answer but the first may show.
func payByTokens(t *testing.T, c *client.Client, url string, key sign.PrivateKey, found *artefacts) (tokens []string) {
	t.Helper()
	send := func(name, path, body string, status int) []byte {
		t.Helper()
		signature, err := key.Sign([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(sign.HeaderProject, "careful")
		request.Header.Set(sign.HeaderSign, signature)
		got, answer := exchange(t, request)
		if got != status {
			t.Errorf("POST %s: HTTP %d, want %d\n%s", path, got, status, answer)
		}
		found.add(name, answer)
		return answer
	}
	elements := make([]string, len(payable))
	for n, number := range payable {
		elements[n] = fmt.Sprintf(`{"ref":"n%d","type":"card_number","card_number":%q}`, n, number)
	}
	send("the answer to a bad request", "/api/v1/tokenize/elements", `{"elements":[{"ref":"a","type":"card_number","card_number":"`+refusable[0]+`"}]}`, 400)
	tokens = tokenForm.FindAllString(string(send(tokenAnswer, "/api/v1/tokenize/elements", `{"elements":[`+strings.Join(elements, ",")+`]}`, 200)), -1)
	tokens = append(tokens, tokenForm.FindAllString(string(send(tokenAnswer, "/api/v1/token", `{"tokenize_widget":{"access":true}}`, 200)), -1)...)
	if len(tokens) != len(payable)+1 {
		t.Fatalf("%d tokens for %d cards and a widget", len(tokens), len(payable))
	}
	for _, token := range tokens[:len(payable)] {
		body := func(card string) string {
			return `{"payout_details":{"type":"card","card":` + card + `},"amount_details":{"amount":15000,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Marina Sokolova"}}}`
		}
		answer := send("an API answer", "/api/v2/session/init/payout", body(`{"type":"tokenized_card","tokenized_card":{"token":"`+token+`"}}`), 200)
		session := sessionForm.FindString(string(answer))
		if s, err := c.WaitFor(t.Context(), session, func(s client.Session) bool { return client.AwaitsConfirm(s) || client.Finished(s) }); err != nil {
			t.Errorf("%s: %v", session, err)
		} else if client.AwaitsConfirm(s) {
			if _, err := c.Confirm(t.Context(), session); err != nil {
				t.Errorf("%s: %v", session, err)
			}
		}
		send("the answer to a bad request", "/api/v2/session/init/payout", body(`{"type":"encrypted_card","encrypted_card":{"number_hash":"`+token+`"}}`), 400)
		send(tokenAnswer, "/api/v1/token/info", `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"`+token+`"}}}`, 200)
		send("the answer to a bad request", "/api/v1/token/info", `{"type":"public_token","public_token":{"token":"`+token+`"}}`, 400)
		send("the answer to a bad request", "/api/v1/"+token, `{}`, 404)
	}
	return tokens
}

var (
	tokenForm   = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	sessionForm = regexp.MustCompile(`ps_[0-9]+`)
)

// sealed checks the vault's table by itself: it has the cards, and no part of a
// number.
func sealed(t *testing.T, database string, s *search) {
	t.Helper()
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT ciphertext, fingerprint FROM cards")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	cards := 0
	for rows.Next() {
		var ciphertext, fingerprint []byte
		if err := rows.Scan(&ciphertext, &fingerprint); err != nil {
			t.Fatal(err)
		}
		cards++
		for _, column := range [][]byte{ciphertext, fingerprint} {
			if part := s.part(column); part != "" {
				t.Errorf("a row of the vault holds %s", part)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if want := 2 * len(payable); cards < want {
		t.Errorf("the vault has %d cards, want %d at least: is this the table?", cards, want)
	}
}

// artefact is something that the program has written, sent or shown.
type artefact struct {
	name    string
	content []byte
}

// artefacts are safe for concurrent additions.
type artefacts struct {
	mu   sync.Mutex
	list []artefact
}

func (a *artefacts) add(name string, content []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, artefact{name, bytes.Clone(content)})
}

// addFolder adds every file below dir.
func (a *artefacts) addFolder(t *testing.T, when, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		a.add(fmt.Sprintf("the file %s %s", name, when), readFile(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// disguises are the forms in which a number could stand somewhere.
var disguises = []struct {
	name string
	of   func(number string) [][]byte // each of them tells the number
}{
	{"plain", func(n string) [][]byte { return [][]byte{[]byte(n)} }},
	{"spaced", func(n string) [][]byte { return [][]byte{[]byte(grouped(n, " "))} }},
	{"dashed", func(n string) [][]byte { return [][]byte{[]byte(grouped(n, "-"))} }},
	{"reversed", func(n string) [][]byte {
		b := []byte(n)
		slices.Reverse(b)
		return [][]byte{b}
	}},
	{"hexadecimal", func(n string) [][]byte {
		h := hex.EncodeToString([]byte(n))
		return [][]byte{[]byte(h), []byte(strings.ToUpper(h))}
	}},
	{"Base64", inBase64},
	{"two bytes a digit", func(n string) [][]byte {
		var b []byte
		for i := range len(n) {
			b = append(b, n[i], 0)
		}
		return [][]byte{b[:len(b)-1]} // in either byte order
	}},
	{"an integer", func(n string) [][]byte {
		i, err := strconv.ParseUint(n, 10, 64)
		if err != nil {
			return nil // 20 digits
		}
		big := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, i), "\x00")
		little := slices.Clone(big)
		slices.Reverse(little)
		return [][]byte{big, little}
	}},
}

// grouped puts a separator after each four digits.
func grouped(number, separator string) string {
	var groups []string
	for group := range slices.Chunk([]byte(number), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, separator)
}

// inBase64 is what of the number can be seen in the Base64 of a longer text, at
// each of the three alignments: the characters that no neighbour has a part in.
func inBase64(number string) [][]byte {
	var forms [][]byte
	for before := range 3 {
		whole := base64.StdEncoding.EncodeToString(append(make([]byte, before), number...))
		first, last := (before*8+5)/6, (before+len(number))*8/6
		forms = append(forms, []byte(whole[first:last]))
	}
	return forms
}

// search knows what to look for.
type search struct {
	numbers []string
	began   time.Time
}

func newSearch(numbers []string, began time.Time) *search { return &search{numbers, began} }

// in names every number that stands in b in whatever form, and everything that
// looks like a card number.
func (s *search) in(b []byte) []string {
	var findings []string
	for _, number := range s.numbers {
		for _, d := range disguises {
			for _, form := range d.of(number) {
				if at := bytes.Index(b, form); at >= 0 {
					findings = append(findings, fmt.Sprintf("%s, %s, at byte %d: %q", number, d.name, at, around(b, at)))
				}
			}
		}
	}
	for _, form := range codeForms {
		if at := bytes.Index(b, []byte(form)); at >= 0 {
			findings = append(findings, fmt.Sprintf("a security code at byte %d: %q", at, around(b, at)))
		}
	}
	for _, number := range instrument.FindPANs(b) {
		if !s.isID(number) {
			findings = append(findings, fmt.Sprintf("%s, which looks like a card number: %q", number, around(b, bytes.Index(b, []byte(number)))))
		}
	}
	return findings
}

// isID reports whether a number is one that package id made during this test: 41
// bits of milliseconds since 2026 stand above 22 others. Documents in the
// database hold them without a prefix, and some pass for cards.
func (s *search) isID(number string) bool {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return false
	}
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n>>22) * time.Millisecond)
	return made.After(s.began.Add(-time.Second)) && made.Before(time.Now())
}

// part returns any eight digits in a row of a number that stand in b.
func (s *search) part(b []byte) string {
	for _, number := range s.numbers {
		for i := 0; i+8 <= len(number); i++ {
			if bytes.Contains(b, []byte(number[i:i+8])) {
				return number[i : i+8]
			}
		}
	}
	return ""
}

// finds proves that the search finds: it plants a number into a copy of one
// artefact of each name, in every form, and one that it was not told of.
func (s *search) finds(t *testing.T, list []artefact) {
	t.Helper()
	planted := map[string]bool{}
	for _, a := range list {
		if planted[a.name] {
			continue
		}
		planted[a.name] = true
		middle := len(a.content) / 2
		plant := func(what string, form []byte) {
			// A blank before it, so that it does not run on from other digits.
			if len(s.in(slices.Concat(a.content[:middle], []byte(" "), form, a.content[middle:]))) == 0 {
				t.Errorf("%s: planted as %s and not found", a.name, what)
			}
		}
		for _, d := range disguises {
			for _, form := range d.of(payable[0]) {
				plant(d.name, form)
			}
		}
		for before := range 3 { // within a longer text
			plant("Base64", []byte(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before)+payable[0]+"}"))))
		}
		plant("another number", []byte("2200000000002018 "))
		for _, form := range codeForms {
			plant("a security code", []byte(form))
		}
	}
	if s.part([]byte("\x01\x9942424242\xfe")) == "" {
		t.Error("a part of a number is not found")
	}
}

func around(b []byte, at int) []byte {
	at = max(at, 0)
	return b[max(at-60, 0):min(at+60, len(b))]
}

// exchange sends a request and returns the status and the body of the answer.
func exchange(t testing.TB, r *http.Request) (int, []byte) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}

func get(t testing.TB, url string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, body := exchange(t, r)
	return body
}
