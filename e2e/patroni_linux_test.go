package e2e

import (
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

const (
	patroniMembers = 3
	// electionMax bounds how long after the leader died a payout goes from the
	// request to the webhook of its end: four times the goal, since Patroni's ttl of
	// 20 s is in it, and machines that run tests have other things to do.
	electionMax = 2 * time.Minute
)

// TestDrillPatroni kills the server that leads a cluster of Patroni's, and lets
// another be elected while partners pay: what was acknowledged is there, and no
// node is restarted. At length the leader also hands over, as for planned work,
// loses its etcd, and loses its Patroni alone.
func TestDrillPatroni(t *testing.T) {
	t.Parallel()
	c := pgtest.Patroni(t, patroniMembers)
	run(t, "migrate", "--db", c.URL)
	d := newDrill(t, place{db: c.URL})
	beside := start(t, d.at.flags("serve", "--sandbox-rails", "--listen", "127.0.0.1:0", "--log-level", "warn", "--roles", "work,webhook")...)
	rounds := roundsWanted(t)
	for range rounds {
		leader := c.AwaitLeader(t)
		d.election("the leader died", func() { c.Kill(t, leader) })
		d.during(func() {
			c.Start(t, leader)
			c.AwaitWhole(t)
		})
		if rounds == 1 {
			break
		}
		d.election("the leader handed over", func() { c.Switch(t) })
		d.during(func() { c.AwaitWhole(t) })
		d.outage("etcd was gone", func() {
			c.KillEtcd(t)
			d.notReady()
		}, func() { c.StartEtcd(t) })
		d.during(func() { c.AwaitWhole(t) })
		leader = c.AwaitLeader(t)
		d.outage("the leader had no Patroni", func() {
			c.KillPatroni(t, leader)
			c.AwaitLeader(t, leader)
		}, func() { c.Kill(t, leader) })
		d.during(func() {
			c.Start(t, leader)
			c.AwaitWhole(t)
		})
	}
	d.letFinish(d.ctx, requestsMax)
	d.during(func() { beside.stop(t) })
	d.calm(beside)
	d.finish()
	t.Logf("a member was brought back by pg_rewind %d times", c.Rewound(t))
}

// election does what makes the cluster elect a leader, and measures how long it
// takes until a payout is paid and told. Nobody mends anything.
func (d *drill) election(what string, does func()) {
	d.t.Helper()
	d.letFinish(d.ctx, requestsMax/4)
	d.during(func() {
		failed, began := d.witness.failures(), time.Now()
		does()
		d.payOne()
		took := time.Since(began)
		if took > electionMax {
			d.t.Errorf("%s: a payout was paid and told %s later, want %s at most", what, took, electionMax)
		}
		d.t.Logf("%s: %d requests failed; a payout was paid and told %s later", what, d.witness.failures()-failed, took.Round(time.Millisecond))
	})
}
