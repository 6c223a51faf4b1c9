package shop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// event is one thing that was said between the partner's server and payoutd.
type event struct {
	N        int64           `json:"n"` // 1, 2, 3 since the start
	Kind     string          `json:"kind"`
	Name     string          `json:"name"` // method and path of a call, type of a webhook
	Status   int             `json:"status,omitempty"`
	Millis   int64           `json:"millis"`
	Verified bool            `json:"verified,omitempty"` // the webhook's signature is payoutd's
	Request  json.RawMessage `json:"request"`
	Response json.RawMessage `json:"response,omitempty"`
}

// eventsMax is how many events are kept for pages whose connection broke.
const eventsMax = 200

// events streams what is said to every page that is open, as server-sent
// events. A page that comes back names the last event that it has seen.
type events struct {
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	last int64
	kept []event
	more chan struct{} // closed when there is another event
}

func newEvents() *events {
	return &events{closed: make(chan struct{}), more: make(chan struct{})}
}

func (e *events) close() { e.once.Do(func() { close(e.closed) }) }

func (e *events) publish(v event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	v.N = e.last
	e.kept = append(e.kept, v)
	if len(e.kept) > eventsMax {
		e.kept = append([]event(nil), e.kept[len(e.kept)-eventsMax:]...)
	}
	close(e.more)
	e.more = make(chan struct{})
}

// since returns the events after n, and what is closed when there is another.
func (e *events) since(n int64) ([]event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []event
	for _, v := range e.kept {
		if v.N > n {
			list = append(list, v)
		}
	}
	return list, e.more
}

func (e *events) newest() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

// ServeHTTP streams until the page or the server goes.
func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err != nil {
		seen = e.newest()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	// The time-outs of a server are for answers that end.
	stream := http.NewResponseController(w)
	if stream.SetWriteDeadline(time.Time{}) != nil || stream.SetReadDeadline(time.Time{}) != nil {
		http.Error(w, "no streams here", http.StatusInternalServerError)
		return
	}
	_, err = fmt.Fprint(w, ": welcome\n\n")
	for err == nil {
		list, more := e.since(seen)
		for _, v := range list {
			data, broken := json.Marshal(v)
			if broken != nil {
				return // a webhook whose body was no JSON; the inbox shows it
			}
			seen = v.N
			if _, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", v.N, data); err != nil {
				return
			}
		}
		if err = stream.Flush(); err != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		case <-e.closed:
			return
		}
	}
}
