package payout

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/sign"
)

// updatesMax bounds how often a change of a project is tried when others come
// first, or the database is too busy to tell.
const updatesMax = 10

// Caller is a project with the keys that may sign for it.
type Caller struct {
	*partner.Project
	Public []sign.PublicKey
}

// projects are all projects in memory: every request needs one.
type projects struct {
	mu       sync.Mutex // one loader at a time
	revision int64
	byID     atomic.Pointer[map[id.Project]Caller]
}

// Caller finds a project by its name.
func (e *Engine) Caller(p id.Project) (Caller, bool) {
	c, ok := (*e.projects.byID.Load())[p]
	return c, ok
}

// Projects lists all projects by ID.
func (e *Engine) Projects(ctx context.Context) ([]partner.Project, error) {
	return e.store.Projects(ctx)
}

// CreateProject adds a project; it holds at once.
func (e *Engine) CreateProject(ctx context.Context, p partner.Project) error {
	if _, err := id.ParseProject(string(p.ID)); err != nil {
		return fault.Wrap(fault.Invalid, err, "%v", err)
	}
	p.CreatedAt = e.now()
	if p.Wallet == "" {
		p.Wallet = id.Event(e.ids.Next()).String()[len("ev_"):]
	}
	if err := e.store.CreateProject(ctx, p); err != nil {
		return err
	}
	if err := e.loadProjects(ctx); err != nil {
		return err
	}
	return e.GiveAccounts(ctx, p.ID)
}

// UpdateProject changes a project; it holds at once on this node and within a
// second on others. change may run again if another change came between.
func (e *Engine) UpdateProject(ctx context.Context, p id.Project, change func(*partner.Project) error) error {
	for tries := 1; ; tries++ {
		all, err := e.store.Projects(ctx)
		if err != nil {
			return err
		}
		var found *partner.Project
		for i := range all {
			if all[i].ID == p {
				found = &all[i]
			}
		}
		if found == nil {
			return fault.New(fault.NotFound, "no project %s", p)
		}
		if err := change(found); err != nil {
			return err
		}
		switch err := e.store.UpdateProject(ctx, *found); {
		case err == nil:
			return e.loadProjects(ctx)
		case fault.CodeOf(err) != fault.Busy || tries == updatesMax:
			return err
		}
	}
}

func (e *Engine) loadProjects(ctx context.Context) error {
	e.projects.mu.Lock()
	defer e.projects.mu.Unlock()
	revision, err := e.store.ProjectsRevision(ctx)
	if err != nil {
		return err
	}
	if e.projects.byID.Load() != nil && revision == e.projects.revision {
		return nil
	}
	all, err := e.store.Projects(ctx)
	if err != nil {
		return err
	}
	byID := make(map[id.Project]Caller, len(all))
	for i := range all {
		c := Caller{Project: &all[i]}
		for _, k := range all[i].Keys {
			if k.RetiredAt != nil && sabotage != "retired keys sign" {
				continue
			}
			public, err := sign.ParsePublicKey([]byte(k.PEM))
			if err != nil {
				e.log.Error("a stored public key can't be read", "project", c.ID, "key", k.ID, "error", err)
				continue
			}
			c.Public = append(c.Public, public)
		}
		byID[c.ID] = c
	}
	e.projects.byID.Store(&byID)
	e.projects.revision = revision
	return nil
}

// watchOthers sees what other nodes change. It returns an error if this one must
// not go on, because the database went back; nil when ctx ends.
func (e *Engine) watchOthers(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := errors.Join(e.loadProjects(ctx), e.loadRestore(ctx))
		if errors.Is(err, store.ErrWentBack) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			e.log.Error("reading projects", "error", err)
		}
		if err := e.overtaken(); err != nil {
			return err
		}
	}
}
