package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/bench"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/sign"
)

const (
	soakProjects    = 4
	soakConns       = 256     // to one node, at most
	soakFlights     = 100_000 // payouts under way, at most; no more are begun above that
	soakTick        = 2 * time.Millisecond
	soakIdle        = 30 * time.Second       // after which a connection is not used again
	paidCard        = "2200000000001317"     // at once
	providerTimeout = "provider_timeout"     // how a payout ends whose check takes longer than a minute
	soakSlow        = time.Second            // a slow receiver takes for its answer
	soakRepeatMin   = 250 * time.Millisecond // before a request that failed is made again
	soakRepeatMax   = time.Second
)

// soakPartners begin payouts at a rate, whatever the answers do, and make each
// request that failed again with its key until it is answered. What is waited
// for takes no goroutine: a payout that is confirmed is an entry in a map until
// the webhook of its end comes.
type soakPartners struct {
	*journal
	key       sign.PrivateKey
	server    sign.PublicKey
	nodes     [2]*soakNode
	turn      atomic.Uint64
	box       *bench.Receiver
	reception atomic.Pointer[reception]
	cards     []string        // that are paid, in turn
	cut       context.Context // done when nothing is waited for any more
	minute    atomic.Pointer[minute]
	completed atomic.Int64 // payouts that have ended as they should
	stranger  atomic.Int64 // webhooks that no partner can have been promised
	forged    atomic.Int64
	doubled   atomic.Int64 // payouts that were told with two numbers, or with two ends

	shards [64]shard
	flying atomic.Int64

	mu       sync.Mutex
	changed  chan struct{} // closed when a node has come or gone
	refusals map[string]int
	failures map[string]int // of requests that were made again, since they were told last
}

type shard struct {
	mu      sync.Mutex
	flights map[int64]*soakFlight
}

// soakFlight is a payout under way.
type soakFlight struct {
	n          int64
	session    string
	started    bool
	confirming bool
	confirmed  time.Time     // when the confirmation was asked for first
	done       chan struct{} // closed at the end; nil if nobody waits
}

// minute counts what happens in one, or in whatever time it is kept for.
type minute struct {
	answers, finishes                           bench.Histogram // request to answer, repeats included; confirm to payment_finished
	begun, done, failed, missed, repeats, hooks atomic.Int64
}

// reception is how webhooks are taken; nil as they should be.
type reception struct {
	how    string
	mended chan struct{}
}

const (
	hangs   = "hangs"
	isSlow  = "is slow"
	refuses = "refuses"
)

func newSoakPartners(j *journal, cut context.Context) *soakPartners {
	p := &soakPartners{journal: j, cards: []string{paidCard}, cut: cut, changed: make(chan struct{}), refusals: map[string]int{}, failures: map[string]int{}}
	p.minute.Store(new(minute))
	for i := range p.shards {
		p.shards[i].flights = map[int64]*soakFlight{}
	}
	return p
}

func soakProject(n int64) id.Project { return id.Project(fmt.Sprintf("soak-%d", n%soakProjects)) }

func soakMinor(n int64) int64 { return 100_00 + n%1000 }

// open begins payouts at a rate until ctx ends.
func (p *soakPartners) open(ctx context.Context, rate float64) {
	began, n := time.Now(), 0.0
	tick := time.NewTicker(soakTick)
	defer tick.Stop()
	for {
		for due := time.Since(began).Seconds() * rate; n < due; n++ {
			if p.flying.Load() >= soakFlights {
				p.minute.Load().missed.Add(1)
				continue
			}
			p.minute.Load().begun.Add(1)
			f, intended := p.board(p.next(), nil), began.Add(time.Duration(n/rate*float64(time.Second)))
			go p.pay(f, intended)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// closed lets each of some clients make one payout after the other as long as
// there are to be more.
func (p *soakPartners) closed(more func() bool, clients int) {
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for more() {
				p.minute.Load().begun.Add(1)
				f := p.board(p.next(), make(chan struct{}))
				p.pay(f, time.Now())
				select {
				case <-f.done:
				case <-p.cut.Done():
				}
			}
		})
	}
	all.Wait()
}

// resume goes on with what an earlier run has left in the middle, by the same
// requests with the same keys.
func (p *soakPartners) resume(clients int) (resumed int) {
	left := make(chan int64)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for n := range left {
				f := p.board(n, make(chan struct{}))
				p.pay(f, time.Now())
				select {
				case <-f.done:
				case <-p.cut.Done():
				}
			}
		})
	}
	for n := int64(1); n <= p.begun() && p.cut.Err() == nil; n++ {
		if !ended(p.marks(n)) {
			left <- n
			resumed++
		}
	}
	close(left)
	all.Wait()
	return resumed
}

func (p *soakPartners) shard(n int64) *shard { return &p.shards[n%int64(len(p.shards))] }

func (p *soakPartners) board(n int64, done chan struct{}) *soakFlight {
	f := &soakFlight{n: n, done: done}
	s := p.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights[n] = f
	p.flying.Add(1)
	return f
}

