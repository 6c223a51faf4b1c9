package simulation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/sign"
)

// receivers are where partners take webhooks: each has a path of one host, or a
// host of its own.
type receivers struct {
	*world
	came  map[id.Event]int // and how often it was replayed before it came last
	took  map[id.Event]int // likewise, when an answer with 200 was given, which has arrived perhaps
	heard map[store.EventKey]bool
	whole map[id.Event]bool // signature and body were found right
}

// hookBody is a webhook as its receiver reads it.
type hookBody struct {
	Type    string
	Session struct {
		ID         string
		Status     string
		PayoutList []hookPayout `json:"payout_list"`
	}
}

type hookPayout struct {
	Status string
	Amount json.RawMessage `json:"amount_details"`
	Fiscal struct {
		Who struct {
			Receipt *struct{ ID string }
		} `json:"professional_income_taxpayer"`
	} `json:"fiscalization_details"`
}

// about names a webhook; it is pure, as it runs beside the driver.
func (h *receivers) about(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var in hookBody
	_ = json.Unmarshal(body, &in)
	s, _ := id.ParseSession(in.Session.ID)
	h.store.data.Lock()
	defer h.store.data.Unlock()
	for k := range h.rows() {
		if k.Session == s {
			return in.Type + " of " + h.label(k)
		}
	}
	return in.Type + " of nothing"
}

// arrives takes a request, as far as the network lets it come.
func (h *receivers) arrives(c *call, r *http.Request, answer func(*http.Response, error)) {
	shop := h.shopOf(r)
	switch {
	case shop == nil:
		h.breaks("own", "a webhook goes to %s, where nobody is", r.URL)
		return
	case shop.deaf && !h.oneHost, h.goesWrong("receiver refuses", c.name):
		h.tell("%s: connection refused", c.name)
		answer(nil, errBroken)
		return
	}
	body, _ := io.ReadAll(r.Body)
	ours := h.judge(c.node, shop, r, body)
	if h.failed() != nil {
		answer(nil, errBroken)
		return
	}
	status, retry := 200, ""
	switch {
	case shop.deaf: // the host is there, and nobody behind it
		status = 410
	case h.goesWrong("receiver hangs", c.name):
		h.tell("%s: taken, no answer", c.name)
		shop.hears(ours)
		c.never()
		return
	case h.goesWrong("receiver fails", c.name):
		status = []int{500, 503, 404, 302}[h.roll(c.name+" fails with").IntN(4)]
	case h.goesWrong("receiver is busy", c.name):
		status, retry = 429, "20"
	case h.goesWrong("receiver lies", c.name):
		h.tell("%s: 200, and thrown away", c.name)
	default:
		shop.hears(ours)
	}
	c.then(h.between(c.name+" is answered after", time.Millisecond, 100*time.Millisecond), func() {
		if status == 200 {
			h.took[ours.ID], _ = h.turn(h.store.events[eventKey(ours)])
		}
		if h.goesWrong("receiver's answer lost", c.name) {
			h.tell("%s: %d, and the answer is lost", c.name, status)
			answer(nil, errBroken)
			return
		}
		h.tell("%s: %d", c.name, status)
		answer(&http.Response{
			StatusCode: status, Header: http.Header{"Retry-After": {retry}}, Body: io.NopCloser(strings.NewReader("ok")), Request: r,
		}, nil)
	})
}

func (h *receivers) shopOf(r *http.Request) *shop {
	for _, s := range h.shops {
		if s.project.Webhook == r.URL.String() {
			return s
		}
	}
	return nil
}

