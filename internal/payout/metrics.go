package payout

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/internal/session"
)

// metrics counts what the engine does. A nil registerer leaves it unregistered.
type metrics struct {
	size     prometheus.Histogram
	seconds  *prometheus.HistogramVec
	tasks    *prometheus.CounterVec
	payouts  *prometheus.CounterVec
	webhooks *prometheus.CounterVec
	alarms   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "payoutd_batch_commands", Help: "Commands in one transaction.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
		}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "payoutd_commit_seconds", Help: "Time of one transaction, by result.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14),
		}, []string{"result"}),
		tasks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payoutd_tasks_total", Help: "Tasks run, by kind and result.",
		}, []string{"kind", "result"}),
		payouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payoutd_payout_steps_total", Help: "Writes of sessions, by the state that they left.",
		}, []string{"state"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payoutd_webhook_attempts_total", Help: "Delivery attempts, by result.",
		}, []string{"result"}),
		alarms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payoutd_alarms_total", Help: "Alarms raised, by kind.",
		}, []string{"kind"}),
	}
	if r != nil {
		r.MustRegister(m.size, m.seconds, m.tasks, m.payouts, m.webhooks, m.alarms)
	}
	return m
}

func (m *metrics) batch(commands int, took time.Duration, err error) {
	m.size.Observe(float64(commands))
	m.seconds.WithLabelValues(result(err)).Observe(took.Seconds())
}

func (m *metrics) state(s *session.Session) { m.payouts.WithLabelValues(string(s.State)).Inc() }

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
