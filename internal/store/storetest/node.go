package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store"
)

// take takes a number for an hour.
func (b *bed) take(owner string, now time.Time) int {
	b.Helper()
	n, err := b.TakeNode(b.ctx, owner, now, time.Hour)
	b.must(err)
	return n
}

// nodeNumbersAreTakenOnce lets all numbers be taken at once, and one more.
func nodeNumbersAreTakenOnce(b *bed) {
	const racers = 8
	var mu sync.Mutex
	owners := make(map[int]string)
	var all sync.WaitGroup
	for r := range racers {
		all.Go(func() {
			for i := range store.Nodes / racers {
				owner := fmt.Sprintf("%d/%d", r, i)
				n, err := b.TakeNode(b.ctx, owner, noon, time.Hour)
				mu.Lock()
				if err != nil || n < 0 || n >= store.Nodes || owners[n] != "" {
					b.Errorf("number %d for %s, error %v; before it had %q", n, owner, err, owners[n])
				}
				owners[n] = owner
				mu.Unlock()
			}
		})
	}
	all.Wait()
	_, err := b.TakeNode(b.ctx, "late", noon.Add(time.Hour-time.Microsecond), time.Hour)
	b.refused(err, fault.Busy, "a number when all are taken")
	b.must(b.FreeNode(b.ctx, owners[77], 77, noon.Add(time.Minute)))
	same(b, "the only free number", b.take("late", noon.Add(time.Minute)), 77)
	b.take("after the leases", noon.Add(time.Hour))
}

// nodeNumbersRest makes each number rest for as long as can be, so that a clock
// that was set back in between meets other numbers.
func nodeNumbersRest(b *bed) {
	first := b.take("first", noon)
	second := b.take("second", noon)
	b.must(b.FreeNode(b.ctx, "second", second, noon.Add(time.Minute)))
	b.must(b.FreeNode(b.ctx, "first", first, noon.Add(2*time.Minute)))
	at := noon.Add(3 * time.Minute)
	for range store.Nodes - 2 {
		if n := b.take("other", at); n == first || n == second {
			b.Fatalf("number %d was taken before those that nobody has had", n)
		}
	}
	same(b, "the next", b.take("third", at), second)
	same(b, "the last", b.take("fourth", at), first)
}

func nodeNumberIsKept(b *bed) {
	n := b.take("a", noon)
	b.must(b.KeepNode(b.ctx, "a", n, noon.Add(2*time.Hour)))
	b.must(b.KeepNode(b.ctx, "a", n, noon.Add(time.Hour))) // an answer that came late makes it no shorter
	b.refused(b.KeepNode(b.ctx, "b", n, noon.Add(9*time.Hour)), fault.Stale, "a number that another has")
	b.must(b.FreeNode(b.ctx, "b", n, noon)) // nothing happens
	almost := noon.Add(2*time.Hour - time.Microsecond)
	for range store.Nodes - 1 {
		if b.take("other", almost) == n {
			b.Fatal("the number was taken before its lease had ended")
		}
	}
	_, err := b.TakeNode(b.ctx, "late", almost, time.Hour)
	b.refused(err, fault.Busy, "the number that is kept")

	// A lease that has ended is prolonged as long as nobody came between.
	b.must(b.KeepNode(b.ctx, "a", n, noon.Add(150*time.Minute)))
	same(b, "the number after its lease", b.take("heir", noon.Add(150*time.Minute)), n)
	b.refused(b.KeepNode(b.ctx, "a", n, noon.Add(9*time.Hour)), fault.Stale, "a number that was taken over")
	b.must(b.FreeNode(b.ctx, "a", n, noon)) // is not the heir's loss
	b.must(b.KeepNode(b.ctx, "heir", n, noon.Add(9*time.Hour)))
	b.must(b.FreeNode(b.ctx, "heir", n, noon.Add(3*time.Hour)))
	b.refused(b.KeepNode(b.ctx, "heir", n, noon.Add(9*time.Hour)), fault.Stale, "a number that was given back")
}
