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
	Projects      int             `json:"projects"`
	Clients       int             `json:"clients"`
	Key           partner.KeyType `json:"key"`
	ServerKey     partner.KeyType `json:"server_key"`
	Rate          float64         `json:"rate"` // asked for; 0 of a closed loop
	SingleRequest bool            `json:"single_request"`
	Preloaded     int             `json:"preloaded"`
	Seconds       float64         `json:"seconds"` // for which payouts were begun

	// PayoutsPerSecond counts the payouts that were paid and told within that time.
	PayoutsPerSecond float64 `json:"payouts_per_second"`
	// LimitPerSecond is what all cores could do if they did nothing but the
	// LimitParts, which are the microseconds of CPU time of one payout.
	LimitPerSecond float64 `json:"limit_per_second"`
	LimitParts     []Part  `json:"limit_parts"`

	Accepted int64 `json:"accepted"` // confirmed, or asked for in one request, and answered ok
	Drained  int64 `json:"drained"`  // of these, paid and told by webhooks with right signatures
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

	// CPU and GeneratorCPU are microseconds of CPU time per drained payout, of
	// the server and of what drives it.
	CPU          float64 `json:"cpu_us_per_payout"`
	GeneratorCPU float64 `json:"generator_cpu_us_per_payout"`

	Floors *Floors `json:"floors"`
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

func (r *Report) times(h *[steps]histogram, single bool) {
	of := func(h *histogram) Times { return Times{millis(h.percentile(50)), millis(h.percentile(99))} }
	var answers histogram
	for _, s := range []step{stepCreate, stepStart, stepConfirm} {
		answers.merge(&h[s])
	}
	all, finish := of(&answers), of(&h[stepFinish])
	r.P50, r.P99, r.FinishedP50, r.FinishedP99 = all.P50, all.P99, finish.P50, finish.P99
	r.Steps = map[string]Times{"whole": of(&h[stepWhole])}
	if single {
		r.Steps["init"] = of(&h[stepCreate])
		return
	}
	for name, s := range map[string]step{"create": stepCreate, "start": stepStart, "confirm": stepConfirm, "ready": stepReady} {
		r.Steps[name] = of(&h[s])
	}
}

// take adds what was asked for, and the limit that the floors make.
func (r *Report) take(o Options, f *Floors) {
	r.Projects, r.Clients, r.Key, r.ServerKey, r.Rate = o.Projects, o.Clients, o.Key, o.ServerKey, o.Rate
	r.SingleRequest, r.Preloaded, r.Floors = o.SingleRequest, o.Preload, f
	signs, verifies := f.RSASignsPerSecond, f.RSAVerifiesPerSecond
	if o.Key == partner.P256 {
		signs, verifies = f.P256SignsPerSecond, f.P256VerifyPerSecond
	}
	requests, webhooks, writes := 3, 2, len(commands)
	if o.SingleRequest {
		requests, webhooks, writes = 1, 1, commandsSingle
	}
	const second = 1e6 // microseconds
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
	if r.Rate > 0 {
		loop = fmt.Sprintf("%g/s asked for", r.Rate)
	}
	row("load", "%d projects, %d clients, %s, %.1f s, requests signed by %s, webhooks by %s", r.Projects, r.Clients, loop, r.Seconds, r.Key, r.ServerKey)
	row("payouts per second", "%.0f", r.PayoutsPerSecond)
	row("limit of the machine", "%.0f (%d cores, %.0f µs of CPU time per payout)", r.LimitPerSecond, r.Floors.Cores, r.limitCPU())
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
	row("generator and receiver", "%.0f", r.GeneratorCPU)

	row("", "")
	row("floor of a payout", "µs of CPU time\ttimes")
	for _, p := range r.LimitParts {
		row(p.Name, "%.0f\t%d", p.CPU, p.Count)
	}
	f := r.Floors
	row("", "")
	row("floor", "per second")
	row("transactions of one row", "%.0f", f.CommitsPerSecond)
	row("rsa signatures, verifications", "%.0f, %.0f", f.RSASignsPerSecond, f.RSAVerifiesPerSecond)
	row("p256 signatures, verifications", "%.0f, %.0f", f.P256SignsPerSecond, f.P256VerifyPerSecond)
	return w.Flush()
}

// millis is a duration in milliseconds with two decimals.
func millis(d time.Duration) float64 { return math.Round(micros(d)/10) / 100 }