// change does something to a flight, if there is one, and ends it if nothing
// more is to be done for it.
func (p *soakPartners) change(n int64, do func(*soakFlight)) {
	s := p.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[n]
	if f == nil {
		return
	}
	do(f)
	if !ended(p.marks(n)) {
		return
	}
	delete(s.flights, n)
	p.flying.Add(-1)
	if f.done != nil {
		close(f.done)
	}
	if p.marks(n)&(markFailed|markRefused) == 0 {
		p.completed.Add(1)
		p.minute.Load().done.Add(1)
	}
}

// pay makes the requests that begin a payout, and the one that confirms it if
// the webhook has come before.
func (p *soakPartners) pay(f *soakFlight, intended time.Time) {
	answer, err := p.ask(f.n, "create", createBody(f.n), intended)
	if err != nil {
		p.refuse(f.n, err)
		return
	}
	session := bench.Member(answer, "id")
	if _, err := p.ask(f.n, "start/payout", p.startBody(f.n, session), time.Now()); err != nil {
		p.refuse(f.n, err)
		return
	}
	p.mark(f.n, markStarted)
	p.change(f.n, func(f *soakFlight) { f.session, f.started = session, true })
	p.confirm(f.n)
}

// confirm confirms a payout that has been started and told to be ready, once.
func (p *soakPartners) confirm(n int64) {
	session := ""
	p.change(n, func(f *soakFlight) {
		if f.started && !f.confirming && p.marks(n)&markReady != 0 {
			session, f.confirming, f.confirmed = f.session, true, time.Now()
		}
	})
	if session == "" {
		return
	}
	if _, err := p.ask(n, "confirm", confirmBody(session), time.Now()); err != nil {
		p.refuse(n, err)
		return
	}
	p.mark(n, markAccepted)
	p.change(n, func(*soakFlight) {})
}

var errGivenUp = errors.New("the soak has ended")

// refuse notes a refusal.
func (p *soakPartners) refuse(n int64, err error) {
	if errors.Is(err, errGivenUp) {
		return // the next run goes on
	}
	p.mu.Lock()
	p.refusals[err.Error()]++
	p.mu.Unlock()
	p.mark(n, markRefused)
	p.change(n, func(*soakFlight) {})
}

// fail counts a request that is made again.
func (p *soakPartners) fail(why string) {
	p.minute.Load().failed.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures[why]++
}

func (p *soakPartners) refused() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return counts(p.refusals)
}

// failed tells why requests have failed since it was asked last.
func (p *soakPartners) failed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := counts(p.failures)
	p.failures = map[string]int{}
	return text
}

func counts(of map[string]int) string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%d by %s", of[why], why))
	}
	return strings.Join(parts, "; ")
}

// ask makes a request until it is answered; an answer but ok, or one that asks
// for a repeat, is an error.
func (p *soakPartners) ask(n int64, path string, body []byte, asked time.Time) ([]byte, error) {
	signature, err := p.key.Sign(body)
	if err != nil {
		return nil, err
	}
	r := &bench.Request{
		Path: "/api/v2/session/" + path, Project: soakProject(n), Signature: signature, Body: body, Key: fmt.Sprintf("soak-%d-%s", n, path),
	}
	for {
		node, c, err := p.connect()
		if err != nil {
			return nil, err
		}
		why := "no node is ready"
		if node != nil {
			status, got, err := c.Exchange(r)
			answer := bytes.Clone(got)
			node.give(c)
			switch {
			case err == nil && status == http.StatusOK:
				p.minute.Load().answers.Add(time.Since(asked))
				return answer, nil
			case err == nil && status < http.StatusInternalServerError:
				return nil, fmt.Errorf("%s: status %d, %s", path, status, bench.Member(answer, "code"))
			case err == nil:
				says, _, _ := strings.Cut(bench.Member(answer, "description"), ";") // what follows is the number of the request
				why = fmt.Sprintf("status %d of node %s, %s", status, node.name, says)
			default:
				why = "no answer of node " + node.name
			}
		}
		p.fail(why)
		select {
		case <-time.After(soakRepeatMin + rand.N(soakRepeatMax-soakRepeatMin)):
		case <-p.cut.Done():
			return nil, errGivenUp
		}
	}
}

// connect takes a connection to a node that is ready, both in turn; nil if there
// is none, as a balancer says that none is there.
func (p *soakPartners) connect() (*soakNode, *bench.Conn, error) {
	for turn := p.turn.Add(1); ; {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		first, second := p.nodes[turn%2], p.nodes[(turn+1)%2]
		if !first.up.Load() {
			first, second = second, first
		}
		if !first.up.Load() {
			return nil, nil, nil
		}
		other := second.room
		if !second.up.Load() {
			other = nil
		}
		select {
		case first.room <- struct{}{}:
			return first, first.take(), nil
		default:
		}
		select {
		case first.room <- struct{}{}:
			return first, first.take(), nil
		case other <- struct{}{}:
			return second, second.take(), nil
		case <-changed:
		case <-p.cut.Done():
			return nil, nil, errGivenUp
		}
	}
}

