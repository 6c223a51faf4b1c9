package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// startServer runs the command line in this process until the test ends or stop
// is called, and returns the address that it printed.
func startServer(t *testing.T, args ...string) (url string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	screen, stdout := io.Pipe()
	var stderr bytes.Buffer
	p := &program{stdout: stdout, stderr: &stderr, name: "payoutd"}
	ended := make(chan int, 1)
	go func() {
		code := p.run(ctx, args)
		_ = stdout.Close()
		ended <- code
	}()
	found := make(chan string, 1)
	go func() {
		defer close(found)
		lines := bufio.NewScanner(screen)
		for lines.Scan() {
			if u := regexp.MustCompile(`ready on (http\S+)`).FindStringSubmatch(lines.Text()); u != nil {
				found <- u[1]
			}
		}
	}()
	url, ok := <-found
	if !ok {
		cancel()
		t.Fatalf("ended with code %d before it was ready: %s", <-ended, stderr.String())
	}
	stopped, code := false, 0
	stop = func() int {
		if !stopped {
			cancel()
			stopped, code = true, <-ended
		}
		return code
	}
	t.Cleanup(func() { stop() })
	return url, stop
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

func TestServerPages(t *testing.T) {
	url, stop := startServer(t, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--sandbox-rails")
	for _, row := range []struct {
		path   string
		status int
		says   string
	}{
		{"/healthz", 200, "ok"},
		{"/readyz", 200, "ready"},
		{"/metrics", 200, "payoutd_batch_commands"},
		{"/sandbox/values", 200, "4242424242424242"},
		{"/nowhere", 404, ""},
		{"/api/v2/nowhere", 404, "invalid_request"},
	} {
		t.Run(row.path, func(t *testing.T) {
			if status, body := get(t, url+row.path); status != row.status || !strings.Contains(body, row.says) {
				t.Errorf("status %d, %q; want %d and %q", status, body, row.status, row.says)
			}
		})
	}
	if code := stop(); code != exitDone {
		t.Errorf("ended with code %d", code)
	}
}

func TestNoSandboxWithoutItsRails(t *testing.T) {
	url, _ := startServer(t, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	if status, _ := get(t, url+"/sandbox/values"); status != http.StatusNotFound {
		t.Errorf("status %d, want 404", status)
	}
}

// TestClaim keeps a sandbox off the folder of a server, whose payouts it would
// report as paid.
func TestClaim(t *testing.T) {
	for _, row := range []struct {
		name  string
		there []string // files in the folder
		right bool
	}{
		{"nothing", nil, true},
		{"a sandbox", []string{"sim/world.db", "payoutd.db"}, true},
		{"a sandbox that was killed before it had a database", []string{"sim/clock"}, true},
		{"a sandbox that was killed before it had a world", []string{"sim/clock", "payoutd.db"}, true},
		{"a server", []string{"payoutd.db", "vault.key"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := global{Data: filepath.Join(t.TempDir(), "d")}
			f, err := g.folder()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range row.there {
				if err := os.MkdirAll(filepath.Dir(f.path(name)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f.path(name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second time on what the first has left
				if err := f.claim(t.Context(), nil); (err == nil) != row.right {
					t.Fatalf("%v, want right %t", err, row.right)
				}
			}
		})
	}
}

// TestSandboxOnServersFolder is the same from the command line.
func TestSandboxOnServersFolder(t *testing.T) {
	data := t.TempDir()
	if code, _, stderr := runCommand(t, nil, "migrate", "--data", data); code != exitDone {
		t.Fatal(stderr)
	}
	code, _, stderr := runCommand(t, nil, "sandbox", "--data", data, "--listen", "127.0.0.1:0")
	if code != exitFailure || !strings.Contains(stderr, "is the database of a server, not of a sandbox") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(data, "payoutd.log")); err == nil {
		t.Error("a refused sandbox has left its log behind")
	}
}

// TestUnready looks at a server before it runs and after its store has closed.
func TestUnready(t *testing.T) {
	g := global{Data: t.TempDir(), LogLevel: "error"}
	f, err := g.folder()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(t.Context(), f, g.logger(io.Discard, 0), serveFlags{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if why := s.unready(t.Context()); why != "starting or stopping" {
		t.Errorf("before it runs: %q", why)
	}
	s.ready.Store(true)
	if why := s.unready(t.Context()); why != "" {
		t.Errorf("while it runs: %q", why)
	}
	if err := s.abandon(); err != nil {
		t.Error(err)
	}
	if why := s.unready(t.Context()); why != "the store does not answer" {
		t.Errorf("with its store closed: %q", why)
	}
}

// TestPrivateFiles holds the folder to its owner.
func TestPrivateFiles(t *testing.T) {
	dir := t.TempDir() + "/made"
	_, stop := startServer(t, "serve", "--data", dir, "--listen", "127.0.0.1:0")
	for name, mode := range map[string]os.FileMode{
		"": 0o700, "vault.key": 0o600, "server.pem": 0o600, "server-p256.pem": 0o600, "payoutd.db": 0o600, "payoutd.sock": 0o600,
		"server-public.pem": 0o644,
	} {
		info, err := os.Stat(dir + "/" + name)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), mode)
		}
	}
	stop()
}

// TestKeysThatOthersRead opens up each key in turn: the server complains of it,
// and of no other.
func TestKeysThatOthersRead(t *testing.T) {
	g := global{Data: t.TempDir(), LogLevel: "warn"}
	f, err := g.folder()
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []string{"", "vault.key", "server.pem", "server-p256.pem"} {
		if open != "" {
			if err := os.Chmod(f.path(open), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		s, err := newServer(t.Context(), f, g.logger(&log, 0), serveFlags{Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.abandon(); err != nil {
			t.Error(err)
		}
		said := strings.Count(log.String(), "can read a key")
		if open == "" && said > 0 || open != "" && (said != 1 || !strings.Contains(log.String(), f.path(open))) {
			t.Errorf("with %q open it says %q", open, log.String())
		}
		if open != "" {
			if err := os.Chmod(f.path(open), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestServerWaitsForCommand starts a server while a command holds the folder.
func TestServerWaitsForCommand(t *testing.T) {
	g := global{Data: t.TempDir(), LogLevel: "error"}
	f, err := g.folder()
	if err != nil {
		t.Fatal(err)
	}
	command, err := open(t.Context(), f, g.logger(io.Discard, 0), purpose{may: mayMake})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		server, err := openPatiently(t.Context(), f, g.logger(io.Discard, 0), purpose{may: mayMake})
		if err == nil {
			err = server.close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("opened beside the command: %v", err)
	case <-time.After(2 * lockGap):
	}
	if err := command.close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("after the command: %v", err)
	}
}
