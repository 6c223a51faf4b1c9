package bench

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
)

// Report is what a run has found. Times are milliseconds, as percentiles of the
// whole run.
type Report struct {
	Engine        string          `json:"engine"` // of the database
	Projects      int             `json:"projects"`
	Clients       int             `json:"clients"`
	Key           partner.KeyType `json:"key"`
	ServerKey     partner.KeyType `json:"server_key"`
	Rate          float64         `json:"rate"` // asked for; 0 of a closed loop
	SingleRequest bool            `json:"single_request"`
	CreateOnly    bool            `json:"create_only"`
	InFlight      int             `json:"in_flight"` // asked for; 0 of a loop
	Preloaded     int             `json:"preloaded"`
	Seconds       float64         `json:"seconds"` // for which payouts were begun

	// PayoutsPerSecond counts the payouts that were paid and told within that time,
	// or the sessions where nothing else was to be made.
	PayoutsPerSecond float64 `json:"payouts_per_second"`
	// ClosedPayoutsPerSecond is of the closed loop that Rate is a share of; 0
	// without one. Its payouts are in all counts, and in no times.
	ClosedPayoutsPerSecond float64 `json:"closed_payouts_per_second,omitempty"`
	// LimitPerSecond is what all cores could do if they did nothing but the
	// LimitParts, which are the microseconds of CPU time of one payout.
	LimitPerSecond float64 `json:"limit_per_second"`
	LimitParts     []Part  `json:"limit_parts"`

	Accepted int64 `json:"accepted"` // confirmed, or asked for in one request, and answered ok
	Drained  int64 `json:"drained"`  // of these, paid and told by webhooks with right signatures
	// Created are sessions that nothing more was to be done with.
	Created int64 `json:"created"`
	// Cancelled were not confirmed when the time was over, Failed were not paid,
	// Missed could not be begun at the rate because too many were under way.
	Cancelled int64            `json:"cancelled"`
	Failed    int64            `json:"failed"`
	Missed    int64            `json:"missed"`
	Retried   int64            `json:"retried"`            // requests sent again
	Refusals  map[string]int64 `json:"refusals,omitempty"` // payouts left in the middle, by what was answered

	WebhooksVerified int64 `json:"webhooks_verified"`
	WebhooksForged   int64 `json:"webhooks_forged"` // whose signature was wrong
	WebhooksRepeated int64 `json:"webhooks_repeated"`

	BooksClean bool           `json:"books_clean"`
	Books      *payout.Report `json:"books"`

	P50         float64 `json:"p50_ms"` // of all answers of the API
	P99         float64 `json:"p99_ms"`
	FinishedP50 float64 `json:"confirm_to_finished_p50_ms"` // from init where nothing is confirmed
	FinishedP99 float64 `json:"confirm_to_finished_p99_ms"`
	// Steps are create (or init), start, confirm, ready (from start to its
	// webhook) and whole (from the intended begin to the last webhook).
	Steps map[string]Times `json:"steps"`

	// CPU, DatabaseCPU and GeneratorCPU are microseconds of CPU time per drained
	// payout, of the server, of the database where it is a server on this machine,
	// and of what drives them.
	CPU          float64 `json:"cpu_us_per_payout"`
	DatabaseCPU  float64 `json:"database_cpu_us_per_payout"`
	GeneratorCPU float64 `json:"generator_cpu_us_per_payout"`

	// Memory is the most that the server had in memory (resident), in MiB; 0 where
	// the system does not tell. InFlightMemory is that while all payouts in flight
	// were under way.
	Memory         float64 `json:"memory_mb"`
	InFlightMemory float64 `json:"in_flight_memory_mb,omitempty"`

	Floors *Floors `json:"floors"`

	made int64 // payouts begun
}

// Times are the percentiles of one step.
type Times struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// Part is one cost in the limit.
type Part struct {
	Name  string  `json:"name"`
	CPU   float64 `json:"cpu_us"` // of one
	Count int     `json:"count"`  // in a payout
}

// Failure says what makes the run a failure; nil if nothing does.
func (r *Report) Failure() error {
	switch {
	case !r.BooksClean:
		return fmt.Errorf("the books are not clean: %d problems, first %q", len(r.Books.Problems), r.Books.Problems[0])
	case r.Accepted != r.Drained:
		return fmt.Errorf("%d payouts were accepted and %d were paid and told", r.Accepted, r.Drained)
	case r.WebhooksForged > 0:
		return fmt.Errorf("%d webhooks had a wrong signature", r.WebhooksForged)
	}
	return nil
}

// follow adds the counts of the run that came before.
func (r *Report) follow(closed *Report) {
	r.ClosedPayoutsPerSecond = closed.PayoutsPerSecond
	r.Accepted += closed.Accepted
	r.Drained += closed.Drained
	r.Created += closed.Created
	r.Cancelled += closed.Cancelled
	r.Failed += closed.Failed
	r.Retried += closed.Retried
	for why, n := range closed.Refusals {
		r.Refusals[why] += n
	}
}

func (r *Report) times(h *[steps]Histogram, o Options) {
	of := func(h *Histogram) Times { return Times{millis(h.Percentile(50)), millis(h.Percentile(99))} }
	var answers Histogram
	for _, s := range []step{stepCreate, stepStart, stepConfirm} {
		answers.Merge(&h[s])
	}
	all, finish := of(&answers), of(&h[stepFinish])
	r.P50, r.P99, r.FinishedP50, r.FinishedP99 = all.P50, all.P99, finish.P50, finish.P99
	switch {
	case o.CreateOnly:
		r.Steps = map[string]Times{"create": of(&h[stepCreate])}
		return
	case o.SingleRequest:
		r.Steps = map[string]Times{"init": of(&h[stepCreate]), "whole": of(&h[stepWhole])}
		return
	}
	r.Steps = map[string]Times{"whole": of(&h[stepWhole])}
	for name, s := range map[string]step{"create": stepCreate, "start": stepStart, "confirm": stepConfirm, "ready": stepReady} {
		r.Steps[name] = of(&h[s])
	}
}

