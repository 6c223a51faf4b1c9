package e2e

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

const (
	// cuts is how often the connection is cut where once proves little.
	cuts = 20
	// cutsLong is how many times cuts answers are lost in each of several rounds: 20
	// of them lose 1,200.
	cutsLong = 3
	// lateMax is how late bytes are where they are late, lateShort where there is
	// one round; trickle is how many come in a second where there are few.
	lateMax   = 5 * time.Second
	lateShort = time.Second
	trickle   = 1 << 10
	// toldMax bounds how long after the network to a receiver was mended its
	// webhooks come: twice two gaps of the schedule, and what it is put off for.
	toldMax = 2 * time.Minute
)

// link is the network between a node and what it speaks to, which can go bad.
type link struct {
	url      string // of the other side, over the link
	server   string
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	wires map[*wire]struct{}
	down  bool // connections are cut as soon as they are made
	// refusals is how many were.
	refusals int
	// What is wrong with each direction; nil is nothing.
	toServer, toNode *impairment
	// held is how many times bytes were kept back, or lost, since something went
	// wrong.
	held int
	// left is how many connections have ended since.
	left int
	// answers is how many answers to a COMMIT are still to be cut off.
	answers int
}

// impairment keeps bytes back, or loses them.
type impairment struct {
	over  chan struct{} // closed when it is
	late  time.Duration // how long at most; 0 is until it is over
	rate  int           // bytes a second; 0 is as many as there are
	loses bool          // nobody is told; afterwards the connection is reset
}

// pause is how long the next bytes are kept back, and how many they are; nil is
// until the trouble is over.
func (t *impairment) pause(n int) (<-chan time.Time, int) {
	switch {
	case t.rate > 0:
		n = min(n, max(t.rate/10, 1))
		return time.After(time.Duration(n) * time.Second / time.Duration(t.rate)), n
	case t.late > 0:
		return time.After(rand.N(t.late)), n
	}
	return nil, n
}

// wire is one connection. It has a hole where bytes were lost.
type wire struct {
	node, server *net.TCPConn
	hole         bool
}

// newLink makes a link to the server of a URL.
func newLink(t *testing.T, server string) *link {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{server: u.Host, wires: map[*wire]struct{}{}}
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
		if down {
			l.refusals++
		}
		l.mu.Unlock()
		if down {
			w.cut()
		}
		l.wg.Go(func() { l.carry(w, w.node, w.server, &l.toServer, func([]byte) bool { return false }) })
		l.wg.Go(func() { l.carry(w, w.server, w.node, &l.toNode, l.loses) })
	}
}

// carry passes bytes on until one end closes, or until it is to lose some.
func (l *link) carry(w *wire, from, to *net.TCPConn, way **impairment, loses func([]byte) bool) {
	defer func() {
		w.cut()
		l.mu.Lock()
		if _, ok := l.wires[w]; ok {
			l.left++
		}
		delete(l.wires, w)
		l.mu.Unlock()
	}()
	for b := make([]byte, 1<<16); ; {
		n, err := from.Read(b)
		if err != nil || loses(b[:n]) {
			return
		}
		for rest := b[:n]; len(rest) > 0; {
			now, ok := l.keepBack(w, way, len(rest))
			if !ok {
				break
			}
			part := rest[:now]
			if _, err := to.Write(part); err != nil {
				return
			}
			rest = rest[len(part):]
		}
	}
}

// keepBack returns when the next of n bytes may go on, and how many; false if
// they are lost.
func (l *link) keepBack(w *wire, way **impairment, n int) (now int, ok bool) {
	l.mu.Lock()
	t := *way
	if t != nil && t.loses {
		w.hole = true
		l.held++
	}
	hole := w.hole
	l.mu.Unlock()
	switch {
	case hole:
		return 0, false
	case t == nil:
		return n, true
	}
	later, n := t.pause(n)
	select {
	case <-later:
		l.mu.Lock()
		l.held++
		l.mu.Unlock()
	case <-t.over:
	}
	return n, true
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
	l.down, l.refusals = down, 0
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

// stall takes connections and bytes and passes nothing on.
func (l *link) stall() { l.spoil(&impairment{}, &impairment{}) }

// spoil makes either direction go wrong; nil is not.
func (l *link) spoil(toServer, toNode *impairment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.left = 0, 0
	for _, t := range []*impairment{toServer, toNode} {
		if t != nil {
			t.over = make(chan struct{})
		}
	}
	l.toServer, l.toNode = toServer, toNode
}

// flow passes on what was kept back, and all that comes, but on connections that
// have lost something.
func (l *link) flow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range []*impairment{l.toServer, l.toNode} {
		if t != nil {
			close(t.over)
		}
	}
	l.toServer, l.toNode = nil, nil
	for w := range l.wires {
		if w.hole {
			w.cut()
		}
	}
}

