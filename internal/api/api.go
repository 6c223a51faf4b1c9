// Package api is the HTTP side of the partner API: paths, headers, signatures,
// limits, answers and the map from faults to HTTP. What a body means is
// package wire's business, what a request does is the engine's.
//
// A request passes its checks in a fixed order, so that two faults always give
// the same answer: path, HTTP method, content encoding, refusals of the address,
// size, project, its keys, signature over the raw bytes, rate of the project,
// operation offered, idempotency headers, body, engine. Nothing of a body is
// looked at before its signature holds.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/wire"
)

// Engine is what the API needs of payout.Engine. Its methods are safe for
// concurrent use; their errors carry a *fault.Error.
type Engine interface {
	Caller(p id.Project) (payout.Caller, bool)
	Refuse(ctx context.Context, c payout.Call, why error) (payout.Answer, error)
	Create(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Start(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Init(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Verify(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Confirm(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Cancel(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Status(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Balance(ctx context.Context, c payout.Call) (payout.Answer, error)
	MultiInit(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	AccountBalance(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	AccountStatement(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	PublicToken(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Calculate(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	CancelReceipt(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	TokenInfo(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	Tokenize(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	TokenizeElements(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	NPDAsk(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	NPDStatus(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
	NPDNotices(ctx context.Context, c payout.Call, r wire.Request) (payout.Answer, error)
}

// BodyMaxDefault is the largest body accepted, in bytes (wire reference, core
// §7 no. 32).
const BodyMaxDefault = 1 << 20

// Options are the settings of a Server; the zero value of each is its default.
type Options struct {
	Log     *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: nothing is registered
	BodyMax int64                 // bytes; 0: BodyMaxDefault
	Now     func() time.Time      // measures durations and rates only; nil: time.Now
	Limits  Limits
}

// Server answers the requests of partners. It is safe for concurrent use.
type Server struct {
	engine  Engine
	routes  map[string]*route
	log     *slog.Logger
	meter   *meter
	bodyMax int64
	now     func() time.Time
	newID   func() string // of a request, for X-Request-Id and the log
	gate    gate
}

// New returns a Server before an engine.
func New(engine Engine, opts Options) *Server {
	s := &Server{
		engine:  engine,
		log:     opts.Log,
		meter:   newMeter(opts.Metrics),
		bodyMax: opts.BodyMax,
		now:     opts.Now,
		newID:   requestID,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.bodyMax <= 0 {
		s.bodyMax = BodyMaxDefault
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.gate = newGate(opts.Limits, s.now)
	s.routes = index(routes(engine))
	return s
}

// Beside returns a handler that keeps the paths below /api/ for s and gives
// all others to rest. An http.ServeMux in front of s would answer a doubled
// slash with a redirect, on which clients drop the body they have signed.
func (s *Server) Beside(rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ours := below(r.URL.Path); ours {
			s.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// HTTPServer returns a server for partners: a connection that is slow to send
// or to read is cut, whatever the handler does, and one that has sent chunks or
// HTTP/1.0 is closed behind the answer.
func HTTPServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           closing(handler),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		// "OPTIONS *" gets the error envelope like any other path that is not there.
		DisableGeneralOptionsHandler: true,
	}
}

// closing ends the connection behind a message that a proxy may read otherwise.
func closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limit.Ambiguous(r) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
