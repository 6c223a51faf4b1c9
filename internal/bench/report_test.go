package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
)

var floors = &Floors{
	Cores: 2, CommitsPerSecond: 900, RSASignsPerSecond: 1000, RSAVerifiesPerSecond: 20_000, P256SignsPerSecond: 20_000, P256VerifyPerSecond: 10_000,
	ExchangeCPU: 50, WebhookCPU: 200, CommandCPU: 25,
}

func TestLimit(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		cpu  float64 // of one payout, microseconds
	}{
		{"rsa", Options{Key: partner.RSA}, 3*(1000+50+50) + 7*25 + 2*200},
		{"p256", Options{Key: partner.P256}, 3*(50+50+100) + 7*25 + 2*200},
		{"one request", Options{Key: partner.P256, SingleRequest: true}, 1*(50+50+100) + 4*25 + 1*200},
		{"only created", Options{Key: partner.P256, CreateOnly: true}, 1*(50+50+100) + 1*25},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var r Report
			r.take(test.o, floors)
			if want := 2e6 / test.cpu; math.Abs(r.LimitPerSecond-want) > 0.001 {
				t.Errorf("%f per second, want %f", r.LimitPerSecond, want)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	clean := Report{BooksClean: true, Accepted: 7, Drained: 7}
	tests := []struct {
		name   string
		change func(*Report)
		want   string // "" for none
	}{
		{"all is well", func(*Report) {}, ""},
		{"nothing was done", func(r *Report) { r.Accepted, r.Drained = 0, 0 }, ""},
		{"books", func(r *Report) {
			r.BooksClean, r.Books = false, &payout.Report{Problems: []string{"entry 3 was changed"}}
		}, "entry 3 was changed"},
		{"one was lost", func(r *Report) { r.Drained = 6 }, "7 payouts were accepted and 6"},
		{"one too many", func(r *Report) { r.Drained = 8 }, "7 payouts were accepted and 8"},
		{"a forged webhook", func(r *Report) { r.WebhooksForged = 1 }, "wrong signature"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := clean
			test.change(&r)
			if err := r.Failure(); !says(err, test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// Scripts read these members; others may be added.
func TestJSONMembers(t *testing.T) {
	var h [steps]Histogram
	var r Report
	r.times(&h, Options{})
	r.take(Options{}, floors)
	b, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"payouts_per_second", "limit_per_second", "accepted", "drained", "books_clean", "p50_ms", "p99_ms",
		"confirm_to_finished_p50_ms", "confirm_to_finished_p99_ms", "steps", "cpu_us_per_payout", "database_cpu_us_per_payout", "generator_cpu_us_per_payout", "memory_mb", "floors", "engine",
	} {
		if _, ok := members[name]; !ok {
			t.Errorf("no member %s", name)
		}
	}
	for _, step := range []string{"create", "start", "confirm", "ready", "whole"} {
		if _, ok := r.Steps[step]; !ok {
			t.Errorf("no step %s", step)
		}
	}
}

// What ran before the rate was known counts, but has no part in the times.
func TestFollow(t *testing.T) {
	r := Report{BooksClean: true, Accepted: 5, Drained: 5, PayoutsPerSecond: 50, P50: 1, Refusals: map[string]int64{"cut": 1}}
	r.follow(&Report{Accepted: 9, Drained: 8, Cancelled: 2, Retried: 3, PayoutsPerSecond: 100, P50: 7, Refusals: map[string]int64{"cut": 1, "late": 4}})
	if r.Accepted != 14 || r.Drained != 13 || r.Cancelled != 2 || r.Retried != 3 || r.Refusals["cut"] != 2 || r.Refusals["late"] != 4 {
		t.Errorf("the counts are %+v", r)
	}
	if r.PayoutsPerSecond != 50 || r.ClosedPayoutsPerSecond != 100 || r.P50 != 1 {
		t.Errorf("the figures are %+v", r)
	}
	if err := r.Failure(); err == nil {
		t.Error("a payout that was lost in the closed loop is no failure")
	}
}

func TestPrint(t *testing.T) {
	r := Report{Accepted: 12, Drained: 11, Refusals: map[string]int64{"confirm: status 400": 3}}
	r.take(Options{Projects: 1000, Key: partner.RSA, Rate: 50}, floors)
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"1000 projects", "50/s asked for", "12, 11", "NOT CLEAN", "3 by confirm: status 400"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is not in\n%s", part, b.String())
		}
	}
}
