package payout

import (
	"context"
	"errors"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
)

// MultiInit creates a session and starts several payouts in it: all of them, or
// none and no session. What is wrong with one names its place in payout_list.
func (e *Engine) MultiInit(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	e.sealing.RLock()
	defer e.sealing.RUnlock()
	number := id.Session(e.ids.Next())
	payouts, cards := make([]id.Payout, len(r.Items)), make([]*vault.Sealed, len(r.Items))
	asked := e.multi(c, number, payouts, cards, r)
	for i := range r.Items {
		payouts[i] = id.Payout(e.ids.Next())
		if cards[i], asked.refused = e.sealed(ctx, c, &r.Items[i]); asked.refused != nil {
			break
		}
	}
	return e.serve(ctx, asked)
}

// multi is the command of MultiInit.
func (e *Engine) multi(c Call, number id.Session, payouts []id.Payout, cards []*vault.Sealed, r wire.Request) *request {
	return &request{Call: c, makes: true, run: func(t *tx) (*session.Session, error) {
		s := t.draft(number, c)
		for i := range r.Items {
			if err := t.start(s, payouts[i], c, r.Items[i].Details.Over(s.Draft)); err != nil {
				return nil, inItem(i, err)
			}
			t.seal(cards[i])
		}
		t.put(s)
		return s, nil
	}}
}

// inItem says of which payout of a list an error is.
func inItem(i int, err error) error {
	refused, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	format := "%s[%d]: %s"
	if refused.Code == fault.Invalid { // it begins with the path of a member
		format = "%s[%d].%s"
	}
	return fault.Wrap(refused.Code, refused.Cause, format, wire.PayoutList, i, refused.Text)
}

// hold takes the money of all payouts of a session that the check has let pass,
// once none is left to be checked: of all, or of none, which then fail. Nothing
// is held for a session before, so no two sessions can each have a part of what
// both need.
func (t *tx) hold(s *session.Session, project *partner.Project) error {
	ready, need, fits := session.Ready, map[string]int64{}, true // by own account, "" for the balance
	if project.SingleRequest {
		ready = session.Proceed
	}
	for i := range s.Payouts {
		p := &s.Payouts[i]
		switch p.State {
		case session.Checking:
			if sabotage == "a part is held" {
				continue
			}
			return nil
		case session.Checked:
			if p.Foreign() || p.Details.Source != "" { // they are agreed to by confirming them, and confirm is of the whole session
				ready = session.Ready
			}
			gross, ok := money.AddMinor(p.Minor(), p.Fee)
			sum, sums := money.AddMinor(need[p.Details.Account], gross)
			need[p.Details.Account], fits = sum, fits && ok && sums
		}
	}
	for account, minor := range need {
		covered, err := t.covers(s.Project, account, minor)
		if err != nil {
			return err
		}
		fits = fits && covered
	}
	if !fits {
		return t.each(s, session.Checked, session.Refuse, project, fails(fault.InsufficientBalance))
	}
	return t.each(s, session.Checked, ready, project, nil)
}
