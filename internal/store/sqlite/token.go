package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/vault"
)

const (
	// The hash stands in the list as hexadecimal digits: JSON has no bytes.
	loadItems = `SELECT ` + codec.ItemColumns + ` FROM json_each(?) k
		CROSS JOIN items i ON i.partner = k.value->>0 AND i.id = k.value->>1`
	loadPublic = `SELECT ` + codec.PublicColumns + ` FROM json_each(?) k
		CROSS JOIN public_tokens t ON t.project = k.value->>0 AND t.lookup = unhex(k.value->>1)`

	selectItem = `SELECT ` + codec.ItemColumns + ` FROM items i WHERE i.partner = ? AND i.id = ?`
	findItem   = `SELECT ` + codec.ItemColumns + ` FROM items i WHERE i.lookup = ? AND i.kind = ?`
	findPublic = `SELECT ` + codec.PublicColumns + ` FROM public_tokens t WHERE t.lookup = ?`
	cardsAfter = `SELECT ` + codec.CardColumns + ` FROM cards c WHERE (c.project, c.id) > (?, ?) ORDER BY c.project, c.id LIMIT ?`
	itemsAfter = `SELECT ` + codec.ItemColumns + ` FROM items i WHERE (i.partner, i.id) > (?, ?) ORDER BY i.partner, i.id LIMIT ?`
	resealCard = `UPDATE cards SET ciphertext = ?, fingerprint = ? WHERE project = ? AND id = ? AND ciphertext = ?`
	resealItem = `UPDATE items SET ciphertext = ?, fingerprint = ?, revision = revision + 1 WHERE partner = ? AND id = ? AND ciphertext = ?`
	selectActs = `SELECT ` + codec.ActColumns + ` FROM acts ORDER BY id DESC LIMIT ?`
	insertItem = `INSERT INTO items
		(partner, id, kind, project, lookup, shown, ciphertext, fingerprint, created_at, ends_at, deleted_at, wipe_at, revision)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`
	updateItem   = `UPDATE items SET deleted_at = ?, wipe_at = ?, revision = revision + 1 WHERE partner = ? AND id = ? AND revision = ?`
	insertPublic = `INSERT INTO public_tokens (project, lookup, widgets, attempts, created_at, ends_at, revision) VALUES (?, ?, ?, ?, ?, ?, 1)`
	updatePublic = `UPDATE public_tokens SET widgets = ?, attempts = ?, revision = revision + 1 WHERE project = ? AND lookup = ? AND revision = ?`
	insertAct    = `INSERT INTO acts (project, id, at, actor, what, subject, text) VALUES (?, ?, ?, ?, ?, ?, ?)`
	wipeItems    = `UPDATE items SET ciphertext = x'', fingerprint = x'', wipe_at = 0, revision = revision + 1
		WHERE (partner, id) IN (SELECT partner, id FROM items WHERE wipe_at > 0 AND wipe_at <= ? ORDER BY wipe_at LIMIT ?)`
	wipePublic = `DELETE FROM public_tokens
		WHERE (project, lookup) IN (SELECT project, lookup FROM public_tokens WHERE ends_at <= ? ORDER BY ends_at LIMIT ?)`
)

func (w *writer) loadItems(wanted []store.ItemKey, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, func(k store.ItemKey) any { return [2]any{k.Partner, k.Token} }))
	if err != nil {
		return err
	}
	rows, err := w.query(loadItems, keys)
	for i, err := range all(rows, err, codec.ScanItem) {
		if err != nil {
			return err
		}
		into.Items[store.ItemKey{Partner: i.Partner, Token: i.ID}] = i
	}
	return nil
}

func (w *writer) loadPublic(wanted []store.PublicKey, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, func(k store.PublicKey) any { return [2]any{k.Project, hex.EncodeToString(k.Lookup[:])} }))
	if err != nil {
		return err
	}
	rows, err := w.query(loadPublic, keys)
	for p, err := range all(rows, err, codec.ScanPublic) {
		if err != nil {
			return err
		}
		into.Public[store.PublicKey{Project: p.Project, Lookup: p.Lookup}] = p
	}
	return nil
}

func (w *writer) writeItem(i vault.Item) error {
	if i.Revision > 0 {
		if err := w.guarded(updateItem, codec.Micros(i.DeletedAt), codec.Micros(i.WipeAt), i.Partner, i.ID, i.Revision); err != nil {
			return failed(err, "write %s at revision %d", i.ID, i.Revision)
		}
		return nil
	}
	shown, err := codec.EncodeShown(i.Shown)
	if err == nil {
		_, err = w.exec(insertItem, i.Partner, i.ID, i.Kind, i.Project, i.Lookup[:], shown, codec.Blob(i.Ciphertext), codec.Blob(i.Fingerprint),
			codec.Micros(i.CreatedAt), codec.Micros(i.EndsAt), codec.Micros(i.DeletedAt), codec.Micros(i.WipeAt))
	}
	if err != nil {
		return failed(err, "write %s", i.ID)
	}
	return nil
}

func (w *writer) writePublic(p *vault.Public) error {
	widgets, err := codec.EncodeWidgets(p.Widgets)
	switch {
	case err != nil:
	case p.Revision > 0:
		err = w.guarded(updatePublic, widgets, p.Attempts, p.Project, p.Lookup[:], p.Revision)
	default:
		_, err = w.exec(insertPublic, p.Project, p.Lookup[:], widgets, p.Attempts, codec.Micros(p.CreatedAt), codec.Micros(p.EndsAt))
	}
	if err != nil {
		return failed(err, "write a public token of %s at revision %d", p.Project, p.Revision)
	}
	return nil
}

