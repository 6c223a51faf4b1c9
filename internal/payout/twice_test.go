package payout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/rail"
)

const (
	troubledDefault = 600 // payouts, where PAYOUTS says nothing
	troubledAtOnce  = 32  // partners' requests under way
)

// badDay is a rail with books of its own, of whose payments one in five goes
// wrong in one of the ways of ill. It pays whatever reaches it, as often as it
// does: only its caller can keep it from paying twice.
type badDay struct {
	window rail.Terms
	mu     sync.Mutex
	known  map[string]*booking // by reference
	counts map[ill]int
}

// booking is what the rail knows of a reference.
type booking struct {
	ill   ill
	calls int       // of Send, as far as they came
	asked int       // calls of Query
	paid  int       // executions
	from  time.Time // when the rail finds the payment, from which moment it has paid
}

// ill is what goes wrong with a payment.
type ill string

const (
	well        ill = "nothing"
	noRequest   ill = "the request is lost"
	noAnswer    ill = "paid, and the connection is reset"
	late        ill = "paid when nobody waits any more"
	patient     ill = "accepted, then silent, then paid"
	refusedLate ill = "refused, and the answer is lost"
	doubled     ill = "paid, and told three times"
	paidNot     ill = "paid, then said to be refused"
	refusedNot  ill = "refused, then said to be paid"
)

var ills = []ill{noRequest, noAnswer, late, patient, refusedLate, doubled, paidNot, refusedNot}

// of finds what is known of a reference; what goes wrong with it is decided
// when it comes first.
func (b *badDay) of(reference string) *booking {
	p, ok := b.known[reference]
	if !ok {
		p = &booking{ill: well}
		if n := len(b.known); n%5 == 0 {
			p.ill = ills[n/5%len(ills)]
		}
		b.known[reference] = p
		b.counts[p.ill]++
	}
	return p
}

var (
	saysPaid    = rail.Outcome{Status: rail.Succeeded, Info: rail.Info{RRN: "123456789012"}}
	saysRefused = rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined}
)

func (b *badDay) send(ctx context.Context, o rail.Order, _ rail.Opener) (rail.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if ctx.Err() != nil { // it never left
		return rail.Outcome{}, errNoAnswer
	}
	p := b.of(o.Reference)
	p.calls++
	switch {
	case p.ill == noRequest && p.calls == 1:
		return rail.Outcome{}, errNoAnswer
	case p.ill == refusedLate:
		p.from = now
		return rail.Outcome{}, errNoAnswer
	case p.ill == refusedNot:
		return saysRefused, nil
	}
	if p.paid++; p.paid > 1 {
		return saysPaid, nil
	}
	p.from = now
	switch p.ill {
	case noAnswer:
		return rail.Outcome{}, errNoAnswer
	case late: // as late as the rail's terms allow
		p.from = now.Add(b.window.Visibility * 9 / 10)
		return rail.Outcome{}, errNoAnswer
	case patient:
		return rail.Outcome{Status: rail.Accepted}, nil
	}
	return saysPaid, nil
}

func (b *badDay) query(reference string, _ int) (rail.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of(reference)
	p.asked++
	switch {
	case p.from.IsZero() || time.Now().Before(p.from):
		return rail.Outcome{Status: rail.NeverSeen}, nil
	case p.ill == refusedLate:
		return saysRefused, nil
	case p.ill == patient && p.asked < 3:
		return rail.Outcome{Status: rail.Unknown}, nil
	}
	return saysPaid, nil
}

