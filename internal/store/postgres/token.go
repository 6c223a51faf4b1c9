package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/vault"
)

// The first parameter of those that are guarded is the owner of each row.
var (
	updateItems = guarded(`UPDATE items i SET deleted_at = k.deleted_at, wipe_at = k.wipe_at, revision = i.revision + 1
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) k (partner, id, revision, deleted_at, wipe_at)
		WHERE i.partner = k.partner AND i.id = k.id AND i.revision = k.revision`)
	updatePublic = guarded(`UPDATE public_tokens t SET widgets = k.widgets, attempts = k.attempts, revision = t.revision + 1
		FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[], $5::bigint[]) k (project, lookup, revision, widgets, attempts)
		WHERE t.project = k.project AND t.lookup = k.lookup AND t.revision = k.revision`)
)

const (
	loadItems = `SELECT ` + codec.ItemColumns + ` FROM unnest($1::text[], $2::bigint[]) k (partner, id)
		JOIN items i ON i.partner = k.partner AND i.id = k.id
		ORDER BY i.partner, i.id FOR UPDATE OF i`
	loadPublic = `SELECT ` + codec.PublicColumns + ` FROM unnest($1::text[], $2::bytea[]) k (project, lookup)
		JOIN public_tokens t ON t.project = k.project AND t.lookup = k.lookup
		ORDER BY t.project, t.lookup FOR UPDATE OF t`

	insertItems = `INSERT INTO items (partner, id, kind, project, lookup, shown, ciphertext, fingerprint, created_at, ends_at, deleted_at, wipe_at, revision)
		SELECT k.*, 1 FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bytea[], $8::bytea[],
			$9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]) k`
	insertPublic = `INSERT INTO public_tokens (project, lookup, widgets, attempts, created_at, ends_at, revision)
		SELECT k.*, 1 FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) k`
	insertActs = `INSERT INTO acts (project, id, at, actor, what, subject, text)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])`

	selectItem = `SELECT ` + codec.ItemColumns + ` FROM items i WHERE i.partner = $1 AND i.id = $2`
	findItem   = `SELECT ` + codec.ItemColumns + ` FROM items i WHERE i.lookup = $1 AND i.kind = $2`
	findPublic = `SELECT ` + codec.PublicColumns + ` FROM public_tokens t WHERE t.lookup = $1`
	cardsAfter = `SELECT ` + codec.CardColumns + ` FROM cards c WHERE (c.project, c.id) > ($1, $2) ORDER BY c.project, c.id LIMIT $3`
	itemsAfter = `SELECT ` + codec.ItemColumns + ` FROM items i WHERE (i.partner, i.id) > ($1, $2) ORDER BY i.partner, i.id LIMIT $3`
	selectActs = `SELECT ` + codec.ActColumns + ` FROM acts ORDER BY id DESC LIMIT $1`

	resealCards = `UPDATE cards c SET ciphertext = k.ciphertext, fingerprint = k.fingerprint
		FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[]) k (project, id, old, ciphertext, fingerprint)
		WHERE c.project = k.project AND c.id = k.id AND c.ciphertext = k.old`
	resealItems = `UPDATE items i SET ciphertext = k.ciphertext, fingerprint = k.fingerprint, revision = i.revision + 1
		FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[]) k (partner, id, old, ciphertext, fingerprint)
		WHERE i.partner = k.partner AND i.id = k.id AND i.ciphertext = k.old`
	// No node waits for another that wipes the same rows.
	wipeItems = `UPDATE items i SET ciphertext = '', fingerprint = '', wipe_at = 0, revision = i.revision + 1 FROM (
			SELECT partner, id FROM items WHERE wipe_at > 0 AND wipe_at <= $1 ORDER BY wipe_at LIMIT $2 FOR UPDATE SKIP LOCKED
		) old WHERE i.partner = old.partner AND i.id = old.id`
	wipePublic = `DELETE FROM public_tokens t USING (
			SELECT project, lookup FROM public_tokens WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2 FOR UPDATE SKIP LOCKED
		) old WHERE t.project = old.project AND t.lookup = old.lookup`
)

