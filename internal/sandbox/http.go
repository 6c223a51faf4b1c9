package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
)

// commandBytesMax bounds the body of a command to the sandbox.
const commandBytesMax = 4 << 10

// Site is what /sandbox/* shows and changes.
type Site struct {
	Clock *Clock
	Inbox *Inbox
	World *World
	// Widget is the origin of the widgets, "" where there are none.
	Widget string
}

// Handler serves /sandbox/*: the magic values, the clock, the inbox, the
// statements of the rails and the tax service. No signature is needed, so it answers on loopback only.
func Handler(site Site) http.Handler {
	s := &server{site.Clock, site.Inbox, site.World, site.Widget}
	mux := http.NewServeMux()
	mux.Handle("/sandbox/values", verbs{http.MethodGet: s.values})
	mux.Handle("/sandbox/clock", verbs{http.MethodGet: s.showClock, http.MethodPost: s.moveClock})
	mux.Handle("/sandbox/inbox", verbs{http.MethodGet: s.listInbox, http.MethodDelete: s.clearInbox})
	mux.Handle("/sandbox/inbox/{name}", verbs{http.MethodGet: s.listInbox, http.MethodPost: s.receive})
	mux.Handle("/sandbox/statement", verbs{http.MethodGet: s.statement})
	mux.Handle("/sandbox/tax", verbs{http.MethodGet: s.listLinks})
	mux.Handle("/sandbox/tax/{inn}", verbs{http.MethodPost: s.decideLink})
	mux.HandleFunc("GET /sandbox/receipts/{inn}/{id}/print", s.printReceipt)
	mux.HandleFunc("GET /sandbox/receipts/style.css", receiptStyle)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, nil, fault.New(fault.NoRoute, "no such path: %s", r.URL.Path))
	})
	return OnlyLoopback(mux)
}

type server struct {
	clock  *Clock
	inbox  *Inbox
	world  *World
	widget string
}

// kindWidget is the Kind of the origin of the widgets, which is nobody's to
// choose in a sandbox.
const kindWidget = "widget"

func (s *server) values(http.ResponseWriter, *http.Request) (any, error) {
	values := append(append(Values(), PersonValues()...), RateValues()...)
	if s.widget != "" {
		values = append(values, Value{Kind: kindWidget, Value: s.widget, Description: "where the widgets are"})
	}
	return values, nil
}

// clockState is the answer of /sandbox/clock.
type clockState struct {
	Status string    `json:"status"`
	Now    time.Time `json:"now"`
	Offset string    `json:"offset"` // as Go writes durations: "4h0m0s"
}

func (s *server) showClock(http.ResponseWriter, *http.Request) (any, error) {
	return clockState{"ok", micro(s.clock.Now()), s.clock.Offset().String()}, nil
}

func (s *server) moveClock(w http.ResponseWriter, r *http.Request) (any, error) {
	body, err := read(w, r, commandBytesMax)
	if err != nil {
		return nil, err
	}
	var in struct {
		Advance *string `json:"advance"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Advance == nil {
		return nil, fault.New(fault.Invalid, `want a body such as {"advance":"240m"}`)
	}
	d, err := parseAdvance(*in.Advance)
	if err != nil {
		return nil, fault.New(fault.Invalid, `advance: want a duration such as "90s", "240m", "1h30m" or "5d"`)
	}
	if err := s.clock.Advance(d); err != nil {
		return nil, err
	}
	return s.showClock(w, r)
}

// parseAdvance reads what time.ParseDuration reads, and whole days: "5d".
func parseAdvance(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16) // more does not fit a time.Duration anyway
	return time.Duration(n) * 24 * time.Hour, err
}

func (s *server) listInbox(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.inbox.List(r.PathValue("name")), nil
}

func (s *server) clearInbox(http.ResponseWriter, *http.Request) (any, error) {
	s.inbox.Clear()
	return done, nil
}

func (s *server) receive(w http.ResponseWriter, r *http.Request) (any, error) {
	name := r.PathValue("name")
	if _, err := id.ParseProject(name); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the inbox's name takes 1 to 64 letters, digits, '_', '-' and '.'")
	}
	body, err := read(w, r, deliveryBytesMax)
	if err != nil {
		return nil, err
	}
	s.inbox.receive(name, r.Header, body)
	return done, nil
}

func (s *server) listLinks(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.world.Links(r.Context())
}

func (s *server) decideLink(w http.ResponseWriter, r *http.Request) (any, error) {
	body, err := read(w, r, commandBytesMax)
	if err != nil {
		return nil, err
	}
	var in struct {
		Decision string `json:"decision"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		in.Decision = ""
	}
	switch inn := r.PathValue("inn"); in.Decision {
	case "confirm", "reject":
		err = s.world.DecideLink(r.Context(), inn, in.Decision == "confirm")
	case "unlink":
		err = s.world.Unlink(r.Context(), inn)
	default:
		err = fault.New(fault.Invalid, `want {"decision":"confirm"}, {"decision":"reject"} or {"decision":"unlink"}`)
	}
	if err != nil {
		return nil, err
	}
	return done, nil
}

