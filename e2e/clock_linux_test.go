package e2e

import (
	"testing"
	"time"
)

// TestDrillClockSteps steps the machine's clock under a running node, far and
// near, forward and back. What partners may still do, what is under way and what
// waits for its time must go on as if nothing had happened.
func TestDrillClockSteps(t *testing.T) {
	t.Parallel()
	f := newFaults(t)
	d := newDrill(t, place{}, f.command()...)
	for range roundsWanted(t) {
		for _, by := range []time.Duration{
			24 * time.Hour, -24 * time.Hour, -24 * time.Hour, 24 * time.Hour, -time.Hour, time.Hour, time.Second, -time.Second, -time.Second, time.Second,
		} {
			d.trouble("the clock was stepped by "+by.String(), func() { f.step(by) }, always, func() {})
		}
	}
	d.finish()
}
