package e2e

import (
	"context"
	"database/sql"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
)

// pause is longer than the lease of 10 s of what a node has begun.
const pause = 12 * time.Second

// TestDrillPausedNode stops a node for longer than its leases, as a hypervisor
// does, and lets it go on. By then others have ended all that it had begun, so
// that whatever it writes next is late.
func TestDrillPausedNode(t *testing.T) {
	c := newCluster(t)
	l := c.lab()
	rounds := roundsWanted(t)
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	ctx, cancel := context.WithTimeout(ctx, drainTimeout+time.Duration(rounds)*time.Minute)
	defer cancel()
	wait := l.load(ctx, fail)
	d := &drill{lab: l, at: c.place, ctx: ctx}
	for round := range rounds {
		l.letFinish(ctx, 4*requestsMax)
		paused := c.nodes[round%nodes]
		l.during(func() {
			d.stopOutsideOfWorld(paused)
			began := time.Now()
			if !until(ctx, startTimeout, func() bool { return !c.balancer.sends(paused) }) {
				t.Fatal("the balancer has not noticed the pause")
			}
			d.payOne() // by the others
			alone := time.Since(began)
			if alone > resumeMax {
				t.Errorf("with a node paused, a payout was paid and told after %s, want %s at most", alone, resumeMax)
			}
			begun := d.begun()
			for _, r := range begun {
				if _, err := l.oneStep.WaitFor(ctx, r.session, client.Finished); err != nil {
					t.Fatalf("%s: %v", r.plan, err)
				}
			}
			ended := time.Since(began)
			if ended > takeoverMax {
				t.Errorf("what was begun had ended %s after the pause began, want %s at most", ended, takeoverMax)
			}
			select {
			case <-time.After(pause - time.Since(began)):
			case <-ctx.Done():
			}
			d.signal(paused, syscall.SIGCONT)
			if !until(ctx, resumeMax, func() bool { return ready(ctx, paused.url) == http.StatusOK }) {
				t.Errorf("the node is not ready %s after it was let go", resumeMax)
			}
			measured(t, "a payout meanwhile", alone)
			measured(t, "until what was begun had ended", ended)
			t.Logf("a node was paused for %s: a payout was paid and told after %s, and all of %d begun had ended after %s",
				time.Since(began).Round(time.Millisecond), alone.Round(time.Millisecond), len(begun), ended.Round(time.Millisecond))
		})
	}
	l.letFinish(ctx, requestsMax)
	close(l.enough)
	wait()
	if err := context.Cause(ctx); err != nil {
		t.Fatal(err)
	}
	l.drain(ctx)
	l.replay(ctx)
	for n, p := range c.nodes {
		p.stop(t)
		d.calm(p)
		if t.Failed() {
			t.Logf("node %d said:\n%s", n, p.stderr.String())
		}
	}
	if t.Failed() {
		return // what follows would only repeat it
	}
	l.proven(c.place)
	counted(t, "pauses", rounds)
	t.Logf("%d payouts in %d sessions, %d requests cut and repeated (%d had been carried out), %d webhooks (%d repeats)",
		l.payouts(), len(l.journal), l.cut, l.replayed, l.webhooks, l.repeats)
}

// begun lists the payouts so far that need nothing of their partner any more.
func (d *drill) begun() (begun []*record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.journal {
		if r.single && !r.split {
			begun = append(begun, r)
		}
	}
	return begun
}

// stopOutsideOfWorld stops a node at a moment when it does not write into the
// simulated world: it would take all rails with it, which share their books.
func (d *drill) stopOutsideOfWorld(p *process) {
	d.t.Helper()
	file := url.URL{
		Scheme: "file", Path: filepath.Join(d.at.data, "sim", "world.db"),
		RawQuery: url.Values{"mode": {"rw"}, "_txlock": {"immediate"}, "_pragma": {"busy_timeout(2000)"}}.Encode(),
	}
	books, err := sql.Open("sqlite", file.String())
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = books.Close() }()
	for d.ctx.Err() == nil {
		d.signal(p, syscall.SIGSTOP)
		tx, err := books.Begin()
		if err == nil {
			if err := tx.Rollback(); err != nil {
				d.t.Fatal(err)
			}
			return
		}
		d.t.Logf("the node held the books of the simulated world, another moment is taken: %v", err)
		d.signal(p, syscall.SIGCONT)
	}
}

func (d *drill) signal(p *process, s syscall.Signal) {
	d.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}
