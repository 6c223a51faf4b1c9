package browser

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// TestConsole drives the operators' console of a sandbox in which something of
// every kind has happened.
func TestConsole(t *testing.T) {
	t.Parallel()
	binary, folder, printed := runSandbox(t)
	data := filepath.Join(folder, "data")
	facts := printedAs(t, printed, `^Console +(http\S+)/console/ +\(name (\S+), password (\S+)\)$`)
	url := facts[0]
	payoutd := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(binary, append(args, "--data", data)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	password := func(name, role string) string {
		t.Helper()
		return regexp.MustCompile(`password: (\S+)`).FindStringSubmatch(payoutd("operator", "add", name, "--role", role))[1]
	}
	payoutd("project", "set", "demo", "--contract", "131-2026/7", "--fee", "card=1.5%", "--fee", "bank_account=30.00")
	made := act(t, url, filepath.Join(data, "demo", "private.pem"))
	post(t, url+"/sandbox/clock", `{"advance":"4d"}`) // the bank gives one back, another expires
	node(t, "console.test.js", append(made, "CONSOLE="+url+"/console/", "NAME="+facts[1], "PASSWORD="+facts[2],
		"VIEWER="+password("viola", "viewer"), "ACCOUNTANT="+password("arina", "accountant"))...)

	if out := payoutd("check"); !strings.Contains(out, "the books are clean") {
		t.Errorf("the books: %s", out)
	}
	if out := payoutd("audit"); !strings.Contains(out, "console/arina") || !strings.Contains(out, "report_download") {
		t.Errorf("the audit: %s", out)
	}
	log, err := os.ReadFile(filepath.Join(data, "payoutd.log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), facts[2]) {
		t.Error("the log has a password")
	}
}

func post(t *testing.T, url, body string) {
	t.Helper()
	answer, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s answers with status %d", url, answer.StatusCode)
	}
}

// act asks for payouts that end in different ways, and returns the sessions as
// variables for node.
func act(t *testing.T, url, keyFile string) (env []string) {
	t.Helper()
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := sign.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(url, "demo", key)
	if err != nil {
		t.Fatal(err)
	}
	person := func(name string) *client.Participants {
		return &client.Participants{Recipient: &client.Person{FullName: name}}
	}
	rub := func(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.RUB} }
	account := client.ToAccount(client.RussianAccount{
		BIK: "044000777", Account: "40817810813100000033", FullName: "Гусев Пётр Иванович", Description: "Выплата по договору",
	})
	for _, one := range []struct {
		name    string
		to      *client.Details
		amount  money.Amount
		who     string
		meta    any
		confirm bool
	}{
		{"PAID", client.ToCard("2200000000001317"), rub(12_500_00), "Соколова Марина Андреевна", map[string]any{"order": 1017, "shop": "Север"}, true},
		{"EVIL", client.ToCard("4242424242424242"), rub(1_00), `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`, map[string]string{
			"</pre><script>alert(3)</script>": `"><svg onload=alert(4)>`, "number": "4242 4242 4242 4242", "formula": `=HYPERLINK("http://evil.example";"click")`,
		}, true},
		{"RETURNED", account, rub(48_000_00), "Гусев Пётр Иванович", "договор 44-А", true},
		{"FAILED", client.ToCard("2200000000002208"), rub(7_300_50), "Юсупов Тимур", nil, true},
		{"FOREIGN", client.ToCard("5555555555554444"), money.Amount{Minor: 250_00, Currency: money.USD}, "Emma Lindqvist", nil, true},
		{"AWAITS", client.ToCard("2200000000002018"), rub(3_900_00), "Орлова Вера", nil, false},
	} {
		s, err := c.InitPayout(context.Background(), client.Request{
			Details: one.to, Amount: client.AmountOf(one.amount), Participants: person(one.who), Metadata: one.meta,
		})
		if err == nil {
			s, err = c.WaitFor(context.Background(), s.ID, func(s client.Session) bool { return client.AwaitsConfirm(s) || client.Finished(s) })
		}
		if err == nil && one.confirm {
			if s, err = c.Confirm(context.Background(), s.ID); err == nil {
				s, err = c.WaitFor(context.Background(), s.ID, client.Finished)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", one.name, err)
		}
		env = append(env, fmt.Sprintf("%s=%s", one.name, s.ID))
	}
	return env
}
