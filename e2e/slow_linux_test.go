package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// slowSyncs is how many syncs of a slow disk are waited for at each speed.
const slowSyncs = 8

// slowDisk makes each sync take longer for a while: first as on a busy disk,
// then as on one that is about to die.
func (d *drill) slowDisk(f *faults) {
	d.t.Helper()
	for _, delay := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second} {
		before := f.syncs.Load()
		d.trouble(fmt.Sprintf("each sync took %s", delay), func() { f.delay.Store(int64(delay)) }, func() bool {
			return f.syncs.Load() >= before+slowSyncs
		}, func() { f.delay.Store(0) })
	}
}

// TestDrillDiskSlow lets a disk take its time: that of SQLite and of the
// simulated rails' books, and that of PostgreSQL.
func TestDrillDiskSlow(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		f := newFaults(t)
		d := newDrill(t, place{}, f.command()...)
		for range roundsWanted(t) {
			d.slowDisk(f)
		}
		d.finish()
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		f := newFaults(t)
		d := migrated(t, pgtest.Own(t, pgtest.Place{Env: f.preloaded()}).URL)
		for range roundsWanted(t) {
			d.slowDisk(f)
		}
		d.finish()
	})
}
