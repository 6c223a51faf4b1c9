package payout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
	"unicode"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// returnReferenceMax is the length of a reference that rails may give.
const returnReferenceMax = 64

// Returned is what became of a return that a rail has told of.
type Returned struct {
	// Repeated says that it was known before, and that nothing was done now.
	Repeated bool `json:"repeated"`
	// Status is that of the return; "" if its payout is not known.
	Status session.RefundStatus `json:"status"`
	// Alarm is what people were told, by its kind; "" if all is well.
	Alarm string `json:"alarm"`
}

// TakeReturn takes a return that a rail tells of, by notification or in a
// statement. It is taken once for each of the rail's references, however often
// it is told. What can't be a return is fault.Invalid and leaves nothing behind;
// while the payment may be one that the database has lost it is fault.Busy.
func (e *Engine) TakeReturn(ctx context.Context, name string, r rail.Return) (Returned, error) {
	if err := checkReturn(r); err != nil {
		return Returned{}, err
	}
	if now := e.restores.now.Load(); now != nil && (now.State == RestoreNoticed || now.State == RestoreAsking) {
		return Returned{}, fault.New(fault.Busy, "the database was restored, and rails are being asked: what was paid is not known yet")
	}
	c := &returned{rail: name, told: r}
	a, err := e.store.FindAttempt(ctx, name, r.Payment)
	switch {
	case err == nil:
		project, ok := e.Caller(a.Project)
		if !ok {
			return Returned{}, fmt.Errorf("project %s is unknown", a.Project)
		}
		c.errand = errand{project.Project, store.Task{TaskKey: store.TaskKey{
			SessionKey: store.SessionKey{Project: a.Project, Session: a.Session}, Payout: a.Payout,
		}}}
	case fault.CodeOf(err) != fault.NotFound:
		return Returned{}, err
	}
	if c.archived, err = e.archived(ctx, c.task.SessionKey); err != nil {
		return Returned{}, err
	}
	if err = e.report(ctx, c); fault.CodeOf(err) == fault.NotFound && c.archived == nil { // it was archived just now
		if c.archived, _ = e.archived(ctx, c.task.SessionKey); c.archived != nil {
			err = e.report(ctx, c)
		}
	}
	return c.result, err
}

func checkReturn(r rail.Return) error {
	switch {
	case r.Reference == "" || len(r.Reference) > returnReferenceMax || !printable(r.Reference):
		return fault.New(fault.Invalid, "reference: want 1 to %d characters in one line", returnReferenceMax)
	case r.Payment == "":
		return fault.New(fault.Invalid, "payment: a return must name what it returns")
	case r.Amount.Minor <= 0 || r.Amount.Minor > money.MinorMax:
		return fault.New(fault.Invalid, "amount: must be above zero and below 2^53 kopecks")
	}
	return nil
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// returned brings a return. It is a fact, so no lease matters.
type returned struct {
	errand // of no project where nobody knows the payment
	rail   string
	told   rail.Return
	// archived is what stays of the payment's session; nil if it is not archived.
	archived *store.Archived
	result   Returned // set by decide
}

// print is what the rail's reference stands for.
func (r *returned) print() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d %s", r.told.Amount.Currency, r.told.Amount.Minor, r.told.Payment))
}

// keyRef is the rail's reference, or with a print what the rail has told under
// it that differs from the first time.
func (r *returned) keyRef(print []byte) store.KeyRef {
	key := r.rail + "/" + r.told.Reference
	if print != nil {
		key += "/" + hex.EncodeToString(print)
	}
	return store.KeyRef{Project: r.task.Project, Scope: store.ScopeReturn, Key: key}
}

func (r *returned) reads(names *store.Reads) {
	print := r.print()
	names.Keys = append(names.Keys, r.keyRef(nil), r.keyRef(print[:]))
	if r.task.Project != "" {
		r.errand.reads(names)
	}
	if p := r.archivedPayout(); p != nil && p.Account != "" {
		names.Accounts = append(names.Accounts, store.AccountKey{Project: r.task.Project, Number: p.Account})
	}
}

// archivedPayout is what stays of the payout that comes back; nil if it is not
// archived.
func (r *returned) archivedPayout() *store.ArchivedPayout {
	if r.archived == nil {
		return nil
	}
	return findArchived(r.archived, r.task.Payout)
}

func (r *returned) decide(t *tx) (Answer, error) {
	r.result = Returned{}
	print := r.print()
	first, changed := r.keyRef(nil), r.keyRef(print[:])
	known, told := t.rows.Keys[first]
	_, again := t.rows.Keys[changed]
	if told && known.Print == print || again {
		r.result.Repeated = true
		return Answer{}, nil
	}
	alarm := func(kind, text string) {
		r.result.Alarm = kind
		t.alarm(r.task.SessionKey, r.task.Payout, kind, text)
	}
	if told {
		alarm("return_changed", fmt.Sprintf("the rail %s names two returns %s; only the first is booked", r.rail, r.told.Reference))
		t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: changed, Print: print, At: t.now})
		return Answer{}, nil
	}
	t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: first, Print: print, At: t.now})
	if r.task.Project == "" {
		alarm("return_unknown", fmt.Sprintf("the rail %s returns %s in %s for %s, which nobody has sent; it is in no book",
			r.rail, r.told.Amount, r.told.Reference, r.told.Payment))
		return Answer{}, nil
	}
	if was := r.archivedPayout(); was != nil {
		return Answer{}, r.late(t, was)
	}
	s, p, err := r.payout(t, false)
	if err != nil {
		return Answer{}, err
	}
	p.Refunds = append(p.Refunds, session.Refund{
		ID: id.Refund(t.ids.Next()), Status: session.RefundKept, Reference: r.told.Reference, Amount: r.told.Amount,
		At: r.told.At.UTC().Truncate(time.Microsecond), CreatedAt: t.now,
	})
	n := len(p.Refunds) - 1
	if p.State == session.Sent || p.State == session.Unclear {
		alarm("return_before_answer", fmt.Sprintf("the rail gives %s back before it has said that it paid; it is kept until then", r.told.Amount))
	} else if r.result.Alarm, err = t.refund(s, p, n, r.project); err != nil {
		return Answer{}, err
	}
	r.result.Status = p.Refunds[n].Status
	t.put(s)
	return Answer{}, nil
}