func compareItems(a, b store.ItemKey) int {
	return cmp.Or(cmp.Compare(a.Partner, b.Partner), cmp.Compare(a.Token, b.Token))
}

func comparePublic(a, b store.PublicKey) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), bytes.Compare(a.Lookup[:], b.Lookup[:]))
}

// lookup is a keyed hash as the driver takes it.
func lookup(hash [32]byte) []byte { return hash[:] }

func queueItems(b *pgx.Batch, keys []store.ItemKey, rows *store.Rows) {
	if len(keys) == 0 {
		return
	}
	b.Queue(loadItems, column(keys, func(k store.ItemKey) string { return string(k.Partner) }),
		column(keys, func(k store.ItemKey) int64 { return int64(k.Token) })).Query(func(r pgx.Rows) error {
		return each(r, codec.ScanItem, func(i vault.Item) { rows.Items[store.ItemKey{Partner: i.Partner, Token: i.ID}] = i })
	})
}

func queuePublic(b *pgx.Batch, keys []store.PublicKey, rows *store.Rows) {
	if len(keys) == 0 {
		return
	}
	b.Queue(loadPublic, column(keys, func(k store.PublicKey) string { return text(k.Project) }),
		column(keys, func(k store.PublicKey) []byte { return lookup(k.Lookup) })).Query(func(r pgx.Rows) error {
		return each(r, codec.ScanPublic, func(p *vault.Public) { rows.Public[store.PublicKey{Project: p.Project, Lookup: p.Lookup}] = p })
	})
}

func writeItems(b *pgx.Batch, items []vault.Item) error {
	items = slices.SortedStableFunc(slices.Values(items), func(a, b vault.Item) int {
		return compareItems(store.ItemKey{Partner: a.Partner, Token: a.ID}, store.ItemKey{Partner: b.Partner, Token: b.ID})
	})
	var added, changed []vault.Item
	for _, i := range items {
		if i.Revision == 0 {
			added = append(added, i)
		} else {
			changed = append(changed, i)
		}
	}
	if len(added) > 0 {
		shown := make([]string, len(added))
		for n := range added {
			var err error
			if shown[n], err = codec.EncodeShown(added[n].Shown); err != nil {
				return failed(err, "write %s", added[n].ID)
			}
		}
		b.Queue(insertItems,
			column(added, func(i vault.Item) string { return string(i.Partner) }),
			column(added, func(i vault.Item) int64 { return int64(i.ID) }),
			column(added, func(i vault.Item) string { return string(i.Kind) }),
			column(added, func(i vault.Item) string { return text(i.Project) }),
			column(added, func(i vault.Item) []byte { return lookup(i.Lookup) }),
			shown,
			column(added, func(i vault.Item) []byte { return codec.Blob(i.Ciphertext) }),
			column(added, func(i vault.Item) []byte { return codec.Blob(i.Fingerprint) }),
			column(added, func(i vault.Item) int64 { return codec.Micros(i.CreatedAt) }),
			column(added, func(i vault.Item) int64 { return codec.Micros(i.EndsAt) }),
			column(added, func(i vault.Item) int64 { return codec.Micros(i.DeletedAt) }),
			column(added, func(i vault.Item) int64 { return codec.Micros(i.WipeAt) }),
		)
	}
	if len(changed) > 0 {
		b.Queue(updateItems,
			column(changed, func(i vault.Item) string { return string(i.Partner) }),
			column(changed, func(i vault.Item) int64 { return int64(i.ID) }),
			column(changed, func(i vault.Item) int64 { return i.Revision }),
			column(changed, func(i vault.Item) int64 { return codec.Micros(i.DeletedAt) }),
			column(changed, func(i vault.Item) int64 { return codec.Micros(i.WipeAt) }),
		)
	}
	return nil
}

