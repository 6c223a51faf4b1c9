package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// figures are what the goals need of a report of `payoutd bench --json`.
type figures struct {
	Rate           float64 `json:"payouts_per_second"`
	Limit          float64 `json:"limit_per_second"`
	P50            float64 `json:"p50_ms"`
	P99            float64 `json:"p99_ms"`
	FinishedP99    float64 `json:"confirm_to_finished_p99_ms"`
	InFlightMemory float64 `json:"in_flight_memory_mb"`
}

// goal is a bound on a figure. Figures that compare runs are ratios, since the
// same machine is faster at one hour than at another.
type goal struct {
	name    string
	figure  func(r *runs) float64
	bound   float64
	atMost  bool // else at least
	unit    string
	decimal int
}

// The loads that goals speak of. Each is measured once, when the first goal
// asks for it. It takes many
// clients to fill the batches of a busy server; with RSA fewer, or the first
// seconds would pass before anything is complete.
var (
	liteLoad     = []string{"--key", "p256", "--clients", "512"}
	fullLoad     = append([]string{"--db"}, liteLoad...)
	spreadLoad   = append(slices.Clone(fullLoad), "--projects", "1000")
	singleLoad   = append(slices.Clone(fullLoad), "--single-request")
	mixedLoad    = []string{"--db", "--key", "p256", "--server-key", "rsa", "--clients", "128"}
	rsaLoad      = []string{"--db", "--key", "rsa", "--clients", "128"}
	createLoad   = append(slices.Clone(fullLoad), "--create-only")
	halfLoad     = []string{"--db", "--key", "p256", "--clients", "256", "--rate", "50%"}
	inFlightLoad = append(slices.Clone(fullLoad), "--in-flight", "10000")
)

// preloaded is spreadLoad with history: as much as PRELOAD says, 500,000 payouts if
// it says nothing.
func preloaded() []string {
	n := os.Getenv("PRELOAD")
	if n == "" {
		n = "500000"
	}
	return append(slices.Clone(spreadLoad), "--preload", n)
}

var goals = []goal{
	{"P-256 on both sides, of the limit", ofLimit(fullLoad), 70, false, "%", 0},
	{"one request per payout, of the limit", ofLimit(singleLoad), 70, false, "%", 0},
	{"webhooks by RSA, of the limit", ofLimit(mixedLoad), 70, false, "%", 0},
	{"RSA on both sides, of the limit", ofLimit(rsaLoad), 70, false, "%", 0},
	{"session/create alone, of its limit", ofLimit(createLoad), 60, false, "%", 0},
	{"one project, of the rate of 1,000", ofRate(fullLoad, spreadLoad), 90, false, "%", 0},
	{"SQLite, of PostgreSQL", ofRate(liteLoad, fullLoad), 50, false, "%", 0},
	{"with history, of the rate without", func(r *runs) float64 { return ofRate(preloaded(), spreadLoad)(r) }, 90, false, "%", 0},
	{"half rate: an answer, p50", func(r *runs) float64 { return r.of(halfLoad).P50 }, 5, true, "ms", 1},
	{"half rate: an answer, p99", func(r *runs) float64 { return r.of(halfLoad).P99 }, 25, true, "ms", 1},
	{"half rate: confirm to paid and told, p99", func(r *runs) float64 { return r.of(halfLoad).FinishedP99 }, 100, true, "ms", 1},
	{"memory with 10,000 in flight", func(r *runs) float64 { return r.of(inFlightLoad).InFlightMemory }, 200, true, "MiB", 0},
}

func ofLimit(load []string) func(*runs) float64 {
	return func(r *runs) float64 {
		f := r.of(load)
		return 100 * f.Rate / f.Limit
	}
}

func ofRate(load, other []string) func(*runs) float64 {
	return func(r *runs) float64 { return 100 * r.of(load).Rate / r.of(other).Rate }
}

// runs are the measurements so far, by their arguments.
type runs struct {
	t        *testing.T
	duration string
	server   string
	done     map[string]*figures
}

// of measures a load, once. A bare --db is a new database on the server.
func (r *runs) of(load []string) *figures {
	r.t.Helper()
	name := strings.Join(load, " ")
	if f, ok := r.done[name]; ok {
		return f
	}
	args := append([]string{"bench", "--json", "--duration", r.duration}, load...)
	if at := slices.Index(args, "--db"); at >= 0 {
		args = slices.Insert(args, at+1, r.server, "--fresh")
	}
	var stderr strings.Builder
	cmd := exec.Command(payoutd, args...)
	cmd.Env, cmd.Stderr = environ(), &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", name, err, stderr.String())
	}
	f := new(figures)
	if err := json.Unmarshal(out, f); err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	if f.Rate == 0 || f.Limit == 0 {
		r.t.Fatalf("%s: %f payouts per second, limit %f", name, f.Rate, f.Limit)
	}
	fmt.Fprintf(os.Stderr, "measured: payoutd bench %s: %.0f per second\n", name, f.Rate)
	r.done[name] = f
	return f
}

// TestGoals measures what the product promises of its speed and memory, prints
// it as a table, and fails where it is missed. GOALS is how long each load
// lasts, such as 10s; GOAL picks goals that have it in their name.
func TestGoals(t *testing.T) {
	duration := os.Getenv("GOALS")
	if duration == "" {
		t.Skip("make goals measures; it takes minutes, and a machine that does nothing else")
	}
	r := &runs{t: t, duration: duration, server: pgtest.Durable(t), done: map[string]*figures{}}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "goal\twanted\tfigure\tverdict")
	for _, g := range goals {
		if !strings.Contains(g.name, os.Getenv("GOAL")) {
			continue
		}
		sign, verdict, figure := "≥", "met", g.figure(r)
		if g.atMost {
			sign = "≤"
		}
		if figure != g.bound && figure > g.bound == g.atMost {
			verdict = "MISSED"
			t.Errorf("%s: %.1f %s, want %s %g", g.name, figure, g.unit, sign, g.bound)
		}
		fmt.Fprintf(w, "%s\t%s %g %s\t%.*f\t%s\n", g.name, sign, g.bound, g.unit, g.decimal, figure, verdict)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	fmt.Print(table.String())
}

// TestBenchByHand runs `payoutd bench` with the arguments of BENCH_ARGS, in a
// new database on a PostgreSQL server of its own that syncs to disk.
func TestBenchByHand(t *testing.T) {
	args, given := os.LookupEnv("BENCH_ARGS")
	if !given {
		t.Skip("for make bench-postgres")
	}
	cmd := exec.Command(payoutd, append([]string{"bench", "--db", pgtest.Durable(t), "--fresh"}, strings.Fields(args)...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}