// late takes a return of a payout that is archived. Nobody gets the money before
// people have looked: the partner can't be told of a session that is gone.
func (r *returned) late(t *tx, p *store.ArchivedPayout) error {
	if sabotage == "late return forgotten" {
		return nil
	}
	r.result.Alarm = "return_of_archived"
	says := fmt.Sprintf("return %s: %s came back of a payout that was %s and is archived in %s; ", r.told.Reference, r.told.Amount, p.State, r.archived.Archive)
	if r.told.Amount.Currency != money.RUB || p.State == session.Returned {
		r.result.Status = session.RefundRefused
		t.alarm(r.task.SessionKey, p.ID, r.result.Alarm, says+"nothing was booked")
		return nil
	}
	r.result.Status = session.RefundSuspended
	t.alarm(r.task.SessionKey, p.ID, r.result.Alarm, says+"it is in suspense")
	e := ledger.Stray(r.told.Amount.Minor, r.rail)
	e.Session, e.Payout = r.task.Session, p.ID
	return t.post(r.task.Project, p.Account, e)
}

// keptRefunds gives the returns that came too early their turn, once the payout
// has ended.
func (t *tx) keptRefunds(s *session.Session, p *session.Payout, project *partner.Project) error {
	if !p.State.Final() || sabotage == "early return forgotten" {
		return nil
	}
	for i := range p.Refunds {
		if p.Refunds[i].Status == session.RefundKept {
			if _, err := t.refund(s, p, i, project); err != nil {
				return err
			}
		}
	}
	return nil
}

// refund gives the partner the money back, if the payout was paid, to an
// account, in that amount, and has not come back already. Any other money goes
// to suspense and nobody gets it before people have looked; of a second return
// of what came back nothing is booked. It names the alarm that it raised.
func (t *tx) refund(s *session.Session, p *session.Payout, n int, project *partner.Project) (alarm string, err error) {
	r := &p.Refunds[n]
	k := store.SessionKey{Project: s.Project, Session: s.ID}
	tell := func(kind, format string, args ...any) {
		alarm = kind
		t.alarm(k, p.ID, kind, fmt.Sprintf("return %s: ", r.Reference)+fmt.Sprintf(format, args...))
	}
	switch {
	case r.Amount.Currency != money.RUB:
		r.Status = session.RefundRefused
		tell("return_other_currency", "%s came back of a payout in roubles; nothing was booked", r.Amount)
		return alarm, nil
	case p.State == session.Returned:
		r.Status = session.RefundRefused
		tell("return_twice", "the payout has come back before; nothing was booked")
		return alarm, nil
	case p.State != session.Paid || !p.Moves():
		tell("return_of_unpaid", "%s came back of a payout that is %s; it is in suspense", r.Amount, p.State)
	case p.Details.Instrument.Account == nil: // wire reference, core §2.9
		tell("return_not_possible", "%s came back of a payout by %s, which does not come back; it is in suspense",
			r.Amount, p.Details.Instrument.Kind())
	case r.Amount.Minor != p.Minor():
		tell("return_other_amount", "%s came back of %s; it is in suspense", r.Amount, *p.Amount())
	default:
		if project.LateReturn(p.FinishedAt, r.At) {
			tell("return_late", "it came back after the window; it was booked all the same")
		}
		if err := t.tell(s, p, project); err != nil { // first that it was paid
			return alarm, err
		}
		r.Status, r.FinishedAt = session.RefundBooked, t.now
		if project.ReturnFee {
			r.Fee = p.Fee
		}
		return alarm, t.enter(s, p, session.Return, project, nil)
	}
	r.Status, r.FinishedAt = session.RefundSuspended, t.now
	e := ledger.Stray(r.Amount.Minor, p.Rail)
	e.Session, e.Payout = s.ID, p.ID
	return alarm, t.post(s.Project, p.Details.Account, e)
}

// watchReturns takes what a rail gives back, until ctx ends.
func (e *Engine) watchReturns(ctx context.Context, r rail.Returner) {
	for ctx.Err() == nil {
		_, err := guarded(func() (struct{}, error) {
			return struct{}{}, r.Returns(ctx, func(ctx context.Context, told rail.Return) error {
				_, err := e.TakeReturn(ctx, r.Name(), told)
				if err != nil && ctx.Err() == nil {
					e.log.Error("a return was not taken; the rail gives it again", "rail", r.Name(), "error", err)
				}
				return err
			})
		})
		if ctx.Err() != nil {
			return
		}
		e.log.Error("a rail has ceased to tell of returns; asking again", "rail", r.Name(), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryGap):
		}
	}
}