// Of many payouts, one in five of which meets a rail that loses the request or
// the answer, pays late, tells twice or contradicts itself, none is paid twice,
// each comes to an end of which its partner is told once, and the books are
// clean. PAYOUTS says how many.
func TestNoPayoutIsPaidTwice(t *testing.T) {
	payouts := troubledDefault
	if s := os.Getenv("PAYOUTS"); s != "" {
		var err error
		if payouts, err = strconv.Atoi(s); err != nil || payouts < 5*len(ills) {
			t.Fatalf("PAYOUTS=%q: want a number that has room for all ills", s)
		}
	}
	began := time.Now()
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.deposit("1000000.00")
	card := l.rails[instrument.KindCard]
	card.terms.Visibility = 4 * time.Second // longer than it takes to be told twice that a payment was never seen
	day := &badDay{window: card.terms, known: map[string]*booking{}, counts: map[ill]int{}}
	card.send, card.query = day.send, day.query
	ends := make(chan error, 1) // of all webhooks
	told := map[string]int{}
	go func() {
		for len(told) < payouts {
			select {
			case h := <-l.hooks:
				told[h.Session.ID]++
			case <-time.After(patience):
				ends <- fmt.Errorf("no webhook came for %s; %d of %d sessions have ended", patience, len(told), payouts)
				return
			}
		}
		ends <- nil
	}()
	l.start()
	sessions := make([]id.Session, payouts)
	var asking sync.WaitGroup
	for first := range troubledAtOnce {
		asking.Go(func() {
			for i := first; i < payouts && !t.Failed(); i += troubledAtOnce {
				sessions[i] = l.asks(fmt.Sprint("payout ", i))
			}
		})
	}
	asking.Wait()
	if err := <-ends; err != nil {
		t.Fatal(err)
	}
	for _, s := range sessions {
		l.tellAgain(day, s)
	}
	l.judge(day, sessions, told)
	l.clean()
	if len(day.counts) != 1+len(ills) {
		t.Errorf("%v: the test has grown blind", day.counts)
	}
	resent := 0
	for _, p := range day.known {
		if p.calls > 1 {
			resent++
		}
	}
	t.Logf("%d payouts, %d of them with something wrong, %d sent again, none paid twice; %s in all",
		payouts, payouts-day.counts[well], resent, time.Since(began).Round(time.Second))
}

// asks makes a payout, however busy the engine is: with a key, so that an answer
// that did not come is fetched by asking again.
func (l *lab) asks(key string) id.Session {
	c := l.call()
	c.Key, c.Replay = key, true
	for end := time.Now().Add(patience); ; {
		a, err := l.engine.Init(l.Context(), c, l.parse(wire.OpInit, cardBody(100)))
		if code := fault.CodeOf(err); err != nil && (code == fault.Busy || code == fault.Internal) && time.Now().Before(end) {
			continue
		}
		var in struct{ Session struct{ ID string } }
		if err == nil {
			err = json.Unmarshal(a.Body, &in)
		}
		n, parsed := id.ParseSession(in.Session.ID)
		if err := errors.Join(err, parsed); err != nil {
			l.Error(err)
		}
		return n
	}
}

// tellAgain brings what a rail says that tells more than once, or otherwise
// than before.
func (l *lab) tellAgain(day *badDay, n id.Session) {
	l.Helper()
	p := &l.session(n).Payouts[0]
	says := map[ill][]rail.Outcome{doubled: {saysPaid, saysPaid}, paidNot: {saysRefused, saysPaid}, refusedNot: {saysPaid, saysRefused}}
	for _, o := range says[day.known[p.Reference].ill] {
		task := store.Task{TaskKey: store.TaskKey{SessionKey: l.key(n), Payout: p.ID, Kind: store.TaskQuery}}
		if _, err := l.engine.do(l.Context(), &outcome{errand: errand{l.call().Project, task}, says: o, asked: l.engine.now()}); err != nil {
			l.Errorf("%s: %v", p.ID, err)
		}
	}
}

// judge compares each payout with the rail's books and with what was told.
func (l *lab) judge(day *badDay, sessions []id.Session, told map[string]int) {
	l.Helper()
	for _, n := range sessions {
		p := &l.session(n).Payouts[0]
		booked := day.known[p.Reference]
		want, paid := session.Paid, 1
		switch booked.ill {
		case refusedLate:
			want, paid = session.Failed, 0
		case refusedNot:
			want, paid = session.Disputed, 0
		case paidNot:
			want = session.Disputed
		}
		if p.State != want || booked.paid != paid || told[n.String()] != 1 {
			l.Errorf("payout %s (%s) is %s, want %s; paid %d times, want %d; its end was told %d times; sent %d times",
				p.ID, booked.ill, p.State, want, booked.paid, paid, told[n.String()], booked.calls)
		}
	}
	if len(day.known) != len(sessions) {
		l.Errorf("the rail knows %d references of %d payouts", len(day.known), len(sessions))
	}
}