// done is the answer where there is nothing else to say.
var done = map[string]string{"status": "ok"}

func read(w http.ResponseWriter, r *http.Request, bytesMax int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bytesMax))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fault.New(fault.TooLarge, "the body is larger than %d bytes", bytesMax)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the body could not be read")
	}
	return body, nil
}

// verbs are the handlers of one path by HTTP method.
type verbs map[string]func(http.ResponseWriter, *http.Request) (any, error)

func (v verbs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handle, ok := v[r.Method]
	if !ok {
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(v)), ", "))
		reply(w, nil, fault.New(fault.BadVerb, "%s does not take %s", r.URL.Path, r.Method))
		return
	}
	answer, err := handle(w, r)
	if f, ok := answer.(file); ok && err == nil {
		heads(w, f.kind)
		w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.name}))
		_, _ = w.Write(f.content) // whoever has left needs no answer
		return
	}
	reply(w, answer, err)
}

// file is an answer that is no JSON.
type file struct {
	name, kind string
	content    []byte
}

// failure is the error envelope of the wire (wire reference, core §1.5).
type failure struct {
	Status string `json:"status"`
	Error  struct {
		Code        fault.Code `json:"code"`
		Description string     `json:"description"`
	} `json:"error"`
}

func reply(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		row := fault.Lookup(fault.CodeOf(err))
		status = row.HTTP
		f := failure{Status: "error"}
		f.Error.Code, f.Error.Description = row.Wire, row.Text
		if e, ok := errors.AsType[*fault.Error](err); ok {
			f.Error.Description = e.Text
		}
		answer = f
	}
	heads(w, "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // a webhook's body is shown as it came
	_ = encoder.Encode(answer)   // whoever has left needs no answer
}

func heads(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// proxyHeaders show that a request came through a proxy, so that its loopback
// address is the proxy's and not the caller's.
var proxyHeaders = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"}

// OnlyLoopback refuses who is not on this machine: other addresses, requests
// through a proxy, host names that a foreign page has pointed at this machine
// (DNS rebinding) and foreign pages that send a form here.
func OnlyLoopback(next http.Handler) http.Handler {
	pages := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var why string
		switch {
		case !loopbackAddress(r.RemoteAddr):
			why = "the sandbox answers on loopback only"
		case !loopbackName(r.Host):
			why = "the sandbox answers to localhost, 127.0.0.1 and [::1] only"
		case slices.ContainsFunc(proxyHeaders, func(h string) bool { return len(r.Header.Values(h)) > 0 }):
			why = "the sandbox does not answer through a proxy"
		case pages.Check(r) != nil:
			why = "the sandbox takes no commands from pages of other origins"
		default:
			next.ServeHTTP(w, r)
			return
		}
		reply(w, nil, fault.New(fault.Unauthorized, "%s", why))
	})
}

func loopbackAddress(s string) bool {
	address, err := netip.ParseAddrPort(s)
	return err == nil && address.Addr().Unmap().IsLoopback()
}

func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	switch strings.ToLower(host) {
	case "localhost", "127.0.0.1", "::1", "[::1]":
		return true
	}
	return false
}
