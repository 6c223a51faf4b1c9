package admin

import (
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// withEvents adds to acme a session ps_1 with an event of each status.
func withEvents(t *testing.T, s store.Store) {
	t.Helper()
	c := &store.Changes{Batch: 1, Sessions: []*session.Session{{
		Project: "acme", ID: 1, Version: 2, State: session.Created, Events: 4, CreatedAt: noon, UpdatedAt: noon,
	}}}
	for i, status := range []webhook.Status{webhook.Pending, webhook.Delivered, webhook.GivenUp, webhook.Muted} {
		c.Events = append(c.Events, webhook.Event{
			Project: "acme", Session: 1, N: i + 1, ID: 7, Seq: int64(i + 1), Type: "payment_finished", Body: []byte("{}"),
			Status: status, CreatedAt: noon.Add(time.Duration(i) * time.Hour), Due: noon,
		})
	}
	c.Events[2].Attempts = 1
	c.Deliveries = []webhook.Attempt{{
		Project: "acme", Session: 1, N: 3, No: 1, At: noon, Took: time.Second, Status: 502, Error: "status 502",
	}}
	if err := s.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) { return c, nil }); err != nil {
		t.Fatal(err)
	}
}

func TestWebhooks(t *testing.T) {
	h, _, s := newDeskOn(t)
	c := connect(t, place(t, h))
	made(t, c)
	withEvents(t, s)
	for _, tt := range []struct {
		name string
		in   WebhooksRequest
		want []int
	}{
		{"all", WebhooksRequest{Limit: 10}, []int{1, 2, 3, 4}},
		{"of the session", WebhooksRequest{Session: "ps_1", Limit: 10}, []int{1, 2, 3, 4}},
		{"of another session", WebhooksRequest{Session: "ps_2", Limit: 10}, nil},
		{"delivered", WebhooksRequest{Statuses: []webhook.Status{webhook.Delivered}, Limit: 10}, []int{2}},
		{"of a time", WebhooksRequest{From: noon.Add(time.Hour), To: noon.Add(3 * time.Hour), Limit: 10}, []int{2, 3}},
		{"the first", WebhooksRequest{Limit: 1}, []int{1}},
	} {
		tt.in.Project = "acme"
		got, err := c.Webhooks(t.Context(), tt.in)
		if err != nil || len(got) != len(tt.want) {
			t.Errorf("%s: %+v, %v; want %v", tt.name, got, err, tt.want)
			continue
		}
		for i, w := range got {
			if w.N != tt.want[i] || w.Session != "ps_1" || w.ID != "ev_7" || w.Log == nil || (w.Due != nil) != (w.Status == webhook.Pending) {
				t.Errorf("%s: %+v", tt.name, w)
			}
			if w.N == 3 && (len(w.Log) != 1 || w.Log[0] != WebhookLine{noon, 1000, 502, "status 502"}) {
				t.Errorf("log %+v", w.Log)
			}
		}
	}
	for _, tt := range []struct {
		name string
		in   WebhooksRequest
		code fault.Code
		text string
	}{
		{"no limit", WebhooksRequest{Project: "acme"}, fault.Invalid, "limit: "},
		{"too many", WebhooksRequest{Project: "acme", Limit: 1001}, fault.Invalid, "limit: "},
		{"no such status", WebhooksRequest{Project: "acme", Statuses: []webhook.Status{"lost"}, Limit: 1}, fault.Invalid, `statuses: "lost"`},
		{"not a session", WebhooksRequest{Project: "acme", Session: "7", Limit: 1}, fault.Invalid, "session: "},
		{"nobody's", WebhooksRequest{Project: "nobody", Limit: 1}, fault.NotFound, "no project nobody"},
	} {
		_, err := c.Webhooks(t.Context(), tt.in)
		t.Run(tt.name, func(t *testing.T) { wantCode(t, err, tt.code, tt.text) })
	}
}

func TestReplay(t *testing.T) {
	h, _, s := newDeskOn(t)
	c := connect(t, place(t, h))
	made(t, c)
	withEvents(t, s)
	ctx := t.Context()
	_, err := c.Replay(ctx, ReplayRequest{Project: "acme", Session: "ps_1", N: 3})
	wantCode(t, err, fault.WrongState, "no webhook address")
	url := "https://acme.example/hook"
	if _, err := c.Set(ctx, SetRequest{Project: "acme", Settings: Settings{Webhook: &url}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		in   ReplayRequest
		code fault.Code
		text string
	}{
		{"still pending", ReplayRequest{Session: "ps_1", N: 1}, fault.WrongState, "still being delivered"},
		{"no such event", ReplayRequest{Session: "ps_1", N: 5}, fault.NotFound, "no event 5"},
		{"not a session", ReplayRequest{Session: "1", N: 1}, fault.Invalid, "session: "},
		{"a session without a number", ReplayRequest{Session: "ps_1"}, fault.Invalid, "want both"},
		{"a number without a session", ReplayRequest{N: 1}, fault.Invalid, "want both"},
		{"one event and a time", ReplayRequest{Session: "ps_1", N: 3, From: noon}, fault.Invalid, "want both"},
	} {
		tt.in.Project = "acme"
		_, err := c.Replay(ctx, tt.in)
		t.Run(tt.name, func(t *testing.T) { wantCode(t, err, tt.code, tt.text) })
	}
	if done, err := c.Replay(ctx, ReplayRequest{Project: "acme", To: noon}); err != nil || done.Events != 0 {
		t.Errorf("of a time with no events: %+v, %v", done, err)
	}
	for n, in := range map[int]ReplayRequest{ // who gave up, and who was delivered
		3: {Project: "acme", From: noon, To: noon.Add(24 * time.Hour)},
		2: {Project: "acme", Session: "ps_1", N: 2},
	} {
		done, err := c.Replay(ctx, in)
		if err != nil || done.Events != 1 {
			t.Fatalf("%+v: %+v, %v", in, done, err)
		}
		all, err := c.Webhooks(ctx, WebhooksRequest{Project: "acme", Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		w := all[n-1]
		if last := w.Log[len(w.Log)-1]; w.Status != webhook.Pending || w.Due == nil || last.Error != webhook.Replayed {
			t.Errorf("%+v", w)
		}
		if all[3].Status != webhook.Muted {
			t.Errorf("beside it: %+v", all[3])
		}
	}
}
