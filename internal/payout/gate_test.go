package payout

import (
	"testing"
	"testing/synctest"
)

// Who closes the gate waits for all inside, and who comes meanwhile for that to
// be over.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		g.RLock()
		g.RLock()
		closed, late := false, false
		go func() { g.Lock(); closed = true }()
		synctest.Wait()
		go func() { g.RLock(); late = true }()
		g.RUnlock()
		if synctest.Wait(); closed || late {
			t.Fatal("the gate was closed while somebody was inside, or let somebody in who came after")
		}
		g.RUnlock()
		if synctest.Wait(); !closed || late {
			t.Fatalf("nobody is inside: closed %t, let in %t", closed, late)
		}
		g.Unlock()
		if synctest.Wait(); !late {
			t.Fatal("the gate is open, and nobody gets in")
		}
		g.RUnlock()
		g.Lock() // at once: who waits here for ever is a deadlock of the bubble
		defer g.Unlock()
	})
}