// judge sees that a webhook is one that was promised, to this partner, as it
// was promised, and not before its turn.
func (h *receivers) judge(n *node, shop *shop, r *http.Request, body []byte) webhook.Event {
	var e webhook.Event
	named := header(r, "x-payoutd-event-id")
	for _, o := range h.webhooks() {
		if o.ID.String() == named {
			e = o
		}
	}
	switch {
	case e.ID == 0:
		h.breaks("promise", "a webhook was sent that is not committed: %s", body)
		return e
	case e.Project != shop.project.ID:
		h.breaks("own", "a webhook of %s goes to %s: %s", e.Project, shop.project.ID, body)
		return e
	case !bytes.Equal(body, e.Body):
		h.breaks("webhook truth", "a webhook was promised as %s and sent as %s", e.Body, body)
		return e
	}
	if !h.whole[e.ID] {
		if err := secrets().server.Public().Verify(body, header(r, sign.HeaderSign)); err != nil {
			h.breaks("webhook truth", "a webhook of %s: %v", e.Project, err)
		}
		h.whole[e.ID] = true
	}
	replays, began := h.turn(e)
	if last, again := h.came[e.ID]; again && last >= replays {
		return e
	}
	h.came[e.ID] = replays
	waited := n.now().Sub(began)
	for before := 1; before < e.N && waited < 5*time.Minute && !h.jumped; before++ {
		o := h.store.events[store.EventKey{SessionKey: eventKey(e).SessionKey, N: before}]
		others, since := h.turn(o)
		last, taken := h.took[o.ID]
		earlier := since.Before(began) || since.Equal(began) && others+replays == 0 // two replays of one moment have no order
		if o.Status == webhook.Pending && earlier && !(taken && last >= others) {
			h.breaks("webhook order", "%s of %s goes out %v after it was made or replayed, before %s is delivered", e.Type, h.label(eventKey(e).SessionKey), waited, o.Type)
		}
	}
	return e
}

// turn is how often an event was replayed, and when it was the last time, or was
// made.
func (h *receivers) turn(e webhook.Event) (replays int, began time.Time) {
	began = e.CreatedAt
	for no := range e.Attempts {
		if a := h.store.logs[deliveryKey{eventKey(e), no + 1}]; a.Error == webhook.Replayed {
			replays, began = replays+1, a.At
		}
	}
	return replays, began
}

// header reads a header, whose name is sent as the wire reference writes it.
func header(r *http.Request, name string) string {
	for k, values := range r.Header {
		if strings.EqualFold(k, name) {
			return strings.Join(values, ", ")
		}
	}
	return ""
}

// hears lets a partner learn of a webhook, and act on it.
func (s *shop) hears(e webhook.Event) {
	var in hookBody
	err := json.Unmarshal(e.Body, &in)
	k := eventKey(e).SessionKey
	c := s.labels[s.label(k)]
	if list := in.Session.PayoutList; err != nil || c != nil && len(list) != len(c.items) || len(list) == 0 {
		s.breaks("webhook truth", "a webhook reads %s", e.Body)
		return
	}
	if s.world.hooks.heard[eventKey(e)] || c == nil {
		return
	}
	s.world.hooks.heard[eventKey(e)] = true
	switch session.Hook(e.Type) {
	case session.ReadyToConfirm:
		c.known(k.Session)
		c.learns(e.Body)
		c.shown = amounts(in.Session.PayoutList)
		if s.healed {
			return
		}
		for _, i := range c.items { // just before it is confirmed
			if i.by != nil && s.goesWrong("token deleted", i.label) {
				i.by.delete(i.label + " has its token deleted")
			}
		}
		react := "confirm"
		chance := s.roll(c.label + " reacts").IntN(10)
		if chance == 0 {
			react = "cancel"
		}
		if chance < 8 {
			name := fmt.Sprintf("%s: %s after its webhook", c.label, react)
			s.plan(s.between(name, time.Millisecond, 3*time.Second), name, func() { c.act(react, name) })
		}
	case session.PaymentFinished:
		c.ends = nil
		for _, p := range in.Session.PayoutList {
			c.ends = append(c.ends, p.Status)
		}
		if now := amounts(in.Session.PayoutList); c.shown != nil && !slices.Equal(now, c.shown) {
			s.breaks("rate", "%s was to be confirmed over %s, and ended over %s", c.label, c.shown, now)
		}
	}
	for n, p := range in.Session.PayoutList {
		c.items[n].receipted(p)
	}
}

func amounts(list []hookPayout) (all []string) {
	for _, p := range list {
		all = append(all, string(p.Amount))
	}
	return all
}

// receipted sees that a receipt that a partner is shown is in the books of the
// tax service.
func (i *item) receipted(p hookPayout) {
	shown := p.Fiscal.Who.Receipt
	if shown == nil || i.news.lied {
		return
	}
	for _, r := range i.charge.office.receipts {
		if r.item == i && r.ID == shown.ID {
			return
		}
	}
	i.charge.breaks("webhook truth", "%s is shown with the receipt %s, which the tax service does not have", i.label, shown.ID)
}
