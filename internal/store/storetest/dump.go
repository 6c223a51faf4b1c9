package storetest

import (
	"iter"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// content is all that a snapshot shows.
type content struct {
	Projects []partner.Project
	Books    []ledger.Book
	Of       map[id.Project]*contentOf

	Statements  []store.Statement
	Differences []store.Difference
}

// contentOf is what a snapshot shows of one project.
type contentOf struct {
	Accounts  []store.Account
	Entries   []ledger.Entry
	BySession []ledger.Entry
	Sessions  []*session.Session
	Attempts  []store.Attempt
	Events    []webhook.Event
	Tasks     []store.Task
	Lines     []store.StatementLine
	Archives  []store.Archive
	Archived  []store.Archived
}

// dump reads everything in one snapshot.
func (b *bed) dump() content {
	b.Helper()
	var all content
	b.must(b.Snapshot(b.ctx, func(s store.Snapshot) (err error) {
		all, err = b.read(s)
		return err
	}))
	return all
}

func (b *bed) read(s store.Snapshot) (content, error) {
	all := content{Of: make(map[id.Project]*contentOf)}
	var err error
	if all.Projects, err = s.Projects(b.ctx); err != nil {
		return all, err
	}
	if all.Books, err = s.Books(b.ctx); err != nil {
		return all, err
	}
	if all.Statements, err = gather(s.AllStatements(b.ctx)); err != nil {
		return all, err
	}
	if all.Differences, err = gather(s.AllDifferences(b.ctx)); err != nil {
		return all, err
	}
	for _, p := range all.Projects {
		if all.Of[p.ID], err = b.readOf(s, p.ID); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (b *bed) readOf(s store.Snapshot, p id.Project) (*contentOf, error) {
	of := new(contentOf)
	for _, read := range []func() error{
		func() (err error) { of.Accounts, err = s.Accounts(b.ctx, p); return },
		func() (err error) { of.Entries, err = gather(s.Entries(b.ctx, p)); return },
		func() (err error) { of.BySession, err = gather(s.EntriesBySession(b.ctx, p)); return },
		func() (err error) { of.Sessions, err = gather(s.Sessions(b.ctx, p)); return },
		func() (err error) { of.Attempts, err = gather(s.Attempts(b.ctx, p)); return },
		func() (err error) { of.Events, err = gather(s.Events(b.ctx, p)); return },
		func() (err error) { of.Tasks, err = gather(s.Tasks(b.ctx, p)); return },
		func() (err error) { of.Archives, err = gather(s.Archives(b.ctx, p)); return },
		func() (err error) { of.Archived, err = gather(s.Archived(b.ctx, p)); return },
		func() (err error) { of.Lines, err = gather(s.StatementLines(b.ctx, p)); return },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return of, nil
}

func gather[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var list []T
	for row, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, nil
}
