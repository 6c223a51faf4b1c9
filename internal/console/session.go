package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/report"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// alarmsRead is how many of the newest alarms are read.
const alarmsRead = 1000

// sessionView is one session with all that belongs to it.
type sessionView struct {
	Session *session.Session
	Payouts []payoutView
	Events  []eventView
	Entries []ledger.Entry
	// Partial says that entries are missing that there must be.
	Partial bool
	Alarms  []store.Alarm
}

// payoutView is one payout, or what session/create has said of it.
type payoutView struct {
	payoutRow
	Of       *session.Payout   // nil of a session without one
	Source   instrument.Source // what it is paid from; "" for the wallet
	Account  string            // number of the project's own account that is
	Metadata string
}

// eventView is a webhook event with the lines of its log.
type eventView struct {
	webhook.Event
	Log []webhook.Attempt
}

func (s *Server) session(w http.ResponseWriter, r *http.Request, v *visit) error {
	ctx := r.Context()
	project, err := s.project(ctx, r.PathValue("project"))
	if err != nil {
		return err
	}
	number, err := id.ParseSession(r.PathValue("session"))
	if err != nil {
		return fault.Wrap(fault.NotFound, err, "no such session")
	}
	k := store.SessionKey{Project: project.ID, Session: number}
	out := sessionView{}
	if out.Session, err = s.store.Session(ctx, k); err != nil {
		return s.gone(ctx, k, err)
	}
	if out.Payouts, err = s.payoutViews(ctx, out.Session); err != nil {
		return err
	}
	if out.Events, err = s.events(ctx, k); err != nil {
		return err
	}
	if len(out.Events) < min(out.Session.Events, eventsMax) {
		if err := s.gone(ctx, k, nil); err != nil { // it was archived just now
			return err
		}
	}
	if out.Entries, out.Partial, err = s.entries(ctx, out.Session); err != nil {
		return err
	}
	alarms, err := s.store.Alarms(ctx, alarmsRead)
	if err != nil {
		return err
	}
	out.Alarms = slices.DeleteFunc(alarms, func(a store.Alarm) bool { return a.Project != k.Project || a.Session != k.Session })
	return s.show(w, http.StatusOK, "session", v, out)
}

// gone is the error of a page about a session that is not whole there, or not at
// all: err, or that it is archived, and where.
func (s *Server) gone(ctx context.Context, k store.SessionKey, err error) error {
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return err
	}
	a, lookUp := s.store.Archived(ctx, k)
	switch {
	case fault.CodeOf(lookUp) == fault.NotFound:
		return err
	case lookUp != nil:
		return lookUp
	}
	return fault.New(fault.WrongState, "session %s ended on %s and is archived: it is in %s",
		k.Session, a.EndedAt.Format(time.DateOnly), store.ArchiveFile(k.Project, a.Archive))
}

func (s *Server) payoutViews(ctx context.Context, of *session.Session) ([]payoutView, error) {
	var views []payoutView
	for i, row := range rowsOf(of) {
		p := payoutView{payoutRow: row}
		d := &of.Draft
		if i < len(of.Payouts) {
			p.Of = &of.Payouts[i]
			d = &p.Of.Details
		}
		p.Source, p.Account, p.Metadata = d.Source, d.Account, pretty(d.Metadata)
		if d.Instrument != nil && d.Instrument.Account != nil && d.Instrument.Account.Number == "" {
			item, err := s.store.Item(ctx, store.ItemKey{Partner: d.Instrument.Account.Partner, Token: d.Instrument.Account.Sealed})
			if err != nil && fault.CodeOf(err) != fault.NotFound {
				return nil, err
			}
			p.To = item.Shown.Masked
		}
		views = append(views, p)
	}
	return views, nil
}

// pretty is metadata as people read it.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || json.Indent(&b, raw, "", "  ") != nil {
		return ""
	}
	return string(report.Unescape(b.Bytes()))
}

// eventsMax is more than a session ever has.
const eventsMax = 100

// events reads the log first: where an event is still there, its lines were.
func (s *Server) events(ctx context.Context, k store.SessionKey) ([]eventView, error) {
	log, err := s.store.Deliveries(ctx, k)
	if err != nil {
		return nil, err
	}
	events, err := s.store.Events(ctx, store.EventQuery{Project: k.Project, Session: k.Session, Limit: eventsMax})
	if err != nil {
		return nil, err
	}
	var views []eventView
	for _, e := range events {
		view := eventView{Event: e}
		for _, line := range log {
			if line.N == e.N {
				view.Log = append(view.Log, line)
			}
		}
		views = append(views, view)
	}
	return views, nil
}

const (
	// entriesMax is how many entries are read for one moment of a payout.
	entriesMax = 2000
	// entriesBack is how many of them are older: clocks of nodes differ a little.
	entriesBack = 200
)

// entries finds what the ledger has of a session. Entries are kept by their
// numbers alone, so they are looked for about the times at which the payouts
// were booked: when they began, ended, and came back. partial says that some
// must be elsewhere.
func (s *Server) entries(ctx context.Context, of *session.Session) (found []ledger.Entry, partial bool, err error) {
	var times []time.Time
	for i := range of.Payouts {
		p := &of.Payouts[i]
		times = append(times, p.CreatedAt, p.FinishedAt)
		if p.Quote != nil {
			times = append(times, p.Quote.At)
		}
		for _, r := range p.Refunds {
			times = append(times, r.FinishedAt)
		}
	}
	for _, t := range times {
		if t.IsZero() {
			continue
		}
		after, err := report.Before(ctx, s.store, of.Project, t)
		if err != nil {
			return nil, false, err
		}
		page, err := s.store.Entries(ctx, of.Project, max(0, after-entriesBack), entriesMax)
		if err != nil {
			return nil, false, err
		}
		for _, e := range page {
			known := slices.ContainsFunc(found, func(o ledger.Entry) bool { return o.No == e.No })
			if e.Session == of.ID && !known {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b ledger.Entry) int { return cmp.Compare(a.No, b.No) })
	return found, partly(of, found), nil
}

// partly reports whether entries are missing that the states ask for.
func partly(of *session.Session, found []ledger.Entry) bool {
	for i := range of.Payouts {
		p := &of.Payouts[i]
		has := func(kind ledger.Kind) bool {
			return slices.ContainsFunc(found, func(e ledger.Entry) bool { return e.Payout == p.ID && e.Kind == kind })
		}
		var wanted []ledger.Kind
		switch {
		case !p.Moves():
		case p.State.Holds():
			wanted = []ledger.Kind{ledger.KindHold}
		case p.State == session.Paid:
			wanted = []ledger.Kind{ledger.KindHold, ledger.KindSettle}
		case p.State == session.Returned:
			wanted = []ledger.Kind{ledger.KindHold, ledger.KindSettle, ledger.KindReturn}
		case has(ledger.KindHold):
			wanted = []ledger.Kind{ledger.KindRelease}
		}
		if slices.ContainsFunc(wanted, func(k ledger.Kind) bool { return !has(k) }) {
			return true
		}
	}
	return false
}
