package payout

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/rail"
)

const (
	// ArchiveAge is how long ago a session has ended, at least, that is archived
	// where nobody says otherwise.
	ArchiveAge = 400 * 24 * time.Hour
	// archiveAgeMin is the least that may be asked for: by then money does not
	// come back any more, webhooks are given up and receipts made.
	archiveAgeMin = 90 * 24 * time.Hour
	// archiveAfterReturns is how much more than the longest window of returns it
	// must be.
	archiveAfterReturns = 30 * 24 * time.Hour

	archiveLooks = 50     // sessions looked at in one read: few, because a rest comes only behind them
	archiveTakes = 20     // sessions taken out in one transaction: few, because SQLite has nobody else write meanwhile
	archiveFile  = 10_000 // sessions in one file, at most

	archiveRestMax = 100
)

// ArchiveOptions say what is archived.
type ArchiveOptions struct {
	Folder    string // that the files go to; it must exist
	OlderThan time.Duration
	// Trial lets OlderThan be shorter than is safe, as it may be in a sandbox.
	Trial  bool
	DryRun bool // only counts
	// Rest is how many times as long as each piece of work took it rests behind
	// it, up to 100; 0 is for a database that serves nobody.
	Rest int
}

// Archiving is what was archived, or would be.
type Archiving struct {
	Before   time.Time      `json:"before"`   // when what is archived had ended
	Sessions int            `json:"sessions"` // taken out
	Payouts  int            `json:"payouts"`  // written, as the next two
	Events   int            `json:"events"`
	Bytes    int64          `json:"bytes"` // of records, before they are compressed
	Files    []ArchivedFile `json:"files"`
	// Held are sessions that ended before, and stay because something about them
	// is open.
	Held int `json:"held"`
	// Changed are sessions that were written to a file and had changed, or gone,
	// when it was their turn.
	Changed int           `json:"changed"`
	Took    time.Duration `json:"took"` // nanoseconds
}

// ArchivedFile is one file that was written.
type ArchivedFile struct {
	Name     string     `json:"name"`
	Project  id.Project `json:"project"`
	Sessions int        `json:"sessions"`
	Bytes    int64      `json:"bytes"`
	Print    string     `json:"sha256"`
}

// Archive takes sessions out of the database that ended long ago, into files, and
// goes on beside all other work. A file is complete, on the disk and read back
// before the first of its sessions is removed, so that at any moment a session is in the
// database or in a file, or in both. One that was interrupted is begun anew: it
// writes what is left to another file. fault.Invalid if OlderThan is shorter than
// is safe, or Rest out of its range.
//
// What stays of a session is a store.Archived, beside its entries, its attempts,
// its reservations and the idempotency keys.
func (e *Engine) Archive(ctx context.Context, o ArchiveOptions) (Archiving, error) {
	if !e.archiving.TryLock() {
		return Archiving{}, fault.New(fault.Busy, "another command is archiving")
	}
	defer e.archiving.Unlock()
	began := e.real()
	projects, err := e.store.Projects(ctx)
	if err != nil {
		return Archiving{}, err
	}
	if err := e.mayArchive(o, projects); err != nil {
		return Archiving{}, err
	}
	if folder, err := os.Stat(o.Folder); !o.DryRun && (err != nil || !folder.IsDir()) {
		return Archiving{}, fault.New(fault.Invalid, "%s is no folder", o.Folder)
	}
	differ, err := e.differing(ctx)
	if err != nil {
		return Archiving{}, err
	}
	a := &archiver{Engine: e, options: o, differ: differ, done: Archiving{Before: e.now().Add(-o.OlderThan), Files: []ArchivedFile{}}}
	for i := range projects {
		if err = a.project(ctx, projects[i].ID); err != nil {
			break
		}
	}
	a.done.Took = e.real().Sub(began)
	return a.done, err
}

// mayArchive refuses an age at which something may still be to come, and a rest
// that is none.
func (e *Engine) mayArchive(o ArchiveOptions, projects []partner.Project) error {
	least := archiveAgeMin
	for i := range projects {
		least = max(least, time.Duration(projects[i].ReturnWindow)+archiveAfterReturns)
	}
	switch {
	case o.OlderThan <= 0:
		return fault.New(fault.Invalid, "older than: must be above zero")
	case o.OlderThan < least && !o.Trial && !e.sandbox:
		return fault.New(fault.Invalid, "older than: at least %d days, until when money may come back and receipts be cancelled", int(least.Hours()/24))
	case o.Rest < 0 || o.Rest > archiveRestMax:
		return fault.New(fault.Invalid, "rest: want 0 to %d", archiveRestMax)
	}
	return nil
}

