// Package widget serves what runs in the browser of whoever gets the money:
// the form that turns a card or an account into a token, and the form that
// links a self-employed person. Both live in a frame of the widget's own
// origin, so that the partner's page reaches neither the number nor the DOM.
// The names are ours where the reference has none (wire reference, extensions
// §2.3 and §8).
//
// What stands in the frame is all that a browser may load: no script but ours,
// no request to anybody else, nothing stored or cached. A number is in the
// body of one request and nowhere else; no log line has a number, a token or a
// URL.
package widget

import (
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/internal/limit"
)

// Options are what New may be told; the zero value is good.
type Options struct {
	Log *slog.Logger // nil discards
	// Metrics takes the counters; nil keeps them nowhere.
	Metrics prometheus.Registerer
	// Now is the clock that the ends of tokens are compared with, time.Now by
	// default. A sandbox's may be moved.
	Now func() time.Time
	// Proxies are believed when they name the caller in X-Forwarded-For.
	Proxies limit.Proxies
	// PerToken and PerAddress bound how often a frame or a call is asked for.
	// The zero Rate is the default.
	PerToken, PerAddress limit.Rate
	// Loopback lets pages of this machine show the widgets of every project,
	// as in a sandbox.
	Loopback bool
}

// The default rates. A person needs two or three calls; an office or a mobile
// network of many people may stand behind one address.
var (
	perToken   = limit.Rate{Burst: 20, Every: 3 * time.Second}
	perAddress = limit.Rate{Burst: 120, Every: 500 * time.Millisecond}
)

// Server is the HTTP server of the widgets, to be served on an origin of its
// own. It is safe for concurrent use.
type Server struct {
	desk     Desk
	log      *slog.Logger
	now      func() time.Time
	tokens   bounded
	callers  bounded
	proxies  limit.Proxies
	loopback bool
	files    library
	mux      *http.ServeMux

	frames, calls *prometheus.CounterVec
}

// New makes the server.
func New(desk Desk, o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.PerToken == (limit.Rate{}) {
		o.PerToken = perToken
	}
	if o.PerAddress == (limit.Rate{}) {
		o.PerAddress = perAddress
	}
	s := &Server{
		desk: desk, log: o.Log, now: o.Now, proxies: o.Proxies, loopback: o.Loopback,
		tokens: bounded{limit.New(time.Now), o.PerToken}, callers: bounded{limit.New(time.Now), o.PerAddress},
		files: newLibrary(), mux: http.NewServeMux(),
		frames: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payoutd_widget_frames_total",
			Help: "Frames of widgets shown, by widget and by the code of the notice that stood there instead of a form.",
		}, []string{"widget", "notice"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payoutd_widget_calls_total",
			Help: "Calls from frames answered, by call and error code.",
		}, []string{"call", "code"}),
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(s.frames, s.calls)
	}
	for _, name := range public {
		s.mux.Handle("GET /"+name, s.files.public(name))
	}
	s.mux.HandleFunc("GET /integrity.json", s.files.integrity)
	s.mux.Handle("GET /assets/{version}/{name}", http.HandlerFunc(s.files.private))
	s.mux.HandleFunc("GET /frame", s.frame)
	s.mux.HandleFunc("GET /acquiring", s.acquiring)
	s.mux.Handle("POST /v1/card", s.call("card", s.card))
	s.mux.Handle("POST /v1/bank-account", s.call("bank-account", s.account))
	s.mux.Handle("POST /v1/self-employed/link", s.call("link", s.link))
	s.mux.Handle("POST /v1/self-employed/state", s.call("state", s.linkState))
	return s
}

// bounded counts callers or tokens, at a rate.
type bounded struct {
	limits *limit.Limits
	rate   limit.Rate
}

func (b bounded) allow(key string) bool {
	_, ok := b.limits.Take(key, b.rate)
	return ok
}

// caller is what a request's sender is counted by.
func (s *Server) caller(r *http.Request) string { return limit.Key(s.proxies.Caller(r)) }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Origin-Agent-Cluster", "?1")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	if limit.Ambiguous(r) { // no browser sends that
		h.Set("Connection", "close")
	}
	s.mux.ServeHTTP(w, r)
}

// Digests are what a page puts into integrity="…", by the name of the file.
func (s *Server) Digests() map[string]string { return s.files.digests() }

// HTTPServer is a server for the widget's listener with the time-outs that a
// page and four small calls need.
func HTTPServer(s *Server) *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

// nonce is for one page: only what bears it may run there.
func nonce() string {
	var b [18]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return base64.StdEncoding.EncodeToString(b[:])
}
