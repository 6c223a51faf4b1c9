package payout

import "sync"

// gate is a sync.RWMutex whose waiting is on channels: a simulation sees that who
// waits at it does nothing. The zero gate is open.
type gate struct {
	mu     sync.Mutex
	inside int
	opens  chan struct{} // closed when the gate opens again; nil while it is open
	clears chan struct{} // closed when nobody is inside any more; nil while nobody waits for that
}

// RLock goes inside, as soon as the gate is open.
func (g *gate) RLock() {
	for {
		g.mu.Lock()
		opens := g.opens
		if opens == nil {
			g.inside++
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		<-opens
	}
}

// RUnlock goes out.
func (g *gate) RUnlock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.clears != nil {
		close(g.clears)
		g.clears = nil
	}
}

// Lock closes the gate and waits until nobody is inside. One caller at a time.
func (g *gate) Lock() {
	g.mu.Lock()
	g.opens = make(chan struct{})
	var clears chan struct{}
	if g.inside > 0 {
		clears = make(chan struct{})
		g.clears = clears
	}
	g.mu.Unlock()
	if clears != nil {
		<-clears
	}
}

// Unlock opens the gate.
func (g *gate) Unlock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opens)
	g.opens = nil
}
