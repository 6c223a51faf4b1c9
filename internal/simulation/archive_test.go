package simulation

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/rail"
)

// cellar is where archives are: their records by number, as they were found on
// the disk when the first session was taken out into them.
type cellar struct {
	folder string
	files  map[id.Archive]map[[sha256.Size]byte]int
}

// openCellar plans archiving while payouts go on, of what has just ended.
func (w *world) openCellar() {
	w.cellar = &cellar{folder: w.t.TempDir(), files: map[id.Archive]map[[sha256.Size]byte]int{}}
	for n := range 1 + w.roll("archiving").IntN(3) {
		name := fmt.Sprintf("archiving #%d", n+1)
		w.plan(w.between(name, w.length/4, w.length), name, func() { w.archive(name) })
	}
}

// archive lets an operator archive, who tries once more if that fails.
func (w *world) archive(name string) {
	age := w.between(name+" of what is older than", time.Millisecond, 15*time.Second)
	run := func(name string, then func(error)) {
		var cut time.Duration // until it is interrupted
		if w.goesWrong("archiving is interrupted", name) {
			cut = w.between(name+" is interrupted after", time.Millisecond, 3*w.pace)
		}
		w.start(&op{name: name, what: fmt.Sprintf("archive what ended %v ago", age.Round(time.Millisecond)), do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			if cut > 0 {
				limited, cancel := context.WithTimeout(ctx, cut)
				defer cancel()
				ctx = limited
			}
			_, err := e.Archive(ctx, payout.ArchiveOptions{Folder: w.cellar.folder, OlderThan: age, Trial: true})
			return payout.Answer{}, err
		}, then: func(_ payout.Answer, err error) {
			w.revisit()
			then(err)
		}})
	}
	if w.goesWrong("archived by two", name) {
		run(name+" by another", func(error) {})
	}
	run(name, func(err error) {
		if again := name + " again"; err != nil {
			w.plan(w.between(again, 10*time.Millisecond, 5*time.Second), again, func() { run(again, func(error) {}) })
		}
	})
}

// isArchived reports whether a session has been taken out.
func (w *world) isArchived(p id.Project, s id.Session) bool {
	_, gone := w.store.attic.sessions[store.SessionKey{Project: p, Session: s}]
	return gone
}

// payment is that of an item; nil if no rail knows of it.
func (i *item) payment() *payment {
	for _, r := range i.charge.rails {
		if at := slices.IndexFunc(r.order, func(p *payment) bool { return p.item == i }); at >= 0 {
			return r.order[at]
		}
	}
	return nil
}

// revisit lets partners, and money, come back to what has been archived.
func (w *world) revisit() {
	for _, c := range sorted(w.labels, func(a, b *charge) int { return strings.Compare(a.label, b.label) }) {
		if c.revisited || c.session == 0 || !w.isArchived(c.project.ID, c.session) {
			continue
		}
		c.revisited = true
		for _, i := range c.items {
			if p := i.payment(); p != nil && p.back == nil && p.status == rail.Succeeded && w.goesWrong("comes back once archived", i.label) {
				p.comesBack()
			}
		}
		some := func(what string, do func(name string)) {
			name := c.label + ": " + what + " once archived"
			if w.roll(name).IntN(3) == 0 {
				w.plan(w.between(name+" after", time.Millisecond, 5*time.Second), name, func() { do(name) })
			}
		}
		for _, what := range []string{"status", "confirm", "cancel"} {
			some(what, func(name string) { c.act(what, name) })
		}
		if c.created {
			some("start", func(name string) { c.act("start", name) })
		}
		if c.key != "" {
			some("ask again", func(name string) { c.ask(c.created, name, false) })
			some("ask for the first answer", func(name string) { c.ask(c.created, name, true) })
		}
		some("replay", func(name string) {
			c.replayEvent(name, store.EventKey{SessionKey: store.SessionKey{Project: c.project.ID, Session: c.session}, N: 1})
		})
	}
}

// ofArchived sees that who asks about a session that was archived before hears
// so, or what was answered before. A partner who hears that there is none pays
// again.
func (c *charge) ofArchived(name string, a payout.Answer, err error) {
	switch {
	case err == nil && !a.Replayed:
		c.breaks("archive", "%s is archived, and %s was done: %s", c.label, name, a.Body)
	case fault.CodeOf(err) == fault.NotFound, fault.CodeOf(err) == fault.Invalid && c.stands() && !c.world.jumped:
		c.breaks("archive", "%s is archived, and %s is answered: %v", c.label, name, err)
	}
}

// AddArchive and the three below are what archiving asks of the database.
func (g *gated) AddArchive(ctx context.Context, a store.Archive) error {
	return g.ask(ctx, "archive of "+string(a.Project), func() error { return g.memory.AddArchive(ctx, a) })
}

func (g *gated) Aged(
	ctx context.Context, p id.Project, after id.Session, before time.Time, limit int,
) (aged []store.Dossier, last id.Session, err error) {
	err = g.ask(ctx, "old sessions of "+string(p), func() (err error) {
		aged, last, err = g.memory.Aged(ctx, p, after, before, limit)
		return err
	})
	return aged, last, err
}

