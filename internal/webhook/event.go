// Package webhook is how a partner learns what happened: the events of the
// outbox, the retry schedule, the guard over addresses and the HTTP delivery.
// When to deliver what is decided by package payout.
package webhook

import (
	"time"

	"github.com/payoutd/payoutd/internal/id"
)

// Status is where an event stands.
type Status string

// The statuses of an event.
const (
	Pending   Status = "pending"   // to be delivered at Due
	Delivered Status = "delivered" // the partner answered 200
	GivenUp   Status = "given_up"  // the schedule has ended; an alarm was raised
	Muted     Status = "muted"     // the project had no webhook address when it was made
)

// Event is one promise of the outbox, made in the commit that changed the state.
type Event struct {
	Project id.Project
	Session id.Session
	N       int      // 1, 2, 3 within the session: the order of delivery
	ID      id.Event // named to the partner in a header
	Seq     int64    // 1, 2, 3 within the project
	Type    string   // the wire's name of it, as in session.Hook
	Body    []byte   // JSON, as it is sent and signed
	// Signature is Base64, made once at the first attempt; "" before.
	Signature string
	Status    Status
	Attempts  int // lines of its delivery log
	CreatedAt time.Time
	Due       time.Time // of the next attempt while pending
	// Owner delivers it until Lease; "" and zero where nobody has claimed it.
	Owner string
	Lease time.Time
}

// Replayed stands as the Error of a line of the delivery log that is no attempt
// but an operator's order to begin again.
const Replayed = "replayed by an operator"

// Round is how far the present round of an event's attempts has come: the first,
// or the one that the last replay began. log is the delivery log of its session,
// oldest first.
func Round(log []Attempt, n int) (began time.Time, attempts int) {
	for i := range log {
		switch a := &log[i]; {
		case a.N != n:
		case a.Error == Replayed:
			began, attempts = a.At, 0
		default:
			if began.IsZero() {
				began = a.At
			}
			attempts++
		}
	}
	return began, attempts
}

// Attempt is one line of the delivery log.
type Attempt struct {
	Project id.Project
	Session id.Session
	N       int // the event
	No      int // 1, 2, 3 …
	At      time.Time
	Took    time.Duration
	Status  int    // HTTP status; 0 where none came
	Error   string // "" on success; never holds the body
}
