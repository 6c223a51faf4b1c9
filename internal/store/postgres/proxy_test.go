package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
)

// proxy stands between a node and its server and can break the connection in
// the middle of a commit.
type proxy struct {
	t        *testing.T
	server   string // host:port
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	cut   cut // for the next bytes from the node
	dead  bool
	// arrived returns when the server has done what it was sent of a write.
	arrived func()
	// late is a connection to the server whose other end the node has lost, and
	// unsent what has not been sent on it yet.
	late     net.Conn
	unsent   []byte
	answered chan string
}

// cut is where a commit is broken.
type cut int

const (
	nowhere       cut = iota
	afterCommit       // the server has committed, the node does not hear of it
	beforeWrite       // the write never leaves the node
	onTheWay          // the write arrives when the node has given it up
	beforeItsLast     // the same, but the server already waits for the rest of it
	silently          // it never leaves, and the connection stays
)

// tail is the length of the last two messages: Execute, of the COMMIT, and Sync
// (PostgreSQL documentation, message formats).
const tail = 10 + 5

func newProxy(t *testing.T, database string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, server: u.Host, listener: l, answered: make(chan string, 1)}
	p.wg.Go(p.accept)
	t.Cleanup(p.kill)
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			p.t.Errorf("proxy: %v", err)
			return
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		if p.dead {
			_ = client.Close()
		}
		p.mu.Unlock()
		pair := &pair{proxy: p, client: client, server: server}
		p.wg.Go(pair.up)
		p.wg.Go(pair.down)
	}
}

// kill ends it as the death of a machine does.
func (p *proxy) kill() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.dead = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// arm breaks what the node sends next.
func (p *proxy) arm(c cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = c
}

func (p *proxy) armed() cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.cut
	p.cut = nowhere
	return c
}

// deliver sends what has been on its way, and returns what the server says to it.
func (p *proxy) deliver() string {
	p.mu.Lock()
	late, unsent := p.late, p.unsent
	p.mu.Unlock()
	if _, err := late.Write(unsent); err != nil {
		p.t.Errorf("deliver: %v", err)
	}
	return <-p.answered
}

// idle is the beginning of the message ReadyForQuery, which ends each answer.
const idle = "Z\x00\x00\x00\x05"

type pair struct {
	*proxy
	client, server net.Conn
	swallow, keep  bool // guarded by proxy.mu
}

func (c *pair) up() {
	buf := make([]byte, 1<<20)
	for {
		n, err := c.client.Read(buf)
		if err != nil {
			c.mu.Lock()
			keep := c.keep
			c.mu.Unlock()
			if !keep {
				_ = c.server.Close()
			}
			return
		}
		b := bytes.Clone(buf[:n])
		switch c.armed() {
		case afterCommit:
			c.mu.Lock()
			c.swallow = true
			c.mu.Unlock()
		case beforeWrite:
			_ = c.client.Close()
			_ = c.server.Close()
			return
		case silently:
			continue
		case onTheWay:
			c.lose(b)
			return
		case beforeItsLast:
			if _, err := c.server.Write(b[:len(b)-tail]); err != nil {
				c.t.Errorf("proxy: %v", err)
			}
			c.arrived()
			c.lose(b[len(b)-tail:])
			return
		}
		if _, err := c.server.Write(b); err != nil {
			_ = c.client.Close()
			return
		}
	}
}

// lose ends the connection for the node alone.
func (c *pair) lose(unsent []byte) {
	c.mu.Lock()
	c.keep, c.late, c.unsent = true, c.server, unsent
	c.mu.Unlock()
	_ = c.client.Close()
}

func (c *pair) down() {
	buf := make([]byte, 1<<16)
	var unheard []byte
	for {
		n, err := c.server.Read(buf)
		c.mu.Lock()
		swallow, keep := c.swallow, c.keep
		c.mu.Unlock()
		switch {
		case err != nil:
			_ = c.client.Close()
			return
		case keep:
			if unheard = append(unheard, buf[:n]...); bytes.Contains(unheard, []byte(idle)) {
				c.answered <- string(unheard)
				return
			}
		case swallow:
			if unheard = append(unheard, buf[:n]...); bytes.Contains(unheard, []byte("COMMIT\x00")) {
				_ = c.client.Close()
				_ = c.server.Close()
				return
			}
		default:
			if _, err := c.client.Write(buf[:n]); err != nil {
				_ = c.server.Close()
				return
			}
		}
	}
}