func (g *gated) TakeOut(ctx context.Context, p id.Project, sessions []store.Leaving) (left []id.Session, err error) {
	err = g.ask(ctx, "taking out of "+string(p), func() (err error) {
		left, err = g.memory.TakeOut(ctx, p, sessions)
		g.n.looked.due = true
		for i := range sessions {
			g.n.tookOut(sessions[i].SessionKey)
		}
		return err
	})
	return left, err
}

func (g *gated) Archived(ctx context.Context, k store.SessionKey) (a store.Archived, err error) {
	if !g.n.archives {
		return g.memory.Archived(ctx, k)
	}
	err = g.ask(ctx, "what stays of "+g.n.labelled(k)+of(ctx), func() (err error) { a, err = g.memory.Archived(ctx, k); return err })
	return a, err
}

// tookOut sees that what was taken out is in its file, once, and that nothing
// about it was open.
func (w *world) tookOut(k store.SessionKey) {
	row, gone := w.store.attic.sessions[k]
	if !gone {
		return
	}
	a := w.store.archived[k]
	if w.cellar.files[a.Archive] == nil {
		records, err := w.cellar.read(w.store.archives[a.Archive].File)
		if err != nil {
			w.breaks("archive", "%s is archived in %s, which can't be read: %v", w.label(k), a.Archive, err)
			return
		}
		w.cellar.files[a.Archive] = records
	}
	if n := w.cellar.files[a.Archive][a.Print]; n != 1 {
		w.breaks("archive", "%s is archived in %s, which has it %d times", w.label(k), a.Archive, n)
	}
	for n := range row.Payouts {
		if p := &row.Payouts[n]; !p.State.Final() || p.State == session.Disputed || p.Receipt != nil && p.Receipt.State.Open() {
			w.breaks("archive", "%s is archived, and is %s", w.label(k), p.State)
		}
	}
	for key, e := range w.store.attic.events {
		if key.SessionKey == k && e.Status == "pending" {
			w.breaks("archive", "%s is archived, and %s is not delivered", w.label(k), e.Type)
		}
	}
}

// read reads a file without the product's reader: how often it has each record,
// by the hash.
func (c *cellar) read(name string) (records map[[sha256.Size]byte]int, err error) {
	f, err := os.Open(filepath.Join(c.folder, name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	records = map[[sha256.Size]byte]int{}
	for lines := bufio.NewReader(z); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, err
		}
		records[sha256.Sum256(line[:len(line)-1])]++
	}
}

// proveArchives has the product prove its books together with all files.
func (w *world) proveArchives() {
	var files []string
	for _, a := range w.store.archives {
		files = append(files, filepath.Join(w.cellar.folder, a.File))
	}
	var found *payout.Report
	prove := func() {
		w.start(&op{name: w.number("check with archives"), what: fmt.Sprintf("%d files", len(files)), do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			r, err := e.CheckArchives(ctx, files)
			found = r
			return payout.Answer{}, err
		}, then: func(_ payout.Answer, err error) {
			if err != nil {
				w.breaks("archive", "check with archives: %v", err)
			}
		}})
	}
	prove()
	w.run(time.Now().Add(time.Minute), w.idle)
	switch {
	case w.failed() != nil:
	case found == nil:
		w.breaks("drain", "the archives are not checked")
	case !found.Clean() || found.Proved != len(w.store.attic.sessions) || found.Archived != found.Proved:
		w.breaks("archive", "%d sessions are archived, %d proved: %s", found.Archived, found.Proved, strings.Join(found.Problems, "; "))
	}
}

// admittedLate sees that people were told where a rail has admitted what became of
// a payout when that was archived as something else, and that what it has paid is
// in suspense.
func (w *world) admittedLate(i *item, k store.SessionKey, p *session.Payout) {
	told, kind, suspense := p.State == session.Paid || p.State == session.Returned, "declined_after_paid", int64(0)
	if !told {
		kind, suspense = "paid_after_failed", w.rails[p.Rail].payments[p.Reference].minor
	}
	if told == (i.paid > 0) {
		return
	}
	for _, e := range w.store.entries[k.Project] {
		if e.Payout == p.ID && e.Kind == ledger.KindSuspend {
			suspense += e.Change.Suspense
		}
	}
	if !w.alarmed(kind, p.ID) || suspense != 0 {
		w.breaks("agreement", "%s is archived as %s, which is not so: told %t, %d are not in suspense", i.label, p.State, w.alarmed(kind, p.ID), suspense)
	}
}

// cameLate reports whether a return came when its payout was archived, and sees
// that people were told once, and that the money is in suspense.
func (w *world) cameLate(g *giving, k store.SessionKey, p *session.Payout) bool {
	alarms := 0
	for _, a := range w.store.alarms {
		if a.Kind == "return_of_archived" && a.Payout == p.ID && strings.HasPrefix(a.Text, "return "+g.Reference+": ") {
			alarms++
		}
	}
	if alarms == 0 {
		return false
	}
	var suspended []int64
	for _, e := range w.store.entries[k.Project] {
		if e.Payout == p.ID && e.Kind == ledger.KindStray && e.No > w.store.archived[k].Entry {
			suspended = append(suspended, e.Change.Suspense)
		}
	}
	if alarms != 1 || len(suspended) != 1 || suspended[0] != g.Amount.Minor && !g.otherwise {
		w.breaks("returns", "%d came back of %s, which is archived: %d alarms, and %d in suspense", g.Amount.Minor, w.label(k), alarms, suspended)
	}
	return true
}
