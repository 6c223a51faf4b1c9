package console

import (
	"net/http"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/store"
)

// balancesView is what each project has, and all of them together, their own
// accounts included.
type balancesView struct {
	Books []bookView
	Total ledger.Accounts
	// Large says that the total does not fit.
	Large bool
}

// bookView is the wallet of a project, with its own accounts.
type bookView struct {
	ledger.Book
	Accounts []store.Account
}

func (s *Server) balances(w http.ResponseWriter, r *http.Request, v *visit) error {
	projects, err := s.store.Projects(r.Context())
	if err != nil {
		return err
	}
	var out balancesView
	for i := range projects {
		b, err := s.store.Book(r.Context(), projects[i].ID)
		if err != nil {
			return err
		}
		accounts, err := s.store.Accounts(r.Context(), projects[i].ID)
		if err != nil {
			return err
		}
		out.Books = append(out.Books, bookView{*b, accounts})
		out.add(b.Balance)
		for i := range accounts {
			out.add(accounts[i].Balance)
		}
	}
	return s.show(w, http.StatusOK, "balances", v, out)
}

func (v *balancesView) add(balance ledger.Accounts) {
	total, fits := v.Total.Add(balance)
	v.Total, v.Large = total, v.Large || !fits
}

// alarmsView is the newest alarms.
type alarmsView struct {
	Project  string
	Projects []id.Project
	Alarms   []store.Alarm
	Max      int
	Full     bool // there may be older ones
}

func (s *Server) alarms(w http.ResponseWriter, r *http.Request, v *visit) error {
	projects, err := s.store.Projects(r.Context())
	if err != nil {
		return err
	}
	out := alarmsView{Project: r.URL.Query().Get("project"), Max: alarmsRead}
	for i := range projects {
		out.Projects = append(out.Projects, projects[i].ID)
	}
	alarms, err := s.store.Alarms(r.Context(), alarmsRead)
	if err != nil {
		return err
	}
	out.Full = len(alarms) == alarmsRead
	for _, a := range alarms {
		if out.Project == "" || string(a.Project) == out.Project {
			out.Alarms = append(out.Alarms, a)
		}
	}
	return s.show(w, http.StatusOK, "alarms", v, out)
}

// actsRead is how many of the newest acts are shown.
const actsRead = 200

func (s *Server) audit(w http.ResponseWriter, r *http.Request, v *visit) error {
	acts, err := s.store.Audit(r.Context(), actsRead)
	if err != nil {
		return err
	}
	return s.show(w, http.StatusOK, "audit", v, struct {
		Acts []store.Act
		Max  int
	}{acts, actsRead})
}

func (s *Server) operators(w http.ResponseWriter, r *http.Request, v *visit) error {
	all, err := s.store.Operators(r.Context())
	if err != nil {
		return err
	}
	return s.show(w, http.StatusOK, "operators", v, struct{ Operators []operator.Operator }{all})
}