// TestLostCommits loses the connection around the COMMIT. Whatever has become
// of the batch, the caller learns it, and it stays so.
func TestLostCommits(t *testing.T) {
	for _, c := range []struct {
		name    string
		cut     cut
		written bool
	}{
		{"its answer is lost", afterCommit, true},
		{"it never leaves", beforeWrite, false},
		{"it arrives after the look-up", onTheWay, false},
		{"it arrives during the look-up", beforeItsLast, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			database := newDatabase(t)
			p, through := newProxy(t, database)
			p.arrived = func() { // entries come after the row of the batch
				await(t, database, `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'entries'::regclass AND mode = 'RowExclusiveLock')`)
			}
			n, other := join(t, through, 1), join(t, database, 2)
			n.must(n.deposit(n.next(), "p")) // prepares the statements
			batch, decided := n.next(), 0
			done := make(chan error, 1)
			go func() {
				done <- n.Commit(t.Context(), store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows) (*store.Changes, error) {
					decided++
					e, err := rows.Books["p"].Post(ledger.Deposit(1, "d"), n.at())
					p.arm(c.cut)
					return &store.Changes{Batch: batch, Books: []*ledger.Book{rows.Books["p"]}, Entries: []ledger.Entry{e}}, err
				})
			}()
			if c.cut == beforeItsLast {
				awaitLock(t, database) // until the look-up waits for the batch
				p.deliver()
			}
			err := <-done
			if c.written {
				n.must(err)
			} else {
				wantCode(t, err, fault.Busy)
			}
			want := int64(1)
			if c.written {
				want = 2
			}
			other.wantAvailable("p", want)
			if c.cut == onTheWay {
				if answer := p.deliver(); !strings.Contains(answer, uniqueViolation) {
					t.Errorf("the server says %q to the late write, want a refusal", answer)
				}
				other.wantAvailable("p", want)
			}
			n.wantBatch(batch, c.written)
			other.wantBatch(batch, c.written)
			if decided != 1 {
				t.Errorf("decided %d times, want once", decided)
			}
			n.must(n.deposit(n.next(), "p"))
			other.wantAvailable("p", want+1)
		})
	}
}

// TestUnknownOutcome loses the answer and then the server: the error says that
// nobody knows. When the server is back the store does, for good.
func TestUnknownOutcome(t *testing.T) {
	for _, c := range []struct {
		name    string
		cut     cut
		written bool
	}{
		{"written", afterCommit, true},
		{"not written", onTheWay, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			database := newDatabase(t)
			p, through := newProxy(t, database)
			n := join(t, through, 1)
			n.must(n.deposit(n.next(), "p"))
			n.settleMax = 0
			batch := n.next()
			err := n.Commit(t.Context(), store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows) (*store.Changes, error) {
				e, err := rows.Books["p"].Post(ledger.Deposit(1, "d"), n.at())
				p.arm(c.cut)
				return &store.Changes{Batch: batch, Books: []*ledger.Book{rows.Books["p"]}, Entries: []ledger.Entry{e}}, err
			})
			if !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("error %v, want ErrUnknown", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = n.Committed(ctx, batch)
			wantCode(t, err, fault.Busy) // and it stays unsettled
			n.wantBatch(batch, c.written)
			if !c.written {
				if answer := p.deliver(); !strings.Contains(answer, uniqueViolation) {
					t.Errorf("the server says %q to the late write, want a refusal", answer)
				}
			}
			n.wantBatch(batch, c.written)
			if len(n.unsettled) != 0 {
				t.Errorf("%d batches are still unsettled", len(n.unsettled))
			}
		})
	}
}

// TestUnsettledAreBounded leaves one outcome unknown after the other, as in years
// of outages: the last ones can still be asked about, and no more are kept.
func TestUnsettledAreBounded(t *testing.T) {
	n := join(t, newDatabase(t), 1)
	n.settleMax = 0
	var last id.Batch
	for range 3 * unsettledMax {
		last = n.next()
		if err := n.settle(&lostError{batch{"p", last}, io.ErrUnexpectedEOF}); !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("error %v, want ErrUnknown", err)
		}
	}
	if len(n.unsettled) != unsettledMax {
		t.Errorf("%d are kept, want %d", len(n.unsettled), unsettledMax)
	}
	n.wantBatch(last, false)
	if _, kept := n.unsettled[last]; kept || len(n.unsettled) != unsettledMax-1 {
		t.Errorf("%d are kept after the last was settled, that one %t", len(n.unsettled), kept)
	}
}

