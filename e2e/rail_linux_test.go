package e2e

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/sandbox"
)

const (
	railSlow       = time.Minute      // for its answer
	railSlowBrief  = 10 * time.Second // the same where SLOW says nothing; its calls are given up after 2 s
	railDefault    = 300              // payouts that wait for it then
	railHealthy    = 50               // payouts by another rail meanwhile
	railHealthyMax = 5 * time.Second
	railGoroutines = 2 * 256  // calls of one rail at a time, and some of what they need
	railMemory     = 64 << 20 // bytes
	railEndsMax    = 10 * time.Minute
	railWalletKind = "wallet"
)

// TestDrillRailSlow lets a rail answer after a minute, long after its calls were
// given up. Payouts by another rail notice nothing, the node stays small, and
// each payout ends as the rail says, once. SLOW is how many payouts wait for
// the minute; without it a few hundred wait for a part of it.
func TestDrillRailSlow(t *testing.T) {
	t.Parallel()
	count, answers := railDefault, railSlowBrief
	if s := os.Getenv("SLOW"); s != "" {
		var err error
		if count, err = strconv.Atoi(s); err != nil || count < 1 {
			t.Fatalf("SLOW=%q: want a number above zero", s)
		}
		answers = railSlow
	}
	d := newDrill(t, place{}, "env", "PAYOUTD_RAILS_SLOW="+answers.String(), payoutd)
	slow := d.values[sandbox.Slow][slices.IndexFunc(d.values[sandbox.Slow], func(v sandbox.Value) bool { return v.Kind == railWalletKind })]
	began := time.Now()
	var waiting []*record
	d.during(func() {
		waiting = d.payMany(slow, count)
		took := make([]time.Duration, railHealthy)
		for i := range took {
			began := time.Now()
			d.payOne()
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		median, slowest := took[len(took)/2], took[len(took)-1]
		if median > railHealthyMax {
			t.Errorf("a payout by another rail was paid and told after %s, half of them, want %s at most", median, railHealthyMax)
		}
		now, peak := d.weigh(), residentPeak(t, d.node)
		if now.goroutines > d.level.goroutines+railGoroutines+levelGoroutines {
			t.Errorf("%d goroutines with %d payouts that wait, %d before", now.goroutines, count, d.level.goroutines)
		}
		if now.memory > d.level.memory+railMemory {
			t.Errorf("%d bytes with %d payouts that wait, %d before", now.memory, count, d.level.memory)
		}
		healthy := time.Now()
		ctx, cancel := context.WithTimeout(d.ctx, railEndsMax+answers)
		defer cancel()
		for _, r := range waiting {
			if err := d.end(ctx, r); err != nil {
				t.Fatalf("%s: %v", r.plan, err)
			}
		}
		counted(t, "payouts by the slow rail", count)
		measured(t, "median by another rail", median)
		measured(t, "until all by the slow rail had ended", time.Since(began))
		weighed(t, "memory at most", peak)
		t.Logf("%d payouts waited for a rail that answers after %s; meanwhile another was paid and told after %s, at most %s; "+
			"%d goroutines, %d MiB at most; all had ended %s after that", count, answers, median.Round(time.Millisecond), slowest.Round(time.Millisecond),
			now.goroutines, peak, time.Since(healthy).Round(time.Millisecond))
	})
	d.finish()
}

// payMany makes payouts in the project without confirmation, and returns when
// all are accepted.
func (d *drill) payMany(v sandbox.Value, count int) []*record {
	d.t.Helper()
	records := make([]*record, count)
	next := make(chan int)
	var payers sync.WaitGroup
	for range partners {
		payers.Go(func() {
			for i := range next {
				r := &record{plan: d.plan()}
				r.single, r.value, r.pays, r.ends, r.early, r.act = true, v, request(v, 100_00), v.ErrorCode, false, confirms
				if err := d.pay(d.ctx, r); err != nil {
					d.t.Errorf("%s: %v", r.plan, err)
				}
				records[i] = r
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	payers.Wait()
	if d.t.Failed() {
		d.t.FailNow()
	}
	return records
}
