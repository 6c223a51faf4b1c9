package payout

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Events reads webhook events of a project, without bodies; fault.NotFound if
// there is no such project, fault.WrongState if they are of a session that is
// archived.
func (e *Engine) Events(ctx context.Context, q store.EventQuery) ([]webhook.Event, error) {
	if _, ok := e.Caller(q.Project); !ok {
		return nil, fault.New(fault.NotFound, "no project %s", q.Project)
	}
	events, err := e.store.Events(ctx, q)
	if err != nil || len(events) > 0 || q.Session == 0 {
		return events, err
	}
	a, err := e.archived(ctx, store.SessionKey{Project: q.Project, Session: q.Session})
	if err != nil || a == nil {
		return nil, err
	}
	return nil, fault.New(fault.WrongState, "session %s ended on %s as %s and is archived: its webhooks are in %s",
		q.Session, a.EndedAt.Format(time.DateOnly), shownState(a), store.ArchiveFile(q.Project, a.Archive))
}

// Deliveries reads the delivery log of a session, oldest first.
func (e *Engine) Deliveries(ctx context.Context, k store.SessionKey) ([]webhook.Attempt, error) {
	return e.store.Deliveries(ctx, k)
}

// Replay delivers an event again that was delivered, given up, or never sent
// because the project had no address for it then; with the body, signature and
// headers that it has had from the beginning, and a schedule of its own.
// fault.WrongState if it is still being delivered or the project has no address
// now, fault.NotFound if there is no such event.
func (e *Engine) Replay(ctx context.Context, k store.EventKey) error {
	project, ok := e.Caller(k.Project)
	if !ok {
		return fault.New(fault.NotFound, "no project %s", k.Project)
	}
	if _, err := e.do(ctx, &replay{project.Project, k}); err != nil {
		return e.gone(ctx, k.SessionKey, err)
	}
	return nil
}

// ReplayGivenUp does the same for all events of a project that were given up
// and were made not before from and before to; the zero time is no bound. It
// returns how many it has begun to deliver, on an error too: then the same
// again goes on with the rest.
func (e *Engine) ReplayGivenUp(ctx context.Context, p id.Project, from, to time.Time) (int, error) {
	q := store.EventQuery{Project: p, Status: []webhook.Status{webhook.GivenUp}, From: from, To: to, Limit: claimMax}
	begun := 0
	for {
		if project, ok := e.Caller(p); ok && project.Webhook == "" {
			return begun, errNoAddress(p)
		}
		events, err := e.Events(ctx, q)
		if err != nil {
			return begun, err
		}
		for i := range events {
			q.After = eventKey(&events[i])
			switch err := e.Replay(ctx, q.After); {
			case err == nil:
				begun++
			case fault.CodeOf(err) == fault.WrongState: // somebody else has begun it meanwhile
			default:
				return begun, err
			}
		}
		if len(events) < q.Limit {
			return begun, nil
		}
	}
}

func errNoAddress(p id.Project) error {
	return fault.New(fault.WrongState, "project %s has no webhook address", p)
}