func writePublic(b *pgx.Batch, tokens []*vault.Public) error {
	tokens = slices.SortedStableFunc(slices.Values(tokens), func(a, b *vault.Public) int {
		return comparePublic(store.PublicKey{Project: a.Project, Lookup: a.Lookup}, store.PublicKey{Project: b.Project, Lookup: b.Lookup})
	})
	widgets := make(map[*vault.Public]string, len(tokens))
	var added, changed []*vault.Public
	for _, p := range tokens {
		var err error
		if widgets[p], err = codec.EncodeWidgets(p.Widgets); err != nil {
			return failed(err, "write a public token of %s", p.Project)
		}
		if p.Revision == 0 {
			added = append(added, p)
		} else {
			changed = append(changed, p)
		}
	}
	if len(added) > 0 {
		b.Queue(insertPublic,
			column(added, func(p *vault.Public) string { return text(p.Project) }),
			column(added, func(p *vault.Public) []byte { return lookup(p.Lookup) }),
			column(added, func(p *vault.Public) string { return widgets[p] }),
			column(added, func(p *vault.Public) int64 { return int64(p.Attempts) }),
			column(added, func(p *vault.Public) int64 { return codec.Micros(p.CreatedAt) }),
			column(added, func(p *vault.Public) int64 { return codec.Micros(p.EndsAt) }),
		)
	}
	if len(changed) > 0 {
		b.Queue(updatePublic,
			column(changed, func(p *vault.Public) string { return text(p.Project) }),
			column(changed, func(p *vault.Public) []byte { return lookup(p.Lookup) }),
			column(changed, func(p *vault.Public) int64 { return p.Revision }),
			column(changed, func(p *vault.Public) string { return widgets[p] }),
			column(changed, func(p *vault.Public) int64 { return int64(p.Attempts) }),
		)
	}
	return nil
}

func writeActs(b *pgx.Batch, acts []store.Act) {
	if len(acts) == 0 {
		return
	}
	b.Queue(insertActs,
		column(acts, func(a store.Act) string { return text(a.Project) }),
		column(acts, func(a store.Act) int64 { return a.ID }),
		column(acts, func(a store.Act) int64 { return codec.Micros(a.At) }),
		column(acts, func(a store.Act) string { return codec.Plain(a.Actor) }),
		column(acts, func(a store.Act) string { return a.What }),
		column(acts, func(a store.Act) string { return a.Subject }),
		column(acts, func(a store.Act) string { return codec.Plain(a.Text) }),
	)
}

// Item implements store.Store.
func (s *Store) Item(ctx context.Context, k store.ItemKey) (vault.Item, error) {
	i, err := first(ctx, s, codec.ScanItem, selectItem, string(k.Partner), k.Token)
	if err != nil {
		return vault.Item{}, failed(err, "read %s", k.Token)
	}
	return i, nil
}

// FindItem implements store.Store.
func (s *Store) FindItem(ctx context.Context, p id.Partner, kind vault.Kind, hash [32]byte) (vault.Item, error) {
	i, err := first(ctx, s, codec.ScanItem, findItem, lookup(hash), string(kind))
	if err == nil && i.Partner != p {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return vault.Item{}, failed(err, "find a token of %s", p)
	}
	return i, nil
}

// FindPublic implements store.Store.
func (s *Store) FindPublic(ctx context.Context, hash [32]byte) (vault.Public, error) {
	p, err := first(ctx, s, codec.ScanPublic, findPublic, lookup(hash))
	if err != nil {
		return vault.Public{}, failed(err, "find a public token")
	}
	return *p, nil
}

// first reads the first row of a query.
func first[T any](ctx context.Context, s *Store, scan func(codec.Row) (T, error), query string, args ...any) (row T, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, query, args...)
		row, err = one(all(rows, err, scan))
		return err
	})
	return row, err
}

// Cards implements store.Store.
func (s *Store) Cards(ctx context.Context, after store.CardKey, limit int) ([]vault.Sealed, error) {
	cards, err := list(ctx, s, codec.ScanCard, cardsAfter, text(after.Project), after.Card, max(limit, 0))
	if err != nil {
		return nil, failed(err, "read sealed cards")
	}
	return cards, nil
}

// Items implements store.Store.
func (s *Store) Items(ctx context.Context, after store.ItemKey, limit int) ([]vault.Item, error) {
	items, err := list(ctx, s, codec.ScanItem, itemsAfter, string(after.Partner), after.Token, max(limit, 0))
	if err != nil {
		return nil, failed(err, "read what tokens stand for")
	}
	return items, nil
}

