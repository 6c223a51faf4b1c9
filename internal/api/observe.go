package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
)

// routeUnknown stands in the log and the metrics for every path that is not a
// route: what strangers ask for belongs in neither.
const routeUnknown = "unknown"

// meter counts requests by route and status and measures them by route.
type meter struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMeter(registry prometheus.Registerer) *meter {
	m := &meter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payoutd_api_requests_total",
			Help: "Requests of partners answered, by route and HTTP status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "payoutd_api_request_seconds",
			Help:    "Time from a request's headers to its answer, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
	}
	if registry != nil {
		registry.MustRegister(m.requests, m.duration)
	}
	return m
}

// observe writes the one log line of a request and counts it. Neither holds
// anything of a body, nor a path or project name that nobody has checked.
func (s *Server) observe(ctx context.Context, x *exchange, a payout.Answer, err error) {
	name := routeUnknown
	if x.route != nil {
		name = x.route.path
	}
	took := s.now().Sub(x.start)
	s.meter.requests.WithLabelValues(name, strconv.Itoa(x.status)).Inc()
	s.meter.duration.WithLabelValues(name).Observe(took.Seconds())

	level := levelOf(ctx, x, err)
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("request", x.id),
		slog.String("route", name),
		slog.Int("version", int(x.version)),
		slog.Int("status", x.status),
		slog.Duration("duration", took),
	)
	if x.project != "" {
		attrs = append(attrs, slog.String("project", string(x.project)))
	}
	if ps := sessionOf(x.session, a.Body); ps != "" {
		attrs = append(attrs, slog.String("session", ps))
	}
	if a.Replayed {
		attrs = append(attrs, slog.Bool("replayed", true))
	}
	if err != nil {
		attrs = append(attrs, slog.String("code", string(fault.CodeOf(err))), slog.String("error", err.Error()))
	}
	if code := fault.CodeOf(err); err != nil && x.from.IsValid() && (code == fault.Unidentified || code == fault.Unauthenticated || code == fault.Throttled) {
		attrs = append(attrs, slog.String("address", x.from.String()))
	}
	if len(x.warnings) > 0 {
		attrs = append(attrs, slog.Any("warnings", x.warnings))
	}
	if x.stack != nil {
		attrs = append(attrs, slog.String("stack", string(x.stack)))
	}
	s.log.LogAttrs(ctx, level, "request", attrs...)
}

// levelOf is Error where somebody of ours must look, which nobody need when it
// was the partner who went away.
func levelOf(ctx context.Context, x *exchange, err error) slog.Level {
	switch {
	case x.stack != nil:
		return slog.LevelError
	case x.status >= http.StatusInternalServerError && ctx.Err() == nil && !passes(fault.CodeOf(err)):
		return slog.LevelError
	case x.status >= http.StatusInternalServerError, len(x.warnings) > 0:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// sessionOf is the printed number of the session that a request named or, if
// it named none, of the one that the answer shows; "" without either.
func sessionOf(named id.Session, answer []byte) string {
	if named != 0 {
		return named.String()
	}
	rest, ok := bytes.CutPrefix(answer, []byte(`{"status":"ok","session":{"id":"`))
	if !ok {
		return ""
	}
	made, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(made)
}
