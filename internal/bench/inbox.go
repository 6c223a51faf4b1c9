package bench

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/sign"
)

// inbox takes the webhooks of all projects in and verifies their signatures
// before it answers, as a careful partner does.
type inbox struct {
	*Receiver
	key sign.PublicKey // of the server; set before it starts

	verified, forged, repeated atomic.Int64

	mu      sync.Mutex
	flights map[id.Session]*flight
}

// flight is a payout that somebody waits for.
type flight struct {
	ready    chan arrival
	finished chan arrival
}

// arrival is a webhook that came, and when.
type arrival struct {
	at     time.Time
	status string // of the session
}

func openInbox() (*inbox, error) {
	b := &inbox{flights: map[id.Session]*flight{}}
	var err error
	b.Receiver, err = Receive("127.0.0.1:0", b.take)
	return b, err
}

// take reports whether a webhook is one that the server has signed. All else is
// refused, so that nothing is taken for delivered that a partner would refuse.
func (b *inbox) take(body []byte, signature string) bool {
	at := now()
	number, err := id.ParseSession(Member(body, "id"))
	if err = errors.Join(b.key.Verify(body, signature), err); err != nil {
		b.forged.Add(1)
		return false
	}
	b.verified.Add(1)
	b.tell(number, session.Hook(Member(body, "type")), arrival{at, Member(body, "status")})
	return true
}

// expect is the flight of a session. The webhook of a payout that needs no
// confirmation may come before the answer that tells its number.
func (b *inbox) expect(s id.Session) *flight {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.flights[s]
	if f == nil {
		f = &flight{ready: make(chan arrival, 1), finished: make(chan arrival, 1)}
		b.flights[s] = f
	}
	return f
}

// forget ends a flight.
func (b *inbox) forget(s id.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.flights, s)
}

// tell gives a webhook to whoever waits for it. Events are delivered at least
// once: one that came before changes nothing.
func (b *inbox) tell(s id.Session, h session.Hook, a arrival) {
	f := b.expect(s)
	to := f.ready
	if h == session.PaymentFinished {
		to = f.finished
	}
	select {
	case to <- a:
	default:
		b.repeated.Add(1)
	}
}
