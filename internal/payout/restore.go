package payout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/rail"
)

// settingRestore is the setting of the store that says that the database is an
// earlier state of itself, and how far the installation has come to terms with
// that.
const settingRestore = "restore"

// Restore is a database that went back: what rails have paid and partners were
// told in the lost time it does not know.
type Restore struct {
	State RestoreState `json:"state"`
	// Last is the last batch that the database had when this was noticed, and
	// Seen the one that a node knows to have been committed; 0 if none knows.
	Last id.Batch `json:"last"`
	Seen id.Batch `json:"seen,omitempty"`
	// Number is made when the restore is declared: what has a lower one is from
	// before.
	Number int64 `json:"number,omitempty"`
	// From and To are the lost time, by the product's clock. After To nothing is
	// sent of which the database does not know.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Since is when the lost time of an earlier restore began that was not
	// released, and is lost with it; zero for none.
	Since time.Time `json:"since,omitzero"`

	DeclaredAt time.Time `json:"declared_at,omitzero"`
	DeclaredBy string    `json:"declared_by,omitempty"`
	AskedAt    time.Time `json:"asked_at,omitzero"` // when the rails had answered
	ReleasedAt time.Time `json:"released_at,omitzero"`
	ReleasedBy string    `json:"released_by,omitempty"`
	Despite    string    `json:"despite,omitempty"` // the reason to release without proof

	// stored is the setting that this was read from; "" for none.
	stored string
}

// RestoreState is how far an installation has come since its database went back.
type RestoreState string

// The states. What partners may do in each is in refuses.
const (
	// RestoreNone: it never did.
	RestoreNone RestoreState = ""
	// RestoreNoticed: no server works until an operator has declared the restore.
	RestoreNoticed RestoreState = "noticed"
	// RestoreAsking: rails are asked about every payout that has not ended.
	RestoreAsking RestoreState = "asking"
	// RestoreHeld: what is known goes on; new payouts wait for the statements.
	RestoreHeld RestoreState = "held"
	// RestoreReleased: everything goes on.
	RestoreReleased RestoreState = "released"
)

