package console

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/report"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
)

const (
	pageRows = 50
	// scanMax is how many sessions one page looks at for a state.
	scanMax = 20_000
	// togetherMax is how many projects are shown together: each is a look-up of
	// its own. With more of them one must be chosen.
	togetherMax = 50
	// lookBack is how many sessions before a payout are looked at for it. It is
	// numbered right after its session, unless that was created before.
	lookBack = 2000
)

// filter is what the list is narrowed to.
type filter struct {
	Project  string
	State    string
	ID       string
	From, To string // days in Moscow, both included
	Before   id.Session
}

func readFilter(q url.Values) (filter, error) {
	f := filter{
		Project: q.Get("project"), State: q.Get("state"), ID: strings.TrimSpace(q.Get("id")), From: q.Get("from"), To: q.Get("to"),
	}
	if f.State != "" && !slices.Contains(session.States, session.State(f.State)) {
		return f, fault.New(fault.Invalid, "state: no such state")
	}
	for _, d := range []string{f.From, f.To} {
		if _, err := report.ParseDay(d); d != "" && err != nil {
			return f, err
		}
	}
	if b := q.Get("before"); b != "" {
		n, err := strconv.ParseInt(b, 10, 64)
		if err != nil || n <= 0 {
			return f, fault.New(fault.Invalid, "before: want a number")
		}
		f.Before = id.Session(n)
	}
	return f, nil
}

// query is the filter in an address, with another beginning.
func (f filter) query(before id.Session) string {
	q := url.Values{}
	for name, value := range map[string]string{"project": f.Project, "state": f.State, "from": f.From, "to": f.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if before != 0 {
		q.Set("before", strconv.FormatInt(int64(before), 10))
	}
	if len(q) == 0 {
		return Root + "payouts"
	}
	return Root + "payouts?" + q.Encode()
}

// payoutsView is what the list shows.
type payoutsView struct {
	Filter   filter
	Projects []id.Project
	States   []session.State
	Choose   bool // one of many projects must be chosen
	Missing  bool // nothing has the ID that was asked for
	Rows     []payoutRow
	Newest   string // address of the first page; "" on it
	Older    string // address of the next page; "" on the last
}

// payoutRow is one payout, or a session that has none yet.
type payoutRow struct {
	Project id.Project
	Session id.Session
	Payout  id.Payout // 0 for none
	State   session.State
	Amount  *money.Amount // nil of a verification
	Asked   *money.Amount // in a foreign currency
	Kind    instrument.Kind
	To      string
	Name    string
	At      time.Time
}

func rowsOf(s *session.Session) []payoutRow {
	row := func(state session.State, d *session.Details) payoutRow {
		r := payoutRow{Project: s.Project, Session: s.ID, State: state, At: s.CreatedAt, Amount: d.Amount, Name: d.Recipient}
		if d.Instrument != nil {
			r.Kind, r.To = d.Instrument.Kind(), report.Masked(d.Instrument)
		}
		return r
	}
	if len(s.Payouts) == 0 {
		return []payoutRow{row(s.State, &s.Draft)}
	}
	var rows []payoutRow
	for i := range s.Payouts {
		p := &s.Payouts[i]
		r := row(p.State, &p.Details)
		r.Payout, r.Amount = p.ID, p.Amount()
		if p.Quote != nil {
			r.Asked = p.Details.Amount
		}
		rows = append(rows, r)
	}
	return rows
}

func (s *Server) payouts(w http.ResponseWriter, r *http.Request, v *visit) error {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return err
	}
	projects, err := s.store.Projects(r.Context())
	if err != nil {
		return err
	}
	out := payoutsView{Filter: f, States: session.States}
	var wanted []id.Project
	for i := range projects {
		out.Projects = append(out.Projects, projects[i].ID)
		if f.Project == "" || string(projects[i].ID) == f.Project {
			wanted = append(wanted, projects[i].ID)
		}
	}
	if f.Project != "" && len(wanted) == 0 {
		return fault.New(fault.NotFound, "no project %s", f.Project)
	}
	if f.ID != "" {
		k, err := s.find(r.Context(), wanted, f.ID)
		if err != nil {
			return err
		}
		if k.Session != 0 {
			http.Redirect(w, r, sessionPath(k.Project, k.Session), http.StatusSeeOther)
			return nil
		}
		out.Missing = true
		return s.show(w, http.StatusOK, "payouts", v, out)
	}
	if out.Choose = len(wanted) > togetherMax; out.Choose {
		return s.show(w, http.StatusOK, "payouts", v, out)
	}
	sessions, next, err := s.page(r.Context(), wanted, f)
	if err != nil {
		return err
	}
	for _, one := range sessions {
		out.Rows = append(out.Rows, rowsOf(one)...)
	}
	if f.Before != 0 {
		out.Newest = f.query(0)
	}
	if next != 0 {
		out.Older = f.query(next)
	}
	return s.show(w, http.StatusOK, "payouts", v, out)
}

