package e2e

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

const (
	nodes = 3
	// killsPerNodeKill is how many kills of KILLS make one here: with each the
	// others wait for leases to end.
	killsPerNodeKill = 8
	// takeoverMax bounds how long after the last kill everything that was begun
	// has ended: twice the lease of 10 s and the slowest of the magic values.
	takeoverMax = time.Minute
	// drainDelay is ten times what the balancer takes to notice.
	drainDelay = 2 * time.Second
	lookGap    = 200 * time.Millisecond
	// lookMax is how long a node may take to say that it is ready: longer than
	// the program waits for its database then.
	lookMax = 2 * time.Second
)

// cluster is several nodes on one database and one folder, behind a balancer.
type cluster struct {
	*testing.T
	place
	balancer *balancer
	nodes    []*process
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{T: t, place: place{data: t.TempDir(), db: pgtest.URL(t)}, balancer: newBalancer(t)}
	run(t, "migrate", "--db", c.db)
	// All at once: a new installation is made by whoever comes first.
	for range nodes {
		c.nodes = append(c.nodes, launch(t, c.command()...))
	}
	for _, n := range c.nodes {
		n.await(t)
		c.balancer.add(n)
	}
	return c
}

func (c *cluster) command() []string {
	return c.flags("serve", "--sandbox-rails", "--listen", "127.0.0.1:0", "--log-level", "warn", "--drain-delay", drainDelay.String())
}

// lab makes the projects, and waits until each node knows them, which takes a
// second at most: asked in turn, as many as there are have all said yes.
func (c *cluster) lab() *lab {
	c.Helper()
	l := newLab(c.T, c.place, c.balancer.url)
	for _, partner := range []*client.Client{l.twoStep, l.oneStep} {
		late := time.Now().Add(startTimeout)
		for known := 0; known < nodes; {
			_, err := partner.Balance(c.Context())
			if err == nil {
				known++
			} else if known = 0; time.Now().After(late) {
				c.Fatal(err)
			}
		}
	}
	return l
}

// replace puts a new node in the place of one that has ended.
func (c *cluster) replace(n int) {
	c.Helper()
	c.nodes[n] = start(c, c.command()...)
	c.balancer.add(c.nodes[n])
}

// TestKillNodes is TestKill with several nodes on PostgreSQL: what a killed node
// had begun, the others end.
func TestKillNodes(t *testing.T) {
	kills := max(killsWanted(t)/killsPerNodeKill, 1)
	began := time.Now()
	c := newCluster(t)
	l := c.lab()
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	ctx, cancel := context.WithTimeout(ctx, drainTimeout+time.Duration(kills)*20*time.Second)
	defer cancel()
	wait := l.load(ctx, fail)
	for i := 0; i < kills && ctx.Err() == nil; i++ {
		l.letFinish(ctx, rand.IntN(requestsMax))
		victims := rand.Perm(nodes)[:1+rand.IntN(nodes-1)]
		l.during(func() {
			for _, n := range victims {
				l.kill(c.nodes[n])
			}
		})
		if rand.IntN(2) == 0 { // the others are alone for a while
			l.letFinish(ctx, rand.IntN(requestsMax))
		}
		l.during(func() {
			for _, n := range victims {
				if rand.IntN(4) == 0 { // killed again while it starts
					p := launch(t, c.command()...)
					l.kill(p)
				}
				c.replace(n)
			}
		})
	}
	l.letFinish(ctx, requestsMax)
	last := rand.IntN(nodes)
	l.during(func() { l.kill(c.nodes[last]) }) // and nobody takes its place
	close(l.enough)
	wait()
	if err := context.Cause(ctx); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	l.drain(ctx)
	takeover := time.Since(killed)
	if takeover > takeoverMax {
		t.Errorf("what was begun had ended %s after the last kill, want %s at most", takeover, takeoverMax)
	}
	l.replay(ctx)
	for n, p := range c.nodes {
		if n != last {
			p.stop(t)
			l.noAlarm(p)
		}
	}
	if t.Failed() {
		for n, p := range c.nodes {
			t.Logf("node %d said:\n%s", n, p.stderr.String())
		}
		return // what follows would only repeat it
	}
	l.proven(c.place)
	counted(t, "kills", l.kills)
	measured(t, "from the last kill to the last end", takeover)
	t.Logf("%d kills of nodes, %d payouts in %d sessions, %d requests cut and repeated (%d had been carried out), %d webhooks (%d repeats); "+
		"%s from the last kill to the last end, %s in all", l.kills, l.payouts(), len(l.journal), l.cut, l.replayed, l.webhooks, l.repeats,
		takeover.Round(time.Millisecond), time.Since(began).Round(time.Second))
}

// TestRollingRestart replaces node after node while partners pay, and no
// request fails: a node that is told to end is first not ready, then leaves.
func TestRollingRestart(t *testing.T) {
	c := newCluster(t)
	l := c.lab()
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	wait := l.load(ctx, fail)
	c.roll(ctx, l)
	c.finish(ctx, l, wait)
	t.Logf("%d payouts over %d restarts", l.payouts(), nodes)
}

