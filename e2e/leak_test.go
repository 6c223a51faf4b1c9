package e2e

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // for package sql

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
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
	longCode = "739184265018273645"
	// shortCode is a real one. Its digits alone would be found anywhere, so it is
	// looked for as it would stand in JSON or in a log.
	shortCode = "7391"
	codeForms = []string{`"` + shortCode + `"`, "=" + shortCode + " ", `security_code":`, "security_code="}
)

// TestNothingLeaks pays by card in every way there is, good and bad, with the log
// at its most talkative, and lets an operator look at everything. Then it looks
// for card numbers, keys, passwords and tokens in everything that the program,
// and the database for it, have written, sent or shown.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		leak(t, place{data: t.TempDir()}, nil)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		// It logs each statement with its parameters, as one that somebody debugs.
		// Figures of its own work, in the form of a security code, are none of ours.
		server := pgtest.Own(t, pgtest.Place{}, "log_statement=all", "log_parameter_max_length=-1", "log_connections=on", "log_checkpoints=off")
		url := strings.Replace(server.URL, "postgres@", "postgres:"+databasePassword+"@", 1)
		leak(t, place{data: t.TempDir(), db: url}, server)
	})
}

var moscow = time.FixedZone("MSK", 3*60*60)

// Passwords that somebody types, and where.
const (
	databasePassword = "correct-horse-of-the-database"
	operatorPassword = "correct horse of the operator"
	mistypedPassword = "correct horse of the operatro"
)

