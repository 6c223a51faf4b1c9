package payout

import "sync"

// idleMax is how many goroutines of a crew wait for more to do.
const idleMax = 64

// crew runs functions in goroutines of their own, and keeps some of those that
// have ended: a new one begins with a small stack, and to grow it to what a
// signature or a statement needs costs more than the rest of a small task.
type crew struct {
	all sync.WaitGroup

	mu      sync.Mutex
	idle    []chan func() // of each goroutine that waits, the last to come first to go
	stopped bool
}

// run calls f without waiting for it.
func (c *crew) run(f func()) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		waiting := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		waiting <- f
		return
	}
	c.mu.Unlock()
	c.all.Go(func() { c.work(f) })
}

func (c *crew) work(f func()) {
	more := make(chan func(), 1)
	for {
		f()
		c.mu.Lock()
		if c.stopped || len(c.idle) >= idleMax {
			c.mu.Unlock()
			return
		}
		c.idle = append(c.idle, more)
		c.mu.Unlock()
		var ok bool
		if f, ok = <-more; !ok {
			return
		}
	}
}

// wait returns when all that was given to run has ended; that may still give
// more while it lasts.
func (c *crew) wait() {
	c.mu.Lock()
	c.stopped = true
	for _, waiting := range c.idle {
		close(waiting)
	}
	c.idle = nil
	c.mu.Unlock()
	c.all.Wait()
}
