package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// climbs are ways to write a path that leads out of where it begins.
var climbs = []string{
	"../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "%252e%252e%252fetc%252fpasswd",
	`..\..\..\etc\passwd`, "..%5c..%5cetc%5cpasswd", "....//....//etc/passwd", ".%00./etc/passwd", "%c0%ae%c0%ae/etc/passwd", "..;/..;/etc/passwd",
	"/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd", "C:%5cWindows%5cwin.ini",
	"vault.key", "../vault.key", "server.pem", "demo/private.pem", "payoutd.db", "payoutd.log", "payoutd.sock", ".env", ".git/config",
	"page.html", "../page.html", "..%2fpage.html", "card.js%00.css", "debug/pprof/", "../debug/pprof/heap", "project/list",
}

// local is where a redirect may lead: to a path of the same server.
var local = regexp.MustCompile(`^/([^/\\]|$)`)

// TestNothingIsServedFromTheDisk climbs from every path of every listener of a
// sandbox, which serves all that there is. No file comes back, of the folder or
// of the machine, and no redirect leads elsewhere.
func TestNothingIsServedFromTheDisk(t *testing.T) {
	dir := t.TempDir()
	api, _ := startServer(t, "sandbox", "--data", dir, "--listen", "127.0.0.1:0")
	_, values := get(t, api+"/sandbox/values")
	widgets := regexp.MustCompile(`"kind":"widget","value":"(http[^"]+)"`).FindStringSubmatch(values)
	if widgets == nil {
		t.Fatalf("no widgets in %s", values)
	}
	_, frame := get(t, widgets[1]+"/frame?widget=card")
	assets := regexp.MustCompile(`/assets/[0-9a-f]+/`).FindString(frame)
	if assets == "" {
		t.Fatalf("no assets in %s", frame)
	}
	secrets := []string{"root:", "PRIVATE KEY", "SQLite format 3", "goroutine ", "level=INFO", `"level":"INFO"`}
	for _, name := range []string{"vault.key", "server.pem", "demo/private.pem"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimSpace(string(b)))
	}
	for base, prefixes := range map[string][]string{
		api: {
			"/", "/api/", "/api/v1/", "/api/v2/session/", "/sandbox/", "/sandbox/inbox/", "/sandbox/tax/", "/demo/", "/demo/assets/", "/metrics/", "/healthz/",
			"/console/", "/console/assets/", "/console/payouts/demo/", "/console/reports/", "/console/reports/demo/",
		},
		widgets[1]: {"/", "/assets/", assets, "/assets/x/", "/v1/", "/frame/"},
	} {
		for _, prefix := range prefixes {
			for _, climb := range climbs {
				status, location, body := fetch(t, base, prefix+climb)
				switch {
				case prefix == "/sandbox/inbox/" && status == http.StatusOK && body == "[]\n": // an inbox of that name, in memory
				case status < 300, status >= 500, location != "" && !local.MatchString(location):
					t.Errorf("%s%s: answered %d to %q: %.200s", base, prefix+climb, status, location, body)
				}
				for _, secret := range secrets {
					if strings.Contains(body, secret) {
						t.Errorf("%s%s: answered with a file: %.200s", base, prefix+climb, body)
					}
				}
			}
		}
	}
}

// fetch asks for a path exactly as it is written, which an HTTP client would
// put in order first.
func fetch(t *testing.T, base, path string) (status int, location, body string) {
	t.Helper()
	host := strings.TrimPrefix(base, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header.Get("Location"), string(b)
}