func leak(t *testing.T, at place, database *pgtest.Server) {
	began := time.Now()
	data := at.data
	fresh := map[string][sha256.Size]byte{} // of PostgreSQL, before there is anything of ours
	if database != nil {
		fresh = hashes(t, database.Folder())
		run(t, "migrate", "--db", at.db)
	}
	talkative := at.flags("--log-level", "debug")
	server := start(t, append([]string{
		"serve", "--sandbox-rails", "--listen", "127.0.0.1:0", "--widget-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0",
	}, talkative...)...)
	hooks := newReceiver(t, serverKey(t, data, serverRSA).Verify)

	var found artefacts
	key := newP256(t)
	c := enrol(t, at, server.url, "careful", hooks.url, key, nil, client.WithTrace(func(e client.Exchange) {
		found.add("an API answer", e.Response)
	}))
	secrets := keysOf(t, data)
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
	payFromShell(t, server.url, at, key, &found)
	tokens := payByTokens(t, c, server.url, key, &found)
	tokens = append(tokens, payInWidget(t, server, key, &found)...)
	secrets = append(secrets, operate(t, server, at, &found)...)
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/sandbox/clock", "/sandbox/inbox", "/4242424242424242"} {
		found.add("the page "+path, get(t, server.url+path))
	}
	for _, args := range [][]string{
		{"check"},
		{"check", "--json"},
		{"token", "list", "careful"},
		{"vault", "state"},
		{"vault", "rotate"},
		{"audit"},
		{"project", "list"},
		{"project", "show", "careful"},
		{"project", "show", "careful", "--json"},
		{"config"},
		{"operator", "list"},
		{"alarms"},
		{"report", "payouts", "careful", "--format", "csv", "--output", data},
		{"report", "payouts", "careful", "--date", began.In(moscow).Format(time.DateOnly), "--format", "xlsx", "--output", data},
	} {
		if database != nil && args[0] == "vault" {
			continue // the key of several nodes is replaced by hand
		}
		found.add("payoutd "+strings.Join(args[:min(len(args), 2)], " "), []byte(run(t, at.flags(args...)...)))
	}
	secrets = append(secrets, keysOf(t, data)...) // those that have been made new
	names := append(namesOf(t, at), key.Public().ID())
	found.addFolder(t, "while it runs", data)
	server.kill() // leaves the files as a power cut does
	found.addFolder(t, "after a kill", data)
	if database != nil {
		found.add("what pg_dump writes", database.Dump(t))
		database.Run(t, "CHECKPOINT")
		found.addDatabase(t, database.Folder(), fresh)
		// As an hour after the kill, for the copy.
		database.Run(t, "UPDATE nodes SET lease = 0", "UPDATE tasks SET lease = 0", "UPDATE events SET lease = 0")
	}
	from := at.db
	if from == "" {
		from = "sqlite:" + filepath.Join(data, "payoutd.db")
	}
	found.add("payoutd copy", []byte(run(t, "copy", "--from", from, "--to", "sqlite:"+filepath.Join(data, "copied.db"), "--data", data)))
	found.addFolder(t, "after a copy", data)
	found.add("stdout", []byte(server.stdout.String()))
	found.add("stderr", []byte(server.stderr.String()))

	// The sandbox logs to a file. What it shows on the screen holds a published
	// number on purpose, to be pasted into a shell.
	there := place{data: data, db: "sqlite:" + filepath.Join(data, "copied.db")}
	sandbox := start(t, there.flags("sandbox", "--listen", "127.0.0.1:0", "--log-level", "debug")...)
	sandbox.says(t, "Ctrl-C ends the sandbox")
	names = append(names, namesOf(t, there)...)
	sandbox.stop(t)
	found.addFolder(t, "after a sandbox", data)
	for _, d := range hooks.all() {
		found.add("a webhook", d.body)
	}

	secrets = append(secrets,
		secret{"the password of the database", []byte(databasePassword), ""},
		secret{"the operator's password", []byte(operatorPassword), ""},
		secret{"a mistyped password", []byte(mistypedPassword), ""},
		secret{"the partner's key", privateOf(t, key.PEM()), ""},
	)
	s := newSearch(slices.Concat(payable, refusable, []string{longCode}), secrets, names, began)
	for _, a := range found.list {
		for _, finding := range s.in(a) {
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
	sealed(t, filepath.Join(data, "copied.db"), s)
	t.Logf("%d numbers in %d forms and %d secrets looked for in %d artefacts, %d MB", len(s.numbers), len(disguises), len(secrets), len(found.list), found.bytes()>>20)
}

// payByCard pays a number through both ways into a session, with repeats and
// refusals, and waits for the ends.
func payByCard(ctx context.Context, c *client.Client, number string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
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
func payFromShell(t *testing.T, url string, at place, key sign.PrivateKey, found *artefacts) {
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
			"--project", "careful", "--key", pem, "--url", url, "--log-level", "debug",
		}, at.flags(c.flags...)...)
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

// sealed checks the vault's table by itself: it has the cards of what has not
// ended, and no part of a number.
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
	const want = 3 // two payouts await confirmation, and one was not started
	if cards < want {
		t.Errorf("the vault has %d cards, want %d at least: is this the table?", cards, want)
	}
}