// RestoreRail is what is known of a rail's lost time.
type RestoreRail struct {
	Rail string `json:"rail"`
	// Covered says that statements of the rail tell of the whole lost time.
	Covered bool `json:"covered"`
	// From and To are what statements must tell of, with the time that a movement
	// may take to come into one.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// RestoreReport is a restore with what is known of the lost time.
type RestoreReport struct {
	Restore
	Rails []RestoreRail // those connected here; nil where none is
	// Unknown are the payments of the lost time, and of the day in which it began,
	// that the books know nothing of: partners were told of them, and must not ask
	// for them again.
	Unknown []store.Difference
}

// restores is the restore as this node knows it.
type restores struct {
	now   atomic.Pointer[Restore] // nil for none
	began atomic.Pointer[Restore] // as now, when Run began
}

// ReadRestore reads the restore of a database; of one that never went back its
// State is RestoreNone.
func ReadRestore(ctx context.Context, s store.Store) (r Restore, err error) {
	value, err := s.Setting(ctx, settingRestore)
	if fault.CodeOf(err) == fault.NotFound {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(value, &r); err != nil {
		return r, fault.Wrap(fault.Internal, err, "the setting %s can't be read", settingRestore)
	}
	r.stored = string(value)
	return r, nil
}

// write replaces what r was read from; fault.Busy if another change came first.
func (r *Restore) write(ctx context.Context, s store.Store) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if r.stored == "" {
		var there []byte
		if there, err = s.AddSetting(ctx, settingRestore, value); err == nil && !bytes.Equal(there, value) {
			err = fault.New(fault.Busy, "somebody else has noticed or declared a restore: read it again")
		}
	} else {
		err = s.SwapSetting(ctx, settingRestore, []byte(r.stored), value)
	}
	if err == nil {
		r.stored = string(value)
	}
	return err
}

// NoticeRestore compares a database with the last batch that a node has known
// to be committed, seen. If it is not there, the database went back: that is
// written down, so that no node works on it before an operator has declared the
// restore. A restore that was declared after seen accounts for it.
func NoticeRestore(ctx context.Context, s store.Store, seen id.Batch) (Restore, error) {
	r, err := ReadRestore(ctx, s)
	if err != nil || seen == 0 || r.Number > int64(seen) || r.State == RestoreNoticed && r.Seen >= seen {
		return r, err
	}
	if lacks, err := store.Lacks(ctx, s, seen); err != nil || !lacks {
		return r, err
	}
	if r.State != RestoreNoticed {
		last, err := s.LastBatch(ctx)
		if err != nil {
			return r, err
		}
		r = r.again(last)
	}
	r.Seen = seen
	err = r.write(ctx, s)
	if fault.CodeOf(err) == fault.Busy {
		if now, lookUp := ReadRestore(ctx, s); lookUp == nil && now.stored != r.stored { // another node came first
			return NoticeRestore(ctx, s, seen)
		}
	}
	return r, err
}

// MarkCopy marks a copy of a database that was made to be kept: whoever goes on
// with it must declare a restore first.
func MarkCopy(ctx context.Context, s store.Store) error {
	r, err := ReadRestore(ctx, s)
	if err != nil {
		return err
	}
	last, err := s.LastBatch(ctx)
	if err != nil {
		return err
	}
	r = r.again(last)
	return r.write(ctx, s)
}

// again is a restore that follows r. What was not yet released of that is lost
// with it.
func (r *Restore) again(last id.Batch) Restore {
	next := Restore{State: RestoreNoticed, Last: last, stored: r.stored}
	switch r.State {
	case RestoreNoticed:
		next.Since = r.Since
	case RestoreAsking, RestoreHeld:
		next.Since = r.From
	}
	return next
}

// loadRestore sees what operators and other nodes have written down.
func (e *Engine) loadRestore(ctx context.Context) error {
	r, err := ReadRestore(ctx, e.store)
	if err != nil {
		return err
	}
	e.restores.now.Store(&r)
	return nil
}

// overtaken is an error once the database went back under this run of the
// engine, or another restore was declared than when it began.
func (e *Engine) overtaken() error {
	now, began := e.restores.now.Load(), e.restores.began.Load()
	switch {
	case began == nil || now == nil:
		return nil
	case now.State == RestoreNoticed && began.State != RestoreNoticed:
		return store.ErrWentBack
	case now.Number != began.Number:
		return fault.New(fault.Stale, "a restore of the database was declared while this node was running: start it again")
	}
	return nil
}

// Restored is the restore of the database as this node knows it.
func (e *Engine) Restored() Restore { return *e.restores.now.Load() }

// Undeclared is why nobody may work on a database, nor write to it, before an
// operator has given the command that declares the restore; nil if all may.
// fault.WrongState.
func (r *Restore) Undeclared(database, declare string) error {
	if r.State != RestoreNoticed {
		return nil
	}
	when := func(b id.Batch) string { return b.At().Format(time.RFC3339Nano) }
	what := fmt.Sprintf("%s is a copy of a database as it was at %s", database, when(r.Last))
	if r.Seen != 0 {
		what = fmt.Sprintf("%s went back: it ends at %s, and lacks what servers had committed up to %s", database, when(r.Last), when(r.Seen))
	}
	return fault.New(fault.WrongState, "%s; it may lack payments that were made since. Stop all servers, and declare the restore: %s", what, declare)
}

// refuses is why a partner's request can't be carried out now: nil if it can.
// makes says that it makes a session or starts a payout, which the partner may
// have asked for before, in the lost time, under a reference that nobody knows
// here. As long as rails are asked about what is known, nothing is decided about
// that either.
func (r *Restore) refuses(makes bool) error {
	switch {
	case r == nil:
	case r.State == RestoreNoticed, r.State == RestoreAsking:
		return fault.New(fault.Restoring, "the database was restored, and rails are being asked")
	case r.State == RestoreHeld && makes:
		return fault.New(fault.Restoring, "the database was restored, and new payouts are held back")
	}
	return nil
}

// lastSent is when a payout was last sent, or may have been in a time that is
// lost.
func (e *Engine) lastSent(p *session.Payout) time.Time {
	if r := e.restores.now.Load(); r != nil && int64(p.ID) < r.Number && r.To.After(p.SentAt) {
		return r.To
	}
	return p.SentAt
}

// DeclareRestore says that the database was restored to an earlier state, and
// that all servers which had worked on a later one have ended: at until, or by
// now if that is zero. at is the moment to which it was restored; zero takes
// that of the last batch. From then on servers ask the rails first, and hold new
// payouts back. fault.WrongState beside a running server.
//
// Until the rails have been asked nothing goes by these times, and they may be
// given again: then a zero at leaves that as it was.
func (e *Engine) DeclareRestore(ctx context.Context, at, until time.Time, actor string) (Restore, error) {
	if e.restores.began.Load() != nil {
		return Restore{}, fault.New(fault.WrongState, "a server is running: stop all servers, and then declare the restore")
	}
	r, err := ReadRestore(ctx, e.store)
	if err != nil {
		return r, err
	}
	alarmed := r.State == RestoreAsking || r.State == RestoreHeld // and not released since
	if r.State != RestoreNoticed && r.State != RestoreAsking {
		last, err := e.store.LastBatch(ctx)
		if err != nil {
			return r, err
		}
		r = r.again(last)
	}
	now := e.now()
	ahead := now.Sub(e.real()) // of the product's clock
	ends, seen := r.Last.At().Add(ahead), r.Seen.At().Add(ahead)
	if r.State == RestoreNoticed || !at.IsZero() {
		r.From = ends
		for _, from := range []time.Time{r.Since, at} {
			if !from.IsZero() && from.Before(r.From) {
				r.From = from
			}
		}
		r.From = r.From.UTC().Truncate(time.Microsecond)
	}
	if r.To = until.UTC().Truncate(time.Microsecond); until.IsZero() {
		r.To = slices.MaxFunc([]time.Time{now, ends, seen}, time.Time.Compare) // a node's clock may have been ahead
	}
	switch {
	case at.After(now):
		return r, fault.New(fault.Invalid, "at: it is still to come")
	case r.Last != 0 && at.Truncate(time.Second).After(ends): // as people give it
		return r, fault.New(fault.Invalid, "at: the database ends before, at %s: name no later moment, or none", ends.Format(time.RFC3339Nano))
	case !until.IsZero() && r.To.After(now):
		return r, fault.New(fault.Invalid, "until: it is still to come")
	case r.To.Before(ends):
		return r, fault.New(fault.Invalid, "until: lies before the last thing in the database, at %s", ends.Format(time.RFC3339Nano))
	case r.Seen != 0 && r.To.Before(seen):
		return r, fault.New(fault.Invalid, "until: a server was at work later, at %s", seen.Format(time.RFC3339))
	}
	r.State, r.DeclaredAt, r.DeclaredBy = RestoreAsking, now, actor
	r.Number = max(e.ids.Next(), int64(max(r.Seen, r.Last))+1) // it accounts for what was seen
	text := fmt.Sprintf("what happened from %s to %s is lost", r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	declared := &notice{acts: []store.Act{e.act("", actor, "restore_declare", "", text)}}
	if !alarmed { // one for each restore, without the times, which may be given again
		declared.kind, declared.text = "database_restored", "the database was restored to an earlier state; new payouts are held back until that is released"
	}
	if _, err := e.do(ctx, declared); err != nil {
		return r, err
	}
	if err := r.write(ctx, e.store); err != nil {
		return r, err
	}
	e.restores.now.Store(&r)
	return r, nil
}

// RestoreReport tells how far the installation has come since its database went
// back.
func (e *Engine) RestoreReport(ctx context.Context) (report RestoreReport, err error) {
	if report.Restore, err = ReadRestore(ctx, e.store); err != nil || report.Number == 0 {
		return report, err
	}
	for _, name := range slices.Sorted(maps.Keys(e.byName)) {
		of := RestoreRail{Rail: name, From: report.From, To: report.To.Add(e.terms(name).Booking)}
		statements, err := e.store.StatementsOf(ctx, name, math.MaxInt32)
		if err != nil {
			return report, err
		}
		reached := of.From
		// A line may tell no more of its time than the day, by a clock that is behind.
		since := dayOf(of.From.Add(-scanMargin))
		for _, s := range statements { // the oldest first
			if s.State != store.StatementDone || s.To.Before(of.From) || s.From.After(of.To) {
				continue
			}
			if !s.From.After(reached) && s.To.After(reached) {
				reached = s.To
			}
			found, err := e.store.Differences(ctx, s.Number)
			if err != nil {
				return report, err
			}
			for _, d := range found {
				if d.Kind == store.Extra && d.Line != 0 && d.Project == "" && !d.At.Before(since) && !d.At.After(of.To) &&
					!slices.ContainsFunc(report.Unknown, func(o store.Difference) bool { return o.RailID == d.RailID && o.Reference == d.Reference }) {
					report.Unknown = append(report.Unknown, d)
				}
			}
		}
		of.Covered = !reached.Before(of.To)
		report.Rails = append(report.Rails, of)
	}
	return report, nil
}

// ReleaseRestore lets new payouts go. fault.WrongState, unless despite gives the
// reason to do it all the same, where statements do not tell of the whole lost
// time of each rail, or tell of payments that nobody here knows: a partner that
// asks for one of them again would be paid twice.
func (e *Engine) ReleaseRestore(ctx context.Context, actor, despite string) (RestoreReport, error) {
	report, err := e.RestoreReport(ctx)
	if err != nil {
		return report, err
	}
	switch lacking := report.lacks(); {
	case report.State == RestoreAsking:
		return report, fault.New(fault.WrongState, "the rails have not been asked yet about all payouts that are known: a server does that when it starts")
	case report.State != RestoreHeld:
		return report, fault.New(fault.WrongState, "nothing is held back")
	case lacking != "" && despite == "":
		return report, fault.New(fault.WrongState, "%s", lacking)
	}
	text := "statements tell of the whole lost time, and of no payment that is not known"
	if despite != "" {
		text = "without proof: " + despite
	}
	if err := e.Record(ctx, "", actor, "restore_release", "", text); err != nil {
		return report, err
	}
	r := report.Restore
	r.State, r.ReleasedAt, r.ReleasedBy, r.Despite = RestoreReleased, e.now(), actor, despite
	if err := r.write(ctx, e.store); err != nil {
		return report, err
	}
	e.restores.now.Store(&r)
	report.Restore = r
	return report, nil
}

// PriceRestored tells at what rate a payout in foreign currency was exchanged in
// the lost time, so that the books can follow the rail that made it.
// fault.WrongState if it does not wait for that: its check prices it itself.
func (e *Engine) PriceRestored(ctx context.Context, k store.SessionKey, of id.Payout, p rate.Price, actor string) error {
	project, ok := e.Caller(k.Project)
	if !ok {
		return fault.New(fault.NotFound, "no project %s", k.Project)
	}
	with := errand{project.Project, store.Task{TaskKey: store.TaskKey{SessionKey: k, Payout: of, Kind: store.TaskCheck}}}
	return e.report(ctx, &priced{errand: with, price: p, act: e.act(k.Project, actor, "restore_rate", of.String(), p.String())})
}

// priced brings the rate of a payout whose own is lost.
type priced struct {
	errand
	price rate.Price
	act   store.Act
}

func (c *priced) decide(t *tx) (Answer, error) {
	s, p, err := c.payout(t, false)
	if err != nil {
		return Answer{}, err
	}
	if r := t.restores.now.Load(); r == nil || int64(p.ID) >= r.Number || p.State != session.Checking || !p.Foreign() {
		return Answer{}, fault.New(fault.WrongState, "payout %s is none in foreign currency that was restored before its rate was known", p.ID)
	}
	var code fault.Code
	if p.Quote, p.Fee, code = quoteAt(c.project, p, rate.Rate{Price: c.price, Source: agreement, At: t.now}, t.now); code != "" {
		return Answer{}, fault.New(fault.Invalid, "rate: at %s: %s", c.price, fault.Lookup(code).Text)
	}
	t.reschedule(s, p, workOf(p), 0, t.now)
	t.own.Acts = append(t.own.Acts, c.act)
	t.put(s)
	return Answer{}, nil
}

// lacks says what is not proved of the lost time; "" if all is.
func (r *RestoreReport) lacks() string {
	const despite = `; to release without that proof: --despite "who agreed to what"`
	var open []string
	for _, of := range r.Rails {
		if !of.Covered {
			open = append(open, of.Rail)
		}
	}
	switch {
	case len(r.Rails) == 0:
		return "no rail is connected here, so nobody knows whose statements are needed: do this beside a server that has them" + despite
	case len(open) > 0:
		return fmt.Sprintf("statements of %s do not tell of the whole lost time yet, from %s to %s"+despite, strings.Join(open, ", "),
			r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	case len(r.Unknown) > 0:
		return fmt.Sprintf("rails have made payments in the lost time that are not known here, %d of them: "+
			"settle with the partners that they do not ask for them again"+despite, len(r.Unknown))
	}
	return ""
}

const (
	recallMax    = 64              // sessions that are asked about at a time
	recallGapMax = 2 * time.Second // between two rounds: partners wait
)

// recall asks the rails about every payout that has not ended, before anything
// else is done after a restore. One that a rail knows follows it; one that the
// books do not take for sent is taken for never seen only by the rule of
// resending: twice, after the deadline of the call and the rail's window.
// Until then no task runs.
func (w *taskWorker) recall(ctx, calls context.Context) {
	var left map[store.SessionKey]*recollection
	for gap := queryGapFirst; ctx.Err() == nil; gap = min(2*gap, recallGapMax) {
		if r := w.restores.now.Load(); r == nil || r.State != RestoreAsking {
			return
		}
		err := w.recallRound(ctx, calls, &left)
		if err == nil && len(left) == 0 {
			if err = w.endRecall(ctx); err == nil {
				return
			}
		}
		if err != nil && ctx.Err() == nil {
			w.log.Error("asking rails after a restore; nothing is sent before", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(gap):
		}
	}
}

// endRecall writes down that the rails were asked, unless another node has. They
// were asked for the restore with which this run began: one that was declared
// since is left as it is.
func (w *taskWorker) endRecall(ctx context.Context) error {
	r, err := ReadRestore(ctx, w.store)
	if err != nil {
		return err
	}
	w.restores.now.Store(&r)
	if err := w.overtaken(); err != nil {
		return err
	}
	if r.State == RestoreAsking {
		held := r
		held.State, held.AskedAt = RestoreHeld, w.now()
		if err := held.write(ctx, w.store); err != nil {
			return err
		}
		w.restores.now.Store(&held)
		w.log.Warn("rails were asked about all payouts that are known; new ones are held back until an operator releases them")
	}
	return nil
}

// recollection is what rails have said of the payouts of a session.
type recollection struct {
	answers map[id.Payout]int // "never seen" where it counts
	done    bool
}

// recallRound asks about what is left, and takes off what is done with.
func (w *taskWorker) recallRound(ctx, calls context.Context, left *map[store.SessionKey]*recollection) error {
	if *left == nil {
		all, err := w.unended(ctx)
		if err != nil {
			return err
		}
		*left = all
		w.log.Info("asking rails after a restore", "sessions", len(all))
	}
	var round sync.WaitGroup
	places := make(chan struct{}, recallMax)
	var failed atomic.Pointer[error]
	for k, of := range *left {
		places <- struct{}{}
		round.Add(1)
		w.crew.run(func() {
			defer func() { <-places; round.Done() }()
			if err := w.recallSession(calls, k, of); err != nil {
				failed.Store(&err)
			}
		})
	}
	round.Wait()
	maps.DeleteFunc(*left, func(_ store.SessionKey, of *recollection) bool { return of.done })
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// unended finds the sessions that have a task of a payout's own.
func (w *taskWorker) unended(ctx context.Context) (map[store.SessionKey]*recollection, error) {
	all := map[store.SessionKey]*recollection{}
	return all, w.store.Snapshot(ctx, func(s store.Snapshot) error {
		projects, err := s.Projects(ctx)
		if err != nil {
			return err
		}
		for i := range projects {
			for t, err := range s.Tasks(ctx, projects[i].ID) {
				if err != nil {
					return err
				}
				if t.Kind != store.TaskReceipt {
					all[t.SessionKey] = &recollection{answers: map[id.Payout]int{}}
				}
			}
		}
		return nil
	})
}

func (w *taskWorker) recallSession(ctx context.Context, k store.SessionKey, of *recollection) error {
	s, err := w.store.Session(ctx, k)
	if err != nil {
		return err
	}
	project, ok := w.Caller(k.Project)
	if !ok {
		return fmt.Errorf("project %s is unknown", k.Project)
	}
	open := false
	for i := range s.Payouts {
		p := &s.Payouts[i]
		wants := 0
		switch p.State {
		case session.Checking, session.Checked, session.Awaiting, session.Confirmed:
			wants = neverSeenMin
		case session.Sent, session.Unclear:
			wants = 1
		}
		if p.Rail == "" || p.Verification() || of.answers[p.ID] >= wants {
			continue
		}
		with := errand{project: project.Project, task: store.Task{TaskKey: store.TaskKey{SessionKey: k, Payout: p.ID, Kind: store.TaskQuery}}}
		counts, err := w.recallPayout(ctx, with, p, wants == 1)
		if err != nil {
			return err
		}
		of.answers[p.ID] += counts
		open = open || of.answers[p.ID] < wants
	}
	of.done = !open
	return nil
}

// recallPayout asks about one payout, and lets it follow what its rail says. It
// returns by how much the answer counts.
func (w *taskWorker) recallPayout(ctx context.Context, with errand, p *session.Payout, sent bool) (int, error) {
	moves, ok := w.byName[p.Rail]
	if !ok {
		return 0, fmt.Errorf("the rail %s of payout %s is not connected", p.Rail, p.ID)
	}
	asked := w.now()
	limited, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	says, err := guarded(func() (rail.Outcome, error) { return moves.Query(limited, p.Reference) })
	switch {
	case err != nil:
		return 0, fmt.Errorf("payout %s: %w", p.ID, err)
	case says.Status == rail.NeverSeen && !sent:
		terms := moves.Terms()
		if asked.After(w.lastSent(p).Add(terms.SendDeadline + terms.Visibility)) {
			return 1, nil
		}
		return 0, nil
	case says.Status == rail.Unknown && !sent:
		return 0, nil
	}
	err = w.bring(ctx, &recalled{errand: with, says: says, asked: asked}, p)
	switch code := fault.CodeOf(err); {
	case err == nil && sent:
		return 1, nil
	case err == nil:
		return 0, nil // it is sent by now, and asked about as such
	case code == fault.Busy, p.State == session.Awaiting, p.State == session.Confirmed: // it has to follow, before its time ends
		return 0, err
	}
	text := fmt.Sprintf("the rail %s says %s of the payout, which was sent in the time that is lost, and the books can't follow: %v", p.Rail, says.Status, err)
	return neverSeenMin, w.report(ctx, &notice{session: with.task.SessionKey, payout: p.ID, kind: "restored_unbooked", text: text})
}

// unbooked reports whether a rail knows a payout of a session that is about to be
// checked: it was sent in a time that is lost, and the books could not follow.
// Nobody may be told that it failed, so it follows now, or the check waits.
func (w *taskWorker) unbooked(ctx context.Context, with errand, s *session.Session) (bool, error) {
	r := w.restores.now.Load()
	for i := range s.Payouts {
		p := &s.Payouts[i]
		if r == nil || int64(p.ID) >= r.Number || p.Rail == "" || p.Verification() || p.State != session.Checking && p.State != session.Checked {
			continue
		}
		says, asked, err := rail.Outcome{Status: rail.Unknown}, w.now(), error(nil)
		if moves, ok := w.byName[p.Rail]; ok {
			limited, cancel := context.WithTimeout(ctx, queryTimeout)
			says, err = guarded(func() (rail.Outcome, error) { return moves.Query(limited, p.Reference) })
			cancel()
		}
		switch {
		case ctx.Err() != nil:
			return true, ctx.Err()
		case err == nil && says.Status == rail.NeverSeen:
			continue
		case err == nil && says.Status != rail.Unknown:
			sent := with
			sent.task.Payout, sent.task.Kind = p.ID, store.TaskQuery
			if err = w.bring(ctx, &recalled{errand: sent, says: says, asked: asked}, p); err == nil {
				return true, nil
			}
		}
		w.log.Warn("the books can't follow a payout yet that its rail may have made in the lost time", "rail", p.Rail, "payout", p.ID, "error", err)
		return true, w.report(ctx, &later{with, w.now().Add(w.queryGap(with.task.Attempt))})
	}
	return false, nil
}

// notice tells people of something about a restore, and writes down who did it.
type notice struct {
	acts       []store.Act
	session    store.SessionKey
	payout     id.Payout
	kind, text string // of the alarm; "" for none
}

func (*notice) reads(*store.Reads) {}

func (n *notice) decide(t *tx) (Answer, error) {
	if n.kind != "" {
		t.alarm(n.session, n.payout, n.kind, n.text)
	}
	t.own.Acts = append(t.own.Acts, n.acts...)
	return Answer{}, nil
}

// bring reports what a rail says of a payout, with what its lost check must have
// found: the recipient, but for what the rail knows of the bank, and that the
// income may have a receipt.
func (w *taskWorker) bring(ctx context.Context, r *recalled, p *session.Payout) error {
	if p.Details.Source != "" && p.Transfer == nil {
		r.to.Name = p.Details.Recipient
		switch asks, err := w.order(ctx, p); {
		case err == nil:
			r.to = party(&asks, p.Details.Instrument, rail.Bank{})
		case token(p.Details.Instrument).Token == 0, ctx.Err() != nil, fault.CodeOf(err) == fault.Busy:
			return err
		default:
			w.log.Warn("the token that a payout was sent by is gone; its books show the name alone", "payout", p.ID, "error", err)
		}
	}
	if workOf(p) == store.TaskClear {
		year := p.Receipt.Reserved
		if err := w.report(ctx, &recount{want: reservation(r.task.SessionKey, p, year, store.ReservationHeld), before: year}); err != nil {
			return err
		}
	}
	return w.report(ctx, r)
}

// recalled brings what a rail says of a payout after a restore.
type recalled struct {
	errand
	says  rail.Outcome
	asked time.Time
	to    session.Party // the recipient of a payout from an own account
}

func (r *recalled) decide(t *tx) (Answer, error) {
	s, p, err := r.payout(t, false)
	if err != nil {
		return Answer{}, err
	}
	switch p.State {
	case session.Checking, session.Checked, session.Awaiting, session.Confirmed:
		if err := r.follow(t, s); err != nil {
			return Answer{}, err
		}
	case session.Sent, session.Unclear:
	default:
		return Answer{}, nil // it has ended
	}
	o := &outcome{errand: r.errand, says: r.says, asked: r.asked}
	switch r.says.Status {
	case rail.Succeeded:
		err = o.succeeded(t, s, p)
	case rail.Failed:
		err = o.failed(t, s, p)
	default:
		// What the rail had never seen before the lost time says nothing: it is
		// counted anew.
		if o.says.Status == rail.NeverSeen {
			o.says.Status = rail.Unknown
		}
		err = o.open(t, s, p)
	}
	return Answer{}, err
}

// follow takes all payouts of a session to where they must have been when one of
// them was sent: confirmed, and promised to their rails. None of them is sent
// now: those that their rails have never seen are asked about, and sent when
// that is certain.
func (r *recalled) follow(t *tx, s *session.Session) error {
	for i := range s.Payouts {
		p := &s.Payouts[i]
		switch {
		case p.State != session.Checking:
			continue
		case p.Foreign() && p.Quote == nil:
			return fault.New(fault.WrongState, "nobody knows at what rate it was exchanged: tell it by restored rate")
		case p.Details.Source != "" && p.Transfer == nil:
			var err error
			if p.Transfer, err = t.transfer(s, p, r.to); err != nil {
				return err
			}
		case workOf(p) == store.TaskClear: // bring has reserved the income
			t.finish(s, p, store.TaskClear)
			p.Receipt.Cleared = true
		}
		if err := t.step(s, p, session.Pass, r.project, nil); err != nil {
			return err
		}
	}
	failed := func(p session.Payout) bool { return p.State == session.Failed }
	before := len(slices.DeleteFunc(slices.Clone(s.Payouts), failed))
	if err := t.hold(s, r.project); err != nil {
		return err
	}
	if len(slices.DeleteFunc(slices.Clone(s.Payouts), failed)) != before {
		return fault.New(fault.WrongState, "the balance does not cover it: a deposit of the lost time may be missing")
	}
	if err := t.each(s, session.Awaiting, session.Confirm, r.project, nil); err != nil {
		return err
	}
	for i := range s.Payouts {
		p := &s.Payouts[i]
		if p.State != session.Confirmed {
			continue
		}
		if err := t.promise(s, p, r.project); err != nil {
			return err
		}
		t.reschedule(s, p, store.TaskSend, 0, t.now.Add(queryGapFirst))
	}
	t.calls = nil // nor is what this node could call at once
	return nil
}
