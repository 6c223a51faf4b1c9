package simulation

import (
	"testing"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/storetest"
)

// The simulated database keeps the contract, as one with several nodes and as
// one with one owner.
func TestMemoryKeepsTheContract(t *testing.T) {
	for name, alone := range map[string]bool{"shared": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) store.Store { return newMemory(alone) })
		})
	}
}
