package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/sandbox"
)

// answerHeaders are the headers that are ours to decide; the rest is net/http's.
var answerHeaders = []string{
	"Allow", "Cache-Control", "Content-Length", "Content-Type", "Idempotency-Replayed", "Location",
	"Retry-After", "X-Content-Type-Options", "X-Request-Id",
}

// TestWire plays testdata/wire/*.txtar: each file is a conversation with one
// product over one connection, in sections
//
//	request  verb, path and headers, as they go over the line
//	body     the bytes of the body, without the last newline; may be left out
//	answer   status, our headers and body, exactly
//	webhook  path, headers and body of each webhook that followed
//	wait     time that passes, such as 1s
//	clock    time by which the clock is moved ahead, such as 240m
//	widget   what a person gives the widget: "card" or "account", the public
//	         token and the number or BIK and number
//	issue    what an operator issues: project, kind and card number
//	delete   what an operator deletes: project, kind and token
//	result   what came of these three
//	stop     the engine takes nothing any more
//
// In a request {name} is the signature of the body by that key, and
// "Transfer-Encoding: chunked" sends the body in chunks of seven bytes. Numbers
// and tokens are shown in the order in which they are first seen; see numbers. The files
// are rewritten with -update, but for requests, bodies, waits and clocks.
func TestWire(t *testing.T) {
	for name, fixture := range fixtures(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			played := play(t, fixture)
			if *update {
				if err := os.WriteFile(name, txtar.Format(played), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got, want := string(txtar.Format(played)), string(txtar.Format(fixture)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func fixtures(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/wire/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	all := make(map[string]*txtar.Archive)
	for _, name := range files {
		all[name] = must(txtar.ParseFile(name))
	}
	return all
}

// TestFixturesCoverTheWire says that the conversations leave out no operation,
// no method, and no error code that the sandbox can bring about.
func TestFixturesCoverTheWire(t *testing.T) {
	var answers, webhooks strings.Builder
	accepted := make(map[string]bool) // first lines of requests
	for _, fixture := range fixtures(t) {
		var line string
		for _, section := range fixture.Files {
			text := string(section.Data)
			switch section.Name {
			case "request":
				line, _, _ = strings.Cut(text, "\n")
			case "answer":
				answers.WriteString(text)
				accepted[line] = accepted[line] || strings.HasPrefix(text, "200 ")
			case "webhook":
				webhooks.WriteString(text)
			}
		}
	}

	for _, r := range routes(newFakeEngine()) {
		for _, v := range r.versions {
			for _, verb := range r.verbs {
				if line := fmt.Sprintf("%s /api/v%d/%s", verb, v, r.path); r.op != "" && !accepted[line] {
					t.Errorf("%s is accepted nowhere", line)
				}
			}
		}
	}
	for _, code := range []fault.Code{
		fault.Unidentified, fault.Unauthenticated, fault.Unauthorized, fault.Invalid,
		fault.KeyExists, fault.WrongState, fault.Internal,
	} {
		if !strings.Contains(answers.String(), fmt.Sprintf(`{"status":"error","error":{"code":%q,`, code)) {
			t.Errorf("%s refuses no request", code)
		}
	}
	codes := []fault.Code{fault.CancelledByPartner, fault.ConfirmTimeout, fault.InsufficientBalance, fault.AccountNotFound}
	for _, v := range append(sandbox.Values(), sandbox.PersonValues()...) {
		if v.ErrorCode != "" {
			codes = append(codes, v.ErrorCode)
		}
	}
	for _, code := range codes {
		if !strings.Contains(webhooks.String(), fmt.Sprintf(`"error":{"code":%q,`, code)) {
			t.Errorf("%s fails no payout", code)
		}
	}
	for _, name := range []string{"payment_method", "payout_details"} {
		for _, method := range []string{
			`{"type":"card",`, `{"type":"wallet",`, `{"type":"bank_account","bank_account":{"system_type":"ru",`,
			`{"type":"bank_account","bank_account":{"system_type":"faster_payment_system",`,
			`{"type":"bank_account","bank_account":{"system_type":"faster_payment_system_verification",`,
		} {
			paid := regexp.MustCompile(`"status":"succeeded",.*` + regexp.QuoteMeta(fmt.Sprintf("%q:%s", name, method)))
			if !paid.MatchString(webhooks.String()) {
				t.Errorf("nobody is told that %q:%s… has succeeded", name, method)
			}
		}
	}
}

// play holds the conversation of a fixture and returns it with what came back.
func play(t *testing.T, fixture *txtar.Archive) *txtar.Archive {
	t.Helper()
	keys()
	serverKeys()
	vaultKeys()
	emptyDatabase()
	hooks := newReceiver(t)
	played := &txtar.Archive{Comment: fixture.Comment}
	synctest.Test(t, func(t *testing.T) {
		p := newProduct(t, hooks)
		defer p.close()
		if bytes.Contains(txtar.Format(fixture), []byte("X-PARTNER-PROJECT: kale\n")) {
			p.addAccounts()
		}
		shown := new(numbers)
		for i, file := range fixture.Files {
			switch file.Name {
			case "request":
				var body []byte
				if i+1 < len(fixture.Files) && fixture.Files[i+1].Name == "body" {
					body = shown.real(bytes.TrimSuffix(fixture.Files[i+1].Data, []byte("\n")))
				}
				played.Files = append(played.Files, file)
				if len(body) > 0 {
					played.Files = append(played.Files, fixture.Files[i+1])
				}
				head := fill(string(file.Data), string(body))
				verb, _, _ := strings.Cut(head, " ")
				came := written(t, p.send(verb, message(head, body)))
				played.Files = append(played.Files, txtar.File{Name: "answer", Data: shown.show(came)})
			case "wait":
				played.Files = append(played.Files, file)
				time.Sleep(duration(t, file))
			case "clock":
				played.Files = append(played.Files, file)
				if err := p.clock.Advance(duration(t, file)); err != nil {
					t.Fatal(err)
				}
			case "widget", "issue", "delete":
				played.Files = append(played.Files, file)
				came := p.tokens(file.Name, strings.Fields(string(shown.real(file.Data))))
				played.Files = append(played.Files, txtar.File{Name: "result", Data: shown.show([]byte(came + "\n"))})
			case "stop":
				played.Files = append(played.Files, file)
				p.engine.Close()
			case "body", "answer", "webhook", "result":
				continue
			default:
				t.Fatalf("unknown section %q", file.Name)
			}
			settle()
			for _, came := range hooks.take() {
				played.Files = append(played.Files, txtar.File{Name: "webhook", Data: shown.show([]byte(came))})
			}
		}
	})
	return played
}

func duration(t *testing.T, section txtar.File) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(strings.TrimSpace(string(section.Data)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// numbers gives the product's numbers those of the wire reference's examples,
// of the same length, in the order in which a fixture sees them: how many the
// engine makes in between for itself is no part of the wire. Tokens and
// identifiers of cards, which are random, get 64 digits that count up, and
// receipts the number of the wire reference's example.
type numbers struct {
	shownOf, realOf map[string]string
	next            map[string]int
	receipts        map[string]string // shown, by the tax service's
}

var (
	numbered    = regexp.MustCompile(`\b(?:(?:(?:ps|po|ev|rf)_|npd-)[0-9]{7}|[0-9a-f]{64})\b`)
	firstShown  = map[string]int{"ps_": 7300451, "po_": 4100982, "ev_": 9000131, "rf_": 3100131, "npd-": 5200131}
	placeholder = regexp.MustCompile(`\{[a-z0-9-]+\}`)
)

// receipt finds the number of a receipt where a payout shows it.
var receipt = regexp.MustCompile(`"receipt":\{"id":"([a-z0-9]{10})"`)

func (n *numbers) show(b []byte) []byte {
	for _, found := range receipt.FindAllSubmatch(b, -1) {
		number := string(found[1])
		if n.receipts == nil {
			n.receipts = make(map[string]string)
		}
		if n.receipts[number] == "" {
			n.receipts[number] = fmt.Sprintf("20a1b2c3d%d", len(n.receipts)+4)
		}
	}
	for number, shown := range n.receipts {
		b = bytes.ReplaceAll(b, []byte(number), []byte(shown))
	}
	return numbered.ReplaceAllFunc(b, func(found []byte) []byte {
		number := string(found)
		if n.shownOf[number] == "" {
			if n.next == nil {
				n.shownOf, n.realOf, n.next = make(map[string]string), make(map[string]string), make(map[string]int)
			}
			kind := strings.TrimRight(number, "0123456789")
			if firstShown[kind] == 0 {
				kind = ""
			}
			shown := fmt.Sprint(kind, firstShown[kind]+n.next[kind])
			if kind == "" {
				shown = fmt.Sprintf("%s%04x", strings.Repeat("b41f", 15), n.next[kind]+1)
			}
			n.next[kind]++
			n.shownOf[number], n.realOf[shown] = shown, number
		}
		return []byte(n.shownOf[number])
	})
}

// real puts the product's numbers in place of shown ones; others stay.
func (n *numbers) real(b []byte) []byte {
	return numbered.ReplaceAllFunc(b, func(found []byte) []byte {
		if number := n.realOf[string(found)]; number != "" {
			return []byte(number)
		}
		return found
	})
}

// fill puts signatures in place of key names.
func fill(head, body string) string {
	return placeholder.ReplaceAllStringFunc(head, func(name string) string {
		return signed(strings.Trim(name, "{}"), body)
	})
}

// message is an HTTP/1.1 request with its headers exactly as the fixture has them.
func message(head string, body []byte) []byte {
	line, headers, _ := strings.Cut(head, "\n")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: payoutd\r\n", line)
	for h := range strings.Lines(headers) {
		b.WriteString(strings.TrimSuffix(h, "\n") + "\r\n")
	}
	if strings.Contains(headers, "chunked") {
		b.WriteString("\r\n")
		for part := range slices.Chunk(body, 7) {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
		b.WriteString("0\r\n\r\n")
		return b.Bytes()
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.Bytes()
}

// written is an answer as fixtures hold it.
func written(t *testing.T, r *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.Status)
	for _, name := range answerHeaders {
		for _, v := range r.Header[textproto.CanonicalMIMEHeaderKey(name)] {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", body)
	return b.Bytes()
}
