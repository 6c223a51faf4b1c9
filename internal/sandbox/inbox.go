package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/payoutd/payoutd/sign"
)

// Bounds of an inbox. The oldest deliveries make room for new ones.
const (
	deliveriesMax      = 1000
	deliveryBytesMax   = 1 << 20
	deliveriesBytesMax = 64 << 20 // of all bodies together
)

// Headers that payoutd sends with a webhook, beside the wire's.
const (
	headerEventID       = "X-PAYOUTD-EVENT-ID"
	headerEventSequence = "X-PAYOUTD-EVENT-SEQUENCE"
	headerEventTime     = "X-PAYOUTD-EVENT-TIME"
)

// Delivery is one webhook as it came. What it does not say is empty; an event
// that was delivered twice is in the inbox twice.
type Delivery struct {
	N             int64     `json:"n"` // 1, 2, 3 since the start
	Inbox         string    `json:"inbox"`
	Time          time.Time `json:"time"` // of the sandbox's clock
	Type          string    `json:"type"`
	SessionID     string    `json:"session_id"`
	Verified      bool      `json:"verified"` // by a key of this server, over the bytes received
	EventID       string    `json:"event_id"`
	EventSequence string    `json:"event_sequence"`
	EventTime     string    `json:"event_time"`
	// Body is what came, compacted; a body that is not JSON is a JSON string.
	Body json.RawMessage `json:"body"`
	// Raw is what came to the byte, in Base64 as Signature is: what to verify.
	Raw       []byte `json:"raw"`
	Signature string `json:"signature"`
}

// Inbox stands for the partners' servers: it takes what payoutd delivers and
// shows it. It lives in memory only and is safe for concurrent use.
type Inbox struct {
	keys []sign.PublicKey
	now  func() time.Time

	mu         sync.Mutex
	last       int64
	bytes      int
	deliveries []Delivery
	hooks      []func(Delivery)
}

// NewInbox returns an empty inbox that verifies signatures by the server's keys.
func NewInbox(now func() time.Time, keys ...sign.PublicKey) *Inbox {
	return &Inbox{now: now, keys: keys}
}

// OnReceive calls f with each delivery after it is listed, in no order. The
// delivery is answered when f has returned.
func (i *Inbox) OnReceive(f func(Delivery)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hooks = append(i.hooks, f)
}

// List returns the deliveries of one inbox, or of all for "", oldest first.
func (i *Inbox) List(name string) []Delivery {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := []Delivery{} // an empty JSON array, not null
	for _, d := range i.deliveries {
		if name == "" || d.Inbox == name {
			list = append(list, d)
		}
	}
	return list
}

// Clear empties all inboxes; the numbers go on.
func (i *Inbox) Clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.deliveries, i.bytes = nil, 0
}

// receive stores a delivery with a wrong signature too, so that people see it.
func (i *Inbox) receive(name string, header http.Header, body []byte) {
	d := Delivery{
		Inbox:         name,
		Time:          i.now().UTC().Truncate(time.Microsecond),
		Verified:      i.verify(body, header.Get(sign.HeaderSign)),
		EventID:       header.Get(headerEventID),
		EventSequence: header.Get(headerEventSequence),
		EventTime:     header.Get(headerEventTime),
		Raw:           body,
		Signature:     header.Get(sign.HeaderSign),
	}
	var said struct {
		Type    string `json:"type"`
		Session struct {
			ID string `json:"id"`
		} `json:"session"`
	}
	if json.Unmarshal(body, &said) == nil {
		d.Type, d.SessionID = said.Type, said.Session.ID
	}
	if json.Valid(body) {
		d.Body = body
	} else {
		d.Body, _ = json.Marshal(string(body)) // a string always has a JSON form
	}
	for _, heard := range i.store(&d) {
		heard(d)
	}
}

func (i *Inbox) verify(body []byte, signature string) bool {
	return slices.ContainsFunc(i.keys, func(k sign.PublicKey) bool { return k.Verify(body, signature) == nil })
}

// store numbers and lists a delivery, and returns who wants to hear of it.
func (i *Inbox) store(d *Delivery) []func(Delivery) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last++
	d.N = i.last
	i.deliveries = append(i.deliveries, *d)
	i.bytes += len(d.Body)
	for len(i.deliveries) > deliveriesMax || i.bytes > deliveriesBytesMax {
		i.bytes -= len(i.deliveries[0].Body)
		i.deliveries[0] = Delivery{} // lets go of the body while the array lives on
		i.deliveries = i.deliveries[1:]
	}
	return slices.Clone(i.hooks)
}