// differing are the sessions that a statement differs about: people need them.
func (e *Engine) differing(ctx context.Context) (map[store.SessionKey]bool, error) {
	differ := map[store.SessionKey]bool{}
	return differ, e.store.Snapshot(ctx, func(s store.Snapshot) error {
		for d, err := range s.AllDifferences(ctx) {
			if err != nil {
				return err
			}
			differ[store.SessionKey{Project: d.Project, Session: d.Session}] = true
		}
		return nil
	})
}

// archiver is one run of Archive.
type archiver struct {
	*Engine
	options ArchiveOptions
	differ  map[store.SessionKey]bool
	done    Archiving

	// The file that is being written, nil for none, and what is in it.
	file    *archiveWriter
	leaving []store.Leaving
}

// project archives the sessions of one project.
func (a *archiver) project(ctx context.Context, p id.Project) (err error) {
	defer func() {
		if a.file != nil {
			a.file.discard()
			a.file, a.leaving = nil, nil
		}
	}()
	for after := id.Session(0); ; {
		began := a.real()
		aged, last, err := a.store.Aged(ctx, p, after, a.done.Before, archiveLooks)
		if err != nil {
			return err
		}
		if aged, err = a.ended(ctx, aged); err != nil {
			return err
		}
		for i := range aged {
			if err := a.write(p, &aged[i]); err != nil {
				return err
			}
		}
		if err := a.rest(ctx, began); err != nil {
			return err
		}
		if len(a.leaving) >= archiveFile || last == 0 {
			if err := a.takeOut(ctx, p); err != nil {
				return err
			}
		}
		if last == 0 {
			return nil
		}
		after = last
	}
}

// rest waits in proportion to the piece of work that began then. What others do
// makes that longer, and the rest with it.
func (a *archiver) rest(ctx context.Context, began time.Time) error {
	worked := a.real().Sub(began)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(worked * time.Duration(a.options.Rest)):
		return nil
	}
}

// ended are the sessions about which nothing is open, and nothing has happened
// since.
func (a *archiver) ended(ctx context.Context, aged []store.Dossier) ([]store.Dossier, error) {
	ended := aged[:0]
	for i := range aged {
		d := &aged[i]
		if last, over := overAt(d); !over || !last.Before(a.done.Before) || a.differ[keyOf(d.Session)] {
			a.done.Held++
			continue
		}
		ended = append(ended, *d)
	}
	return ended, ctx.Err()
}

func keyOf(s *session.Session) store.SessionKey {
	return store.SessionKey{Project: s.Project, Session: s.ID}
}

// overAt is when the last thing happened to a session, if nothing is open about
// it.
func overAt(d *store.Dossier) (at time.Time, over bool) {
	s := d.Session
	at = s.UpdatedAt
	latest := func(t time.Time) {
		if t.After(at) {
			at = t
		}
	}
	for i := range s.Payouts {
		p := &s.Payouts[i]
		if !p.State.Final() || p.State == session.Disputed || p.Receipt != nil && (p.Receipt.State.Open() || p.Receipt.Withheld) {
			return at, false
		}
		latest(p.FinishedAt)
		for n := range p.Refunds {
			if p.Refunds[n].Status == session.RefundKept {
				return at, false
			}
			latest(p.Refunds[n].CreatedAt)
		}
	}
	for i := range d.Events {
		if d.Events[i].Status == webhook.Pending {
			return at, false
		}
		latest(d.Events[i].CreatedAt)
	}
	return at, len(d.Events) == s.Events && (len(s.Payouts) > 0 || s.State == session.Cancelled)
}

// write adds a session to the file, and counts it.
func (a *archiver) write(p id.Project, d *store.Dossier) (err error) {
	s := d.Session
	a.done.Payouts += len(s.Payouts)
	a.done.Events += len(d.Events)
	a.done.Bytes += int64(len(d.Record))
	if a.options.DryRun {
		a.done.Sessions++
		return nil
	}
	if a.file == nil {
		number := id.Archive(a.ids.Next())
		if a.file, err = newArchive(a.options.Folder, archiveHead{Archive: archiveForm, Project: p, Number: number, Before: a.done.Before}); err != nil {
			return err
		}
	}
	if err := a.file.add(d.Record); err != nil {
		return err
	}
	of := store.Leaving{Archived: store.Archived{
		SessionKey: keyOf(s), Archive: a.file.head.Number, Print: sha256.Sum256(d.Record), State: s.State, Events: len(d.Events),
	}}
	of.EndedAt, _ = overAt(d)
	for i := range d.Events {
		of.Seqs += d.Events[i].Seq
	}
	for i := range s.Payouts {
		p := &s.Payouts[i]
		of.Payouts = append(of.Payouts, store.ArchivedPayout{ID: p.ID, State: p.State, Minor: p.Minor(), Account: p.Details.Account, Moves: p.Moves()})
		if in := p.Details.Instrument; in != nil && in.Card != nil && in.Card.Sealed != 0 {
			of.Cards = append(of.Cards, in.Card.Sealed)
		}
		if p.Receipt != nil {
			a.file.taxed = append(a.file.taxed, taxed{len(a.leaving), *p})
		}
	}
	a.leaving = append(a.leaving, of)
	return nil
}