func (w *writer) writeAct(a store.Act) error {
	if _, err := w.exec(insertAct, a.Project, a.ID, codec.Micros(a.At), codec.Plain(a.Actor), a.What, a.Subject, codec.Plain(a.Text)); err != nil {
		return failed(err, "write act %d", a.ID)
	}
	return nil
}

// Item implements store.Store.
func (s *Store) Item(ctx context.Context, k store.ItemKey) (vault.Item, error) {
	rows, err := s.readers.QueryContext(ctx, selectItem, k.Partner, k.Token)
	i, err := one(all(rows, err, codec.ScanItem))
	if err != nil {
		return vault.Item{}, s.failed(err, "read %s", k.Token)
	}
	return i, nil
}

// FindItem implements store.Store.
func (s *Store) FindItem(ctx context.Context, p id.Partner, kind vault.Kind, lookup [32]byte) (vault.Item, error) {
	rows, err := s.itemByLookup.QueryContext(ctx, lookup[:], kind)
	i, err := one(all(rows, err, codec.ScanItem))
	if err == nil && i.Partner != p {
		err = sql.ErrNoRows
	}
	if err != nil {
		return vault.Item{}, s.failed(err, "find a token of %s", p)
	}
	return i, nil
}

// FindPublic implements store.Store.
func (s *Store) FindPublic(ctx context.Context, lookup [32]byte) (vault.Public, error) {
	rows, err := s.readers.QueryContext(ctx, findPublic, lookup[:])
	p, err := one(all(rows, err, codec.ScanPublic))
	if err != nil {
		return vault.Public{}, s.failed(err, "find a public token")
	}
	return *p, nil
}

// Cards implements store.Store.
func (s *Store) Cards(ctx context.Context, after store.CardKey, limit int) ([]vault.Sealed, error) {
	rows, err := s.readers.QueryContext(ctx, cardsAfter, after.Project, after.Card, max(limit, 0))
	cards, err := codec.Collect(all(rows, err, codec.ScanCard))
	if err != nil {
		return nil, s.failed(err, "read sealed cards")
	}
	return cards, nil
}

// Items implements store.Store.
func (s *Store) Items(ctx context.Context, after store.ItemKey, limit int) ([]vault.Item, error) {
	rows, err := s.readers.QueryContext(ctx, itemsAfter, after.Partner, after.Token, max(limit, 0))
	items, err := codec.Collect(all(rows, err, codec.ScanItem))
	if err != nil {
		return nil, s.failed(err, "read what tokens stand for")
	}
	return items, nil
}

// Reseal implements store.Store.
func (s *Store) Reseal(ctx context.Context, cards []store.Resealed[vault.Sealed], items []store.Resealed[vault.Item]) (changed int, err error) {
	err = s.writer.transact(ctx, func() (bool, error) {
		changed = 0
		for _, c := range cards {
			n, err := s.writer.exec(resealCard, c.New.Ciphertext, c.New.Fingerprint, c.Old.Project, c.Old.ID, c.Old.Ciphertext)
			if err != nil {
				return false, err
			}
			changed += int(n)
		}
		for _, i := range items {
			n, err := s.writer.exec(resealItem, i.New.Ciphertext, i.New.Fingerprint, i.Old.Partner, i.Old.ID, i.Old.Ciphertext)
			if err != nil {
				return false, err
			}
			changed += int(n)
		}
		return changed > 0, nil
	})
	if err != nil {
		return 0, failed(err, "seal rows anew")
	}
	return changed, nil
}

// Wipe implements store.Store.
func (s *Store) Wipe(ctx context.Context, now time.Time, limit int) (wiped int, err error) {
	err = s.writer.transact(ctx, func() (bool, error) {
		items, err := s.writer.exec(wipeItems, codec.Micros(now), max(limit, 0))
		if err != nil {
			return false, err
		}
		public, err := s.writer.exec(wipePublic, codec.Micros(now.Add(-vault.KeepAfterEnd)), max(limit, 0))
		if err != nil {
			return false, err
		}
		requests, err := s.writer.exec(wipeNPD, codec.Micros(now), max(limit, 0))
		wiped = int(items + public + requests)
		return wiped > 0, err
	})
	if err != nil {
		return 0, failed(err, "wipe what has ended")
	}
	return wiped, nil
}

// Audit implements store.Store.
func (s *Store) Audit(ctx context.Context, limit int) ([]store.Act, error) {
	rows, err := s.readers.QueryContext(ctx, selectActs, max(limit, 0))
	acts, err := codec.Collect(all(rows, err, codec.ScanAct))
	if err != nil {
		return nil, s.failed(err, "read the acts of operators")
	}
	return acts, nil
}

func (s snapshot) Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error) {
	rows, err := s.tx.QueryContext(ctx, `SELECT `+codec.CardColumns+` FROM cards c WHERE c.project = ? AND c.id = ?`, p, c)
	card, err := one(all(rows, err, codec.ScanCard))
	if err != nil {
		return vault.Sealed{}, failed(err, "read a sealed card of %s", p)
	}
	return card, nil
}

func (s snapshot) Item(ctx context.Context, k store.ItemKey) (vault.Item, error) {
	rows, err := s.tx.QueryContext(ctx, selectItem, k.Partner, k.Token)
	i, err := one(all(rows, err, codec.ScanItem))
	if err != nil {
		return vault.Item{}, failed(err, "read %s", k.Token)
	}
	return i, nil
}
