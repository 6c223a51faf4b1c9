package simulation

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

// recordOf are the rows that leave with a session, as a database has them.
func (m *memory) recordOf(k store.SessionKey) (tables [][][]any, err error) {
	tables = make([][][]any, len(codec.RecordTables))
	row, ok := m.sessions[k]
	if !ok {
		return tables, nil
	}
	s, err := row.read()
	if err != nil {
		return nil, err
	}
	of, err := codec.SessionRow(s, s.Revision)
	if err != nil {
		return nil, err
	}
	tables[0] = append(tables[0], of)
	for i := range s.Payouts {
		if of, err = codec.PayoutRow(s, i); err != nil {
			return nil, err
		}
		tables[1] = append(tables[1], of)
	}
	for key, e := range m.events {
		if key.SessionKey == k {
			tables[2] = append(tables[2], codec.EventRow(e))
		}
	}
	for key, a := range m.logs {
		if key.SessionKey == k {
			tables[3] = append(tables[3], codec.DeliveryRow(a))
		}
	}
	return tables, nil
}

func (m *memory) Aged(ctx context.Context, p id.Project, after id.Session, before time.Time, limit int) (aged []store.Dossier, last id.Session, err error) {
	aged, err = read(m, ctx, func() (aged []store.Dossier, _ error) {
		var looked []codec.Looked
		for _, row := range sorted(m.sessions, func(a, b *sessionRow) int { return cmp.Compare(a.ID, b.ID) }) {
			if row.Project == p && row.ID > after && len(looked) < limit {
				looked = append(looked, codec.Looked{
					ID: int64(row.ID), State: string(row.State), CreatedAt: codec.Micros(row.CreatedAt), UpdatedAt: codec.Micros(row.UpdatedAt),
				})
			}
		}
		var wanted []int64
		wanted, last = codec.Aged(looked, before)
		for _, n := range wanted {
			tables, err := m.recordOf(store.SessionKey{Project: p, Session: id.Session(n)})
			if err != nil {
				return nil, err
			}
			of, err := codec.Dossiers(tables)
			if err != nil {
				return nil, err
			}
			aged = append(aged, of...)
		}
		return aged, nil
	})
	return aged, last, err
}

func (m *memory) AddArchive(ctx context.Context, a store.Archive) error {
	return m.transact(ctx, func(w *writing) error {
		a.At = cut(a.At)
		return add(w, w.archives, "archive", a.Number, a)
	})
}

func (m *memory) TakeOut(ctx context.Context, p id.Project, sessions []store.Leaving) (left []id.Session, err error) {
	err = m.transact(ctx, func(w *writing) error {
		var before []store.Archived
		for _, l := range sessions {
			if a, ok := w.archived[l.SessionKey]; ok {
				before = append(before, a)
			}
		}
		var going []store.Leaving
		going, left = codec.Going(sessions, before, nil)
		var busy []id.Session
		for k := range w.tasks {
			busy = append(busy, k.Session)
		}
		for _, l := range going {
			tables, err := w.recordOf(l.SessionKey)
			if err != nil {
				return err
			}
			stay, err := codec.Stay([]store.Leaving{l}, tables, busy)
			if err != nil {
				return err
			}
			if left = append(left, stay...); len(stay) > 0 {
				continue
			}
			if _, ok := w.books[p]; !ok {
				return missing("book")
			}
			w.takeOut(l)
		}
		return nil
	})
	return left, err
}

func (w *writing) takeOut(l store.Leaving) {
	put(w, w.attic.sessions, l.SessionKey, w.sessions[l.SessionKey])
	drop(w, w.sessions, l.SessionKey)
	drop(w, w.numbers, l.SessionKey)
	for k, e := range maps.Clone(w.events) {
		if k.SessionKey == l.SessionKey {
			put(w, w.attic.events, k, e)
			drop(w, w.events, k)
		}
	}
	for _, k := range slices.Collect(maps.Keys(w.logs)) {
		if k.SessionKey == l.SessionKey {
			drop(w, w.logs, k)
		}
	}
	for _, c := range l.Cards {
		drop(w, w.cards, store.CardKey{Project: l.Project, Card: c})
	}
	a := l.Archived
	a.Entry, a.EndedAt = w.books[l.Project].Entries, cut(a.EndedAt)
	put(w, w.archived, l.SessionKey, a)
}

func (m *memory) Archived(ctx context.Context, k store.SessionKey) (store.Archived, error) {
	return find(m, ctx, m.archived, "archived session", k)
}

func (m *memory) ReadRecord(record []byte) (store.Dossier, error) { return codec.ReadRecord(record) }

func (s snapshot) Archives(_ context.Context, p id.Project) iter.Seq2[store.Archive, error] {
	return stream(maps.Values(s.archives), func(a store.Archive) bool { return a.Project == p },
		func(a, b store.Archive) int { return cmp.Compare(a.Number, b.Number) })
}

func (s snapshot) Archived(_ context.Context, p id.Project) iter.Seq2[store.Archived, error] {
	return stream(maps.Values(s.archived), func(a store.Archived) bool { return a.Project == p },
		func(a, b store.Archived) int { return cmp.Compare(a.Session, b.Session) })
}
