package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/sign"
)

func TestOneLogLinePerRequest(t *testing.T) {
	const body = `{"metadata":{"card":"4242424242424242"}}`
	for _, c := range []struct {
		name string
		r    func() *http.Request
		err  error
		want map[string]any
		not  []string // attributes that must be absent
	}{
		{
			"accepted", func() *http.Request { return post("/api/v2/session/create", body) }, nil,
			map[string]any{"level": "INFO", "route": "session/create", "version": 2.0, "status": 200.0, "project": "acme", "session": "ps_7300451"},
			[]string{"code", "error", "stack"},
		},
		{
			"refused on a named session",
			func() *http.Request { return post("/api/v1/session/status", `{"session_id":"ps_12"}`) }, nil,
			map[string]any{"level": "INFO", "status": 400.0, "session": "ps_12", "code": "not_found"},
			nil,
		},
		{
			"unknown project", func() *http.Request {
				r := post("/api/v1/session/create", body)
				r.Header.Set(sign.HeaderProject, "4242424242424242")
				return r
			}, nil,
			map[string]any{"level": "INFO", "status": 401.0, "code": "identification_error"},
			[]string{"project"},
		},
		{
			"unknown path", func() *http.Request { return post("/api/v1/4242424242424242", body) }, nil,
			map[string]any{"level": "INFO", "status": 404.0, "route": "unknown"},
			[]string{"project"},
		},
		{
			"busy", func() *http.Request { return post("/api/v1/session/create", body) }, fault.New(fault.Busy, "queue full"),
			map[string]any{"level": "WARN", "status": 503.0, "code": "busy"},
			nil,
		},
		{
			"failed", func() *http.Request { return post("/api/v1/session/create", body) }, fault.New(fault.Internal, "lost"),
			map[string]any{"level": "ERROR", "status": 500.0, "code": "internal_error"},
			nil,
		},
		{
			"the partner went away", func() *http.Request {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				return post("/api/v1/session/create", body).WithContext(ctx)
			}, context.Canceled,
			map[string]any{"level": "WARN", "status": 500.0},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
			h := newServer(t, func(o *Options) {
				o.Now = func() time.Time { at = at.Add(5 * time.Millisecond); return at }
			})
			h.engine.err = c.err
			h.do(c.r())
			if n := strings.Count(h.log.String(), "\n"); n != 1 {
				t.Fatalf("%d log lines: %s", n, h.log)
			}
			if strings.Contains(h.log.String(), "4242424242424242") {
				t.Errorf("the log repeats what was sent: %s", h.log)
			}
			var line map[string]any
			if err := json.Unmarshal([]byte(h.log.String()), &line); err != nil {
				t.Fatal(err)
			}
			c.want["request"], c.want["duration"] = fixedRequest, 5e6
			for name, want := range c.want {
				if line[name] != want {
					t.Errorf("%s is %v, want %v", name, line[name], want)
				}
			}
			for _, name := range c.not {
				if v, ok := line[name]; ok {
					t.Errorf("%s is %v, want it absent", name, v)
				}
			}
		})
	}
}

func TestWarningsAreLogged(t *testing.T) {
	h := newServer(t)
	h.engine.callers["acme"].Project.AccountPrefix = partner.Warn
	w := h.do(post("/api/v2/session/init/payout", strings.Replace(initBody, "40817810500000012345", "40101810500000012345", 1)))
	if w.Code != 200 {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
	if !strings.Contains(h.log.String(), `"warnings":[`) || !strings.Contains(h.log.String(), `"level":"WARN"`) {
		t.Errorf("log %s; want a warning", h.log)
	}
}

func TestMetrics(t *testing.T) {
	h := newServer(t)
	h.do(post("/api/v1/session/create", "{}"))
	h.do(post("/api/v1/session/create", "{}"))
	h.do(post("/api/v1/session/create", "{"))
	h.do(post("/api/v1/4242424242424242", "{}"))
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"payoutd_api_requests_total session/create 200": 2,
		"payoutd_api_requests_total session/create 400": 1,
		"payoutd_api_requests_total unknown 404":        1,
		"payoutd_api_request_seconds session/create":    3,
		"payoutd_api_request_seconds unknown":           1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
}
