package admin

import (
	"context"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/sign"
)

// Project is one project as operators see it.
type Project struct {
	ID        id.Project `json:"id"`
	Wallet    string     `json:"wallet"` // number of its balance on the wire
	CreatedAt time.Time  `json:"created_at"`
	Keys      []Key      `json:"keys"`
	Settings  Settings   `json:"settings"` // all of them
	Balance   Balance    `json:"balance"`
	Accounts  []Account  `json:"accounts"` // its own at the bank, by number
}

// Key is one public key of a project.
type Key struct {
	ID        string     `json:"id"`
	Type      string     `json:"type"` // "rsa" or "p256"
	RetiredAt *time.Time `json:"retired_at,omitempty"`
}

// Balance is a project's book, in roubles with two decimals.
type Balance struct {
	Available string `json:"available"`
	Held      string `json:"held"`
	Clearing  string `json:"clearing"`
	Fees      string `json:"fees"`
	Suspense  string `json:"suspense"`
}

// CreateRequest makes a project with its first key.
type CreateRequest struct {
	Project   id.Project `json:"project"`
	PublicKey string     `json:"public_key"` // PEM
	Settings  Settings   `json:"settings"`
}

// SetRequest changes settings of a project.
type SetRequest struct {
	Project  id.Project `json:"project"`
	Settings Settings   `json:"settings"`
}

// KeyRequest adds a public key, or retires one by its ID.
type KeyRequest struct {
	Project   id.Project `json:"project"`
	PublicKey string     `json:"public_key,omitempty"` // PEM, to be added
	KeyID     string     `json:"key_id,omitempty"`     // to be retired
}

// KeyResult is a project after a change of its keys.
type KeyResult struct {
	Project Project `json:"project"`
	KeyID   string  `json:"key_id"`
	// Changed is false where the key was there, or retired, before.
	Changed bool `json:"changed"`
}

func (d *desk) list(ctx context.Context, _ nothing) ([]Project, error) {
	projects, err := d.engine.Projects(ctx)
	if err != nil {
		return nil, err
	}
	shown := []Project{} // an empty JSON array, not null
	for i := range projects {
		p, err := d.shown(ctx, &projects[i])
		if err != nil {
			return nil, err
		}
		shown = append(shown, p)
	}
	return shown, nil
}

func (d *desk) show(ctx context.Context, in named) (Project, error) {
	p, err := d.project(ctx, in.Project)
	if err != nil {
		return Project{}, err
	}
	return d.shown(ctx, p)
}

func (d *desk) project(ctx context.Context, name id.Project) (*partner.Project, error) {
	projects, err := d.engine.Projects(ctx)
	if err != nil {
		return nil, err
	}
	for i := range projects {
		if projects[i].ID == name {
			return &projects[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "no project %s", name)
}

func (d *desk) shown(ctx context.Context, p *partner.Project) (Project, error) {
	book, err := d.engine.Book(ctx, p.ID)
	if err != nil {
		return Project{}, err
	}
	shown := Project{
		ID: p.ID, Wallet: p.Wallet, CreatedAt: p.CreatedAt,
		Keys: []Key{}, Settings: settingsOf(p), Balance: balanceOf(book.Balance),
	}
	if shown.Accounts, err = d.accounts(ctx, p.ID); err != nil {
		return Project{}, err
	}
	for _, k := range p.Keys {
		key := Key{ID: k.ID, RetiredAt: k.RetiredAt}
		if public, err := sign.ParsePublicKey([]byte(k.PEM)); err == nil {
			key.Type = public.Type()
		}
		shown.Keys = append(shown.Keys, key)
	}
	return shown, nil
}

func balanceOf(b ledger.Accounts) Balance {
	return Balance{
		Available: roubles(b.Available), Held: roubles(b.Held), Clearing: roubles(b.Clearing),
		Fees: roubles(b.Fees), Suspense: roubles(b.Suspense),
	}
}

func (d *desk) create(ctx context.Context, in CreateRequest) (Project, error) {
	key, err := parseKey(in.PublicKey)
	if err != nil {
		return Project{}, err
	}
	p := partner.Project{ID: in.Project, Keys: []partner.Key{key}}
	if err := in.Settings.apply(&p); err != nil {
		return Project{}, err
	}
	if err := d.engine.CreateProject(ctx, p); err != nil {
		return Project{}, err
	}
	d.log.InfoContext(ctx, "project created", "project", p.ID, "key", key.ID)
	return d.show(ctx, named{p.ID})
}

func (d *desk) set(ctx context.Context, in SetRequest) (Project, error) {
	if err := d.engine.UpdateProject(ctx, in.Project, in.Settings.apply); err != nil {
		return Project{}, err
	}
	d.log.InfoContext(ctx, "project changed", "project", in.Project, "settings", in.Settings)
	return d.show(ctx, named{in.Project})
}

func (d *desk) addKey(ctx context.Context, in KeyRequest) (KeyResult, error) {
	key, err := parseKey(in.PublicKey)
	if err != nil {
		return KeyResult{}, err
	}
	return d.changeKey(ctx, in.Project, key.ID, func(p *partner.Project) (bool, error) {
		i := slices.IndexFunc(p.Keys, func(k partner.Key) bool { return k.ID == key.ID })
		switch {
		case i < 0:
			p.Keys = append(p.Keys, key)
			return true, nil
		case p.Keys[i].RetiredAt != nil:
			// Whoever retired it may have had a reason that the partner's request
			// to add it again does not undo.
			return false, fault.New(fault.WrongState, "key %s was retired: take a new pair", key.ID)
		}
		return false, nil
	})
}

func (d *desk) retireKey(ctx context.Context, in KeyRequest) (KeyResult, error) {
	return d.changeKey(ctx, in.Project, in.KeyID, func(p *partner.Project) (bool, error) {
		i := slices.IndexFunc(p.Keys, func(k partner.Key) bool { return k.ID == in.KeyID })
		switch {
		case i < 0:
			return false, fault.New(fault.NotFound, "project %s has no key %s", p.ID, in.KeyID)
		case p.Keys[i].RetiredAt != nil:
			return false, nil
		}
		now := d.now()
		p.Keys[i].RetiredAt = &now
		return true, nil
	})
}

func (d *desk) changeKey(ctx context.Context, project id.Project, key string, change func(*partner.Project) (bool, error)) (KeyResult, error) {
	var changed bool
	if err := d.engine.UpdateProject(ctx, project, func(p *partner.Project) (err error) {
		changed, err = change(p)
		return err
	}); err != nil {
		return KeyResult{}, err
	}
	d.log.InfoContext(ctx, "project keys", "project", project, "key", key, "changed", changed)
	shown, err := d.show(ctx, named{project})
	return KeyResult{Project: shown, KeyID: key, Changed: changed}, err
}

// parseKey takes a public key in any of the forms that package sign reads and
// keeps it as SPKI.
func parseKey(pem string) (partner.Key, error) {
	public, err := sign.ParsePublicKey([]byte(pem))
	if err != nil {
		return partner.Key{}, fault.Wrap(fault.Invalid, err, "%v", err)
	}
	return partner.Key{ID: public.ID(), PEM: string(public.PEM())}, nil
}
