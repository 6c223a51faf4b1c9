package e2e

import (
	"context"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// The benchmark itself, short: it measures what it says, its books are clean,
// and nothing of it is left, whether it ends by itself or is interrupted.
func TestBench(t *testing.T) {
	server := pgtest.URL(t)
	tests := []struct {
		name      string
		args      []string
		interrupt bool
	}{
		{"by itself", []string{"--clients", "8", "--duration", "5s", "--projects", "3", "--preload", "100"}, false},
		{"on PostgreSQL", []string{"--clients", "8", "--duration", "5s", "--db", server, "--fresh"}, false},
		{"at half of what is possible", []string{"--clients", "8", "--duration", "5s", "--rate", "50%", "--db", server, "--fresh"}, false},
		{"in flight", []string{"--clients", "8", "--in-flight", "300", "--db", server, "--fresh"}, false},
		{"interrupted, on PostgreSQL", []string{"--clients", "8", "--duration", "1h", "--db", server, "--fresh"}, true},
		{"interrupted, one request", []string{"--clients", "8", "--duration", "1h", "--single-request"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			p := launch(t, append([]string{"bench", "--key", "p256", "--json"}, test.args...)...)
			if test.interrupt {
				awaitRun(t, p)
				if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
			<-p.ended
			if p.err != nil {
				t.Fatalf("%v\n%s", p.err, p.stderr.String())
			}
			wantMeasured(t, p.stdout.String(), test.interrupt, slices.Contains(test.args, "--db"))
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, error %v", left, err)
			}
			wantNoDatabase(t, server)
		})
	}
}

// wantNoDatabase finds databases that are none of the tests' own.
func wantNoDatabase(t *testing.T, server string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var names []string
	const others = `SELECT array_agg(datname) FROM pg_database WHERE starts_with(datname, 'payoutd_') AND NOT starts_with(datname, 'payoutd_test_')`
	if err := conn.QueryRow(t.Context(), others).Scan(&names); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, error %v", names, err)
	}
}

// awaitRun waits until payouts are being made.
func awaitRun(t *testing.T, p *process) {
	t.Helper()
	for {
		text, more := p.stderr.read()
		if strings.Contains(text, "running for") {
			return
		}
		select {
		case <-more:
		case <-p.ended:
			t.Fatalf("ended before it ran: %v\n%s", p.err, text)
		}
	}
}

// wantMeasured reads the one JSON object that stands on standard output.
func wantMeasured(t *testing.T, text string, interrupted, onServer bool) {
	t.Helper()
	var r struct {
		Rate        float64                       `json:"payouts_per_second"`
		Limit       float64                       `json:"limit_per_second"`
		Accepted    int64                         `json:"accepted"`
		Drained     int64                         `json:"drained"`
		Clean       bool                          `json:"books_clean"`
		P99         float64                       `json:"p99_ms"`
		FinishedP99 float64                       `json:"confirm_to_finished_p99_ms"`
		Verified    int64                         `json:"webhooks_verified"`
		Steps       map[string]map[string]float64 `json:"steps"`
		Floors      map[string]float64            `json:"floors"`
		CPU         float64                       `json:"cpu_us_per_payout"`
		DatabaseCPU float64                       `json:"database_cpu_us_per_payout"`
		Memory      float64                       `json:"memory_mb"`
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if r.Limit <= 0 || !r.Clean || r.Accepted != r.Drained {
		t.Errorf("limit %f, clean %t, %d accepted, %d drained", r.Limit, r.Clean, r.Accepted, r.Drained)
	}
	if interrupted {
		return // it may have been before the first payout
	}
	if r.Rate <= 0 || r.P99 <= 0 || r.FinishedP99 <= 0 || r.Drained == 0 || r.Verified < 2*r.Drained {
		t.Errorf("%f payouts a second, 99 of 100 answers within %f ms, paid within %f ms; %d drained, %d webhooks verified",
			r.Rate, r.P99, r.FinishedP99, r.Drained, r.Verified)
	}
	for _, step := range []string{"create", "start", "confirm", "ready", "whole"} {
		if r.Steps[step]["p50_ms"] <= 0 {
			t.Errorf("step %s: %v", step, r.Steps[step])
		}
	}
	if runtime.GOOS == "linux" && (r.CPU <= 0 || r.Memory < 1 || r.DatabaseCPU > 0 != onServer) {
		t.Errorf("a payout took %f µs of the server and %f µs of the database; the server had %f MB in memory", r.CPU, r.DatabaseCPU, r.Memory)
	}
	for name, floor := range r.Floors {
		if floor <= 0 {
			t.Errorf("floor %s is %f", name, floor)
		}
	}
}
