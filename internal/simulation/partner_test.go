package simulation

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
)

// shop is a partner with one project.
type shop struct {
	*world
	project  partner.Project
	charges  []*charge
	deaf     bool // its receiver is down for good
	deposits map[string]*deposit
	accounts map[string]instrument.Source // of its own
	keyring  keyring
}

type deposit struct {
	account string // own account; "" for the balance
	minor   int64
	done    bool // it was answered
}

// op is one request of a partner, or something that a rail tells, under way.
type op struct {
	name string
	what string
	node *node
	do   func(context.Context, *payout.Engine) (payout.Answer, error)
	then func(payout.Answer, error)
	may  []fault.Code // refusals that are expected beside the usual ones
	by   *shop        // who has signed it; nil for what no partner asks
	key  int          // by which of its keys

	mustPass, mayPass bool // so signed

	mu     sync.Mutex
	back   bool
	answer payout.Answer
	err    error
	lost   bool
	closed bool
	world  *world
}

// opKey is under what the context of a request has its name.
type opKey struct{}

// errLost is what a partner has whose connection broke: anything may have
// happened.
var errLost = fault.New(fault.Internal, "simulated: the connection to the server broke")

// pick chooses a node that serves; nil if there is none.
func (w *world) pick(name string) *node {
	var up []*node
	for _, n := range w.nodes {
		if n.serves() != nil && time.Now().After(n.frozen) {
			up = append(up, n)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[w.roll(name+" goes to").IntN(len(up))]
}

// start sends a request to some node.
func (w *world) start(o *op) {
	o.world = w
	o.node = w.pick(o.name)
	if o.node == nil {
		w.tell("%s: %s: no node is there", o.name, o.what)
		o.then(payout.Answer{}, errLost)
		return
	}
	do := o.do
	if w.keys && o.by != nil {
		o.key = o.by.signs(o.name)
		o.mustPass, o.mayPass = o.by.holds(o.key, o.node)
		o.may = append(slices.Clip(o.may), fault.Unauthenticated)
		do = o.signed
	}
	w.tell("%s: %s, on %s", o.name, o.what, o.node.name)
	w.ops = append(w.ops, o)
	e := o.node.serves()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		answer, err := do(context.WithValue(ctx, opKey{}, o.name), e)
		o.mu.Lock()
		o.answer, o.err, o.back = answer, err, true
		o.mu.Unlock()
		w.wake()
	}()
}

// lose breaks the connection.
func (o *op) lose() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lost, o.back = true, true
}

func (o *op) returned() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.back
}

// close gives the answer to whoever asked.
func (o *op) close() {
	o.mu.Lock()
	answer, err, lost := o.answer, o.err, o.lost
	o.mu.Unlock()
	o.closed = true
	switch {
	case lost:
		answer, err = payout.Answer{}, errLost
		o.world.tell("%s: the connection broke", o.name)
	case o.world.goesWrong("partner hears nothing", o.name):
		answer, err = payout.Answer{}, errLost
		o.world.tell("%s: the answer is lost", o.name)
	case err != nil:
		o.world.tell("%s: %s", o.name, fault.CodeOf(err))
		if code := fault.CodeOf(err); !expected[code] && !slices.Contains(o.may, code) {
			o.world.breaks("answers", "%s is answered: %v", o.name, err)
		}
	default:
		o.world.tell("%s: ok%s", o.name, map[bool]string{true: ", the first answer again"}[answer.Replayed])
	}
	o.then(answer, err)
}

// expected are the refusals that partners of this world may get.
var expected = map[fault.Code]bool{
	fault.Busy: true, fault.WrongState: true, fault.KeyExists: true, fault.NotFound: true, fault.Internal: true,
}

// plan lets something happen in a while, unless it is taken out.
func (w *world) plan(d time.Duration, name string, do func()) {
	w.after(d, name, func() {
		if !w.healed && w.may(name) {
			do()
		}
	})
}

func (s *shop) call(key string, replay bool, body string) payout.Call {
	return payout.Call{Project: &s.project, Version: 2, Key: key, Replay: replay, Print: sha256.Sum256([]byte(body))}
}

// request is an op of a charge whose refusals tell nothing more.
type request struct {
	name, what string
	do         func(context.Context, *payout.Engine) (payout.Answer, error)
	then       func(payout.Answer)
	may        []fault.Code
	judge      func(payout.Answer, error) // may be nil
}

func (c *charge) start(o *request) {
	gone := c.isArchived(c.project.ID, c.session)
	c.world.start(&op{name: o.name, what: o.what, by: c.shop, do: o.do, may: o.may, then: func(a payout.Answer, err error) {
		if gone {
			c.ofArchived(o.name, a, err)
		}
		if o.judge != nil {
			o.judge(a, err)
		}
		if err == nil {
			o.then(a)
		}
	}})
}

// made takes the answer to the request that made the charge.
func (c *charge) made(a payout.Answer) {
	s, ok := c.sessionOf(a)
	if !ok {
		return
	}
	c.known(s)
	if c.key == "" {
		return
	}
	if c.first == nil {
		c.first = a.Body
	}
	if string(c.first) != string(a.Body) {
		c.breaks("key", "the key of %s is answered first with %s, then with %s", c.label, c.first, a.Body)
	}
}

