package main

import (
	"bytes"
	"strings"
	"testing"
)

// The benchmark makes payouts, so it keeps away from what somebody uses.
func TestBenchRefuses(t *testing.T) {
	used := t.TempDir()
	_, stop := startServer(t, "sandbox", "--data", used, "--listen", "127.0.0.1:0")
	if code := stop(); code != exitDone {
		t.Fatalf("the sandbox ended with code %d", code)
	}
	shared := migrated(t)
	wantRun(t, exitDone, "", "project", "create", "acme", "--public-key", publicKeyFile(t), "--db", shared, "--data", t.TempDir())
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a database in use", []string{"--data", used}, exitFailure, "the database has 1 projects"},
		{"an unknown kind of key", []string{"--server-key", "ed25519"}, exitUsage, "--server-key: want rsa or p256"},
		{"no projects", []string{"--projects", "0"}, exitFailure, "projects: want 1"},
		{"a rate that is no number", []string{"--rate", "fast"}, exitUsage, "--rate: want payouts per second"},
		{"no rate at all", []string{"--rate", "0"}, exitUsage, "--rate: want payouts per second"},
		{"a rate below zero", []string{"--rate=-50%"}, exitUsage, "--rate: want payouts per second"},
		{"more than can be", []string{"--rate", "201%"}, exitFailure, "rate: want 0% to 200%"},
		{"a rate of payouts in flight", []string{"--rate", "5", "--in-flight", "5"}, exitFailure, "in flight: takes no rate"},
		{"sessions by single requests", []string{"--create-only", "--single-request"}, exitFailure, "create only: a single request"},
		{"a database of PostgreSQL in use", []string{"--db", shared}, exitFailure, "is somebody's: the benchmark needs an empty one"},
		{"a new database on no server", []string{"--fresh", "--db", "sqlite:x.db"}, exitUsage, "--fresh: a new database"},
		{"more payouts than fit the disk", []string{"--preload", "1000000000000"}, exitFailure, "MB of free disk"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			p := &program{stdout: &stdout, stderr: &stderr, name: "payoutd"}
			code := p.run(t.Context(), append([]string{"bench", "--json"}, test.args...))
			if code != test.code || !strings.Contains(stderr.String(), test.says) || stdout.Len() > 0 {
				t.Errorf("code %d, want %d\n%s%s", code, test.code, stdout.String(), stderr.String())
			}
		})
	}
}
