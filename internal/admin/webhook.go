package admin

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// eventsMax bounds one list: each session in it costs a look at its log.
const eventsMax = 1000

// WebhooksRequest selects webhook events of a project. The zero value of every
// other member is no bound.
type WebhooksRequest struct {
	Project  id.Project       `json:"project"`
	Session  string           `json:"session,omitempty"`  // such as "ps_1"
	Statuses []webhook.Status `json:"statuses,omitempty"` // none means all
	From     time.Time        `json:"from,omitzero"`      // made at this time or later
	To       time.Time        `json:"to,omitzero"`        // made before it
	Limit    int              `json:"limit,omitempty"`    // 1 to 1000
}

// Webhook is one event as operators see it.
type Webhook struct {
	Session   string         `json:"session"`
	N         int            `json:"n"`  // 1, 2, 3 within the session: names it in a replay
	ID        string         `json:"id"` // as the partner sees it in a header
	Seq       int64          `json:"sequence"`
	Type      string         `json:"type"`
	Status    webhook.Status `json:"status"`
	CreatedAt time.Time      `json:"created_at"`
	Due       *time.Time     `json:"due,omitempty"` // the next attempt, of a pending one
	Log       []WebhookLine  `json:"log"`           // oldest first
}

// WebhookLine is one line of an event's delivery log: an attempt or a replay.
type WebhookLine struct {
	At     time.Time `json:"at"`
	TookMS int64     `json:"took_ms"`
	Status int       `json:"status"` // HTTP; 0 where none came
	Error  string    `json:"error"`  // "" on success
}

// ReplayRequest asks to deliver again: one event, or with N 0 and no session
// all events of the project that were given up and were made from From to before
// To; a zero time is no bound.
type ReplayRequest struct {
	Project id.Project `json:"project"`
	Session string     `json:"session,omitempty"`
	N       int        `json:"n,omitempty"`
	From    time.Time  `json:"from,omitzero"`
	To      time.Time  `json:"to,omitzero"`
}

// Replay is what came of a ReplayRequest.
type Replay struct {
	Events int `json:"events"` // to be delivered again
}

func (d *desk) webhooks(ctx context.Context, in WebhooksRequest) ([]Webhook, error) {
	q := store.EventQuery{Project: in.Project, Status: in.Statuses, From: in.From, To: in.To, Limit: in.Limit}
	if q.Limit < 1 || q.Limit > eventsMax {
		return nil, fault.New(fault.Invalid, "limit: want 1 to %d", eventsMax)
	}
	for _, s := range in.Statuses {
		switch s {
		case webhook.Pending, webhook.Delivered, webhook.GivenUp, webhook.Muted:
		default:
			return nil, fault.New(fault.Invalid, "statuses: %q is none of pending, delivered, given_up, muted", s)
		}
	}
	if in.Session != "" {
		var err error
		if q.Session, err = id.ParseSession(in.Session); err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "session: %v", err)
		}
	}
	events, err := d.engine.Events(ctx, q)
	if err != nil {
		return nil, err
	}
	shown := make([]Webhook, 0, len(events))
	var log []webhook.Attempt // of the session of the event before
	for i := range events {
		e := &events[i]
		if i == 0 || events[i-1].Session != e.Session {
			if log, err = d.engine.Deliveries(ctx, store.SessionKey{Project: e.Project, Session: e.Session}); err != nil {
				return nil, err
			}
		}
		shown = append(shown, showWebhook(e, log))
	}
	return shown, nil
}

func showWebhook(e *webhook.Event, log []webhook.Attempt) Webhook {
	w := Webhook{
		Session: e.Session.String(), N: e.N, ID: e.ID.String(), Seq: e.Seq, Type: e.Type, Status: e.Status, CreatedAt: e.CreatedAt,
		Log: []WebhookLine{},
	}
	if e.Status == webhook.Pending {
		w.Due = &e.Due
	}
	for _, a := range log {
		if a.N == e.N {
			w.Log = append(w.Log, WebhookLine{At: a.At, TookMS: a.Took.Milliseconds(), Status: a.Status, Error: a.Error})
		}
	}
	return w
}

func (d *desk) replay(ctx context.Context, in ReplayRequest) (done Replay, err error) {
	switch one := in.Session != "" || in.N != 0; {
	case one && (in.Session == "" || in.N == 0 || !in.From.IsZero() || !in.To.IsZero()):
		return done, fault.New(fault.Invalid, "session, n: want both for one event, or neither and a time for all that were given up")
	case one:
		var session id.Session
		if session, err = id.ParseSession(in.Session); err != nil {
			return done, fault.Wrap(fault.Invalid, err, "session: %v", err)
		}
		err = d.engine.Replay(ctx, store.EventKey{SessionKey: store.SessionKey{Project: in.Project, Session: session}, N: in.N})
		if err == nil {
			done.Events = 1
		}
	default:
		done.Events, err = d.engine.ReplayGivenUp(ctx, in.Project, in.From, in.To)
	}
	if done.Events > 0 {
		d.log.InfoContext(ctx, "webhooks replayed", "project", in.Project, "session", in.Session, "n", in.N,
			"from", in.From, "to", in.To, "events", done.Events)
	}
	return done, err
}
