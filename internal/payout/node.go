package payout

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
)

const (
	numberLease = time.Hour
	// numberRenewal is how long a renewal is left alone; one that failed is tried
	// again with the next leases.
	numberRenewal = numberLease / 6
	// numberMargin is what clocks of nodes may differ by: this long before the
	// lease ends the number is not used any more.
	numberMargin = numberLease / 6
)

// nodeNumber is the number that this run of the program has: while it is
// leased, nobody else in the installation makes the same ids.
type nodeNumber struct {
	value int
	// renewed is when the lease was last taken or prolonged, in real time.
	renewed atomic.Pointer[time.Time]
}

// usable reports whether ids made with the number may be written now.
func (n *nodeNumber) usable(now time.Time) bool {
	return n == nil || now.Before(n.renewed.Load().Add(numberLease-numberMargin))
}

// takeNumber leases a node number.
func (e *Engine) takeNumber(ctx context.Context) error {
	now := e.real()
	value, err := e.store.TakeNode(ctx, e.node, now, numberLease)
	if err != nil {
		return err
	}
	e.number = &nodeNumber{value: value}
	e.number.renewed.Store(&now)
	return nil
}

// keepNumber prolongs the lease of the number when it is time to. fault.Stale
// if another run has taken it: then this one must make no more ids.
func (e *Engine) keepNumber(ctx context.Context) error {
	now := e.real()
	if e.number == nil || now.Before(e.number.renewed.Load().Add(numberRenewal)) {
		return nil
	}
	err := e.store.KeepNode(ctx, e.node, e.number.value, now.Add(numberLease))
	if err != nil {
		return err
	}
	e.number.renewed.Store(&now)
	return nil
}

// freeNumber gives the number back. Where that fails, the lease ends by itself.
func (e *Engine) freeNumber() {
	if e.number == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handBackMax)
	defer cancel()
	if err := e.store.FreeNode(ctx, e.node, e.number.value, e.real()); err != nil {
		e.log.Warn("the node number was not given back", "number", e.number.value, "error", err)
	}
}

// checkNumber refuses to write ids that another run may make as well.
func (e *Engine) checkNumber() error {
	if e.number.usable(e.real()) {
		return nil
	}
	return fault.New(fault.Busy, "the server could not renew its node number; send the same request again")
}