// take adds what was asked for, and the limit that the floors make.
func (r *Report) take(o Options, f *Floors) {
	r.Projects, r.Clients, r.Key, r.ServerKey, r.Rate = o.Projects, o.Clients, o.Key, o.ServerKey, o.Rate
	r.SingleRequest, r.CreateOnly, r.InFlight, r.Preloaded, r.Floors, r.Engine = o.SingleRequest, o.CreateOnly, o.InFlight, o.Preload, f, o.Engine
	signs, verifies := f.RSASignsPerSecond, f.RSAVerifiesPerSecond
	if o.Key == partner.P256 {
		signs, verifies = f.P256SignsPerSecond, f.P256VerifyPerSecond
	}
	requests, webhooks, writes := 3, 2, len(commands)
	switch {
	case o.CreateOnly:
		requests, webhooks, writes = 1, 0, 1
	case o.SingleRequest:
		requests, webhooks, writes = 1, 1, commandsSingle
	}
	r.LimitParts = []Part{
		{"sign a request", second / signs, requests},
		{"exchange it over HTTP", f.ExchangeCPU, requests},
		{"verify its signature", second / verifies, requests},
		{"write a command in a batch", f.CommandCPU, writes},
		{"sign, deliver and verify a webhook", f.WebhookCPU, webhooks},
	}
	r.LimitPerSecond = float64(f.Cores) * second / r.limitCPU()
}

// limitCPU is the sum of the parts in microseconds.
func (r *Report) limitCPU() (sum float64) {
	for _, p := range r.LimitParts {
		sum += p.CPU * float64(p.Count)
	}
	return sum
}

// Print writes the report for people.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	loop := "closed loop"
	switch {
	case r.InFlight > 0:
		loop = fmt.Sprintf("%d in flight", r.InFlight)
	case r.ClosedPayoutsPerSecond > 0:
		loop = fmt.Sprintf("%.0f/s, %.0f %% of the %.0f of a closed loop", r.Rate, 100*r.Rate/r.ClosedPayoutsPerSecond, r.ClosedPayoutsPerSecond)
	case r.Rate > 0:
		loop = fmt.Sprintf("%g/s asked for", r.Rate)
	}
	row("load", "%s, %d projects, %d clients, %s, %.1f s, requests signed by %s, webhooks by %s",
		r.Engine, r.Projects, r.Clients, loop, r.Seconds, r.Key, r.ServerKey)
	row("payouts per second", "%.0f", r.PayoutsPerSecond)
	row("limit of the machine", "%.0f (%d cores, %.0f µs of CPU time per payout)", r.LimitPerSecond, r.Floors.Cores, r.limitCPU())
	if r.CreateOnly {
		row("sessions created", "%d", r.Created)
	}
	row("accepted, drained", "%d, %d", r.Accepted, r.Drained)
	row("cancelled, failed, missed", "%d, %d, %d", r.Cancelled, r.Failed, r.Missed)
	row("webhooks", "%d verified, %d forged, %d repeated", r.WebhooksVerified, r.WebhooksForged, r.WebhooksRepeated)
	row("books", "%s", map[bool]string{true: "clean", false: "NOT CLEAN"}[r.BooksClean])
	for _, why := range slices.Sorted(maps.Keys(r.Refusals)) {
		row("left in the middle", "%d by %s", r.Refusals[why], why)
	}

	row("", "")
	row("milliseconds", "p50\tp99")
	times := func(name string, t Times) { row(name, "%.1f\t%.1f", t.P50, t.P99) }
	times("all answers", Times{r.P50, r.P99})
	for _, name := range []string{"init", "create", "start", "confirm", "ready", "whole"} {
		if t, ok := r.Steps[name]; ok {
			times(name, t)
		}
	}
	times("confirm to finished", Times{r.FinishedP50, r.FinishedP99})

	row("", "")
	row("CPU time per payout", "µs")
	row("server", "%.0f", r.CPU)
	row("database", "%.0f", r.DatabaseCPU)
	row("generator and receiver", "%.0f", r.GeneratorCPU)

	row("", "")
	row("memory of the server", "MiB")
	row("at most", "%.0f", r.Memory)
	if r.InFlight > 0 {
		row("with all payouts under way", "%.0f", r.InFlightMemory)
	}

	row("", "")
	row("floor of a payout", "µs of CPU time\ttimes")
	for _, p := range r.LimitParts {
		row(p.Name, "%.0f\t%d", p.CPU, p.Count)
	}
	f := r.Floors
	row("", "")
	row("floor", "per second")
	row("signed exchanges", "%.0f", f.SignedExchangesPerSecond)
	row("commands in batches", "%.0f", f.CommandsPerSecond)
	row("transactions of one row", "%.0f", f.CommitsPerSecond)
	row("rsa signatures, verifications", "%.0f, %.0f", f.RSASignsPerSecond, f.RSAVerifiesPerSecond)
	row("p256 signatures, verifications", "%.0f, %.0f", f.P256SignsPerSecond, f.P256VerifyPerSecond)
	return w.Flush()
}

// millis is a duration in milliseconds with two decimals.
func millis(d time.Duration) float64 { return math.Round(micros(d)/10) / 100 }

// megabytes is a number of bytes in MiB.
func megabytes(bytes int64) float64 { return math.Round(float64(bytes)/(1<<20)*10) / 10 }
