package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStatements does what a stranger does to see that statements are matched:
// pays in a sandbox, asks its bank for statements, true and wrong ones, and takes
// them in beside the server and without it.
func TestStatements(t *testing.T) {
	data := t.TempDir()
	server := start(t, "sandbox", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "error")
	pay := func(account string) string {
		t.Helper()
		out := run(t, "payout", "create", "--account", account, "--bik", "044525974", "--full-name", "Ivan Ivanov", "--description", "a test", "--amount", "100.00", "--confirm", "--wait", "--json",
			"--data", data, "--url", server.url)
		var answer struct{ Session struct{ ID string } }
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return answer.Session.ID
	}
	var clock struct{ Now time.Time }
	now := func() time.Time {
		t.Helper()
		if err := json.Unmarshal(fetch(t, http.MethodGet, server.url+"/sandbox/clock", ""), &clock); err != nil {
			t.Fatal(err)
		}
		return clock.Now.UTC()
	}
	untilNoon(t, server)
	returned := pay("40817810813100000033") // gives the money back after three days
	for range 4 {
		pay("40817810500000012345")
	}
	file := func(query string) string {
		t.Helper()
		return writeFile(t, "statement", fetch(t, http.MethodGet, server.url+"/sandbox/statement?rail=account"+query, ""))
	}
	type report struct {
		Number      string
		Matched     int
		Repeated    bool
		Differences int
		Found       []struct{ Kind, Text string }
	}
	take := func(path string, code int, flags ...string) (r report) {
		t.Helper()
		out := exits(t, code, append([]string{"statement", "import", path, "--rail", "account", "--json", "--data", data}, flags...)...)
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return r
	}
	kinds := func(r report) (list []string) {
		for _, d := range r.Found {
			list = append(list, d.Kind)
		}
		slices.Sort(list)
		return list
	}

	good := file("")
	if r := take(good, 0); r.Matched != 5 || r.Differences != 0 {
		t.Errorf("the true statement: %+v", r)
	}
	if r := take(good, 0); !r.Repeated {
		t.Errorf("again: %+v", r)
	}
	for _, c := range []struct {
		differences string
		want        []string
	}{
		{"extra", []string{"extra"}},
		{"other_amount", []string{"other_amount"}},
		{"doubled", []string{"doubled"}},
		{"other_sum", []string{"other_sum"}},
	} {
		if r := take(file("&format=camt053&differences="+c.differences), 1, "--format", "camt053"); !slices.Equal(kinds(r), c.want) {
			t.Errorf("%s: found %+v, want %q", c.differences, r, c.want)
		}
	}
	if out := run(t, "statement", "list", "--data", data); strings.Count(out, "\n") != 6 || !strings.Contains(out, " account ") {
		t.Errorf("list: %s", out)
	}

	// The money comes back: told by notification and in the statement of its day.
	paid := now()
	fetch(t, http.MethodPost, server.url+"/sandbox/clock", `{"advance":"4d"}`)
	if !until(t.Context(), startTimeout, func() bool {
		return strings.Contains(run(t, "payout", "status", returned, "--json", "--data", data, "--url", server.url), `"refunds"`)
	}) {
		t.Fatal("the money has not come back")
	}
	if r := take(file("&date="+paid.AddDate(0, 0, 3).Format(time.DateOnly)), 0); r.Matched != 1 {
		t.Errorf("the statement with the return: %+v", r)
	}

	server.stop(t) // commands go on without it
	if r := take(good, 0); !r.Repeated {
		t.Errorf("again, without the server: %+v", r)
	}
	if out := exits(t, 2, "statement", "import", good, "--data", data); !strings.Contains(out, "--rail") {
		t.Errorf("without --rail: %s", out)
	}
	if out := exits(t, 1, "statement", "import", good, "--rail", "card", "--data", data); !strings.Contains(out, "the statement is of account, not of card") {
		t.Errorf("of another rail: %s", out)
	}
	nothing := writeFile(t, "nothing", []byte("date;amount\n"))
	if out := exits(t, 1, "statement", "import", nothing, "--rail", "account", "--data", data); !strings.Contains(out, "the statement can't be read: neither") {
		t.Errorf("of another form: %s", out)
	}
	if out := exits(t, 1, "statement", "show", "st_1", "--data", data); !strings.Contains(out, "no statement st_1") {
		t.Errorf("of nobody: %s", out)
	}
	if out := run(t, "check", "--data", data); !strings.Contains(out, "6 statements\n4 differences of statements, see ") {
		t.Errorf("check: %s", out)
	}
}

// untilNoon moves a sandbox's clock to the next day's noon: what follows is within
// one day, whenever the test runs.
func untilNoon(t *testing.T, sandbox *process) {
	t.Helper()
	fetch(t, http.MethodPost, sandbox.url+"/sandbox/clock", fmt.Sprintf(`{"advance":%q}`, tillNoon()))
}

// TestStatementKinds sees each kind of difference in a sandbox that has taken in
// no statement before.
func TestStatementKinds(t *testing.T) {
	data := t.TempDir()
	server := start(t, "sandbox", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "error")
	untilNoon(t, server)
	for range 5 {
		run(t, "payout", "create", "--card", "4242424242424242", "--amount", "100.00", "--confirm", "--wait", "--data", data, "--url", server.url)
	}
	path := writeFile(t, "statement",
		fetch(t, http.MethodGet, server.url+"/sandbox/statement?rail=card&differences=missing,extra,other_amount,doubled,other_sum", ""))
	out := exits(t, 1, "statement", "import", path, "--rail", "card", "--data", data)
	for _, kind := range []string{"missing", "extra", "other_amount", "doubled", "other_sum"} {
		if strings.Count(out, " "+kind+" ") != 1 {
			t.Errorf("%s is not there once:\n%s", kind, out)
		}
	}
	number, _, _ := strings.Cut(out, ":")
	if shown := exits(t, 1, "statement", "show", number, "--data", data); shown != out {
		t.Errorf("shown as\n%s\nwas\n%s", shown, out)
	}
}

// exits is run for a command that ends with an exit code; it returns all that was
// printed but, where something was, what went to stderr.
func exits(t testing.TB, code int, args ...string) string {
	t.Helper()
	cmd := exec.Command(payoutd, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(), &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("payoutd %s: %v, want exit code %d\n%s%s", strings.Join(args, " "), err, code, stdout.String(), stderr.String())
	}
	if stdout.Len() > 0 {
		return stdout.String()
	}
	return stderr.String()
}

// fetch makes a request to the sandbox and returns the body of its answer.
func fetch(t testing.TB, method, url, body string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s, error %v", method, url, answer.StatusCode, b, err)
	}
	return b
}
