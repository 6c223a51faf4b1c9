package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	shrinkRuns = 400
	shrinkTime = time.Minute
)

// explain says what a history has broken, and tells the shortest one that was
// found to break the same, if it is to be told in full.
func explain(t *testing.T, r result, full bool) string {
	text := fmt.Sprintf("seed %d breaks the invariant %q: %s", r.seed, r.broken.invariant, r.broken.text)
	if !full {
		return text
	}
	short := shrink(t, r)
	return fmt.Sprintf("%s\n\nThe shortest history found, of %d choices in place of %d, breaks it so: %s\n\n%s\n\nIts choices:\n  %s",
		text, len(short.made), len(r.made), short.broken.text, short, strings.Join(short.made, "\n  "))
}

// shrink takes choices out of a history, half of them at once, then fewer and
// fewer, as long as what is left breaks the same invariant.
func shrink(t *testing.T, r result) result {
	out := map[string]bool{}
	best, runs, began := r, 0, time.Now()
	for size := (len(best.made) + 1) / 2; size > 0; size /= 2 {
		for again := true; again; {
			again = false
			for at := 0; at < len(best.made); {
				if runs++; runs > shrinkRuns || time.Since(began) > shrinkTime {
					size = 0
					break
				}
				less := maps.Clone(out)
				for _, name := range best.made[at:min(at+size, len(best.made))] {
					less[name] = true
				}
				if found := simulate(t, r.seed, less, false); found.broken != nil && found.broken.invariant == r.broken.invariant &&
					len(found.made) < len(best.made) {
					out, best, again = less, found, true
				} else {
					at += size
				}
			}
			again = again && size > 0
		}
	}
	best = simulate(t, r.seed, out, true)
	best.made = slices.Compact(best.made)
	return best
}
