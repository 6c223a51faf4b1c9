package admin

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/store"
)

// Restore is a restore of the database as operators see it.
type Restore struct {
	State      payout.RestoreState `json:"state"` // "" where the database never went back
	From       *time.Time          `json:"from,omitempty"`
	To         *time.Time          `json:"to,omitempty"` // with From the time that is lost
	DeclaredAt *time.Time          `json:"declared_at,omitempty"`
	DeclaredBy string              `json:"declared_by,omitempty"`
	AskedAt    *time.Time          `json:"asked_at,omitempty"` // when the rails had answered
	ReleasedAt *time.Time          `json:"released_at,omitempty"`
	ReleasedBy string              `json:"released_by,omitempty"`
	Despite    string              `json:"despite,omitempty"` // the reason to release without proof
	// Rails are those whose statements are needed, nil where none is connected.
	Rails []payout.RestoreRail `json:"rails"`
	// Unknown are payments of the lost time that nobody here knows.
	Unknown []Difference `json:"unknown"`
}

// DeclareRestoreRequest says that the database was restored.
type DeclareRestoreRequest struct {
	// At is the moment to which it was restored, Until when the last server had
	// ended before; nil takes what the database and the clock say.
	At    *time.Time `json:"at,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	Actor string     `json:"actor"`
}

// ReleaseRestoreRequest lets new payouts go.
type ReleaseRestoreRequest struct {
	Despite string `json:"despite,omitempty"` // the reason to do it without proof
	Actor   string `json:"actor"`
}

// PriceRestoredRequest tells the rate of a payout that was made in the lost time.
type PriceRestoredRequest struct {
	Project id.Project `json:"project"`
	Session string     `json:"session"` // such as "ps_1"
	Payout  string     `json:"payout"`  // such as "po_1"
	Rate    string     `json:"rate"`    // roubles for one unit, such as "81.25"
	Actor   string     `json:"actor"`
}

func (d *desk) restore(ctx context.Context, _ nothing) (Restore, error) {
	r, err := d.engine.RestoreReport(ctx)
	return shownRestore(&r), err
}

func (d *desk) declareRestore(ctx context.Context, in DeclareRestoreRequest) (Restore, error) {
	r, err := d.engine.DeclareRestore(ctx, given(in.At), given(in.Until), in.Actor)
	if err != nil {
		return Restore{}, err
	}
	d.log.WarnContext(ctx, "restore declared", "from", r.From, "to", r.To, "actor", in.Actor)
	return shownRestore(&payout.RestoreReport{Restore: r}), nil
}

func (d *desk) releaseRestore(ctx context.Context, in ReleaseRestoreRequest) (Restore, error) {
	r, err := d.engine.ReleaseRestore(ctx, in.Actor, in.Despite)
	if err != nil {
		return Restore{}, err
	}
	d.log.WarnContext(ctx, "new payouts released after a restore", "despite", in.Despite, "actor", in.Actor)
	return shownRestore(&r), nil
}

func (d *desk) priceRestored(ctx context.Context, in PriceRestoredRequest) (nothing, error) {
	n, err := id.ParseSession(in.Session)
	if err != nil {
		return nothing{}, fault.Wrap(fault.Invalid, err, "session: %v", err)
	}
	p, err := id.ParsePayout(in.Payout)
	if err != nil {
		return nothing{}, fault.Wrap(fault.Invalid, err, "payout: %v", err)
	}
	price, err := rate.ParsePrice(in.Rate)
	if err != nil {
		return nothing{}, fault.Wrap(fault.Invalid, err, "rate: %q is %v", in.Rate, err)
	}
	if err := d.engine.PriceRestored(ctx, store.SessionKey{Project: in.Project, Session: n}, p, price, in.Actor); err != nil {
		return nothing{}, err
	}
	d.log.WarnContext(ctx, "rate told after a restore", "project", in.Project, "payout", p, "rate", price, "actor", in.Actor)
	return nothing{}, nil
}

func shownRestore(r *payout.RestoreReport) Restore {
	s := Restore{
		State: r.State, From: known(r.From), To: known(r.To), DeclaredAt: known(r.DeclaredAt), DeclaredBy: r.DeclaredBy,
		AskedAt: known(r.AskedAt), ReleasedAt: known(r.ReleasedAt), ReleasedBy: r.ReleasedBy, Despite: r.Despite,
		Rails: r.Rails, Unknown: []Difference{},
	}
	for i := range r.Unknown {
		s.Unknown = append(s.Unknown, shownDifference(&r.Unknown[i]))
	}
	return s
}

// known is a time that need not be there.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func given(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// Restore tells how far the installation has come since its database went back.
func (c *Client) Restore(ctx context.Context) (Restore, error) {
	return call[Restore](ctx, c, opRestore, nothing{})
}

// DeclareRestore says that the database was restored; fault.WrongState beside a
// running server.
func (c *Client) DeclareRestore(ctx context.Context, r DeclareRestoreRequest) (Restore, error) {
	r.Actor = c.operator
	return call[Restore](ctx, c, opDeclareRestore, r)
}

// ReleaseRestore lets new payouts go; fault.WrongState if that is not safe.
func (c *Client) ReleaseRestore(ctx context.Context, r ReleaseRestoreRequest) (Restore, error) {
	r.Actor = c.operator
	return call[Restore](ctx, c, opReleaseRestore, r)
}

// PriceRestored tells the rate of a payout that was made in the lost time;
// fault.WrongState if it does not wait for one.
func (c *Client) PriceRestored(ctx context.Context, r PriceRestoredRequest) error {
	r.Actor = c.operator
	_, err := call[nothing](ctx, c, opPriceRestored, r)
	return err
}
