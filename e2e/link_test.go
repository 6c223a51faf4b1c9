package e2e

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// cuts is how often the connection is cut where once proves little.
const cuts = 20

// link is the network between a node and its database, which can go bad.
type link struct {
	url      string // of the database, over the link
	server   string
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	wires map[*wire]struct{}
	pass  chan struct{} // closed while bytes go through
	down  bool          // connections are cut as soon as they are made
	// answers is how many answers to a COMMIT are still to be cut off.
	answers int
}

// wire is one connection.
type wire struct{ node, server *net.TCPConn }

func newLink(t *testing.T, database string) *link {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{server: u.Host, wires: map[*wire]struct{}{}, pass: make(chan struct{})}
	close(l.pass)
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = l.listener.Addr().String()
	l.url = u.String()
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		_ = l.listener.Close()
		l.flow()
		l.cut(true)
		l.wg.Wait()
	})
	return l
}

func (l *link) accept() {
	for {
		node, err := l.listener.Accept()
		if err != nil {
			return
		}
		w := &wire{node: node.(*net.TCPConn)}
		server, err := net.Dial("tcp", l.server)
		if err != nil {
			w.cut()
			continue
		}
		w.server = server.(*net.TCPConn)
		l.mu.Lock()
		l.wires[w] = struct{}{}
		down := l.down
		l.mu.Unlock()
		if down {
			w.cut()
		}
		l.wg.Go(func() { l.carry(w, w.node, w.server, func([]byte) bool { return false }) })
		l.wg.Go(func() { l.carry(w, w.server, w.node, l.loses) })
	}
}

// carry passes bytes on until one end closes, or until it is to lose some.
func (l *link) carry(w *wire, from, to *net.TCPConn, loses func([]byte) bool) {
	defer func() {
		w.cut()
		l.mu.Lock()
		delete(l.wires, w)
		l.mu.Unlock()
	}()
	for b := make([]byte, 1<<16); ; {
		n, err := from.Read(b)
		if err != nil || loses(b[:n]) {
			return
		}
		l.mu.Lock()
		pass := l.pass
		l.mu.Unlock()
		<-pass
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// loses reports whether an answer of the server is never to reach the node:
// the command tag of a COMMIT (PostgreSQL documentation, message formats).
func (l *link) loses(answer []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == 0 || !bytes.Contains(answer, []byte("COMMIT\x00")) {
		return false
	}
	l.answers--
	return true
}

// cut resets a connection, as a firewall does.
func (w *wire) cut() {
	for _, c := range []*net.TCPConn{w.node, w.server} {
		if c != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}

// cut resets all connections, and those to come as long as it stays down.
func (l *link) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for w := range l.wires {
		w.cut()
	}
}

// cutSome resets about half of the connections.
func (l *link) cutSome() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.wires {
		if rand.IntN(2) == 0 {
			w.cut()
		}
	}
}

// stall takes connections and bytes and passes nothing on. flow passes on what
// was held back, and all that comes.
func (l *link) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass = make(chan struct{})
}

func (l *link) flow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.pass:
	default:
		close(l.pass)
	}
}

// loseAnswers cuts the connections on which the next answers to COMMITs come.
func (l *link) loseAnswers(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = n
}

func (l *link) answersLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers == 0
}

// TestDrillConnection spoils the connection between node and database in each
// way that a network knows.
func TestDrillConnection(t *testing.T) {
	t.Parallel()
	l := newLink(t, pgtest.Own(t, pgtest.Place{}).URL)
	d := migrated(t, l.url)
	for range roundsWanted(t) {
		left := cuts
		d.trouble("the connection was cut again and again", func() {}, func() bool {
			l.cut(false)
			left--
			return left == 0
		}, func() {})
		d.trouble("answers to COMMITs were lost", func() { l.loseAnswers(cuts) }, l.answersLost, func() {})
		d.outage("the network was down", func() {
			l.cut(true)
			d.notReady()
		}, func() { l.cut(false) })
		d.outage("the network passed nothing on", func() {
			l.stall()
			d.notReady()
		}, l.flow)
	}
	d.finish()
}
