//go:build sabotage

package simulation

import (
	"os"
	"slices"
	"testing"

	"github.com/payoutd/payoutd/internal/payout"
)

// sabotages are faults in the engine, of each kind at least two, and the
// invariants that find them. docs/simulation.md has the same table.
var sabotages = []struct {
	kind, name string
	invariants []string
	seed       uint64 // the first to find it when it was written down
}{
	{"money", "fee kept", []string{"books"}, 1},
	{"money", "time-out is a refusal", []string{"agreement"}, 4},
	{"money", "another reference", []string{"promise"}, 1},
	{"order", "call before commit", []string{"promise"}, 12},
	{"order", "webhooks overtake", []string{"webhook order"}, 4},
	{"time", "half the time to confirm", []string{"expiry"}, 2},
	{"time", "impatience", []string{"patience"}, 4},
	{"time", "gives up early", []string{"giving up"}, 4},
	{"isolation", "keys of all partners", []string{"own"}, 1},
	{"isolation", "neighbour's address", []string{"own"}, 3},
	{"loss", "webhook dropped", []string{"books"}, 1},
	{"loss", "unknown is written", []string{"answered", "drain", "delivered", "promise"}, 12},
	{"loss", "early return forgotten", []string{"returns"}, 5},
	{"money", "a part is held", []string{"whole"}, 3},
	{"money", "rate of the day", []string{"rate"}, 6},
	{"money", "another operation", []string{"receipt"}, 6},
	{"money", "any amount proves", []string{"statement"}, 6},
	{"order", "a failing service has refused", []string{"receipt"}, 34},
	{"time", "rate outlives its lock", []string{"books", "expiry"}, 1},
	{"isolation", "what others reserve", []string{"limit"}, 5},
	{"isolation", "confirms anything", []string{"consent"}, 9},
	{"loss", "reservation kept", []string{"books", "limit"}, 3},
	{"loss", "unknown receipts passed over", []string{"receipt"}, 98},
	{"loss", "number kept", []string{"numbers"}, 3},
	{"loss", "second line passes", []string{"statement"}, 9},
	{"money", "archived is unknown", []string{"archive"}, 3},
	{"money", "late return forgotten", []string{"returns"}, 37},
	{"money", "late answer forgotten", []string{"agreement"}, 77},
	{"loss", "archived nowhere", []string{"archive"}, 3},
	{"isolation", "tokens of all partners", []string{"token"}, 17},
	{"time", "ended tokens pay", []string{"token"}, 47},
	{"isolation", "retired keys sign", []string{"keys"}, 1},
	{"loss", "tokens left under the old key", []string{"vault"}, 1},
}

// seedsMax is within how many seeds each fault must be found, from its own on.
const seedsMax = 60

// TestSabotage puts faults into the engine, one by one, and wants each found by
// the invariant that is there for it. One after the other: a fault is in all
// engines of the process.
func TestSabotage(t *testing.T) {
	for _, s := range sabotages {
		t.Run(s.name, func(t *testing.T) {
			payout.Sabotage(s.name)
			defer payout.Sabotage("")
			for n := range uint64(seedsMax) {
				seed := s.seed + n
				r := simulate(t, seed, nil, false)
				if r.broken == nil {
					continue
				}
				if !slices.Contains(s.invariants, r.broken.invariant) {
					t.Fatalf("seed %d finds it by %q, want one of %q: %s", seed, r.broken.invariant, s.invariants, r.broken.text)
				}
				if seed != s.seed {
					t.Logf("%s: seed %d, not %d any more", s.name, seed, s.seed)
				}
				t.Logf("%s, %s: seed %d, invariant %s: %s", s.kind, s.name, seed, r.broken.invariant, r.broken.text)
				if os.Getenv("EXPLAIN") != "" {
					t.Log(explain(t, r, true))
				}
				return
			}
			t.Errorf("none of %d seeds finds it", seedsMax)
		})
	}
}