// payInWidget enters numbers in the form of the widgets, as a browser does, and
// returns the tokens that the form was opened by.
func payInWidget(t *testing.T, server *process, key sign.PrivateKey, found *artefacts) (tokens []string) {
	t.Helper()
	m := regexp.MustCompile(`the widgets are on (http://\S+)`).FindStringSubmatch(server.says(t, "the widgets are on "))
	for _, number := range slices.Concat(payable[:3], refusable[:3]) {
		body := `{"tokenize_widget":{"access":true}}`
		signature, err := key.Sign([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.url+"/api/v1/token", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(sign.HeaderProject, "careful")
		r.Header.Set(sign.HeaderSign, signature)
		_, answer := exchange(t, r)
		token := tokenForm.FindString(string(answer))
		tokens = append(tokens, token)
		found.add(tokenAnswer, get(t, m[1]+"/frame?widget=card&token="+token)) // the page bears it
		r, err = http.NewRequestWithContext(t.Context(), http.MethodPost, m[1]+"/v1/card", strings.NewReader(`{"public_token":"`+token+`","number":"`+number+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		status, answer := exchange(t, r)
		if right := slices.Contains(payable, number); right != (status == http.StatusOK) {
			t.Errorf("%s in the widget: HTTP %d, %s", number, status, answer)
		}
		found.add("an answer of the widget", answer)
	}
	return tokens
}

// operate logs in to the console and looks at every page there is, and returns
// what only the operator may have.
func operate(t *testing.T, server *process, at place, found *artefacts) []secret {
	t.Helper()
	made := run(t, at.flags("operator", "add", "anna", "--role", "viewer")...)
	found.add("payoutd operator add", []byte(made))
	anna := regexp.MustCompile(`password: (\S+)`).FindStringSubmatch(made)[1]
	add := exec.Command(payoutd, at.flags("operator", "add", "boris", "--role", "admin", "--password-stdin")...)
	add.Env, add.Stdin = environ(), strings.NewReader(operatorPassword+"\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("operator add: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`the console is on (http://\S+?)/console/`).FindStringSubmatch(server.says(t, "the console is on "))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	visit := func(r *http.Request) (int, []byte) {
		t.Helper()
		answer, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		page, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		found.add("a page of the console", page)
		return answer.StatusCode, page
	}
	for password, status := range map[string]int{mistypedPassword: 401, operatorPassword: 200} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m[1]+"/console/login", strings.NewReader(url.Values{"name": {"boris"}, "password": {password}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if got, page := visit(r); got != status {
			t.Fatalf("login: HTTP %d, want %d\n%s", got, status, page)
		}
	}
	// A number that an operator looks for is on his own screen alone.
	_ = get(t, m[1]+"/console/payouts?project=careful&id="+payable[0])
	link := regexp.MustCompile(`href="(/console/[^"]+)"`)
	day := time.Now().In(moscow).Format(time.DateOnly)
	todo := []string{"/console/payouts", "/console/payouts?project=careful", "/console/balances", "/console/alarms", "/console/audit", "/console/operators", "/console/reports?project=careful&day=" + day}
	seen := map[string]bool{}
	sessions := 0
	for len(todo) > 0 && len(seen) < 120 {
		path := todo[0]
		todo = todo[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m[1]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		status, page := visit(r)
		if status != http.StatusOK {
			t.Errorf("%s: HTTP %d", path, status)
		}
		if sessionForm.MatchString(path) {
			sessions++
		}
		for _, next := range link.FindAllSubmatch(page, -1) {
			todo = append(todo, html.UnescapeString(string(next[1])))
		}
	}
	if sessions < len(payable) {
		t.Errorf("%d sessions were looked at of %d pages", sessions, len(seen))
	}
	secrets := []secret{{"a password that was made", []byte(anna), "payoutd operator add"}}
	root, err := url.Parse(m[1] + "/console/")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range jar.Cookies(root) {
		if len(c.Value) > 16 { // the login; the language is no secret
			secrets = append(secrets, secret{"the operator's login", []byte(c.Value), ""})
		}
	}
	if len(secrets) != 2 {
		t.Errorf("the login is in none of the cookies %v", jar.Cookies(root))
	}
	return secrets
}

// secret is what stands in no artefact, but for one on purpose.
type secret struct {
	name    string
	content []byte
	in      string // how the name of the artefact begins that may hold it; "" for none
}

// keysOf reads the keys that an installation keeps in its folder.
func keysOf(t *testing.T, data string) (all []secret) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "*.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if content := readFile(t, f); bytes.Contains(content, []byte("PRIVATE KEY")) {
			all = append(all, secret{"the key in " + filepath.Base(f), privateOf(t, content), "the file " + filepath.Base(f)})
		}
	}
	values := regexp.MustCompile(`"value": *"([^"]+)"`).FindAllSubmatch(readFile(t, filepath.Join(data, "vault.key")), -1)
	for _, v := range values {
		b, err := base64.StdEncoding.DecodeString(string(v[1]))
		if err != nil || len(b) < 32 {
			t.Fatalf("a key of the vault: %d bytes, error %v", len(b), err)
		}
		// Ahead of the 32 bytes of the key is what kind it is of.
		all = append(all, secret{"a key of the vault", b[len(b)-32:], "the file vault.key"})
	}
	if len(files) < 2 || len(values) < 2 {
		t.Fatalf("%d files with keys, %d keys of the vault", len(files), len(values))
	}
	return all
}

// namesOf reads the names of the keys and the node of an installation that runs:
// hashes and random characters, some of which pass for card numbers.
func namesOf(t *testing.T, at place) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*public.pem", "demo/public.pem"} {
		files, err := filepath.Glob(filepath.Join(at.data, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			key, err := sign.ParsePublicKey(readFile(t, f))
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, key.ID())
		}
	}
	driver, source := "pgx", at.db
	if file, ok := strings.CutPrefix(cmp.Or(at.db, "sqlite:"+filepath.Join(at.data, "payoutd.db")), "sqlite:"); ok {
		driver, source = "sqlite", file
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var node string
	if err := db.QueryRowContext(t.Context(), "SELECT owner FROM nodes WHERE owner <> ''").Scan(&node); err != nil {
		t.Fatal(err)
	}
	return append(names, node)
}

// privateOf is the part of a private key in PEM that nobody else knows.
func privateOf(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		b, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	case *rsa.PrivateKey:
		return key.Primes[0].Bytes()
	}
	t.Fatalf("a key of type %T", key)
	return nil
}

// artefact is something that the program has written, sent or shown.
type artefact struct {
	name    string
	kind    string // what it is like; the search is tried on one of each
	content []byte
}

// artefacts are safe for concurrent additions.
type artefacts struct {
	mu   sync.Mutex
	list []artefact
}

func (a *artefacts) add(name string, content []byte) { a.addAs(name, name, content) }

// addAs adds what is in it as well, if it is packed: an XLSX is a ZIP.
func (a *artefacts) addAs(name, kind string, content []byte) {
	a.mu.Lock()
	a.list = append(a.list, artefact{name, kind, bytes.Clone(content)})
	a.mu.Unlock()
	if packed, err := zip.NewReader(bytes.NewReader(content), int64(len(content))); err == nil {
		for _, f := range packed.File {
			if part, err := fs.ReadFile(packed, f.Name); err == nil {
				a.add(name+", "+f.Name, part)
			}
		}
	}
}

// bytes is the size of all.
func (a *artefacts) bytes() (n int) {
	for _, one := range a.list {
		n += len(one.content)
	}
	return n
}

// addDatabase adds the files of PostgreSQL that are not as they were.
func (a *artefacts) addDatabase(t *testing.T, dir string, before map[string][sha256.Size]byte) {
	t.Helper()
	kinds := map[string]bool{}
	for path, hash := range hashes(t, dir) {
		if before[path] == hash {
			continue
		}
		kind := "a table of PostgreSQL"
		switch {
		case strings.Contains(path, "pg_wal"):
			kind = "the write-ahead log of PostgreSQL"
		case filepath.Base(path) == "log":
			kind = "the log of PostgreSQL"
		}
		kinds[kind] = true
		a.addAs(kind+": "+path, kind, readFile(t, path))
	}
	if len(kinds) != 3 {
		t.Errorf("of PostgreSQL only %v were found", slices.Collect(maps.Keys(kinds)))
	}
}

// hashes is of every file below dir.
func hashes(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil || !d.Type().IsRegular():
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		all[path] = sha256.Sum256(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// addFolder adds every file below dir.
func (a *artefacts) addFolder(t *testing.T, when, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || !d.Type().IsRegular():
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		a.add(fmt.Sprintf("the file %s %s", name, when), content)
		return err
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
	secrets []secret
	random  *regexp.Regexp // what passes for a card number by chance
	began   time.Time
}

// newSearch returns a search for numbers and secrets, which takes for a card
// number none of the names, no request's number, no hash of files for browsers,
// and no digits of a metric behind the point.
func newSearch(numbers []string, secrets []secret, names []string, began time.Time) *search {
	random := regexp.MustCompile(`(?m)(rq_|/assets/)[0-9a-f]{16}|` + strings.Join(names, "|") + `| [0-9]{1,6}\.[0-9]+(e[+-][0-9]+)?$`)
	return &search{numbers, secrets, random, began}
}

// forms are those in which a secret could stand somewhere.
func (s *secret) forms() [][]byte {
	reversed := slices.Clone(s.content)
	slices.Reverse(reversed)
	hexed := hex.EncodeToString(s.content)
	forms := [][]byte{s.content, reversed, []byte(hexed), []byte(strings.ToUpper(hexed))}
	for _, b := range inBase64(string(s.content)) {
		forms = append(forms, b, []byte(strings.NewReplacer("+", "-", "/", "_").Replace(string(b))))
	}
	return forms
}

// in names every number and secret that stands in an artefact in whatever form,
// and everything that looks like a card number.
func (s *search) in(a artefact) []string {
	var findings []string
	b := a.content
	for _, one := range s.secrets {
		if one.in != "" && strings.HasPrefix(a.name, one.in) {
			continue
		}
		for _, form := range one.forms() {
			if at := bytes.Index(b, form); at >= 0 {
				findings = append(findings, fmt.Sprintf("%s at byte %d", one.name, at))
			}
		}
	}
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
	for _, number := range instrument.FindPANs(s.random.ReplaceAllLiteral(b, []byte("random"))) {
		if !s.isID(number) {
			findings = append(findings, fmt.Sprintf("%s, which looks like a card number: %q", number, around(b, bytes.Index(b, []byte(number)))))
		}
	}
	return findings
}

// isID reports whether a number is one that package id made during this test: 41
// bits of milliseconds since 2026 stand above 22 others. Documents in the
// database hold them without a prefix, and pages of its files without their last
// digits, and some pass for cards.
func (s *search) isID(number string) bool {
	first, last := idAt(s.began.Add(-time.Second)), idAt(time.Now().Add(time.Millisecond))
	number += strings.Repeat("0", max(len(fmt.Sprint(last))-len(number), 0))
	n, err := strconv.ParseInt(number, 10, 64)
	return err == nil && first < n && n < last
}

// idAt is below every id of a moment, and above those before it.
func idAt(at time.Time) int64 {
	return at.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).Milliseconds() << 22
}

func TestRandomIsNoNumber(t *testing.T) {
	const number = "46723297416318"
	began := time.Now()
	id := fmt.Sprint(idAt(began))
	s := newSearch(nil, nil, []string{"ab" + number, payable[0]}, began)
	if !s.isID(id) || !s.isID(id[:14]) || s.isID("9"+id[1:]) || s.isID(number) {
		t.Errorf("%s is not told from other numbers", id)
	}
	for text, found := range map[string]bool{
		"request=rq_fa" + number + " status=404":                               false,
		"entry 7, " + strings.Repeat("c", 50) + number + " and rq_0e" + number: false,
		"x\x02ab" + number + "\x07, ab" + number + " " + payable[0]:            false,
		"href=\"/assets/" + number + "ab/":                                     false,
		"seconds_sum 2." + number + "\nseconds_max 1." + number + "e+09":       false,
		"rq_fa" + number + " card=" + number:                                   true,
		"ps_fa" + number:                                                       true,
		"ab" + number + " ad" + number:                                         true,
		"seconds_sum " + number + ".5":                                         true,
		"2." + number:                                                          true,
		number:                                                                 true,
	} {
		if got := s.in(artefact{content: []byte(text)}); (len(got) > 0) != found {
			t.Errorf("%q: found %q", text, got)
		}
	}
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
		if planted[a.kind] {
			continue
		}
		planted[a.kind] = true
		content := a.content[:min(len(a.content), 16<<10)]
		middle := len(content) / 2
		plant := func(what string, form []byte) {
			// A blank before it, so that it does not run on from other digits.
			if len(s.in(artefact{a.name, a.kind, slices.Concat(content[:middle], []byte(" "), form, content[middle:])})) == 0 {
				t.Errorf("%s: planted as %s and not found", a.name, what)
			}
		}
		for _, one := range s.secrets {
			if one.in != "" && strings.HasPrefix(a.name, one.in) {
				continue
			}
			for _, form := range one.forms() {
				plant(one.name, form)
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
