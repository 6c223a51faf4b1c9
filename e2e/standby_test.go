package e2e

import (
	"testing"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// TestDrillStandbyCutOff cuts the standby off, so that the server has written
// what the standby lacks, and then loses the server: nothing may have been
// acknowledged meanwhile, neither at once nor when it was asked for again.
func TestDrillStandbyCutOff(t *testing.T) {
	t.Parallel()
	for range roundsWanted(t) {
		primary := pgtest.Own(t, pgtest.Place{})
		l := newLink(t, primary.URL)
		standby := primary.StandbyOver(t, l.url)
		primary.Run(t, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
		run(t, "migrate", "--db", primary.URL)
		d := newDrill(t, place{db: either(t, primary.URL, standby.URL) + "&target_session_attrs=read-write"})
		ask := d.asker()
		d.outage("the standby was cut off, and the database died", func() {
			l.stall()
			for range 2 {
				ask()
			}
			primary.Stop(t)
			d.notReady()
		}, func() { standby.Promote(t) })
		if !d.until(resumeMax, ask) {
			t.Errorf("a payout was not acknowledged %s after the standby had taken over", resumeMax)
		}
		d.finish()
	}
}

// asker returns what sends one request each time, always the same, and reports
// whether it was acknowledged; then it is in the journal.
func (d *drill) asker() func() bool {
	r := &record{plan: d.plan()}
	v := d.values[sandbox.Succeeded][0]
	r.single, r.split, r.value, r.pays, r.ends, r.early, r.act = true, false, v, request(v, 100_00), "", false, confirms
	return func() bool {
		s, err := d.client(r).InitPayout(d.ctx, r.pays, client.WithKey(r.key("init")), client.WithReplay())
		if err == nil && r.session == "" {
			d.note(r, s)
		}
		return err == nil
	}
}
