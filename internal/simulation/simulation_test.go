package simulation

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/session"
)

// seedsDefault are those of a plain `go test`; the environment variable SEEDS
// takes others, as in SEEDS=1-1000 or SEEDS=7.
const seedsDefault = "1-16"

// seeds reads a range of seeds, such as 1-1000.
func seeds(t *testing.T) (from, to uint64) {
	text := os.Getenv("SEEDS")
	if text == "" {
		text = seedsDefault
	}
	first, last, isRange := strings.Cut(text, "-")
	from, err := strconv.ParseUint(first, 10, 64)
	to = from
	if err == nil && isRange {
		to, err = strconv.ParseUint(last, 10, 64)
	}
	if err != nil || to < from {
		t.Fatalf("SEEDS=%q: want a seed, or a range such as 1-1000", text)
	}
	return from, to
}

// edition is what the world offers.
type edition int

const (
	all   edition = iota
	plain         // payouts to cards and accounts alone
	old           // and what else there was before anything was archived
)

// seedsKept are those that once had something to teach; every run plays them in
// the world as it was then.
var seedsKept = map[uint64]struct {
	world edition
	why   string
}{
	152:  {all, "a token is deleted before the request that it paid for is repeated"},
	2033: {all, "a token ends before the confirm, and the refusal is slow"},
	2641: {all, "the same"},
	1424: {all, "a receipt is cancelled while its registration is asked for"},
	2215: {all, "the same, by money that comes back to another node"},
	2934: {all, "a rail admits that it has paid what was archived as failed, and its statement leaves that out"},
	3085: {all, "a node crashes in a call that it had left under way when it stopped, and the history does not end"},
	3613: {all, "a token that was asked for twice comes late, and a request by the first is repeated with it"},
	4141: {all, "a token ends by a clock that has jumped, and its archived session is started again"},
	124:  {plain, "two nodes make the first attempt of a webhook, and the later one is written down first"},
	185:  {plain, "a node is told to stop before it has come up"},
	193:  {plain, "a repeated request overtakes the one that it repeats"},
	167:  {old, "a receipt is registered while its day is being compared"},
	1032: {old, "the tax service denies a receipt that was counted before its node died"},
	1476: {old, "the same, of a payout that fails"},
	2595: {old, "the same, and the partner gives the receipt up"},
}

func TestKeptSeeds(t *testing.T) {
	for seed, kept := range seedsKept {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if r := simulate(t, seed, nil, false); r.broken != nil {
				t.Errorf("once so: %s; now %s", kept.why, explain(t, r, true))
			}
		})
	}
}

// TestSeeds plays a range of histories and wants all invariants to hold in each.
// It shrinks the first history that breaks one, and prints it.
func TestSeeds(t *testing.T) {
	from, to := seeds(t)
	var all tallies
	t.Run("seed", func(t *testing.T) {
		for seed := from; ; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				r := simulate(t, seed, nil, false)
				all.add(r)
				if r.broken != nil {
					t.Error(explain(t, r, all.first()))
				} else if from == to {
					fmt.Println(simulate(t, seed, nil, true))
				}
			})
			if seed == to {
				return
			}
		}
	})
	all.report(t, to-from+1)
}

// TestSameSeedSameHistory is what makes a seed worth writing down.
func TestSameSeedSameHistory(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			one, two := simulate(t, seed, nil, true), simulate(t, seed, nil, true)
			if one.hash == two.hash {
				return
			}
			for i, line := range one.history {
				if i >= len(two.history) || line != two.history[i] {
					t.Fatalf("after %d steps the history is another one:\n%s\n%s", i, line, strings.Join(two.history[i:min(i+1, len(two.history))], ""))
				}
			}
			t.Fatal("the second history is longer")
		})
	}
}

// tallies is what many histories had in them.
type tallies struct {
	mu      sync.Mutex
	sum     map[string]int
	steps   int
	virtual time.Duration
	shown   bool
}

func (a *tallies) add(r result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sum == nil {
		a.sum = map[string]int{}
	}
	for k, n := range r.charges {
		a.sum[k] += n
	}
	for _, name := range r.made {
		for _, kind := range kinds() {
			if strings.HasSuffix(name, " "+kind) {
				a.sum["fault: "+kind]++
			}
		}
	}
	a.steps += r.steps
	a.virtual += r.virtual
}

// kinds are those of all faults.
func kinds() (list []string) {
	for _, f := range faults {
		list = append(list, f.kind)
	}
	for _, f := range offered {
		list = append(list, f.kind)
	}
	return list
}

// first is true for one caller: one history is enough to read.
func (a *tallies) first() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.shown
	a.shown = true
	return !was
}

// report says what was in all histories. A run that has never met a fault or a
// state proves nothing about it.
func (a *tallies) report(t *testing.T, histories uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if os.Getenv("SEEDS") != "" {
		fmt.Printf("%d histories, %d steps, %v of their time\n", histories, a.steps, a.virtual.Round(time.Hour))
		for _, k := range slices.Sorted(maps.Keys(a.sum)) {
			fmt.Printf("%8d %s\n", a.sum[k], k)
		}
	}
	if histories < 300 { // the rarest faults come once in a hundred
		return
	}
	for _, kind := range kinds() {
		if a.sum["fault: "+kind] == 0 {
			t.Errorf("no history has met the fault %q: the simulation has grown blind", kind)
		}
	}
	for _, s := range []session.State{session.Paid, session.Failed, session.Cancelled, session.Returned, session.Disputed} {
		if a.sum[string(s)] == 0 {
			t.Errorf("no payout has ended as %s: the simulation has grown blind", s)
		}
	}
}
