package payout

import (
	"crypto/sha256"
	"fmt"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

// archived compares what stays of an archived session with its entries and
// attempts, and with its record where that is in a file that was given.
func (c *checker) archived(a *store.Archived, entries []ledger.Entry, attempts []store.Attempt) error {
	c.Archived++
	kept := entries[:0]
	for _, e := range entries {
		switch {
		case findArchived(a, e.Payout) == nil:
			c.problem("entry %d is of payout %s, which the archived session %s does not have", e.No, e.Payout, a.Session)
		case e.No <= a.Entry:
			kept = append(kept, e)
		case e.Kind != ledger.KindStray && e.Kind != ledger.KindSuspend:
			c.problem("payout %s was archived and has the later entry %d, %q", e.Payout, e.No, e.Kind)
		}
	}
	record, err := c.files.find(a)
	if err != nil {
		c.problem("archived session %s: %v", a.Session, err)
	}
	if record != nil {
		return c.proved(a, record, kept, attempts)
	}
	c.events += int64(a.Events)
	c.seqs += a.Seqs
	c.reserved += a.Reserved
	for i := range a.Payouts {
		c.stays(&a.Payouts[i], kept, attempts)
	}
	return nil
}

// stays compares what stays of an archived payout with its entries and attempts.
func (c *checker) stays(p *store.ArchivedPayout, entries []ledger.Entry, attempts []store.Attempt) {
	var held, cleared int64
	for i := range entries {
		e := &entries[i]
		if e.Payout != p.ID {
			continue
		}
		if e.Account != p.Account {
			c.problem("archived payout %s is paid from %q and has an entry of %q", p.ID, p.Account, e.Account)
		}
		if held += e.Change.Held; e.Kind != ledger.KindStray {
			cleared += e.Change.Clearing
		}
	}
	accepted, open := 0, 0
	for i := range attempts {
		switch {
		case attempts[i].Payout != p.ID:
		case attempts[i].Outcome == store.AttemptAccepted:
			accepted++
		case attempts[i].Outcome == store.AttemptOpen:
			open++
		}
	}
	paid, proofs := int64(0), 0
	if p.Moves && p.State == session.Paid {
		paid = p.Minor
	}
	if p.Moves && (p.State == session.Paid || p.State == session.Returned) {
		proofs = 1
	}
	if held != 0 || cleared != paid {
		c.problem("archived payout %s is %s, holds %d and has sent %d, want %d", p.ID, p.State, held, cleared, paid)
	}
	if accepted != proofs || open != 0 {
		c.problem("archived payout %s is %s with %d accepted and %d open attempts", p.ID, p.State, accepted, open)
	}
}

// proved holds an archived session to the rules that hold for any.
func (c *checker) proved(a *store.Archived, record []byte, entries []ledger.Entry, attempts []store.Attempt) error {
	if sha256.Sum256(record) != a.Print {
		c.problem("archived session %s: its record in %s was changed", a.Session, a.Archive)
	}
	d, err := c.files.read(record)
	if err != nil {
		c.problem("archived session %s: its record in %s can't be read: %v", a.Session, a.Archive, err)
		return nil
	}
	if d.Session.Project != a.Project || d.Session.State != a.State || len(d.Session.Payouts) != len(a.Payouts) {
		c.problem("archived session %s is another in its record", a.Session)
	}
	was, events, seqs, reserved := *c.Report, c.events, c.seqs, c.reserved
	if err := c.session(d.Session, entries, attempts, d.Events, nil); err != nil {
		return err
	}
	problems := c.Problems
	*c.Report = was
	c.Problems = problems
	c.Proved++
	if c.events-events != int64(a.Events) || c.seqs-seqs != a.Seqs || c.reserved-reserved != a.Reserved {
		c.problem("archived session %s has other events or reservations in its record", a.Session)
	}
	return nil
}

// begin compares the files that were given with what is written down of those of
// the project.
func (c *checker) begin() error {
	if c.files == nil {
		return nil
	}
	known := map[id.Archive]store.Archive{}
	for a, err := range c.snapshot.Archives(c.ctx, c.book.Project) {
		if err != nil {
			return err
		}
		known[a.Number] = a
	}
	for _, f := range c.files.readers {
		if f.head.Project != c.book.Project {
			continue
		}
		a, ok := known[f.head.Number]
		if !ok {
			c.problem("%s: %s is not known: nothing was archived in it", f.path, f.head.Number)
			continue
		}
		print, err := printOfFile(f.path)
		if err != nil {
			return fault.Wrap(fault.Invalid, err, "the archive can't be read: %v", err)
		}
		if print != a.Print {
			c.problem("%s: it is not the file %s that was written as %s", f.path, a.File, a.Number)
		}
	}
	return nil
}

// end reads what is left of the files of the project, so that each is known to be
// whole.
func (c *checker) end() {
	if c.files == nil {
		return
	}
	for _, f := range c.files.readers {
		for f.head.Project == c.book.Project && f.record != nil {
			if err := f.next(); err != nil {
				c.problem("%v", err)
				f.record = nil
			}
		}
	}
}

// archiveFiles are archive files that are read side by side, by session.
type archiveFiles struct {
	read    func([]byte) (store.Dossier, error)
	readers map[id.Archive]*archiveReader
}

// open opens a file beside the others.
func (f *archiveFiles) open(path string) error {
	r, err := openArchive(path)
	if err != nil {
		return err
	}
	if f.readers == nil {
		f.readers = map[id.Archive]*archiveReader{}
	}
	if other, twice := f.readers[r.head.Number]; twice {
		r.close()
		return fault.New(fault.Invalid, "%s and %s are the same archive %s", path, other.path, r.head.Number)
	}
	f.readers[r.head.Number] = r
	return nil
}

func (f *archiveFiles) close() {
	for _, r := range f.readers {
		r.close()
	}
}

// find is the record of an archived session; nil if its file was not given. It is
// asked by session, in ascending order.
func (f *archiveFiles) find(a *store.Archived) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	r, ok := f.readers[a.Archive]
	if !ok {
		return nil, nil
	}
	for r.record != nil && r.session < a.Session {
		if err := r.next(); err != nil {
			return nil, err
		}
	}
	if r.record == nil || r.session != a.Session {
		return nil, fmt.Errorf("it is not in %s", r.path)
	}
	return r.record, nil
}