// taxed is a payout with a receipt in the file, of the session at an index.
type taxed struct {
	leaving int
	payout  session.Payout
}

// takeOut ends the file, and takes what is in it out of the database.
func (a *archiver) takeOut(ctx context.Context, p id.Project) error {
	if a.file == nil {
		return nil
	}
	if err := a.reserved(ctx); err != nil {
		return err
	}
	began := a.real()
	file, leaving := a.file, a.leaving
	a.file, a.leaving = nil, nil
	print, bytes, err := file.close()
	if err != nil {
		return fmt.Errorf("write %s: %w", file.path, err)
	}
	err = a.store.AddArchive(ctx, store.Archive{
		Project: p, Number: file.head.Number, File: filepath.Base(file.path), Print: print, Bytes: bytes, Sessions: len(leaving), At: a.now(),
	})
	if err != nil {
		return err
	}
	a.done.Files = append(a.done.Files, ArchivedFile{
		Name: filepath.Base(file.path), Project: p, Sessions: len(leaving), Bytes: bytes, Print: fmt.Sprintf("%x", print),
	})
	a.log.Info("archive written", "file", file.path, "project", p, "sessions", len(leaving), "bytes", bytes)
	if err := a.rest(ctx, began); err != nil {
		return err
	}
	if err := a.readBack(ctx, file.path, print, leaving); err != nil {
		return err
	}
	for some := range slices.Chunk(leaving, archiveTakes) {
		began := a.real()
		left, err := a.store.TakeOut(ctx, p, some)
		if err != nil {
			return err
		}
		a.done.Sessions += len(some) - len(left)
		a.done.Changed += len(left)
		if err := a.rest(ctx, began); err != nil {
			return err
		}
	}
	return nil
}

// readBack proves that a file is as it was written, before what is in it is
// removed: a disk, or what stands for one, may have taken it and not have it.
func (a *archiver) readBack(ctx context.Context, path string, print [sha256.Size]byte, leaving []store.Leaving) error {
	if sabotage == "archived nowhere" {
		return nil
	}
	began := a.real()
	differs := func(err error) error {
		return fmt.Errorf("%s is not as it was written, and nothing was taken out into it: %w", path, err)
	}
	got, err := printOfFile(path)
	if err != nil {
		return differs(err)
	}
	if got != print {
		return differs(fmt.Errorf("its sha256 is %x, not %x", got, print))
	}
	r, err := openArchive(path)
	if err != nil {
		return differs(err)
	}
	defer r.close()
	for i := range leaving {
		if r.record == nil || r.session != leaving[i].Session || sha256.Sum256(r.record) != leaving[i].Print {
			return differs(fmt.Errorf("record %d is not that of %s", i+1, leaving[i].Session))
		}
		if err := r.next(); err != nil {
			return differs(err)
		}
		if (i+1)%archiveLooks == 0 {
			if err := a.rest(ctx, began); err != nil {
				return err
			}
			began = a.real()
		}
	}
	if r.record != nil {
		return differs(fmt.Errorf("it has more than %d records", len(leaving)))
	}
	return a.rest(ctx, began)
}

