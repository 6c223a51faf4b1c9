package bench

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/sqlite"
)

// open returns a store with projects that have credit in place of a deposit.
func open(t *testing.T, projects int) store.Bulk {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "payoutd.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for n := range projects {
		if err := s.CreateProject(t.Context(), partner.Project{ID: projectName(n), Credit: depositKopecks}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func options(preload, projects int, free int64) Options {
	return Options{
		Preload: preload, Projects: projects, Say: func(string, ...any) {},
		Free: func() (int64, error) { return free, nil },
	}
}

const plenty = 1 << 40

// What is written in bulk must stand up to the check that real payouts pass.
func TestPreloadKeepsTheBooksClean(t *testing.T) {
	tests := []struct {
		name              string
		payouts, projects int
	}{
		{"one payout", 1, 1},
		{"more projects than payouts", 3, 7},
		{"more than a transaction", preloadBatch + 1, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, test.projects)
			if err := preload(t.Context(), options(test.payouts, test.projects, plenty), s); err != nil {
				t.Fatal(err)
			}
			wantClean(t, s, test.payouts, 2*test.payouts)
		})
	}
}

// The stages that measure the writes are those of a whole payout.
func TestWriteStepsKeepTheBooksClean(t *testing.T) {
	s := open(t, 1)
	ids := id.NewGenerator(now)
	for i := range 2 {
		if err := writeSteps(t.Context(), s, ids, projectName(0), i*floorBatch); err != nil {
			t.Fatal(err)
		}
	}
	wantClean(t, s, 2*floorBatch, 2*2*floorBatch)
}

func wantClean(t *testing.T, s store.Store, payouts, events int) {
	t.Helper()
	r, err := payout.Check(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Clean() {
		t.Errorf("%d problems, first %s", len(r.Problems), r.Problems[0])
	}
	if r.Payouts != payouts || r.Live != 0 || r.Events != events || r.Pending != 0 {
		t.Errorf("%d payouts (%d live), %d events (%d pending); want %d payouts and %d events", r.Payouts, r.Live, r.Events, r.Pending, payouts, events)
	}
}

func TestPreloadLeavesRoomOnTheDisk(t *testing.T) {
	s := open(t, 1)
	err := preload(t.Context(), options(1_000_000, 1, 2<<30), s)
	if fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "need 8836 MB") {
		t.Errorf("%v", err)
	}
	wantClean(t, s, 0, 0)
}

// A database that somebody uses is not for benchmarks.
func TestPrepareRefusesADatabaseWithProjects(t *testing.T) {
	s := open(t, 1)
	closed := false
	o := options(0, 1, plenty)
	o.Open = func(context.Context) (*Installation, error) {
		return &Installation{Store: s, Close: func() error { closed = true; return nil }}, nil
	}
	box, err := openInbox()
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	key, err := generate(partner.P256)
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(t.Context(), o, box, key.Public()); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("%v", err)
	}
	if !closed {
		t.Error("the installation was left open")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Projects: 1, Clients: 1, Duration: 1}
	tests := []struct {
		name   string
		change func(*Options)
	}{
		{"no project", func(o *Options) { o.Projects = 0 }},
		{"too many projects", func(o *Options) { o.Projects = projectsMax + 1 }},
		{"no client", func(o *Options) { o.Clients = 0 }},
		{"too many clients", func(o *Options) { o.Clients = clientsMax + 1 }},
		{"no time", func(o *Options) { o.Duration = 0 }},
		{"rate below zero", func(o *Options) { o.Rate = -1 }},
		{"preload below zero", func(o *Options) { o.Preload = -1 }},
		{"share below zero", func(o *Options) { o.Share = -0.5 }},
		{"share above what can be", func(o *Options) { o.Share = shareMax + 0.01 }},
		{"in flight below zero", func(o *Options) { o.InFlight = -1 }},
		{"too many in flight", func(o *Options) { o.InFlight = inFlightMax + 1 }},
		{"in flight at a rate", func(o *Options) { o.InFlight, o.Rate = 1, 1 }},
		{"in flight at a share", func(o *Options) { o.InFlight, o.Share = 1, 0.5 }},
		{"in flight without a confirmation", func(o *Options) { o.InFlight, o.SingleRequest = 1, true }},
		{"in flight, never started", func(o *Options) { o.InFlight, o.CreateOnly = 1, true }},
		{"only created, by a request that starts it", func(o *Options) { o.CreateOnly, o.SingleRequest = true, true }},
	}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := good
			test.change(&o)
			if err := o.check(); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("%v", err)
			}
		})
	}
}
