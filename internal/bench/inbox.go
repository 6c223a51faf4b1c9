package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	url    string
	key    sign.PublicKey // of the server; set before it starts
	server *http.Server

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

// webhookBytesMax is far above any webhook.
const webhookBytesMax = 1 << 20

func openInbox() (*inbox, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("receiver of webhooks: %w", err)
	}
	b := &inbox{url: "http://" + l.Addr().String() + "/hook", flights: map[id.Session]*flight{}}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: exchangeTimeout}
	go func() { _ = b.server.Serve(l) }() // ends with close
	return b, nil
}

func (b *inbox) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := b.server.Shutdown(ctx); err != nil {
		_ = b.server.Close()
	}
}

// ServeHTTP answers 200 to a webhook that the server has signed, and 400 to all
// else, so that nothing is taken for delivered that a partner would refuse.
func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := now()
	body, err := read(r)
	if err == nil {
		err = b.key.Verify(body, r.Header.Get(sign.HeaderSign))
	}
	number, wrong := id.ParseSession(member(body, "id"))
	if err = errors.Join(err, wrong); err != nil {
		b.forged.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.verified.Add(1)
	b.tell(number, session.Hook(member(body, "type")), arrival{at, member(body, "status")})
}

func read(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > webhookBytesMax {
		return nil, fmt.Errorf("a webhook of %d bytes", r.ContentLength)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
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
