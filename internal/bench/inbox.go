package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/sign"
)

// inbox takes the webhooks of all projects in and verifies their signatures
// before it answers, as a careful partner does. It reads requests without the
// goroutines of http.Server, for the reason that conn has.
type inbox struct {
	url string
	key sign.PublicKey // of the server; set before it starts

	listener net.Listener
	serving  sync.WaitGroup

	verified, forged, repeated atomic.Int64

	mu      sync.Mutex
	flights map[id.Session]*flight
	open    map[net.Conn]bool // connections; nil once it is closed
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
	b := &inbox{url: "http://" + l.Addr().String() + "/hook", listener: l, flights: map[id.Session]*flight{}, open: map[net.Conn]bool{}}
	b.serving.Go(b.serve)
	return b, nil
}

// serve takes connections until the listener is closed.
func (b *inbox) serve() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		if !b.keep(c) {
			_ = c.Close()
			return
		}
		b.serving.Go(func() {
			defer b.drop(c)
			for r := bufio.NewReader(c); b.answer(c, r) == nil; {
			}
		})
	}
}

// keep remembers a connection that has to be closed with the inbox; false if
// that has happened.
func (b *inbox) keep(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		return false
	}
	b.open[c] = true
	return true
}

func (b *inbox) drop(c net.Conn) {
	_ = c.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, c)
}

// close ends all connections. Whoever is sending learns nothing of it: it is
// called when no more webhooks are waited for.
func (b *inbox) close() {
	_ = b.listener.Close()
	b.mu.Lock()
	for c := range b.open {
		_ = c.Close()
	}
	b.open = nil
	b.mu.Unlock()
	b.serving.Wait()
}

// The answers to a webhook.
var (
	taken   = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	refused = []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
)

// answer reads one request and answers it. It fails when the connection is of no
// more use.
func (b *inbox) answer(c net.Conn, r *bufio.Reader) error {
	h, err := readHead(r, webhookBytesMax)
	if errors.Is(err, errHead) {
		b.forged.Add(1)
		_, _ = c.Write(refused)
	}
	if err != nil {
		return err
	}
	body := make([]byte, h.length)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	text := taken
	if !b.take(body, h.signature) {
		text = refused
	}
	if _, err = c.Write(text); err == nil && h.close {
		err = io.EOF
	}
	return err
}

// take reports whether a webhook is one that the server has signed. All else is
// refused, so that nothing is taken for delivered that a partner would refuse.
func (b *inbox) take(body []byte, signature string) bool {
	at := now()
	number, err := id.ParseSession(member(body, "id"))
	if err = errors.Join(b.key.Verify(body, signature), err); err != nil {
		b.forged.Add(1)
		return false
	}
	b.verified.Add(1)
	b.tell(number, session.Hook(member(body, "type")), arrival{at, member(body, "status")})
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
