package session

import (
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/money"
)

// Refund is money of a payout that a rail says it has given back, because the
// recipient's bank did not take it (wire reference, core §2.9).
type Refund struct {
	ID     id.Refund
	Status RefundStatus
	// Reference is the rail's name of the return, the same whenever it is told.
	Reference string
	// Amount is what the rail says came back, which may not be what was paid.
	Amount money.Amount
	// Fee is what of ours went back to the partner with it, in kopecks.
	Fee int64
	// At is when it came back, by the rail.
	At         time.Time
	CreatedAt  time.Time // when we learnt of it
	FinishedAt time.Time // when it was booked; zero before, and where nothing was
}

// RefundStatus is what became of a return.
type RefundStatus string

// The statuses. Partners are shown what is booked, and nothing else.
const (
	RefundKept      RefundStatus = "kept"      // it came before the final answer, and waits for it
	RefundBooked    RefundStatus = "booked"    // the partner has the money again
	RefundSuspended RefundStatus = "suspended" // the amount is in suspense, until people have explained it
	RefundRefused   RefundStatus = "refused"   // written down and nothing booked
)

// Refund finds the return that gave the partner the money back; nil if there is
// none. There is never a second one.
func (p *Payout) Refund() *Refund {
	for i := range p.Refunds {
		if p.Refunds[i].Status == RefundBooked {
			return &p.Refunds[i]
		}
	}
	return nil
}