func sessionPath(p id.Project, s id.Session) string {
	return Root + "payouts/" + url.PathEscape(string(p)) + "/" + s.String()
}

// page reads the newest sessions of some projects, as one list by their numbers,
// which grow with time in all of them.
func (s *Server) page(ctx context.Context, projects []id.Project, f filter) ([]*session.Session, id.Session, error) {
	var (
		all   []*session.Session
		floor id.Session // down to here all projects were looked at
	)
	for _, p := range projects {
		q := store.SessionQuery{Project: p, State: session.State(f.State), Before: f.Before, Limit: pageRows, Scan: scanMax}
		if err := s.bound(ctx, &q, f); err != nil {
			return nil, 0, err
		}
		page, next, err := s.store.Sessions(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		all, floor = append(all, page...), max(floor, next)
	}
	slices.SortFunc(all, func(a, b *session.Session) int { return int(max(-1, min(1, b.ID-a.ID))) })
	if n := slices.IndexFunc(all, func(s *session.Session) bool { return s.ID < floor }); n >= 0 {
		all = all[:n]
	}
	if len(all) > pageRows {
		all = all[:pageRows]
		floor = all[pageRows-1].ID
	}
	return all, floor, nil
}

// bound narrows a query to the days of the filter.
func (s *Server) bound(ctx context.Context, q *store.SessionQuery, f filter) error {
	if f.From != "" {
		d, err := report.ParseDay(f.From)
		if err != nil {
			return err
		}
		first, err := s.seek(ctx, q.Project, d.Start())
		if err != nil {
			return err
		}
		q.After = first - 1
	}
	if f.To != "" {
		d, err := report.ParseDay(f.To)
		if err != nil {
			return err
		}
		first, err := s.seek(ctx, q.Project, (d + 1).Start())
		if err != nil {
			return err
		}
		if q.Before == 0 || first < q.Before {
			q.Before = first
		}
	}
	return nil
}

// seek finds by halving the first session that was created at t or later; the
// greatest number if there is none. Numbers follow the real time and CreatedAt
// the product's; both only grow.
func (s *Server) seek(ctx context.Context, p id.Project, t time.Time) (id.Session, error) {
	low, high := id.Session(1), id.Session(math.MaxInt64)
	for low < high {
		middle := low + (high-low)/2
		newest, _, err := s.store.Sessions(ctx, store.SessionQuery{Project: p, Before: middle + 1, Limit: 1})
		if err != nil {
			return 0, err
		}
		switch {
		case len(newest) == 0:
			low = middle + 1
		case newest[0].CreatedAt.Before(t):
			low = middle + 1
		default:
			high = min(middle, newest[0].ID)
		}
	}
	return low, nil
}

// find looks for a session by its ID, among the archived ones too, or by that of
// one of its payouts; the zero key if there is none.
func (s *Server) find(ctx context.Context, projects []id.Project, text string) (store.SessionKey, error) {
	number, err := id.ParseSession(text)
	payout, err2 := id.ParsePayout(text)
	if err != nil && err2 != nil {
		return store.SessionKey{}, nil
	}
	for _, p := range projects {
		if number != 0 {
			k := store.SessionKey{Project: p, Session: number}
			found, err := s.store.SessionsByID(ctx, p, []id.Session{number})
			if err == nil && len(found) == 0 {
				_, err = s.store.Archived(ctx, k)
			}
			switch {
			case err == nil:
				return k, nil
			case fault.CodeOf(err) != fault.NotFound:
				return store.SessionKey{}, err
			}
			continue
		}
		found, _, err := s.store.Sessions(ctx, store.SessionQuery{Project: p, Before: id.Session(payout), Limit: lookBack})
		if err != nil {
			return store.SessionKey{}, err
		}
		for _, one := range found {
			if slices.ContainsFunc(one.Payouts, func(p session.Payout) bool { return p.ID == payout }) {
				return store.SessionKey{Project: p, Session: one.ID}, nil
			}
		}
	}
	return store.SessionKey{}, nil
}

// project finds one by its name.
func (s *Server) project(ctx context.Context, name string) (*partner.Project, error) {
	projects, err := s.store.Projects(ctx)
	if err != nil {
		return nil, err
	}
	for i := range projects {
		if string(projects[i].ID) == name {
			return &projects[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "no project %s", name)
}