// TestReplaceVaultKey replaces the vault key of all nodes as docs/vault.md says,
// while partners pay, to accounts by tokens that were issued under the first
// key: no request fails, and no payout ends otherwise than it should.
func TestReplaceVaultKey(t *testing.T) {
	c := newCluster(t)
	l := c.lab()
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	ctx, cancel := context.WithTimeout(ctx, 2*drainTimeout)
	defer cancel()
	l.tokenize(ctx)
	vault := func(want string, args ...string) {
		t.Helper()
		l.during(func() {
			if out := run(t, c.flags(append([]string{"vault"}, args...)...)...); !strings.Contains(out, want) {
				t.Errorf("payoutd vault %s: %s, want %q", strings.Join(args, " "), out, want)
			}
		})
	}
	wait := l.load(ctx, fail)
	for _, step := range []string{"add", "promote"} {
		vault(" is written;", "key", step)
		c.roll(ctx, l)
	}
	vault("rows are sealed anew", "rotate")
	vault("; 0 of them under an old key", "state")
	vault(" is written;", "key", "drop")
	c.roll(ctx, l)
	vault("; 0 of them under an old key", "state")
	c.finish(ctx, l, wait)
	t.Logf("%d payouts over %d restarts", l.payouts(), 3*nodes)
}

// roll replaces node after node, with load on each set of them.
func (c *cluster) roll(ctx context.Context, l *lab) {
	c.Helper()
	for n := range nodes {
		l.letFinish(ctx, requestsMax)
		l.during(func() {
			old := c.nodes[n]
			c.replace(n)
			old.stop(c)
			l.noAlarm(old)
		})
	}
}

// finish ends the load, lets everything end that was begun, ends the nodes, and
// compares the accounts of what happened; no request may have failed.
func (c *cluster) finish(ctx context.Context, l *lab, wait func()) {
	c.Helper()
	l.letFinish(ctx, requestsMax)
	close(l.enough)
	wait()
	if err := context.Cause(ctx); err != nil {
		c.Fatal(err)
	}
	l.drain(ctx)
	for _, p := range c.nodes {
		p.stop(c)
		l.noAlarm(p)
	}
	if failed := c.balancer.failed.Load(); failed > 0 || l.cut > 0 || l.replayed > 0 {
		c.Errorf("the balancer could not pass %d requests on, %d were cut, %d repeated; want none", failed, l.cut, l.replayed)
	}
	if c.Failed() {
		return
	}
	l.proven(c.place)
}

// during lets requests be answered while do does something else.
func (l *lab) during(do func()) {
	done := make(chan struct{})
	var answered sync.WaitGroup
	answered.Go(func() {
		for {
			select {
			case <-l.finished:
			case <-done:
				return
			}
		}
	})
	defer answered.Wait()
	defer close(done)
	do()
}

// balancer spreads requests over the nodes that say that they are ready, and lets
// requests wait while none does. It never sends one twice: whether a request may
// be repeated, partners know.
type balancer struct {
	url    string
	ctx    context.Context
	failed atomic.Int64 // requests that no node has answered

	mu    sync.Mutex
	nodes []*backend
	next  int
}

// backend is a node as the balancer knows it.
type backend struct {
	url   string
	ready bool // balancer.mu guards it
	proxy *httputil.ReverseProxy
}

func newBalancer(t *testing.T) *balancer {
	b := &balancer{ctx: t.Context()}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var n *backend
	if !until(r.Context(), answerMax, func() bool { n = b.pick(); return n != nil }) {
		b.failed.Add(1)
		http.Error(w, "no node is ready", http.StatusServiceUnavailable)
		return
	}
	n.proxy.ServeHTTP(w, r)
}

// pick is the next node in turn that is ready; nil if none is.
func (b *balancer) pick() *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.nodes {
		b.next++
		if n := b.nodes[b.next%len(b.nodes)]; n.ready {
			return n
		}
	}
	return nil
}

// add takes a node in, which is ready, and looks after it until the node ends.
func (b *balancer) add(p *process) {
	target, _ := url.Parse(p.url) // the node's own words
	n := &backend{url: p.url, ready: true, proxy: httputil.NewSingleHostReverseProxy(target)}
	transport := &http.Transport{MaxIdleConnsPerHost: partners}
	n.proxy.Transport = transport
	n.proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		b.failed.Add(1)
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
	b.mu.Lock()
	b.nodes = append(b.nodes, n)
	b.mu.Unlock()
	go func() {
		defer transport.CloseIdleConnections()
		tick := time.NewTicker(lookGap)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.judge(n, n.isReady(b.ctx))
			case <-p.ended:
				b.judge(n, false)
				return
			case <-b.ctx.Done():
				return
			}
		}
	}()
}

// sends reports whether a node gets requests.
func (b *balancer) sends(p *process) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.nodes, func(n *backend) bool { return n.url == p.url && n.ready })
}

func (b *balancer) judge(n *backend, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.ready = ready
}

func (n *backend) isReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookMax)
	defer cancel()
	return ready(ctx, n.url) == http.StatusOK
}

// ready is the status of a node's /readyz; 0 if it was not answered.
func ready(ctx context.Context, node string) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, node+"/readyz", nil)
	if err != nil {
		return 0
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}