// Reseal implements store.Store. A lost answer is no harm: what was changed has
// another ciphertext when it is tried again.
func (s *Store) Reseal(ctx context.Context, cards []store.Resealed[vault.Sealed], items []store.Resealed[vault.Item]) (changed int, err error) {
	err = s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			changed = 0
			if len(cards) > 0 {
				done, err := tx.Exec(ctx, resealCards,
					column(cards, func(c store.Resealed[vault.Sealed]) string { return text(c.Old.Project) }),
					column(cards, func(c store.Resealed[vault.Sealed]) int64 { return int64(c.Old.ID) }),
					column(cards, func(c store.Resealed[vault.Sealed]) []byte { return codec.Blob(c.Old.Ciphertext) }),
					column(cards, func(c store.Resealed[vault.Sealed]) []byte { return codec.Blob(c.New.Ciphertext) }),
					column(cards, func(c store.Resealed[vault.Sealed]) []byte { return codec.Blob(c.New.Fingerprint) }))
				if err != nil {
					return err
				}
				changed += int(done.RowsAffected())
			}
			if len(items) > 0 {
				done, err := tx.Exec(ctx, resealItems,
					column(items, func(i store.Resealed[vault.Item]) string { return string(i.Old.Partner) }),
					column(items, func(i store.Resealed[vault.Item]) int64 { return int64(i.Old.ID) }),
					column(items, func(i store.Resealed[vault.Item]) []byte { return codec.Blob(i.Old.Ciphertext) }),
					column(items, func(i store.Resealed[vault.Item]) []byte { return codec.Blob(i.New.Ciphertext) }),
					column(items, func(i store.Resealed[vault.Item]) []byte { return codec.Blob(i.New.Fingerprint) }))
				if err != nil {
					return err
				}
				changed += int(done.RowsAffected())
			}
			return nil
		})
	})
	if err != nil {
		return 0, failed(err, "seal rows anew")
	}
	return changed, nil
}

// Wipe implements store.Store.
func (s *Store) Wipe(ctx context.Context, now time.Time, limit int) (wiped int, err error) {
	err = s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		items, err := conn.Exec(ctx, wipeItems, codec.Micros(now), max(limit, 0))
		if err != nil {
			return err
		}
		public, err := conn.Exec(ctx, wipePublic, codec.Micros(now.Add(-vault.KeepAfterEnd)), max(limit, 0))
		if err != nil {
			return err
		}
		requests, err := conn.Exec(ctx, wipeNPD, codec.Micros(now), max(limit, 0))
		wiped = int(items.RowsAffected() + public.RowsAffected() + requests.RowsAffected())
		return err
	})
	if err != nil {
		return 0, failed(err, "wipe what has ended")
	}
	return wiped, nil
}

// Audit implements store.Store.
func (s *Store) Audit(ctx context.Context, limit int) ([]store.Act, error) {
	acts, err := list(ctx, s, codec.ScanAct, selectActs, max(limit, 0))
	if err != nil {
		return nil, failed(err, "read the acts of operators")
	}
	return acts, nil
}

func (s *snapshot) Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error) {
	rows, err := s.conn.Query(ctx, `SELECT `+codec.CardColumns+` FROM cards c WHERE c.project = $1 AND c.id = $2`,
		pgx.QueryExecModeExec, text(p), int64(c))
	card, err := one(all(rows, err, codec.ScanCard))
	if err != nil {
		return vault.Sealed{}, failed(err, "read a sealed card of %s", p)
	}
	return card, nil
}

func (s *snapshot) Item(ctx context.Context, k store.ItemKey) (vault.Item, error) {
	rows, err := s.conn.Query(ctx, selectItem, pgx.QueryExecModeExec, string(k.Partner), int64(k.Token))
	i, err := one(all(rows, err, codec.ScanItem))
	if err != nil {
		return vault.Item{}, failed(err, "read %s", k.Token)
	}
	return i, nil
}