// reserved counts the reservations of the payouts in the file that have receipts,
// which have ended: it makes no difference that each piece of them is seen in a
// snapshot of its own.
func (a *archiver) reserved(ctx context.Context) error {
	for some := range slices.Chunk(a.file.taxed, archiveLooks) {
		began := a.real()
		err := a.store.Snapshot(ctx, func(s store.Snapshot) error {
			for i := range some {
				of := &some[i]
				l := &a.leaving[of.leaving]
				c := checker{Report: &Report{}, ctx: ctx, snapshot: s}
				for _, year := range yearsOf(of.payout.Receipt) {
					if _, err := c.reservation(l.SessionKey, &of.payout, year); err != nil {
						return err
					}
				}
				l.Reserved += c.reserved
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := a.rest(ctx, began); err != nil {
			return err
		}
	}
	return nil
}

// yearsOf are the years in which a payout may have reserved income.
func yearsOf(r *session.Receipt) []int {
	if r.Year != 0 && r.Year != r.Reserved {
		return []int{r.Reserved, r.Year}
	}
	return []int{r.Reserved}
}

// archived is what stays of a session; nil if it was not archived.
func (e *Engine) archived(ctx context.Context, k store.SessionKey) (*store.Archived, error) {
	a, err := e.store.Archived(ctx, k)
	switch {
	case err == nil:
		return &a, nil
	case fault.CodeOf(err) == fault.NotFound:
		return nil, nil
	}
	return nil, err
}

// gone is the error of a request about a session: that there is none, or that it
// has ended and is archived.
func (e *Engine) gone(ctx context.Context, k store.SessionKey, err error) error {
	if fault.CodeOf(err) != fault.NotFound || k.Session == 0 || sabotage == "archived is unknown" {
		return err
	}
	a, lookUp := e.archived(ctx, k)
	switch {
	case lookUp != nil:
		return lookUp
	case a == nil:
		return err
	}
	return fault.New(fault.WrongState, "session_id: session %s ended on %s as %s and is archived", k.Session, a.EndedAt.Format(time.DateOnly), shownState(a))
}

// shownState is the state of an archived session as partners know it.
func shownState(a *store.Archived) string {
	for i := range a.Payouts {
		if s := a.Payouts[i].State; s == session.Paid || s == session.Returned {
			return "accepted"
		}
	}
	return "cancelled"
}

// findArchived is what stays of a payout; nil if the session has no such.
func findArchived(a *store.Archived, p id.Payout) *store.ArchivedPayout {
	for i := range a.Payouts {
		if a.Payouts[i].ID == p {
			return &a.Payouts[i]
		}
	}
	return nil
}

// answered takes what a rail says of a payment whose payout is archived.
func (e *Engine) answered(ctx context.Context, name string, with errand, a *store.Archived, says rail.Outcome) error {
	o := &lateOutcome{errand: with, archive: a.Archive, was: findArchived(a, with.task.Payout), says: says.Status}
	switch sent, err := e.store.FindAttempt(ctx, name, with.task.Payout.String()); {
	case err == nil:
		o.rail = sent.Rail
	case fault.CodeOf(err) != fault.NotFound:
		return err
	}
	return e.report(ctx, o)
}

// lateOutcome brings what a rail says of an archived payout. Where that is
// something else than how it ended, people are told, once; the partner can't be,
// of a session that is gone.
type lateOutcome struct {
	errand
	archive id.Archive
	was     *store.ArchivedPayout
	rail    string // which says it; "" if it was never to pay
	says    rail.Status
}

func (o *lateOutcome) reads(names *store.Reads) {
	o.errand.reads(names)
	names.Keys = append(names.Keys, o.keyRef())
	if o.was.Account != "" {
		names.Accounts = append(names.Accounts, store.AccountKey{Project: o.task.Project, Number: o.was.Account})
	}
}

func (o *lateOutcome) keyRef() store.KeyRef {
	kind, _ := o.contradicts()
	return store.KeyRef{Project: o.task.Project, Scope: store.ScopeAnswer, Key: kind + "/" + o.was.ID.String()}
}

// contradicts is the alarm and its text; "" if there is nothing to tell.
func (o *lateOutcome) contradicts() (kind, text string) {
	switch {
	case o.rail == "":
		return "answer_never_asked", "the rail answers " + string(o.says) + " for a payout that was never sent"
	case o.says == rail.Succeeded && o.was.State == session.Failed:
		return "paid_after_failed", "the rail says paid after it had declined; the amount is in suspense"
	case o.says == rail.Failed && o.was.State == session.Paid:
		return "declined_after_paid", "the rail says declined after it had paid; nothing was booked"
	}
	return "", ""
}

func (o *lateOutcome) decide(t *tx) (Answer, error) {
	kind, text := o.contradicts()
	if _, told := t.rows.Keys[o.keyRef()]; told || kind == "" || sabotage == "late answer forgotten" {
		return Answer{}, nil
	}
	t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: o.keyRef(), At: t.now})
	t.alarm(o.task.SessionKey, o.was.ID, kind, fmt.Sprintf("%s; the payout is archived in %s", text, o.archive))
	if kind != "paid_after_failed" {
		return Answer{}, nil
	}
	e := ledger.Suspend(o.was.Minor, o.rail)
	e.Session, e.Payout = o.task.Session, o.was.ID
	return Answer{}, t.post(o.task.Project, o.was.Account, e)
}