// came says that a node has come or gone.
func (p *soakPartners) came() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// soakNode is a server as partners see it.
type soakNode struct {
	name string
	host string // and port, the same after each start
	up   atomic.Bool
	room chan struct{}

	mu   sync.Mutex
	idle []idleConn // the last one used last
}

type idleConn struct {
	*bench.Conn
	since time.Time
}

func newSoakNode(name string) *soakNode {
	return &soakNode{name: name, room: make(chan struct{}, soakConns)}
}

func (n *soakNode) take() *bench.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.idle) - 1; last >= 0 {
		c := n.idle[last]
		n.idle = n.idle[:last]
		if time.Since(c.since) > soakIdle {
			c.Close() // or the server might, just as the request is sent
		}
		return c.Conn
	}
	return &bench.Conn{Host: n.host}
}

func (n *soakNode) give(c *bench.Conn) {
	n.mu.Lock()
	n.idle = append(n.idle, idleConn{c, time.Now()})
	n.mu.Unlock()
	<-n.room
}

// disconnect ends the connections that nobody uses.
func (n *soakNode) disconnect() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.idle {
		c.Close()
	}
	n.idle = nil
}

// watch keeps up as a balancer does.
func (p *soakPartners) watch(ctx context.Context, n *soakNode) {
	tick := time.NewTicker(lookGap)
	defer tick.Stop()
	for {
		look, cancel := context.WithTimeout(ctx, lookMax)
		is := ready(look, "http://"+n.host) == http.StatusOK
		cancel()
		if n.up.Swap(is) != is {
			p.came()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// take takes a webhook, as the receiver does at this time.
func (p *soakPartners) take(body []byte, signature string) bool {
	if r := p.reception.Load(); r != nil {
		switch r.how {
		case refuses:
			return false
		case hangs:
			select {
			case <-r.mended:
			case <-p.cut.Done():
			}
		case isSlow:
			select {
			case <-time.After(soakSlow):
			case <-r.mended:
			}
		}
	}
	at := time.Now()
	if err := p.server.Verify(body, signature); err != nil {
		p.forged.Add(1)
		return false
	}
	p.minute.Load().hooks.Add(1)
	n, err := strconv.ParseInt(strings.TrimPrefix(bench.Member(body, "order"), "PX-"), 10, 64)
	if err != nil || n < 1 || n > p.begun() {
		p.stranger.Add(1)
		return true
	}
	switch kind, status := bench.Member(body, "type"), bench.Member(body, "status"); {
	case kind == client.ReadyToConfirm:
		if p.mark(n, markReady)&markReady != 0 {
			p.minute.Load().repeats.Add(1)
			return true
		}
		go p.confirm(n)
	case kind == client.PaymentFinished && status == client.SessionAccepted:
		p.paid(n, body, at)
	case kind == client.PaymentFinished && bench.Member(body, "code") == providerTimeout:
		before := p.mark(n, markFailed)
		if before&(markPaid|markAccepted) != 0 {
			p.doubled.Add(1)
		}
		if before&markFailed != 0 {
			p.minute.Load().repeats.Add(1)
		}
		p.change(n, func(*soakFlight) {})
	default:
		p.stranger.Add(1)
	}
	return true
}

func (p *soakPartners) paid(n int64, body []byte, at time.Time) {
	_, rest, _ := bytes.Cut(body, []byte(`"id":"po_`))
	digits, _, _ := bytes.Cut(rest, []byte{'"'})
	number, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		p.stranger.Add(1)
		return
	}
	if was := p.ids[n].Swap(number); was != 0 && was != number {
		p.doubled.Add(1)
	}
	before := p.mark(n, markPaid)
	if before&markFailed != 0 {
		p.doubled.Add(1)
	}
	if before&markPaid != 0 {
		p.minute.Load().repeats.Add(1)
		return
	}
	p.change(n, func(f *soakFlight) {
		if !f.confirmed.IsZero() {
			p.minute.Load().finishes.Add(at.Sub(f.confirmed))
		}
	})
}

// The bodies are of the size that partners send.
func createBody(n int64) []byte {
	return fmt.Appendf(nil, `{"metadata":{"order":"PX-%d","note":"payout for the week, paid on time"}}`, n)
}

func (p *soakPartners) startBody(n int64, session string) []byte {
	return fmt.Appendf(nil, `{"session_id":"%s","payout_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":"%s"}}},`+
		`"participant_details":{"recipient":{"full_name":"Ivan Ivanov","first_name":"Ivan","last_name":"Ivanov"}},`+
		`"amount_details":{"amount":%d,"currency":"rub"},"customer":{"reference":"courier-%d","contacts":[{"email":"courier@example.org"}]}}`,
		session, p.cards[n%int64(len(p.cards))], soakMinor(n), n)
}

func confirmBody(session string) []byte { return fmt.Appendf(nil, `{"session_id":"%s"}`, session) }
