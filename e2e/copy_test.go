package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/sign"
)

// TestCopy moves a sandbox with payouts under way from its file to PostgreSQL
// and goes on with them there: what was confirmed is paid, what awaits can be
// confirmed, and nothing starts on the file any more.
func TestCopy(t *testing.T) {
	data, url := filepath.Join(t.TempDir(), "d"), pgtest.URL(t)
	file := "sqlite:" + filepath.Join(data, "payoutd.db")
	p := start(t, "sandbox", "--listen", "127.0.0.1:0", "--data", data)
	key, err := sign.ParsePrivateKey(readFile(t, filepath.Join(data, "demo", "private.pem")))
	if err != nil {
		t.Fatal(err)
	}
	pay := func(c *client.Client, number client.CardNumber, until func(client.Session) bool) string {
		t.Helper()
		s, err := c.InitPayout(t.Context(), client.Request{
			Details: client.ToCard(number), Amount: &client.Amount{Minor: 15000, Currency: "rub"},
			Participants: &client.Participants{Recipient: &client.Person{FullName: "Ivan Ivanov"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if s, err = c.WaitFor(t.Context(), s.ID, until); err != nil {
			t.Fatalf("session %s: %v", s.ID, err)
		}
		return s.ID
	}
	wait := func(c *client.Client, session string) {
		t.Helper()
		s, err := c.WaitFor(t.Context(), session, client.Finished)
		if err != nil || s.Status != client.SessionAccepted {
			t.Errorf("session %s is %s, error %v; want it accepted", session, s.Status, err)
		}
	}
	c, err := client.New(p.url, "demo", key)
	if err != nil {
		t.Fatal(err)
	}
	const paidLate, lostAnswer, paid = "2200000000002083", "2200000000002042", "4242424242424242"
	awaiting := pay(c, paid, client.AwaitsConfirm)
	var sent []string
	for _, number := range []client.CardNumber{paidLate, lostAnswer, paid} {
		session := pay(c, number, client.AwaitsConfirm)
		if _, err := c.Confirm(t.Context(), session); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, session)
	}

	refused(t, "in use by another process", "copy", "--from", file, "--to", url)
	p.kill()
	said := run(t, "copy", "--from", file, "--to", url)
	for _, want := range []string{"the books are clean on both sides", "payoutd serve --data " + data + " --db 'postgres://", "is marked as left"} {
		if !strings.Contains(said, want) {
			t.Errorf("copy says\n%s\nwithout %q", said, want)
		}
	}
	refused(t, "has moved from this database to postgres://", "sandbox", "--listen", "127.0.0.1:0", "--data", data)
	refused(t, "has moved from this database to postgres://", "deposit", "demo", "1.00", "rub", "--data", data)
	refused(t, "has moved", "copy", "--from", file, "--to", url)
	refused(t, "not empty", "copy", "--from", file, "--to", url, "--again")
	refused(t, "vault key", "check", "--data", filepath.Join(t.TempDir(), "other"), "--db", url)

	p = start(t, "sandbox", "--listen", "127.0.0.1:0", "--data", data, "--db", url)
	if c, err = client.New(p.url, "demo", key); err != nil {
		t.Fatal(err)
	}
	for _, session := range sent {
		wait(c, session)
	}
	if _, err := c.Confirm(t.Context(), awaiting); err != nil {
		t.Fatal(err)
	}
	wait(c, awaiting)
	wait(c, confirmed(t, c, pay(c, paid, client.AwaitsConfirm)))
	p.stop(t)
	run(t, "check", "--data", data, "--db", url)

	// And back, into a file beside the old one.
	back := "sqlite:" + filepath.Join(data, "back.db")
	run(t, "copy", "--from", url, "--to", back, "--data", data)
	run(t, "check", "--data", data, "--db", back)
}

func confirmed(t *testing.T, c *client.Client, session string) string {
	t.Helper()
	if _, err := c.Confirm(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	return session
}

// refused runs a command that must end with exit code 1 and say why.
func refused(t *testing.T, why string, args ...string) {
	t.Helper()
	cmd := exec.Command(payoutd, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = environ(), &stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), why) {
		t.Errorf("payoutd %s: %v, %s\nwant exit code 1 and %q", strings.Join(args, " "), err, stderr.String(), why)
	}
}
