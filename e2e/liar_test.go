package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/history"
	"github.com/payoutd/payoutd/sign"
)

// reply is an answer to an HTTP request.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// liar stands between callers and a node, and spoils what the node says.
type liar struct {
	node   string
	client *http.Client
	lie    lie
	mu     sync.Mutex // one request at a time
	past   map[string]reply
}

// lie answers a request. pass has the node answer it, as it is by then; past is
// for the lie to remember things in.
type lie func(r *http.Request, op string, past map[string]reply, pass func() reply) reply

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has gone
	}
	_, op, _ := strings.Cut(r.URL.Path, "/session/")
	said := l.lie(r, op, l.past, func() reply {
		onward, err := http.NewRequestWithContext(r.Context(), r.Method, l.node+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			return reply{status: http.StatusBadGateway}
		}
		onward.Header = r.Header.Clone()
		answer, err := l.client.Do(onward)
		if err != nil {
			return reply{status: http.StatusBadGateway}
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return reply{status: http.StatusBadGateway}
		}
		return reply{answer.StatusCode, answer.Header, text}
	})
	for name, values := range said.header {
		if name != "Content-Length" { // the lie may be longer
			w.Header()[name] = values
		}
	}
	w.WriteHeader(said.status)
	_, _ = w.Write(said.body) // the caller may have gone
}

// honest passes all on.
func honest(_ *http.Request, _ string, _ map[string]reply, pass func() reply) reply { return pass() }

// first passes the first request of an operation on, and has spoil answer those
// that come after it, with the answer to the first at hand.
func first(what string, spoil func(r *http.Request, was reply, pass func() reply) reply) lie {
	return func(r *http.Request, op string, past map[string]reply, pass func() reply) reply {
		was, known := past[what]
		switch {
		case op != what:
			return pass()
		case !known:
			past[what] = pass()
			return past[what]
		}
		return spoil(r, was, pass)
	}
}

// refusal is how a node refuses with a code.
func refusal(status int, code string) reply {
	return reply{status, http.Header{}, []byte(`{"status":"error","error":{"code":"` + code + `","description":"a lie"}}`)}
}

var (
	inits     = history.Ask{Do: history.Init, Body: 1}
	replays   = history.Ask{Do: history.Init, Body: 1, Replay: true}
	other     = history.Ask{Do: history.Init, Body: 2, Replay: true}
	looks     = history.Ask{Do: history.Look}
	confirms1 = history.Ask{Do: history.Confirm, Key: 1, Replay: true}
	cancels0  = history.Ask{Do: history.Cancel}
)

// lies are what a payout API could do wrong, each with requests that show it.
var lies = []struct {
	name  string
	about history.Subject
	asks  []history.Ask
	lie   lie
}{
	{"a key is executed a second time", history.Key, []history.Ask{replays, replays}, first("init/payout", func(r *http.Request, _ reply, pass func() reply) reply {
		r.Header.Del(sign.HeaderKey)
		r.Header.Del(sign.HeaderMode)
		return pass()
	})},
	{"a key is forgotten", history.Key, []history.Ask{inits, inits}, first("init/payout", func(r *http.Request, _ reply, pass func() reply) reply {
		r.Header.Set(sign.HeaderKey, r.Header.Get(sign.HeaderKey)+" once more")
		return pass()
	})},
	{"an acknowledged session is lost", history.Key, []history.Ask{inits, looks}, func(_ *http.Request, op string, _ map[string]reply, pass func() reply) reply {
		if op == "status" {
			return refusal(http.StatusBadRequest, client.CodeInvalid)
		}
		return pass()
	}},
	{"another request is answered as if it were the first", history.Key, []history.Ask{inits, replays, other}, first("init/payout", func(_ *http.Request, was reply, _ func() reply) reply {
		again := reply{was.status, was.header.Clone(), was.body}
		again.header.Set(sign.HeaderReplayed, "true")
		return again
	})},
	{"a free key is refused", history.Key, []history.Ask{inits, inits}, func(_ *http.Request, op string, past map[string]reply, pass func() reply) reply {
		if _, known := past[op]; !known {
			past[op] = refusal(http.StatusBadRequest, client.CodeKeyExists)
			return past[op]
		}
		return pass()
	}},
	{"what was done is said not to be", history.Key, []history.Ask{replays, replays}, func(_ *http.Request, op string, past map[string]reply, pass func() reply) reply {
		said := pass()
		if _, known := past[op]; !known {
			past[op] = said
			return refusal(http.StatusServiceUnavailable, client.CodeInternal)
		}
		return said
	}},
	{"a status of before the confirm", history.Session, []history.Ask{looks, confirms1, looks}, first("status", func(_ *http.Request, was reply, _ func() reply) reply {
		return was
	})},
	{"cancelled after it was confirmed", history.Session, []history.Ask{confirms1, cancels0, looks}, func(_ *http.Request, op string, past map[string]reply, pass func() reply) reply {
		if op == "cancel" {
			return past["confirm"]
		}
		past[op] = pass()
		return past[op]
	}},
	{"a confirm that was acknowledged is not done", history.Session, []history.Ask{confirms1, looks}, func(r *http.Request, op string, _ map[string]reply, pass func() reply) reply {
		if op == "confirm" {
			r.URL.Path = strings.Replace(r.URL.Path, "confirm", "status", 1) // a signature does not say which
		}
		return pass()
	}},
	{"a repeat of a confirm is refused", history.Session, []history.Ask{confirms1, confirms1}, first("confirm", func(r *http.Request, _ reply, pass func() reply) reply {
		r.Header.Del(sign.HeaderKey)
		r.Header.Del(sign.HeaderMode)
		return pass()
	})},
}

// TestLiesAreFound puts a liar between callers and a node: for each lie, no
// order explains what they are told, and for the truth there is one.
func TestLiesAreFound(t *testing.T) {
	t.Parallel()
	s := newScribe(t, place{data: t.TempDir()}, 1)
	s.over = make(chan struct{})
	transport := &http.Transport{DisableKeepAlives: true}
	for _, c := range lies {
		for _, spoilt := range []bool{false, true} {
			l := &liar{node: s.nodes[0].process.url, client: &http.Client{Transport: transport}, lie: honest, past: map[string]reply{}}
			if spoilt {
				l.lie = c.lie
			}
			between := httptest.NewServer(l)
			s.made++
			h := &history.History{About: c.about, Name: fmt.Sprintf("key-%d", s.made)}
			if c.about == history.Session {
				h.Name = s.awaiting()
			}
			partner, err := client.New(between.URL, "racer", s.key, client.WithHTTPClient(l.client))
			if err != nil {
				t.Fatal(err)
			}
			s.nodes = append(s.nodes[:1], &node{partner: partner})
			for _, ask := range c.asks {
				if c.about == history.Key && ask.Do == history.Look {
					ask.Session = s.told(h)
				}
				s.ask(h, 0, ask, 1, false)
			}
			between.Close()
			switch err := h.Judge(judgeMax); {
			case spoilt && !errors.Is(err, history.ErrNoOrder):
				t.Errorf("%s: judged %v by %+v", c.name, err, h.Requests)
			case !spoilt && err != nil:
				t.Errorf("the truth about %q: judged %v by %+v", c.name, err, h.Requests)
			}
		}
	}
}