// leftAlone reports whether n connections have ended since.
func (l *link) leftAlone(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left >= n
}

// refused reports whether n connections were cut as soon as they were made.
func (l *link) refused(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusals >= n
}

// keptBack reports whether bytes were late, or lost, n times.
func (l *link) keptBack(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held >= n
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

// TestDrillConnection breaks the connection between node and database.
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
		counted(t, "cuts", cuts)
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

// TestDrillLostAnswers loses answers to COMMITs: the node can't know what became
// of a batch, and finds out.
func TestDrillLostAnswers(t *testing.T) {
	t.Parallel()
	l := newLink(t, pgtest.Own(t, pgtest.Place{}).URL)
	d := migrated(t, l.url)
	d.notices = 5 * noticeMax // each is a request that goes on, and takes what that takes
	times := roundsWanted(t)
	if times > 1 {
		times *= cutsLong
	}
	for range times {
		d.trouble("answers to COMMITs were lost", func() { l.loseAnswers(cuts) }, l.answersLost, func() {})
		counted(t, "answers lost", cuts)
	}
	d.finish()
}

// TestDrillBadNetwork makes the network between node and database slow, late, or
// deaf in one direction, and connections stand.
func TestDrillBadNetwork(t *testing.T) {
	t.Parallel()
	l := newLink(t, pgtest.Own(t, pgtest.Place{}).URL)
	d := migrated(t, l.url)
	for range roundsWanted(t) {
		for _, bad := range badNetworks(t) {
			what, breaks := "the database's network "+bad.what, func() { l.spoil(bad.toServer, bad.toNode) }
			if !bad.passes {
				d.outage(what, breaks, l.flow)
				continue
			}
			d.trouble(what, func() {
				breaks()
				d.witness.mark()
			}, func() bool { return d.witness.counted(requestsOut) }, l.flow)
		}
	}
	d.finish()
}

// TestDrillReceiverNetwork does the same, and more, to the network between node
// and the server that takes webhooks. No request fails of that.
func TestDrillReceiverNetwork(t *testing.T) {
	t.Parallel()
	d := newDrill(t, place{})
	d.resumes = toldMax
	l := newLink(t, d.hooks.url)
	for _, project := range []string{"two-step", "one-step"} {
		run(t, d.at.flags("project", "set", project, "--webhook", l.url)...)
	}
	for range roundsWanted(t) {
		left := cuts
		d.trouble("the receiver's connection was cut again and again", func() {}, func() bool {
			l.cut(false)
			left--
			return left == 0
		}, func() {})
		d.trouble("the receiver's network was down", func() { l.cut(true) }, func() bool { return l.refused(requestsOut) }, func() { l.cut(false) })
		for _, bad := range badNetworks(t) {
			d.trouble("the receiver's network "+bad.what, func() { l.spoil(bad.toServer, bad.toNode) }, func() bool {
				return l.keptBack(2*requestsOut) && (bad.passes || l.leftAlone(requestsOut))
			}, l.flow)
		}
	}
	if failed := d.witness.failures(); failed > 0 {
		t.Errorf("%d requests failed, want none", failed)
	}
	d.finish()
}

// badNetwork is a way in which a network that stands is of little use.
type badNetwork struct {
	what             string
	passes           bool // whatever waits for long enough
	toServer, toNode *impairment
}

// badNetworks are those of a round: what is learnt in seconds where there is one.
func badNetworks(t *testing.T) []badNetwork {
	t.Helper()
	late := lateShort
	deaf := []badNetwork{{"loses what is answered", false, nil, &impairment{loses: true}}}
	if roundsWanted(t) > 1 {
		late = lateMax
		deaf = append(deaf, badNetwork{"loses what is sent", false, &impairment{loses: true}, nil})
	}
	return append([]badNetwork{
		{"is late", true, &impairment{late: late}, &impairment{late: late}},
		{"is slow", true, &impairment{rate: trickle}, &impairment{rate: trickle}},
	}, deaf...)
}