// known takes a session for that of the charge: it must be there, and it alone.
func (c *charge) known(s id.Session) {
	k := store.SessionKey{Project: c.project.ID, Session: s}
	switch {
	case c.world.label(k) != c.label:
		c.breaks("answered", "%s is told to have the session %s, which is of %s in the store", c.label, s, c.world.label(k))
	case c.session != 0 && c.session != s:
		c.breaks("key", "%s has the sessions %s and %s", c.label, c.session, s)
	}
	c.session = s
}

func (c *charge) sessionOf(a payout.Answer) (id.Session, bool) {
	var in struct{ Session struct{ ID string } }
	if err := json.Unmarshal(a.Body, &in); err != nil {
		c.breaks("answers", "%s: %v", a.Body, err)
		return 0, false
	}
	s, err := id.ParseSession(in.Session.ID)
	if err != nil {
		c.breaks("answers", "%s: %v", a.Body, err)
	}
	return s, err == nil
}

// act asks for something about the session, as soon as it is known.
func (c *charge) act(what, name string) {
	if c.session == 0 {
		c.tell("%s: no session is known yet", name)
		return
	}
	r := wire.Request{Session: c.session}
	key := ""
	if c.roll(name+" has a key").IntN(3) == 0 {
		key = what + " " + c.label
	}
	call := c.call(key, c.roll(name+" replays").IntN(2) == 0, what+c.session.String())
	mine := func(a payout.Answer) bool {
		s, ok := c.sessionOf(a)
		if ok && s != c.session {
			c.breaks("own", "%s asks about %s and is told of %s", c.label, c.session, s)
		}
		return ok
	}
	switch what {
	case "start":
		body := fmt.Sprintf(`{"session_id":%q,%s}`, c.session, c.items[0].details())
		r, ok := c.parse(c.starts(), body)
		if !ok {
			return
		}
		may, judge := c.spends(body)
		c.start(&request{name: name, what: what, may: may, judge: judge, do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			return e.Start(ctx, call, r)
		}, then: func(a payout.Answer) { mine(a) }})
	case "confirm":
		c.asked = true
		wrong := c.informs(&r, name)
		c.start(&request{name: name, what: what, may: c.informed(), do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			return e.Confirm(ctx, call, r)
		}, then: func(a payout.Answer) {
			if c.confirmed = mine(a); wrong && !a.Replayed {
				c.breaks("consent", "%s is confirmed by what nobody has asked to confirm", c.label)
			}
		}})
	case "cancel":
		c.start(&request{name: name, what: what, do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			return e.Cancel(ctx, call, r)
		}, then: func(a payout.Answer) { c.cancelled = mine(a) }})
	case "status":
		c.start(&request{name: name, what: what, do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			return e.Status(ctx, call, r)
		}, then: func(a payout.Answer) {
			if mine(a) {
				c.learns(a.Body)
			}
		}})
	case "cancel the receipt":
		c.annuls = true
		c.start(&request{name: name, what: what, do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			return e.CancelReceipt(ctx, call, r)
		}, then: func(a payout.Answer) { c.annulled = mine(a) }})
	}
}

// pry asks about the session of another partner.
func (c *charge) pry(by *shop, name string) {
	if c.session == 0 {
		return
	}
	r := wire.Request{Session: c.session}
	call := by.call("", false, "")
	what := []string{"status", "confirm", "cancel"}[c.roll(name).IntN(3)]
	c.world.start(&op{name: name, what: what + " of another's session", by: by, do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		switch what {
		case "status":
			return e.Status(ctx, call, r)
		case "confirm":
			return e.Confirm(ctx, call, r)
		}
		return e.Cancel(ctx, call, r)
	}, then: func(a payout.Answer, err error) {
		switch {
		case err == nil:
			c.breaks("own", "%s of a session of %s was done for %s: %s", what, c.project.ID, by.project.ID, a.Body)
		case fault.CodeOf(err) == fault.WrongState:
			c.breaks("own", "%s is told of a session of %s: %v", by.project.ID, c.project.ID, err)
		}
	}})
}

// replay delivers one of a partner's webhooks again and those after it, as an
// operator does.
func (s *shop) replay(name string) {
	events := slices.DeleteFunc(sorted(s.store.events, byEventKey), func(e webhook.Event) bool { return e.Project != s.project.ID })
	if len(events) > 0 {
		s.replayEvent(name, eventKey(events[s.roll(name+" picks").IntN(len(events))]))
	}
}

func (s *shop) replayEvent(name string, k store.EventKey) {
	gone := s.isArchived(k.Project, k.Session)
	s.world.start(&op{name: name, what: fmt.Sprintf("replay %s of %s", s.store.events[k].Type, s.label(k.SessionKey)), do: func(ctx context.Context, n *payout.Engine) (payout.Answer, error) {
		return payout.Answer{}, n.Replay(ctx, k)
	}, then: func(_ payout.Answer, err error) {
		if gone && (err == nil || fault.CodeOf(err) == fault.NotFound) {
			s.breaks("archive", "%s is archived, and its webhook is replayed: %v", s.label(k.SessionKey), err)
		}
		k.N++
		if _, more := s.store.events[k]; more && err == nil {
			s.replayEvent(name+" and the next", k)
		}
	}})
}

// pay brings money in, under a reference that is repeated.
func (s *shop) pay(reference, name string) {
	d := s.deposits[reference]
	s.world.start(&op{name: name, what: fmt.Sprintf("deposit of %d", d.minor), do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		_, err := e.DepositTo(ctx, s.project.ID, d.account, money.Amount{Minor: d.minor, Currency: money.RUB}, reference)
		return payout.Answer{}, err
	}, then: func(_ payout.Answer, err error) { d.done = d.done || err == nil }})
}