// TestSeveralHosts names three servers: one that is not there, one that dies,
// and one that takes over.
func TestSeveralHosts(t *testing.T) {
	database := newDatabase(t)
	first, firstURL := newProxy(t, database)
	_, secondURL := newProxy(t, database)
	gone, goneURL := newProxy(t, database)
	gone.kill()
	host := func(database string) string {
		u, err := url.Parse(database)
		if err != nil {
			t.Fatal(err)
		}
		return u.Host
	}
	hosts := strings.Join([]string{host(goneURL), host(firstURL), host(secondURL)}, ",")
	n := join(t, strings.Replace(database, host(database), hosts, 1)+"&target_session_attrs=read-write", 1)
	n.must(n.deposit(n.next(), "p"))
	n.wantAvailable("p", 1)
	first.kill()
	n.must(n.deposit(n.next(), "p"))
	n.wantAvailable("p", 2)

	_, err := Open(t.Context(), goneURL, nil)
	wantCode(t, err, fault.Busy)
}

// TestSilentServerIsBusy loses what the node says, and nothing tells it so: it
// gives up by itself, and goes on with another connection.
func TestSilentServerIsBusy(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(*node) error
	}{
		{"read", func(n *node) error {
			_, err := n.Book(n.Context(), "p")
			return err
		}},
		{"claim", func(n *node) error {
			_, err := n.ClaimTasks(n.Context(), "n", n.at(), n.at(), time.Minute, 1)
			return err
		}},
		{"nudge", func(n *node) error { return n.Nudge(n.Context()) }},
		{"new project", func(n *node) error { return n.CreateProject(n.Context(), partner.Project{ID: "other"}) }},
		{"commit", func(n *node) error { return n.deposit(n.next(), "p") }},
		{"snapshot", func(n *node) error { return n.Snapshot(n.Context(), func(store.Snapshot) error { return nil }) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, through := newProxy(t, newDatabase(t))
			n := join(t, through, 1)
			n.must(n.deposit(n.next(), "p"))
			n.must(n.Snapshot(t.Context(), func(store.Snapshot) error { return nil }))
			n.answerMax = 100 * time.Millisecond
			p.arm(silently)
			err := c.call(n)
			n.answerMax = answerMax
			wantCode(t, err, fault.Busy)
			n.must(n.deposit(n.next(), "p"))
		})
	}
}

// TestNobodyWaitsBehindTheOthers takes all connections, as calls do that a
// silent server leaves hanging: who comes then is told in the same time.
func TestNobodyWaitsBehindTheOthers(t *testing.T) {
	n := join(t, newDatabase(t), 1)
	n.must(n.deposit(n.next(), "p"))
	for _, pool := range []*pgxpool.Pool{n.readers, n.writers} {
		for range pool.Config().MaxConns {
			conn, err := pool.Acquire(t.Context())
			n.must(err)
			defer conn.Release()
		}
	}
	n.answerMax = 100 * time.Millisecond
	_, err := n.Book(t.Context(), "p")
	wantCode(t, err, fault.Busy)
	wantCode(t, n.deposit(n.next(), "p"), fault.Busy)
}

// TestServerThatDiesIsBusy keeps the store usable: it finds the server again.
func TestServerThatDiesIsBusy(t *testing.T) {
	database := newDatabase(t)
	p, through := newProxy(t, database)
	n := join(t, through, 1)
	n.must(n.deposit(n.next(), "p"))
	p.kill()
	wantCode(t, n.deposit(n.next(), "p"), fault.Busy)
	_, err := n.Book(t.Context(), "p")
	wantCode(t, err, fault.Busy)
	wantCode(t, n.Snapshot(t.Context(), func(store.Snapshot) error { return nil }), fault.Busy)

	l, err := net.Listen("tcp", p.listener.Addr().String())
	n.must(err)
	p.listener, p.dead = l, false
	p.wg.Go(p.accept)
	n.must(n.deposit(n.next(), "p"))
	n.wantAvailable("p", 2)
}
