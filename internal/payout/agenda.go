package payout

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda is what this node has promised to do, by due time. It is only speed:
// the database holds the truth of it. Due times go by the product's clock.
type agenda[T any] struct {
	now  func() time.Time
	mu   sync.Mutex
	rows dues[T]
	wake chan struct{}
}

type due[T any] struct {
	at   time.Time
	what T
}

func newAgenda[T any](now func() time.Time) *agenda[T] {
	return &agenda[T]{now: now, wake: make(chan struct{}, 1)}
}

// add puts something on the agenda.
func (a *agenda[T]) add(at time.Time, what T) {
	a.mu.Lock()
	heap.Push(&a.rows, due[T]{at, what})
	first := a.rows[0].at.Equal(at)
	a.mu.Unlock()
	if first {
		a.poke()
	}
}

// clear takes everything off the agenda.
func (a *agenda[T]) clear() (all []T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, row := range a.rows {
		all = append(all, row.what)
	}
	a.rows = nil
	return all
}

// poke looks at the clock again, after it was moved.
func (a *agenda[T]) poke() {
	select {
	case a.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// run calls do for each thing when it is due, until ctx ends. do must not block.
func (a *agenda[T]) run(ctx context.Context, do func(T)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait := time.Hour
		for {
			a.mu.Lock()
			if len(a.rows) == 0 {
				a.mu.Unlock()
				break
			}
			if wait = a.rows[0].at.Sub(a.now()); wait > 0 {
				a.mu.Unlock()
				break
			}
			next := heap.Pop(&a.rows).(due[T])
			a.mu.Unlock()
			do(next.what)
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-timer.C:
		}
	}
}

// waitForEither returns when it is time to look or somebody says so. Both at
// once are one reason to look.
func waitForEither(ctx context.Context, tick <-chan time.Time, poll <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-tick:
	case <-poll:
	}
	select {
	case <-tick:
	default:
	}
	select {
	case <-poll:
	default:
	}
}

// roomKept is for how much an empty agenda keeps its room. What a backlog took
// above that goes back: megabytes of webhooks.
const roomKept = 1024

// dues is a heap by due time.
type dues[T any] []due[T]

func (d dues[T]) Len() int           { return len(d) }
func (d dues[T]) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dues[T]) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dues[T]) Push(x any)        { *d = append(*d, x.(due[T])) }
func (d *dues[T]) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = due[T]{}
	*d = old[:len(old)-1]
	if len(*d) == 0 && cap(*d) > roomKept {
		*d = nil
	}
	return last
}
