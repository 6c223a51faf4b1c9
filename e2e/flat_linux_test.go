package e2e

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/sandbox"
)

const (
	flatClients = 256
	// flatQuiet is how long the least of what a node holds is looked for after a
	// round: a question that will not be asked any more stays for 30 s, a
	// connection that nobody uses for 90.
	flatQuiet = 100 * time.Second
	flatGap   = 2 * time.Second
	// flatWarm rounds fill what is bounded, and are not judged.
	flatWarm = 2
	// flatRoom is how many MiB more the other rounds may leave in all, beside two
	// standard errors: maps and goroutines take their room in steps.
	flatRoom = 8
	// The bounded form makes flatBriefly payouts, and four times as many, which may
	// leave flatFills bytes each: what is bounded fills up meanwhile.
	flatBriefly = 1000
	flatFills   = 1 << 10
	flatOddly   = 20 // one payout in so many is one that its rail does not answer well
)

// flat is nodes that make payouts in rounds. After each, when all has ended and
// been told, they are weighed.
type flat struct {
	*soak
	rounds   int
	payouts  int64 // of each
	profiles string
}

// TestFlat wants nothing to stay in memory of a payout that has ended. It is the
// bounded form of `make flat`, and that itself where PAYOUTS says how many.
func TestFlat(t *testing.T) {
	for _, engine := range []string{"postgres", "sqlite"} {
		t.Run(engine, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "payoutd-flat-") // as that of the soak
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			f := &flat{soak: &soak{T: t, dir: dir, ctx: t.Context(), stopped: make(chan struct{}), brief: true, alone: engine == "sqlite"}}
			if os.Getenv("PAYOUTS") == "" {
				t.Parallel()
				f.open()
				f.briefly()
			} else {
				f.read()
				f.open()
				f.judge()
			}
			f.endNodes()
		})
	}
}

// read reads what is asked for.
func (f *flat) read() {
	var err error
	if f.rounds, err = strconv.Atoi(os.Getenv("ROUNDS")); err != nil || f.rounds < flatWarm+3 {
		f.Fatalf("ROUNDS=%q: want %d or more", os.Getenv("ROUNDS"), flatWarm+3)
	}
	if f.payouts, err = strconv.ParseInt(os.Getenv("PAYOUTS"), 10, 64); err != nil || f.payouts < 1 {
		f.Fatalf("PAYOUTS=%q: want how many in a round", os.Getenv("PAYOUTS"))
	}
	f.profiles = filepath.Join(os.Getenv("FLAT_DIR"), filepath.Base(f.Name()))
	if err := os.MkdirAll(f.profiles, 0o755); err != nil {
		f.Fatal(err)
	}
}

// pay makes so many payouts and returns when all have ended and been told.
func (f *flat) pay(payouts int64) {
	var begun atomic.Int64
	f.partners.closed(func() bool { return begun.Add(1) <= payouts }, flatClients)
	for _, n := range f.nodes {
		n.disconnect()
	}
}

// held is the live heap of each node, in bytes, without what pools would give
// back with the next collection.
func (f *flat) held() []float64 {
	heaps := make([]float64, len(f.nodes))
	for n := range heaps {
		f.usage(n)
		if !until(f.ctx, soakQuietMax, func() bool { heaps[n] = f.usage(n).heap * (1 << 20); return !math.IsNaN(heaps[n]) }) {
			f.Fatalf("node %s does not say what it holds", f.nodes[n].name)
		}
	}
	return heaps
}

func (f *flat) briefly() {
	f.pay(flatBriefly)
	before := f.held()
	f.pay(4 * flatBriefly)
	var now []float64
	if !until(f.ctx, soakQuietMax, func() bool {
		now = f.held()
		for n := range now {
			if now[n] > before[n]+4*flatBriefly*flatFills {
				return false
			}
		}
		return true
	}) {
		f.Errorf("the nodes hold %.0f bytes after %d payouts, %.0f after %d: want %d more at most for each payout",
			now, 5*flatBriefly, before, flatBriefly, flatFills)
	}
}

// judge has things break in each round, weighs after it, and fits a line.
func (f *flat) judge() {
	f.began = time.Now()
	f.partners.cards = oddCards()
	x, heaps := []float64{}, make([][]float64, len(f.nodes))
	r := rand.New(rand.NewPCG(1, 1))
	for round := range f.rounds {
		began := time.Now()
		var both sync.WaitGroup
		both.Go(func() { f.pay(f.payouts) })
		both.Go(func() { f.breakAll(r) })
		both.Wait()
		took := time.Since(began)
		least := f.held()
		for began := time.Now(); time.Since(began) < flatQuiet; f.rest(flatGap) {
			for n, now := range f.held() {
				least[n] = math.Min(least[n], now)
			}
		}
		x = append(x, float64(f.partners.begun()))
		for n, node := range f.nodes {
			heaps[n] = append(heaps[n], least[n])
			f.keep(n, round)
			rise, err := fit(x, heaps[n])
			f.say("%d payouts in all, %.0f a second; node %s holds %.3f MiB; %.2f ± %.2f bytes a payout", f.partners.begun(),
				float64(f.payouts)/took.Seconds(), node.name, least[n]/(1<<20), rise, err)
		}
	}
	for n, node := range f.nodes {
		rise, err := fit(x, heaps[n])
		if more := (rise - 2*err) * (x[len(x)-1] - x[flatWarm]); more > flatRoom<<20 {
			f.Errorf("node %s holds %.2f ± %.2f bytes more for each payout, %d MiB in all are allowed; compare the profiles in %s",
				node.name, rise, err, flatRoom, f.profiles)
		}
	}
}

// breakAll breaks everything for a while that nodes live through.
func (f *flat) breakAll(r *rand.Rand) {
	for _, fault := range soakFaults {
		if fault.of == ofReceiver || fault.of == ofDatabase && !f.alone {
			f.rest(2 * time.Second)
			fault.does(f.soak, r)
		}
	}
}

// keep writes a heap profile.
func (f *flat) keep(n, round int) {
	profile, err := ask(f.ctx, f.socket(n), "/debug/pprof/heap?gc=1")
	if err == nil {
		err = os.WriteFile(filepath.Join(f.profiles, fmt.Sprintf("%s-%02d.pb.gz", f.nodes[n].name, round)), []byte(profile), 0o600)
	}
	if err != nil {
		f.Errorf("profile: %v", err)
	}
}

// fit is how many bytes a payout leaves, with the standard error of that; NaN of
// too few rounds.
func fit(x, y []float64) (rise, err float64) {
	if len(x) <= flatWarm {
		return math.NaN(), math.NaN()
	}
	return slope(x[flatWarm:], y[flatWarm:], make([]int, len(x)-flatWarm))
}

// oddCards are mostly cards that are paid at once, and some whose rail is late,
// loses its answer, or answers what can't be read. All are paid.
func oddCards() (cards []string) {
	for _, v := range sandbox.Values() {
		switch v.Outcome {
		case sandbox.AcceptedThenSucceeded, sandbox.UnclearThenSucceeded, sandbox.Doubled, sandbox.Late, sandbox.Broken, sandbox.Slow:
			if v.Kind == "card" {
				cards = append(cards, v.Value)
				for range flatOddly - 1 {
					cards = append(cards, paidCard)
				}
			}
		}
	}
	return cards
}
