package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/sign"
)

// migrated is a new database with the schema.
func migrated(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	if err := postgres.Migrate(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	return url
}

// wantRun runs a command line that must end with code and print text.
func wantRun(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	got, stdout, stderr := runCommand(t, nil, args...)
	if got != code || !strings.Contains(stdout+stderr, text) {
		t.Errorf("payoutd %s: code %d, stdout %q, stderr %q; want %d and %q", strings.Join(args, " "), got, stdout, stderr, code, text)
	}
	if strings.Contains(stdout+stderr, "hunter2") {
		t.Errorf("payoutd %s tells the password: %s%s", strings.Join(args, " "), stdout, stderr)
	}
}

func publicKeyFile(t *testing.T) string {
	t.Helper()
	key, err := sign.GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(path, key.Public().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPostgres goes the way of an operator: from an empty database to clean
// books, without a server and beside two.
func TestPostgres(t *testing.T) {
	url := strings.Replace(pgtest.URL(t), "postgres@", "postgres:hunter2@", 1)
	dir := filepath.Join(t.TempDir(), "d")
	at := []string{"--db", url, "--data", dir}
	run := func(code int, text string, args ...string) {
		t.Helper()
		wantRun(t, code, text, append(args, at...)...)
	}
	key := publicKeyFile(t)

	for _, command := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"project", "create", "acme", "--public-key", key}, {"check"}} {
		run(exitFailure, "bring it up with: payoutd migrate --db "+quote(withoutPassword(url)), command...)
	}
	run(exitDone, "has schema", "migrate")
	run(exitDone, "has schema", "migrate")
	run(exitFailure, "there is no installation in postgres://127.0.0.1:", "check")
	run(exitFailure, "there is no installation", "project", "list")
	if files, err := os.ReadDir(dir); err == nil && len(files) > 0 {
		t.Errorf("%v was made before there was an installation", files)
	}
	run(exitDone, "PAYOUTD_DB="+withoutPassword(url), "config")

	run(exitDone, "next: payoutd deposit acme 1000.00 rub --data", "project", "create", "acme", "--public-key", key)
	run(exitDone, "available: 5.00 RUB", "deposit", "acme", "5.00", "rub", "--reference", "r")
	run(exitDone, "the books are clean", "check")
	for _, more := range [][]string{nil, {"--fingerprints"}} {
		run(exitFailure, "have the vault key each for itself", append([]string{"vault", "rotate"}, more...)...)
	}
	if _, acts, _ := runCommand(t, nil, append([]string{"audit"}, at...)...); strings.Contains(acts, "vault_rotate") {
		t.Errorf("a refused command is among the acts:\n%s", acts)
	}
	run(exitFailure, "not of a sandbox", "sandbox", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--db", url)

	var stops []func() int
	for range 2 {
		_, stop := startServer(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--sandbox-rails", "--drain-delay", "0s"}, at...)...)
		stops = append(stops, stop)
	}
	for _, name := range []string{"payoutd-1.sock", "payoutd-2.sock"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	run(exitDone, "booked before", "deposit", "acme", "5.00", "rub", "--reference", "r")
	if code := stops[0](); code != exitDone {
		t.Errorf("the first node ended with code %d", code)
	}
	run(exitDone, "available: 7.00 RUB", "deposit", "acme", "2.00", "rub")
	if code := stops[1](); code != exitDone {
		t.Errorf("the second node ended with code %d", code)
	}
	run(exitDone, "1 project, 2 entries", "check")
}

// TestNodesMakeKeysOnce opens a new installation from many nodes at once. Those
// that share a folder share its keys; of those that don't, one wins.
func TestNodesMakeKeysOnce(t *testing.T) {
	const nodes = 4
	for _, row := range []struct {
		name string
		dirs func(t *testing.T, base string, n int) string
		want int // how many may open it
	}{
		{"one folder", func(_ *testing.T, base string, _ int) string { return base }, nodes},
		{"a folder each", func(_ *testing.T, base string, n int) string { return filepath.Join(base, fmt.Sprint(n)) }, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			url, base := migrated(t), t.TempDir()
			errs := make([]error, nodes)
			var all sync.WaitGroup
			for n := range nodes {
				all.Go(func() {
					g := global{DB: url, Data: row.dirs(t, base, n), LogLevel: "error"}
					f, err := g.folder()
					if err == nil {
						var i *installation
						if i, err = open(t.Context(), f, g.logger(io.Discard, 0), purpose{may: mayMake}); err == nil {
							err = i.close()
						}
					}
					errs[n] = err
				})
			}
			all.Wait()
			opened := 0
			for _, err := range errs {
				switch {
				case err == nil:
					opened++
				case !strings.Contains(err.Error(), "copy") || !strings.Contains(err.Error(), "from another node"):
					t.Errorf("refused with %v", err)
				}
			}
			if opened != row.want {
				t.Errorf("%d of %d nodes have opened it, want %d: %v", opened, nodes, row.want, errs)
			}
		})
	}
}

// TestOtherServerKeys refuses keys by which no partner could verify webhooks.
func TestOtherServerKeys(t *testing.T) {
	dir := t.TempDir()
	wantRun(t, exitDone, "is made", "project", "create", "acme", "--public-key", publicKeyFile(t), "--data", dir)
	key, err := sign.GenerateRSA()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "server.pem"), key.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRun(t, exitFailure, "are not the server's keys of the database", "check", "--data", dir)
}

// TestDeadNodesSocket has a node take the place of one that was killed.
func TestDeadNodesSocket(t *testing.T) {
	g := global{DB: "postgres://h/p", Data: t.TempDir()}
	f, err := g.folder()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path("payoutd-1.sock.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := f.listen()
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.listen()
	if err != nil {
		t.Fatal(err)
	}
	if got := f.sockets(); len(got) != 2 || got[0] != f.path("payoutd-1.sock") || got[1] != f.path("payoutd-2.sock") {
		t.Errorf("sockets %q", got)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	third, err := f.listen()
	if err != nil {
		t.Fatal(err)
	}
	if got := third.Addr().String(); got != f.path("payoutd-1.sock") {
		t.Errorf("the third node listens on %s", got)
	}
	for _, l := range []io.Closer{second, third} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	for _, row := range []struct{ name, db, want string }{
		{"none", "postgres://u@h/p", "postgres://u@h/p"},
		{"before the host", "postgres://u:hunter2@h:5433/p?sslmode=disable", "postgres://u@h:5433/p?sslmode=disable"},
		{"among the parameters", "postgresql://h/p?password=hunter2&user=u&sslpassword=hunter2", "postgresql://h/p?user=u"},
		{"unreadable", "postgres://u:hunter2@h:port/p", "postgres://…"},
		{"SQLite", "sqlite:/a b/payoutd.db", "sqlite:/a b/payoutd.db"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := withoutPassword(row.db); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// TestRoles has each node do its part: the one with the API takes requests,
// another carries them out.
func TestRoles(t *testing.T) {
	url, dir := migrated(t), t.TempDir()
	serve := func(roles string) string {
		at, _ := startServer(t, "serve", "--db", url, "--data", dir, "--listen", "127.0.0.1:0", "--sandbox-rails", "--drain-delay", "0s", "--roles", roles)
		return at
	}
	front, back := serve("api"), serve("work,webhook")
	for _, row := range []struct {
		name, url string
		status    int
		says      string
	}{
		{"the API where it is", front + "/api/v2/nowhere", 404, "invalid_request"},
		{"the API where it is not", back + "/api/v2/session/status", 404, "does not serve the API"},
		{"readiness of the one", front + "/readyz", 200, "ready"},
		{"readiness of the other", back + "/readyz", 200, "ready"},
		{"health without the API", back + "/healthz", 200, "ok"},
		{"metrics without the API", back + "/metrics", 200, "payoutd_batch_commands"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if status, body := get(t, row.url); status != row.status || !strings.Contains(body, row.says) {
				t.Errorf("status %d, %q; want %d and %q", status, body, row.status, row.says)
			}
		})
	}
	wantRun(t, exitUsage, "none of api, work, webhook, console", "serve", "--db", url, "--data", dir, "--roles", "all")
	wantRun(t, exitUsage, "a node without any", "serve", "--db", url, "--data", dir, "--roles=")
}

// TestDrain follows a node from the signal to its end: not ready at once,
// serving for the delay, with connections that are not kept.
func TestDrain(t *testing.T) {
	url, stop := startServer(t, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--drain-delay", "2s")
	if status, _ := get(t, url+"/readyz"); status != http.StatusOK {
		t.Fatalf("status %d before the signal", status)
	}
	ended := make(chan int, 1)
	go func() { ended <- stop() }()
	for {
		response, err := http.Get(url + "/readyz")
		if err != nil {
			t.Fatalf("the node was gone before it was not ready: %v", err)
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusServiceUnavailable {
			break
		}
	}
	response, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatalf("a request while it drains: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || !response.Close {
		t.Errorf("status %d, connection to be closed: %t; want 200 and true", response.StatusCode, response.Close)
	}
	if code := <-ended; code != exitDone {
		t.Errorf("ended with code %d", code)
	}
}
