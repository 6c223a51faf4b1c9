package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/sign"
)

// A payout from an own account is confirmed by what was printed and read, and by
// nothing else.
func TestConfirmFromOwnAccount(t *testing.T) {
	data := t.TempDir()
	url, _ := startServer(t, "sandbox", "--data", data, "--listen", "127.0.0.1:0")
	pem, err := os.ReadFile(filepath.Join(data, "demo", "private.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := sign.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	partner, err := client.New(url, demoProject, key)
	if err != nil {
		t.Fatal(err)
	}
	for n, source := range instrument.Sources {
		t.Run(string(source), func(t *testing.T) {
			person := client.Person{FullName: "Ivan Ivanov", BeneficiaryID: "7700000136"}
			sender := person
			sender.Account = sandboxAccounts(demoProject)[n].Number
			s, err := partner.InitPayoutFrom(t.Context(), client.Source(source), client.Request{
				Details: client.ToAccount(client.RussianAccount{
					BIK: "044525974", Account: "40817810100000270411", FullName: "Ivan Ivanov", Description: "Contract 17",
				}),
				Amount: &client.Amount{Minor: 150_00, Currency: "rub"}, Participants: &client.Participants{Sender: &sender, Recipient: &person},
			})
			if err != nil {
				t.Fatal(err)
			}
			if s, err = partner.WaitFor(t.Context(), s.ID, client.AwaitsConfirm); err != nil {
				t.Fatal(err)
			}
			run := func(code int, says string, flags ...string) string {
				t.Helper()
				got, stdout, stderr := runCommand(t, nil, append([]string{"payout", "confirm", s.ID, "--data", data, "--url", url}, flags...)...)
				if got != code || !strings.Contains(stdout+stderr, says) {
					t.Errorf("%q: code %d, want %d and %q\n%s%s", flags, got, code, says, stdout, stderr)
				}
				return stdout
			}
			file := func(text string) string {
				path := filepath.Join(t.TempDir(), "information")
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			printed := run(exitFailure, "it is not confirmed: ")
			var information bytes.Buffer
			if err := json.Compact(&information, []byte(printed)); err != nil || information.String() != string(s.ConfirmInformation) {
				t.Fatalf("printed %s, want %s", printed, s.ConfirmInformation)
			}
			run(exitFailure, "no such file", "--information", filepath.Join(data, "nowhere"))
			run(exitUsage, "it is not JSON", "--information", file("yes"))
			run(exitFailure, "invalid_request: ", "--information", file("{}"))
			run(exitFailure, "invalid_request: ", "--information", file(strings.Replace(printed, "40817810100000270411", "40817810100000270412", 1)))
			if s, err := partner.Status(t.Context(), s.ID); err != nil || !client.AwaitsConfirm(s) {
				t.Fatalf("it does not wait any more: %+v, %v", s, err)
			}
			run(exitDone, "in_progress", "--information", file(printed))
			if s, err := partner.WaitFor(t.Context(), s.ID, client.Finished); err != nil || s.Status != client.SessionAccepted {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// What a server refuses, is too busy for or was never sent was not done. After
// anything else the command says how to find out, for who gives it again with
// another key may pay twice.
func TestPayoutThatIsOpen(t *testing.T) {
	key, err := sign.GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, key.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		made    = `{"status":"ok","session":{"id":"ps_1","status":"in_progress","next_action":"confirm"}}`
		failure = `{"status":"error","error":{"code":"internal_error","description":"no outcome"}}`
		again   = "repeat the command with --idempotency-key k-1 --replay"
		undone  = "; nothing was done: the same command may be given again, with --idempotency-key k-1"
	)
	for name, row := range map[string]struct {
		path   string // that is answered so
		status int
		body   string
		says   string
	}{
		"refused":           {"init/payout", 400, `{"status":"error","error":{"code":"invalid_request","description":"no"}}`, "the server refused: invalid_request"},
		"no outcome":        {"init/payout", 500, failure, again},
		"busy":              {"init/payout", 503, failure, undone},
		"a proxy is busy":   {"init/payout", 503, "<html>", again},
		"a proxy's answer":  {"init/payout", 504, "<html>", again},
		"a stranger's":      {"init/payout", 200, "<html>", again},
		"confirmed, or not": {"confirm", 500, failure, "session ps_1: "},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status, body := http.StatusOK, made
				if strings.HasSuffix(r.URL.Path, row.path) {
					status, body = row.status, row.body
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}))
			defer server.Close()
			code, _, stderr := runCommand(t, nil, "payout", "create", "--url", server.URL, "--key", file,
				"--card", "4242424242424242", "--amount", "1.00", "--idempotency-key", "k-1", "--confirm")
			if code != exitFailure || !strings.Contains(stderr, row.says) || row.says != again && strings.Contains(stderr, again) {
				t.Errorf("code %d, %s; want %q", code, stderr, row.says)
			}
		})
	}

	server := func(start func(*httptest.Server), handle http.HandlerFunc) string {
		s := httptest.NewUnstartedServer(handle)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		start(s)
		t.Cleanup(s.Close)
		return s.URL
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	busy := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, failure)
	}
	const nobody = "http://127.0.0.1:1"
	for _, row := range []struct {
		name, url, says string
		flags           []string
	}{
		{"nobody listens", nobody, undone, nil},
		{"a certificate of nobody", server((*httptest.Server).StartTLS, cut), undone, nil},
		{"no TLS there", strings.Replace(server((*httptest.Server).Start, cut), "http:", "https:", 1), undone, nil},
		{"cut off when it was sent", server((*httptest.Server).Start, cut), again, nil},
		{"a replay: the first may have gone through", nobody, again, []string{"--replay"}},
		{"a replay, and busy", server((*httptest.Server).Start, busy), again, []string{"--replay"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, _, stderr := runCommand(t, nil, append([]string{
				"payout", "create", "--url", row.url, "--key", file,
				"--card", "4242424242424242", "--amount", "1.00", "--idempotency-key", "k-1",
			}, row.flags...)...)
			if other := again + undone; code != exitFailure || !strings.Contains(stderr, row.says) ||
				strings.Contains(stderr, strings.Replace(other, row.says, "", 1)) {
				t.Errorf("code %d, %s; want %q", code, stderr, row.says)
			}
		})
	}
}

// What became of a payout afterwards is shown too, and of numbers of accounts no
// more than elsewhere.
func TestPayoutIsShown(t *testing.T) {
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	var stdout bytes.Buffer
	d := &partnerDesk{program: &program{stdout: &stdout, name: "payoutd"}, flags: &payoutCommand{}}
	rub := func(minor int64) *client.Amount { return &client.Amount{Minor: minor, Currency: "rub"} }
	receipt := func(r *client.Receipt) *client.Fiscalization {
		return &client.Fiscalization{Taxpayer: client.Taxpayer{Receipt: r}}
	}
	if err := d.show(client.Session{ID: "ps_1", Status: "accepted", Payouts: []client.Payout{
		{
			ID: "po_1", Status: "succeeded", Amount: rub(150_00), Details: client.ToAccount(client.RussianAccount{Account: "40817810500000012345"}),
			Refunds: []client.Refund{{ID: "rf_1", Status: "accepted", Amount: rub(150_00), CreatedAt: at}, {ID: "rf_2", Status: "declined", CreatedAt: at}},
			Fiscal:  receipt(&client.Receipt{ID: "20abc", Link: "https://receipts.example/20abc"}),
		},
		{ID: "po_2", Status: "succeeded", Details: client.ToAccount(client.RussianAccount{Token: "t"}), Fiscal: receipt(&client.Receipt{ID: "20abd"})},
		{ID: "po_3", Status: "pending", Amount: &client.Amount{Minor: 1, Currency: "xxx"}, Fiscal: receipt(nil)},
	}}); err != nil {
		t.Fatal(err)
	}
	want := `session  ps_1
status   accepted
payout   po_1 succeeded 150.00 RUB to account 40817***2345
refund   rf_1 accepted 150.00 RUB at 2026-11-28T09:00:00Z
refund   rf_2 declined at 2026-11-28T09:00:00Z
receipt  20abc https://receipts.example/20abc
payout   po_2 succeeded to account
receipt  20abd
payout   po_3 pending
`
	if got := stdout.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestCount(t *testing.T) {
	for n, want := range []string{"0 entries", "1 entry", "2 entries"} {
		if got := count(n, "entry", "entries"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
