package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/sandbox"
)

const (
	// The load is raised to overloadFactor times what was answered without it, or
	// was accepted since where that is more, until overloadRefused were refused, and
	// then for as long as OVERLOAD says.
	// Where it says nothing, fewer requests may wait than otherwise, so that it
	// does not take thousands of payouts until one is refused.
	overloadFactor  = 3
	overloadRefused = 200
	overloadDefault = time.Second
	overloadQueue   = "PAYOUTD_QUEUE_MAX=256"
	overloadFew     = 1024
	overloadMax     = 10 * time.Minute // until so many are refused
	overloadMeasure = time.Second
	overloadClients = 16
	overloadSlow    = 15 * time.Second // for a refusal, 99 of 100, on a machine that has other work
	// overloadOpen bounds the requests that wait for an answer at a time: more
	// than the node lets wait, and not more than a process may have connections.
	overloadOpen = 6000
)

// TestDrillOverload asks for three times what the node can do. What it takes it
// carries out, what it can't take it refuses at once and clearly, and afterwards
// it is as it was before.
func TestDrillOverload(t *testing.T) {
	t.Parallel()
	lasts, open, command := overloadDefault, overloadFew, []string{"env", overloadQueue, payoutd}
	if s := os.Getenv("OVERLOAD"); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil || lasts <= 0 {
			t.Fatalf("OVERLOAD=%q: want a time above zero, such as 10m", s)
		}
		open, command = overloadOpen, nil
	}
	d := newDrill(t, place{}, command...)
	var more context.CancelFunc
	d.ctx, more = context.WithTimeout(t.Context(), 2*drainTimeout+overloadMax+4*lasts) // there is more to drain than elsewhere
	defer more()
	crowd := &crowd{drill: d, openMax: open, answered: make(chan answered, open)}
	d.witness.under.MaxIdleConns, d.witness.under.MaxIdleConnsPerHost = overloadOpen, overloadOpen // none is made anew for each request
	d.during(func() {
		usual := crowd.capacity()
		d.level = d.weigh() // with the connections and the stores of a busy node
		sent, took := crowd.rush(usual, lasts)
		crowd.judge(usual, sent, took)
	})
	d.finish()
}

// crowd is many partners who do not wait for each other.
type crowd struct {
	*drill
	answered      chan answered
	openMax, open int       // requests without an answer, at most and now
	unknown       []*record // of whose request nobody knows the outcome
	accepted      []time.Duration
	refused       []time.Duration
}

// answered is how one request ended.
type answered struct {
	*record
	took time.Duration
	err  error
}

// ask makes one payout, once.
func (c *crowd) ask(r *record) answered {
	began := time.Now()
	s, err := c.oneStep.InitPayout(c.ctx, r.pays, client.WithKey(r.key("init")), client.WithReplay())
	if err == nil {
		c.note(r, s)
	}
	return answered{r, time.Since(began), err}
}

func (c *crowd) record() *record {
	r := &record{plan: c.plan()}
	v := c.values[sandbox.Succeeded][0]
	r.single, r.split, r.value, r.pays, r.ends, r.early, r.act = true, false, v, request(v, 100_00), "", false, confirms
	return r
}

// capacity is how many requests a second are answered when each partner waits
// for the answer.
func (c *crowd) capacity() float64 {
	c.t.Helper()
	var count atomic.Int64
	var clients sync.WaitGroup
	began := time.Now()
	for range overloadClients {
		clients.Go(func() {
			for time.Since(began) < overloadMeasure {
				if a := c.ask(c.record()); a.err != nil {
					c.t.Errorf("%s: %v", a.plan, a.err)
					return
				}
				count.Add(1)
			}
		})
	}
	clients.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	return float64(count.Load()) / time.Since(began).Seconds()
}

// rush sends overloadFactor times as many requests as are usual in a second, or as
// were accepted, whatever becomes of them, and returns how many it sent in which
// time.
func (c *crowd) rush(usual float64, lasts time.Duration) (sent int, took time.Duration) {
	c.t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late, until := time.After(overloadMax), (<-chan time.Time)(nil); ; {
		select {
		case a := <-c.answered:
			c.take(a)
			if until == nil && len(c.refused) >= overloadRefused {
				until = time.After(lasts)
			}
			continue
		case <-tick.C:
		case <-late:
			c.t.Fatalf("%d of %d requests were refused in %s, want %d", len(c.refused), sent, overloadMax, overloadRefused)
		case <-until:
			took = time.Since(began)
			for c.open > 0 {
				c.take(<-c.answered)
			}
			return sent, took
		}
		due := overloadFactor * max(usual*time.Since(began).Seconds(), float64(len(c.accepted)))
		for ; float64(sent) < due && c.open < c.openMax; sent++ {
			r := c.record()
			c.open++
			go func() { c.answered <- c.ask(r) }() // there is room for all that are open
		}
	}
}

// take notes an answer.
func (c *crowd) take(a answered) {
	c.open--
	refused, ok := errors.AsType[*client.Error](a.err)
	switch {
	case a.err == nil:
		c.accepted = append(c.accepted, a.took)
	case ok && refused.HTTP == http.StatusServiceUnavailable:
		c.refused = append(c.refused, a.took)
	default:
		c.unknown = append(c.unknown, a.record)
	}
}

// judge finds out what became of requests without an outcome, and notes figures.
func (c *crowd) judge(usual float64, sent int, took time.Duration) {
	c.t.Helper()
	for _, r := range c.unknown {
		s, err := c.insist(c.ctx, r.key("again"), func(...client.CallOption) (client.Session, error) {
			s, err := c.oneStep.InitPayout(c.ctx, r.pays, client.WithKey(r.key("init")), client.WithReplay())
			s.Replayed = false // whichever it is
			return s, err
		})
		if err != nil {
			c.t.Fatalf("%s: %v", r.plan, err)
		}
		c.note(r, s)
	}
	slices.Sort(c.accepted)
	slices.Sort(c.refused)
	part := func(all []time.Duration, of int) time.Duration {
		if len(all) == 0 {
			return 0
		}
		return all[len(all)*of/100]
	}
	if p99 := part(c.refused, 99); p99 > overloadSlow {
		c.t.Errorf("99 of 100 refusals took %s, want %s at most", p99, overloadSlow)
	}
	counted(c.t, "requests in the rush", sent)
	counted(c.t, "accepted", len(c.accepted))
	counted(c.t, "refused with 503", len(c.refused))
	counted(c.t, "without an outcome at first", len(c.unknown))
	measured(c.t, "refusal, median", part(c.refused, 50))
	measured(c.t, "refusal, 99 of 100", part(c.refused, 99))
	measured(c.t, "acceptance, 99 of 100", part(c.accepted, 99))
	c.t.Logf("%.0f requests a second are usual; %s, in %s: %d accepted after %s, 99 of 100 after %s; %d refused after %s, 99 of 100 after %s; %d without an outcome at first",
		usual, fmt.Sprintf("%d were sent, %.0f a second", sent, float64(sent)/took.Seconds()), took.Round(time.Millisecond),
		len(c.accepted), part(c.accepted, 50).Round(time.Millisecond), part(c.accepted, 99).Round(time.Millisecond),
		len(c.refused), part(c.refused, 50).Round(time.Millisecond), part(c.refused, 99).Round(time.Millisecond), len(c.unknown))
}
